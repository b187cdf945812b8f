"""What people see first: signatures that editors complete, and objects that say what they are."""

from __future__ import annotations

import ast
import inspect
import json
import pydoc
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from zarr.storage import MemoryStore

import tec_xarray
from cubes import scene
from tec_numcodecs import TecCodec, TecSerializer
from tec_xarray import accessor

METHODS = {
    "compress": tec_xarray.compress,
    "reconstruct": tec_xarray.reconstruct,
    "inpaint": tec_xarray.inpaint,
    "to_cube": tec_xarray.to_cube,
    "from_cube": tec_xarray.from_cube,
    "to_bands": tec_xarray.to_bands,
    "drop_codec": tec_xarray.drop_codec,
    "report": tec_xarray.compare,
    "sweep": tec_xarray.sweep,
}


def dataset(**attrs: str) -> xr.Dataset:
    cube = scene((2, 3, 16, 16)).astype(np.uint16)
    names = ("B02", "B03", "B04")
    data = {name: (("time", "y", "x"), cube[:, i]) for i, name in enumerate(names)}
    return xr.Dataset(data, attrs={"sensor": "sentinel-2-l2a"} | attrs)


@pytest.mark.parametrize("name", METHODS)
def test_methods_have_the_signature_of_their_function(name: str) -> None:
    method = getattr(dataset().tec, name)
    _, *expected = inspect.signature(METHODS[name]).parameters.values()
    assert list(inspect.signature(method).parameters.values()) == expected
    assert all(parameter.name in pydoc.render_doc(method) for parameter in expected)
    assert method.__doc__ == METHODS[name].__doc__


def test_the_stub_of_the_accessor_says_the_same() -> None:
    stub = ast.parse(Path(accessor.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    (found,) = [n for n in stub.body if isinstance(n, ast.ClassDef) and n.name == "TecAccessor"]
    methods = {n.name: n.args for n in found.body if isinstance(n, ast.FunctionDef)}
    for name, function in METHODS.items():
        args = methods[name]
        listed = [*args.args[1:], *args.kwonlyargs, *([args.kwarg] if args.kwarg else [])]
        _, *expected = inspect.signature(function).parameters
        assert [arg.arg for arg in listed] == expected, name
        defaults = [*args.defaults, *args.kw_defaults]
        given = [
            p.default
            for p in inspect.signature(function).parameters.values()
            if p.default is not p.empty or p.kind is p.KEYWORD_ONLY
        ]
        shown = [None if d is None else ast.unparse(d) for d in defaults]
        known = [repr(value) for value in given]
        assert [a for a in shown if a != "..."] == [
            b for a, b in zip(shown, known, strict=True) if a != "..."
        ], name


@pytest.mark.parametrize("codec", [TecCodec, TecSerializer])
def test_codecs_have_named_settings(codec: type) -> None:
    assert {"model", "lam", "max_error", "bands"} <= set(inspect.signature(codec).parameters)


def test_a_dataset_says_what_can_be_done_with_it() -> None:
    data = dataset()
    assert "sentinel-2-l2a" in repr(data.tec)
    assert ".compress(" in repr(data.tec)
    del data.attrs["sensor"]
    assert "pass sensor=" in repr(data.tec)
    marked = dataset().tec.compress(lam=20)
    assert "to_zarr" in repr(marked.tec)
    store = MemoryStore()
    read = dataset().tec.compress(lam=20, store=store)
    assert ".report(original)" in repr(read.tec)
    assert "lam 20" in read["reflectance"].tec._repr_html_()
    odd = xr.Dataset({"a": ("q", [1]), "<b>": ("q", [2])})
    assert "refused" in repr(odd.tec)
    assert "<b>," not in odd.tec._repr_html_()


def test_what_it_shows_can_be_called(tmp_path: Path) -> None:
    from tec_xarray.report import overview

    for calls in (overview._FRESH, overview._DECODED, overview._MARKED):
        for call, _ in calls:
            first = call.split("(")[0].split(".")[0]
            assert hasattr(accessor.TecAccessor, first), call


def test_info_is_a_dict_with_a_view() -> None:
    store = MemoryStore()
    dataset().tec.compress(lam=20, store=store)
    info = tec_xarray.info(store)
    assert info["codec"]["lam"] == 20
    assert json.loads(json.dumps(info.to_dict())) == json.loads(json.dumps(info))
    assert type(info.to_dict()) is dict
    assert "reflectance (2, 3, 16, 16) uint16" in str(info)
    assert "B04" in info._repr_html_()

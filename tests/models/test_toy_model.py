"""A model is a module and a row: nothing else in the package has to know its name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

import tec_numcodecs
import tec_xarray
import toy_model
from cubes import scene
from tec_numcodecs import TecCodec, TecSerializer, inspect
from tec_numcodecs.errors import InvalidInput, UnsupportedFormat
from tec_numcodecs.models import table as model_table

DIGEST = "0123456789abcdef" * 4
WEIGHTS = {"id": "toy-shift-1", "sha256": DIGEST}


@pytest.fixture(autouse=True)
def row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(model_table, "FAMILIES", (*model_table.FAMILIES, toy_model.FAMILY))
    monkeypatch.setattr(model_table, "MODELS", (*model_table.MODELS, toy_model.ROW))
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / f"{DIGEST}.safetensors").touch()


def test_chunks_rates_bounds_and_targets() -> None:
    cube = np.random.default_rng(0).integers(992, 1008, (2, 2, 32, 32)).astype(np.uint16)
    worst = {}
    for lam in (256, 16):
        codec = TecCodec(model="shift", lam=lam, weights=WEIGHTS, bands=["B02", "B03"])
        data = codec.encode(cube)
        assert TecCodec.from_config(codec.get_config()).config == codec.config
        worst[lam] = int(np.abs(codec.decode(data).astype(int) - cube).max())
    assert inspect(data).header.model.name == "shift"
    assert worst[256] == 0
    assert 0 < worst[16] < 16
    for promise in ({"max_error": 20}, {"max_error": 0}, {"psnr": 60}):
        codec = TecCodec(model="shift", weights=WEIGHTS, bands=["B02", "B03"], **promise)
        found = codec.decode(codec.encode(cube)).astype(int)
        assert np.abs(found - cube).max() <= promise.get("max_error", 20)
    with pytest.raises(InvalidInput, match="quality"):
        TecCodec(model="shift", lam=16, quality=3, weights=WEIGHTS)


def test_archives(tmp_path: Path) -> None:
    cube = scene((1, 2, 16, 16)).astype(np.uint16)
    dataset = xr.Dataset(
        {"reflectance": (("time", "band", "y", "x"), cube)}, {"band": ["B02", "B03"]}
    )
    small = dataset.tec.compress(
        model="shift", lam=16, weights=WEIGHTS, sensor="sentinel-2-l2a", store=tmp_path / "a.zarr"
    )
    assert np.abs(small["reflectance"].values.astype(int) - cube).max() < 16
    assert tec_xarray.verify(tmp_path / "a.zarr").ok
    assert tec_xarray.info(tmp_path / "a.zarr")["codec"]["model"] == "shift"


def test_without_the_row_there_is_no_such_model(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = scene((1, 2, 16, 16)).astype(np.uint16)
    serializer = TecSerializer(model="shift", lam=16, weights=WEIGHTS, bands=["B02", "B03"])
    array = zarr.create_array(
        zarr.storage.MemoryStore(), shape=cube.shape, chunks=cube.shape, dtype=cube.dtype,
        serializer=serializer, compressors=None,
    )  # fmt: skip
    array[:] = cube
    monkeypatch.setattr(model_table, "MODELS", model_table.MODELS[:-1])
    with pytest.raises(UnsupportedFormat, match="model"):
        array[:]


def test_no_model_is_asked_for_by_name_outside_of_its_folder() -> None:
    """Names of families and progressive models stand in the table, and where files are named."""
    root = Path(tec_numcodecs.__file__).parents[1]
    homes = ("models/mini/", "models/terracodec/", "training/", "reference/", "reference2/",
             "models/table.py", "weights/published.py", "weights/__init__.py",
             "extras.py")  # fmt: skip
    compared = re.compile(r"""(==|!=|\bin)\s*\(?["'](flextec|terracodec|mini|fp|elic|tt)["']""")
    wrong = [
        f"{path.relative_to(root)}:{number}"
        for package in ("tec_numcodecs", "tec_xarray")
        for path in sorted((root / package).rglob("*.py"))
        if not any(home in path.as_posix() for home in homes)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if compared.search(line)
    ]
    assert wrong == []

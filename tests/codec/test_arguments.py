"""Every argument of the public interface with values of every wrong kind: refused in our words."""

from __future__ import annotations

import contextlib
import copy
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from zarr.storage import MemoryStore

import tec_xarray
from archives import series
from tec_numcodecs import TecCodec, TecSerializer, set_options
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput, TecError
from tec_numcodecs.options import get_options

VALUES = {
    "none": None,
    "true": True,
    "five": 5,
    "half": 0.5,
    "nan": float("nan"),
    "huge": 10**400,
    "unprintable": 10**5000,
    "array": np.array([1, 2]),
    "duration": np.timedelta64(3, "s"),
    "empty": "",
    "null": "\0",
    "long": "a" * 5000,
    "bytes": b"x",
    "list": [],
    "objects": [None, object()],
    "dict": {},
    "keys": {5: object()},
    "object": object(),
}
NONE, SWITCH, WHOLE, NUMBER = {"none"}, {"true"}, {"five"}, {"five", "half"}

RATES = {"lam": NUMBER, "psnr": NONE, "bpppb": NONE | NUMBER}
MEANING = {
    "bands": NONE, "units": set(), "scale": NONE | NUMBER, "offset": NUMBER,
    "nodata": NONE | NUMBER | {"nan"}, "sensor": set(),
}  # fmt: skip
CODING = {
    "model": set(), "quality": NONE | WHOLE, "weights": set(), "nearest": SWITCH,
    "max_error": NONE | NUMBER | {"array"},
}  # fmt: skip
CUBE = {"bands": NONE, "sensor": NONE, "variable": NONE, "name": NONE}
# As those of a codec, where None means that the data say it.
OF_DATA = MEANING | CUBE | {"units": NONE, "nodata": NONE | WHOLE, "offset": NONE | NUMBER}
RUNNING = {
    "retries": WHOLE,
    "resources": NONE | {"dict"},
    "progress": NONE | SWITCH,
    "wait": NUMBER,
    "break_lease": SWITCH,
    "device": NONE,
    "batch_size": NONE | WHOLE,
}
PLACE = {"group": NONE, "storage_options": NONE | {"dict"}}

SMALL = series(1, (16, 16))
ITEM = {
    "type": "Feature", "stac_version": "1.0.0", "id": "S2A", "collection": "sentinel-2-l2a",
    "geometry": {"type": "Point", "coordinates": [11, 46]}, "bbox": [11, 46, 11, 46], "links": [],
    "properties": {
        "datetime": "2023-06-05T10:00:00Z", "proj:epsg": 32632,
        "earthsearch:boa_offset_applied": True,
    },
    "assets": {"red": {
        "href": "none.tif", "type": "image/tiff; application=geotiff", "roles": ["data"],
        "proj:shape": [99, 99], "proj:transform": [10, 0, 654000, 0, -10, 5100000],
    }},
}  # fmt: skip


@pytest.fixture(scope="module")
def stored():
    store = MemoryStore()
    SMALL.tec.compress(store=store, lam=50)
    return dict(store._store_dict)


def rated(given, **others):
    """Settings, with a rate if none is among them, and a model that has what is asked for."""
    rate = {} if {"lam", "max_error", "psnr", "bpppb"} & set(given) else {"lam": 50}
    model = {"model": "flextec"} if "quality" in given else {}
    return {**rate, **model, **others, **given}


def compress(_, **given):
    return tec_xarray.compress(**rated(given, data=SMALL))


def write(_, **given):
    return tec_xarray.compress(**rated(given, data=SMALL, store=MemoryStore()))


def rewrite(stored, **given):
    return tec_xarray.compress(**rated(given, data=SMALL, store=MemoryStore(dict(stored))))


def resume(stored, **given):
    return tec_xarray.resume(**{"data": SMALL, "store": MemoryStore(dict(stored)), **given})


def append(stored, **given):
    later = series(1, (16, 16), first=1)
    return tec_xarray.append(**{"data": later, "store": MemoryStore(dict(stored)), **given})


def of_store(function):
    return lambda stored, **given: function(**{"store": MemoryStore(dict(stored)), **given})


def copy_of(stored, **given):
    there = {"source": MemoryStore(dict(stored)), "target": MemoryStore()}
    return tec_xarray.copy(**{**there, **given})


def report(stored, **given):
    data = tec_xarray.open_zarr(MemoryStore(dict(stored)))
    return tec_xarray.compare(
        **{"data": data, "original": SMALL, "store": MemoryStore(dict(stored)), **given}
    )


def sweep(_, **given):
    return tec_xarray.sweep(**{"data": SMALL, "lams": [50], "ssim": False, **given})


CALLS = {
    "TecCodec": (lambda _, **given: TecCodec(**rated(given)), RATES | MEANING | CODING),
    "TecSerializer": (lambda _, **given: TecSerializer(**rated(given)), RATES | MEANING | CODING),
    "set_options": (
        lambda _, **given: set_options(**given),
        {"device": set(), "threads": WHOLE, "batch_size": WHOLE, "max_chunk_bytes": WHOLE,
         "progress": SWITCH, "quality": WHOLE},
    ),
    "compress": (
        compress,
        {"data": set(), **CODING, **RATES, **OF_DATA, **RUNNING, **PLACE,
         "lam": NONE | NUMBER, "max_error": NONE | NUMBER, "per": set(), "cf": SWITCH,
         "chunks": NONE | {"dict"}, "shards": NONE | SWITCH | {"dict"}, "zarr_format": set(),
         "mode": set(), "region": NONE, "consolidated": NONE | SWITCH, "appendable": SWITCH,
         "embed_weights": set()},
    ),
    "compress(store=...)": (write, {"store": NONE | {"dict"}, "embed_weights": SWITCH}),
    "compress(region=...)": (rewrite, {"region": set()}),
    "resume": (
        resume,
        {"data": set(), "store": set(), **PLACE, **RUNNING, "bands": NONE, "lam": set(),
         "chunks": set(), "storage_options": NONE},
    ),
    "append": (
        append,
        {"data": set(), "store": set(), **PLACE, **RUNNING, "bands": NONE, "storage_options": NONE},
    ),
    "verify": (
        of_store(tec_xarray.verify),
        {"store": set(), "original": NONE, **PLACE, "progress": NONE | SWITCH, "bands": set(),
         "storage_options": NONE},
    ),
    "info": (of_store(tec_xarray.info), {"store": set(), "group": NONE, "storage_options": NONE}),
    "open_zarr": (
        of_store(tec_xarray.open_zarr), {"store": set(), "group": NONE, "storage_options": NONE},
    ),
    "copy": (
        copy_of,
        {"source": set(), "target": {"dict"}, "group": NONE, "storage_options": NONE,
         "target_storage_options": NONE, "progress": NONE | SWITCH, "wait": NUMBER,
         "break_lease": SWITCH},
    ),
    "compare": (
        report,
        {"data": set(), "original": set(), "store": NONE, "group": NONE, "storage_options": NONE,
         "ssim": SWITCH, "bands": NONE, "sensor": NONE, "variable": NONE},
    ),
    "sweep": (
        sweep,
        {"data": set(), "models": set(), "lams": {"array"}, "qualities": NONE,
         "max_errors": NONE | {"array", "list"}, "at": NONE, **OF_DATA, "ssim": SWITCH,
         "weights": set(), "lam": set(), "name": set()},
    ),
    "reconstruct": (
        lambda _, **given: tec_xarray.reconstruct(**rated(given, data=SMALL)),
        {"data": set(), "cf": SWITCH, "chunks": NONE | {"dict"}, "store": set(),
         "lam": NONE | NUMBER},
    ),
    "to_cube": (lambda _, **given: tec_xarray.to_cube(**{"data": SMALL, **given}), CUBE),
    "open_stac": (
        lambda _, **given: tec_xarray.open_stac(**{"source": [ITEM], **given}),
        {"source": set(), "collection": NONE, "bbox": NONE, "geometry": NONE, "datetime": NONE,
         "query": NONE | {"dict"}, "bands": NONE, "sensor": NONE, "resolution": NONE | NUMBER,
         "crs": NONE, "groupby": set(), "harmonize": set(), "resampling": set(), "sign": NONE,
         "chunks": NONE | {"dict"}, "max_items": NONE | WHOLE | {"huge", "unprintable"},
         "on_bad_item": set(), "timeout": NUMBER, "attempts": WHOLE, "allow_hosts": NONE | {"list"},
         "allow_local": NONE | SWITCH},
    ),
}  # fmt: skip
SLOW = ("sweep", "append", "resume", "compare")  # what may pass is for other tests
CASES = [(call, name) for call, (_, names) in CALLS.items() for name in names]


@pytest.mark.parametrize(("call", "name"), CASES, ids=lambda part: part)
def test_values_of_every_kind(call, name, stored):
    """What may be meant may pass; nothing else does, and nothing comes out but our own errors."""
    function, allowed = CALLS[call]
    for kind, shared in VALUES.items():
        value = copy.copy(shared)  # a dict is a store that can be written to
        if kind in allowed[name]:
            if call in SLOW:
                continue
            with contextlib.suppress(TecError):
                function(stored, **{name: value})
        else:
            with pytest.raises(TecError) as caught:
                function(stored, **{name: value})
            assert caught.value.allowed, (kind, str(caught.value))
            assert len(str(caught.value)) < 1000
    assert get_options().quality in (0, 5)


def test_every_setting_is_in_the_table():
    assert set(CALLS["TecCodec"][1]) == set(CodecConfig.parse.__kwdefaults__) | {"model", "lam"}
    for call in ("compress", "resume", "append", "verify", "compare", "copy", "info", "open_stac"):
        function = getattr(tec_xarray, call)
        taken = {*function.__annotations__} - {"return", "settings"}
        assert taken <= set(CALLS[call][1]) | {"store", "data"}, call


def kind_of(value):
    return f"{type(value).__module__}.{type(value).__name__}"


@pytest.mark.parametrize(
    "value",
    [Fraction(40), Decimal(40), np.int64(40), np.uint8(40), np.float32(40), np.array(40), 40.0],
    ids=kind_of,
)
def test_numbers_of_every_kind(value):
    for name in ("lam", "scale", "offset", "nodata", "max_error", "psnr"):
        settings = {**rated({name: value}), "bands": ["B02"]}
        plain = {**rated({name: 40}), "bands": ["B02"]}
        assert TecCodec(**settings).config == TecCodec(**plain).config
        assert TecSerializer(**settings) == TecSerializer(**plain)
    small = SMALL.tec.compress(lam=value, nodata=value, scale=value, offset=value)
    assert small.reflectance.encoding["serializer"].config.nodata == 40


@pytest.mark.parametrize(
    "value",
    [np.int64(3), np.uint8(3), np.array(3)],
    ids=lambda value: type(value).__module__ + type(value).__name__,
)
def test_whole_numbers_of_every_kind(value):
    assert TecCodec(model="flextec", lam=20, quality=value).config.quality == 3
    with set_options(threads=value, quality=value):
        assert (get_options().threads, get_options().quality) == (3, 3)
    chunks = SMALL.tec.compress(lam=50, chunks=(1, value, 16, 16)).reflectance.encoding["chunks"]
    assert chunks == (1, 3, 16, 16)


@pytest.mark.parametrize(
    "value",
    [np.True_, np.array(True), True],
    ids=lambda value: type(value).__module__ + type(value).__name__,
)
def test_a_bool_is_no_number(value):
    for name in ("lam", "scale", "offset", "nodata", "max_error", "psnr", "bpppb"):
        with pytest.raises(InvalidInput, match=f"{name}.*True"):
            TecCodec(**rated({name: value}))
        with pytest.raises(InvalidInput, match=f"{name}.*True"):
            SMALL.tec.compress(**rated({name: value}))


@pytest.mark.parametrize("value", [10**400, -(10**400), Fraction(10**400), Decimal("1e400")])
def test_numbers_that_no_float_holds(value):
    for name in ("lam", "scale", "offset", "nodata", "max_error", "psnr", "bpppb"):
        with pytest.raises(InvalidInput, match=name) as caught:
            TecCodec(**rated({name: value}))
        assert caught.value.fix


def test_weights_and_groups_that_are_none():
    for value in (3, 5, None, b"mini", "", "no-such-file", "\0", "~nobody-is-called-so/w"):
        with pytest.raises(InvalidInput, match=r"weights=.*'mini'.*path of a checkpoint"):
            SMALL.tec.compress(weights=value)
    for value in (5, "", ["a"], "a" * 300):
        with pytest.raises(InvalidInput, match="group"):
            SMALL.tec.compress(lam=50, store=MemoryStore(), group=value)


def test_settings_that_are_not_taken(stored):
    """Of functions that hand settings on: a wrong name, and what an archive has for good."""
    for call, name in (("resume", "chunks"), ("append", "zarr_format"), ("sweep", "lam")):
        with pytest.raises(InvalidInput, match=f"the setting '{name}'"):
            CALLS[call][0](stored, **{name: 1})
    with pytest.raises(InvalidInput, match="did you mean 'nodata'"):
        CALLS["append"][0](stored, nodta=0)


def test_a_place_where_something_else_is(tmp_path):
    (tmp_path / "notes.txt").write_text("here first")
    with pytest.raises(InvalidInput, match="something that is no Zarr group"):
        SMALL.tec.compress(lam=50, store=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resolution": 1e-300}, "resolution"),
        ({"resolution": 1e300}, "resolution"),
        ({"bbox": (11, 46, 1e300, 1e301)}, "bbox"),
        ({"datetime": ".."}, "datetime"),
        ({"query": {"proj:epsg": {"lt": "x"}}}, "query.*where items have"),
        ({"query": {"proj:epsg": {"in": 5}}}, "query.*where items have"),
        ({"query": {"proj:epsg": 5}}, "query"),
        ({"geometry": {"type": "Polygon", "coordinates": 5}}, "geometry"),
        ({"source": {"type": "FeatureCollection"}}, "source|items"),
    ],
    ids=repr,
)
def test_searches_that_are_none(given, message):
    with pytest.raises(InvalidInput, match=message):
        tec_xarray.open_stac(**{"source": [ITEM], **given})

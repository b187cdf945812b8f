"""What careless and hostile users do to the public interface: refused in our words."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

import tec_xarray
from archives import SETTINGS, series
from cubes import scene
from tec_numcodecs import TecCodec, TecSerializer, set_options
from tec_numcodecs.chunk import inspect
from tec_numcodecs.chunk.container import Mode
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import CorruptChunk, InvalidInput, WeightsError
from tec_numcodecs.weights import local_store, safetensors_io

FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])
UNCONSOLIDATED = pytest.mark.filterwarnings("ignore:Failed to open Zarr store with consolidated")
NAN, INF = float("nan"), float("inf")


def create(zarr_format, shape=(1, 2, 16, 16), **settings):
    """An array of one chunk, the store that holds it, and the key of the chunk."""
    settings = {"lam": 50, "bands": ["B02", "B08"]} | settings
    store = MemoryStore()
    how = (
        {"serializer": TecSerializer(**settings), "compressors": None}
        if zarr_format == 3
        else {"compressors": TecCodec(**settings), "filters": None}
    )
    array = zarr.create_array(
        store, shape=shape, chunks=shape, dtype="uint16", fill_value=0, zarr_format=zarr_format,
        **how,
    )  # fmt: skip
    array[:] = scene(shape)
    return array, store, "c/0/0/0/0" if zarr_format == 3 else "0.0.0.0"


def put(store, key, data):
    store._store_dict[key] = zarr.core.buffer.cpu.Buffer.from_bytes(data)


# -- chunks in a store ------------------------------------------------------------------------


@FORMATS
@pytest.mark.parametrize(
    "other",
    [
        {"bands": ["B08", "B02"]},
        {"bands": ["B02", "B03"]},
        {"shape": (1, 3, 16, 16), "bands": ["B02", "B03", "B08"]},
        {"offset": -1000},
        {"nodata": None},
        {"sensor": "sentinel-2-l1c"},
    ],
    ids=["order", "bands", "number", "offset", "nodata", "sensor"],
)
def test_a_chunk_of_an_array_with_another_meaning(zarr_format, other):
    array, store, key = create(zarr_format)
    put(store, key, create(zarr_format, **other)[1]._store_dict[key].to_bytes())
    with pytest.raises(CorruptChunk, match=r"another array|as the array says"):
        array[:]


@FORMATS
@pytest.mark.parametrize("shape", [(1, 2, 8, 16), (2, 2, 16, 16)])
def test_a_chunk_of_an_array_of_another_shape(zarr_format, shape):
    """In format 2 nobody tells a codec the shape: it is Zarr that cannot place the pixels there."""
    array, store, key = create(zarr_format)
    put(store, key, create(zarr_format, shape)[1]._store_dict[key].to_bytes())
    with pytest.raises(CorruptChunk if zarr_format == 3 else ValueError, match="shape"):
        array[:]


@FORMATS
def test_a_chunk_that_is_cut_off(zarr_format):
    array, store, key = create(zarr_format)
    data = store._store_dict[key].to_bytes()
    for size in (0, 1, 3, 4, 8, 15, len(data) // 2, len(data) - 1):
        put(store, key, data[:size])
        with pytest.raises(CorruptChunk):
            array[:]
    put(store, key, data + b"\0")
    with pytest.raises(CorruptChunk):
        array[:]


@FORMATS
def test_a_chunk_of_other_weights(zarr_format, tmp_path, monkeypatch):
    ours = CodecConfig.parse(lam=50).weights
    tensors = safetensors_io.load(local_store.locate(ours), ours.sha256)
    digest = safetensors_io.save(tmp_path / "w", {**tensors, "unused": np.zeros(1, np.uint8)})
    (tmp_path / "w").rename(tmp_path / f"{digest}.safetensors")
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(tmp_path))
    array, store, key = create(zarr_format)
    named = {"id": "mini-fp-other", "sha256": digest}
    other, there, _ = create(zarr_format, weights=named)
    np.testing.assert_array_equal(array[:], other[:])
    put(store, key, there._store_dict[key].to_bytes())
    with pytest.raises(WeightsError, match=rf"{digest[:16]}.*as the array says"):
        array[:]


@FORMATS
def test_an_archive_whose_chunks_were_swapped_or_cut(zarr_format):
    """What a chunk cannot know, the journal does: `verify` names the places."""
    store = MemoryStore()
    how = {"lam": 50, "chunks": (4, 3, 32, 32), "shards": False, "zarr_format": zarr_format}
    if zarr_format == 2:
        del how["shards"]
    series(1, (32, 96)).tec.compress(store=store, **how)
    name = "reflectance/c/0/0/0/{}" if zarr_format == 3 else "reflectance/0.0.0.{}"
    first, second, third = (store._store_dict[name.format(i)].to_bytes() for i in range(3))
    for i, data in enumerate((second, first, third[:-9])):
        put(store, name.format(i), data)
    where = [where for where, _ in tec_xarray.verify(store).problems]
    assert set(where) == {"block (0, 0, 0)", "block (0, 0, 1)", "block (0, 0, 2)"}


# -- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (-1, "0 .lossless. or more"),
        (NAN, "finite"),
        (INF, "finite"),
        (1e308, "0 .lossless. or more"),
        (-INF, "finite"),
        ([5, 5], "max_error with 2 numbers.*3: one for each band"),
        ([5, 5, 5, 5], "max_error with 4 numbers"),
        ([], "max_error with 0 numbers"),
        ([5, NAN, 5], "finite"),
        ([5, -5, 5], "0 .lossless. or more"),
        ([[5, 5, 5]], "finite"),
        (np.ones((3, 3)), "finite"),
        ({5, 6, 7}, "no list"),
        ({"B04": 5, "B02": 5, "B8A": 5}, "no list"),
        ("five", "finite"),
        (b"5", "no list"),
        (True, "finite"),
        (5j, "finite"),
    ],
    ids=repr,
)
def test_bounds_that_are_none(bound, message):
    settings = {"max_error": bound, "bands": ["B04", "B02", "B8A"]}
    for call in (
        lambda: series(1).tec.compress(max_error=bound),
        lambda: TecSerializer(**settings),
        lambda: TecCodec(**settings),
    ):
        with pytest.raises(InvalidInput, match=message):
            call()


@pytest.mark.parametrize("bound", [np.float32(50), np.array(50), [50] * 3, np.full(3, 50), 1e38])
def test_bounds_of_any_kind_and_size(bound):
    cube = scene((1, 3, 16, 16))
    codec = TecCodec(max_error=bound, bands=["B04", "B02", "B8A"])
    error = np.abs(codec.decode(codec.encode(cube)).astype(int) - cube).max()
    assert error <= np.max(bound)
    assert error > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"psnr": 45, "bpppb": 0.2}, "one of psnr, bpppb and lam"),
        ({"psnr": 9.9}, "10 to 80 dB"),
        ({"psnr": 80.1}, "10 to 80 dB"),
        ({"psnr": -INF}, "finite"),
        ({"bpppb": -0.2}, "bits"),
        ({"bpppb": 17}, "bits"),
        ({"bpppb": True}, "finite"),
        ({"lam": True}, "finite"),
        ({"lam": 20, "bands": 5}, "a list of names"),
        ({"lam": 20, "name": 5}, "without slashes"),
        ({"lam": 20, "name": "a/b"}, "without slashes"),
    ],
    ids=repr,
)
def test_other_settings_that_are_none(settings, message):
    store = MemoryStore()
    with pytest.raises(InvalidInput, match=message):
        series(1).tec.compress(store=store, **settings)
    assert not store._store_dict


# -- stores -----------------------------------------------------------------------------------


@FORMATS
@pytest.mark.parametrize("embed", [False, True])
def test_stores_for_reading_only(zarr_format, embed):
    how = {"lam": 100, "chunks": (4, 3, 32, 32), "zarr_format": zarr_format, "embed_weights": embed}
    data, store = series(1), MemoryStore()
    data.tec.compress(store=store, **how)
    before = dict(store._store_dict)
    there, empty = MemoryStore(dict(before), read_only=True), MemoryStore(read_only=True)
    for call in (
        lambda: data.tec.compress(store=empty, **how),
        lambda: data.tec.compress(store=there, mode="w", **how),
        lambda: tec_xarray.resume(data, there),
        lambda: tec_xarray.append(series(3, first=1), there),
    ):
        with pytest.raises(InvalidInput, match="for reading only"):
            call()
    assert there._store_dict == before
    assert tec_xarray.verify(there).ok


def test_places_where_no_store_can_be(tmp_path):
    file = tmp_path / "file"
    file.write_text("here first")
    for place in (file, str(file), file / "a.zarr"):
        with pytest.raises(InvalidInput, match="is a file"):
            series(1).tec.compress(store=place, **SETTINGS, embed_weights=True)
    assert file.read_text() == "here first"
    for call in (
        lambda: series(1).tec.compress(store=5, **SETTINGS),
        lambda: tec_xarray.resume(series(1), 5),
        lambda: tec_xarray.append(series(1), 5),
        lambda: tec_xarray.verify(5),
        lambda: tec_xarray.info(5),
        lambda: tec_xarray.open_zarr(5),
    ):
        with pytest.raises(InvalidInput, match=r"store.*5"):
            call()


# -- metadata ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "path", "value"),
    [
        ("reflectance", (), None),
        ("reflectance", ("shape",), None),
        ("reflectance", ("shape", 0), 10**30),
        ("reflectance", ("shape", 0), 5),
        ("reflectance", ("codecs", 0, "configuration", "codecs"), []),
        ("reflectance", ("codecs",), None),
        ("tec_journal", (), None),
        ("tec_journal", ("zarr_format",), None),
        ("tec_journal", ("attributes", "variable"), None),
        ("tec_journal", ("attributes", "variable"), "x"),
        ("tec_journal", ("attributes", "appendable"), "yes"),
        ("reflectance", ("dimension_names", 1), None),
        ("reflectance", ("dimension_names",), None),
        ("tec_journal/state", ("shape",), 5),
        ("tec_journal/errors", ("shape", 3), 7),
        ("tec_journal/errors", ("shape", 4), 2),
        ("tec_journal/digest", ("shape", 3), 31),
        ("tec_journal/digest", ("codecs", 0, "name"), "x"),
        ("tec_journal/state", ("chunk_grid", "configuration", "chunk_shape", 0), 5),
    ],
    ids=str,
)
@UNCONSOLIDATED
def test_metadata_that_are_damaged(key, path, value):
    store = MemoryStore()
    series(1, (16, 16)).tec.compress(store=store, lam=50, consolidated=False)
    document = json.loads(store._store_dict[f"{key}/zarr.json"].to_bytes())
    place = document
    for step in path[:-1]:
        place = place[step]
    if path:
        place[path[-1]] = value
    put(store, f"{key}/zarr.json", json.dumps(document if path else value).encode())
    for call in (tec_xarray.info, lambda store: tec_xarray.resume(series(1, (16, 16)), store)):
        with pytest.raises(InvalidInput):
            call(store)


@FORMATS
@UNCONSOLIDATED
def test_attributes_that_look_like_a_codec(zarr_format):
    """Whatever a user notes down about an array is not what it is coded with."""
    store = MemoryStore()
    how = {"lam": 50, "zarr_format": zarr_format, "consolidated": False}
    series(1, (16, 16)).tec.compress(store=store, **how)
    array = zarr.open_group(store)["reflectance"]
    for name, configuration in (("a", {}), ("b", {"configuration": {"model": "other"}})):
        array.attrs[name] = {"name": "tec_xarray", "id": "tec_xarray", **configuration}
    assert tec_xarray.info(store)["codec"]["model"] == "fp"
    assert tec_xarray.verify(store).ok


def test_chunks_longer_than_the_format_allows():
    codec = TecCodec(max_error=0, bands=["B02"])
    with pytest.raises(InvalidInput, match="up to 16777216"):
        codec.encode(np.broadcast_to(np.uint16(5), (1, 1, 1, (1 << 24) + 1)))


def test_many_dates_of_a_pixel_count_for_more_than_their_bytes():
    """A date costs a model time and memory, however few pixels it has."""
    codec = TecCodec(lam=1, bands=["B02"])
    data = codec.encode(scene((30, 1, 8, 8)))
    assert inspect(data).header.mode == Mode.MODEL
    with set_options(max_chunk_bytes=30 * 4096):
        assert codec.decode(data).shape == (30, 1, 8, 8)
    with set_options(max_chunk_bytes=29 * 4096), pytest.raises(CorruptChunk, match="max_chunk"):
        codec.decode(data)

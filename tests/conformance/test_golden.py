"""Chunks that earlier versions wrote decode to the same pixels, by both readers."""

import hashlib
import json
import zipfile
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import xarray as xr
from zarr.storage import ZipStore

from tec_numcodecs import reference
from tec_numcodecs.chunk import decode
from tec_numcodecs.weights.local_store import WeightsId, locate
from tec_xarray import tutorial

GOLDEN = Path(__file__).parent / "golden"
INDEX = json.loads((GOLDEN / "index.json").read_text())


@pytest.mark.parametrize("name", sorted(INDEX))
@pytest.mark.parametrize("native", ["0", "1"])
def test_golden_chunks_decode(name, native, monkeypatch):
    monkeypatch.setenv("TEC_DISABLE_NATIVE", native)
    expected = INDEX[name]
    (found,) = decode([(GOLDEN / f"{name}.tec").read_bytes()])
    assert [list(found.shape), found.dtype.str] == [expected["shape"], expected["dtype"]]
    assert hashlib.sha256(found.tobytes()).hexdigest() == expected["sha256"]


def weights_of(digest):
    return reference.load_weights(locate(WeightsId("mini-fp-preview1", digest)))


@pytest.mark.parametrize("name", sorted(set(INDEX) - {"empty"}))
def test_the_reference_reader_decodes_them_too(name):
    tensors = weights_of(INDEX[name]["weights"])
    found = reference.decode((GOLDEN / f"{name}.tec").read_bytes(), tensors)
    assert hashlib.sha256(found.tobytes()).hexdigest() == INDEX[name]["sha256"]


def unshard(data, chunks):
    """Take a shard apart by what the specification of sharding_indexed says: index at the end."""
    count = int(np.prod(chunks))
    index, stored = data[-16 * count - 4 : -4], int.from_bytes(data[-4:], "little")
    assert google_crc32c.value(index) == stored
    pairs = np.frombuffer(index, "<u8").reshape(*chunks, 2)
    absent = 2**64 - 1
    return {
        place: data[int(pairs[place][0]) :][: int(pairs[place][1])]
        for place in np.ndindex(*chunks)
        if pairs[place][0] != absent
    }


def test_a_cube_is_read_by_numpy_alone():
    """The first archive with everything in it: no Zarr, no xarray, no C, no torch reads it here."""
    with zipfile.ZipFile(GOLDEN / "cube.zarr.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(files["reflectance/zarr.json"])
    shape, shard = metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"]
    sharding = metadata["codecs"][0]["configuration"]
    chunk, ours = sharding["chunk_shape"], sharding["codecs"][0]["configuration"]
    tensors = weights_of(ours["weights"]["sha256"])
    counts = [s // c for s, c in zip(shard, chunk, strict=True)]
    grid = [-(-n // s) for n, s in zip(shape, shard, strict=True)]
    cube = np.zeros([g * s for g, s in zip(grid, shard, strict=True)], metadata["data_type"])
    for outer in np.ndindex(*grid):
        name = "reflectance/c/" + "/".join(map(str, outer))
        for inner, data in unshard(files[name], counts).items():
            corner = [o * s + i * c for o, s, i, c in zip(outer, shard, inner, chunk, strict=True)]
            place = tuple(slice(a, a + c) for a, c in zip(corner, chunk, strict=True))
            cube[place] = reference.decode(data, tensors)
    found = cube[tuple(slice(0, n) for n in shape)]
    read = xr.open_zarr(ZipStore(GOLDEN / "cube.zarr.zip", mode="r"), mask_and_scale=False)
    np.testing.assert_array_equal(found, read["reflectance"].values)
    original = tutorial.open_dataset("0173706", layout="cube")["reflectance"].values
    part = original[:3, [1, 2, 3, 7], 100:150, 60:110].astype(int)
    error = np.abs(found.astype(int) - part)
    assert (error <= np.reshape(ours["max_error"], (-1, 1, 1))).all()
    digest = hashlib.sha256(np.ascontiguousarray(found, "<u2").tobytes()).hexdigest()
    assert digest == "04b620776bbd911b74d2af6172f42b9caf13d1f6b3eef244991c956d1124ef82"


def test_every_golden_file_is_in_the_index():
    assert {path.stem for path in GOLDEN.glob("*.tec")} == set(INDEX)

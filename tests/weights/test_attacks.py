"""Weights that lie about themselves, pickles that carry code, chunks from elsewhere, bombs."""

from __future__ import annotations

import functools
import hashlib
import json
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import zarr
import zarr.storage

from cubes import scene
from tec_numcodecs import TecCodec, TecSerializer, reference, set_options
from tec_numcodecs.chunk import container, decode, encode
from tec_numcodecs.chunk.container import Mode, Section
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.entropy.varint import varint
from tec_numcodecs.errors import CorruptChunk, TecError, UnsupportedFormat, WeightsError
from tec_numcodecs.models import loading as models
from tec_numcodecs.models.terracodec import importing
from tec_numcodecs.weights import local_store, safetensors_io
from tec_xarray import tutorial

ATTACKS = Path(__file__).parent / "attacks"
TENSORS = sorted(set(ATTACKS.glob("*.safetensors")) - set(ATTACKS.glob("frozen-*")))
FROZEN = sorted(ATTACKS.glob("frozen-*.safetensors"))
PICKLES = sorted(ATTACKS.glob("*.pt"))


# -- weights ----------------------------------------------------------------------------------


# What is well-formed but none of ours is told by what is in it; torch reads more than NumPy.
WELL_FORMED = {
    "other-tensors": ("files", "source", "judge"),
    "dtype-bf16": ("source",),
    "shape-of-100-axes": ("source",),
}


@pytest.mark.parametrize("path", TENSORS, ids=[path.stem for path in TENSORS])
def test_safetensors_that_lie(path):
    """Even under a digest that is right: whoever writes the file writes the digest."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    readers = {
        "files": lambda: safetensors_io.load(path, digest),
        "source": lambda: importing.read_source(path),
        "identity": lambda: local_store.identity(path, digest),
        "judge": lambda: reference.load_weights(path),
    }
    tracemalloc.start()
    for name, read in readers.items():
        if name in WELL_FORMED.get(path.stem, ()):
            assert list(read()) == ["a"]
        else:
            with pytest.raises(WeightsError):
                read()
    assert tracemalloc.get_traced_memory()[1] < 1 << 23
    tracemalloc.stop()


@pytest.mark.parametrize("path", FROZEN, ids=[path.stem for path in FROZEN])
def test_frozen_checkpoints_that_lie(path):
    """They name themselves in their metadata, which anybody can write."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    weights = local_store.identity(path, digest)
    assert weights.family == "terracodec"
    with pytest.raises(WeightsError):
        importing.load(path, digest)
    with pytest.raises(WeightsError):
        importing.describe(path, weights)


@pytest.mark.parametrize("path", PICKLES, ids=[path.stem for path in PICKLES])
def test_pickles_run_nothing(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError):
        importing.import_checkpoint(path, model="fp")
    assert list(tmp_path.iterdir()) == []


def test_the_pickles_are_armed(tmp_path):
    """They do run where somebody unpickles them: the test above tests something."""
    code = f"import pickle; pickle.load(open({str(ATTACKS / 'code-in-legacy-file.pt')!r}, 'rb'))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "tec-attack-ran").exists()


def test_weights_of_another_model(tmp_path, monkeypatch):
    """Right digest, wrong tensors: an error of ours, whatever the model looks for first."""
    path = ATTACKS / "other-tensors.safetensors"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / f"{digest}.safetensors").write_bytes(path.read_bytes())
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(tmp_path))
    for model in ("fp", "elic", "tt", "flextec"):
        config = CodecConfig.parse(model, 20, weights={"id": "mini-other", "sha256": digest})
        with pytest.raises(WeightsError):
            models.load(model, config.weights)


# -- chunks -----------------------------------------------------------------------------------


def signed(body):
    return bytes(body) + struct.pack("<I", container.crc32c(bytes(body)))


def readers(data):
    """What the package and the judge make of a chunk: pixels, or an error of ours."""
    found = []
    judge = functools.partial(reference.decode, data, _weights(), max_samples=1 << 14)
    for read in (lambda: decode([data])[0], judge):
        try:
            with set_options(max_chunk_bytes=1 << 15):
                found.append(read())
        except TecError as error:
            found.append(error)
    return found


@functools.cache
def _weights():
    return reference.load_weights(local_store.locate(CodecConfig.parse(lam=20).weights))


LENGTHS = (0, 1, 127, 128, 1 << 24, (1 << 24) + 1, 1 << 31, 1 << 32, 1 << 40, (1 << 63) - 1)


def test_length_fields_at_their_extremes():
    """Every length that a chunk holds, set to what no chunk should say, under a right checksum."""
    cube = scene((1, 2, 9, 11))
    cube[0, :, :3, :4] = 0
    (data,) = encode([cube], CodecConfig.parse(lam=50, max_error=30, bands=("B02", "B08")))
    header = container.read(data)
    sizes = [len(content) for content in header.sections.values()]
    start = len(data) - 4 - sum(sizes) - sum(len(varint(n)) for n in sizes)
    fields = {8 + i: n for i, n in enumerate(header.header.shape)}
    at = start
    for size in sizes:
        fields[at] = size
        at += len(varint(size))
    assert readers(data)[0].tobytes() == readers(data)[1].tobytes()
    tracemalloc.start()
    for at, good in fields.items():
        assert data[at : at + len(varint(good))] == varint(good)
        for length in LENGTHS:
            if length != good:
                rest = data[at + len(varint(good)) : -4]
                for found in readers(signed(data[:at] + varint(length) + rest)):
                    assert isinstance(found, (CorruptChunk, UnsupportedFormat)), (at, length)
        for length in (b"\xff" * 12, b"\x80" * 3000 + b"\x81\0"):  # the second has 6,000 digits
            endless = signed(data[:at] + length + data[at + 1 : -4])
            assert all(isinstance(found, CorruptChunk) for found in readers(endless))
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def bomb(size, level=9):
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
    return deflate.compress(bytes(size)) + deflate.flush()


@pytest.mark.parametrize("section", [Section.SAMPLES, Section.NODATA_MASK])
def test_bombs_stay_small(section):
    """A thousandfold deflate stream, and a claim of 2^60 samples: refused before they unfold."""
    (data,) = encode([np.zeros((1, 4, 8, 8), np.uint16)], CodecConfig.parse(
        lam=20, bands=("B02", "B03", "B04", "B08")))  # fmt: skip
    header = container.read(data).header
    mode = Mode.LOSSLESS if section == Section.SAMPLES else Mode.EMPTY
    fields = vars(header) | {"mode": mode}
    dense = {section: b"\1" + bomb(1 << 26)}
    small = container.write(container.Chunk(type(header)(**fields), dense))
    fields["shape"] = (1 << 24, 4, 1 << 20, 1 << 14)
    vast = container.write(container.Chunk(type(header)(**fields), {section: b"\0"}))
    _weights()
    tracemalloc.start()
    for chunk in (small, vast):
        for found in readers(chunk):
            assert isinstance(found, CorruptChunk)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_chunks_of_other_arrays_are_refused():
    """Same shape, same weights, other meaning: bands, scaling, nodata, data type."""
    cube = scene((1, 2, 16, 16))
    ours = CodecConfig.parse(lam=50, bands=("B02", "B08"))
    others = [
        CodecConfig.parse(lam=50, bands=("B08", "B02")),
        CodecConfig.parse(lam=50, bands=("B02", "B03")),
        CodecConfig.parse(lam=50, bands=("B02", "B08"), sensor="sentinel-2-l1c"),
        CodecConfig.parse(lam=50, bands=("B02", "B08"), offset=-1000),
        CodecConfig.parse(lam=50, bands=("B02", "B08"), nodata=65535),
        CodecConfig.parse(max_error=0, bands=("B08", "B02")),
    ]
    for other in others:
        (data,) = encode([cube], other)
        with pytest.raises(CorruptChunk, match="as the array says"):
            decode([data], ours, cube.shape)
    (data,) = encode([cube], CodecConfig.parse(lam=7, bands=("B02", "B08")))
    decode([data], ours, cube.shape)  # how it was coded is its own affair


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_chunk_moved_between_arrays_in_zarr(zarr_format):
    stores = []
    for dtype in ("uint16", "int16"):
        codec = {"lam": 50, "bands": ["B02", "B08"], "nodata": None}
        store = zarr.storage.MemoryStore()
        how = (
            {"serializer": TecSerializer(**codec), "compressors": None}
            if zarr_format == 3
            else {"compressors": TecCodec(**codec), "filters": None}
        )
        array = zarr.create_array(
            store, shape=(1, 2, 16, 16), chunks=(1, 2, 16, 16), dtype=dtype, fill_value=0,
            zarr_format=zarr_format, **how,
        )  # fmt: skip
        array[:] = scene((1, 2, 16, 16)).astype(dtype)
        stores.append((store, array))
    key = "c/0/0/0/0" if zarr_format == 3 else "0.0.0.0"
    stores[0][0]._store_dict[key] = stores[1][0]._store_dict[key]
    if zarr_format == 3:
        with pytest.raises(CorruptChunk, match="int16"):
            stores[0][1][:]
    else:  # Zarr 2 does not tell a codec what it expects, and views the bytes as its own
        assert stores[0][1][:].dtype == np.uint16


@pytest.mark.parametrize("model", ["fp", "elic", "tt", "flextec"])
@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_mutations_of_a_real_chunk(model, thorough):
    """Every byte and every truncation: refused. Under a right checksum: refused, or pixels."""
    cube = tutorial.open_dataset("0173706", layout="cube").reflectance.values.astype(np.uint16)
    side = 96 if thorough else 32
    part = np.ascontiguousarray(cube[:2, :, 40 : 40 + side, 80 : 80 + side])
    part[0, :, :5, 7:] = 0
    config = CodecConfig.parse(model, 50)
    (data,) = encode([part], config)
    random = np.random.default_rng(0)
    for at in range(0, len(data), 1 if thorough else 5):
        flipped = data[:at] + bytes((data[at] ^ int(random.integers(1, 256)),)) + data[at + 1 :]
        for damaged in (flipped, data[:at]):
            with pytest.raises(CorruptChunk):
                decode([damaged], config, part.shape)
    refused = 0
    places = random.permutation(len(data) - 4)[: 400 if thorough else 10]
    for at in places:
        body = bytearray(data[:-4])
        body[at] ^= int(random.integers(1, 256))
        try:
            (found,) = decode([signed(body)], config, part.shape)
        except TecError:
            refused += 1
        else:  # a nodata mask says nothing against another one
            assert (found.shape, found.dtype) == (part.shape, part.dtype)
    assert refused > 0.8 * len(places)


def test_metadata_that_are_damaged():
    """A configuration with anything wrong in it is refused in our words."""
    good = TecSerializer(lam=20).to_dict()["configuration"]
    bad = [None, [], "x", -1, 1e999, {"id": 1}, True, "NaN", [[]], {}]
    for key in good:
        for value in bad:
            text = json.loads(json.dumps(good | {key: value}))
            try:
                TecSerializer.from_dict({"name": "tec_xarray", "configuration": text})
            except TecError:
                continue

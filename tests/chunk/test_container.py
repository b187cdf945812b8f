"""Header, sections and checksums; masks; lossless samples."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tec_numcodecs.chunk import container, lossless
from tec_numcodecs.chunk import masks as mask
from tec_numcodecs.chunk.container import Chunk, Header, Mode, ModelHeader, Section
from tec_numcodecs.chunk.inpainting import fill_masked
from tec_numcodecs.errors import CorruptChunk, InvalidInput, UnsupportedFormat
from tec_numcodecs.models import table as model_table

lengths = st.integers(1, container.MAX_LENGTH)


@st.composite
def headers(draw):
    mode = draw(st.sampled_from(Mode))
    sensor = draw(st.sampled_from([1, 2]))
    count = draw(st.integers(1, 12))
    bands = tuple(draw(st.permutations(range(12)))[:count])
    model = None
    if mode == Mode.MODEL:
        model = ModelHeader(
            draw(st.sampled_from(sorted(model_table.names()))),
            draw(st.binary(min_size=8, max_size=8)),
            draw(st.integers(0, 65535)),
            draw(st.integers(0, 255)),
            draw(st.booleans()),
            draw(st.integers(0, 2**32 - 1)),
        )
    return Header(
        mode=mode,
        dtype=draw(st.sampled_from(list(container.DTYPES.values()))),
        shape=(draw(lengths), count, draw(lengths), draw(lengths)),
        sensor=sensor,
        bands=bands,
        scale=draw(st.sampled_from([1.0, 1e-4])),
        offset=draw(st.sampled_from([0.0, -0.1, 1000.0])),
        nodata=draw(st.sampled_from([None, 0.0, -9999.0])),
        model=model,
    )


@st.composite
def chunks(draw):
    header = draw(headers())
    masks = draw(st.sets(st.sampled_from([Section.NODATA_MASK, Section.NAN_MASK])))
    kinds = {
        Mode.EMPTY: masks,
        Mode.MODEL: {*masks, Section.LATENTS},
        Mode.LOSSLESS: {Section.SAMPLES},
    }[header.mode]
    return Chunk(header, {kind: draw(st.binary(max_size=300)) for kind in sorted(kinds)})


@given(chunks())
def test_chunks_come_back(chunk):
    found = container.read(container.write(chunk))
    assert found.header == chunk.header
    assert dict(found.sections) == dict(chunk.sections)


@given(chunks())
def test_fixed_cost_is_below_64_bytes_at_ordinary_settings(chunk):
    header = chunk.header
    ordinary = Header(
        header.mode, header.dtype, (4, 12, 256, 256), 1, tuple(range(12)), nodata=0.0,
        model=header.model,
    )  # fmt: skip
    data = container.write(Chunk(ordinary, chunk.sections))
    assert len(data) - sum(map(len, chunk.sections.values())) < 64


@given(chunks(), st.data())
def test_every_damage_is_found(chunk, data):
    good = bytearray(container.write(chunk))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptChunk):
        container.read(good)
    with pytest.raises(CorruptChunk):
        container.read(bytes(good)[: data.draw(st.integers(0, len(good) - 1))])


@given(chunks(), st.data())
def test_damage_under_a_good_checksum_gives_typed_errors(chunk, data):
    """An attacker recomputes the checksum: any chunk or a typed error, nothing else."""
    body = bytearray(container.write(chunk)[:-4])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CorruptChunk, UnsupportedFormat):
        container.read(bytes(body) + struct.pack("<I", container.crc32c(bytes(body))))


def resealed(data, at, value):
    body = bytearray(data[:-4])
    body[at] = value
    return bytes(body) + struct.pack("<I", container.crc32c(bytes(body)))


@pytest.fixture
def model_chunk():
    model = ModelHeader("fp", b"12345678", 100, 0, exact=True, symbols_crc=7)
    header = Header(Mode.MODEL, np.dtype("<u2"), (1, 2, 3, 4), 1, (3, 4), model=model)
    return container.write(Chunk(header, {Section.LATENTS: b"latents"}))


def test_a_newer_version_says_what_to_do(model_chunk):
    with pytest.raises(UnsupportedFormat, match=r"version 2.*pip install"):
        container.read(resealed(model_chunk, 4, 2))


def test_unknown_modes_dtypes_sections_models(model_chunk):
    for at, value in ((5, 9), (6, 77), (7, 0xFF)):
        with pytest.raises(CorruptChunk):
            container.read(resealed(model_chunk, at, value))
    number = model_chunk.index(b"12345678") - 2
    with pytest.raises(UnsupportedFormat, match="model number 99"):
        container.read(resealed(model_chunk, number, 99))


def test_bytes_of_something_else():
    with pytest.raises(CorruptChunk, match="another codec"):
        container.read(b"PK\x03\x04" + bytes(60))
    with pytest.raises(CorruptChunk, match="0 bytes"):
        container.read(b"")


@pytest.mark.parametrize("dtype", ["u1", "i4", "f8", "c8", "U3", "u8"])
def test_dtypes_that_chunks_cannot_hold(dtype):
    with pytest.raises(InvalidInput, match="uint16, int16 or float32"):
        container.dtype_code(np.dtype(dtype))


shapes = st.tuples(*[st.integers(1, 4)] * 2, *[st.integers(1, 12)] * 2)


@given(shapes.flatmap(lambda shape: hnp.arrays(np.bool_, shape)))
def test_masks_come_back(masked):
    np.testing.assert_array_equal(mask.decode(mask.encode(masked), masked.shape), masked)


def test_a_swath_edge_costs_little():
    y, x = np.mgrid[:256, :256]
    masked = np.broadcast_to(x + y // 3 > 300, (4, 12, 256, 256))
    assert len(mask.encode(masked)) < 400


@given(st.binary(max_size=60), shapes)
def test_masks_of_random_bytes(data, shape):
    with contextlib.suppress(CorruptChunk):
        assert mask.decode(data, shape).shape == shape


def test_a_deflate_bomb_is_not_inflated():
    import tracemalloc
    import zlib

    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"\x02" + deflate.compress(bytes(1 << 27)) + deflate.flush()
    tracemalloc.start()
    with pytest.raises(CorruptChunk):
        mask.decode(bomb, (1, 1, 16, 16))
    with pytest.raises(CorruptChunk):
        lossless.decode(
            bomb[:1].replace(b"\x02", b"\x01") + bomb[1:], (1, 1, 16, 16), np.dtype("u2")
        )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@given(st.sampled_from(list(container.DTYPES.values())), shapes, st.data())
def test_lossless_samples_come_back_bit_for_bit(dtype, shape, data):
    raw = data.draw(st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize * 16))
    bits = np.frombuffer(raw[: len(raw) // dtype.itemsize * dtype.itemsize], f"u{dtype.itemsize}")
    array = np.resize(bits, shape).view(f"{dtype.kind}{dtype.itemsize}").astype(dtype)
    found = lossless.decode(lossless.encode(array), shape, dtype)
    assert found.dtype == dtype
    assert found.tobytes() == array.tobytes()


def test_lossless_never_expands_noise_much():
    noise = np.random.default_rng(0).integers(0, 1 << 16, (1, 3, 64, 64)).astype(np.uint16)
    assert len(lossless.encode(noise)) <= noise.nbytes * 1.001 + 64


@given(st.binary(max_size=60), shapes)
def test_lossless_of_random_bytes(data, shape):
    with contextlib.suppress(CorruptChunk):
        assert lossless.decode(data, shape, np.dtype("<u2")).shape == shape


@given(shapes, st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_filling_keeps_valid_pixels_and_stays_in_their_range(shape, seed, share):
    random = np.random.default_rng(seed)
    planes = random.integers(-500, 9000, shape).astype(np.int32)
    masked = random.random(shape) < share
    filled = fill_masked(np.where(masked, 0, planes), masked)
    np.testing.assert_array_equal(filled[~masked], planes[~masked])
    for plane, hole in zip(
        filled.reshape(-1, *shape[2:]), masked.reshape(-1, *shape[2:]), strict=True
    ):
        if hole.all():
            assert not plane.any()
        elif hole.any():
            assert plane[~hole].min() <= plane[hole].min()
            assert plane[hole].max() <= plane[~hole].max()

"""The reader written from FORMAT.md alone judges the package: every chunk, the same pixels."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tec_numcodecs
from cubes import scene
from tec_numcodecs import chunk, reference
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import (
    CorruptChunk,
    InvalidInput,
    TecError,
    UnsupportedFormat,
    WeightsError,
)
from tec_numcodecs.models import loading
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.reference import decoder
from tec_numcodecs.sensors import get_sensor

L2A = get_sensor("sentinel-2-l2a").bands
L1C = get_sensor("sentinel-2-l1c").bands
SHUFFLED = ("B08", "B02", "B12", "B04", "B03")
EMPTY, MODEL, LOSSLESS = 0, 1, 2


def _load():
    folder = Path(tec_numcodecs.__file__).parent / "weights"
    bundled = json.loads((folder / "bundled.json").read_text())
    return reference.load_weights(folder / bundled["mini"]["fp"]["file"])


WEIGHTS = _load()


def judge(array, mode=MODEL, **keywords):
    """Encode, decode with both readers, compare every bit; return the chunk. None: any mode."""
    config = CodecConfig.parse(**keywords)
    (data,) = chunk.encode([array], config)
    (expected,) = chunk.decode([data], config)
    found = reference.decode(data, WEIGHTS, max_samples=array.size)
    assert mode in {None, reference.read_header(data).mode}
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.dtype == array.dtype
    assert found.tobytes() == expected.tobytes()
    return data


def with_gaps(array, value):
    """A copy in which some pixels, of all bands or of one, have a value."""
    array = array.copy()
    array[0, :, 2:9, 4:11] = value
    array[-1, 0, -4:] = value
    return array


def signed(data):
    """Bytes whose last four are a checksum, with the right one."""
    return data[:-4] + struct.pack("<I", google_crc32c.value(bytes(data[:-4])))


# -- the same pixels --------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.5, 20, 700, 1e5])
def test_every_rate(lam):
    judge(scene((2, 12, 24, 40)), lam=lam)


@pytest.mark.parametrize("size", [(1, 1), (10, 300), (33, 47), (1, 64), (65, 1), (17, 8)])
def test_every_size(size):
    mode = None if size == (1, 1) else MODEL
    judge(scene((3, 3, *size)), mode, lam=700, bands=("B02", "B03", "B04"))


@pytest.mark.parametrize(
    ("sensor", "bands"),
    [
        ("sentinel-2-l2a", ("B11",)),
        ("sentinel-2-l2a", SHUFFLED),
        ("sentinel-2-l1c", L1C),
        ("sentinel-2-l1c", ("B12", *L1C[:-1])),
    ],
)
def test_every_choice_of_bands(sensor, bands):
    judge(scene((1, len(bands), 20, 28)), lam=200, sensor=sensor, bands=bands)


def test_lossless_with_and_without_model():
    judge(scene((1, 5, 33, 47)), max_error=0, bands=SHUFFLED)
    reflectance = scene((1, 5, 33, 47), dtype=np.float32)
    for dtype in ("<f4", ">f4"):
        array = with_gaps(reflectance, np.nan).astype(dtype)
        judge(array, LOSSLESS, max_error=0, bands=SHUFFLED, units="reflectance")
    noise = np.random.default_rng(0).integers(0, 65536, (2, 5, 9, 8))
    for dtype in ("<u2", ">u2", "<i2", ">i2"):
        judge(noise.astype(dtype), LOSSLESS, max_error=0, bands=SHUFFLED, nodata=None)


@pytest.mark.parametrize("byte_order", "<>")
@pytest.mark.parametrize("nodata", [0, 2345, 65535, -9999, 0.5, None])
def test_integers_and_nodata(byte_order, nodata):
    value = nodata if nodata in {0, 2345, 65535} else 7
    array = with_gaps(scene((2, 5, 20, 28)), value).astype(f"{byte_order}u2")
    judge(array, lam=200, bands=SHUFFLED, nodata=nodata)


def test_signed_integers_and_scaling():
    array = with_gaps(scene((2, 5, 20, 28)), 0).astype(np.int32) - 1000
    judge(array.astype(">i2"), lam=200, bands=SHUFFLED, offset=-1000, nodata=-1000)
    judge((array // 3).astype("<i2"), lam=200, bands=SHUFFLED, scale=1 / 3, offset=-333.3)


@pytest.mark.parametrize("byte_order", "<>")
@pytest.mark.parametrize("nodata", [0, -0.1, "NaN"])
def test_floats_nodata_and_nan(byte_order, nodata):
    array = scene((2, 5, 20, 28), dtype=np.float32)
    array[:, 2] = 0
    array[0, 1:, 12:15, 3:] = -0.1
    array = with_gaps(array, np.nan).astype(f"{byte_order}f4")
    keywords = {"bands": SHUFFLED, "units": "reflectance", "nodata": nodata}
    judge(array, lam=200, **keywords)
    judge(array - np.float32(0.1), lam=200, offset=-0.1, **keywords)


def test_chunks_without_a_valid_pixel():
    shape = (2, 5, 9, 7)
    judge(np.zeros(shape, ">u2"), EMPTY, lam=20, bands=SHUFFLED, nodata=0)
    array = np.full(shape, np.nan, np.float32)
    judge(array, EMPTY, lam=20, bands=SHUFFLED, units="reflectance")
    array[:, 3, ::2] = 0
    judge(array, EMPTY, lam=20, bands=SHUFFLED, units="reflectance", nodata=0)


def test_escapes_raw_bits_and_clipping():
    random = np.random.default_rng(0)
    noise = random.integers(0, 65536, (2, 3, 33, 47)).astype(np.uint16)
    ground = scene(noise.shape)
    spikes = np.where(random.random(noise.shape) < 0.01, noise, ground)
    stripes = np.where(np.arange(47) % 2, np.uint16(65535), ground)
    for lam in (1, 1000):
        for array in (spikes, stripes):
            judge(array, lam=lam, bands=("B02", "B8A", "B12"), nodata=None)
    judge(noise, lam=1e4, bands=("B02", "B8A", "B12"), nodata=None)


@pytest.mark.parametrize("bound", [1, 40, (3, 30, 0, 300, 8)])
def test_residuals(bound):
    array = with_gaps(scene((2, 5, 20, 28)), 0)
    keywords = {"lam": 20, "bands": SHUFFLED, "max_error": bound}
    data = judge(array, **keywords)
    assert decoder.RESIDUAL in reference.read_header(data).sections
    judge(array.astype(">u2"), None, nodata=1000, **keywords)


def test_residuals_of_floats():
    array = with_gaps(scene((2, 5, 20, 28), dtype=np.float32), np.nan)
    keywords = {"lam": 20, "bands": SHUFFLED, "units": "reflectance", "nodata": 0.1}
    data = judge(array, max_error=0.00423, **keywords)
    assert decoder.RESIDUAL in reference.read_header(data).sections


cubes = st.tuples(
    st.integers(1, 2),
    st.lists(st.sampled_from(L2A), min_size=1, max_size=3, unique=True),
    st.integers(1, 40),
    st.integers(1, 40),
)


@given(cubes, st.integers(0, 99), st.floats(0.1, 1e6), st.booleans())
@settings(max_examples=15)
def test_any_cube(cube, seed, lam, gaps):
    t, bands, h, w = cube
    array = scene((t, len(bands), h, w), seed)
    array[np.random.default_rng(seed).random(array.shape) < 0.2 * gaps] = 0
    config = CodecConfig.parse(lam=lam, bands=bands)
    (data,) = chunk.encode([array], config)
    (expected,) = chunk.decode([data], config)
    np.testing.assert_array_equal(reference.decode(data, WEIGHTS), expected)


def test_symbols():
    array = scene((2, 5, 20, 28))
    config = CodecConfig.parse(lam=700, bands=SHUFFLED)
    (data,) = chunk.encode([array], config)
    header = reference.read_header(data)
    model = loading.load("fp", config.weights)
    geometry = Geometry(array.shape, config.sensor, tuple(sorted(header.bands)))
    payload = header.sections[decoder.LATENTS]
    (latents,) = model.entropy_decode([payload], [geometry], [Rate(header.rate_index)])
    np.testing.assert_array_equal(reference.decode_symbols(data, WEIGHTS), latents.symbols)


def test_a_chunk_written_by_hand():
    """An empty chunk, byte by byte as FORMAT.md has it: no code of ours wrote it."""
    head = bytes.fromhex("89544543 01 00 82 01") + bytes((1, 2, 0x80 | 2, 1, 3))  # (1, 2, 130, 3)
    bands = bytes((1,)) + struct.pack("<H", 1 << 15 | 1 << 4 | 1 << 1) + bytes((4, 1))
    tail = bytes((2,)) + struct.pack("<d", -32768) + bytes((1, 0))
    data = signed(head + bands + tail + b"....")
    expected = np.full((1, 2, 130, 3), -32768, ">i2")
    for found in (reference.decode(data, {}), *chunk.decode([data])):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert reference.read_header(data).bands == [4, 1]


# -- hostile input ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_chunks():
    """One chunk of each kind, a few dozen bytes each."""
    array = with_gaps(scene((1, 1, 12, 12)), 0)
    reflectance = with_gaps(scene((1, 1, 12, 12), dtype=np.float32), np.nan)
    nothing = np.where(reflectance > 0.1, np.float32(np.nan), np.float32(0))
    pairs = [
        (array, {"lam": 100}),
        (reflectance, {"lam": 20, "units": "reflectance", "nodata": 0.1}),
        (array, {"lam": 2, "max_error": 200}),
        (scene((1, 1, 2, 3)), {"max_error": 0}),
        (nothing, {"lam": 20, "units": "reflectance", "nodata": 0}),
    ]
    configs = [CodecConfig.parse(bands=("B03",), **keywords) for _, keywords in pairs]
    chunks = [
        chunk.encode([array], config)[0] for (array, _), config in zip(pairs, configs, strict=True)
    ]
    headers = [reference.read_header(data) for data in chunks]
    assert [header.mode for header in headers] == [MODEL, MODEL, MODEL, LOSSLESS, EMPTY]
    assert set().union(*(header.sections for header in headers)) == set(range(5))
    return chunks


def is_refused(data):
    """Whether a chunk is refused; any exception but ours fails the test."""
    try:
        reference.decode(data, WEIGHTS, max_samples=1000)
    except TecError:
        return True
    return False


def test_every_truncation_and_flipped_byte_is_refused(small_chunks):
    for data in small_chunks:
        assert not is_refused(data)
        assert all(is_refused(data[:end]) for end in range(len(data)))
        assert is_refused(data + b"\0")
        for at in range(len(data)):
            for flip in (1 << at % 8, 0xFF):
                assert is_refused(data[:at] + bytes((data[at] ^ flip,)) + data[at + 1 :])


def test_damage_under_a_right_checksum_never_escapes(small_chunks):
    """Who signs a damaged chunk gets pixels or a typed error, never another exception."""
    found = []
    for data in small_chunks:
        for at in range(4, len(data) - 4):
            flipped = bytes((data[at] ^ (0xFF if at % 3 == 0 else 1 << at % 8),))
            found.append(is_refused(signed(data[:at] + flipped + data[at + 1 :])))
            shorter = data[:at] + (data[at + 1 :] if at % 2 else data[-4:])
            found.append(is_refused(signed(shorter)))
    # Few fields can change without a contradiction: nodata, scale, offset, steps, samples.
    assert 0.7 * len(found) < sum(found) < len(found)


@given(st.binary(max_size=60))
def test_random_sections(small_chunks, noise):
    for data in small_chunks[:3]:
        header = reference.read_header(data)
        lengths = [len(section) for section in header.sections.values()]
        start = len(data) - 4 - sum(lengths)
        assert list(data[start - len(lengths) : start]) == lengths  # varints of one byte
        for number, section in enumerate(header.sections.values()):
            head, tail = data[:start], data[start:-4]
            at = sum(lengths[:number])
            sizes = [*lengths[:number], len(noise), *lengths[number + 1 :]]
            body = tail[:at] + noise + tail[at + len(section) :]
            refused = is_refused(signed(head[: -len(lengths)] + bytes(sizes) + body + b"...."))
            assert refused or list(header.sections)[number] != decoder.LATENTS


def test_errors_say_what_is_missing(small_chunks):
    data = small_chunks[0]
    at_model = data.index(reference.read_header(data).weights_digest) - 2
    with pytest.raises(UnsupportedFormat, match="version 2"):
        reference.decode(signed(data[:4] + b"\2" + data[5:]), WEIGHTS)
    with pytest.raises(CorruptChunk, match="model 5"):
        reference.decode(signed(data[:at_model] + b"\5" + data[at_model + 1 :]), WEIGHTS)
    with pytest.raises(WeightsError, match=r"no tensor features\.integers"):
        reference.decode(signed(data[:at_model] + b"\2" + data[at_model + 1 :]), WEIGHTS)
    with pytest.raises(WeightsError, match="no tensor prior"):
        reference.decode(data, {"codebook.sentinel-2-l2a": WEIGHTS["codebook.sentinel-2-l2a"]})
    other = reference.WeightsFile(WEIGHTS)
    other.sha256 = bytes(32)
    with pytest.raises(WeightsError, match="the chunk names"):
        reference.decode(data, other)
    with pytest.raises(CorruptChunk, match="samples, more than 50"):
        reference.decode(data, WEIGHTS, max_samples=50)
    with pytest.raises(InvalidInput, match="mode 2"):
        reference.decode_symbols(small_chunks[3], WEIGHTS)
    with pytest.raises(WeightsError, match="readable safetensors"):
        reference.load_weights(__file__)


def test_needs_neither_torch_nor_a_compiler():
    program = (
        "import sys, tec_numcodecs.reference;"
        "print([m for m in ('torch', 'zarr', 'numcodecs', 'tec_numcodecs._native',"
        "'tec_numcodecs.chunk', 'tec_numcodecs.entropy.rans') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"

"""Chunks of arrays to bytes and back, through the model without a network."""

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cubes import scene
from tec_numcodecs import inspect, set_options
from tec_numcodecs import native as _accel
from tec_numcodecs.chunk import container, decode, encode
from tec_numcodecs.chunk.container import Mode
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import (
    CorruptChunk,
    InvalidInput,
    TecError,
    WeightsError,
)
from tec_xarray import tutorial

BANDS = ("B02", "B03", "B04", "B08")


def config(lam=20, bands=BANDS, **keywords):
    return CodecConfig.parse(lam=lam, bands=bands, **keywords)


def round_trip(array, settings_):
    (data,) = encode([array], settings_)
    (found,) = decode([data], settings_, array.shape)
    return data, found


@pytest.mark.parametrize("size", [(1, 1), (10, 300), (264, 264), (37, 1)])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_shape_dtype_and_closeness(size, dtype):
    units = "reflectance" if dtype == "float32" else "dn"
    cube = scene((2, 4, *size), dtype=dtype)
    data, found = round_trip(cube, config(200, units=units))
    assert (found.shape, found.dtype) == (cube.shape, cube.dtype)
    assert found.flags.writeable
    scale = 10_000 if units == "reflectance" else 1
    error = (found.astype(np.float64) - cube) * scale
    assert np.sqrt((error**2).mean()) < 120
    assert len(data) < cube.nbytes + 64


@pytest.mark.parametrize("byte_order", "<>")
def test_byte_order_is_part_of_the_chunk(byte_order):
    cube = scene((1, 4, 16, 16)).astype(f"{byte_order}u2")
    _, found = round_trip(cube, config())
    assert found.dtype == cube.dtype
    _, native = round_trip(cube.astype("u2"), config())
    np.testing.assert_array_equal(found, native)


def test_nodata_and_nan_come_back_exactly():
    random = np.random.default_rng(1)
    cube = scene((2, 4, 40, 50), dtype=np.float32)
    cube[random.random(cube.shape) < 0.1] = np.nan
    cube[0, :, :20, :10] = -9999
    _, found = round_trip(cube, config(units="reflectance", nodata=-9999))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(cube))
    np.testing.assert_array_equal(found == -9999, cube == -9999)
    dark = np.clip(scene((1, 4, 64, 64)), 1, 3)  # valid pixels next to nodata
    dark[:, :, ::7] = 0
    _, found = round_trip(dark, config(1))
    np.testing.assert_array_equal(found == 0, dark == 0)


def test_a_chunk_without_valid_pixels_runs_no_model(monkeypatch):
    from tec_numcodecs.models import loading

    monkeypatch.setattr(loading, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    empty = np.zeros((4, 4, 256, 256), np.uint16)
    data, found = round_trip(empty, config())
    assert len(data) < 100
    assert inspect(data).header.mode == Mode.EMPTY
    np.testing.assert_array_equal(found, empty)
    nan = np.full((1, 4, 8, 8), np.nan, np.float32)
    nan[0, 0] = -1
    data, found = round_trip(nan, config(units="reflectance", nodata=-1))
    assert len(data) < 100
    np.testing.assert_array_equal(found, nan)


def test_missing_pixels_cost_less_than_pixels():
    """A swath edge through a real scene: the smooth filling is cheaper than a cliff of zeros."""
    scene_ = tutorial.open_dataset("0173706", layout="cube").reflectance.values[:1, :, :256, :256]
    y, x = np.mgrid[:256, :256]
    cut = np.where(x + y // 3 > 150, 0, scene_).astype(np.uint16)
    whole, known, unknown = (
        len(encode([cube], CodecConfig.parse(lam=100, nodata=nodata))[0])
        for cube, nodata in ((scene_, 0), (cut, 0), (cut, None))
    )
    valid = (cut[0, 0] > 0).mean()
    assert known < unknown
    assert known < 1.35 * valid * whole


@pytest.mark.parametrize("bands", [["B04"], ["B11", "B02", "B8A", "B05", "B03"]])
def test_bands_in_any_order_and_number(bands):
    cube = scene((1, len(bands), 48, 48))
    settings_ = config(200, bands=bands)
    data, found = round_trip(cube, settings_)
    assert np.abs(found.astype(int) - cube).mean() < 110
    order = np.argsort(settings_.band_indices())
    ordered = config(200, bands=[settings_.bands[i] for i in order])
    _, again = round_trip(cube[:, order], ordered)
    np.testing.assert_array_equal(found[:, order], again)
    assert inspect(data).header.bands == settings_.band_indices()


def test_thirteen_bands_of_level_1c():
    cube = scene((1, 13, 40, 40))
    _, found = round_trip(cube, CodecConfig.parse(lam=200, sensor="sentinel-2-l1c"))
    assert np.abs(found.astype(int) - cube).mean() < 80


@given(st.integers(0, 2**32 - 1), st.sampled_from(["uint16", "int16", "float32"]))
@settings(max_examples=15)
def test_lossless_is_lossless_for_any_bits(seed, dtype):
    random = np.random.default_rng(seed)
    bits = random.integers(0, 1 << 32, (1, 4, 9, 11), dtype=np.uint32)
    cube = bits.view("f4") if dtype == "float32" else bits.astype(dtype)
    (data,) = encode([cube], CodecConfig.parse(max_error=0, bands=BANDS, nodata=7))
    (found,) = decode([data])
    np.testing.assert_array_equal(found, cube)  # NaN payloads are not promised
    assert len(data) <= cube.nbytes * 1.02 + 200


def test_lossless_scenes_use_the_model():
    cube = scene((1, 12, 128, 128))
    data, found = round_trip(cube, CodecConfig.parse(max_error=0))
    assert inspect(data).header.mode == Mode.MODEL
    np.testing.assert_array_equal(found, cube)


def test_larger_lam_is_better_and_bigger():
    cube = scene((1, 4, 128, 128))
    sizes, errors = [], []
    for lam in (1, 10, 100, 1000, 10_000):
        data, found = round_trip(cube, config(lam))
        sizes.append(len(data))
        errors.append(((found.astype(float) - cube) ** 2).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


# -- the same integers and pixels everywhere ---------------------------------------------------


def test_the_c_extension_changes_nothing(monkeypatch):
    if _accel.native() is None:
        pytest.skip("the C extension is not built")
    cube = scene((2, 4, 45, 61))
    for settings_ in (config(20), CodecConfig.parse(max_error=0, bands=BANDS)):
        monkeypatch.setenv("TEC_DISABLE_NATIVE", "0")
        data, found = round_trip(cube, settings_)
        monkeypatch.setenv("TEC_DISABLE_NATIVE", "1")
        assert encode([cube], settings_) == [data]
        np.testing.assert_array_equal(decode([data], settings_)[0], found)


def test_batches_change_nothing():
    cubes = [scene((1, 4, 40, 40), seed) for seed in range(5)]
    cubes[2][:] = 0
    one = [encode([cube], config())[0] for cube in cubes]
    assert encode(cubes, config()) == one
    with set_options(batch_size=2):
        assert encode(cubes, config()) == one
        together = decode(one, config())
    for found, data in zip(together, one, strict=True):
        np.testing.assert_array_equal(found, decode([data], config())[0])


# -- bad input and damage ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 8, 8), np.uint16), "3 axes"),
        (np.zeros((1, 3, 8, 8), np.uint16), "3 bands"),
        (np.zeros((0, 4, 8, 8), np.uint16), "at least 1"),
        (np.zeros((1, 4, 8, 8), np.float64), "float64"),
        (np.full((1, 4, 8, 8), 1e6, np.float32), "states?|mask it"),
    ],
)
def test_arrays_that_the_configuration_does_not_describe(array, message):
    with pytest.raises(InvalidInput, match=message):
        encode([array], config())


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"lam": -1}, "lam"),
        ({"lam": 0}, "lam"),
        ({"lam": 1e30}, "smallest"),
        ({"lam": None}, "neither lam nor"),
        ({"lam": "much"}, "finite"),
        ({"lam": 20, "max_error": 0}, "lossless"),
        ({"max_error": -3}, "max_error"),
        ({"max_error": [1, 2]}, "one for each band"),
        ({"model": "fq"}, "'fp'"),
        ({"sensor": "landsat"}, "sentinel-2-l2a"),
        ({"bands": ["B02", "B99"]}, "B99"),
        ({"bands": ["B10"]}, "B10"),
        ({"bands": ["B02", "blue"]}, "more than once"),
        ({"weights": "maxi"}, "'mini'"),
        ({"weights": {"id": "mini-fp", "sha256": "12"}}, "hexadecimal"),
        ({"units": "radiance"}, "reflectance"),
        ({"scale": 0}, "scale"),
        ({"nodata": "none"}, "nodata"),
        ({"nodata": float("inf")}, "finite"),
        ({"quality": 3}, "flextec"),
    ],
)
def test_settings_that_are_not_allowed(keywords, message):
    with pytest.raises(InvalidInput, match=message):
        CodecConfig.parse(**({"lam": 20} if "max_error" not in keywords else {}) | keywords)


def test_configurations_come_back_from_json():
    import json

    for keywords in (
        {"lam": 20},
        {"max_error": 0, "nodata": None},
        {"lam": 3, "units": "reflectance"},
    ):
        settings_ = CodecConfig.parse(**keywords)
        assert CodecConfig.parse(**json.loads(json.dumps(settings_.to_json()))) == settings_


@pytest.fixture(scope="module")
def small():
    cube = scene((1, 2, 24, 20))
    cube[0, :, :4, :5] = 0
    settings_ = config(50, bands=BANDS[:2])
    return settings_, encode([cube], settings_)[0], cube.shape


def test_every_flipped_byte_and_every_truncation_is_found(small):
    settings_, data, shape = small
    for at in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[at] ^= flip
            with pytest.raises(CorruptChunk):
                decode([bytes(damaged)], settings_, shape)
        with pytest.raises(CorruptChunk):
            decode([data[:at]], settings_, shape)
    with pytest.raises(CorruptChunk):
        decode([data + b"\0"], settings_, shape)


def reseal(body):
    return bytes(body) + struct.pack("<I", container.crc32c(bytes(body)))


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_damage_under_a_recomputed_checksum(small, step):
    """Typed errors or pixels, and no memory beyond what the shape earns."""
    settings_, data, shape = small
    random = np.random.default_rng(0)
    decode([data], settings_, shape)  # loads the model
    tracemalloc.start()
    for at in range(0, len(data) - 4, step):
        for value in {int(random.integers(256)), 0, 255, data[at] ^ 1}:
            body = bytearray(data[:-4])
            body[at] = value
            try:
                (found,) = decode([reseal(body)], settings_, shape)
            except TecError:
                continue
            assert found.shape == shape
    for size in range(0, len(data) - 4, step):
        with pytest.raises(TecError):
            decode([reseal(data[:size])], settings_, shape)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_claim_larger_than_the_limit_is_refused():
    (data,) = encode([np.zeros((64, 4, 512, 512), np.uint16)], config())
    assert len(data) < 100
    with set_options(max_chunk_bytes=1 << 20), pytest.raises(CorruptChunk, match="max_chunk_bytes"):
        decode([data])
    with pytest.raises(CorruptChunk, match="another array"):
        decode([data], config(), (1, 4, 8, 8))


def test_weights_that_do_not_match(small):
    settings_, data, shape = small
    other = CodecConfig.parse(
        **settings_.to_json() | {"weights": {"id": "mini-fp-other", "sha256": "ab" * 32}}
    )
    with pytest.raises(WeightsError, match="as the array says"):
        decode([data], other, shape)
    with pytest.raises(WeightsError, match="TEC_WEIGHTS_DIR"):
        encode([np.ones(shape, np.uint16)], other)
    at = data.index(settings_.weights.prefix)
    renamed = reseal(data[:at] + b"x" + data[at + 1 : -4])
    with pytest.raises(WeightsError, match="begins with"):
        decode([renamed])


def test_weights_files_are_checked(tmp_path, monkeypatch, small):
    from tec_numcodecs.weights import local_store, safetensors_io

    settings_, *_ = small
    path = local_store.locate(settings_.weights)
    good = path.read_bytes()
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(good)
    assert set(safetensors_io.load(copy, settings_.weights.sha256)) == set(
        safetensors_io.load(path, settings_.weights.sha256)
    )
    copy.write_bytes(good[:-1] + bytes((good[-1] ^ 1,)))
    with pytest.raises(WeightsError, match="damaged or another version"):
        safetensors_io.load(copy, settings_.weights.sha256)
    with pytest.raises(WeightsError):
        safetensors_io.load(tmp_path / "nowhere", settings_.weights.sha256)
    junk = tmp_path / "junk"
    junk.write_bytes(b"no safetensors")
    digest = __import__("hashlib").sha256(b"no safetensors").hexdigest()
    with pytest.raises(WeightsError):
        safetensors_io.load(junk, digest)
    elsewhere = local_store.WeightsId("mini-fp-elsewhere", "cd" * 32)
    named = tmp_path / f"{elsewhere.sha256}.safetensors"
    named.write_bytes(good)
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(tmp_path))
    assert local_store.locate(elsewhere) == named

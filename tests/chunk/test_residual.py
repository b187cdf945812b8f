"""Promised error bounds hold: for every pixel, every dtype, every kind of hostile scene."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cubes import scene
from tec_numcodecs import inspect
from tec_numcodecs.chunk import decode, encode, residual
from tec_numcodecs.chunk.container import Mode, Section
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import CorruptChunk

BANDS = ("B02", "B03", "B04", "B08")
shapes = st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 19), st.integers(1, 19))


@given(shapes, st.integers(0, 2**32 - 1), st.sampled_from([0, 0.02, 1.5, 40, 3000]))
def test_residuals_come_back(shape, seed, spread):
    random = np.random.default_rng(seed)
    q = np.rint(random.laplace(0, max(spread, 1e-9), shape)).astype(np.int32)
    np.testing.assert_array_equal(residual.decode(residual.encode(q), shape), q)
    steps = np.where(np.arange(shape[1]) % 2 == 0, 3.0, 5.0)
    found_steps, found = residual.unpack(residual.pack(steps, q), shape)
    np.testing.assert_array_equal(found_steps, steps)
    np.testing.assert_array_equal(found, q)


@given(st.binary(max_size=80), shapes)
def test_residuals_of_random_bytes(data, shape):
    try:
        steps, q = residual.unpack(data, shape)
    except CorruptChunk:
        return
    assert (q.shape, steps.shape) == (shape, shape[1:2])


def hostile(kind, shape, seed):
    """Scenes that no model was made for."""
    random = np.random.default_rng(seed)
    flat = np.full(shape, 1500)
    pixel = flat.copy()
    pixel[..., shape[2] // 2, shape[3] // 2] = 65535
    lonely = np.zeros(shape, int)
    lonely[0, 0, 0, 0] = 4321
    return {
        "scene": scene(shape, seed),
        "noise": random.integers(0, 1 << 16, shape),
        "saturated": np.where(random.random(shape) < 0.3, 65535, flat),
        "pixel": pixel,
        "checkerboard": np.indices(shape).sum(axis=0) % 2 * 60000 + 2,
        "all but one": lonely,
        "dark": random.integers(0, 4, shape),  # next to nodata
    }[kind]


KINDS = ["scene", "noise", "saturated", "pixel", "checkerboard", "all but one", "dark"]


def check(cube, config, bound, data=None):
    (data,) = encode([cube], config) if data is None else (data,)
    (found,) = decode([data], config, cube.shape)
    missing = np.isnan(cube) if cube.dtype.kind == "f" else np.zeros(cube.shape, bool)
    if config.nodata is not None:
        missing |= cube == config.nodata
    np.testing.assert_array_equal(
        np.isnan(found) if cube.dtype.kind == "f" else found[missing],
        np.isnan(cube) if cube.dtype.kind == "f" else cube[missing],
    )
    error = np.abs(found.astype(np.float64) - cube.astype(np.float64))
    assert (missing | (error <= np.reshape(bound, (-1, 1, 1)))).all()
    assert len(data) <= cube.nbytes * 1.02 + 200
    return data


@pytest.mark.parametrize("examples", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_bounds_hold_for_every_pixel(examples):
    @given(
        st.sampled_from(KINDS),
        st.sampled_from(["<u2", ">i2"]),
        shapes.map(lambda s: (s[0], 4, *s[2:])),
        st.sampled_from([0, 1, 2, 5, 50, 500]),
        st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=examples)
    def run(kind, dtype, shape, bound, seed):
        cube = hostile(kind, shape, seed)
        if dtype == ">i2":
            cube = cube.astype(np.int64) - 20000
        cube = cube.astype(dtype)
        check(cube, CodecConfig.parse(max_error=bound, bands=BANDS), bound)

    run()


@given(
    st.sampled_from(KINDS), st.sampled_from([1e-4, 0.005, 0.05, 1e-7]), st.integers(0, 2**32 - 1),
    st.sampled_from([None, -1.0]),
)  # fmt: skip
def test_bounds_hold_for_reflectance(kind, bound, seed, nodata):
    random = np.random.default_rng(seed)
    cube = (hostile(kind, (1, 4, 11, 13), seed) / 10_000).astype(np.float32)
    cube[random.random(cube.shape) < 0.1] = np.nan
    if nodata is not None:
        cube[random.random(cube.shape) < 0.1] = nodata
    settings_ = CodecConfig.parse(max_error=bound, bands=BANDS, units="reflectance", nodata=nodata)
    check(cube, settings_, bound)


@pytest.mark.parametrize("bound", [0.001, 0.003, 0.01])
def test_bounds_of_reflectance_need_no_lossless_chunk(bound):
    """Residuals that lie exactly on the bound must not be pushed over it by rounding."""
    cube = scene((1, 4, 64, 64), dtype=np.float32)
    config = CodecConfig.parse(max_error=bound, bands=BANDS, units="reflectance")
    assert inspect(check(cube, config, bound)).header.mode == Mode.MODEL


def test_bounds_by_band():
    cube = scene((1, 4, 64, 64))
    bounds = [5, 50, 0, 500]
    config = CodecConfig.parse(max_error=bounds, bands=BANDS)
    check(cube, config, bounds)
    assert CodecConfig.parse(**json.loads(json.dumps(config.to_json()))) == config


def test_a_wider_bound_is_smaller_and_needs_a_residual():
    cube = scene((1, 4, 128, 128))
    sizes = []
    for bound in (1, 5, 20, 80, 300):
        data = check(cube, CodecConfig.parse(max_error=bound, bands=BANDS), bound)
        info = inspect(data)
        assert info.header.mode == Mode.MODEL
        sizes.append(len(data))
    assert sizes == sorted(sizes, reverse=True)
    assert Section.RESIDUAL.name.lower() in info.sections


def test_a_rate_and_a_bound_together():
    cube = scene((1, 4, 64, 64))
    config = CodecConfig.parse(lam=500, max_error=30, bands=BANDS)
    data = check(cube, config, 30)
    assert inspect(data).header.model.rate_index == config.rate().index
    loose = CodecConfig.parse(lam=500, max_error=60_000, bands=BANDS)
    assert "residual" not in inspect(check(cube, loose, 60_000)).sections


def test_tables_are_frozen():
    """The format depends on these integers."""
    import hashlib

    tables = residual._tables()
    digest = hashlib.sha256(tables.cdf.astype("<u2").tobytes()).hexdigest()
    assert digest == "2714ff35c43f61e9e82efc31beea3835fdd4fb3496bb41370dbf12741847ad2b"

"""The reversible transforms: exactly invertible, the same in C and NumPy, close to real ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tec_numcodecs import native
from tec_numcodecs.models.mini.transform import dwt97, klt, quantizer
from tec_numcodecs.models.mini.transform.wavelet_klt import (
    LOW,
    Codebook,
    Transform,
    level_sizes,
    subband_sizes,
)
from tec_numcodecs.sensors import get_sensor

native_only = pytest.mark.skipif(native.native() is None, reason="the C extension is not built")

planes = st.tuples(st.integers(1, 3), st.integers(1, 21), st.integers(1, 21))
seeds = st.integers(0, 2**32 - 1)


def random_planes(shape, seed, limit=1 << 20):
    return np.random.default_rng(seed).integers(-limit, limit, shape).astype(np.int32)


def covariances(n, seed, count=4):
    random = np.random.default_rng(seed)
    factors = random.normal(size=(count, n, n)) * random.gamma(1.0, 300.0, size=(count, 1, n))
    return factors @ factors.swapaxes(1, 2)


@given(planes, seeds)
def test_lifting_is_exactly_reversible(shape, seed):
    x = random_planes(shape, seed)
    low, detail = dwt97.forward(x)
    np.testing.assert_array_equal(dwt97.inverse(low, detail, *shape[1:]), x)


@native_only
@given(planes, seeds)
def test_lifting_in_c_equals_numpy(shape, seed):
    x = random_planes(shape, seed)
    with pytest.MonkeyPatch.context() as patch:
        compiled = dwt97.forward(x)
        back = dwt97.inverse(*compiled, *shape[1:])
        patch.setenv("TEC_DISABLE_NATIVE", "1")
        assert native.native() is None
        for ours, theirs in zip(dwt97.forward(x), compiled, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(dwt97.inverse(*compiled, *shape[1:]), back)


def test_lifting_leaves_its_inputs_alone():
    x = random_planes((2, 9, 12), 0)
    low, detail = dwt97.forward(x)
    copies = low.copy(), detail.copy()
    dwt97.inverse(low, detail, 9, 12)
    np.testing.assert_array_equal(low, copies[0])
    np.testing.assert_array_equal(detail, copies[1])


def test_subbands_that_do_not_exist_are_zero():
    _, detail = dwt97.forward(random_planes((1, 5, 7), 1))
    assert not detail[0, 0, :, -1].any()  # HL has floor(7 / 2) columns
    assert not detail[0, 1, -1, :].any()  # LH has floor(5 / 2) rows
    assert not detail[0, 2, -1, :].any()
    assert not detail[0, 2, :, -1].any()


def test_a_ramp_has_no_detail_and_a_constant_keeps_its_gain():
    # Four vanishing moments: up to rounding, the high-pass of a cubic polynomial is zero.
    x = np.broadcast_to(1000 + 40 * np.arange(64), (1, 64, 64)).astype(np.int32)
    _, detail = dwt97.forward(x)
    assert np.abs(detail[0, :, 4:-4, 4:-4]).max() <= 2
    constant = np.full((1, 64, 64), 4000, np.int32)
    low, _ = dwt97.forward(constant)
    # An orthonormal low-pass doubles a constant; the lifting lacks GAIN once along each axis.
    assert abs(low[0, 16, 16] * dwt97.GAIN**2 / 8000 - 1) < 1e-3


@given(st.integers(1, 8), seeds)
def test_klt_is_exactly_reversible(n, seed):
    transforms = klt.derive(covariances(n, seed))
    x = random_planes((n, 33), seed, 1 << 18)
    for k in range(4):
        np.testing.assert_array_equal(transforms.inverse(k, transforms.forward(k, x)), x)


@native_only
@given(st.integers(1, 13), seeds, st.integers(1, 1100))
def test_klt_in_c_equals_numpy(n, seed, pixels):
    transforms = klt.derive(covariances(n, seed, 1))
    x = random_planes((n, pixels), seed, 1 << 18)
    with pytest.MonkeyPatch.context() as patch:
        forward, inverse = transforms.forward(0, x), transforms.inverse(0, x)
        patch.setenv("TEC_DISABLE_NATIVE", "1")
        np.testing.assert_array_equal(transforms.forward(0, x), forward)
        np.testing.assert_array_equal(transforms.inverse(0, x), inverse)


@given(st.integers(1, 13), seeds)
def test_eigenvectors_diagonalise(n, seed):
    matrices = covariances(n, seed)
    rows = klt.eigenvectors(matrices)
    np.testing.assert_allclose(
        rows @ rows.swapaxes(1, 2), np.broadcast_to(np.eye(n), rows.shape), atol=1e-12
    )
    rotated = rows @ matrices @ rows.swapaxes(1, 2)
    values = np.diagonal(rotated, axis1=1, axis2=2)
    expected = np.linalg.eigvalsh(matrices)[:, ::-1]
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-6)
    off = rotated - values[:, :, None] * np.eye(n)
    assert np.abs(off).max() <= 1e-9 * np.abs(values).max()


def test_eigenvectors_of_diagonal_and_zero_matrices():
    diagonal = np.diag([1.0, 5.0, 3.0])
    rows = klt.eigenvectors(np.stack([diagonal, np.zeros((3, 3))]))
    np.testing.assert_array_equal(rows[0], np.eye(3)[[1, 2, 0]])
    np.testing.assert_array_equal(rows[1], np.eye(3))


def test_klt_approximates_the_orthonormal_transform():
    rows_of = klt.derive(covariances(12, 7))
    x = random_planes((12, 4096), 7, 4000)
    for k in range(4):
        exact = rows_of.rows[k] @ x
        # One component may have its sign changed: the determinant of the lifting is one.
        lifted = rows_of.forward(k, x).astype(np.float64)
        sign = np.sign((exact * lifted).sum(axis=1, keepdims=True))
        assert np.abs(lifted - sign * exact).std() < 5


@pytest.fixture(scope="module")
def transform():
    sensor = get_sensor("sentinel-2-l2a")
    matrices = covariances(12, 3, 12).reshape(2, 6, 12, 12).astype(np.float32)
    return Transform(Codebook(sensor, matrices), tuple(range(12)))


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (32, 32), (33, 70)])
def test_transform_is_exactly_reversible(transform, size):
    cube = np.random.default_rng(0).integers(0, 1 << 16, (2, 12, *size)).astype(np.int32)
    found = transform.forward(cube, 0)
    sizes = subband_sizes(*size)
    assert found.low.shape == (2, 12, *sizes[LOW])
    assert [d.shape for d in found.detail] == [(2, 12, 3, *s) for s in sizes[:LOW]]
    np.testing.assert_array_equal(transform.inverse(found, *size), cube)


def test_sizes_follow_the_lifting():
    assert level_sizes(264, 1) == [(264, 1), (132, 1), (66, 1), (33, 1), (17, 1), (9, 1)]


def test_steps_double_every_octave_and_are_one_when_lossless():
    assert (quantizer.steps(0) == quantizer.STEP_UNIT).all()
    for index in range(96, quantizer.MAX_RATE_INDEX - 15):
        ratio = quantizer.steps(index + 16) / quantizer.steps(index)
        assert np.abs(ratio - 2).max() < 0.01
    table = quantizer.steps(160)
    assert table[0, 0] == 16 << 10  # level 0 of HL is orthonormal as it is: 2^10 DN


@pytest.mark.parametrize("index", [-1, quantizer.MAX_RATE_INDEX + 1])
def test_rate_index_out_of_range(index):
    with pytest.raises(ValueError, match="allowed: 0"):
        quantizer.steps(index)


@given(st.integers(0, quantizer.MAX_RATE_INDEX), seeds)
def test_dequantised_values_lie_in_their_interval(index, seed):
    step = int(quantizer.steps(index)[1, 2])
    limit = (1 << 20) * quantizer.STEP_UNIT // step
    q = np.random.default_rng(seed).integers(-limit, limit + 1, 50).astype(np.int32)
    values = quantizer.dequantise(q, step, np.int64(20))
    error = np.abs(values - q * (step / quantizer.STEP_UNIT))
    assert (error <= step / quantizer.STEP_UNIT / 2 + 1).all()
    assert (np.sign(values) * np.sign(q) >= 0).all()


def test_impossible_coefficients_are_refused():
    with pytest.raises(ValueError, match="a coefficient of"):
        quantizer.dequantise(np.array([1 << 30], np.int32), 1 << 10)


@given(st.floats(0.2, 1e6))
def test_more_lam_never_means_a_larger_step(lam):
    assert quantizer.rate_index_of(lam) >= quantizer.rate_index_of(lam * 1.3)

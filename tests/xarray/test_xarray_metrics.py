"""Metrics against slow, obvious implementations, and sums over blocks against the whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tec_numcodecs.rate_control import PEAK
from tec_xarray.cube.units import DNScaling
from tec_xarray.report.metrics import HISTOGRAM_LIMIT, Plan, Tally, tally


def pair(seed: int, shape: tuple[int, ...], noise: float = 50.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = rng.uniform(0, 5000, shape)
    return a, a + rng.normal(0, noise, shape)


def slow_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the map of Wang et al. 2004, equation 13, with SciPy's filter and two passes."""

    def blur(x: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    return (
        (2 * mean_a * mean_b + c1) * (2 * cov + c2)
        / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    )  # fmt: skip


def test_ssim_against_scipy() -> None:
    a, b = pair(0, (1, 1, 40, 33), noise=800)
    found = tally(a, b)
    expected = slow_ssim(a[0, 0], b[0, 0])
    assert found.windows[0, 0] == expected.size
    assert found.ssim[0, 0] == pytest.approx(expected.sum(), rel=1e-10)
    assert 0.5 < found.ssim[0, 0] / expected.size < 0.999


def test_ssim_leaves_out_windows_with_missing_pixels() -> None:
    a, b = pair(1, (1, 1, 30, 30))
    a[0, 0, 12, 17] = b[0, 0, 12, 17] = np.nan
    found = tally(a, b)
    valid = np.isfinite(a)
    a, b = pair(1, (1, 1, 30, 30))
    whole = ndimage.minimum_filter(valid[0, 0], 11)[5:-5, 5:-5]
    assert found.windows[0, 0] == whole.sum() == 400 - 121
    assert found.ssim[0, 0] == pytest.approx(slow_ssim(a[0, 0], b[0, 0])[whole].sum())


def test_ssim_of_what_is_smaller_than_a_window() -> None:
    a, b = pair(2, (1, 2, 10, 300))
    found = tally(a, b)
    assert not found.windows.any()
    assert found.count.sum() == a.size


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4))
def test_sums_against_the_obvious(seed: int, T: int, C: int) -> None:
    a, b = pair(seed, (T, C, 6, 5))
    rng = np.random.default_rng(seed + 1)
    valid, decoded_valid = rng.random(a.shape) > 0.3, rng.random(a.shape) > 0.1
    both = valid & decoded_valid
    found = tally(np.where(valid, a, np.nan), np.where(decoded_valid, b, np.nan))
    for t in range(T):
        for c in range(C):
            error = (b - a)[t, c][both[t, c]]
            assert found.count[t, c] == error.size
            assert found.error[t, c] == pytest.approx(error.sum())
            assert found.square[t, c] == pytest.approx((error**2).sum())
            assert found.peak[t, c] == np.abs(error).max(initial=0)
            assert found.mask_errors[t, c] == (valid != decoded_valid)[t, c].sum()
    assert abs(b - a)[found.worst] == found.peak.max() or not both.any()


@given(st.integers(0, 10**6))
def test_spectral_angle_against_the_arc_cosine(seed: int) -> None:
    a, b = pair(seed, (2, 4, 3, 3), noise=500)
    u, v = a[0].copy(), b[0].copy()
    a[0, 2, 1, 1] = np.nan
    found = tally(a, b, plan=Plan(ssim=False))
    cosine = (u * v).sum(0) / np.sqrt((u * u).sum(0) * (v * v).sum(0))
    keep = np.isfinite(a[0]).all(0)
    assert found.spectra.tolist() == [8, 9]
    assert found.angle[0] == pytest.approx(np.arccos(cosine[keep]).sum(), rel=1e-6)


def test_spectral_angle_is_exact_where_the_arc_cosine_is_not() -> None:
    a = np.array([1.0, 0.0]).reshape(1, 2, 1, 1)
    b = np.array([1.0, 1e-9]).reshape(1, 2, 1, 1)
    found = tally(a, b)
    assert found.angle[0] == pytest.approx(1e-9, rel=1e-6)
    dark = np.zeros_like(a)
    assert tally(dark, a).spectra[0] == 0


def test_blocks_add_up() -> None:
    a, b = pair(5, (4, 2, 8, 6))
    a[np.random.default_rng(9).random(a.shape) < 0.2] = np.nan
    plan = Plan(indices=((0, 1),), tile=(5, 4), ssim=False)
    whole = tally(a, b, plan=plan)
    total = Tally.zeros(4, 2, (2, 2), 1)
    for t in (0, 2):
        for y in (0, 3):
            part = (slice(t, t + 2), slice(None), slice(y, 3 if y == 0 else 8))
            block = tally(a[part], b[part], plan=plan, corner=(y % 5, 0))
            total.add(block, (t, y, 0), (y // 5, 0))
    for field in dataclasses.fields(Tally):
        np.testing.assert_allclose(
            getattr(total, field.name), getattr(whole, field.name), err_msg=field.name
        )
    assert total.tile_count.sum() == total.count.sum() == total.histogram.sum()


@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 7))
def test_tiles_against_the_obvious(seed: int, down: int, across: int) -> None:
    a, b = pair(seed, (2, 3, 9, 8))
    a[np.random.default_rng(seed).random(a.shape) < 0.3] = np.nan
    corner = (seed % down, seed % across)
    found = tally(a, b, plan=Plan(tile=(down, across), ssim=False), corner=corner)
    error = np.abs(b - a)
    rows = (np.arange(9) + corner[0]) // down
    columns = (np.arange(8) + corner[1]) // across
    assert found.tile_count.shape == (2, rows[-1] + 1, columns[-1] + 1)
    for t in range(2):
        for y in range(rows[-1] + 1):
            for x in range(columns[-1] + 1):
                own = error[t][:, rows == y][:, :, columns == x]
                own = own[np.isfinite(own)]
                assert found.tile_count[t, y, x] == own.size
                assert found.tile_square[t, y, x] == pytest.approx((own**2).sum())
                assert found.tile_peak[t, y, x] == own.max(initial=0)


def test_histogram_counts_rounded_errors_and_what_lies_beyond() -> None:
    a = np.zeros((1, 2, 2, 3))
    errors = np.array([[0, 0.4, -3, 5.6, 99_999, -2001], [1, 1, 1, 1, 1, np.nan]])
    found = tally(a, a + errors.reshape(a.shape), plan=Plan(ssim=False)).histogram
    middle = HISTOGRAM_LIMIT
    assert {i - middle: n for i, n in enumerate(found[0]) if n} == {
        0: 2, -3: 1, 6: 1, middle: 1, -middle: 1,
    }  # fmt: skip
    assert found[1, middle + 1] == found[1].sum() == 5


def test_index_errors_against_the_obvious() -> None:
    a, b = pair(7, (2, 3, 6, 5), noise=400)
    a[0, 0, 0, 0] = np.nan
    a[0, [0, 2], 1, 1] = 0  # no index there
    b[1, [0, 2], 2, 2] = 0  # index 0 there
    found = tally(a, b, plan=Plan(indices=((2, 0),), ssim=False))
    with np.errstate(invalid="ignore", divide="ignore"):
        ours = (b[:, 2] - b[:, 0]) / (b[:, 2] + b[:, 0])
        theirs = (a[:, 2] - a[:, 0]) / (a[:, 2] + a[:, 0])
    ours[1, 2, 2] = 0
    for t, missing in ((0, 2), (1, 0)):
        error = (ours - theirs)[t]
        error = error[np.isfinite(error)]
        assert found.index_count[t, 0] == error.size == 30 - missing
        assert found.index_error[t, 0] == pytest.approx(error.sum())
        assert found.index_square[t, 0] == pytest.approx((error**2).sum())
        assert found.index_peak[t, 0] == pytest.approx(abs(error).max())
    assert found.index_histogram.sum() == 58


def test_scaling() -> None:
    stored = np.array([[0, 1500, 2500], [1000, 65535, 7]], np.uint16)
    dn, valid = DNScaling(scale=0.5, offset=1000, nodata=0).apply(stored)
    assert valid.tolist() == [[False, True, True], [True, True, True]]
    assert dn[0, 1:].tolist() == [1000, 3000]
    floats = np.array([0.1, np.nan, -1.0], np.float32)
    dn, valid = DNScaling(scale=1e-4, nodata=-1.0).apply(floats)
    assert valid.tolist() == [True, False, False]
    assert dn[0] == pytest.approx(1000)

"""Engines that look at a pixel's own dates: what each gives where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from tec_xarray.gapfill.series import Series
from tec_xarray.gapfill.temporal import (
    METHODS,
    SMOOTHNESS,
    Temporal,
    harmonic,
    linear,
    median,
    nearest,
    whittaker,
)

DAYS = np.array([0.0, 10, 20, 50, 90])


def one(values, hidden=()):
    """A pixel of one band: values (T, 1, 1), clear (T, 1)."""
    clear = np.ones((len(values), 1), bool)
    clear[list(hidden)] = False
    return np.array(values, np.float32)[:, None, None], clear


def test_nearest_takes_the_earlier_of_two_dates_at_the_same_distance():
    values, clear = one([1, 2, 3, 4, 5])
    assert nearest(values, clear, DAYS, 1) == 1
    assert nearest(values, clear, DAYS, 3) == 3
    assert nearest(*one([1, 2, 3, 4, 5], hidden=[2]), DAYS, 3) == 2  # 40 days before and after
    assert nearest(*one([1, 2, 3, 4, 5], hidden=[1, 2]), DAYS, 3) == 5


def test_linear_lies_on_the_line_and_ends_are_the_nearest():
    values, clear = one(7 + 2 * DAYS)
    assert linear(values, clear, DAYS, 3) == pytest.approx(107)
    assert linear(values, clear, DAYS, 0) == 27
    assert linear(values, clear, DAYS, 4) == 107


def test_median_of_the_dates_within_sixty_days():
    values, clear = one([1, 5, 9, 100, 3])
    assert median(values, clear, DAYS, 2) == pytest.approx(5)  # 90 is 70 days away
    assert median(*one([1, 5, 9, 100, 3], hidden=[2, 3]), DAYS, 4) == 5


def test_harmonic_finds_a_season():
    days = np.arange(0, 1400, 20.0)
    values, clear = one(1000 + 300 * np.sin(2 * np.pi * days / 365.25))
    clear[7:12] = False
    assert harmonic(values, clear, days, 9) == pytest.approx(float(values[9, 0, 0]), abs=15)


def test_whittaker_solves_the_system_that_it_says():
    random = np.random.default_rng(1)
    days = np.cumsum(random.integers(1, 20, 12)).astype(float)
    values = random.normal(1000, 100, (12, 2, 6)).astype(np.float32)
    clear = random.random((12, 6)) > 0.3
    D = np.zeros((10, 12))
    for i in range(10):
        a, b = days[i + 1] - days[i], days[i + 2] - days[i + 1]
        D[i, i : i + 3] = np.array([1 / a, -1 / a - 1 / b, 1 / b]) * np.sqrt(2 / (a + b))
    for date in (0, 5, 11):
        found = whittaker(values, clear, days, date)
        for n in range(6):
            weights = clear[:, n].astype(float)
            weights[date] = 0
            right = weights[:, None] * values[:, :, n]
            there = values[weights > 0, :, n]
            expected = np.linalg.solve(np.diag(weights) + SMOOTHNESS * D.T @ D, right)[date]
            expected = expected.clip(there.min(axis=0), there.max(axis=0))
            np.testing.assert_allclose(found[:, n], expected, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_hidden_is_never_looked_at(method):
    random = np.random.default_rng(0)
    values = random.normal(1000, 100, (9, 2, 8, 8)).astype(np.float32)
    clear = random.random((9, 8, 8)) > 0.4
    clear[:, 0, 0] = False
    days, hidden = np.arange(9) * 15.0, np.flatnonzero(~clear[4])
    found = []
    for rubbish in (np.nan, 1e30, -7):
        dirty = np.where(clear[:, None], values, np.float32(rubbish))
        found.append(Temporal(Series(dirty, clear, days), method).estimate(4, hidden))
    for other in found[1:]:
        np.testing.assert_array_equal(other.values, found[0].values)
        np.testing.assert_array_equal(other.error, found[0].error)
    assert np.isnan(found[0].values[:, 0]).all()  # nothing is clear there on any date
    assert np.isfinite(found[0].values[:, 1:]).all()
    assert (found[0].error[:, 1:] > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_two_dates_and_equal_dates_do(method):
    values = np.arange(2 * 16, dtype=np.float32).reshape(2, 1, 4, 4)
    for days in (np.array([0.0, 5.0]), np.array([3.0, 3.0])):
        clear = np.ones((2, 4, 4), bool)
        clear[0, :2] = False
        found = Temporal(Series(values, clear, days), method).estimate(0, np.arange(8))
        np.testing.assert_allclose(found.values, values[1].reshape(1, -1)[:, :8], rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_nine_of_ten_hidden_pixels_lie_within_the_error(method):
    random = np.random.default_rng(3)
    days = np.arange(30) * 12.0
    season = 1000 + 200 * np.sin(2 * np.pi * days / 365.25)
    values = season[:, None, None, None] + random.normal(0, 30, (30, 1, 40, 40))
    values = values.astype(np.float32)
    clear = random.random((30, 40, 40)) > 0.3
    inside = []
    for date in range(0, 30, 5):
        hidden = np.flatnonzero(~clear[date])
        found = Temporal(Series(values, clear, days), method).estimate(date, hidden)
        inside.append(np.abs(found.values - values[date].reshape(1, -1)[:, hidden]) <= found.error)
    assert np.concatenate(inside, axis=1).mean() == pytest.approx(0.9, abs=0.03)

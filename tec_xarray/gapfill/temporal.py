"""Engines that look at a pixel's own dates only: baselines, and what is left without a clear part.

Every function estimates one date from the other dates, pixel by pixel:

``nearest``
    The clear date that is nearest in time; the earlier of two.
``linear``
    Between the last clear date before and the first one after; beyond the ends, the nearest.
``median``
    Of the clear dates within `WINDOW` days; where there is none, the nearest.
``harmonic``
    Least squares of a constant, a trend and up to three harmonics of a year, with a small ridge
    penalty, as in Roerink et al., "Reconstructing cloudfree NDVI composites using Fourier analysis
    of time series", IJRS 21(9), 2000, without its rejection of outliers.
``whittaker``
    Eilers, "A perfect smoother", Analytical Chemistry 75(14), 2003, with second differences for
    dates at any distance.

The last two may leave what a pixel ever showed far behind at the ends of a series; they are kept
within the values of its clear dates. Errors are measured by leaving out what is clear: the same
function estimates clear pixels of the same date as if they were hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tec_xarray.gapfill.series import Estimate, Floats, Mask, Series

Days: TypeAlias = NDArray[np.float64]

WINDOW = 60.0  # days each way of the median
YEAR = 365.25  # days
HARMONICS = 3
SMOOTHNESS = 1e4  # cubic days: what a squared second derivative weighs against a squared error
COVERAGE = 0.9  # of intervals
_RIDGE = 1e-3
_SAMPLE = 1000  # clear pixels at which an error is measured
_BATCH = 1 << 14  # pixels at a time, which bounds memory


def nearest(values: Floats, clear: Mask, days: Days, date: int) -> Floats:
    """Return (C, n) for values (T, C, n), clear (T, n); NaN where no date is clear."""
    return composites(values, np.arange(clear.shape[1]), clear, days, date)[0]


def linear(values: Floats, clear: Mask, days: Days, date: int) -> Floats:
    """Return (C, n) for values (T, C, n), clear (T, n); NaN where no date is clear."""
    return composites(values, np.arange(clear.shape[1]), clear, days, date)[1]


def composites(
    values: NDArray[Any], pixels: NDArray[np.intp], clear: Mask, days: Days, date: int
) -> tuple[Floats, Floats]:
    """Return the nearest clear dates and the line between them, at some pixels.

    Parameters
    ----------
    values : array, shape (T, C, P)
    pixels : int array, shape (n,)
        Which of the P.
    clear : bool array, shape (T, n)
        Of these pixels. The date itself is not looked at.
    days : float64 array, shape (T,)
    date : int

    Returns
    -------
    two float32 arrays, shape (C, n)
        NaN where no date is clear.
    """
    before, after = _neighbors(clear, date)
    gap = _gaps(days, date, before, after)
    near = np.full((values.shape[1], len(pixels)), np.nan, np.float32)
    some = np.flatnonzero(np.isfinite(gap).any(axis=0))
    pick = np.where(gap[0] <= gap[1], before, after)[some]
    near[:, some] = values[pick, :, pixels[some]].T
    line = near.copy()
    both = np.flatnonzero(np.isfinite(gap).all(axis=0) & (gap.sum(axis=0) > 0))
    share = (gap[0, both] / gap[:, both].sum(axis=0)).astype(np.float32)
    first = values[before[both], :, pixels[both]].T.astype(np.float32)  # (C, n)
    last = values[after[both], :, pixels[both]].T.astype(np.float32)
    line[:, both] = first + share * (last - first)
    return near, line


def median(values: Floats, clear: Mask, days: Days, date: int) -> Floats:
    """Return (C, n) for values (T, C, n), clear (T, n); NaN where no date is clear."""
    near = np.flatnonzero(np.abs(days - days[date]) <= WINDOW)
    near = near[near != date]
    found = nearest(values, clear, days, date)
    some = np.flatnonzero(clear[near].any(axis=0))
    if some.size:
        stack = np.where(clear[near][:, None, some], values[near][:, :, some], np.nan)
        found[:, some] = np.nanmedian(stack, axis=0)
    return found


def harmonic(values: Floats, clear: Mask, days: Days, date: int) -> Floats:
    """Return (C, n) for values (T, C, n), clear (T, n); NaN where no date is clear."""
    others = np.delete(np.arange(len(days)), date)
    since = (days - days[date]) / YEAR  # the constant is the value at the date itself
    waves = min(HARMONICS, max(0, (len(others) - 2) // 4))
    angle = 2 * np.pi * since[:, None] * np.arange(1, waves + 1)
    design = np.hstack([np.ones((len(days), 1)), since[:, None], np.cos(angle), np.sin(angle)])
    weights = clear[others].astype(np.float64)  # (T - 1, n)
    X = design[others]
    seen = weights.sum(axis=0)
    center = np.einsum("tn,tcn->cn", weights, values[others]) / np.maximum(seen, 1)
    gram = np.einsum("ta,tn,tb->nab", X, weights, X)
    gram += np.maximum(seen, 1)[:, None, None] * _RIDGE * np.eye(X.shape[1])
    moment = np.einsum("ta,tn,tcn->nac", X, weights, values[others] - center)
    fitted = np.linalg.solve(gram, moment)  # (n, a, C)
    found = (np.einsum("a,nac->cn", design[date], fitted) + center).astype(np.float32)
    found[:, seen == 0] = np.nan
    return _inside(found, values[others], clear[others])


def whittaker(values: Floats, clear: Mask, days: Days, date: int) -> Floats:
    """Return (C, n) for values (T, C, n), clear (T, n); NaN where no date is clear."""
    found = nearest(values, clear, days, date)
    weights = clear.copy()
    weights[date] = False
    enough = np.flatnonzero(weights.sum(axis=0) >= 2)
    distinct, place = np.unique(days, return_inverse=True)
    if len(distinct) < 3 or not enough.size:
        return found
    total = np.zeros((len(distinct), enough.size))
    np.add.at(total, place, weights[:, enough])
    right = np.zeros((len(distinct), values.shape[1], enough.size))
    np.add.at(right, place, np.where(weights[:, None, enough], values[:, :, enough], 0.0))
    found[:, enough] = _smooth(total, right, SMOOTHNESS * _roughness(distinct))[place[date]]
    return _inside(found, values, weights)


METHODS: Mapping[str, Callable[[Floats, Mask, Days, int], Floats]] = MappingProxyType(
    {
        "nearest": nearest,
        "linear": linear,
        "median": median,
        "harmonic": harmonic,
        "whittaker": whittaker,
    }
)
#: Methods that mean days, and cannot do with the order of the dates alone.
NEED_DATES = ("median", "harmonic", "whittaker")


class Temporal:
    """An engine out of one of the functions of this module.

    Parameters
    ----------
    series : Series
    method : str
        A key of `METHODS`.
    """

    def __init__(self, series: Series, method: str) -> None:
        self._series = series
        self._function = METHODS[method]

    def estimate(self, date: int, pixels: NDArray[np.intp]) -> Estimate:
        """Estimate one date at flat positions (n,) of the window; see `Engine`."""
        parts = range(0, len(pixels), _BATCH)
        found = [self._values(date, pixels[k : k + _BATCH]) for k in parts]
        values = np.concatenate(found, axis=1) if found else self._values(date, pixels)
        return Estimate(values, np.where(np.isnan(values), np.nan, self._error(date)[:, None]))

    def _values(self, date: int, pixels: NDArray[np.intp]) -> Floats:
        series = self._series
        T, C = series.values.shape[:2]
        values = series.values.reshape(T, C, -1)[:, :, pixels].astype(np.float32)
        clear = series.clear.reshape(T, -1)[:, pixels].copy()
        clear[date] = False  # it is hidden, or hidden on purpose to measure the error
        values[np.broadcast_to(~clear[:, None], values.shape)] = 0.0  # NaN would spread
        return self._function(values, clear, series.days, date)

    def _error(self, date: int) -> Floats:
        """Return the error of each band: of clear pixels of the date, or else of other dates."""
        own = self._residuals(date, _SAMPLE)
        if own.shape[1] >= 30:
            return np.quantile(own, COVERAGE, axis=1).astype(np.float32)
        dates = np.argsort(np.abs(self._series.days - self._series.days[date]), kind="stable")
        some = [self._residuals(int(t), _SAMPLE // 8) for t in dates[1:17]]
        pooled = np.concatenate([own, *some], axis=1)
        if not pooled.shape[1]:
            return np.full(self._series.bands, np.nan, np.float32)
        return np.quantile(pooled, COVERAGE, axis=1).astype(np.float32)

    def _residuals(self, date: int, most: int) -> Floats:
        """Return absolute errors (C, n) at clear pixels of a date."""
        pixels = np.flatnonzero(self._series.clear[date])
        pixels = pixels[:: max(1, len(pixels) // most)]
        apart: Any = np.abs(self._values(date, pixels) - self._series.at(date, pixels))
        return apart[:, np.isfinite(apart).all(axis=0)]


def _neighbors(clear: Mask, date: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the last clear date before and the first after, -1 and T without: (n,) each."""
    T = len(clear)
    index = np.arange(T)[:, None]
    before = np.where(clear[:date], index[:date], -1).max(axis=0, initial=-1)
    after = np.where(clear[date + 1 :], index[date + 1 :], T).min(axis=0, initial=T)
    return before, after


def _gaps(days: Days, date: int, before: NDArray[np.intp], after: NDArray[np.intp]) -> Days:
    """Return days to both neighbors, infinite without: (2, n)."""
    padded = np.append(days, np.inf)
    return np.stack(
        [
            np.where(before < 0, np.inf, days[date] - padded[before]),
            padded[after] - days[date],
        ]
    )


def _inside(found: Floats, values: Floats, clear: Mask) -> Floats:
    """Keep what was fitted (C, n) between the least and the largest value of each pixel."""
    there = clear[:, None]
    low = np.where(there, values, np.inf).min(axis=0)
    high = np.where(there, values, -np.inf).max(axis=0)
    return np.where(low <= high, np.clip(found, low, high), found)


def _roughness(days: Days) -> NDArray[np.float64]:
    """Return the penalty of squared second derivatives as three diagonals: (3, T)."""
    T = len(days)
    first, second = np.diff(days)[:-1], np.diff(days)[1:]
    mean = (first + second) / 2
    rows = np.stack([1 / (first * mean), -1 / (first * mean) - 1 / (second * mean),
                     1 / (second * mean)])  # fmt: skip
    bands = np.zeros((3, T))
    for a in range(3):
        for b in range(a, 3):
            bands[b - a, a : a + T - 2] += mean * rows[a] * rows[b]
    return bands


def _smooth(
    weights: NDArray[np.float64], right: NDArray[np.float64], penalty: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solve (diag(weights) + penalty) z = right for every pixel by elimination.

    Weights (T, n), right (T, C, n) -> (T, C, n). The matrices have five diagonals.
    """
    T = len(weights)
    pivot = np.empty_like(weights)
    one, two = np.zeros_like(weights), np.zeros_like(weights)  # factors below the diagonal
    solved = right.copy()
    for i in range(T):
        pivot[i] = weights[i] + penalty[0, i]
        if i >= 2:
            two[i] = penalty[2, i - 2] / pivot[i - 2]
            pivot[i] -= two[i] ** 2 * pivot[i - 2]
            solved[i] -= two[i] * solved[i - 2]
        if i >= 1:
            below = penalty[1, i - 1] - (two[i] * one[i - 1] * pivot[i - 2] if i >= 2 else 0.0)
            one[i] = below / pivot[i - 1]
            pivot[i] -= one[i] ** 2 * pivot[i - 1]
            solved[i] -= one[i] * solved[i - 1]
        pivot[i] = np.maximum(pivot[i], 1e-12)
    solved /= pivot[:, None]
    for i in range(T - 2, -1, -1):
        solved[i] -= one[i + 1] * solved[i + 1]
        if i + 2 < T:
            solved[i] -= two[i + 2] * solved[i + 2]
    return solved

"""The default engine: the clear part of a date against the other dates.

Three estimators are fitted on clear pixels of the date: linear regression, regression on random
features, and closest spectral fit. How they are blended is decided by cross-validation on clear
pixels of the same date, hidden under clouds of the shape of those that are really there. What the
blend misses beside a gap is carried into it, so that no seam shows. The same cross-validation says
how large errors are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from tec_xarray.gapfill.calibration import ErrorModel
from tec_xarray.gapfill.holdout import folds
from tec_xarray.gapfill.neighbors import ClosestFit, Nearby
from tec_xarray.gapfill.predictors import predictors
from tec_xarray.gapfill.regression import RandomFeatures, Ridge, Scaler, principal
from tec_xarray.gapfill.series import Estimate, Floats, Mask, Series
from tec_xarray.gapfill.temporal import Temporal

FEWEST = 200  # clear pixels of a date, or else only time is left
MOST = 8000  # clear pixels that estimators are fitted on
_AXES = 32, 10  # principal axes for random features, for closest fit
_REACHES = 2.0, 8.0  # pixels that a residual is carried
_BATCH = 1 << 15  # pixels at a time, which bounds memory
_SEED = 4


class Spectral:
    """Estimate hidden pixels from the other dates, as clear pixels of the same date teach it.

    Where a window has fewer than `FEWEST` clear pixels of the date, or no other date can be
    compared, the line between the clear dates before and after is all that is left.

    Parameters
    ----------
    series : Series
    """

    def __init__(self, series: Series) -> None:
        self._series = series
        self._fallback = Temporal(series, "linear")

    def estimate(self, date: int, pixels: NDArray[np.intp]) -> Estimate:
        """Estimate one date at flat positions (n,) of the window; see `Engine`."""
        series = self._series
        found = predictors(series, date) if series.clear[date].sum() >= FEWEST else None
        if found is None:
            return self._fallback.estimate(date, pixels)
        X = found.reshape(len(found), -1)
        known: Mask = np.asarray(np.isfinite(X).all(axis=0))
        clear = series.clear[date]
        train = _chosen(clear & known.reshape(clear.shape), ~clear)
        if len(train) < FEWEST:
            return self._fallback.estimate(date, pixels)
        width = series.values.shape[3]
        points = Points(X[:, train], _places(train, width), series.at(date, train))
        fit = _calibrated(points, folds(series.clear, date, train))
        C = series.bands
        values, error = (np.full((C, len(pixels)), np.nan, np.float32) for _ in range(2))
        for k in range(0, len(pixels), _BATCH):
            part = np.flatnonzero(known[pixels[k : k + _BATCH]]) + k
            if part.size:
                inside = pixels[part]
                values[:, part], error[:, part] = fit(X[:, inside], _places(inside, width))
        return Estimate(values, error)


@dataclass(frozen=True)
class Points:
    """Pixels at which everything is known.

    Attributes
    ----------
    predictors : float32 array, shape (D, n)
    places : float32 array, shape (2, n)
        Row and column.
    values : float32 array, shape (C, n)
    """

    predictors: Floats
    places: Floats
    values: Floats

    def part(self, which: Mask) -> Points:
        """Return some of the points (n,)."""
        return Points(self.predictors[:, which], self.places[:, which], self.values[:, which])


class _Estimators:
    """The three estimators, fitted; each predicts from predictors and places."""

    def __init__(self, points: Points) -> None:
        X, Y = points.predictors, points.values
        self._points = points
        self._scale, axes = principal(X, max(_AXES))
        self._many, self._few = axes[: _AXES[0]], axes[: _AXES[1]]
        self._linear = Ridge(X, Y)
        self._curved = RandomFeatures(self._many @ self._scale(X), Y, np.sqrt(len(X)))
        self._colors = Scaler.of(self._linear(X))
        self._alike = ClosestFit(self._space(X, self._linear(X), points.places), Y)
        low, high = np.quantile(Y, (0.001, 0.999), axis=1)[..., None].astype(np.float32)
        self._range = low - (high - low) / 10, high + (high - low) / 10

    def __call__(self, X: Floats, places: Floats, *, itself: bool = False) -> Floats:
        """Predict with each: (3, C, n)."""
        linear = self._linear(X)
        curved = self._curved(self._many @ self._scale(X))
        alike = self._alike(self._space(X, linear, places), itself=itself)
        # Beyond what the date shows anywhere lies what regression makes of clouds nobody masked.
        return np.clip(np.stack([linear, curved, alike]), *self._range)

    def _space(self, X: Floats, predicted: Floats, places: Floats) -> Floats:
        """Return where pixels lie for closest fit: other dates, likely color, a little of where."""
        return np.concatenate(
            [self._few @ self._scale(X), 2 * self._colors(predicted), 0.03 * places]
        )


class _Fit:
    """A blend of estimators, what it misses beside a gap, and how large its errors are."""

    def __init__(
        self, trial: _Trial, weights: Floats, reach: float, model: ErrorModel | None = None
    ) -> None:
        self._trial = trial
        self._weights = weights
        self._reach = reach
        self._model = model
        missed = trial.known.values - _blend(trial.own, weights)
        self._nearby = Nearby(trial.known.places, missed)

    def of(self, each: Floats, places: Floats) -> Floats:
        """Return values (C, n) from those of the estimators."""
        return _blend(each, self._weights) + self._nearby(places, self._reach)

    def distance(self, places: Floats) -> Floats:
        """Return how far the next known pixel is: (n,)."""
        return self._nearby.distance(places)

    def __call__(self, X: Floats, places: Floats) -> tuple[Floats, Floats]:
        """Return values and errors, (C, n) each."""
        each = self._trial.estimators(X, places)
        values = self.of(each, places)
        if self._model is None:
            return values, np.full_like(values, np.nan)
        return values, self._model(each.std(axis=0), self.distance(places))


class _Trial:
    """Estimators fitted on some points, and what they say of these, each without itself."""

    def __init__(self, known: Points) -> None:
        self.known = known
        self.estimators = _Estimators(known)
        self.own = self.estimators(known.predictors, known.places, itself=True)


def _calibrated(points: Points, held: list[Mask]) -> _Fit:
    """Fit all points; weights, reach and errors come from folds that are held out."""
    trials = [_Trial(points.part(~fold)) for fold in held]
    hidden = [points.part(fold) for fold in held]
    each = [t.estimators(h.predictors, h.places) for t, h in zip(trials, hidden, strict=True)]
    weights = _weights(each, [h.values for h in hidden])
    apart = np.concatenate([e.std(axis=0) for e in each], axis=1)
    tried = []
    for reach in _REACHES:
        fits = [_Fit(trial, weights, reach) for trial in trials]
        found = zip(fits, each, hidden, strict=True)
        errors = [np.abs(fit.of(e, h.places) - h.values) for fit, e, h in found]
        tried.append(np.concatenate(errors, axis=1))
    best = int(np.argmin([np.square(errors).mean() for errors in tried]))
    distance = [f.distance(h.places) for f, h in zip(fits, hidden, strict=True)]
    of = np.repeat(np.arange(len(hidden)), [h.values.shape[1] for h in hidden])
    model = ErrorModel(tried[best], apart, np.concatenate(distance), of)
    return _Fit(_Trial(points), weights, _REACHES[best], model)


def _blend(each: Floats, weights: Floats) -> Floats:
    return np.einsum("k,kcn->cn", weights, each)


def _weights(each: list[Floats], truth: list[Floats]) -> Floats:
    """Return weights of the estimators, halfway from equal to what is best on held-out pixels."""
    error = np.concatenate([e - t for e, t in zip(each, truth, strict=True)], axis=2)  # (3, C, n)
    error = error / np.maximum(np.sqrt(np.square(error).mean(axis=(0, 2)))[:, None], 1e-12)
    gram = np.einsum("kcn,lcn->kl", error, error) / error[0].size
    steps = np.arange(0, 1.01, 0.125)
    grid = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1])
    best = grid[np.einsum("gk,kl,gl->g", grid, gram, grid).argmin()]
    return ((best + 1 / 3) / 2).astype(np.float32)


def _chosen(clear: Mask, hidden: Mask) -> NDArray[np.intp]:
    """Return at most `MOST` clear pixels, half of them beside gaps where there are as many."""
    pixels = np.flatnonzero(clear)
    if len(pixels) <= MOST:
        return pixels
    random = np.random.default_rng(_SEED)
    close = binary_dilation(hidden, iterations=6).ravel()[pixels]
    some = pixels[close]
    if len(some) > MOST // 2:
        some = random.choice(some, MOST // 2, replace=False)
    rest = random.choice(pixels[~close], min(MOST - len(some), int((~close).sum())), replace=False)
    return np.sort(np.concatenate([some, rest]))


def _places(pixels: NDArray[np.intp], width: int) -> Floats:
    return np.stack([pixels // width, pixels % width]).astype(np.float32)

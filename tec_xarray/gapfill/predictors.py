"""What the other dates say of each pixel of a window: the predictors of one date."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from tec_xarray.gapfill.regression import Ridge
from tec_xarray.gapfill.series import Floats, Mask, Series
from tec_xarray.gapfill.temporal import composites

DATES = 12  # that predict
_FEWEST = 50  # clear pixels that two dates must share to be compared
_SAMPLE = 2000  # clear pixels at which dates are compared


def predictors(series: Series, date: int) -> Floats | None:
    """Return predictors of one date at every pixel of a window.

    The dates that are most alike where both are clear, each with its own gaps filled from the
    others by regression; two composites, of the nearest clear dates and of the line between them;
    and the mean of each over 3 x 3 pixels, for shifts between dates and for noise.

    Returns
    -------
    float32 array, shape (D, H, W), or None
        NaN where no other date is clear. None where no date can be compared.
    """
    chosen = alike(series, date)
    if not chosen.size:
        return None
    planes = [_filled(series, int(j), date) for j in chosen]
    if len(series.days) > 3:
        planes += list(_composites(series, date, np.ones_like(series.clear[date])))
    stack = np.concatenate(planes)
    return np.concatenate([stack, _blurred(stack)])


def alike(series: Series, date: int) -> NDArray[np.intp]:
    """Return the dates that predict one best, best first, at most `DATES`.

    Each is judged by the error of a gain and an offset for every band on pixels that are clear on
    both dates, and by how much of what is hidden it shows: what it hides too counts as unknown.
    """
    T = len(series.days)
    own = np.flatnonzero(series.clear[date])
    own = own[:: max(1, len(own) // _SAMPLE)]
    if own.size < _FEWEST:
        return np.zeros(0, np.intp)
    target = series.at(date, own)
    hidden = ~series.clear[date].ravel()
    unknown = np.ones(T)
    for j in range(T):
        clear = series.clear[j].ravel()
        both = clear[own]
        if j == date or both.sum() < _FEWEST:
            continue
        share = _unexplained(series.at(j, own[both]), target[:, both])
        shown = clear[hidden].mean() if hidden.any() else 1.0
        unknown[j] = 1 - shown * (1 - share)
    order = np.argsort(unknown, kind="stable")
    return order[unknown[order] < 1][:DATES]


def _unexplained(X: Floats, Y: Floats) -> float:
    """Return the share of the variance of bands Y that gain and offset of X leave: 0 to 1."""
    X, Y = X - X.mean(axis=1, keepdims=True), Y - Y.mean(axis=1, keepdims=True)
    both, total = (X * Y).sum(axis=1) ** 2, np.square(Y).sum(axis=1)
    explained = both / np.maximum(np.square(X).sum(axis=1), 1e-30)
    return float(np.clip(1 - explained.sum() / max(total.sum(), 1e-30), 0, 1))


def _filled(series: Series, date: int, target: int) -> Floats:
    """Return one date (C, H, W), its gaps filled without a look at the date that it predicts."""
    clear = series.clear[date]
    image = series.values[date].astype(np.float32)
    if clear.all():
        return image
    around = _composites(series, date, ~clear, target)
    image[:, ~clear] = around[1][:, ~clear]
    known = np.isfinite(around[0]).all(axis=0)
    image[:, ~clear & ~known] = np.nan
    gaps = ~clear & known
    return image if not gaps.any() else _regressed(series, date, target, image, gaps)


def _regressed(series: Series, date: int, target: int, image: Floats, gaps: Mask) -> Floats:
    """Fill gaps of one image by regression on composites of the other dates."""
    sample = np.flatnonzero(series.clear[date])
    sample = sample[:: max(1, len(sample) // (2 * _SAMPLE))]
    wanted = np.zeros(gaps.shape, np.bool_)
    wanted.ravel()[sample] = True
    X = _composites(series, date, wanted, target).reshape(2 * series.bands, -1)[:, sample]
    sound = np.isfinite(X).all(axis=0)
    if sound.sum() < _FEWEST:
        return image
    fitted = Ridge(X[:, sound], series.at(date, sample[sound]))
    inside = _composites(series, date, gaps, target).reshape(2 * series.bands, -1)
    image[:, gaps] = fitted(inside[:, gaps.ravel()])
    return image


def _composites(series: Series, date: int, wanted: Mask, target: int | None = None) -> Floats:
    """Return the nearest clear dates and the line between them: (2, C, H, W), where wanted.

    Neither looks at the date itself, nor at the date that is predicted.
    """
    T, C = series.values.shape[:2]
    pixels = np.flatnonzero(wanted)
    clear = series.clear.reshape(T, -1)[:, pixels].copy()
    clear[[date] if target is None else [date, target]] = False
    found = np.full((2, C, wanted.size), np.nan, np.float32)
    flat = series.values.reshape(T, C, -1)
    found[:, :, pixels] = composites(flat, pixels, clear, series.days, date)
    return found.reshape(2, C, *wanted.shape)


def _blurred(stack: Floats) -> Floats:
    """Return means over 3 x 3 pixels, without those that are missing."""
    blurred = np.empty_like(stack)
    for plane, result in zip(stack, blurred, strict=True):
        there = np.isfinite(plane)
        if there.all():
            uniform_filter(plane, 3, output=result, mode="nearest")
            continue
        total = uniform_filter(np.where(there, plane, 0), 3, mode="nearest")
        share = uniform_filter(there.astype(np.float32), 3, mode="nearest")
        result[:] = np.where(there, total / np.maximum(share, 0.1), np.nan)
    return blurred

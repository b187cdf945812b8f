"""How large errors are, as errors on held-out pixels tell it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from tec_xarray.gapfill.series import Floats
from tec_xarray.gapfill.temporal import COVERAGE

_REACH = 10.0  # pixels: how far from what is known a distance still tells something
_SAMPLE = 4000


class ErrorModel:
    """Half of the width of an interval that holds the truth in nine of ten cases.

    For each band the size of an error is a sum, with weights of at least zero, of a constant, of
    how far the estimators are apart, and of how far the next known pixel is. It is then stretched
    so that nine of ten held-out pixels lie inside (split conformal prediction, Lei et al., JASA
    113, 2018, with a scale for each pixel). Errors of neighbors are alike, so that a fold holds
    fewer than it has pixels: the stretch is halfway from that of all to that of the worst fold.

    Parameters
    ----------
    errors : float32 array, shape (C, n)
        Absolute errors at held-out pixels.
    apart : float32 array, shape (C, n)
        Standard deviations over the estimators there.
    distance : float32 array, shape (n,)
        Pixels to the next known one.
    fold : int array, shape (n,)
        The fold that a pixel belongs to.
    """

    def __init__(
        self, errors: Floats, apart: Floats, distance: Floats, fold: NDArray[np.intp]
    ) -> None:
        self._weights = np.zeros((len(errors), 3), np.float32)
        step = max(1, errors.shape[1] // _SAMPLE)
        for c, (error, own) in enumerate(zip(errors[:, ::step], apart[:, ::step], strict=True)):
            design = _design(own, distance[::step])
            weights, _ = nnls(design.astype(np.float64), error.astype(np.float64))
            size = design @ weights
            floor = max(float(error.mean()) / 4, 1e-12)  # no interval is far below the others
            weights[0] += max(0.0, floor - float(size.min()))
            size = design @ weights
            self._weights[c] = weights * _stretch(error / size, fold[::step])

    def __call__(self, apart: Floats, distance: Floats) -> Floats:
        """Return the error to expect, (C, n)."""
        return np.stack([_design(own, distance) @ w for own, w in
                         zip(apart, self._weights, strict=True)])  # fmt: skip


def _stretch(ratio: Floats, fold: NDArray[np.intp]) -> float:
    """Return by what sizes are to be stretched, from ratios (n,) of errors to sizes."""
    folds = [np.quantile(ratio[fold == k], COVERAGE) for k in np.unique(fold)]
    return float(np.quantile(ratio, COVERAGE) + max(folds)) / 2


def _design(apart: Floats, distance: Floats) -> Floats:
    """Return what the size of errors depends on: (n, 3)."""
    near = distance / (distance + _REACH)
    return np.stack([np.ones_like(apart), apart, near], axis=1).astype(np.float32)

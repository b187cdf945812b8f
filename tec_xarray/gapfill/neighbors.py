"""Closest spectral fit: a hidden pixel becomes the mean of clear pixels that are alike elsewhere.

After Meng et al., "A closest spectral fit method for removing cloud shadows", PE&RS 75(5), 2009:
pixels that looked alike on the other dates look alike on this one. Here alike means near in a
space of a few principal axes of the other dates.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from tec_xarray.gapfill.series import Floats

NEIGHBORS = 12
_SLACK = (
    1.0  # neighbors up to twice as far as the nearest do as well, and are found in half the time
)


class ClosestFit:
    """The mean of the nearest pixels, weighted by the inverse of their distance."""

    def __init__(self, X: Floats, Y: Floats, count: int = NEIGHBORS) -> None:
        self._tree = cKDTree(X.T)
        self._values = Y
        self._count = min(count, X.shape[1] - 1)

    def __call__(self, X: Floats, *, itself: bool = False) -> Floats:
        """Predict bands (C, n) at points (D, n); `itself`: they are the points of the tree."""
        distance, index = self._tree.query(X.T, k=self._count + 1, eps=_SLACK)
        if itself:  # of several equal points, any may come first
            own = index == np.arange(len(index))[:, None]
            own[~own.any(axis=1), -1] = True
            distance, index = distance[~own], index[~own]
        else:
            distance, index = distance[:, :-1], index[:, :-1]
        shape = (X.shape[1], self._count)
        weight = (1 / np.maximum(distance.reshape(shape), 1e-3)).astype(np.float32)
        weight /= weight.sum(axis=1, keepdims=True)
        return np.einsum("cnk,nk->cn", self._values[:, index.reshape(shape)], weight)


class Nearby:
    """What was missed close by: a mean of residuals, weighted by distance on the ground."""

    def __init__(self, at: Floats, residual: Floats, count: int = 16) -> None:
        self._tree = cKDTree(at.T)
        self._residual = residual
        self._count = min(count, at.shape[1] - 1)

    def distance(self, at: Floats) -> Floats:
        """Return how far each place (2, n) is from the nearest known one, in pixels: (n,)."""
        found, _ = self._tree.query(at.T, k=1)
        return np.asarray(found, np.float32)

    def __call__(self, at: Floats, reach: float, *, itself: bool = False) -> Floats:
        """Return the residual (C, n) to expect at places (2, n); 0 far from all that is known."""
        distance, index = self._tree.query(at.T, k=self._count + 1)
        if itself:
            distance, index = distance[:, 1:], index[:, 1:]
        else:
            distance, index = distance[:, :-1], index[:, :-1]
        weight = np.exp(-0.5 * np.square(distance / reach)).astype(np.float32)
        total = weight.sum(axis=1, keepdims=True)
        weight /= total + 0.3  # an unknown residual is taken to be zero
        return np.einsum("cnk,nk->cn", self._residual[:, index], weight)

"""Regression of the bands of one date on predictors: linear, and on random features.

Ridge regression, with predictors standardized first, so that its penalty does not depend on units.
The features are those of an extreme learning machine (Huang et al., Neurocomputing 70, 2006):
rectified random projections, which make curves of what the linear regression makes planes of, for
the price of one more linear system.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tec_xarray.gapfill.series import Floats

PENALTY = 1e-3  # of coefficients of standardized predictors, against the mean squared error
FEATURES = 600
_SEED = 20_031_118  # of the projections: the same data are always filled with the same values


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of predictors, and how to take them away.

    Attributes
    ----------
    mean, deviation : float32 arrays, shape (D, 1)
    """

    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, X: Floats) -> Scaler:
        """Measure predictors (D, n). What does not vary is left at zero."""
        deviation = X.std(axis=1, keepdims=True)
        scale = np.abs(X).max(axis=1, keepdims=True, initial=0)
        steady = deviation <= 1e-6 * scale
        return cls(X.mean(axis=1, keepdims=True), np.where(steady, np.float32(np.inf), deviation))

    def __call__(self, X: Floats) -> Floats:
        """Standardize predictors (D, n)."""
        return (X - self.mean) / self.deviation


class Ridge:
    """Linear regression with a penalty, predictors (D, n) to bands (C, n)."""

    def __init__(self, X: Floats, Y: Floats, penalty: float = PENALTY) -> None:
        self._scale = Scaler.of(X)
        Z = self._scale(X)
        self._mean = Y.mean(axis=1, keepdims=True)
        gram = (Z @ Z.T / Z.shape[1]).astype(np.float64)
        gram[np.diag_indices_from(gram)] += penalty
        moment = (Z @ (Y - self._mean).T / Z.shape[1]).astype(np.float64)
        self._weights = np.linalg.solve(gram, moment).astype(np.float32)  # (D, C)

    def __call__(self, X: Floats) -> Floats:
        """Predict bands (C, n)."""
        return self._weights.T @ self._scale(X) + self._mean


class RandomFeatures:
    """Ridge regression on predictors and on random features of them.

    Predictors (D, n) are projected as they are: those of little variance have little influence.
    Their variances should add up to about `scale` squared.
    """

    def __init__(self, X: Floats, Y: Floats, scale: float, penalty: float = 10 * PENALTY) -> None:
        random = np.random.default_rng(_SEED)
        project = random.normal(size=(FEATURES, len(X))) / scale
        self._project: Floats = project.astype(np.float32)
        self._shift: Floats = random.uniform(-1.5, 1.5, (FEATURES, 1)).astype(np.float32)
        self._ridge = Ridge(self._features(X), Y, penalty)

    def __call__(self, X: Floats) -> Floats:
        """Predict bands (C, n)."""
        return self._ridge(self._features(X))

    def _features(self, X: Floats) -> Floats:
        return np.concatenate([np.maximum(self._project @ X + self._shift, 0), X])


def principal(X: Floats, count: int) -> tuple[Scaler, NDArray[np.float32]]:
    """Return the scaler of predictors (D, n) and their first principal axes (count, D)."""
    scale = Scaler.of(X)
    Z = scale(X)
    _, axes = np.linalg.eigh((Z @ Z.T / Z.shape[1]).astype(np.float64))
    axes = axes[:, ::-1][:, :count].T
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1, keepdims=True), axis=1)
    return scale, (axes * np.sign(largest)).astype(np.float32)  # their signs are arbitrary

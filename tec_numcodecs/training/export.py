"""From trained networks to the arrays of a weights file."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from tec_numcodecs.entropy.rans import Tables
from tec_numcodecs.models.mini.context import mixture_cdf
from tec_numcodecs.models.mini.context.features import SCALE_EIGHTHS, SCALE_OFFSET
from tec_numcodecs.models.mini.context.neighborhood import LOW_UNITS
from tec_numcodecs.models.mini.progressive.bitplanes import MAGNITUDES
from tec_numcodecs.models.mini.progressive.significance import FLAG_ROWS, QUARTER_BITS
from tec_numcodecs.training.likelihood import Mixture

Arrays = dict[str, NDArray[np.generic]]
_MOST = 127  # the largest feature


def companding() -> Arrays:
    """About 16 asinh(1.5 x) of whole numbers and of eighths; edges of eighths of an octave."""
    x = np.arange(1024)
    eighths = np.arange(1024 * LOW_UNITS) / LOW_UNITS
    edges = 256 * 2.0 ** ((np.arange(1, SCALE_EIGHTHS) + SCALE_OFFSET - 0.5) / 8)
    return {
        "features.integers": _companded(x),
        "features.eighths": _companded(eighths),
        "features.scales": np.ceil(edges).astype(np.int32),
    }


def _companded(x: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.int8]:
    return np.minimum(np.rint(16 * np.arcsinh(1.5 * x)), _MOST).astype(np.int8)


def tabulate(mixture: Mixture) -> tuple[Tables, NDArray[np.int8]]:
    """Integer tables of all rows, and where coefficients lie in their intervals.

    Returns
    -------
    tables : Tables
        Rows of the mixture, the same limited to -1, 0, 1, rows of binary digits and of block
        flags: see `tec_numcodecs.models.mini.progressive.bitplanes`.
    offsets : int8 array (rows, 7)
        Centroids of symbols -3 to 3 within their intervals, in 64ths, for plain rounding.
    """
    shapes = torch.arange(mixture_cdf.SHAPES) / (mixture_cdf.SHAPES - 1)
    log_ratio, logit = (x.detach().double().numpy() for x in mixture.parts(shapes))
    wide = 1 / (1 + np.exp(-logit))
    pmfs, ternary, minimum, offsets = [], [], [], []
    for row in mixture_cdf.all_rows():
        scales = 2.0 ** (row.scale / 8) * np.array([1.0, math.exp(log_ratio[row.shape])])
        weights = np.array([1 - wide[row.shape], wide[row.shape]])
        mean = row.mean / mixture_cdf.MEANS
        reach = min(511, max(1, math.ceil(float((scales * np.log(weights * 2.0**17 + 1)).max()))))
        symbols = np.arange(-reach, reach + 1)
        mass = _mass(symbols, mean, scales, weights)
        keep = np.flatnonzero(mass > 2.0**-18)
        keep = np.arange(keep.min(), keep.max() + 1) if keep.size else np.array([reach])
        pmfs.append(np.append(mass[keep], max(1 - mass[keep].sum(), 2.0**-16)))
        minimum.append(int(symbols[keep[0]]))
        offsets.append(_centroids(mean, scales, weights))
        near = _mass(np.arange(-1, 2), mean, scales, weights) + 2.0**-20
        ternary.append(np.append(near / near.sum(), 2.0**-16))
    digits = _digits(log_ratio, wide)
    flags = _flags()
    minimum += [-1] * len(ternary) + [0] * (len(digits) + len(flags))
    return Tables.from_pmfs(pmfs + ternary + digits + flags, minimum), np.array(offsets, np.int8)


def _flags() -> list[NDArray[np.float64]]:
    """Block flags by their logit."""
    logits = (np.arange(FLAG_ROWS) - FLAG_ROWS / 2) / (1 << QUARTER_BITS)
    return [np.array([1 / (1 + math.exp(x)), 1 / (1 + math.exp(-x)), 2.0**-16]) for x in logits]


def _digits(log_ratio: NDArray[np.float64], wide: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Binary digits of magnitudes 2 m or 2 m + 1, by m, scale and shape, mean zero."""
    rows = []
    for m in range(1, MAGNITUDES + 1):
        for scale in range(mixture_cdf.SCALE_MIN, mixture_cdf.SCALE_RAW):
            for shape in range(mixture_cdf.SHAPES):
                scales = 2.0 ** (scale / 8) * np.array([1.0, math.exp(log_ratio[shape])])
                weights = np.array([1 - wide[shape], wide[shape]])
                mass = _mass(np.array([2 * m, 2 * m + 1]), 0.0, scales, weights) + 2.0**-20
                rows.append(np.append(mass / mass.sum(), 2.0**-16))
    return rows


def _mass(
    symbols: NDArray[np.int64],
    mean: float,
    scales: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Probability of symbols under the mixture."""
    distance = np.abs(symbols - mean)[:, None]
    upper, lower = (distance + 0.5) / scales, (distance - 0.5) / scales
    mass = _tail(lower) - _tail(upper)
    result: NDArray[np.float64] = (mass * weights).sum(1)
    return result


def _tail(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - logistic(x), without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, small, 1.0) / (1.0 + small)


def _centroids(mean: float, scales: NDArray[np.float64], weights: NDArray[np.float64]) -> list[int]:
    """Mean place of a value within the intervals of symbols -3 to 3, in 64ths."""
    inside = (np.arange(64) + 0.5) / 64 - 0.5
    found = []
    for symbol in range(-3, 4):
        x = np.abs(symbol + inside - mean)[:, None] / scales
        density = (weights / scales * np.exp(-x) / (1 + np.exp(-x)) ** 2).sum(1)
        total = density.sum()
        found.append(int(np.rint((density * inside).sum() / total * 64)) if total > 0 else 0)
    return found

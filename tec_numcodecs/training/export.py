"""Freezing: trained networks to whole numbers in a safetensors file."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tec_numcodecs.models.mini import mixture_rows
from tec_numcodecs.models.mini.lifting import GAIN
from tec_numcodecs.models.mini.quantiser import MAX_RATE_INDEX, STEP_UNIT, steps
from tec_numcodecs.rans import Tables
from tec_numcodecs.training import network, objective
from tec_numcodecs.training.likelihood import Mixture
from tec_numcodecs.training.network import Condition, ContextNet, Conv

Arrays = dict[str, NDArray[np.generic]]
_SUM_UNIT = 512.0


def freeze(
    net: ContextNet, mixture: Mixture, codebooks: Mapping[str, tuple[int, NDArray[np.float32]]]
) -> Arrays:
    """All tensors of a weights file.

    Parameters
    ----------
    net, mixture : modules
        Trained; averaged weights.
    codebooks : mapping of sensor name to (first entry, covariances)
    """
    arrays: Arrays = {}
    with torch.no_grad():
        for i, level in enumerate(net.levels):
            _freeze_modules(level, f"level{i}", arrays)
        _freeze_modules(net.low, "low", arrays)
        for i, rows in enumerate(((0,), (1,), (2, 3, 4))):
            _freeze_condition(net.level(i).condition, f"level{i}.condition", rows, arrays)
        _freeze_condition(net.low.condition, "low.condition", (5,), arrays)
        tables, offsets = tabulate(mixture)
    arrays |= {f"tables.{name}": array for name, array in tables.to_arrays().items()}
    arrays["offsets"] = offsets
    arrays |= _features() | _rates()
    for name, (first, covariances) in codebooks.items():
        arrays[f"codebook.{name}"] = covariances.astype(np.float32)
        arrays[f"codebook.first.{name}"] = np.array(first, np.int32)
    return arrays


def _freeze_modules(module: nn.Module, name: str, arrays: Arrays) -> None:
    """Every convolution below ``module``: int8 weights, exponents, biases in 1/512."""
    for path, layer in module.named_modules():
        if isinstance(layer, Conv):
            whole, scale = layer.scaled()
            key = f"{name}.{path}"
            arrays[f"{key}.weight"] = whole.numpy().astype(np.int8)
            arrays[f"{key}.shift"] = -np.rint(np.log2(scale.flatten().numpy())).astype(np.int8)
            if layer.bias is not None:
                bias = torch.round(layer.bias * _SUM_UNIT)
                arrays[f"{key}.bias"] = bias.numpy().astype(np.int32)


def _freeze_condition(
    condition: Condition, name: str, levels: tuple[int, ...], arrays: Arrays
) -> None:
    """Conditioning as tables over the rate index, the entry and the number of bands."""
    rate = torch.arange(MAX_RATE_INDEX + 1, dtype=torch.float32)
    zero = torch.zeros(len(rate), dtype=torch.int64)
    tables, entries = [], []
    for level in levels:
        every = condition(rate, level, zero, zero)[:, :, 0, 0]
        tables.append(every - condition.entry[level][0] - condition.count[0])
        entries.append(condition.entry[level])
    for part, value in (("rate", torch.stack(tables)), ("entry", torch.stack(entries)),
                        ("count", condition.count)):  # fmt: skip
        whole = torch.round(value.detach() * _SUM_UNIT).clamp(-32768, 32767)
        arrays[f"{name}.{part}"] = whole.numpy().astype(np.int16)


def _features() -> Arrays:
    """Companding: table of magnitudes 0 to 1023, and where each output value begins."""
    unit, most = network.FEATURE_UNIT, int(network.FEATURE_MAX * network.FEATURE_UNIT)
    table = np.minimum(np.rint(np.arcsinh(1.5 * np.arange(1024)) * unit), most)
    limits = np.sinh((np.arange(1, most + 1) - 0.5) / unit) / 1.5
    return {
        "features.companded": table.astype(np.uint8),
        "features.limits": limits.astype(np.float32),
    }


def _rates() -> Arrays:
    """Constants that depend on the rate index or the level."""
    index = np.arange(MAX_RATE_INDEX + 1)
    step = 2.0 ** (index / 16)  # (R,)
    raw = np.stack([steps(int(r)) for r in index]) / STEP_UNIT  # (R, 6, 3)
    level = np.arange(5)
    norm = GAIN ** (2.0 * (level + 1))  # what the raw low-pass under a level lacks
    fraction = 2.0**-12  # spectral components are in units of 2^-12
    contrast = fraction * norm / 9 / step[:, None]
    pixels = 2.0 ** (level + 1)  # the orthonormal low-pass in units of pixels
    bright = fraction * norm * network.FEATURE_UNIT / (objective.LEVEL_UNIT * pixels)
    change = fraction * norm / (objective.CHANGE_UNIT * pixels)
    low = raw[:, 5, 0] * norm[4] / objective.LOW_UNIT
    return {
        "rates.contrast": contrast.astype(np.float32),
        "rates.inverse_step": (fraction / raw[:, :5]).astype(np.float32),
        "rates.bright": bright.astype(np.float32),
        "rates.change": change.astype(np.float32),
        "rates.low": low,
        "rates.low_scale": np.rint(-8 * np.log2(low)).astype(np.int16),
        "rates.low_unit": np.array(fraction * norm[4] / objective.LOW_UNIT),
    }


def tabulate(mixture: Mixture) -> tuple[Tables, NDArray[np.int8]]:
    """Integer tables of all rows, and where coefficients lie in their intervals.

    Returns
    -------
    tables : Tables
    offsets : int8 array (rows, 7)
        Centroids of symbols -3 to 3 within their intervals, in 64ths, for plain rounding.
    """
    shapes = torch.arange(mixture_rows.SHAPES) / (mixture_rows.SHAPES - 1)
    log_ratio, logit = (x.detach().double().numpy() for x in mixture.parts(shapes))
    wide = 1 / (1 + np.exp(-logit))
    pmfs, minimum, offsets = [], [], []
    for row in mixture_rows.all_rows():
        scales = 2.0 ** (row.scale / 8) * np.array([1.0, math.exp(log_ratio[row.shape])])
        weights = np.array([1 - wide[row.shape], wide[row.shape]])
        mean = row.mean / mixture_rows.MEANS
        reach = min(511, max(1, math.ceil(float((scales * np.log(weights * 2.0**17 + 1)).max()))))
        symbols = np.arange(-reach, reach + 1)
        mass = _mass(symbols, mean, scales, weights)
        keep = np.flatnonzero(mass > 2.0**-18)
        keep = np.arange(keep.min(), keep.max() + 1) if keep.size else np.array([reach])
        pmfs.append(np.append(mass[keep], max(1 - mass[keep].sum(), 2.0**-16)))
        minimum.append(int(symbols[keep[0]]))
        offsets.append(_centroids(mean, scales, weights))
    return Tables.from_pmfs(pmfs, minimum), np.array(offsets, np.int8)


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

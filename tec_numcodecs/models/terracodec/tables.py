"""Entropy tables of the published architectures, built from integers and `decimal` alone.

They are built once, when a checkpoint is frozen, and stored with it; a decoder only reads them.
The Gaussian ones depend on no checkpoint, so their SHA-256 is known here and checked at freezing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, localcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.models.terracodec.exact.tables import (
    TAIL_BITS,
    TAIL_END,
    TAIL_GRID_BITS,
    digest,
    normal_tail,
)

PRECISION = 16  # bits of a probability
TOTAL = 1 << PRECISION

MEAN_BINS, SCALE_BINS = 100, 256  # TT: row = SCALE_BINS * mean bin + scale bin
_SCALE_FLOOR = Decimal("0.01")
_SCALE_TOP = Decimal(25601)  # 256 / 0.01 + 1: the last bin is 256.01

ELIC_SCALES = 64
_ELIC_FIRST, _ELIC_LAST = Decimal("0.11"), Decimal(256)

_REACH = 4  # standard deviations coded directly; 2**-14 of the mass is left to the escape
_THRESHOLD_BITS = 16  # of the integer thresholds, as in exact.threshold_index
_DIGITS = 40

# SHA-256 of cdf, starts and minimum of the two Gaussian tables.
TT_DIGEST = "f95bc99f1874019464aae7f85e852867287c63e2cad4db2df51e3ef0fccddbe6"
ELIC_DIGEST = "e0542c8c77adaccec4d233b7b3a7bab21c5d4f1d7f3e8cba4390198a191fff94"

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class RaggedTables:
    """Rows of cumulative 16-bit frequencies, concatenated; see `entropy.rans.Tables`."""

    cdf: NDArray[np.uint16]  # the start of every interval; a row's last one is its escape
    starts: NDArray[np.int64]  # (R + 1)
    minimum: NDArray[np.int32]  # (R), the symbol of a row's first interval

    def digest(self) -> str:
        """Return the SHA-256 of the three arrays."""
        return digest(self.cdf, self.starts, self.minimum)


def share_out(mass: IntArray, used: NDArray[np.bool_]) -> IntArray:
    """Turn probabilities into frequencies that sum to 65536, none of them zero.

    Intervals of less than 1/65536 get exactly that; what is left goes to the others in
    proportion, and the rounding remainder to the largest.

    Parameters
    ----------
    mass : int64 array (R, n)
        Probabilities times 2**32.
    used : bool array (R, n)
        Which intervals a row has.

    Returns
    -------
    int64 array (R, n)
        Frequencies, 0 where unused.
    """
    count = used.sum(axis=1, keepdims=True)
    excess = np.where(used, np.maximum(mass - (1 << 16), 0), 0)
    total = np.maximum(excess.sum(axis=1, keepdims=True), 1)
    frequency = np.where(used, 1 + excess * (TOTAL - count) // total, 0)
    largest = np.argmax(np.where(used, mass, -1), axis=1)
    rows = np.arange(len(mass))
    frequency[rows, largest] += TOTAL - frequency.sum(axis=1)
    return frequency


def _normal_cdf(position: IntArray, inverse: int) -> IntArray:
    """Return 2**32 * Phi(position * inverse / 2**40), int64, by linear interpolation."""
    tail = normal_tail()
    fine = TAIL_BITS - TAIL_GRID_BITS
    # Clamp before multiplying: positions beyond nine sigma need not fit the product.
    reach = (TAIL_END << TAIL_BITS) // inverse
    z = np.minimum(np.abs(position), reach) * inverse
    index = np.minimum(z >> fine, len(tail) - 2)
    rest = (z - (index << fine)) >> (fine - 16)
    upper = tail[index] - ((tail[index] - tail[index + 1]) * rest >> 16)
    upper = np.asarray(np.where(position < 0, upper, (1 << TAIL_BITS) - upper))
    return upper >> (TAIL_BITS - 32)


def _gaussian_rows(offsets: IntArray, sigma_in_steps: Decimal, step: int) -> list[IntArray]:
    """Return ``[minimum, frequencies ...]`` for each mean ``offset / step`` at one sigma.

    Parameters
    ----------
    offsets : int64 array (R,)
        Means in units of 1 / step.
    sigma_in_steps : Decimal
        Standard deviation in the same units.
    step : int
        Units between two symbols; even.
    """
    inverse = int((Decimal(1 << TAIL_BITS) / sigma_in_steps).to_integral_value())
    # At least 0.6 symbols either way, so that -1, 0 and 1 of a centered row never need an escape.
    reach = max(int((_REACH * sigma_in_steps).to_integral_value(ROUND_CEILING)), step * 6 // 10)
    first = (offsets + step // 2 - reach) // step
    last = -((-offsets - reach + step // 2) // step)
    symbols = np.arange(first.min(), last.max() + 2)
    edges = _normal_cdf(symbols * step - step // 2 - offsets[:, None], inverse)  # (R, n + 1)
    mass = np.diff(edges, axis=1)  # (R, n)
    used = (symbols[:-1] >= first[:, None]) & (symbols[:-1] <= last[:, None])
    inside = np.where(used, mass, 0)
    escape = (1 << 32) - inside.sum(axis=1, keepdims=True)
    mass = np.concatenate((inside, escape), axis=1)
    used = np.concatenate((used, np.ones_like(escape, dtype=bool)), axis=1)
    frequency = share_out(mass, used)
    return [
        np.concatenate(([low], row[keep]))
        for low, row, keep in zip(first, frequency, used, strict=True)
    ]


def _join(rows: list[IntArray]) -> RaggedTables:
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) - 1 for row in rows], out=starts[1:])
    cdf = np.concatenate([np.cumsum(row[1:]) - row[1:] for row in rows])
    return RaggedTables(cdf.astype(np.uint16), starts, np.array([row[0] for row in rows], np.int32))


def _checked(tables: RaggedTables, expected: str, name: str) -> RaggedTables:
    found = tables.digest()
    if found != expected:
        raise WeightsError(
            f"the {name} table built here has SHA-256 {found}",
            allowed=expected,
            fix="this is a bug or a broken numpy: report it with your numpy version and platform",
        )
    return tables


def tt_scales() -> list[Decimal]:
    """Return the 256 standard deviations of TT and FlexTEC, 0.01 to 256.01."""
    return [_tt_scale(Decimal(i)) for i in range(SCALE_BINS)]


def _tt_scale(index: Decimal) -> Decimal:
    with localcontext() as context:
        context.prec = _DIGITS
        return _SCALE_FLOOR * (_SCALE_TOP.ln() * index / (SCALE_BINS - 1)).exp()


@cache
def tt_tables() -> RaggedTables:
    """Build the 25,600 rows of TT: mean (m - 50) / 100, deviation of scale bin s, row 256 m + s."""
    offsets = np.arange(MEAN_BINS, dtype=np.int64) - MEAN_BINS // 2
    by_scale = [_gaussian_rows(offsets, sigma * 100, 100) for sigma in tt_scales()]
    rows = [by_scale[s][m] for m in range(MEAN_BINS) for s in range(SCALE_BINS)]
    return _checked(_join(rows), TT_DIGEST, "temporal Gaussian")


@cache
def tt_scale_thresholds() -> IntArray:
    """Return 255 ascending thresholds of the raw scale output s, times 2**16.

    The deviation is v(s) + 0.01 with v = 1 + s for s > 0 and 1 / (1 - s) below; bin j begins half
    a bin below its center, on the logarithmic scale.
    """
    thresholds = []
    with localcontext() as context:
        context.prec = _DIGITS
        for j in range(1, SCALE_BINS):
            value = _tt_scale(j - Decimal("0.5")) - _SCALE_FLOOR
            raw = value - 1 if value >= 1 else 1 - 1 / value
            thresholds.append(_threshold(raw))
    return np.array(thresholds, np.int64)


def elic_scales() -> list[Decimal]:
    """Return the 64 standard deviations of ELIC, 0.11 to 256 in equal ratios."""
    with localcontext() as context:
        context.prec = _DIGITS
        ratio = (_ELIC_LAST / _ELIC_FIRST).ln() / (ELIC_SCALES - 1)
        return [_ELIC_FIRST * (ratio * i).exp() for i in range(ELIC_SCALES)]


@cache
def elic_tables() -> RaggedTables:
    """Build the 64 zero-mean rows of ELIC."""
    centered = np.zeros(1, np.int64)
    rows = [_gaussian_rows(centered, sigma * 2, 2)[0] for sigma in elic_scales()]
    return _checked(_join(rows), ELIC_DIGEST, "ELIC Gaussian")


@cache
def elic_scale_thresholds() -> IntArray:
    """Return 63 ascending thresholds of the scale output, times 2**16: geometric means."""
    scales = elic_scales()
    with localcontext() as context:
        context.prec = _DIGITS
        return np.array(
            [_threshold((a * b).sqrt()) for a, b in zip(scales[:-1], scales[1:], strict=True)],
            np.int64,
        )


def _threshold(value: Decimal) -> int:
    return int((value * (1 << _THRESHOLD_BITS)).to_integral_value(ROUND_CEILING))


# --- factorized prior --------------------------------------------------------------------------


def factorized_tables(parameters: Mapping[str, NDArray[np.float32]]) -> RaggedTables:
    """Freeze a factorized prior (Balle et al. 2018, appendix 6.1) into one row per channel.

    Parameters
    ----------
    parameters : Mapping
        ``quantiles`` (C, 1, 3), ``matrices.i`` (C, out, in), ``biases.i`` (C, out, 1), and
        ``factors.i`` (C, out, 1) for all but the last layer; float32.

    Returns
    -------
    RaggedTables
        Symbols count from the median: 0 is the median itself.
    """
    channels = len(parameters["quantiles"])
    with localcontext() as context:
        context.prec = _DIGITS
        return _join([_factorized_row(parameters, c) for c in range(channels)])


def _factorized_row(parameters: Mapping[str, NDArray[np.float32]], channel: int) -> IntArray:
    low, median, high = (Decimal(float(q)) for q in parameters["quantiles"][channel, 0])
    below = _reach(median - low)
    above = _reach(high - median)
    network = _Monotone(parameters, channel)
    half = Decimal("0.5")
    edges = [network.cumulative(median + k - half) for k in range(-below, above + 2)]
    inside = [max(b - a, 0) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    mass = np.array([[*inside, max((1 << 32) - sum(inside), 0)]], np.int64)
    frequency = share_out(mass, np.ones_like(mass, dtype=bool))
    return np.concatenate((np.array([-below], np.int64), frequency[0]))


def _reach(distance: Decimal) -> int:
    """Symbols on one side of the median; published models stay far below the limit."""
    if not distance.is_finite() or distance > 1 << 14:
        raise WeightsError(
            f"a quantile {distance} away from its median",
            allowed="at most 16384",
            fix="the checkpoint was not trained to the end, or is damaged",
        )
    return max(0, int(distance.to_integral_value(ROUND_CEILING)))


class _Monotone:
    """The monotone network of one channel, in decimal arithmetic."""

    def __init__(self, parameters: Mapping[str, NDArray[np.float32]], channel: int) -> None:
        self.layers = []
        count = sum(name.startswith("matrices.") for name in parameters)
        for i in range(count):
            matrix = _decimals(parameters[f"matrices.{i}"][channel])
            weights = [[_softplus(w) for w in row] for row in matrix]
            biases = [row[0] for row in _decimals(parameters[f"biases.{i}"][channel])]
            factors: list[Decimal] | None = None
            if i < count - 1:
                stored = _decimals(parameters[f"factors.{i}"][channel])
                factors = [_tanh(row[0]) for row in stored]
            self.layers.append((weights, biases, factors))

    def cumulative(self, x: Decimal) -> int:
        """Return 2**32 times the cumulative probability at x."""
        values = [x]
        for weights, biases, factors in self.layers:
            values = [
                sum((w * v for w, v in zip(row, values, strict=True)), bias)
                for row, bias in zip(weights, biases, strict=True)
            ]
            if factors is not None:
                values = [v + a * _tanh(v) for v, a in zip(values, factors, strict=True)]
        return int((_sigmoid(values[0]) * (1 << 32)).to_integral_value())


def _decimals(array: NDArray[np.float32]) -> list[list[Decimal]]:
    return [[Decimal(float(v)) for v in row] for row in array]


def _softplus(x: Decimal) -> Decimal:
    return max(x, Decimal(0)) + (1 + (-abs(x)).exp()).ln()


def _sigmoid(x: Decimal) -> Decimal:
    small = (-abs(x)).exp()
    return 1 / (1 + small) if x >= 0 else small / (1 + small)


def _tanh(x: Decimal) -> Decimal:
    small = (-2 * abs(x)).exp()
    value = (1 - small) / (1 + small)
    return value if x >= 0 else -value

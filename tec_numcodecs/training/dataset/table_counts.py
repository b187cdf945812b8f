"""Counting what occurs in each table row of mini `fp`, and freezing the counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy.blocks8 import block_sum, spread_blocks
from tec_numcodecs.entropy.rans import Tables
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.subbands.magnitude_model import Fields, Plane
from tec_numcodecs.models.mini.transform.quantizer import LEVELS
from tec_numcodecs.models.mini.transform.wavelet_klt import LOW, Coefficients

# Octaves that share a set of tables: shapes differ between dense and sparse, not much within.
GROUPS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3], np.int32)
_REACH = 40  # largest symbol that a row codes directly
_PRIOR_COUNT = 60.0  # weight of the Laplacian shape against what was counted


@dataclass(frozen=True)
class Item:
    """A crop's integers at one rate, what they came from in units of the step, and its weight."""

    q: Coefficients
    values: tuple[NDArray[np.float32], ...]
    weight: float
    shifts: NDArray[np.int32] | None = None  # (6, C, 3), as the encoder chose them


def planes_of(
    q: Coefficients, level: int
) -> Iterator[tuple[Plane, NDArray[np.int32], NDArray[np.int32]]]:
    """Planes of a level in coding order: place, features (FEATURES, N, h, w), integers."""
    parent: Fields | None = None
    order = [LOW] if level == LOW else list(reversed(range(level, LEVELS)))
    for at in order:
        values = frozen.predict_low(q.low)[:, :, None] if at == LOW else q.detail[at]
        n, components, orientations, h, w = values.shape
        fields = Fields(components, orientations, (n, h, w), parent)
        for k in range(components):
            for o in range(orientations):
                if at == level:
                    sources = fields.sources(k, o)
                    none = np.zeros((2, n, h, w), np.int32)
                    stack = np.concatenate([none if s is None else s for s in sources])
                    yield Plane(level, k, o), stack, values[:, k, o]
                fields.set(k, o, values[:, k, o])
        parent = fields


class Counts:
    """What occurs in each table row."""

    def __init__(self) -> None:
        groups = int(GROUPS.max()) + 1
        width = 2 * _REACH + 2  # symbols -REACH..REACH, escape
        self._symbols = np.zeros((groups, LEVELS + 1, frozen.SCALE_BINS, width))
        self._flags = np.zeros((groups, LEVELS + 1, frozen.FLAG_BINS, 2))
        limit = frozen.SHIFT_LIMIT
        self._shifts = np.zeros((groups, 2 * limit + 1, 2 * limit + 1))
        # How many coefficients had magnitude 1, 2, >= 3, and by how much it exceeded their values.
        self._excess = np.zeros((groups, LEVELS + 1, frozen.SCALE_BINS, 3, 2))

    def add(
        self, octave: int, item: Item, weights: NDArray[np.int32], bias: NDArray[np.int32]
    ) -> None:
        """Count one crop under the rule of its octave."""
        shifts = np.zeros((LEVELS + 1, item.q.low.shape[1], 3), np.int32)
        for level in range(LEVELS + 1):
            at = (GROUPS[octave], level)
            for plane, stack, q in planes_of(item.q, level):
                index = (level, min(plane.component, frozen.COMPONENTS - 1), plane.orientation)
                sources = list(stack.reshape(-1, 2, *q.shape))
                scale = frozen.expected_magnitude(
                    weights[index], int(bias[index]), sources, q.shape
                )
                flags = block_sum(q != 0) > 0
                coded = spread_blocks(flags, *q.shape[1:])
                place = (level, plane.component, plane.orientation)
                if item.shifts is None:
                    shifts[place] = frozen.matching_shift(scale[coded], np.abs(q[coded]))
                else:
                    shifts[place] = item.shifts[place]
                shift = int(shifts[place])
                sums = frozen.shifted_sums(block_sum(scale), shift)
                scale = frozen.shifted(scale, shift)
                bins = frozen.flag_bins(sums).ravel()
                np.add.at(self._flags[at], (bins, flags.ravel().astype(int)), item.weight)
                self._add_symbols(at, scale[coded], q[coded], item.weight)
                if level != LOW:
                    values = item.values[level][:, plane.component, plane.orientation]
                    self._add_excess(at, scale, q, values, item.weight)

        self._add_shifts(GROUPS[octave], shifts, item.weight)

    def _add_shifts(self, group: int, shifts: NDArray[np.int32], weight: float) -> None:
        """Count each shift under that of the component before."""
        limit = frozen.SHIFT_LIMIT
        for level in range(LEVELS + 1):
            own = shifts[level, :, : 1 if level == LOW else 3]
            before = np.concatenate([np.zeros_like(own[:1]), own[:-1]])
            np.add.at(self._shifts[group], (before + limit, own + limit), weight)

    def _add_symbols(
        self, at: tuple[int, int], scale: NDArray[np.int32], q: NDArray[np.int32], weight: float
    ) -> None:
        symbols = q >> frozen.raw_bits(scale)
        outside = np.abs(symbols) > _REACH
        column = np.where(outside, 2 * _REACH + 1, symbols + _REACH)
        np.add.at(self._symbols[at], (frozen.scale_bins(scale), column), weight)

    def _add_excess(
        self,
        at: tuple[int, int],
        scale: NDArray[np.int32],
        q: NDArray[np.int32],
        values: NDArray[np.float32],
        weight: float,
    ) -> None:
        where = np.nonzero(q)
        bins = frozen.scale_bins(scale[where])
        magnitude = np.abs(q[where])
        excess = magnitude - np.abs(values[where])
        column = np.minimum(magnitude, 3) - 1
        np.add.at(self._excess[at][..., 0], (bins, column), weight)
        np.add.at(self._excess[at][..., 1], (bins, column), weight * excess)

    def freeze(self) -> dict[str, NDArray[np.generic]]:
        """Rows of all groups, levels and bins."""
        pmfs: list[NDArray[np.float64]] = []
        minimum: list[int] = []
        coefficient_rows = np.zeros(self._symbols.shape[:3], np.int32)
        flag_rows = np.zeros(self._flags.shape[:3], np.int32)
        pooled = self._symbols.sum(axis=(0, 1))
        for index in np.ndindex(*coefficient_rows.shape):
            coefficient_rows[index] = len(pmfs)
            pmf, low = _row(self._symbols[index], pooled[index[2]], index[2])
            pmfs.append(pmf)
            minimum.append(low)
        pooled_flags = self._flags.sum(axis=(0, 1))
        for index in np.ndindex(*flag_rows.shape):
            flag_rows[index] = len(pmfs)
            pmfs.append(_flag_row(self._flags[index], pooled_flags[index[2]]))
            minimum.append(0)
        shift_rows = np.zeros(self._shifts.shape[:2], np.int32)
        reach = np.arange(self._shifts.shape[1])
        for group, before in np.ndindex(*shift_rows.shape):
            shift_rows[group, before] = len(pmfs)
            near = 1 / (1 + np.abs(reach - before)) ** 3.0
            pmfs.append(np.append(self._shifts[group, before] + 2 * near, 0.0))
            minimum.append(-frozen.SHIFT_LIMIT)
        tables = Tables.from_pmfs(pmfs, np.array(minimum, np.int32))
        shrink = np.zeros((len(pmfs), 3), np.int32)
        for index in np.ndindex(*coefficient_rows.shape):
            shrink[coefficient_rows[index]] = _shrink(self._excess[index], index[2])
        named = {f"tables.{name}": value for name, value in tables.to_arrays().items()}
        return named | {
            "coefficient_rows": coefficient_rows,
            "flag_rows": flag_rows,
            "shift_rows": shift_rows,
            "shrink": shrink,
        }


def _bin_scale(index: int) -> float:
    """Middle of a scale bin, in steps."""
    if index == 0:
        return 2 / 256
    exponent, quarter = divmod(index - 1, 4)
    return (1 + (quarter + 0.5) / 4) * 2.0 ** (exponent + 2 - 8)


def _row(
    own: NDArray[np.float64], pooled: NDArray[np.float64], index: int
) -> tuple[NDArray[np.float64], int]:
    """Probabilities of one row, symmetric unless low bits are raw, and its first symbol."""
    scale = _bin_scale(index)
    raw = max(0, (index - 1) // 4 + 2 - 10)
    scale /= 2**raw
    k = np.arange(-_REACH, _REACH + 1)
    shape = np.exp(-np.abs(k + (0.5 if raw else 0.0)) / scale)
    shape = np.append(shape / shape.sum(), 1e-5)
    wide = pooled + _PRIOR_COUNT * 0.05 * shape
    counts = own + _PRIOR_COUNT * 0.02 * wide / wide.sum()
    if not raw:
        counts[:-1] = (counts[:-1] + counts[:-1][::-1]) / 2
    pmf = counts / counts.sum()
    reach = _REACH
    while reach > 1 and pmf[_REACH - reach] + pmf[_REACH + reach] < 2e-5:
        reach -= 1
    inner = pmf[_REACH - reach : _REACH + reach + 1]
    return np.append(inner, max(1 - inner.sum(), 2e-5)), -reach


def _flag_row(own: NDArray[np.float64], pooled: NDArray[np.float64]) -> NDArray[np.float64]:
    wide = pooled + 0.05
    counts = own + wide / wide.sum()
    return np.append(counts / counts.sum(), 0.0)


def _shrink(excess: NDArray[np.float64], index: int) -> NDArray[np.int64]:
    """How far below its integer the mean value of a magnitude lies, in 64ths: (3, 2) -> (3,).

    Where little was counted, the centroid of an interval under an exponential of mean s leads:
    coth(1 / 2s) / 2 - s below its middle.
    """
    scale = _bin_scale(index)
    expected = min(0.5 / np.tanh(0.5 / scale) - scale, 0.3)
    mean = (excess[:, 1] + 20 * expected) / (excess[:, 0] + 20)
    return np.rint(64 * np.clip(mean, -0.25, 0.5)).astype(np.int64)

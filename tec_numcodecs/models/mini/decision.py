"""Encoder decisions of mini `fp`: which integer a coefficient becomes.

Greedy rate-distortion optimised quantisation: of the nearest integer, the next one towards zero
and zero, the one with the least ``D + lambda R``, D in squared steps and R in bits of the table
row that the decoder will use; then a whole block becomes zero if that is cheaper still. What a
decision does to the rows of later planes is ignored. None of this binds a decoder.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.blocks import block_shape, block_sum, spread_blocks
from tec_numcodecs.models.mini import prior as frozen
from tec_numcodecs.models.mini.prior import Plane, Prior
from tec_numcodecs.models.mini.quantiser import STEP_UNIT, steps
from tec_numcodecs.models.mini.transform import LOW

Int32Array = NDArray[np.int32]

#: Squared steps that a bit is worth. High-resolution theory gives (2 ln 2) / 12 = 0.1155.
LAGRANGIAN = 0.1
_ROUGH_ROUNDING = 0.35
_EDGE = 3.0


class Decider:
    """Decisions at one rate.

    Parameters
    ----------
    prior : Prior
    rate_index : int
    """

    def __init__(self, prior: Prior, rate_index: int) -> None:
        self._prior = prior
        self._octave = rate_index // 16
        self._steps = steps(rate_index)
        self._bits = prior.magnitude_bits  # (R, count)

    def low(self, values: Int32Array) -> Int32Array:
        """Quantise the low-pass: plain rounding, its errors reach every pixel."""
        return _rounded(values, int(self._steps[LOW, 0]))

    def rough(self, plane: Plane, values: Int32Array) -> Int32Array:
        """About what :meth:`detail` will decide, before the shift is known."""
        step = int(self._steps[plane.level, plane.orientation])
        if step == STEP_UNIT:
            return values
        magnitude = np.floor(np.abs(values) * (STEP_UNIT / step) + _ROUGH_ROUNDING)
        return (np.sign(values) * magnitude).astype(np.int32)

    def shift(self, plane: Plane, q: Int32Array, scale: Int32Array, before: int) -> int:
        """Shift under which a plane (N, h, w) costs least, of the promising ones."""
        flags = block_sum(q != 0) > 0
        sums = block_sum(scale)
        coded = spread_blocks(flags, *q.shape[1:])
        magnitudes, inside = np.abs(q[coded]), scale[coded]
        near = {before, 0}
        if flags.any():
            match = frozen.matching_shift(inside, magnitudes)
            near |= {match - 2, match - 1, match, match + 1}
        else:  # a lower expectation makes the flags of empty blocks cheaper
            near |= {before - 2, before + 2, -3, -6, -8}
        side = self._prior.row_of_shift(self._octave, before)
        symbols = flags.ravel().astype(np.intp)

        def cost(shift: int) -> float:
            rows = self._prior.rows_of_flags(self._octave, plane, frozen.shifted_sums(sums, shift))
            bits = self._bits[rows, symbols].sum() + self._prior.bits_of(side, shift)
            if magnitudes.size:
                moved = frozen.shifted(inside, shift)
                rows = self._prior.rows_of(self._octave, plane, moved)
                bits += _at(self._bits, rows, magnitudes, frozen.raw_bits(moved)).sum()
            return float(bits)

        return min(sorted(s for s in near if abs(s) <= frozen.SHIFT_LIMIT), key=cost)

    def detail(self, plane: Plane, values: Int32Array, scale: Int32Array, shift: int) -> Int32Array:
        """Quantise a plane of detail coefficients, (N, h, w) each; `scale` is before the shift."""
        step = int(self._steps[plane.level, plane.orientation])
        if step == STEP_UNIT:
            return values
        sums = frozen.shifted_sums(block_sum(scale), shift)
        scale = frozen.shifted(scale, shift)
        q = _rounded(values, step)
        where = np.nonzero(q)
        rows = self._prior.rows_of(self._octave, plane, scale[where])
        raw = frozen.raw_bits(scale[where])
        normalised = np.abs(values[where]) * (STEP_UNIT / step)
        nearest = np.abs(q[where])
        weight = _edge_weight(*values.shape[1:])[where[1], where[2]]
        best, saved = self._choose(rows, raw, normalised, nearest, weight)
        q[where] = np.sign(q[where]) * best
        gain = np.zeros(values.shape)
        gain[where] = saved
        return self._drop_blocks(plane, q, gain, scale, sums)

    def _choose(
        self,
        rows: Int32Array,
        raw: NDArray[np.uint8],
        values: NDArray[np.float64],
        nearest: Int32Array,
        weight: NDArray[np.float32],
    ) -> tuple[Int32Array, NDArray[np.float64]]:
        """Best magnitudes, and how much cheaper each is than zero; all arrays (P,)."""
        best = nearest.copy()
        cost = weight * (values - nearest) ** 2 + LAGRANGIAN * _at(self._bits, rows, nearest, raw)
        zero = weight * values**2 + LAGRANGIAN * _at(self._bits, rows, np.zeros_like(nearest), raw)
        lower = nearest - 1
        other = weight * (values - lower) ** 2 + LAGRANGIAN * _at(self._bits, rows, lower, raw)
        for candidate, price in ((lower, other), (np.zeros_like(nearest), zero)):
            better = price < cost
            best = np.where(better, candidate, best)
            cost = np.where(better, price, cost)
        return best, zero - cost

    def _drop_blocks(
        self,
        plane: Plane,
        q: Int32Array,
        gain: NDArray[np.float64],
        scale: Int32Array,
        sums: NDArray[np.int64],
    ) -> Int32Array:
        """Set blocks to zero whose coefficients do not earn what coding the block costs."""
        rows = self._prior.rows_of_flags(self._octave, plane, sums)
        flags = self._bits[rows, :2]  # (blocks, 2)
        shape = block_shape(scale.shape)
        earned = block_sum(gain).ravel()
        occupied = (block_sum(q != 0) > 0).ravel()
        candidates = np.flatnonzero(occupied & (earned < LAGRANGIAN * 64))
        if candidates.size:
            zeros = self._bits[self._prior.rows_of(self._octave, plane, scale), 0]
            inside = block_sum(zeros.reshape(scale.shape)).ravel()  # bits of zeros alone
            price = LAGRANGIAN * (inside + flags[:, 1] - flags[:, 0])
            occupied[candidates] = earned[candidates] > price[candidates]
        keep = spread_blocks(occupied.reshape(shape), *q.shape[1:])
        return np.where(keep, q, 0)


def _edge_weight(height: int, width: int) -> NDArray[np.float32]:
    """Weight of the squared error of each coefficient of a plane, (h, w).

    At the far end of an even signal the synthesis spreads an error over fewer pixels, which then
    carry more of it: without this, chunks laid side by side show a seam.
    """
    weight = np.ones((height, width), np.float32)
    weight[-1] *= _EDGE
    weight[:, -1] *= _EDGE
    return weight


def _rounded(values: Int32Array, step: int) -> Int32Array:
    """Nearest multiple of the step, as an integer; halves away from zero."""
    magnitude = (np.abs(values.astype(np.int64)) * (2 * STEP_UNIT) + step) // (2 * step)
    return (np.sign(values) * magnitude).astype(np.int32)


def _at(
    bits: NDArray[np.float32], rows: Int32Array, magnitude: Int32Array, raw: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Look costs up, arrays (P,); beyond the table they grow like an escape's."""
    symbol = magnitude >> raw
    clipped = np.minimum(symbol, bits.shape[1] - 1)
    return bits[rows, clipped] + raw + 2 * np.log2((1 + symbol - clipped).astype(np.float32))

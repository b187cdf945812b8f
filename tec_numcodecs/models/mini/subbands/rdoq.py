"""Encoder decisions of mini `fp`: which integer a coefficient becomes, which shift a plane gets.

Greedy rate-distortion optimised quantisation: of the nearest integer, the next one towards zero
and zero, the one with the least ``D + lambda R``, D in squared steps and R in bits of the table
row that the decoder will use; then a whole block becomes zero if that is cheaper still. What a
decision does to the rows of later planes is ignored. None of this binds a decoder.

Only coefficients of half a step and more are looked at one by one; the others are zero anyway,
and what zeros cost is estimated by block.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy.blocks8 import BLOCK, block_shape, block_sum
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane, Prior
from tec_numcodecs.models.mini.transform.quantizer import STEP_UNIT, steps
from tec_numcodecs.models.mini.transform.wavelet_klt import LOW

Int32Array = NDArray[np.int32]
Float64Array = NDArray[np.float64]

#: Squared steps that a bit is worth. High-resolution theory gives (2 ln 2) / 12 = 0.1155.
LAGRANGIAN = 0.1
# From this fraction of a step on a coefficient counts as one that will not be zero, when the
# shift is chosen before the decisions.
_LIKELY = 0.65
# Weight of errors in the last row and column. At the far end of an even signal the synthesis
# spreads an error over fewer pixels, which then carry more of it: without this, chunks laid side
# by side show a seam.
_EDGE = 2.0


@dataclass(frozen=True)
class _Points:
    """The coefficients of a plane that may become something else than zero; arrays (P,).

    Attributes
    ----------
    at : positions in the flat plane
    block : index of the block
    value : magnitudes in steps
    scale : expected magnitudes, before the shift
    weight : of the squared error
    """

    at: NDArray[np.intp]
    block: NDArray[np.intp]
    value: Float64Array
    scale: Int32Array
    weight: NDArray[np.float32]


class Decider:
    """Decisions at one rate.

    Parameters
    ----------
    prior : Prior
    rate_index : int
    lagrangian : float
        Squared steps that a bit is worth.
    """

    def __init__(self, prior: Prior, rate_index: int, lagrangian: float = LAGRANGIAN) -> None:
        self._prior = prior
        self._lagrangian = lagrangian
        self._octave = rate_index // 16
        self._steps = steps(rate_index)
        self._bits = prior.magnitude_bits  # (R, count)

    def low(self, values: Int32Array) -> Int32Array:
        """Quantise the low-pass: plain rounding, its errors reach every pixel."""
        step = int(self._steps[LOW, 0])
        magnitude = (np.abs(values.astype(np.int64)) * (2 * STEP_UNIT) + step) // (2 * step)
        return (np.sign(values) * magnitude).astype(np.int32)

    def plane(
        self, plane: Plane, values: Int32Array, scale: Int32Array, before: int
    ) -> tuple[Int32Array, int]:
        """Quantise a plane of detail coefficients.

        Parameters
        ----------
        plane : Plane
        values : int32 array (N, h, w)
            Coefficients; of the low-pass, integers that are decided already.
        scale : int32 array (N, h, w)
            Expected magnitudes, before the shift.
        before : int
            Shift of the component before.

        Returns
        -------
        q : int32 array (N, h, w)
        shift : int
        """
        exact = plane.level == LOW
        step = STEP_UNIT if exact else int(self._steps[plane.level, plane.orientation])
        sums = block_sum(scale).ravel()
        points = _points(values, scale, step)
        shift = self._shift(plane, points, sums, scale.shape, before)
        if step == STEP_UNIT:
            return values, shift
        magnitude = self._magnitudes(plane, points, sums, scale.shape, shift)
        q = np.zeros(values.size, np.int32)
        q[points.at] = np.sign(values.ravel()[points.at]) * magnitude
        return q.reshape(values.shape), shift

    def _shift(
        self,
        plane: Plane,
        points: _Points,
        sums: NDArray[np.int64],
        shape: tuple[int, ...],
        before: int,
    ) -> int:
        """Shift under which a plane costs least, of the promising ones."""
        magnitude = np.floor(points.value + (1 - _LIKELY)).astype(np.int32)
        likely = np.flatnonzero(magnitude)
        magnitude, scale = magnitude[likely], points.scale[likely]
        coded = np.bincount(points.block[likely], minlength=sums.size) > 0
        near = {before, 0}
        if likely.size:
            match = frozen.matching_shift(sums[coded], magnitude)
            near |= {match - 1, match, match + 1}
        else:  # a lower expectation makes the flags of empty blocks cheaper
            near |= {before - 2, -4, -8}
        candidates = sorted(s for s in near if abs(s) <= frozen.SHIFT_LIMIT)
        side = self._prior.row_of_shift(self._octave, before)
        bits = np.array([self._prior.bits_of(side, s) for s in candidates])  # (K,)
        moved = np.stack([frozen.shifted_sums(sums, s) for s in candidates])  # (K, blocks)
        rows = self._prior.rows_of_flags(self._octave, plane, moved).reshape(moved.shape)
        bits += self._flag_bits[rows, coded.astype(np.intp)].sum(axis=1)
        if likely.size:
            area = _areas(shape)[coded]
            zeros = self._zero_bits(plane, moved[:, coded], area).reshape(len(bits), -1)
            bits += (area * zeros).sum(axis=1)
            place = np.stack([frozen.shifted(scale, s) for s in candidates])  # (K, likely)
            rows = self._prior.rows_of(self._octave, plane, place).reshape(place.shape)
            more = _at(self._bits, rows, magnitude, frozen.raw_bits(place)) - self._bits[rows, 0]
            bits += more.sum(axis=1)
        return candidates[int(np.argmin(bits))]

    def _magnitudes(
        self,
        plane: Plane,
        points: _Points,
        sums: NDArray[np.int64],
        shape: tuple[int, ...],
        shift: int,
    ) -> Int32Array:
        """Magnitudes of the points, (P,)."""
        scale = frozen.shifted(points.scale, shift)
        rows = self._prior.rows_of(self._octave, plane, scale)
        raw = frozen.raw_bits(scale)
        nearest = np.floor(points.value + 0.5).astype(np.int32)
        best = np.zeros_like(nearest)
        zero = points.weight * points.value**2 + self._lagrangian * self._bits[rows, 0]
        cost = zero
        for candidate in (nearest, nearest - 1):
            error = points.weight * (points.value - candidate) ** 2
            price = error + self._lagrangian * _at(self._bits, rows, candidate, raw)
            better = price < cost
            best = np.where(better, candidate, best)
            cost = np.where(better, price, cost)
        # A block stays only if its coefficients earn what coding it costs.
        moved = frozen.shifted_sums(sums, shift)
        flags = self._flag_bits[self._prior.rows_of_flags(self._octave, plane, moved)]
        area = _areas(shape)
        toll = self._lagrangian * (
            area * self._zero_bits(plane, moved, area) + flags[:, 1] - flags[:, 0]
        )
        earned = np.bincount(points.block, weights=zero - cost, minlength=sums.size)
        return np.where((earned > toll)[points.block], best, 0).astype(np.int32)

    def _zero_bits(
        self, plane: Plane, sums: NDArray[np.int64], area: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Bits of a zero in blocks of these sums, each taken at the block's mean."""
        mean = np.minimum(sums // area, frozen.SCALE_LIMIT - 1).astype(np.int32)
        return self._bits[self._prior.rows_of(self._octave, plane, mean), 0]

    @cached_property
    def _flag_bits(self) -> NDArray[np.float32]:
        """Cost in bits of a block's flag, (R, 2)."""
        return np.ascontiguousarray(self._bits[:, :2])


def _points(values: Int32Array, scale: Int32Array, step: int) -> _Points:
    _, height, width = values.shape
    flat = values.ravel()
    at = np.flatnonzero(np.abs(flat) * (2 * STEP_UNIT) >= step)
    rows, x = np.divmod(at, width)
    date, y = np.divmod(rows, height)
    _, down, across = block_shape(values.shape)
    block = (date * down + y // BLOCK) * across + x // BLOCK
    weight = np.where(y == height - 1, _EDGE, 1.0) * np.where(x == width - 1, _EDGE, 1.0)
    value = np.abs(flat[at]) * (STEP_UNIT / step)
    return _Points(at, block, value, scale.ravel()[at], weight.astype(np.float32))


@lru_cache(maxsize=32)
def _areas(shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Number of coefficients in each block of a plane, (blocks,)."""
    area = block_sum(np.ones(shape, np.int64)).ravel()
    area.flags.writeable = False
    return area


def _at(
    bits: NDArray[np.float32], rows: Int32Array, magnitude: Int32Array, raw: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Look costs up, arrays (..., P); beyond the table they grow like an escape's."""
    symbol = magnitude >> raw
    clipped = np.minimum(symbol, bits.shape[1] - 1)
    return bits[rows, clipped] + raw + 2 * np.log2((1 + symbol - clipped).astype(np.float32))

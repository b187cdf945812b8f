"""How mini `fp` writes and reads one plane: shift, block flags, symbols, raw low bits.

Writing only collects stages of symbols and table rows; the entropy coder gets them later.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans
from tec_numcodecs.entropy.blocks8 import block_shape, block_sum, spread_blocks
from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane, Prior
from tec_numcodecs.models.mini.transform.quantizer import COEFFICIENT_LIMIT, dequantise, steps
from tec_numcodecs.models.mini.transform.wavelet_klt import LOW, Coefficients, subband_sizes

Int32Array = NDArray[np.int32]
#: Symbols, their table rows, (n,) each, and the tables, as the entropy coder takes them.
Stage = tuple[Int32Array, Int32Array, rans.Tables]


class Shifts:
    """Shift of each plane of a chunk: how far its magnitudes lie off what the rule expects.

    Parameters
    ----------
    components : int
    followed : Shifts, optional
        Those of another date, under which these are coded.
    """

    def __init__(self, components: int, followed: Shifts | None = None) -> None:
        self.values = np.zeros((LOW + 1, components, 3), np.int32)
        self._followed = followed

    def before(self, plane: Plane) -> int:
        """Shift under which a shift is coded: of the component before, 0 for the first."""
        if self._followed is not None:
            return self._followed.of(plane)
        if plane.component == 0:
            return 0
        return int(self.values[plane.level, plane.component - 1, plane.orientation])

    def of(self, plane: Plane) -> int:
        """Shift of a plane that is recorded."""
        return int(self.values[plane.level, plane.component, plane.orientation])

    def set(self, plane: Plane, shift: int) -> None:
        """Record the shift of a plane."""
        self.values[plane.level, plane.component, plane.orientation] = shift


class OutlineWriter:
    """Collects the stages of a chunk: of each plane its shift and block flags."""

    def __init__(self, prior: Prior, shifts: Shifts, octave: int) -> None:
        self.stages: list[Stage] = []
        self.shifts = shifts
        self._prior = prior
        self._octave = octave

    def outline(
        self, plane: Plane, scale: Int32Array, shift: int, flags: NDArray[np.bool_]
    ) -> None:
        """Add shift and flags of one plane; expected magnitudes before the shift, (N, h, w)."""
        tables = self._prior.tables
        row = self._prior.row_of_shift(self._octave, self.shifts.before(plane))
        self.stages.append((np.array([shift], np.int32), np.array([row], np.int32), tables))
        self.shifts.set(plane, shift)
        sums = frozen.shifted_sums(block_sum(scale), shift)
        rows = self._prior.rows_of_flags(self._octave, plane, sums)
        self.stages.append((flags.ravel().astype(np.int32), rows, tables))


class PlaneWriter(OutlineWriter):
    """Collects the stages of a chunk, symbols and raw low bits among them."""

    def write(self, plane: Plane, scale: Int32Array, q: Int32Array, shift: int) -> None:
        """Add one plane: expected magnitudes before the shift and integers, (N, h, w) each."""
        flags = block_sum(q != 0) > 0
        self.outline(plane, scale, shift, flags)
        if not flags.any():
            return
        tables = self._prior.tables
        coded = spread_blocks(flags, *q.shape[1:])
        inside, scale = q[coded], frozen.shifted(scale[coded], shift)
        raw = frozen.raw_bits(scale).astype(np.int32)
        self.stages.append((inside >> raw, self._prior.rows_of(self._octave, plane, scale), tables))
        partly = raw > 0
        if partly.any():
            low_bits = inside[partly] & ((1 << raw[partly]) - 1)
            self.stages.append((low_bits, rans.UNIFORM + raw[partly], tables))


class PlaneReader:
    """Undoes `PlaneWriter`, plane by plane."""

    def __init__(self, decoder: rans.Decoder, prior: Prior, shifts: Shifts, octave: int) -> None:
        self.shifts = shifts
        self._decoder = decoder
        self._prior = prior
        self._octave = octave

    def outline(self, plane: Plane, scale: Int32Array) -> tuple[int, NDArray[np.bool_]]:
        """Shift of a plane and its flags (N, blocks down, blocks across).

        Raises
        ------
        CorruptChunk
            If a symbol is one that no encoder writes.
        """
        tables = self._prior.tables
        row = self._prior.row_of_shift(self._octave, self.shifts.before(plane))
        shift = int(self._decoder.pull(np.array([row], np.int32), tables)[0])
        if abs(shift) > frozen.SHIFT_LIMIT:
            raise CorruptChunk(f"a shift of {shift}", allowed=f"up to {frozen.SHIFT_LIMIT}")
        self.shifts.set(plane, shift)
        sums = frozen.shifted_sums(block_sum(scale), shift)
        rows = self._prior.rows_of_flags(self._octave, plane, sums)
        flags = pull_flags(self._decoder, rows, tables, "a block flag")
        return shift, flags.reshape(block_shape(scale.shape))

    def read(self, plane: Plane, scale: Int32Array) -> tuple[Int32Array, Int32Array]:
        """Integers (N, h, w) of a plane, and its expected magnitudes after the shift.

        Raises
        ------
        CorruptChunk
            If a symbol is one that no encoder writes.
        """
        shift, blocks = self.outline(plane, scale)
        scale = frozen.shifted(scale, shift)
        q = np.zeros(scale.shape, np.int32)
        if blocks.any():
            coded = spread_blocks(blocks, *scale.shape[1:])
            q[coded] = self._read_symbols(plane, scale[coded])
        return q, scale

    def _read_symbols(self, plane: Plane, scale: Int32Array) -> Int32Array:
        """Integers (P,) of the coefficients in blocks that are not zero."""
        tables = self._prior.tables
        symbols = self._decoder.pull(self._prior.rows_of(self._octave, plane, scale), tables)
        if max(-int(symbols.min()), int(symbols.max())) > COEFFICIENT_LIMIT:
            raise CorruptChunk("a symbol out of range", allowed=f"up to {COEFFICIENT_LIMIT}")
        raw = frozen.raw_bits(scale).astype(np.int32)
        partly = raw > 0
        if partly.any():
            low_bits = self._decoder.pull(rans.UNIFORM + raw[partly], tables)
            symbols[partly] = (symbols[partly] << raw[partly]) | low_bits
        return symbols


def pull_flags(
    decoder: rans.Decoder, rows: Int32Array, tables: rans.Tables, what: str
) -> NDArray[np.bool_]:
    """Read flags (P,) in these rows; what they are called in an error.

    Raises
    ------
    CorruptChunk
        If one is neither 0 nor 1: no encoder writes that.
    """
    flags = decoder.pull(rows, tables)
    if flags.min() < 0 or flags.max() > 1:
        raise CorruptChunk(f"{what} that is neither 0 nor 1")
    return np.asarray(flags != 0)


class Placer:
    """Turns integers into coefficients, plane by plane, each at the centroid of its interval."""

    def __init__(self, prior: Prior, geometry: Geometry, rate: Rate) -> None:
        t, c, height, width = geometry.shape
        self._prior = prior
        self._octave = rate.index // 16
        self._steps = steps(rate.index)
        sizes = subband_sizes(height, width)
        self._detail = tuple(np.zeros((t, c, 3, *size), np.int32) for size in sizes[:LOW])

    def place(self, plane: Plane, scale: Int32Array, q: Int32Array) -> None:
        """Dequantise one plane of details; magnitudes after the shift, integers, (N, h, w)."""
        where = np.flatnonzero(q)
        if plane.level == LOW or not where.size:
            return
        found = q.ravel()[where]
        shrink = self._prior.shrink_of(self._octave, plane, scale.ravel()[where], found)
        step = int(self._steps[plane.level, plane.orientation])
        flat = np.zeros(q.size, np.int32)
        flat[where] = dequantise(found, step, shrink)
        self._detail[plane.level][:, plane.component, plane.orientation] = flat.reshape(q.shape)

    def finish(self, q: Coefficients) -> Coefficients:
        """All coefficients, the low-pass included."""
        low = dequantise(q.low, int(self._steps[LOW, 0]))
        return Coefficients(low, self._detail, q.entries)

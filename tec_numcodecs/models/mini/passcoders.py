"""Writing and reading one pass of mini `flextec`; see :mod:`.refining`.

The first pass codes low-pass, shifts and flags as :mod:`.fp` does. Later ones take the shifts over,
get one binary digit of every low-pass coefficient raw, and flags only of blocks that were all zero.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs import rans
from tec_numcodecs.blocks import block_shape, block_sum
from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.mini import prior as frozen
from tec_numcodecs.models.mini import symbols
from tec_numcodecs.models.mini.mixture_rows import Choice
from tec_numcodecs.models.mini.planes import PlaneReader, PlaneWriter, Shifts, Stage
from tec_numcodecs.models.mini.prior import Plane, Prior
from tec_numcodecs.models.mini.refining import PASSES, RefiningWalk, low_values, refinement
from tec_numcodecs.models.mini.surroundings import Index
from tec_numcodecs.models.mini.transform import LOW, Coefficients

Int32Array = NDArray[np.int32]
#: Token of a pass that holds a level.
TOKEN_OF_LEVEL = {LOW: 0, 4: 0, 3: 0, 2: 1, 1: 2, 0: 3}


@dataclass(frozen=True)
class Pass:
    """What a pass has to go by.

    Attributes
    ----------
    prior : Prior
    walk : RefiningWalk
    number : int
        0 to 3.
    low_step : int
        Of the low-pass, in sixteenths of a DN.
    shifts : Shifts
        Of the first pass, which fills them.
    tables : Tables
        Of the family.
    """

    prior: Prior
    walk: RefiningWalk
    number: int
    low_step: int
    shifts: Shifts
    tables: rans.Tables


class PassCoder(abc.ABC):
    """Goes through the planes of a pass.

    Parameters
    ----------
    own : Pass
    entries : uint8 array (N, 6)
    """

    def __init__(self, own: Pass, entries: NDArray[np.uint8]) -> None:
        self.walk, self.low = own.walk, np.zeros(0, np.int32)
        self._own, self._entries = own, entries
        self._residuals: list[Int32Array] = []
        self._started = False

    def __call__(self, plane: Plane, scale: Int32Array) -> Int32Array:
        """Code a plane with these expected magnitudes; see ``PlaneCoder``."""
        if plane.level == LOW:
            if self._own.number:
                return np.zeros(scale.shape, np.int32)
            self._residuals.append(self._code_low(plane, scale))
            return self._residuals[-1]
        if not self._started:
            self._start()
        return self._code_detail(plane, scale)

    def _start(self) -> None:
        if self._own.number == 0:
            self.low = frozen.restore_low(np.stack(self._residuals, axis=1))
        else:
            self.low = self._refine_low()
        digits = PASSES - 1 - self._own.number
        self.walk.start(low_values(self.low, digits, self._own.low_step), self._entries)
        self._started = True

    def _unknown(self, plane: Plane, blocks: tuple[int, int, int]) -> NDArray[np.bool_]:
        """Blocks whose flags are not known from the pass before."""
        before = self.walk.before(plane)
        if before is None:
            return np.ones(blocks, bool)
        return np.asarray(block_sum(before != 0) == 0)

    def _flag_rows(
        self, plane: Plane, scale: Int32Array, shift: int, unknown: NDArray[np.bool_]
    ) -> Int32Array:
        sums = frozen.shifted_sums(block_sum(scale), shift)
        rows = self._own.prior.rows_of_flags(self.walk.octave, plane, sums)
        return rows[unknown.ravel()]

    @abc.abstractmethod
    def _code_low(self, plane: Plane, scale: Int32Array) -> Int32Array:
        """Residuals (N, h, w) of a low-pass plane, first pass."""

    @abc.abstractmethod
    def _refine_low(self) -> Int32Array:
        """Low-pass integers (N, C, h, w), later passes."""

    @abc.abstractmethod
    def _code_detail(self, plane: Plane, scale: Int32Array) -> Int32Array:
        """Integers (N, h, w) of a detail plane."""


class PassEncoder(PassCoder):
    """Writes integers that are known.

    Parameters
    ----------
    own : Pass
    q : Coefficients
        Integers to the precision of the pass.
    """

    def __init__(self, own: Pass, q: Coefficients) -> None:
        super().__init__(own, q.entries)
        self._q = q
        self._given = frozen.predict_low(q.low)
        self._writer = PlaneWriter(own.prior, own.shifts, own.walk.octave)
        #: What each token of the pass holds.
        self.tokens: list[list[Stage]] = [[] for _ in range(4)]

    def _code_low(self, plane: Plane, scale: Int32Array) -> Int32Array:
        q = self._given[:, plane.component]
        coded = block_sum(q != 0) > 0
        shift = frozen.matching_shift(block_sum(scale)[coded], np.abs(q))
        self._writer.stages = self.tokens[0]
        self._writer.write(plane, scale, q, shift)
        return q

    def _refine_low(self) -> Int32Array:
        rows = np.full(self._q.low.size, rans.UNIFORM + 1, np.int32)
        self.tokens[0].append(((self._q.low & 1).ravel(), rows, self._own.tables))
        return self._q.low

    def _code_detail(self, plane: Plane, scale: Int32Array) -> Int32Array:
        q = self._q.detail[plane.level][:, plane.component, plane.orientation]
        flags = block_sum(q != 0) > 0
        stages = self.tokens[TOKEN_OF_LEVEL[plane.level]]
        if self._own.number == 0:
            shift = frozen.matching_shift(block_sum(scale)[flags], np.abs(q))
            self._writer.stages = stages
            self._writer.outline(plane, scale, shift, flags)
        else:
            shift = self._own.shifts.of(plane)
            unknown = self._unknown(plane, flags.shape)
            rows = self._flag_rows(plane, scale, shift, unknown)
            stages.append((flags[unknown].astype(np.int32), rows, self._own.prior.tables))
        before = self.walk.before(plane)
        flat = np.ascontiguousarray(q if before is None else refinement(q, before)).ravel()

        def look(at: Index, choice: Choice) -> Int32Array:
            stages.extend(symbols.stages_of(flat[at], choice, self._own.tables))
            return flat[at]

        return self.walk.code(plane, scale, shift, flags, look)


class PassDecoder(PassCoder):
    """Reads.

    Parameters
    ----------
    own : Pass
    entries : uint8 array (N, 6)
    tokens : list of Decoder
        Those of the pass that are there.
    low : int32 array (N, C, h, w), optional
        Low-pass integers of the pass before.
    """

    def __init__(
        self,
        own: Pass,
        entries: NDArray[np.uint8],
        tokens: list[rans.Decoder],
        low: Int32Array | None,
    ) -> None:
        super().__init__(own, entries)
        self._tokens, self._low_before = tokens, low
        octave = own.walk.octave
        self._readers = [PlaneReader(token, own.prior, own.shifts, octave) for token in tokens]

    def _code_low(self, plane: Plane, scale: Int32Array) -> Int32Array:
        return self._readers[0].read(plane, scale)[0]

    def _refine_low(self) -> Int32Array:
        if self._low_before is None:
            raise CorruptChunk("a refinement without a first pass")
        rows = np.full(self._low_before.size, rans.UNIFORM + 1, np.int32)
        digit = self._tokens[0].pull(rows, self._own.tables).reshape(self._low_before.shape)
        return 2 * self._low_before + digit

    def _code_detail(self, plane: Plane, scale: Int32Array) -> Int32Array:
        token = TOKEN_OF_LEVEL[plane.level]
        decoder = self._tokens[token]
        if self._own.number == 0:
            shift, flags = self._readers[token].outline(plane, scale)
        else:
            shift = self._own.shifts.of(plane)
            unknown = self._unknown(plane, block_shape(scale.shape))
            found = decoder.pull(
                self._flag_rows(plane, scale, shift, unknown), self._own.prior.tables
            )
            if found.size and (found.min() < 0 or found.max() > 1):
                raise CorruptChunk("a block flag that is neither 0 nor 1")
            flags = ~unknown
            flags[unknown] = found != 0

        def pull(at: Index, choice: Choice) -> Int32Array:
            del at
            return symbols.read(decoder, choice, self._own.tables)

        return self.walk.code(plane, scale, shift, flags, pull)

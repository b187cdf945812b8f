"""Writing and reading one pass of mini `flextec`; see `.refining`.

The first pass codes shifts and flags as `.fp` does. Later ones take the shifts over, and code
flags only of blocks that were all zero, in the rows of `.blockflags`.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans
from tec_numcodecs.entropy.blocks8 import block_sum
from tec_numcodecs.models.mini.context import symbols
from tec_numcodecs.models.mini.context.mixture_cdf import Choice
from tec_numcodecs.models.mini.context.scan import Index
from tec_numcodecs.models.mini.context.subband_coder import Coding
from tec_numcodecs.models.mini.context.symbols import LAGRANGIAN, TableBits
from tec_numcodecs.models.mini.progressive.bitplanes import (
    FIRST_DIGIT_ROW,
    FIRST_FLAG_ROW,
    Refining,
    RefiningWalk,
    refinement,
)
from tec_numcodecs.models.mini.progressive.significance import BlockFlags, flag_rows
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.subbands.bitstream import (
    OutlineWriter,
    PlaneReader,
    Shifts,
    Stage,
    pull_flags,
)
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane, Prior
from tec_numcodecs.models.mini.transform.quantizer import STEP_UNIT, steps

Int32Array = NDArray[np.int32]
Float32Array = NDArray[np.float32]
#: Token of a pass that holds a level.
TOKEN_OF_LEVEL = {4: 0, 3: 0, 2: 1, 1: 2, 0: 3}


@dataclass(frozen=True)
class Pass:
    """What a pass has to go by.

    Attributes
    ----------
    prior : Prior
    refining : Refining
    walk : RefiningWalk
    number : int
        0 to 3.
    shifts : Shifts
        Of the first pass, which fills them.
    """

    prior: Prior
    refining: Refining
    walk: RefiningWalk
    number: int
    shifts: Shifts

    @property
    def octave(self) -> int:
        """Of the rate that the pass stands for."""
        return self.walk.rate // 16


class PassCoder(abc.ABC):
    """Goes through the detail planes of a pass.

    Parameters
    ----------
    own : Pass
    """

    def __init__(self, own: Pass) -> None:
        self.walk = own.walk
        self._own = own
        self._blocks: BlockFlags | None = None

    def __call__(self, plane: Plane, scale: Int32Array) -> Int32Array:
        """Code a plane with these expected magnitudes; see ``PlaneCoder``."""
        if self._own.number == 0:
            return self._code_first(plane, scale)
        if plane.component == plane.orientation == 0:
            self._enter(plane.level)
        blocks = self._around()
        q = self._code_later(plane, scale, blocks, blocks.unknown(plane))
        blocks.set(plane, q)
        return q

    def _enter(self, level: int) -> None:
        known = self.walk.known
        if known is None:
            raise RuntimeError("a later pass knows what the one before knew")
        finer = known[level - 1] if level else None
        companding = self._own.refining.networks[self._own.number].companding
        self._blocks = BlockFlags(companding, known[level], finer, self._blocks)

    def _around(self) -> BlockFlags:
        if self._blocks is None:
            raise RuntimeError("a level begins with its first plane")
        return self._blocks

    def _flag_rows(
        self, plane: Plane, scale: Int32Array, blocks: BlockFlags, unknown: NDArray[np.bool_]
    ) -> Int32Array:
        """Rows of the flags of these blocks."""
        shift = self._own.shifts.of(plane)
        features = blocks.features(plane, scale, shift)[unknown.ravel()]
        network = self._own.refining.flags[plane.level, plane.orientation]
        number = self._own.number
        rows = flag_rows(network, features, plane.component, self.walk.rate, number)
        return FIRST_FLAG_ROW + rows

    @abc.abstractmethod
    def _code_first(self, plane: Plane, scale: Int32Array) -> Int32Array:
        """Integers (N, h, w) of a detail plane, first pass."""

    @abc.abstractmethod
    def _code_later(
        self, plane: Plane, scale: Int32Array, blocks: BlockFlags, unknown: NDArray[np.bool_]
    ) -> Int32Array:
        """Integers (N, h, w) of a detail plane, of whose blocks some were all zero before."""


class PassEncoder(PassCoder):
    """Writes integers that are known.

    Parameters
    ----------
    own : Pass
    detail : tuple of int32 arrays (N, C, 3, h, w)
        Integers to the precision of the pass.
    """

    def __init__(self, own: Pass, detail: tuple[Int32Array, ...]) -> None:
        super().__init__(own)
        self._detail = detail
        self._writer = OutlineWriter(own.prior, own.shifts, own.octave)
        #: What each token of the pass holds.
        self.tokens: list[list[Stage]] = [[] for _ in range(4)]

    def _code_first(self, plane: Plane, scale: Int32Array) -> Int32Array:
        q = self._integers(plane)
        flags = block_sum(q != 0) > 0
        shift = frozen.matching_shift(block_sum(scale)[flags], np.abs(q))
        stages = self.tokens[TOKEN_OF_LEVEL[plane.level]]
        self._writer.stages = stages
        self._writer.outline(plane, scale, shift, flags)
        return self.walk.code(plane, scale, shift, flags, self._looking(q, stages))

    def _code_later(
        self, plane: Plane, scale: Int32Array, blocks: BlockFlags, unknown: NDArray[np.bool_]
    ) -> Int32Array:
        shift, q = self._own.shifts.of(plane), self._integers(plane)
        found: list[Stage] = []
        flags = ~unknown | (block_sum(q != 0) > 0)
        q = self.walk.code(plane, scale, shift, flags, self._choosing(plane, q, found))
        kept = ~unknown | (block_sum(q != 0) > 0)
        if not np.array_equal(kept, flags):  # a flag says whether its block is all zero
            found.clear()
            q = self.walk.code(plane, scale, shift, kept, self._looking(self._new(plane, q), found))
        stages = self.tokens[TOKEN_OF_LEVEL[plane.level]]
        if unknown.any():
            rows = self._flag_rows(plane, scale, blocks, unknown)
            stages.append((kept[unknown].astype(np.int32), rows, self._own.refining.tables))
        stages.extend(found)
        return q

    def _integers(self, plane: Plane) -> Int32Array:
        return self._detail[plane.level][:, plane.component, plane.orientation]

    def _new(self, plane: Plane, q: Int32Array) -> Int32Array:
        """What the pass says of integers of a plane, (N, h, w)."""
        before = self.walk.before(plane)
        return q if before is None else refinement(q, before)

    def _choosing(self, plane: Plane, q: Int32Array, stages: list[Stage]) -> Coding:
        return self._looking(self._new(plane, q), stages)

    def _looking(self, symbol: Int32Array, stages: list[Stage]) -> Coding:
        """Look symbols (N, h, w) up and note down what the entropy coder gets."""
        flat = np.ascontiguousarray(symbol).ravel()

        def look(at: Index, choice: Choice) -> Int32Array:
            stages.extend(symbols.stages_of(flat[at], choice, self._own.refining.tables))
            return flat[at]

        return look


class PassDecider(PassEncoder):
    """Decides on the last digits anew, under the rows that they get here.

    Parameters
    ----------
    own : Pass
        The last one.
    detail : tuple of int32 arrays (N, C, 3, h, w)
        Integers as `elic` would have them; what earlier passes know of them stays.
    values : tuple of int32 arrays (N, C, 3, h, w)
        Coefficients in DN.
    rate_index : int
    bits : TableBits
        Of the family's tables.
    """

    def __init__(
        self,
        own: Pass,
        detail: tuple[Int32Array, ...],
        values: tuple[Int32Array, ...],
        rate_index: int,
        bits: TableBits,
    ) -> None:
        super().__init__(own, detail)
        self._values, self._steps, self._bits = values, steps(rate_index), bits

    def _choosing(self, plane: Plane, q: Int32Array, stages: list[Stage]) -> Coding:
        step = int(self._steps[plane.level, plane.orientation])
        before = self.walk.before(plane)
        if step == STEP_UNIT or before is None:
            return super()._choosing(plane, q, stages)
        values = self._values[plane.level][:, plane.component, plane.orientation].ravel()
        known = before.ravel()

        def choose(at: Index, choice: Choice) -> Int32Array:
            exact = values[at] * np.float32(STEP_UNIT / step)
            symbol = self._cheapest(exact, known[at], choice.row)
            stages.append((symbol, choice.row, self._own.refining.tables))
            return symbol

        return choose

    def _cheapest(self, exact: Float32Array, before: Int32Array, row: Int32Array) -> Int32Array:
        """The cheaper of two symbols: 0, or 1 more in magnitude; arrays (P,).

        What was 0 and lies within half a step stays 0.
        """
        more = np.where((before == 0) & (exact < 0), -1, 1).astype(np.int32)
        none = np.zeros_like(more)
        possible = (before != 0) | (np.abs(exact) >= 0.5)
        cheaper = self._cost(exact, before, more, row) < self._cost(exact, before, none, row)
        return np.where(possible & cheaper, more, none)

    def _cost(
        self, exact: Float32Array, before: Int32Array, symbol: Int32Array, row: Int32Array
    ) -> Float32Array:
        refining, number = self._own.refining, self._own.number
        digit = row >= FIRST_DIGIT_ROW
        q = np.where(digit, 2 * before + np.sign(before) * symbol, symbol).astype(np.int32)
        error = exact - (q + refining.offsets(number, q, row) / np.float32(64))
        bits = self._bits.of(symbol, row)
        return np.asarray(error**2 + np.float32(LAGRANGIAN) * bits, np.float32)


class PassDecoder(PassCoder):
    """Reads.

    Parameters
    ----------
    own : Pass
    tokens : list of Decoder
        Those of the pass that are there.
    """

    def __init__(self, own: Pass, tokens: list[rans.Decoder]) -> None:
        super().__init__(own)
        self._tokens = tokens
        self._readers = [PlaneReader(token, own.prior, own.shifts, own.octave) for token in tokens]

    def _code_first(self, plane: Plane, scale: Int32Array) -> Int32Array:
        token = TOKEN_OF_LEVEL[plane.level]
        shift, flags = self._readers[token].outline(plane, scale)
        return self.walk.code(plane, scale, shift, flags, self._pulling(token))

    def _code_later(
        self, plane: Plane, scale: Int32Array, blocks: BlockFlags, unknown: NDArray[np.bool_]
    ) -> Int32Array:
        token = TOKEN_OF_LEVEL[plane.level]
        flags = ~unknown
        if unknown.any():
            rows = self._flag_rows(plane, scale, blocks, unknown)
            tables = self._own.refining.tables
            flags[unknown] = pull_flags(self._tokens[token], rows, tables, "a block flag")
        shift = self._own.shifts.of(plane)
        return self.walk.code(plane, scale, shift, flags, self._pulling(token))

    def _pulling(self, token: int) -> Coding:
        decoder, tables = self._tokens[token], self._own.refining.tables

        def pull(at: Index, choice: Choice) -> Int32Array:
            del at
            return symbols.read(decoder, choice, tables)

        return pull

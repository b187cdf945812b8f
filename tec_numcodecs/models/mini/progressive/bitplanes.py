"""One pass of mini `flextec`: magnitudes become known to one more binary digit.

Pass p (0 to 3) knows q to a precision of 2^d, d = 3 - p: sign(q) * (|q| >> d). The first pass
codes that as `elic` codes its integers. The others know what the pass before knew: a coefficient
that was zero is one of -1, 0, 1 now; of another's magnitude one binary digit is new. The networks
see the pass before much as those of `tt` see an earlier date, and more: of all components and of
the finer level.

Table rows of the family: first the rows of the mixture, then as many that are limited to -1, 0, 1,
then those of the binary digit, by magnitude before (1, 2, 3 and more), scale and shape, then those
of block flags, by how likely they are; see `.blockflags`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.mini.context import mixture_cdf
from tec_numcodecs.models.mini.context.dequantize import in_step, rescaled, within_limit
from tec_numcodecs.models.mini.context.integer_mlp import Arrays, Perceptron
from tec_numcodecs.models.mini.context.mixture_cdf import Choice
from tec_numcodecs.models.mini.context.references import PassReference, Reference
from tec_numcodecs.models.mini.context.scan import Index
from tec_numcodecs.models.mini.context.subband_coder import (
    Coding,
    DetailWalk,
    History,
    Networks,
    Visited,
)
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane
from tec_numcodecs.models.mini.transform.by_level import LevelTransform
from tec_numcodecs.models.mini.transform.quantizer import (
    LEVELS,
    MAX_RATE_INDEX,
    STEP_UNIT,
)
from tec_numcodecs.native import native

Int32Array = NDArray[np.int32]
Float32Array = NDArray[np.float32]
PASSES = 4
#: For every 16 rate indices below this, one digit of the low-pass is left for later passes: where
#: steps are coarse, digits that come later cost more than they spare readers who stop early.
LOW_WHOLE = 176
#: Magnitudes before the last digit that have rows of their own.
MAGNITUDES = 3
MIXTURE_ROWS = len(mixture_cdf.all_rows())
_SCALES = mixture_cdf.SCALE_RAW - mixture_cdf.SCALE_MIN
DIGIT_ROWS = MAGNITUDES * _SCALES * mixture_cdf.SHAPES
FIRST_DIGIT_ROW = 2 * MIXTURE_ROWS
FIRST_FLAG_ROW = FIRST_DIGIT_ROW + DIGIT_ROWS


class Refining:
    """Networks, tables and reconstruction of all passes.

    Parameters
    ----------
    arrays : mapping
        Those of `.Networks` for ``flex.<pass>``; networks of block flags
        ``flex.flags.<level>.<orientation>``, whose phases are passes 1 to 3; offsets in 64ths of a
        pass's step, int8: ``flex.offsets.first`` (rows of the mixture, 7), ``flex.offsets.zeros``
        (3, rows of the mixture, 3), ``flex.offsets.digits`` (3, rows of digits, 2).
    """

    def __init__(self, arrays: Arrays) -> None:
        self.networks = [Networks(arrays, f"flex.{number}") for number in range(PASSES)]
        self.tables = self.networks[0].tables
        self.flags = {
            (level, o): Perceptron(arrays, f"flex.flags.{level}.{o}")
            for level in range(LEVELS)
            for o in range(3)
        }
        names = ("first", "zeros", "digits")
        offsets = [np.ascontiguousarray(arrays[f"flex.offsets.{name}"], np.int8) for name in names]
        self._first, self._zeros, self._digits = offsets

    def values(self, number: int, q: Int32Array, choice: Choice, step: int) -> Int32Array:
        """Integers of a pass to coefficients in DN.

        Parameters
        ----------
        number : int
            Of the pass.
        q : int32 array (P,)
        choice : Choice
            Rows that they were coded with.
        step : int
            Of the pass, in sixteenths of a DN.

        Raises
        ------
        CorruptChunk
            If a coefficient is larger than the transform allows.
        """
        if not number:
            return rescaled(q, choice, self._first, step, half=32)
        if step == STEP_UNIT:
            return q
        c = native()
        if c is None:
            offset = self.offsets(number, q, choice.row)
            wide = in_step(q.astype(np.int64), offset, step)
            return within_limit(wide.astype(np.int32), int(np.abs(wide).max(initial=0)))
        value = np.empty(len(q), np.int32)
        zeros, digits = self._zeros[number - 1], self._digits[number - 1]
        rows = (MIXTURE_ROWS, FIRST_DIGIT_ROW)
        peak = c.pass_rescale(value, q, choice.row, zeros, digits, *rows, step)
        return within_limit(value, peak)

    def offsets(self, number: int, q: Int32Array, row: Int32Array) -> NDArray[np.int64]:
        """Where integers (P,) of a later pass lie above themselves, in 64ths of its step."""
        offset = np.empty(q.shape, np.int64)
        digit = row >= FIRST_DIGIT_ROW
        new, known = np.flatnonzero(~digit), np.flatnonzero(digit)
        offset[new] = self._zeros[number - 1, row[new] - MIXTURE_ROWS, q[new] + 1]
        of_digit = self._digits[number - 1, row[known] - FIRST_DIGIT_ROW, q[known] & 1]
        offset[known] = np.sign(q[known]) * of_digit
        return offset


class PassBefore:
    """The pass before as a reference; see `.detail.History`."""

    def __init__(self, visited: Visited) -> None:
        self._visited = visited

    def at(self, level: int, planes: Int32Array) -> tuple[Int32Array, Int32Array]:
        """The pass before, whatever this one has decoded."""
        del planes
        return self._visited.planes[level], self._visited.bands[level]


class RefiningWalk(DetailWalk):
    """Codes the detail planes of one pass.

    Parameters
    ----------
    refining : Refining
    transform, rate_index, size
        As for `.DetailWalk`; the rate index is the chunk's.
    number : int
        Of the pass.
    before : Visited, optional
        What the pass before reconstructed.
    known : tuple of int32 arrays (N, C, 3, h, w), optional
        Its integers.
    """

    def __init__(
        self,
        refining: Refining,
        transform: LevelTransform,
        rate_index: int,
        size: tuple[int, int],
        number: int,
        before: Visited | None = None,
        known: tuple[Int32Array, ...] | None = None,
    ) -> None:
        history = None if before is None else PassBefore(before)
        super().__init__(refining.networks[number], transform, rate_index, size, history)
        self._refining, self._visited = refining, before
        self.number, self.known = number, known
        digits = PASSES - 1 - number
        self._steps = self._steps << digits
        self._rate = rate_of_pass(rate_index, number)
        self._before: Int32Array | None = None

    @property
    def rate(self) -> int:
        """Rate index that the pass stands for."""
        return self._rate

    @property
    def octave(self) -> int:
        """Of the rate that the pass stands for."""
        return self._rate // 16

    def before(self, plane: Plane) -> Int32Array | None:
        """Integers (N, h, w) of a plane after the pass before."""
        if self.known is None:
            return None
        return self.known[plane.level][:, plane.component, plane.orientation]

    def code(
        self,
        plane: Plane,
        scale: Int32Array,
        shift: int,
        flags: NDArray[np.bool_],
        coding: Coding,
    ) -> Int32Array:
        """Code one plane; see `.DetailWalk.code`.

        What ``coding`` returns are symbols of the rows; the result holds integers.
        """
        before = self.before(plane)
        self._before = None if before is None else before.ravel()

        def integers(at: Index, choice: Choice) -> Int32Array:
            found = coding(at, choice)
            return found if self._before is None else refined(found, self._before[at])

        return super().code(plane, scale, shift, flags, integers)

    def _refer(
        self, level: int, history: History, rows: NDArray[np.float64], low: Int32Array
    ) -> Reference:
        if self.known is None:
            return super()._refer(level, history, rows, low)
        _, bands = history.at(level, low)
        finer = self.known[level - 1] if level else None
        old = self._old(level, bands, rows)
        return PassReference(old, self.known[level], finer)

    def _rows(
        self, at: Index, mean: Float32Array, scale: Float32Array, shape: Float32Array
    ) -> Choice:
        if self._before is None:
            return mixture_cdf.choose(mean, scale, shape)
        row = later_rows(mean, scale, shape, self._before[at])
        zeros = np.zeros_like(row)
        return Choice(row, zeros, zeros)

    def _place(self, plane: Plane, flat: Index, q: Int32Array, choice: Choice) -> None:
        step = int(self._steps[plane.level, plane.orientation])
        self._put(plane, flat, self._refining.values(self.number, q, choice, step))

    def finish(self) -> tuple[Int32Array, Visited]:
        """See `.DetailWalk.finish`; levels that were not visited are as the pass before."""
        self._leave()
        for level in reversed(range(self._at)):
            if self._visited is not None:
                bands = self._visited.bands[level]
            else:
                n, c = self._planes[0].shape[:2]
                bands = np.zeros((n, c, 3, *self._subbands[level]), np.int32)
            self._merge(bands, level)
        return self._finished()


def rate_of_pass(rate_index: int, number: int) -> int:
    """Rate index that a pass of a chunk stands for."""
    return rate_without(rate_index, PASSES - 1 - number)


def rate_without(rate_index: int, digits: int) -> int:
    """Rate index that integers stand for which lack some digits."""
    return min(rate_index + 16 * digits, MAX_RATE_INDEX)


def low_digits(rate_index: int, number: int) -> int:
    """How many digits of the low-pass a pass of a chunk leaves for later ones."""
    return min(PASSES - 1 - number, max((LOW_WHOLE - rate_index) // 16, 0))


def later_rows(
    mean: Float32Array, scale: Float32Array, shape: Float32Array, before: Int32Array
) -> Int32Array:
    """Rows of a later pass, (P,); see `.mixture_rows.choose` and the module's description.

    Parameters
    ----------
    mean, scale, shape : float32 arrays (P,) of whole numbers
    before : int32 array (P,)
        Integers of the pass before.
    """
    c = native()
    if c is not None:
        row = np.empty(len(before), np.int32)
        packed = mixture_cdf.PACKED[:_SCALES]
        first = (mixture_cdf.SCALE_MIN, MIXTURE_ROWS, FIRST_DIGIT_ROW)
        c.pass_rows(row, before, mean, scale, shape, packed, *first)
        return row
    half = mixture_cdf.MEANS // 2
    mean = np.clip(mean, -half, half - 1)
    scale = np.clip(scale, mixture_cdf.SCALE_MIN, mixture_cdf.SCALE_RAW - 1)
    choice = mixture_cdf.choose(mean, scale, shape)
    kind = np.minimum(np.abs(before), MAGNITUDES) - 1
    place = kind * _SCALES + scale.astype(np.int32) - mixture_cdf.SCALE_MIN
    level = np.clip(shape, 0, mixture_cdf.SHAPES - 1).astype(np.int32)
    digit = FIRST_DIGIT_ROW + place * mixture_cdf.SHAPES + level
    return np.where(before != 0, digit, MIXTURE_ROWS + choice.row).astype(np.int32)


def refined(symbol: Int32Array, before: Int32Array) -> Int32Array:
    """Integers from symbols and the integers of the pass before.

    Raises
    ------
    CorruptChunk
        If a symbol is one that no encoder writes.
    """
    c = native()
    if c is None:
        q = np.where(before == 0, symbol, 2 * before + np.sign(before) * symbol).astype(np.int32)
        digits = bool(((symbol >= np.where(before == 0, -1, 0)) & (symbol <= 1)).all())
    else:
        q = np.empty(len(symbol), np.int32)
        digits = c.pass_refine(q, before, symbol)
    if not digits:
        raise CorruptChunk("a refinement that is no binary digit")
    return q


def refinement(q: Int32Array, before: Int32Array) -> Int32Array:
    """Undo `refined`."""
    return np.where(before == 0, q, np.abs(q) & 1).astype(np.int32)


def truncated(q: Int32Array, digits: int) -> Int32Array:
    """Integers to a precision of 2^digits: sign(q) * (|q| >> digits)."""
    return np.sign(q) * (np.abs(q) >> digits)

"""What happens to the coefficients of a stage: decided, written, or read.

Each coder serves the dates of a :class:`.walk.Job`; the dates of one chunk are a slice of them.
A symbol is a coefficient minus the stage's base; where a row is wide its low bits are stored raw,
rounded so that the high part stays centred.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs import rans
from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.mini.quantiser import COEFFICIENT_LIMIT, STEP_UNIT, steps
from tec_numcodecs.models.mini.transform import LOW, Coefficients
from tec_numcodecs.models.mini.walk import OFFSETS, Stage

Int32Array = NDArray[np.int32]

#: Squared steps that a bit is worth: 0.1155 by high-resolution theory, (2 ln 2) / 12; measured.
LAGRANGIAN = 0.13
#: The same for the low-pass, whose errors reach every pixel below.
LOW_LAGRANGIAN = 0.05


class Prices:
    """Bits of symbols in rows and where they are reconstructed, for the encoder's decisions."""

    def __init__(self, tables: rans.Tables, offsets: NDArray[np.int8]) -> None:
        #: Reconstruction offsets in steps.
        self.offsets = offsets.astype(np.float32) / 64
        self._starts = tables.starts
        self._minimum = tables.minimum
        ends = np.append(tables.cdf[1:], 0).astype(np.int64)
        width = (ends - tables.cdf) % 65536
        self._bits = (16 - np.log2(np.where(width == 0, 65536, width))).astype(np.float32)

    def of(self, row: Int32Array, symbol: Int32Array) -> NDArray[np.float32]:
        """Bits of ``symbol`` in ``row``, element by element."""
        place = symbol.astype(np.int64) - self._minimum[row]
        last = self._starts[row + 1] - self._starts[row] - 1
        escape = (place < 0) | (place >= last)
        bits = self._bits[self._starts[row] + np.where(escape, last, place)]
        if escape.any():
            beyond = np.where(place < 0, -place, place - last + 1)
            bits = bits + escape * (6 + np.log2(np.maximum(beyond, 1)))
        return np.asarray(bits, np.float32)


def split(
    value: Int32Array, stage_base: Int32Array, raw: Int32Array
) -> tuple[Int32Array, Int32Array]:
    """Coefficient to the table's symbol and the raw low bits."""
    centred = value - stage_base + ((1 << raw) >> 1)
    return centred >> raw, centred & ((1 << raw) - 1)


def join(high: Int32Array, low: Int32Array, stage_base: Int32Array, raw: Int32Array) -> Int32Array:
    """Undo :func:`split`."""
    return (high << raw) + low - ((1 << raw) >> 1) + stage_base


class Deciding:
    """Analysis: greedy rate-distortion optimised quantisation of known coefficients.

    Parameters
    ----------
    coefficients : Coefficients
        Signs of the common convention.
    rates : int64 array (N,)
    prices : Prices
    """

    def __init__(
        self, coefficients: Coefficients, rates: NDArray[np.int64], prices: Prices
    ) -> None:
        self._coefficients, self._prices = coefficients, prices
        self._steps = np.stack([steps(int(rate)) for rate in rates])  # (N, 6, 3)
        self.stages: list[tuple[Stage, Int32Array]] = []
        #: Squared error of everything decided so far, in squared steps, a number a date.
        self.distortion = np.zeros(len(rates))

    def bits(self) -> NDArray[np.float64]:
        """Bits of everything decided so far, a number a date."""
        total = np.zeros(len(self._steps))
        for stage, q in self.stages:
            high, _ = split(q, stage.base, stage.raw)
            total += (self._prices.of(stage.row, high) + stage.raw).sum(axis=(1, 2, 3))
        return total

    def code(self, stage: Stage) -> Int32Array:
        """Decide."""
        n = stage.row.shape[0]
        part = slice(stage.first, stage.last)
        if stage.level == LOW:
            values = self._coefficients.low[:, part]
            step = self._steps[:, LOW, :1].reshape(n, 1, 1, 1)
            price = LOW_LAGRANGIAN
        else:
            values = self._coefficients.detail[stage.level][:, part]
            values = values.reshape(stage.row.shape)
            step = np.tile(self._steps[:, stage.level], (1, stage.last - stage.first))
            step = step.reshape(n, -1, 1, 1)
            price = LAGRANGIAN
        q = self._decide(values, np.broadcast_to(step, values.shape), stage, price)
        self.stages.append((stage, q))
        return q

    def _decide(
        self, values: Int32Array, step: NDArray[np.int64], stage: Stage, price: float
    ) -> Int32Array:
        """The cheapest of the nearest integer, the next one towards zero, and zero."""
        exact = (values * (STEP_UNIT / step)).astype(np.float32)
        q = np.rint(exact).astype(np.int32)
        where = np.nonzero((q != 0) & (step != STEP_UNIT))
        target, nearest = exact[where], q[where]
        row, base, raw = stage.row[where], stage.base[where], stage.raw[where]
        best, cost = nearest, self._cost(target, nearest, row, base, raw, price)
        for candidate in (nearest - np.sign(nearest), np.zeros_like(nearest)):
            other = self._cost(target, candidate, row, base, raw, price)
            better = other < cost
            best, cost = np.where(better, candidate, best), np.where(better, other, cost)
        q[where] = best
        self.distortion += ((exact - q) ** 2).sum(axis=(1, 2, 3), dtype=np.float64)
        return q

    def _cost(
        self,
        target: NDArray[np.float32],
        q: Int32Array,
        row: Int32Array,
        base: Int32Array,
        raw: Int32Array,
        price: float,
    ) -> NDArray[np.float32]:
        high, _ = split(q, base, raw)
        # The low-pass is reconstructed at its integers, which differs too little to matter here.
        error = target - self._reconstructed(q, row, base, raw)
        return np.asarray(error**2 + np.float32(price) * self._prices.of(row, high), np.float32)

    def _reconstructed(
        self, q: Int32Array, row: Int32Array, base: Int32Array, raw: Int32Array
    ) -> NDArray[np.float32]:
        """Where the decoder puts integers, in steps."""
        symbol = np.clip(q - base, -OFFSETS, OFFSETS) + OFFSETS
        offset = np.where(raw > 0, 0, self._prices.offsets[row, symbol])
        return np.asarray(q + offset, np.float32)


class Known:
    """Encoder: looks the coefficients of one chunk up in its symbols.

    Parameters
    ----------
    symbols : int32 array
        In coding order, from the first stage on.
    """

    def __init__(self, symbols: Int32Array) -> None:
        #: What has not been looked up yet.
        self.rest = symbols
        self.stages: list[tuple[Stage, Int32Array]] = []

    def code(self, stage: Stage) -> Int32Array:
        """Look up."""
        q = self.rest[: stage.row.size].reshape(stage.row.shape)
        self.rest = self.rest[stage.row.size :]
        self.stages.append((stage, q))
        return q


class Reading:
    """Decoder: reads the coefficients from chunks' streams."""

    def __init__(
        self, decoders: Sequence[rans.Decoder], dates: Sequence[slice], tables: rans.Tables
    ) -> None:
        self._decoders, self._dates, self._tables = decoders, dates, tables
        self.symbols: list[list[Int32Array]] = [[] for _ in decoders]

    def code(self, stage: Stage) -> Int32Array:
        """Read."""
        q = np.empty(stage.row.shape, np.int32)
        for i, (decoder, dates) in enumerate(zip(self._decoders, self._dates, strict=True)):
            row, base, raw = (x[dates].ravel() for x in (stage.row, stage.base, stage.raw))
            values = decoder.pull(row, self._tables)
            if np.abs(values).max(initial=0) > COEFFICIENT_LIMIT >> 1:
                raise CorruptChunk("a symbol out of range", allowed=f"up to {COEFFICIENT_LIMIT}")
            wide = np.flatnonzero(raw)
            if wide.size:
                low = decoder.pull(rans.UNIFORM + raw[wide], self._tables)
                values[wide] = join(values[wide], low, 0 * low, raw[wide])
            values += base
            self.symbols[i].append(values)
            q[dates] = values.reshape(q[dates].shape)
        return q


def write(
    encoder: rans.Encoder, stages: Sequence[tuple[Stage, Int32Array]], tables: rans.Tables
) -> None:
    """Push the stages of one chunk."""
    for stage, q in stages:
        row, base, raw = (x.ravel() for x in (stage.row, stage.base, stage.raw))
        high, low = split(q.ravel(), base, raw)
        encoder.push(high, row, tables)
        wide = np.flatnonzero(raw)
        if wide.size:
            encoder.push(low[wide], rans.UNIFORM + raw[wide], tables)

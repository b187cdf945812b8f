"""From coefficients to what the entropy coder gets, and back, under rows of the context model.

A symbol is a coefficient minus the row's base; where a row is wide its low bits are stored raw,
rounded so that the high part stays centred.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans
from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.mini.context.dequantize import OFFSETS
from tec_numcodecs.models.mini.context.mixture_cdf import Choice
from tec_numcodecs.models.mini.context.subband_coder import Networks
from tec_numcodecs.models.mini.subbands.bitstream import Stage
from tec_numcodecs.models.mini.transform.quantizer import COEFFICIENT_LIMIT, STEP_UNIT
from tec_numcodecs.native import native

Int32Array = NDArray[np.int32]
Float32Array = NDArray[np.float32]

#: Squared steps that a bit is worth: 0.1155 by high-resolution theory, (2 ln 2) / 12. Measured on
#: the validation scenes: less, because what is left out is missing in later contexts, too.
LAGRANGIAN = 0.085


class TableBits:
    """What symbols cost, by table row. Encoder only.

    Parameters
    ----------
    tables : Tables
    """

    def __init__(self, tables: rans.Tables) -> None:
        ends = np.append(tables.cdf[1:], 0).astype(np.int64)
        width = (ends - tables.cdf) % 65536
        bits = (16 - np.log2(np.where(width == 0, 65536, width))).astype(np.float32)
        #: Where rows start, their first symbols, bits of every interval.
        self.lists = (tables.starts, tables.minimum, bits)

    def of(self, symbol: Int32Array, row: Int32Array) -> Float32Array:
        """Bits of symbols (P,) in their rows, those of escapes estimated."""
        c = native()
        if c is not None:
            out = np.empty(len(symbol), np.float32)
            c.price_symbols(out, np.ascontiguousarray(symbol), row, self.lists)
            return out
        starts, minimum, table = self.lists
        place = symbol.astype(np.int64) - minimum[row]
        last = starts[row + 1] - starts[row] - 1
        escape = (place < 0) | (place >= last)
        bits = table[starts[row] + np.where(escape, last, place)]
        if escape.any():
            beyond = np.where(place < 0, -place, place - last + 1)
            mantissa, exponent = np.frexp(np.maximum(beyond, 1).astype(np.float64))
            # About log2, the same everywhere: linear between powers of two.
            bits = bits + escape * (6 + (exponent - 2 + 2 * mantissa))
        return np.asarray(bits, np.float32)


class Prices:
    """Bits of coefficients and where they are reconstructed, for the encoder's decisions."""

    def __init__(self, networks: Networks) -> None:
        self._offsets = networks.offsets
        self._table = TableBits(networks.tables)

    def bits(self, q: Int32Array, choice: Choice) -> Float32Array:
        """Bits of coefficients (P,)."""
        return self._table.of(split(q, choice)[0], choice.row) + choice.raw

    def decide(self, values: Int32Array, step: int, choice: Choice) -> Int32Array:
        """The cheapest of the nearest integer, the next one towards zero, and zero.

        Parameters
        ----------
        values : int32 array (P,)
            Coefficients in DN.
        step : int
            In sixteenths of a DN.
        choice : Choice
        """
        if step == STEP_UNIT:
            return values
        unit, price = np.float32(STEP_UNIT / step), np.float32(LAGRANGIAN)
        c = native()
        if c is not None:
            q = np.empty(len(values), np.int32)
            coded = (choice.row, choice.base, choice.raw)
            c.price_decide(q, values, unit, price, *coded, self._offsets, self._table.lists)
            return q
        exact = values * unit
        q = np.rint(exact).astype(np.int32)
        where = np.flatnonzero(q)
        target, nearest = exact[where], q[where]
        rows = Choice(choice.row[where], choice.base[where], choice.raw[where])
        best, cost = nearest, self._cost(target, nearest, rows)
        for candidate in (nearest - np.sign(nearest), np.zeros_like(nearest)):
            other = self._cost(target, candidate, rows)
            better = other < cost
            best, cost = np.where(better, candidate, best), np.where(better, other, cost)
        q[where] = best
        return q

    def _cost(self, target: Float32Array, q: Int32Array, choice: Choice) -> Float32Array:
        symbol = np.clip(q - choice.base, -OFFSETS, OFFSETS) + OFFSETS
        offset = np.where(choice.raw > 0, 0, self._offsets[choice.row, symbol])
        error = target - (q + offset / 64)
        return np.asarray(error**2 + np.float32(LAGRANGIAN) * self.bits(q, choice), np.float32)


def split(q: Int32Array, choice: Choice) -> tuple[Int32Array, Int32Array]:
    """Coefficient to the table's symbol and the raw low bits."""
    centred = q - choice.base + ((1 << choice.raw) >> 1)
    return centred >> choice.raw, centred & ((1 << choice.raw) - 1)


def stages_of(q: Int32Array, choice: Choice, tables: rans.Tables) -> list[Stage]:
    """What the entropy coder gets for coefficients (P,)."""
    high, low = split(q, choice)
    stages: list[Stage] = [(high, choice.row, tables)]
    wide = np.flatnonzero(choice.raw)
    if wide.size:
        stages.append((low[wide], rans.UNIFORM + choice.raw[wide], tables))
    return stages


def read(decoder: rans.Decoder, choice: Choice, tables: rans.Tables) -> Int32Array:
    """Undo `stages_of`.

    Raises
    ------
    CorruptChunk
        If a symbol is one that no encoder writes.
    """
    q = decoder.pull(choice.row, tables)
    if max(-int(q.min()), int(q.max())) > COEFFICIENT_LIMIT >> 1:
        raise CorruptChunk("a symbol out of range", allowed=f"up to {COEFFICIENT_LIMIT >> 1}")
    wide = np.flatnonzero(choice.raw)
    if wide.size:
        raw = choice.raw[wide]
        low = decoder.pull(rans.UNIFORM + raw, tables)
        q[wide] = (q[wide] << raw) + low - ((1 << raw) >> 1)
    return q + choice.base

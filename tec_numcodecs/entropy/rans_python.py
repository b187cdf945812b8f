"""The coder without the C file: slow, the same bytes, and short enough to check by eye.

`entropy.rans` says what the stream is; this is the second implementation of it, used where
no compiler was found and as the oracle in tests.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

from tec_numcodecs.entropy.rans_steps import HEAD_BITS, UNIFORM, refuse_row, resolve
from tec_numcodecs.errors import CorruptChunk, InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tec_numcodecs.entropy.cdf_tables import Tables

INITIAL = 1 << 16
LOWER = 1 << 31
UPPER = 1 << 63


class PythonEncoder:
    """The encoder's half of the contract with `tec_numcodecs.entropy.rans.Encoder`."""

    def __init__(self) -> None:
        self._steps: list[NDArray[np.uint32]] = []

    def push(self, symbols: NDArray[np.int32], rows: NDArray[np.int32], tables: Tables) -> None:
        """Keep the steps of these symbols, behind those pushed before."""
        self._steps.append(resolve(symbols, rows, tables))

    def finish(self) -> bytes:
        """Code everything, last step first."""
        steps = [step for stage in self._steps for step in stage.tolist()]
        x = INITIAL
        t = len(steps)
        while t and x < steps[t - 1] >> 16 << 47:
            t -= 1
            x = _put(x, steps[t])
        if not t:
            return x.to_bytes((x.bit_length() + 7) // 8, "little") if steps else b""
        lanes = [0, 0]
        lanes[t & 1] = 1 << 32 | x & 0xFFFFFFFF  # step t - 1 goes to the other lane
        lanes[t & 1 ^ 1] = _put(x >> 32, steps[t - 1])
        words: list[int] = []
        for i in range(t - 2, -1, -1):
            x, step = lanes[i & 1], steps[i]
            if x >= step >> 16 << 47:
                words.append(x & 0xFFFFFFFF)
                x >>= 32
            lanes[i & 1] = _put(x, step)
        states = [x.to_bytes((x.bit_length() + 7) // 8, "little") for x in lanes]
        sizes = len(states[0]) | len(states[1]) << 4
        return bytes([sizes]) + b"".join(states) + np.array(words[::-1], dtype="<u4").tobytes()


def _put(x: int, step: int) -> int:
    quotient, remainder = divmod(x, step >> 16)
    return (quotient << 16) + remainder + (step & 0xFFFF)


class PythonDecoder:
    """The decoder's half of the contract with `tec_numcodecs.entropy.rans.Decoder`."""

    def __init__(self, data: bytes) -> None:
        self._x = [INITIAL, 0]
        self._lane = 0
        self._split = len(data) > 8
        self._next = 0
        header = len(data)
        if self._split:
            sizes = data[0] & 15, data[0] >> 4
            header = 1 + sum(sizes)
            first, second = data[1 : 1 + sizes[0]], data[1 + sizes[0] : header]
            self._x = [_get_state(first, LOWER), _get_state(second, LOWER)]
        elif data:
            self._x[0] = _get_state(data, INITIAL + 1)
        if header > len(data) or (len(data) - header) % 4:
            raise CorruptChunk(f"an entropy-coded stream of {len(data)} bytes, header {header}")
        self._header = header
        self._words: list[int] = np.frombuffer(data, "<u4", offset=header).tolist()

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._header + 4 * self._next

    def pull(self, rows: NDArray[np.int32], tables: Tables) -> NDArray[np.int32]:
        """Decode one symbol for each row."""
        before = self._x.copy(), self._lane, self._split, self._next
        views = tables.cdf.data, tables.starts.data, tables.minimum.data
        out = []
        try:
            for i, row in enumerate(rows.tolist()):
                if 0 <= row < len(tables):
                    out.append(self._symbol(row, *views))
                elif UNIFORM < row <= UNIFORM + 16:
                    out.append(self._bits(row - UNIFORM))
                else:
                    refuse_row(row, i, tables)
        except (CorruptChunk, InvalidInput):
            self._x, self._lane, self._split, self._next = before
            raise
        return np.array(out, dtype=np.int32)

    def close(self) -> bool:
        """Say whether everything is read and the state back where it began."""
        return not self._split and self._next == len(self._words) and self._x[0] == INITIAL

    def _advance(self, start: int, frequency: int) -> None:
        x = self._x[self._lane]
        x = (x >> 16) * frequency + (x & 0xFFFF) - start
        if not self._split:
            self._join(x)
        elif x >= LOWER:
            self._x[self._lane] = x
            self._lane ^= 1
        elif self._next < len(self._words):
            self._x[self._lane] = x << 32 | self._words[self._next]
            self._next += 1
            self._lane ^= 1
        else:
            other = self._x[self._lane ^ 1]
            if other >> 32 != 1:
                raise CorruptChunk("an entropy-coded stream that ends too early")
            self._join(x << 32 | other & 0xFFFFFFFF)

    def _join(self, x: int) -> None:
        if x < INITIAL:
            raise CorruptChunk("an entropy-coded stream that ends too early")
        self._x, self._lane, self._split = [x, 0], 0, False

    def _symbol(
        self, row: int, cdf: memoryview[int], starts: memoryview[int], minimum: memoryview[int]
    ) -> int:
        slot = self._x[self._lane] & 0xFFFF
        first, end = starts[row], starts[row + 1]
        interval = bisect_right(cdf, slot, first, end) - 1
        start = cdf[interval]
        escaped = interval == end - 1
        self._advance(start, (65536 if escaped else cdf[interval + 1]) - start)
        symbol = minimum[row] + interval - first
        return self._escape(symbol, end - first - 1) if escaped else symbol

    def _bits(self, bits: int) -> int:
        value = (self._x[self._lane] & 0xFFFF) >> (16 - bits)
        self._advance(value << (16 - bits), 1 << (16 - bits))
        return value

    def _escape(self, beyond: int, direct: int) -> int:
        """Read an escaped symbol; `beyond` is the first symbol above the row's direct ones."""
        head = self._bits(HEAD_BITS)
        length = head >> 1
        distance = 1
        for bits in (length - 16, min(length, 16)):
            if bits > 0:
                distance = distance << bits | self._bits(bits)
        symbol = beyond - direct - distance if head & 1 else beyond + distance - 1
        if not -LOWER <= symbol < LOWER:
            raise CorruptChunk(f"an escaped symbol of value {symbol}", allowed="32-bit integers")
        return symbol


def _get_state(data: bytes, lowest: int) -> int:
    """Read one state; its length is minimal, so its last byte is not zero."""
    x = int.from_bytes(data, "little")
    if not data or data[-1] == 0 or not lowest <= x < UPPER:
        raise CorruptChunk("an entropy-coded stream with an impossible first state")
    return x

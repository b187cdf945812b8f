"""Sections 2 and 8 of FORMAT.md: fields, entropy coding.

Written from FORMAT.md alone, for reading rather than for speed.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import CorruptChunk

Ints = NDArray[np.int64]
#: Starts of a row's intervals, then 65536; its first direct symbol.
Row = tuple[list[int], int]


def require(condition: object, found: str) -> None:
    """Refuse a chunk unless a condition holds.

    Raises
    ------
    CorruptChunk
        If it does not; ``found`` says what is there instead.
    """
    if not condition:
        raise CorruptChunk(found, allowed="what FORMAT.md says", fix="restore it from a copy")


def row_of_weights(weights: list[int], minimum: int) -> Row:
    """Return the row of a list of weights, the escape's last."""
    n, total = len(weights), sum(weights)
    widths = [1 + weight * (65536 - n) // total for weight in weights]
    widths[weights.index(max(weights))] += 65536 - sum(widths)
    return [0, *accumulate(widths)], minimum


@dataclass
class Cursor:
    """Takes one field after another."""

    data: bytes
    position: int = 0

    def take(self, n: int) -> bytes:
        require(
            self.position + n <= len(self.data),
            f"bytes that end at {len(self.data)}, inside a field of {n} from {self.position} on",
        )
        self.position += n
        return self.data[self.position - n : self.position]

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def varint(self) -> int:
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                require(byte or not shift, "a varint that is not in its shortest form")
                return value
        raise CorruptChunk("a varint of more than 63 bits")

    def end(self, what: str) -> None:
        """Refuse bytes that are left over."""
        require(
            self.position == len(self.data),
            f"{len(self.data) - self.position} bytes behind {what}, from {self.position} on",
        )


class RansDecoder:
    """The steps of one stream: `slot` says where the next one lies, `advance` takes it."""

    def __init__(self, data: bytes) -> None:
        self.words: list[int] = []  # the next one to read is the last
        self.lane = 0
        if not data:
            self.lanes = [1 << 16]
        elif len(data) <= 8:
            self.lanes = [int.from_bytes(data, "little")]
            require(data[-1] and 1 << 16 < self.lanes[0] < 1 << 63, "a rANS state out of range")
        else:
            end0 = 1 + (data[0] & 15)
            end1 = end0 + (data[0] >> 4)
            lanes, words = [data[1:end0], data[end0:end1]], data[end1:]
            require(all(lanes) and lanes[0][-1] and lanes[1][-1], "a rANS lane of wrong length")
            require(len(data) >= end1 and len(words) % 4 == 0, "a rANS stream that is cut off")
            self.lanes = [int.from_bytes(x, "little") for x in lanes]
            require(all(1 << 31 <= x < 1 << 63 for x in self.lanes), "a rANS lane out of range")
            self.words = np.frombuffer(words, "<u4")[::-1].tolist()

    def slot(self) -> int:
        return self.lanes[self.lane] & 0xFFFF

    def advance(self, s: int, f: int) -> None:
        x = self.lanes[self.lane]
        x = (x >> 16) * f + (x & 0xFFFF) - s
        if len(self.lanes) == 1:
            require(x >= 1 << 16, "a rANS stream that ends too early")
            self.lanes[0] = x
        elif x < 1 << 31 and not self.words:
            w = self.lanes[1 - self.lane] - (1 << 32)
            require(0 <= w < 1 << 32, "a rANS stream that ends too early")
            self.lanes, self.lane = [x << 32 | w], 0
        else:
            self.lanes[self.lane] = x if x >= 1 << 31 else x << 32 | self.words.pop()
            self.lane = 1 - self.lane

    def raw(self, k: int) -> int:
        v = self.slot() >> (16 - k)
        self.advance(v << (16 - k), 1 << (16 - k))
        return v

    def symbol(self, row: Row) -> int:
        bounds, minimum = row
        k = bisect_right(bounds, self.slot()) - 1
        self.advance(bounds[k], bounds[k + 1] - bounds[k])
        escape = len(bounds) - 2
        if k < escape:
            return minimum + k
        L, b = divmod(self.raw(6), 2)
        d = 1 << L
        if L > 16:
            d += (self.raw(L - 16) << 16) + self.raw(16)
        elif L:
            d += self.raw(L)
        value = minimum - d if b else minimum + escape - 1 + d
        require(-(1 << 31) <= value < 1 << 31, "an escape of more than 32 bits")
        return value

    def finish(self) -> None:
        require(self.lanes == [1 << 16] and not self.words, "a rANS stream that goes on")

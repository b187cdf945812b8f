"""Section 8 of FORMAT.md for :mod:`tec_numcodecs.reference`: the entropy decoder, step by step.

Written from FORMAT.md alone, for reading rather than for speed.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from tec_numcodecs.errors import CorruptChunk


def require(condition: object, found: str) -> None:
    """Refuse a chunk unless a condition holds.

    Raises
    ------
    CorruptChunk
        If it does not; ``found`` says what is there instead.
    """
    if not condition:
        raise CorruptChunk(found, allowed="what FORMAT.md says", fix="restore it from a copy")


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

    def symbol(self, bounds: list[int], minimum: int) -> int:
        """Decode with a row: starts of its intervals, then 65536; its first direct symbol."""
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

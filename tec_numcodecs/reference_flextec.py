"""Section 12 of FORMAT.md for :mod:`tec_numcodecs.reference`: mini flextec, any number of tokens.

Written from FORMAT.md alone, with its names.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.reference_context import (
    ContextDecoder,
    Image,
    Place,
    Planes,
    flat,
)
from tec_numcodecs.reference_features import N, Surroundings, row_of, sums
from tec_numcodecs.reference_fp import read_entries, sum_blocks
from tec_numcodecs.reference_rans import Cursor, Ints, RansDecoder, require
from tec_numcodecs.reference_transform import LARGEST, LOWPASS, Setting, Weights, tensor, to_dn

TOKENS = 16
GROUPS = ((4, 3), (2,), (1,), (0,))  # levels of each token of a pass; the first has the low-pass


class _PassDecoder(ContextDecoder):
    """Decodes one of the four passes, token by token."""

    networks = "flex"

    def __init__(
        self, number: int, image: Image, weights: Weights, last: _PassDecoder | None
    ) -> None:
        self.d = 3 - number
        r = min(image.setting.r + 16 * self.d, 223)
        super().__init__(RansDecoder(b""), image, weights, r)
        self.first_phase = 4 * number
        self.magnitude_offsets = tensor(weights, "flex.offsets")[number]
        self.last = last
        self.integers: dict[int, Ints] = {}  # level: (T, C, 3, h, w)
        self.planes: dict[int, Planes] = {}

    def step(self, level: int, orientation: int = 0) -> int:
        return super().step(level, orientation) << self.d

    def shift(self, level: int, c: int, orientation: int) -> int:
        if self.last is None:
            return super().shift(level, c, orientation)
        return int(self.last.shifts[level, c, orientation])

    def flags(self, plane: tuple[int, int, int], rows: Ints) -> Ints:
        if self.last is None:
            return super().flags(plane, rows)
        level, c, orientation = plane
        known = self.last.integers[level][:, c, orientation]
        flags = np.minimum(sum_blocks(np.abs(known)), 1)
        flags[flags == 0] = super().flags(plane, rows[flags == 0])
        return flags

    def reference_features(
        self, here: Surroundings, level: int, c: int, orientation: int
    ) -> Iterator[Ints]:
        yield from islice(super().reference_features(here, level, c, orientation), 4)
        if self.last is None:
            yield from [np.zeros_like(here.L[:, c])] * 3
            return
        K = np.abs(self.last.integers[level])
        m, D, _ = sums(K[:, :, orientation].sum(1))
        yield self.compand.c(m)
        yield self.compand.c(D)
        four = np.zeros_like(m)
        if level:
            finer = np.abs(self.last.integers[level - 1][:, c, orientation])
            for y, x in np.ndindex(2, 2):
                part = finer[:, y::2, x::2]
                four[:, : part.shape[1], : part.shape[2]] += part
        yield self.compand.c(four)

    def coefficients(self, place: Place, M: Ints, A: Ints, B: Ints) -> tuple[Ints, Ints]:
        if self.last is None:
            return super().coefficients(place, M, A, B)
        known = self.last.integers[place.level][:, place.component, place.orientation]
        before = place.of(known)
        n = np.abs(before)
        M, A = np.clip(M, -8, 7), np.clip(A, -36, 31)
        rows = np.where(
            n == 0,
            N + row_of(A, B, M + 8),
            2 * N + ((np.minimum(n, 3) - 1) * 68 + A + 36) * 8 + B,
        )
        symbols = self.rans.pull(rows, self.rows)
        allowed = (symbols >= np.where(n == 0, -1, 0)) & (symbols <= 1)
        require(allowed.all(), "a digit that is none")
        q = np.where(n == 0, symbols, np.sign(before) * (2 * n + symbols))
        return q, np.zeros_like(q)

    def to_dn(self, level: int, orientation: int, q: Ints, o: Ints) -> Ints:  # noqa: ARG002
        step, n = self.step(level, orientation), np.abs(q)
        if step != 16:
            m = 64 * n + self.magnitude_offsets[np.clip(n, 1, 3) - 1]
            n = np.where(n > 0, (np.maximum(m, 0) * step + 512) >> 10, 0)
        require((n <= LARGEST).all(), "a coefficient above 2^22")
        return np.sign(q) * n

    def lowpass_dn(self, x: Ints) -> Ints:
        step = super().step(LOWPASS)
        dn = (((x << self.d + 1) + (1 << self.d) - 1) * step + 16) >> 5
        require((np.abs(dn) <= LARGEST).all(), "a low-pass integer above 2^22")
        return dn


def read_tokens(data: bytes, count: int) -> list[bytes]:
    """Take section 2 apart into the tokens that the header promises."""
    require(data[:1] == bytes([count]) and count <= TOKENS, f"other than {count} tokens")
    cursor = Cursor(data, 1)
    sizes = [cursor.varint() for _ in range(count)]
    tokens = [cursor.take(size) for size in sizes]
    require(cursor.position == len(data), "bytes after the last token")
    return tokens


def decode_flextec(
    tokens: list[bytes], setting: Setting, weights: Weights
) -> tuple[Ints, NDArray[np.int32]]:
    """Decode the first tokens of a chunk of mini flextec, or all.

    Returns digital numbers (T, C, H, W) and the integers in the order of their checksum, which is
    that of the chunk if the tokens are all that it has.

    Raises
    ------
    CorruptChunk
        If a token is damaged.
    WeightsError
        If a tensor is missing, or sums of a network are too large.
    """
    image = Image(setting, weights)
    T, C = setting.shape[:2]
    nothing = {n: np.zeros((T, C, 3, *image.sizes[n + 1]), np.int64) for n in range(5)}
    integers, details = dict(nothing), dict(nothing)  # as far as they are known
    passes: list[_PassDecoder] = []
    for token, data in enumerate(tokens):
        number, group = divmod(token, len(GROUPS))
        rans = RansDecoder(data)
        if group == 0:
            passes.append(_PassDecoder(number, image, weights, passes[-1] if passes else None))
        decoder = passes[-1]
        decoder.rans = rans
        if token == 0:
            entries = read_entries(rans, setting, weights)
            lowpass = decoder.read_lowpass(T)
        elif group == 0:
            bits = [rans.raw(1) for _ in range(lowpass.size)]
            lowpass = 2 * lowpass + np.reshape(bits, lowpass.shape)
        if group == 0:
            x = image.to_bands(decoder.lowpass_dn(lowpass), entries, LOWPASS)
        for level in GROUPS[group]:
            reference = passes[-2].planes[level] if number else None
            integers[level], details[level] = decoder.read_level(level, x, entries, reference)
            decoder.integers[level] = integers[level]
            decoder.planes[level] = Planes(x, details[level])
            x = image.finer(x, details[level], level)
        rans.finish()
    for level in range(GROUPS[group][-1] - 1, -1, -1):  # those that the last pass does not have
        x = image.finer(x, details[level], level)
    in_order = [entries, lowpass, *(integers[level] for level in (4, 3, 2, 1, 0))]
    return to_dn(x, setting), flat(in_order)

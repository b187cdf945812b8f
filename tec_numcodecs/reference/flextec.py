"""Section 12 of FORMAT.md: mini flextec, any number of tokens.

Written from FORMAT.md alone, with its names.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.reference.context import (
    ContextDecoder,
    Image,
    Place,
    Planes,
    flat,
)
from tec_numcodecs.reference.features import (
    N,
    Network,
    Surroundings,
    rounded,
    row_of,
    small,
    sums,
)
from tec_numcodecs.reference.fp import bin_of, read_entries, spread, sum_blocks
from tec_numcodecs.reference.rans import Cursor, Ints, RansDecoder, require
from tec_numcodecs.reference.transform import (
    LARGEST,
    LOWPASS,
    Setting,
    Weights,
    tensor,
    to_dn,
)

TOKENS = 16
Z = 2 * N + 3 * 68 * 8  # the first row of flags in later passes
GROUPS = ((4, 3), (2,), (1,), (0,))  # levels of each token of a pass


class _PassDecoder(ContextDecoder):
    """Decodes one of the four passes, token by token."""

    def __init__(
        self, number: int, image: Image, weights: Weights, last: _PassDecoder | None
    ) -> None:
        self.d = 3 - number
        self.d_low = min(self.d, max((176 - image.setting.r) // 16, 0))
        r = min(image.setting.r + 16 * self.d, 223)
        super().__init__(RansDecoder(b""), image, weights, r)
        self.networks, self.number, self.last = f"flex.{number}", number, last
        self.offsets = tensor(weights, "flex.offsets.first")
        if last is not None:
            self.zeros = tensor(weights, "flex.offsets.zeros")[number - 1]
            self.digits = tensor(weights, "flex.offsets.digits")[number - 1]
        self.lowpass: Ints = np.zeros(0, np.int64)  # (T, C, h, w)
        self.integers: dict[int, Ints] = {}  # level: (T, C, 3, h, w)
        self.planes: dict[int, Planes] = {}

    def step(self, level: int, orientation: int = 0) -> int:
        return super().step(level, orientation) << self.d

    def shift(self, level: int, c: int, orientation: int) -> int:
        if self.last is None:
            return super().shift(level, c, orientation)
        return int(self.last.shifts[level, c, orientation])

    def read_lowpass(self, T: int) -> Ints:
        if self.last is None:
            self.take_prior(self.file, min(self.image.setting.r + 16 * self.d_low, 223))
            found = super().read_lowpass(T)
            self.take_prior(self.file, self.r)
            return found
        before = self.last.lowpass
        if self.d_low == self.last.d_low:
            return before
        now = np.zeros_like(before)
        for k in range(before.shape[1]):
            was = before[:, k]
            flags = np.ones_like(was)
            G = _size_bin(now[:, k - 1] if k else 2 * was)
            row = Z + 32 + np.clip((9 * _size_bin(was) + 22 * G - 819) >> 6, -32, 31)
            flags[was == 0] = self.rans.pull((row + 0 * was)[was == 0], self.rows)
            require(((flags == 0) | (flags == 1)).all(), "a flag that is neither 0 nor 1")
            some = flags == 1
            bits = np.zeros_like(was)
            bits[some] = [self.rans.raw(1) for _ in range(np.count_nonzero(some))]
            digit = 2 * was + np.sign(was) * bits
            now[:, k] = np.where(some, np.where(was == 0, 1 - 2 * bits, digit), 0)
        return now

    def lowpass_dn(self) -> Ints:
        """DN of the low-pass as this pass knows it."""
        twice = (np.abs(self.lowpass) << (self.d_low + 1)) + (1 << self.d_low) - 1
        value = (32 * twice * super().step(LOWPASS) + 512) >> 10
        dn = np.where(self.lowpass == 0, 0, value)
        require((dn <= LARGEST).all(), "a coefficient above 2^22")
        return np.sign(self.lowpass) * dn

    def flags(self, plane: tuple[int, int, int], S: Ints) -> Ints:
        if self.last is None:
            return super().flags(plane, S)
        level, c, orientation = plane
        known = self.last.integers[level][:, c, orientation]
        flags = np.minimum(sum_blocks(np.abs(known)), 1)
        unknown = flags == 0
        if unknown.any():
            seen = small(self.flag_features(level, c, orientation, S))[unknown]
            key = "flex.flags", level, orientation
            if key not in self.made:
                self.made[key] = Network(self.file, f"{key[0]}.{level}.{orientation}")
            s3 = self.made[key](seen, c, self.number - 1, self.r)[:, 0]
            rows = Z + np.clip(rounded(s3 / 128), -32, 31) + 32
            flags[unknown] = self.rans.pull(rows, self.rows)
        return flags

    def flag_features(self, level: int, k: int, i: int, S: Ints) -> Iterator[Ints]:
        """The eleven of section 12.1, planes of blocks (T, down, across)."""
        if self.last is None or self.surroundings is None:
            raise RuntimeError("the first pass has no such flags")
        c, now, coarser = self.compand.c, self.surroundings.q, self.surroundings.coarser
        before = np.abs(self.last.integers[level])  # (T, C, 3, h, w)
        own = sum_blocks(before[:, k, i])
        nothing = np.zeros_like(own)
        some, amount = sums(np.minimum(own, 1)), sums(own)
        four, parents = nothing.copy(), nothing
        if level:
            finer = sum_blocks(np.abs(self.last.integers[level - 1][:, k, i]))
            for y, x in np.ndindex(2, 2):
                part = finer[:, y::2, x::2]
                four[:, : part.shape[1], : part.shape[2]] += part
        if coarser:
            parents = sum_blocks(spread(np.abs(coarser[k, i]), 2, before[:, k, i].shape))

        def b(j: int, orientation: int) -> Ints:
            return sum_blocks(np.abs(now[j, orientation]))

        scales = np.minimum(S >> 3, (1 << 18) - 1)
        yield np.searchsorted(self.compand.scales, scales, "right") - 64
        yield 16 * (some[1] - 2)
        yield 16 * (some[2] - 2)
        yield c(amount[1])
        yield c(sum_blocks(before[:, :, i].sum(1)))
        yield c(sum_blocks(before[:, k].sum(1)))
        yield c(four)
        yield c(sum((b(j, i) for j in range(k)), nothing))
        yield c(b(k - 1, i) if k else nothing)
        yield c(sum((b(k, j) for j in range(i)), nothing))
        yield c(parents)

    def reference_features(
        self, here: Surroundings, level: int, c: int, orientation: int
    ) -> Iterator[Ints]:
        yield from islice(super().reference_features(here, level, c, orientation), 4)
        if self.last is None:
            raise RuntimeError("there is no reference")
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
            q, o = super().coefficients(place, M, A, B)
            return q, np.where(A < 32, o, 32 * np.sign(q))
        known = self.last.integers[place.level][:, place.component, place.orientation]
        before = place.of(known)
        n = np.abs(before)
        M, A = np.clip(M, -8, 7), np.clip(A, -36, 31)
        limited = row_of(A, B, M + 8)
        digit = ((np.minimum(n, 3) - 1) * 68 + A + 36) * 8 + B
        symbols = self.rans.pull(np.where(n == 0, N + limited, 2 * N + digit), self.rows)
        allowed = (symbols >= np.where(n == 0, -1, 0)) & (symbols <= 1)
        require(allowed.all(), "a digit that is none")
        q = np.where(n == 0, symbols, np.sign(before) * (2 * n + symbols))
        of_zero = self.zeros[limited, np.where(n == 0, symbols, 0) + 1]
        of_digit = self.digits[np.maximum(digit, 0), symbols & 1]
        return q, np.where(n == 0, of_zero, np.sign(q) * of_digit)


def _size_bin(plane: Ints) -> Ints:
    """e of section 12.2 for each date of a plane (T, h, w): (T, 1, 1)."""
    _, h, w = plane.shape
    mean = 256 * np.abs(plane).sum((1, 2), keepdims=True) // (h * w)
    return bin_of(np.minimum(mean, (1 << 18) - 1))


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
        if group == 0:
            lowpass = decoder.lowpass = decoder.read_lowpass(T)
            x = image.to_bands(decoder.lowpass_dn(), entries, LOWPASS)
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

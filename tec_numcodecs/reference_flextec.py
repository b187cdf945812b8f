"""Section 12 of FORMAT.md for :mod:`tec_numcodecs.reference`: mini flextec, any number of tokens.

Written from FORMAT.md alone, with its names.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.reference_context import (
    ContextDecoder,
    Image,
    N,
    Place,
    Planes,
    flat,
    row_of,
)
from tec_numcodecs.reference_fp import read_entries, sum_blocks
from tec_numcodecs.reference_rans import Cursor, Ints, RansDecoder, require
from tec_numcodecs.reference_transform import LARGEST, LOWPASS, Setting, Weights, tensor, to_dn

TOKENS = 16
GROUPS = ((4, 3), (2,), (1,), (0,))  # levels of each token of a pass; the first has the low-pass


class _PassDecoder(ContextDecoder):
    """Decodes one of the four passes, token by token."""

    networks = "flex"

    def __init__(
        self, number: int, image: Image, weights: Weights, before: _PassDecoder | None
    ) -> None:
        self.d = 3 - number
        r = min(image.setting.r + 16 * self.d, 223)
        super().__init__(RansDecoder(b""), image, weights, r)
        self.first_phase = 4 * number
        self.magnitude_offsets = tensor(weights, "flex.offsets")[number]
        self.before_this = before
        self.coefficients_of: dict[int, Ints] = {}  # level: (T, C, 3, h, w)
        self.planes: dict[int, Planes] = {}

    def step(self, level: int, orientation: int = 0) -> int:
        return super().step(level, orientation) << self.d

    def shift(self, level: int, c: int, orientation: int) -> int:
        if self.before_this is None:
            return super().shift(level, c, orientation)
        return int(self.before_this.shifts[level, c, orientation])

    def known(self, level: int, c: int, orientation: int) -> Ints:
        """Coefficients of a plane (T, h, w) in the pass before."""
        return self.before_this.coefficients_of[level][:, c, orientation]

    def flags(self, level: int, c: int, orientation: int, rows: Ints) -> Ints:
        if self.before_this is None:
            return super().flags(level, c, orientation, rows)
        flags = np.minimum(sum_blocks(np.abs(self.known(level, c, orientation))), 1)
        flags[flags == 0] = super().flags(level, c, orientation, rows[flags == 0])
        return flags

    def coefficients(self, place: Place, M: Ints, A: Ints, B: Ints) -> tuple[Ints, Ints]:
        if self.before_this is None:
            return super().coefficients(place, M, A, B)
        before = place.of(self.known(place.level, place.component, place.orientation))
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

    def to_dn(self, level: int, orientation: int, q: Ints, o: Ints) -> Ints:
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
    coefficients, details = {}, {}
    for level in range(5):
        coefficients[level] = np.zeros((T, C, 3, *image.sizes[level + 1]), np.int64)
        details[level] = coefficients[level]
    decoder: _PassDecoder | None = None
    for token, data in enumerate(tokens):
        number, group = divmod(token, 4)
        rans = RansDecoder(data)
        if group == 0:
            decoder = _PassDecoder(number, image, weights, decoder)
            decoder.rans = rans
            if number == 0:
                entries = read_entries(rans, setting, weights)
                lowpass = decoder.read_lowpass(T)
            else:
                bits = [rans.raw(1) for _ in range(lowpass.size)]
                lowpass = 2 * lowpass + np.reshape(bits, lowpass.shape)
            x = image.to_bands(decoder.lowpass_dn(lowpass), entries, LOWPASS)
        decoder.rans = rans
        for level in GROUPS[group]:
            reference = decoder.before_this.planes[level] if decoder.before_this else None
            q, found = decoder.read_level(level, x, entries, reference)
            coefficients[level], details[level] = q, found
            decoder.coefficients_of[level], decoder.planes[level] = q, Planes(x, found)
            x = image.finer(x, found, level)
        rans.finish()
    for level in range(GROUPS[group][-1] - 1, -1, -1):  # those that the last pass does not have
        x = image.finer(x, details[level], level)
    integers = [entries, lowpass, *(coefficients[level] for level in (4, 3, 2, 1, 0))]
    return to_dn(x, setting), flat(integers)

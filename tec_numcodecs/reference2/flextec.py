"""Section 12 of FORMAT.md: the walk over a date of mini flextec, any number of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from tec_numcodecs.reference2.coder import LOWPASS, Coder, Place, Weights
from tec_numcodecs.reference2.context import ContextWalk, Reference, network_of
from tec_numcodecs.reference2.features import N, Surroundings, rounded, row_of, sums
from tec_numcodecs.reference2.fp import (
    MOST_E,
    bin_of,
    fit,
    spread,
    sum_blocks,
    undo_prediction,
)
from tec_numcodecs.reference2.layout import LEVELS, Grid, Layout, Setting
from tec_numcodecs.reference2.rans import Cursor, Ints
from tec_numcodecs.reference2.spectrum import Spectrum
from tec_numcodecs.reference2.transform import Latents, checked, step_of

TOKENS = 16
Z = 2 * N + 3 * 68 * 8  # the first row of flags in later passes
GROUPS = ((4, 3), (2,), (1,), (0,))  # levels of each token of a pass


def read_tokens(data: bytes, setting: Setting) -> list[bytes]:
    """Take the stream of a date apart."""
    cursor = Cursor(data)
    sizes = [cursor.varint() for _ in range(setting.quality or TOKENS)]
    tokens = [cursor.take(size) for size in sizes]
    cursor.end("the last token")
    return tokens


class FlexWalk:
    """The symbols of one date; one coder for each token that is there, or that is read."""

    def __init__(
        self,
        coders: Sequence[Coder],
        weights: Weights,
        setting: Setting,
        layout: Layout,
        *,
        lists: bool,
    ) -> None:
        self.coders, self.layout = coders, layout
        self.args = weights, setting, layout
        self.lists = lists
        self.grid = Grid(*setting.shape[2:])
        self.log: list[Ints] = []

    def run(self) -> Latents:
        """Walk over all tokens: passes look at finer levels, so overviews need them, too."""
        last: PassWalk | None = None
        latents = Latents(np.zeros(0, np.int64))
        for level in LEVELS:
            n = len(self.layout.bands(level))
            shapes = [self.grid.subband(level, i) for i in range(3)]
            latents.details[level] = [np.zeros((n, *shape), np.int64) for shape in shapes]
        for token, coder in enumerate(self.coders):
            number, group = divmod(token, len(GROUPS))
            if group == 0:
                last = here = PassWalk(
                    coder, *self.args, lists=self.lists, number=number, last=last
                )
                here.log = self.log
                latents.lowpass = here.lowpass()
            here.coder = coder
            for level in GROUPS[group]:
                if self.layout.bands(level):
                    latents.details[level] = here.details(level)
        return latents


class PassWalk(ContextWalk):
    """One of the four passes."""

    def __init__(
        self,
        coder: Coder,
        weights: Weights,
        setting: Setting,
        layout: Layout,
        *,
        lists: bool,
        number: int,
        last: PassWalk | None,
    ) -> None:
        super().__init__(coder, weights, setting, layout, lists=lists)
        self.number, self.last = number, last
        self.d = 3 - number
        self.d_low = min(self.d, max((176 - setting.r) // 16, 0))
        self.r = min(setting.r + 16 * self.d, 223)
        self.take_prior(self.r)
        self.networks = f"flex.{number}"
        self.low: list[Ints] = []  # integers of the low-pass, one plane for each component

    def step(self, level: int, i: int) -> int:
        return super().step(level, i) << self.d

    def spectrum(self, level: int) -> Spectrum:
        if self.last is None:
            return super().spectrum(level)
        self.spectra[level] = self.last.spectra[level]
        return self.spectra[level]

    def shift(self, level: int, k: int, i: int) -> int:
        return super().shift(level, k, i) if self.last is None else self.last.shifts[level, k, i]

    def reference(self, level: int, P: Ints) -> Reference | None:  # noqa: ARG002
        return None if self.last is None else self.last.known[level]

    # 12.2 Low-pass

    def lowpass_dn(self) -> Ints:
        if self.last is None:
            self._first_lowpass()
        elif self.d_low == self.last.d_low:
            self.low = self.last.low
        else:
            self._finer_lowpass(self.last.low)
        q = np.stack(self.low)
        twice = (np.abs(q) << (self.d_low + 1)) + (1 << self.d_low) - 1
        value = (32 * twice * step_of(self.setting.r, LOWPASS) + 512) >> 10
        return checked(np.sign(q) * value)

    def _first_lowpass(self) -> None:
        self.take_prior(min(self.setting.r + 16 * self.d_low, 223))
        for k in range(len(self.layout.bands(LOWPASS))):
            residuals, _ = self.plane(LOWPASS, k, 0)
            self.low.append(undo_prediction(residuals))
            self.log[-1] = self.low[k].ravel()  # in place of residuals
        self.take_prior(self.r)

    def _finer_lowpass(self, before: list[Ints]) -> None:
        for k, was in enumerate(before):
            G = _size_bin(self.low[k - 1] if k else 2 * was)
            row = Z + min(max((9 * _size_bin(was) + 22 * G - 819) >> 6, -32), 31) + 32
            some = was != 0
            place = Place("low flags", LOWPASS, k, 0, ~some, self.number)
            rows = np.full(np.count_nonzero(~some), row)
            some[~some] = self.coder.symbols(place, rows, self.rows, 0, 1) == 1
            bits = np.zeros_like(was)
            place = Place("low bits", LOWPASS, k, 0, some, self.number)
            bits[some] = self.coder.raws(place, np.ones(np.count_nonzero(some), np.int64))
            now = np.where(was == 0, 1 - 2 * bits, 2 * was + np.sign(was) * bits)
            self.low.append(np.where(some, now, 0))
            self.log.append(self.low[k].ravel())

    # 12.1 Flags

    def flags(self, level: int, k: int, i: int, S: Ints) -> Ints:
        if self.last is None:
            return super().flags(level, k, i, S)
        flags = np.minimum(sum_blocks(np.abs(self.last.q[level, k, i])), 1)
        unknown = flags == 0
        if unknown.any():
            seen = np.stack([*self._flag_features(self.last, level, k, i, S)], -1)[unknown]
            network = network_of(self.weights, f"flex.flags.{level}.{i}")
            s3 = network(seen, k, self.number - 1, self.r)[:, 0]
            rows = Z + np.clip(rounded(s3 / 128), -32, 31) + 32
            place = Place("flags", level, k, i, unknown, self.number)
            flags[unknown] = self.coder.symbols(place, rows, self.rows, 0, 1)
        return flags

    def _flag_features(self, last: PassWalk, level: int, k: int, i: int, S: Ints) -> Iterator[Ints]:
        """The eleven of section 12.1, planes of blocks."""
        shape = S.shape[0], S.shape[1]
        c = self.compand.c

        def blocks(walk: PassWalk, component: int, orientation: int) -> Ints:
            """a or b of a plane; 0 where it is not known or has no sample."""
            q = walk.q.get((level, component, orientation))
            return np.zeros(shape, np.int64) if q is None else fit(sum_blocks(np.abs(q)), shape)

        def total(walk: PassWalk, planes: list[tuple[int, int]]) -> Ints:
            return sum((blocks(walk, *plane) for plane in planes), np.zeros(shape, np.int64))

        own = blocks(last, k, i)
        some, amount = sums(np.minimum(own, 1)), sums(own)
        finer = last.q.get((level - 1, k, i))
        parents = self.q.get((level + 1, k, i))
        yield self.compand.scale(np.minimum(S >> 3, MOST_E))
        yield 16 * (some[1] - 2)
        yield 16 * (some[2] - 2)
        yield c(amount[1])
        yield c(total(last, [(j, i) for j in range(self.n[level])]))
        yield c(total(last, [(k, j) for j in range(3)]))
        yield c(four(None if finer is None else sum_blocks(np.abs(finer)), shape))
        yield c(total(self, [(j, i) for j in range(k)]))
        yield c(blocks(self, k - 1, i))
        yield c(total(self, [(k, j) for j in range(i)]))
        if parents is None:
            yield np.zeros(shape, np.int64)
        else:
            yield c(sum_blocks(spread(np.abs(parents), 2, self.grid.subband(level, i))))

    # Coefficients

    def reference_features(self, here: Surroundings, k: int, i: int) -> Iterator[Ints]:
        yield from islice(super().reference_features(here, k, i), 4)
        if self.last is None:
            raise RuntimeError("there is no reference")
        level, q = here.level, self.last.q
        m, D, _ = sums(np.sum([np.abs(q[level, j, i]) for j in range(self.n[level])], 0))
        yield self.compand.c(m)
        yield self.compand.c(D)
        finer = q.get((level - 1, k, i))
        yield self.compand.c(four(None if finer is None else np.abs(finer), m.shape))

    def offsets(self, row: Ints, difference: Ints, bits: Ints, q: Ints) -> Ints:
        o = self.weights.tensor("flex.offsets.first")[row, np.clip(difference, -3, 3) + 3]
        return np.where(bits > 0, 32 * np.sign(q), o)

    def coefficients(self, place: Place, M: Ints, A: Ints, B: Ints) -> tuple[Ints, Ints]:
        if self.last is None:
            return super().coefficients(place, M, A, B)
        before = self.last.q[place.level, place.component, place.orientation][place.at]
        n = np.abs(before)
        M, A = np.clip(M, -8, 7), np.clip(A, -36, 31)
        limited = row_of(A, B, M + 8)
        digit = ((np.clip(n, 1, 3) - 1) * 68 + A + 36) * 8 + B
        rows = np.where(n == 0, N + limited, 2 * N + digit)
        place = place._replace(what="digits", number=self.number)
        symbols = self.coder.symbols(place, rows, self.rows, np.where(n == 0, -1, 0), 1)
        q = np.where(n == 0, symbols, np.sign(before) * (2 * n + symbols))
        zeros = self.weights.tensor("flex.offsets.zeros")[self.number - 1]
        digits = self.weights.tensor("flex.offsets.digits")[self.number - 1]
        of_zero = zeros[limited, np.where(n == 0, symbols, 0) + 1]
        of_digit = digits[digit, np.where(n == 0, 0, symbols)]
        return q, np.where(n == 0, of_zero, np.sign(q) * of_digit)


def four(finer: Ints | None, shape: tuple[int, ...]) -> Ints:
    """Sums of the places (2y, 2x) to (2y + 1, 2x + 1) of a finer plane; 0 beyond its edges."""
    found = np.zeros(shape, np.int64)
    if finer is not None:
        wide = fit(finer, (2 * shape[0], 2 * shape[1]))
        for y, x in np.ndindex(2, 2):
            found += wide[y::2, x::2]
    return found


def _size_bin(plane: Ints) -> int:
    """e of section 12.2."""
    mean = 256 * int(np.abs(plane).sum()) // plane.size
    return int(bin_of(np.array(min(mean, MOST_E))))

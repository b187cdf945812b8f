"""Sections 10.3 to 10.5 of FORMAT.md: features, networks, rows.

Networks are products of whole numbers (and of those divided by powers of two) in binary64, which
are exact; everything else is integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.reference2.coder import Weights
from tec_numcodecs.reference2.fp import around, fit, spread
from tec_numcodecs.reference2.layout import Grid
from tec_numcodecs.reference2.rans import Ints
from tec_numcodecs.reference2.spectrum import Floats

#: Integers of planes by level, component, orientation.
Planes = dict[tuple[int, int, int], Ints]
Shape = tuple[int, int]


def rounded(x: Any) -> Ints:
    """floor(x + 1/2)."""
    return np.floor(np.asarray(x) + 0.5).astype(np.int64)


# ----------------------------------------------------------------------------- 10.3 Features


def sums(m: Ints) -> tuple[Ints, Ints, Ints]:
    """m, and D and X: its sums over the direct and over the diagonal neighbors."""
    n = around(m)
    return m, n[0][1] + n[1][0] + n[1][2] + n[2][1], n[0][0] + n[0][2] + n[2][0] + n[2][2]


class Companding:
    """c and h, plain or with the sign of their argument, and feature 1."""

    def __init__(self, weights: Weights) -> None:
        self.integers = weights.tensor("features.integers")
        self.eighths = weights.tensor("features.eighths")
        self.scales = weights.tensor("features.scales")

    def c(self, x: Ints) -> Ints:
        return self.integers[np.minimum(np.abs(x), 1023)]

    def c_signed(self, x: Ints) -> Ints:
        return np.sign(x) * self.c(x)

    def h(self, x: Ints) -> Ints:
        return self.eighths[np.minimum(np.abs(x), 8191)]

    def h_signed(self, x: Ints) -> Ints:
        return np.sign(x) * self.h(x)

    def scale(self, E: Ints) -> Ints:
        return np.searchsorted(self.scales, E, "right") - 64


class Surroundings:
    """What the coefficients of one level are coded with: those around, the image, a reference.

    `q` are the integers that are known, of all levels; `n` says how many components each level has.
    `L` (n, h, w) is that of section 10.2. `held` (of each orientation, (n, h, w)) and `gap`
    (n, h, w) are O and G of section 11, if there are any.
    """

    def __init__(
        self, compand: Companding, grid: Grid, level: int, q: Planes, n: list[int], L: Ints
    ) -> None:
        self.compand, self.grid, self.level, self.q, self.n, self.L = compand, grid, level, q, n, L
        self.held: list[Ints] | None = None
        self.gap: Ints | None = None

    def of(self, k: int, i: int, level: int | None = None) -> Ints:
        """Integers of a plane; zeros if they are not known yet."""
        level = self.level if level is None else level
        known = self.q.get((level, k, i))
        return np.zeros(self.grid.subband(level, i), np.int64) if known is None else known

    def total(self, level: int, i: int, components: int) -> Ints:
        """Sum of m over the first components of a level."""
        shape = self.grid.subband(level, i)
        return sum(
            (np.abs(self.of(k, i, level)) for k in range(components)), np.zeros(shape, np.int64)
        )

    def still_features(self, k: int, i: int, E: Ints, s: int, flags: Ints) -> Iterator[Ints]:
        """Numbers 1 to 46, which are known before the plane's coefficients; each (h, w).

        `E` is E' and `s` the shift of the plane.
        """
        c, c_signed = self.compand.c, self.compand.c_signed
        shape: Shape = (E.shape[0], E.shape[1])
        whole = self.grid.L[self.level]  # sums over neighbors reach beyond a smaller plane
        yield self.compand.scale(E)
        yield np.full_like(E, 4 * s)
        for j in (0, 1):
            known = self.of(k, j) if j < i else np.zeros(shape, np.int64)
            yield from (fit(c(x), shape) for x in sums(fit(np.abs(known), whole)))
        for component in (k - 1, k - 2):
            q = self.of(component, i)
            yield from map(c, sums(np.abs(q)))
            yield c_signed(q)
        yield c_signed(self.of(k - 3, i))
        for j in range(3):
            yield from (fit(c(x), shape) for x in sums(fit(self.total(self.level, j, k), whole)))
        yield from self._parent_features(k, i, shape)
        yield from (x[: shape[0], : shape[1]] for x in self._image_features(self.L[k]))
        yield 16 * (spread(sums(flags)[1], 8, shape) - 2)

    def _parent_features(self, k: int, i: int, shape: Shape) -> Iterator[Ints]:
        """Numbers 27 to 34."""
        level = self.level + 1
        if level == 5:
            yield from [np.zeros(shape, np.int64)] * 8
            return
        c, q = self.compand.c, self.of(k, i, level)

        def up(plane: Ints) -> Ints:
            return spread(plane, 2, shape)

        n = around(np.abs(q))
        y_even, x_even = (np.arange(size) % 2 == 0 for size in shape)
        yield from (up(c(plane)) for plane in sums(np.abs(q)))
        yield np.where(y_even[:, None], up(c(n[0][1])), up(c(n[2][1])))
        yield np.where(x_even, up(c(n[1][0])), up(c(n[1][2])))
        yield up(self.compand.c_signed(q))
        own = self.grid.subband(level, i)
        totals = [fit(self.total(level, j, self.n[level]), own) for j in range(3)]
        yield up(c(totals[i]))
        yield up(c(totals[0] + totals[1] + totals[2]))

    def _image_features(self, L: Ints) -> Iterator[Ints]:
        """Numbers 35 to 45, of one component; as large as L."""
        n = around(L, repeat=True)
        for difference in (
            n[1][0] + n[1][2] - 2 * L,
            n[0][1] + n[2][1] - 2 * L,
            n[1][2] - n[1][0],
            n[2][1] - n[0][1],
            n[2][2] - n[2][0] - n[0][2] + n[0][0],
        ):
            yield self.compand.h(difference)
            yield self.compand.h_signed(difference)
        yield np.sign(L) * self.compand.c(np.abs(L) >> 8)

    def reference_features(self, k: int, i: int) -> Iterator[Ints]:
        """The seven of section 11, between numbers 46 and 47."""
        if self.held is None or self.gap is None:
            raise RuntimeError("there is no reference")
        h, h_signed = self.compand.h, self.compand.h_signed
        held, gap = self.held[i][k], self.gap[k]
        yield h(held)
        yield h_signed(held)
        yield from map(h, sums(np.abs(held))[1:])
        n = around(gap, repeat=True)
        steep = np.abs(n[1][2] - n[1][0]) + np.abs(n[2][1] - n[0][1])
        for plane in (h(gap), h_signed(gap), h(steep)):
            yield plane[: held.shape[0], : held.shape[1]]

    def moving_features(self, q: Ints) -> Iterator[Ints]:
        """Those of what is there of the plane itself, numbers 47 to 51."""
        c, c_signed, n, m = self.compand.c, self.compand.c_signed, around(q), around(np.abs(q))
        yield c(m[1][0] + m[1][2])
        yield c(m[0][1] + m[2][1])
        yield c(m[0][0] + m[0][2] + m[2][0] + m[2][2])
        yield c_signed(n[1][0] + n[1][2])
        yield c_signed(n[0][1] + n[2][1])


# ------------------------------------------------------------------------------ 10.4 Network


class Network:
    """The network of a level and orientation."""

    def __init__(self, weights: Weights, name: str) -> None:
        shift = {
            part: weights.tensor(f"{name}.{part}.shift") for part in ("first", "second", "out")
        }
        self.first, self.second, self.out = (
            weights.tensor(f"{name}.{part}") * 2.0 ** -shift[part] for part in shift
        )
        self.component, self.phase, self.rate, self.second_bias, self.out_bias = (
            weights.tensor(f"{name}.{part}")
            for part in ("component", "phase", "rate", "second.bias", "out.bias")
        )
        added = sum(np.abs(x).max(0) for x in (self.component, self.phase, self.rate))
        for part, W, largest, bias in (
            ("first", self.first, 32 * 127, added),
            ("second", self.second, 16 * 255, np.abs(self.second_bias)),
            ("out", self.out, 16 * 255, np.abs(self.out_bias)),
        ):
            u = np.minimum(1, 2.0 ** ((5 if part == "first" else 4) - shift[part]))
            if (np.abs(W).sum(0) * largest + bias + 16 >= u * (1 << 24)).any():
                raise WeightsError(f"network {name} with large sums", allowed="exact in binary32")

    def __call__(self, features: Ints, k: int, phase: int, r: int) -> Floats:
        """s3 (number, 3 or 4) of features (number, 51 or 58)."""
        x = features.astype(np.float64)
        s1 = 32 * x @ self.first + (self.component[k] + self.phase[phase] + self.rate[r])
        a1 = np.clip(np.floor(s1 / 16 + 0.5), 0, 255)
        a2 = np.clip(np.floor((16 * a1 @ self.second + self.second_bias) / 16 + 0.5), 0, 255)
        return 16 * a2 @ self.out + self.out_bias


# --------------------------------------------------------------------------------- 10.5 Rows

_SCALES = np.arange(-36, 32)
_MERGED = np.where(_SCALES < 0, 0, _SCALES // 8 + 1)  # g of each A'
_STARTS = np.concatenate([[0], np.cumsum(8 * (16 >> _MERGED))])  # first row of each A'
N = int(_STARTS[-1])


def row_of(A: Ints, B: Ints, part: Ints) -> Ints:
    """The row of A' = A (-36 to 31), B and the part."""
    g = _MERGED[A + 36]
    return _STARTS[A + 36] + B * (16 >> g) + (part >> g)

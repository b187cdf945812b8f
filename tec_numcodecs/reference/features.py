"""Sections 10.3 to 10.5 of FORMAT.md: features, networks, rows.

Written from FORMAT.md alone, with its names. Networks are products of whole numbers (and of those
divided by powers of two) in binary64, which are exact; everything else is integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.reference.fp import spread
from tec_numcodecs.reference.rans import Ints
from tec_numcodecs.reference.transform import Floats, Weights, tensor

Features = NDArray[np.int8]
Key = tuple[int, int]  # component, orientation

BATCH = 1 << 14  # coefficients that a network sees at once


def rounded(x: Any) -> Ints:
    """floor(x + 1/2)."""
    return np.floor(np.asarray(x) + 0.5).astype(np.int64)


# ---------------------------------------------------------------------------- 10.3 Features


def around(a: Ints, mode: Any = "constant") -> list[list[Ints]]:
    """Nine planes (T, h, w): [y][x] is the neighbour y - 1 below and x - 1 to the right."""
    h, w = a.shape[-2:]
    padded = np.pad(a, ((0, 0), (1, 1), (1, 1)), mode)
    return [[padded[:, y : y + h, x : x + w] for x in range(3)] for y in range(3)]


def sums(m: Ints) -> tuple[Ints, Ints, Ints]:
    """m, and D and X: its sums over the direct and over the diagonal neighbours."""
    n = around(m)
    return m, n[0][1] + n[1][0] + n[1][2] + n[2][1], n[0][0] + n[0][2] + n[2][0] + n[2][2]


def small(planes: Iterator[Ints]) -> Features:
    """Features (T, h, w, number) that are computed one by one: together they would be large."""
    return np.stack([plane.astype(np.int8) for plane in planes], -1)


class Companding:
    """c and h, plain or with the sign of their argument, and the entries of `features.scales`."""

    def __init__(self, weights: Weights) -> None:
        self.integers = tensor(weights, "features.integers")
        self.eighths = tensor(weights, "features.eighths")
        self.scales = tensor(weights, "features.scales")

    def c(self, x: Ints) -> Ints:
        return self.integers[np.minimum(np.abs(x), 1023)]

    def c_signed(self, x: Ints) -> Ints:
        return np.sign(x) * self.c(x)

    def h(self, x: Ints) -> Ints:
        return self.eighths[np.minimum(np.abs(x), 8191)]

    def h_signed(self, x: Ints) -> Ints:
        return np.sign(x) * self.h(x)


class Surroundings:
    """What the coefficients of one level are coded with: those around, the image, a reference.

    `coarser` holds the coefficients of the next coarser level, `L` (T, C, h, w) is that of section
    10.2, `held` (T, C, 3, h, w) and `gap` (T, C, h, w) are O and G of section 11, if there are any.
    """

    def __init__(
        self,
        compand: Companding,
        coarser: dict[Key, Ints],
        L: Ints,
        reference: tuple[Ints, Ints] | None,
    ) -> None:
        T, C, h, w = L.shape
        self.compand, self.coarser, self.L = compand, coarser, L
        self.held: Ints | None = None
        self.gap: Ints | None = None
        if reference is not None:
            self.held, self.gap = reference
        self.q: dict[Key, Ints] = {}  # signed coefficients (T, h, w)
        self.before = np.zeros((3, T, h, w), np.int64)  # sums of m over components before
        if coarser:
            all_of = [[coarser[c, i] for c in range(C)] for i in range(3)]
            self.coarser_sums = np.abs(all_of).sum(1)  # (3, T, ...)

    def begin(self, k: int, orientation: int) -> Ints:
        """Return the empty plane (T, h, w) that the coefficients go into."""
        if orientation == 0 and k:
            self.before += np.abs([self.q[k - 1, i] for i in range(3)])
        q = self.q[k, orientation] = np.zeros_like(self.L[:, k])
        return q

    def still_features(
        self, k: int, orientation: int, E: Ints, s: int, flags: Ints
    ) -> Iterator[Ints]:
        """Numbers 1 to 46, which are known before the plane's coefficients; each (T, h, w).

        `E` is E' and `s` the shift of the plane.
        """
        c, c_signed = self.compand.c, self.compand.c_signed
        nothing = np.zeros_like(E)

        def of(component: int, i: int) -> Ints:
            return self.q.get((component, i), nothing)

        yield np.searchsorted(self.compand.scales, E, "right") - 64
        yield np.full_like(E, 4 * s)
        for i in (0, 1):
            yield from map(c, sums(np.abs(of(k, i))))
        for component in (k - 1, k - 2):
            q = of(component, orientation)
            yield from map(c, sums(np.abs(q)))
            yield c_signed(q)
        yield c_signed(of(k - 3, orientation))
        for m in self.before:
            yield from map(c, sums(m))
        yield from self.parent_features(k, orientation, E.shape)
        yield from self.image_features(self.L[:, k])
        yield 16 * (spread(sums(flags)[1], 8, E.shape) - 2)

    def parent_features(self, k: int, orientation: int, shape: tuple[int, ...]) -> Iterator[Ints]:
        """Numbers 27 to 34."""
        if not self.coarser:
            yield from [np.zeros(shape, np.int64)] * 8
            return
        c, q = self.compand.c, self.coarser[k, orientation]

        def up(plane: Ints) -> Ints:
            return spread(plane, 2, shape)

        n = around(np.abs(q))
        y_even, x_even = (np.arange(size) % 2 == 0 for size in shape[1:])
        yield from (up(c(plane)) for plane in sums(np.abs(q)))
        yield np.where(y_even[:, None], up(c(n[0][1])), up(c(n[2][1])))
        yield np.where(x_even, up(c(n[1][0])), up(c(n[1][2])))
        yield up(self.compand.c_signed(q))
        yield up(c(self.coarser_sums[orientation]))
        yield up(c(self.coarser_sums.sum(0)))

    def image_features(self, L: Ints) -> Iterator[Ints]:
        """Numbers 35 to 45, of one component (T, h, w)."""
        n = around(L, "edge")
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

    def reference_features(self, k: int, orientation: int) -> Iterator[Ints]:
        """The seven of section 11, between numbers 46 and 47."""
        if self.held is None or self.gap is None:
            raise RuntimeError("there is no reference")
        h, h_signed = self.compand.h, self.compand.h_signed
        held, gap = self.held[:, k, orientation], self.gap[:, k]
        yield h(held)
        yield h_signed(held)
        yield from map(h, sums(np.abs(held))[1:])
        yield h(gap)
        yield h_signed(gap)
        n = around(gap, "edge")
        yield h(np.abs(n[1][2] - n[1][0]) + np.abs(n[2][1] - n[0][1]))

    def moving_features(self, q: Ints) -> Iterator[Ints]:
        """Those of what is there of the plane itself, numbers 47 to 51."""
        c, c_signed, n, m = self.compand.c, self.compand.c_signed, around(q), around(np.abs(q))
        yield c(m[1][0] + m[1][2])
        yield c(m[0][1] + m[2][1])
        yield c(sums(np.abs(q))[2])
        yield c_signed(n[1][0] + n[1][2])
        yield c_signed(n[0][1] + n[2][1])


# ----------------------------------------------------------------------------- 10.4 Network


class Network:
    """The network of a level and orientation."""

    def __init__(self, weights: Weights, name: str) -> None:
        def layer(part: str) -> Floats:
            shift = tensor(weights, f"{name}.{part}.shift")
            return tensor(weights, f"{name}.{part}") * 2.0**-shift

        self.first, self.second, self.out = layer("first"), layer("second"), layer("out")
        self.component, self.phase, self.rate, self.second_bias, self.out_bias = (
            tensor(weights, f"{name}.{part}")
            for part in ("component", "phase", "rate", "second.bias", "out.bias")
        )
        added = sum(np.abs(x).max(0) for x in (self.component, self.phase, self.rate))
        for W, most, bias in (
            (32 * self.first, 127, added),
            (16 * self.second, 255, np.abs(self.second_bias)),
            (16 * self.out, 255, np.abs(self.out_bias)),
        ):
            if ((most * np.abs(W).sum(0) + bias) / _finest_units(W) > 1 << 24).any():
                raise WeightsError(f"network {name} with large sums", allowed="exact in binary32")

    def __call__(self, features: Features, k: int, phase: int, r: int) -> Floats:
        """s3 (n, 3 or 4) of features (n, 51 or 58)."""
        found = []
        for start in range(0, len(features), BATCH):
            x = features[start : start + BATCH].astype(np.float64)
            s1 = 32 * x @ self.first + (self.component[k] + self.phase[phase] + self.rate[r])
            a1 = np.clip(np.floor(s1 / 16 + 0.5), 0, 255)
            a2 = np.clip(np.floor((16 * a1 @ self.second + self.second_bias) / 16 + 0.5), 0, 255)
            found.append(16 * a2 @ self.out + self.out_bias)
        return np.concatenate(found)


def _finest_units(W: Floats) -> Floats:
    """For each column the largest power of two, at most 1, that it is whole multiples of."""
    units = np.ones(W.shape[1])
    while (finer := (W % units).any(0)).any():
        units[finer] /= 2
    return units


# -------------------------------------------------------------------------------- 10.5 Rows

_SCALES = np.arange(-36, 32)
_MERGED = np.where(_SCALES < 0, 0, _SCALES // 8 + 1)  # g of each A'
_STARTS = np.concatenate([[0], np.cumsum(8 * (16 >> _MERGED))])  # first row of each A'
N = int(_STARTS[-1])


def row_of(A: Ints, B: Ints, part: Ints) -> Ints:
    """The row of A' = A (-36 to 31), B and the part."""
    g = _MERGED[A + 36]
    return _STARTS[A + 36] + B * (16 >> g) + (part >> g)

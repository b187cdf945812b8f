"""Sections 9.3 to 9.6 of FORMAT.md: the walk over the symbols of a date of mini fp.

Everything is one array operation a plane; only the coder looks at single symbols.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.reference2.coder import LOWPASS, Coder, Place, Weights, one
from tec_numcodecs.reference2.layout import LEVELS, Grid, Layout, Setting
from tec_numcodecs.reference2.rans import Ints
from tec_numcodecs.reference2.spectrum import Spectrum, code_spectrum, spectrum_of
from tec_numcodecs.reference2.transform import LARGEST, Latents, dequantised, step_of

MOST_E = (1 << 18) - 1


# --------------------------------------------------------------------------- Small arithmetic


def fit(values: Ints, shape: tuple[int, int]) -> Ints:
    """Cut a plane (..., h, w) off, or fill it up with zeros, to a shape."""
    found = np.zeros((*values.shape[:-2], *shape), np.int64)
    h, w = min(shape[0], values.shape[-2]), min(shape[1], values.shape[-1])
    found[..., :h, :w] = values[..., :h, :w]
    return found


def spread(values: Ints, n: int, shape: tuple[int, int]) -> Ints:
    """Give each value of a plane n x n places of a plane of this shape."""
    return fit(values.repeat(n, -2).repeat(n, -1), shape)


def around(a: Ints, *, repeat: bool = False) -> list[list[Ints]]:
    """Nine planes (h, w): [y][x] is the neighbor y - 1 below and x - 1 to the right.

    Beyond the edges there are zeros, or the edges are repeated.
    """
    h, w = a.shape
    padded = np.zeros((h + 2, w + 2), np.int64)
    padded[1:-1, 1:-1] = a
    if repeat:
        padded[0], padded[-1] = padded[1], padded[-2]
        padded[:, 0], padded[:, -1] = padded[:, 1], padded[:, -2]
    return [[padded[y : y + h, x : x + w] for x in range(3)] for y in range(3)]


def magnitudes(q: Ints) -> Ints:
    """m and a of a plane, (2, h, w)."""
    m = np.minimum(np.abs(q), 1023)
    n = around(m)
    return np.stack([m, sum(n[y][x] for y in range(3) for x in range(3)) - m])


def sum_blocks(values: Ints) -> Ints:
    """Sums (ceil(h / 8), ceil(w / 8)) over blocks of 8 x 8."""
    h, w = values.shape
    return np.add.reduceat(np.add.reduceat(values, range(0, h, 8), 0), range(0, w, 8), 1)


def shifted(values: Ints, s: int) -> Ints:
    """Multiply by about 2^(s / 4)."""
    return (values * (256, 304, 362, 431)[s % 4]) >> (8 - s // 4)


def floor_log2(values: Ints) -> Ints:
    """Floor of the logarithm of integers from 1 to 2^53."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1


def bin_of(E: Ints) -> Ints:
    """Bins of expected magnitudes."""
    n = floor_log2(np.maximum(E, 1))
    return np.where(E < 4, 0, 1 + 4 * (n - 2) + ((E >> np.maximum(n - 2, 0)) & 3))


def undo_prediction(residuals: Ints) -> Ints:
    """From residuals (h, w) of a plane of the low-pass to its integers."""
    h, w = residuals.shape
    q = np.zeros((h + 1, w + 1), np.int64)  # row 0 and column 0 are outside
    for y, x in np.ndindex(h, w):
        a, b, c = int(q[y + 1, x]), int(q[y, x + 1]), int(q[y, x])
        median = sorted((a, b, wrapped(a + b - c)))[1]
        q[y + 1, x + 1] = wrapped(int(residuals[y, x]) + median)
    return q[1:, 1:]


def wrapped(value: int) -> int:
    """To 32 bits with a sign."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


# ------------------------------------------------------------------------------------ The walk


class DateWalk:
    """The symbols of one date, in the order of its stream.

    Attributes
    ----------
    latents : Latents
        What is known so far.
    log : list of arrays
        Integers of the checksum so far.
    """

    def __init__(
        self, coder: Coder, weights: Weights, setting: Setting, layout: Layout, *, lists: bool
    ) -> None:
        self.coder, self.weights, self.setting, self.layout = coder, weights, setting, layout
        self.lists = lists
        self.grid = Grid(*setting.shape[2:])
        self.log: list[Ints] = []
        self.spectra: dict[int, Spectrum] = {}
        self.shifts: dict[tuple[int, int, int], int] = {}
        self.m: dict[tuple[int, int, int], Ints] = {}  # m and a of each plane (2, h, w)
        self.before: dict[tuple[int, int], Ints] = {}  # sums of these over components
        self.take_prior(setting.r)

    def run(self, level: int = 0) -> Latents:
        """Walk over the whole date, or as far as an overview needs it."""
        self.begin()
        self.latents = Latents(self.lowpass())
        for finer in LEVELS:
            if finer >= level and self.layout.bands(finer):
                self.latents.details[finer] = self.details(finer)
        return self.latents

    def begin(self) -> None:
        """What stands before everything else; nothing."""

    def take_prior(self, r: int) -> None:
        """Expect magnitudes as the rate index says, from here on."""
        o = r // 16
        g = self.weights.tensor("prior.group")[o]
        self.expected_weights = self.weights.tensor("prior.weights")[o]
        self.expected_bias = self.weights.tensor("prior.bias")[o]
        self.coefficient_rows = self.weights.tensor("prior.coefficient_rows")[g]
        self.flag_rows = self.weights.tensor("prior.flag_rows")[g]
        self.shift_rows = self.weights.tensor("prior.shift_rows")[g]
        self.prior = self.weights.table("prior.tables")

    # 9.4, a level

    def spectrum(self, level: int) -> Spectrum:
        """Code which spectrum a level (or the low-pass) has."""
        used = self.layout.bands(level)
        entries = len(self.weights.tensor(f"codebook.{self.setting.sensor}"))
        entry, rotations, log = code_spectrum(
            self.coder, level, len(used), entries, lists=self.lists
        )
        self.log.append(np.array(log))
        args = self.weights, self.setting, used, level, entry, rotations
        self.spectra[level] = spectrum_of(*args)
        return self.spectra[level]

    def lowpass(self) -> Ints:
        """Code the low-pass; in bands (C, h, w)."""
        spectrum = self.spectrum(LOWPASS)
        return self.to_bands(spectrum, self.lowpass_dn())

    def lowpass_dn(self) -> Ints:
        """Code the components of the low-pass; in DN (C, h, w)."""
        components = range(len(self.layout.bands(LOWPASS)))
        planes = [undo_prediction(self.plane(LOWPASS, k, 0)[0]) for k in components]
        return dequantised(np.stack(planes), 0, step_of(self.setting.r, LOWPASS))

    def details(self, level: int) -> list[Ints]:
        """Code a level; HL, LH, HH in bands (n, h, w)."""
        spectrum = self.spectrum(level)
        n = len(self.layout.bands(level))
        shapes = [self.grid.subband(level, i) for i in range(3)]
        dn = [np.zeros((n, *shape), np.int64) for shape in shapes]
        for k in range(n):
            for i in self.grid.planes(level):
                dn[i][k] = self.detail(level, k, i)
        return [self.to_bands(spectrum, planes) for planes in dn]

    def to_bands(self, spectrum: Spectrum, components: Ints) -> Ints:
        return spectrum.inverse(components)

    def detail(self, level: int, k: int, i: int) -> Ints:
        """Code a plane of details; in DN (h, w)."""
        q, rows = self.plane(level, k, i)
        d = self.weights.tensor("prior.shrink")[rows, np.clip(np.abs(q), 1, 3) - 1]
        return dequantised(q, d, step_of(self.setting.r, level, i))

    # 9.4, a plane

    def plane(self, level: int, k: int, i: int) -> tuple[Ints, Ints]:
        """Code a plane: integers and their rows (h, w)."""
        E, _, coded = self.blocks(level, k, i)
        rows = self.coefficient_rows[level, bin_of(E)]
        bits = np.maximum(floor_log2(np.maximum(E, 1)) - 10, 0)[coded]
        place = Place("integers", level, k, i, coded)
        q = np.zeros_like(E)
        q[coded] = self.coder.integers(
            place, rows[coded], self.prior, np.zeros_like(bits), bits, LARGEST
        )
        self.log.append(q[coded])
        self.remember(level, k, i, q)
        return q, rows

    def blocks(self, level: int, k: int, i: int) -> tuple[Ints, Ints, NDArray[np.bool_]]:
        """Code what comes before a plane's coefficients.

        Returns E' (h, w), flags (ceil(h / 8), ceil(w / 8)), and which coefficients lie in blocks
        with flag 1 (h, w).
        """
        E = self.expected(level, k, i)
        S = sum_blocks(E)
        s = self.shifts[level, k, i] = self.shift(level, k, i)
        E, S = np.minimum(shifted(E, s), MOST_E), shifted(S, s)
        flags = self.flags(level, k, i, S)
        return E, flags, spread(flags, 8, (E.shape[0], E.shape[1])) == 1

    def shift(self, level: int, k: int, i: int) -> int:
        """Code the shift of a plane."""
        return self.shift_after(level, k, i, self.shifts[level, k - 1, i] if k else 0)

    def shift_after(self, level: int, k: int, i: int, p: int) -> int:
        """Code a shift in the row that another one decides."""
        row = int(self.shift_rows[p + 8])
        s = one(self.coder, Place("shift", level, k, i), row, self.prior, -8, 8)
        self.log.append(np.array([s]))
        return s

    def flags(self, level: int, k: int, i: int, S: Ints) -> Ints:
        """Code the flags of a plane, given S before its limits."""
        S = np.clip(S, 1, 1 << 24)
        n = floor_log2(S)
        rows = self.flag_rows[level, 2 * n + (2 * S >> n) - 2]  # 2 S >> n is 3 from 1.5 * 2^n on
        place = Place("flags", level, k, i, np.ones(S.shape, bool))
        return self.coder.symbols(place, rows.ravel(), self.prior, 0, 1).reshape(S.shape)

    # 9.5 Rows

    def expected(self, level: int, k: int, i: int) -> Ints:
        """E of a plane."""
        shape = self.grid.subband(level, i)
        nothing = np.zeros((2, *shape), np.int64)
        coarser = self.m.get((level + 1, k, i)) if level < 4 else None
        features = [
            nothing if coarser is None else spread(coarser, 2, shape),
            fit(self.m.get((level, k - 1, i), nothing), shape),
            fit(self.m.get((level, k - 2, i), nothing), shape),
            fit(self.before.get((level, i), nothing), shape),
            fit(self.m.get((level, k, i - 1), nothing), shape),
            fit(self.m.get((level, k, i - 2), nothing), shape),
        ]
        index = level, min(k, 11), i
        total = np.tensordot(self.expected_weights[index], np.concatenate(features), 1)
        return np.minimum((self.expected_bias[index] + total) >> 4, MOST_E)

    def remember(self, level: int, k: int, i: int, q: Ints) -> None:
        """Keep what later planes want to know of a plane."""
        # Sums over neighbors reach beyond a plane that is smaller than others of its level.
        self.m[level, k, i] = magnitudes(fit(q, self.grid.L[min(level, 4)]))
        self.before[level, i] = self.before.get((level, i), 0) + self.m[level, k, i]

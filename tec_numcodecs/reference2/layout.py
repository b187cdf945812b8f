"""Section 9.0 of FORMAT.md: layouts, grids, native samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tec_numcodecs.reference2.rans import Cursor, Ints, require

FACTORS = (1, 2, 3, 6)  # of each class
ENTRIES = (0, 1, 1, 2)
#: Gain of a plane that level l splits (5: of the low-pass), in units of 2^-12.
GAINS = (4096, 6196, 9372, 14176, 21442, 32434)
LEVELS = (4, 3, 2, 1, 0)


class Setting(NamedTuple):
    """What a chunk's header says about its latents.

    `bands` are indices of the sensor's bands, rising. `r` is the rate index.
    """

    shape: tuple[int, int, int, int]
    sensor: str
    bands: tuple[int, ...]
    model: str
    r: int
    quality: int = 0


@dataclass(frozen=True)
class Layout:
    """Class of each band, in the order of the sensor; phases (row, column) of each class."""

    classes: tuple[int, ...]
    phases: tuple[tuple[int, int], ...] = ((0, 0),) * 4

    def factor(self, band: int) -> int:
        return FACTORS[self.classes[band]]

    def entry(self, band: int) -> int:
        """Level that the band enters at."""
        return ENTRIES[self.classes[band]]

    def phase(self, band: int) -> tuple[int, int]:
        return self.phases[self.classes[band]]

    def bands(self, level: int) -> list[int]:
        """Bands of a level, or of the low-pass (5)."""
        return [b for b in range(len(self.classes)) if self.entry(b) <= level]

    def shown(self, band: int, axis: int, pixels: Ints) -> Ints:
        """Native sample that each of some pixels shows, along one axis."""
        return (pixels + self.phase(band)[axis]) // self.factor(band)

    def native_shape(self, band: int, H: int, W: int) -> tuple[int, int]:
        """How many native samples a band has, along both axes."""
        last = (self.shown(band, axis, np.array(n - 1)) for axis, n in enumerate((H, W)))
        rows, columns = (int(index) + 1 for index in last)
        return rows, columns

    def kept(self, band: int, axis: int, n: int, size: int) -> Ints:
        """m(i): where a plane of so many samples holds each native sample, along one axis."""
        f, p, e = self.factor(band), self.phase(band)[axis], self.entry(band)
        i = np.arange((n - 1 + p) // f + 1)
        return np.clip((2 * (f * i - p) + f - 1 + (1 << e)) >> (e + 1), 0, size - 1)


def read_layout(cursor: Cursor, C: int) -> Layout:
    """Read one layout."""
    packed = cursor.take(-(-C // 4))
    bits = int.from_bytes(packed, "little")
    require(bits < 1 << 2 * C, "unused bits of a layout that are not 0")
    classes = tuple(bits >> 2 * band & 3 for band in range(C))
    phases = [(0, 0)] * 4
    for number in range(1, 4):
        if number in classes:
            column, row = divmod(cursor.take(1)[0], 6)
            factor = FACTORS[number]
            require(row < factor and column < factor, f"phase {row}, {column} of factor {factor}")
            phases[number] = row, column
    return Layout(classes, tuple(phases))


class Grid:
    """Sizes (rows, columns): `N[l]` of what level l splits, `L[l]` of its low-pass part."""

    def __init__(self, H: int, W: int) -> None:
        self.shape = H, W
        self.N: list[tuple[int, int]] = []
        self.L: list[tuple[int, int]] = []
        rows, columns = H, W
        for _ in range(5):
            self.N.append((rows | 1, columns | 1))
            rows, columns = ((n + 1) // 2 for n in self.N[-1])
            self.L.append((rows, columns))

    def subband(self, level: int, orientation: int) -> tuple[int, int]:
        """Rows and columns of HL, LH, HH (0 to 2) of a level; or of the low-pass (level 5)."""
        if level == 5:
            return self.L[4]
        (nr, nc), (lr, lc) = self.N[level], self.L[level]
        return (lr if orientation == 0 else nr - lr), (lc if orientation == 1 else nc - lc)

    def planes(self, level: int) -> list[int]:
        """Orientations that have samples."""
        if level == 5:
            return [0]
        return [i for i in range(3) if min(self.subband(level, i))]

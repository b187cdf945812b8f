"""Sections 9.1 (wavelet), 9.2 and 9.7 of FORMAT.md: from details in bands to digital numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tec_numcodecs.reference2.coder import LOWPASS
from tec_numcodecs.reference2.layout import GAINS, LEVELS, Grid, Layout, Setting
from tec_numcodecs.reference2.rans import Ints, require
from tec_numcodecs.reference2.spectrum import CLIP

LARGEST = 1 << 22
MEANS = {
    "sentinel-2-l2a": (793, 925, 1185, 1341, 1671, 2240, 2468, 2563, 2628, 2711, 2417, 1850),
    "sentinel-2-l1c": (1607, 1393, 1320, 1374, 1563, 2110, 2393, 2321, 2584, 839, 22, 2205, 1546),
}

# ------------------------------------------------------------------------------ 9.2 Quantiser

MANTISSAS = (
    65536, 68438, 71468, 74632, 77936, 81386, 84990, 88752,
    92682, 96785, 101070, 105545, 110218, 115098, 120194, 125515,
)  # fmt: skip
STEPS = (
    (65536, 65536, 86612), (49589, 49589, 65536), (37522, 37522, 49589),
    (28392, 28392, 37522), (21483, 21483, 28392), (16255,),
)  # fmt: skip


def step_of(r: int, level: int, orientation: int = 0) -> int:
    """Step of a subband in sixteenths of a DN."""
    common = MANTISSAS[r % 16] << (r // 16)
    return 16 if r == 0 else max(16, (common * STEPS[level][orientation] + (1 << 27)) >> 28)


def dequantised(q: Ints, d: Ints | int, step: int) -> Ints:
    """Integers of a subband to DN."""
    magnitude = np.abs(q)
    if step != 16:
        magnitude = (np.maximum(64 * magnitude - d, 0) * step + 512) >> 10
    return checked(np.sign(q) * magnitude)


def checked(dn: Ints) -> Ints:
    """Refuse coefficients that are larger than any encoder makes them."""
    require((np.abs(dn) <= LARGEST).all(), "a coefficient above 2^22")
    return dn


# -------------------------------------------------------------------------------- 9.1 Wavelet


def _divide(values: Ints) -> Ints:
    """rint(values / 2^12)."""
    rounded = (values + 2048) >> 12
    return rounded - (((values & 4095) == 2048) & rounded & 1)


def _unlift(low: Ints, high: Ints) -> Ints:
    """Join low- and high-pass parts along the last axis; there is one more of low-pass samples."""
    low, high = low.copy(), high.copy()
    if high.shape[-1]:
        for c_high, c_low in ((3616, 1817), (-6497, -217)):
            around = np.concatenate([high[..., :1], high, high[..., -1:]], -1)
            low -= _divide(c_low * (around[..., :-1] + around[..., 1:]))
            high -= _divide(c_high * (low[..., :-1] + low[..., 1:]))
    x = np.empty((*low.shape[:-1], low.shape[-1] + high.shape[-1]), np.int64)
    x[..., 0::2], x[..., 1::2] = low, high
    return x


def merged(P: Ints, details: list[Ints]) -> Ints:
    """Join P (n, h, w) and its details HL, LH, HH to the planes that were split."""
    HL, LH, HH = (x.swapaxes(-1, -2) for x in details)
    left = _unlift(P.swapaxes(-1, -2), LH).swapaxes(-1, -2)
    right = _unlift(HL, HH).swapaxes(-1, -2)
    return np.clip(_unlift(left, right), -CLIP, CLIP)


# ---------------------------------------------------------------------------- From bands to DN


@dataclass
class Latents:
    """Low-pass (C, h, w) of a date, and details HL, LH, HH (n, h, w) of its levels, in bands."""

    lowpass: Ints
    details: dict[int, list[Ints]] = field(default_factory=dict)


class Picture:
    """The planes of one date, from the low-pass down to finer levels.

    `planes` are those that `level` splits (5: the low-pass) of the bands of that level.
    """

    def __init__(self, setting: Setting, layout: Layout, grid: Grid, lowpass: Ints) -> None:
        self.setting, self.layout, self.grid = setting, layout, grid
        self.level, self.planes = LOWPASS, lowpass
        self.natives: dict[int, Ints] = {}  # of bands that entered already, without the mean

    @property
    def next(self) -> Ints:
        """P of the next finer level: low-pass parts of the bands that it has."""
        finer = self.level - 1
        rows, columns = self.grid.L[finer]
        kept = [b in self.layout.bands(finer) for b in self.layout.bands(self.level)]
        return self.planes[kept][:, :rows, :columns]

    def add(self, details: list[Ints]) -> None:
        """Merge the next finer level."""
        self.planes = merged(self.next, details)
        self.level -= 1
        for plane, band in zip(self.planes, self.layout.bands(self.level), strict=True):
            if self.layout.entry(band) == self.level > 0:
                rows, columns = (
                    self.layout.kept(band, axis, n, plane.shape[axis])
                    for axis, n in enumerate(self.grid.shape)
                )
                G = GAINS[self.level] if self.setting.r else 4096
                y = plane[np.ix_(rows, columns)]
                self.natives[band] = (4096 * y + G // 2) // G

    def show(self, level: int) -> Ints:
        """DN of an overview, or of the image (level 0); (C, h, w)."""
        H, W = self.grid.shape
        rows, columns = np.arange(0, H, 1 << level), np.arange(0, W, 1 << level)
        found = np.zeros((len(self.layout.classes), len(rows), len(columns)), np.int64)
        for plane, band in zip(self.planes, self.layout.bands(self.level), strict=True):
            e = self.layout.entry(band)
            a = GAINS[e] if self.setting.r == 0 else 4096
            P = plane[: len(rows), : len(columns)]
            found[band] = (a * P + GAINS[level] // 2) // GAINS[level]
        for band, native in self.natives.items():
            if self.layout.entry(band) > level:
                shown = (
                    self.layout.shown(band, axis, at) for axis, at in enumerate((rows, columns))
                )
                found[band] = native[np.ix_(*shown)]
        means = np.array(MEANS[self.setting.sensor])[list(self.setting.bands)]
        return found + means[:, None, None]


def shown(setting: Setting, layout: Layout, grid: Grid, latents: Latents, level: int) -> Ints:
    """DN (C, h, w) of a level of a date."""
    picture = Picture(setting, layout, grid, latents.lowpass)
    for finer in LEVELS:
        if finer < level:
            break
        if not layout.bands(finer):
            picture.planes, picture.level = picture.planes[:0], finer
            continue
        picture.add(latents.details[finer])
    return picture.show(level)

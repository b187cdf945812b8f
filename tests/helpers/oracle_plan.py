"""What a plain writer wants to code: the transform of FORMAT.md forward, then rounding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tec_numcodecs.reference2.coder import LOWPASS, Place, Weights
from tec_numcodecs.reference2.fp import sum_blocks
from tec_numcodecs.reference2.layout import GAINS, Grid, Layout, Setting
from tec_numcodecs.reference2.rans import Ints
from tec_numcodecs.reference2.spectrum import Rotation, spectrum_of
from tec_numcodecs.reference2.transform import MEANS, _divide, step_of


def _lift(x: Ints) -> tuple[Ints, Ints]:
    """Split along the last axis, which is odd."""
    low, high = x[..., 0::2].copy(), x[..., 1::2].copy()
    if high.shape[-1]:
        for c_high, c_low in ((-6497, -217), (3616, 1817)):
            high += _divide(c_high * (low[..., :-1] + low[..., 1:]))
            around = np.concatenate([high[..., :1], high, high[..., -1:]], -1)
            low += _divide(c_low * (around[..., :-1] + around[..., 1:]))
    return low, high


def split(x: Ints) -> tuple[Ints, list[Ints]]:
    """Planes (n, N, N') to the low-pass and HL, LH, HH."""
    left, right = _lift(x)
    low, LH = (a.swapaxes(-1, -2) for a in _lift(left.swapaxes(-1, -2)))
    HL, HH = (a.swapaxes(-1, -2) for a in _lift(right.swapaxes(-1, -2)))
    return low, [HL, LH, HH]


def padded(x: Ints, shape: tuple[int, int]) -> Ints:
    """Repeat the last row and column."""
    return np.pad(x, ((0, 0), (0, shape[0] - x.shape[1]), (0, shape[1] - x.shape[2])), "edge")


class Plan:
    """Integers of one date (C, H, W) of DN."""

    def __init__(
        self,
        dn: Ints,
        setting: Setting,
        weights: Weights,
        layout: Layout,
        spectra: Mapping[int, tuple[int, list[Rotation]]],
    ) -> None:
        self.setting, self.layout = setting, layout
        self.grid = Grid(*setting.shape[2:])
        self.weights = weights
        self.spectra = {
            level: (entry, [x for x in rotations if x.q < len(layout.bands(level))])
            for level, (entry, rotations) in spectra.items()
        }
        means = np.array(MEANS[setting.sensor])[list(setting.bands)]
        self.q: dict[tuple[int, int, int], Ints] = {}
        self._analyse(dn - means[:, None, None])

    def _analyse(self, x: Ints) -> None:
        known: dict[int, Ints] = {}  # plane of each band that is in
        for level in range(5):
            for band in range(len(x)):
                if self.layout.entry(band) == level:
                    known[band] = self._entering(x[band], band)
            used = self.layout.bands(level)
            if not used:
                continue
            planes = np.stack([padded(known[b][None], self.grid.N[level])[0] for b in used])
            low, details = split(planes)
            known.update(zip(used, low, strict=True))
            for i in range(3):
                self._quantise(level, i, details[i])
        self._quantise(LOWPASS, 0, np.stack([known[b] for b in range(len(x))]))

    def _entering(self, x: Ints, band: int) -> Ints:
        """The plane of a band where it enters, (h, w)."""
        e = self.layout.entry(band)
        if e == 0:
            return x
        H, W = self.grid.shape
        G = GAINS[e] if self.setting.r else 4096
        for axis, n in enumerate((H, W)):
            shown = self.layout.shown(band, axis, np.arange(n))
            native = x.take(np.searchsorted(shown, np.arange(shown[-1] + 1)), axis)
            size = self.grid.N[e][axis]
            kept = self.layout.kept(band, axis, n, size)
            assert (np.diff(kept) > 0).all(), "two native samples in one place"
            x = native.take(np.clip(np.searchsorted(kept, np.arange(size)), 0, len(kept) - 1), axis)
        return (x * G + 2048) >> 12

    def _quantise(self, level: int, i: int, bands: Ints) -> None:
        spectrum = spectrum_of(
            self.weights, self.setting, self.layout.bands(level), level, *self.spectra[level]
        )
        components = spectrum.forward(bands)
        if self.setting.model != "fp":
            components = components * spectrum.u[:, None, None]
        step = step_of(self.setting.r, level, i)
        rounded = np.sign(components) * ((32 * np.abs(components) + step) // (2 * step))
        for k, plane in enumerate(components if step == 16 else rounded):
            self.q[level, k, i] = plane

    # What a chooser is asked for

    def plane(self, place: Place) -> Ints:
        """Integers of a plane: as coded, so residuals of the low-pass."""
        q = self.known(place)
        return residuals(q) if place.level == LOWPASS else q

    def known(self, place: Place, digits: int = 0) -> Ints:
        """Integers of a plane as a pass of mini flextec knows them, or without more digits."""
        q = self.q[place.level, place.component, place.orientation]
        if self.setting.model != "flextec":
            return q
        d = 3 - place.number
        if place.level == LOWPASS:
            d = min(d, max((176 - self.setting.r) // 16, 0))
        return np.sign(q) * (np.abs(q) >> (d + digits))

    def symbols(self, place: Place) -> Ints:
        assert place.at is not None
        if place.what == "flags":
            return np.minimum(sum_blocks(np.abs(self.plane(place))), 1)[place.at]
        now = self.known(place)
        if place.what == "low flags":
            return np.abs(np.sign(now))[place.at]
        was = self.known(place, 1)
        return np.where(was == 0, now, np.abs(now) & 1)[place.at]

    def integers(self, place: Place) -> Ints:
        assert place.at is not None
        return self.plane(place)[place.at]

    def low_bits(self, place: Place) -> Ints:
        assert place.at is not None
        now, was = self.known(place), self.known(place, 1)
        return np.where(was == 0, now < 0, np.abs(now) & 1)[place.at]


def residuals(q: Ints) -> Ints:
    """Prediction of section 9.3 (small integers: nothing wraps)."""
    outside = np.pad(q, ((1, 0), (1, 0)))
    a, b, c = outside[1:, :-1], outside[:-1, 1:], outside[:-1, :-1]
    return q - np.sort([a, b, a + b - c], axis=0)[1]

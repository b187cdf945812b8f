"""The transform of the mini family: wavelet, then a spectral KLT per level; integers throughout.

``forward`` takes a stack of dates to wavelet coefficients level by level, finest first;
``inverse`` undoes it. Both are exact: with a quantiser step of one the codec is lossless.

For each date and level (and the low-pass) one of the codebook's transforms is used. The encoder
chooses it, and the choice is part of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.mini.transform import dwt97, klt
from tec_numcodecs.models.mini.transform.quantizer import LEVELS, steps
from tec_numcodecs.sensors import Sensor

Int32Array = NDArray[np.int32]
Entries = NDArray[Any]  # whole numbers (N,): a codebook entry a date

#: No plane of an image exceeds this; within it, no lifting step overflows 32 bits.
PLANE_LIMIT = 1 << 21
#: Index of the low-pass among the levels.
LOW = LEVELS


@dataclass(frozen=True)
class Coefficients:
    """Wavelet-KLT coefficients (or their quantised integers) of N dates.

    Attributes
    ----------
    low : int32 array (N, C, h5, w5)
    detail : tuple of int32 arrays (N, C, 3, h_l, w_l)
        Levels 0 (finest) to 4; components by falling variance; orientations HL, LH, HH.
    entries : uint8 array (N, 6)
        Codebook entry of levels 0 to 4 and of the low-pass.
    """

    low: Int32Array
    detail: tuple[Int32Array, ...]
    entries: NDArray[np.uint8]


@dataclass(frozen=True)
class Codebook:
    """Covariances that the spectral transforms of one sensor derive from.

    Attributes
    ----------
    sensor : Sensor
    covariances : float32 array (entries, 6, C, C)
        Of the levels 0 to 4 and the low-pass, for all bands of the sensor.
    """

    sensor: Sensor
    covariances: NDArray[np.float32]

    @property
    def entries(self) -> int:
        """Number of transforms to choose from at each level."""
        return int(self.covariances.shape[0])


class Transform:
    """The transform for one set of bands.

    Parameters
    ----------
    codebook : Codebook
    bands : tuple of int
        Indices of the bands present, increasing.
    """

    #: Coefficients of a component that are looked at to choose a codebook entry.
    samples = 1024

    def __init__(self, codebook: Codebook, bands: tuple[int, ...]) -> None:
        self.entries = codebook.entries
        chosen = codebook.covariances[:, :, bands][:, :, :, bands]  # (E, 6, n, n)
        n = len(bands)
        self._spectral = klt.derive(chosen.reshape(-1, n, n).astype(np.float64))
        self.mean = np.array([round(codebook.sensor.mean[b]) for b in bands], np.int32)

    def forward(self, cubes: Int32Array, rate_index: int) -> Coefficients:
        """Transform dates and choose the spectral transforms.

        Parameters
        ----------
        cubes : int32 array (N, C, H, W)
            Digital numbers.
        rate_index : int
            For which quantiser step the codebook entries are to be chosen.

        Returns
        -------
        Coefficients
        """
        n, c = cubes.shape[:2]
        entries = np.zeros((n, LEVELS + 1), np.uint8)
        planes = cubes - self.mean[:, None, None]  # (N, C, H, W)
        noise = (steps(rate_index)[:, 0] / 16.0) ** 2 / 12
        detail = []
        for level in range(LEVELS):
            low, high = dwt97.forward(planes.reshape(n * c, *planes.shape[2:]))
            planes = low.reshape(n, c, *low.shape[1:])
            bands = high.reshape(n, c, *high.shape[1:])  # (N, C, 3, h, w)
            entries[:, level] = [self._choose(level, x, noise[level]) for x in bands]
            detail.append(self.to_components(bands, entries[:, level], level))
        entries[:, LOW] = [self._choose(LOW, x, noise[LOW]) for x in planes]
        low = self.to_components(planes, entries[:, LOW], LOW)
        return Coefficients(low, tuple(detail), entries)

    def inverse(self, coefficients: Coefficients, height: int, width: int) -> Int32Array:
        """Undo `forward` exactly: int32 array (N, C, height, width) of digital numbers."""
        sizes = level_sizes(height, width)
        planes = _clip(self.to_bands(coefficients.low, coefficients.entries[:, LOW], LOW))
        n, c = planes.shape[:2]
        for level in reversed(range(LEVELS)):
            high = _clip(
                self.to_bands(coefficients.detail[level], coefficients.entries[:, level], level)
            )
            flat = dwt97.inverse(
                planes.reshape(n * c, *planes.shape[2:]),
                high.reshape(n * c, *high.shape[2:]),
                *sizes[level],
            )
            planes = _clip(flat.reshape(n, c, *flat.shape[1:]))
        planes += self.mean[:, None, None]
        return planes

    def to_components(self, bands: Int32Array, entries: Entries, level: int) -> Int32Array:
        """Bands to components, (N, C, ...) each date by its own entry."""
        out = np.empty_like(bands)
        for date, entry in enumerate(entries):
            flat = bands[date].reshape(bands.shape[1], -1)
            out[date] = self._spectral.forward(self._index(entry, level), flat).reshape(
                bands.shape[1:]
            )
        return out

    def to_bands(self, components: Int32Array, entries: Entries, level: int) -> Int32Array:
        """Components to bands, (N, C, ...)."""
        out = np.empty_like(components)
        for date, entry in enumerate(entries):
            flat = components[date].reshape(components.shape[1], -1)
            out[date] = self._spectral.inverse(self._index(entry, level), flat).reshape(
                components.shape[1:]
            )
        return out

    def _index(self, entry: int, level: int) -> int:
        return int(entry) * (LEVELS + 1) + level

    def _choose(self, level: int, bands: Int32Array, noise: float) -> int:
        """Codebook entry of the lowest estimated cost for one date and level.

        A coefficient x costs log2(1 + x^2 / D), D the quantiser's noise: about twice its bits
        where it is large, and in proportion to the error of leaving it out where it is small.
        Single coefficients, because most bits are spent where few of them are large; the
        Gaussian rate of the level's variances would call such levels cheap.
        """
        flat = bands.reshape(bands.shape[0], -1)
        flat = flat[:, :: max(1, flat.shape[1] // self.samples)].astype(np.float64)  # (C, P)
        rows = self._spectral.rows[level :: LEVELS + 1]  # (E, C, C)
        energy = (rows @ flat) ** 2 / noise
        return int(np.argmin(np.log2(1 + energy).sum(axis=(1, 2))))


def _clip(planes: Int32Array) -> Int32Array:
    """Keep what a damaged stream may hold within the range of the lifting; part of the format."""
    return np.clip(planes, -PLANE_LIMIT, PLANE_LIMIT, out=planes)


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes of the planes that levels 0 to 4 split, and of the low-pass (last)."""
    sizes = [(height, width)]
    for _ in range(LEVELS):
        h, w = sizes[-1]
        sizes.append(((h + 1) // 2, (w + 1) // 2))
    return sizes


def subband_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes of the subbands of levels 0 to 4, and of the low-pass (last)."""
    sizes = level_sizes(height, width)
    return [*sizes[1:], sizes[-1]]

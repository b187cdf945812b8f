"""The transform one level at a time, as a coder with context needs it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.mini import klt, lifting
from tec_numcodecs.models.mini.contextnet import spectral_rows
from tec_numcodecs.models.mini.quantiser import COEFFICIENT_LIMIT, LEVELS, STEP_UNIT, steps
from tec_numcodecs.models.mini.signs import component_signs
from tec_numcodecs.models.mini.transform import LOW, PLANE_LIMIT, Codebook, Coefficients

Int32Array = NDArray[np.int32]

#: Coefficients of a component that are looked at to choose a codebook entry.
_SAMPLES = 4096


class LevelTransform:
    """Spectral transforms and lifting of one set of bands, level by level.

    Components have the sign of :mod:`.signs` here, not the transform's own.

    Parameters
    ----------
    codebook : Codebook
    bands : tuple of int
        Indices of the bands present, increasing.
    """

    def __init__(self, codebook: Codebook, bands: tuple[int, ...]) -> None:
        self.entries = codebook.entries
        chosen = codebook.covariances[:, :, bands][:, :, :, bands]
        n = len(bands)
        self._spectral = klt.derive(chosen.reshape(-1, n, n).astype(np.float64))
        rows = self._spectral.rows * _true_signs(self._spectral)[:, :, None]
        signs = component_signs(rows, codebook.sensor, bands)
        self.mean = np.array([round(codebook.sensor.mean[b]) for b in bands], np.int32)
        self.signs = signs.reshape(-1, LEVELS + 1, n).astype(np.int32)  # (E, 6, C)
        aligned = spectral_rows(rows * signs[:, :, None])
        self.rows = aligned.reshape(-1, LEVELS + 1, n, n)  # (E, 6, C, C) float64 whole numbers

    def forward(self, cubes: Int32Array, rate_index: int) -> Coefficients:
        """Transform dates and choose their codebook entries.

        Parameters
        ----------
        cubes : int32 array (N, C, H, W)
            Digital numbers.
        rate_index : int

        Returns
        -------
        Coefficients
            Signs of the common convention.
        """
        n, c = cubes.shape[:2]
        step = steps(rate_index)[:, 0] / STEP_UNIT
        entries = np.zeros((n, LEVELS + 1), np.uint8)
        detail = []
        planes = cubes - self.mean[:, None, None]
        for level in range(LEVELS):
            low, high = lifting.forward(planes.reshape(n * c, *planes.shape[2:]))
            planes = low.reshape(n, c, *low.shape[1:])
            bands = high.reshape(n, c, *high.shape[1:])  # (N, C, 3, h, w)
            entries[:, level] = [self._choose(level, date, step[level]) for date in bands]
            detail.append(self.to_components(bands, entries[:, level].astype(np.intp), level))
        entries[:, LOW] = [self._choose(LOW, date, step[LOW]) for date in planes]
        low = self.to_components(planes, entries[:, LOW].astype(np.intp), LOW)
        return Coefficients(low, tuple(detail), entries)

    def _choose(self, level: int, bands: Int32Array, step: float) -> int:
        """Codebook entry of the lowest estimated cost for one date and level.

        A coefficient x costs log2(1 + x^2 / D), D the quantiser's noise: about twice its bits
        where it is large, and where it is small in proportion to the error of leaving it out.
        Single coefficients, because most bits are spent where few of them are large; a Gaussian
        of the whole level's variance would call such levels cheap.
        """
        flat = bands.reshape(bands.shape[0], -1)
        flat = flat[:, :: max(1, flat.shape[1] // _SAMPLES)].astype(np.float64)  # (C, P)
        rows = self._spectral.rows[level :: LEVELS + 1]  # (E, C, C)
        energy = (rows @ flat) ** 2 * (12 / step**2)
        return int(np.argmin(np.log2(1 + energy).sum(axis=(1, 2))))

    def align(self, components: Int32Array, entries: NDArray[np.intp], level: int) -> Int32Array:
        """Change signs to or from the common convention: int32 (N, C, ...)."""
        signs = self.signs[entries, level]  # (N, C)
        return components * signs.reshape(*signs.shape, *([1] * (components.ndim - 2)))

    def to_bands(self, components: Int32Array, entries: NDArray[np.intp], level: int) -> Int32Array:
        """Components to bands: int32 (N, C, ...), signs of the common convention."""
        components = self.align(components, entries, level)
        out = np.empty_like(components)
        for date, entry in enumerate(entries):
            flat = np.ascontiguousarray(components[date].reshape(components.shape[1], -1))
            index = int(entry) * (LEVELS + 1) + level
            out[date] = self._spectral.inverse(index, flat).reshape(components.shape[1:])
        return np.clip(out, -PLANE_LIMIT, PLANE_LIMIT, out=out)

    def to_components(self, bands: Int32Array, entries: NDArray[np.intp], level: int) -> Int32Array:
        """Bands to components: int32 (N, C, ...), signs of the common convention."""
        out = np.empty_like(bands)
        for date, entry in enumerate(entries):
            flat = np.ascontiguousarray(bands[date].reshape(bands.shape[1], -1))
            index = int(entry) * (LEVELS + 1) + level
            out[date] = self._spectral.forward(index, flat).reshape(bands.shape[1:])
        return self.align(out, entries, level)


def _true_signs(spectral: klt.SpectralTransforms) -> NDArray[np.float64]:
    """Signs (K, n) that the lifting gives the components of its orthonormal rows.

    A factorisation into lifting steps has determinant one: where that of the rows is minus one,
    one component comes out negated. Transforming the rows themselves shows which.
    """
    signs = np.empty(spectral.rows.shape[:2])
    for index, rows in enumerate(spectral.rows):
        vectors = spectral_rows(rows).T.astype(np.int32)  # a row in each column
        diagonal = np.diagonal(spectral.forward(index, np.ascontiguousarray(vectors)))
        signs[index] = np.where(diagonal < 0, -1.0, 1.0)
    return signs


def merge_level(planes: Int32Array, bands: Int32Array, size: tuple[int, int]) -> Int32Array:
    """Undo one lifting level.

    Parameters
    ----------
    planes : int32 array (N, C, h, w)
        Low-pass.
    bands : int32 array (N, C, 3, h, w)
    size : (height, width)
        Of the planes to return.
    """
    n, c = planes.shape[:2]
    merged = lifting.inverse(
        planes.reshape(n * c, *planes.shape[2:]), bands.reshape(n * c, *bands.shape[2:]), *size
    )
    return np.clip(merged, -PLANE_LIMIT, PLANE_LIMIT, out=merged).reshape(n, c, *size)


def rescale(q: Int32Array, offset: Int32Array | None, step: NDArray[np.int64]) -> Int32Array:
    """Integers to coefficients.

    Parameters
    ----------
    q : int32 array
    offset : int32 array, optional
        Where the reconstruction lies in the interval, in 64ths of a step; ignored where the step
        is one.
    step : int64 array, broadcastable
        In sixteenths of a DN.

    Raises
    ------
    CorruptChunk
        If a coefficient is larger than the transform allows.
    """
    value = q.astype(np.int64) * 64
    if offset is not None:
        value += np.where(step == STEP_UNIT, 0, offset)
    value = (value * step + 512) >> 10
    peak = int(np.abs(value).max(initial=0))
    if peak > COEFFICIENT_LIMIT:
        raise CorruptChunk(f"a coefficient of {peak} DN", allowed=f"up to {COEFFICIENT_LIMIT}")
    return value.astype(np.int32)


__all__ = ["LOW", "LevelTransform", "merge_level", "rescale"]

"""The transform one level at a time, as a coder with context needs it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.mini.transform import dwt97, klt
from tec_numcodecs.models.mini.transform.quantizer import LEVELS
from tec_numcodecs.models.mini.transform.signs import component_signs
from tec_numcodecs.models.mini.transform.wavelet_klt import (
    PLANE_LIMIT,
    Codebook,
    Entries,
    Transform,
)

Int32Array = NDArray[np.int32]
#: Rows of spectral transforms are used in units of 2^-12.
SPECTRAL_BITS = 12


class LevelTransform(Transform):
    """The transform of one set of bands, with access to a single level of it.

    Components have the sign of `.signs` here, not the transform's own.
    """

    samples = 4096

    def __init__(self, codebook: Codebook, bands: tuple[int, ...]) -> None:
        super().__init__(codebook, bands)
        n = len(bands)
        rows = self._spectral.rows * _true_signs(self._spectral)[:, :, None]
        signs = component_signs(rows, codebook.sensor, bands)
        self.signs = signs.reshape(-1, LEVELS + 1, n).astype(np.int32)  # (E, 6, C)
        aligned = spectral_rows(rows * signs[:, :, None])
        self.rows = aligned.reshape(-1, LEVELS + 1, n, n)  # (E, 6, C, C) float64 whole numbers

    def align(self, components: Int32Array, entries: Entries, level: int) -> Int32Array:
        """Change signs to or from the common convention: int32 (N, C, ...)."""
        signs = self.signs[entries, level]  # (N, C)
        return components * signs.reshape(*signs.shape, *([1] * (components.ndim - 2)))

    def to_bands(self, components: Int32Array, entries: Entries, level: int) -> Int32Array:
        """Components to bands: int32 (N, C, ...), clipped."""
        out = super().to_bands(self.align(components, entries, level), entries, level)
        return np.clip(out, -PLANE_LIMIT, PLANE_LIMIT, out=out)

    def to_components(self, bands: Int32Array, entries: Entries, level: int) -> Int32Array:
        """Bands to components: int32 (N, C, ...)."""
        return self.align(super().to_components(bands, entries, level), entries, level)


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
    merged = dwt97.inverse(
        planes.reshape(n * c, *planes.shape[2:]), bands.reshape(n * c, *bands.shape[2:]), *size
    )
    return np.clip(merged, -PLANE_LIMIT, PLANE_LIMIT, out=merged).reshape(n, c, *size)


def spectral_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal rows as whole numbers in units of 2^-12."""
    return np.rint(rows * (1 << SPECTRAL_BITS))

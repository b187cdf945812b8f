"""Today's transform with a layout of bands, spectra of each date's own, and a grid of odd length.

A stand-in for `wavelet_klt.Transform` (and ``LevelTransform``) of the mini models that
the models use without knowing. Level 0 holds the components of the full-resolution bands only; the
places of the others are zeros that nothing codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, reduce

import numpy as np
from numpy.typing import NDArray

from benchmarks.levers import native
from benchmarks.levers.native import Layout
from tec_numcodecs.models.mini.transform import dwt97, klt
from tec_numcodecs.models.mini.transform.by_level import spectral_rows
from tec_numcodecs.models.mini.transform.signs import component_signs
from tec_numcodecs.models.mini.transform.wavelet_klt import (
    LEVELS,
    LOW,
    PLANE_LIMIT,
    Coefficients,
    level_sizes,
)
from tec_numcodecs.models.weights_lookup import ensure_local
from tec_numcodecs.sensors import Sensor
from tec_numcodecs.weights.local_store import resolve
from tec_numcodecs.weights.safetensors_io import load

Int32Array = NDArray[np.int32]
Float64Array = NDArray[np.float64]
#: Rows (n, n) of the levels 0 to 4 and of the low-pass.
Rows = list[Float64Array]


@cache
def arrays_of(model: str) -> dict[str, NDArray[np.generic]]:
    """Bundled weights of a mini model."""
    weights = resolve("mini", model)
    return dict(load(ensure_local(weights), weights.sha256))


@cache
def book_rows(sensor: Sensor, bands: tuple[int, ...]) -> Float64Array:
    """Orthonormal rows of the codebook for some bands, (entries, 6, n, n)."""
    book = np.asarray(arrays_of("fp")[f"codebook.{sensor.name}"], np.float64)
    book = book[:, :, bands][:, :, :, bands]
    n = len(bands)
    return klt.eigenvectors(book.reshape(-1, n, n)).reshape(book.shape)


def lift(rows: Float64Array) -> klt.SpectralTransforms:
    """Lifting steps of orthonormal rows (K, n, n), as ``klt.derive`` takes them."""
    # The factorization is not public: this is the patch of `.klt` that rotations need.
    make, tamer = (getattr(klt, name) for name in ("_lift", "_tamer"))
    transforms: klt.SpectralTransforms = reduce(
        tamer, (make(rows, last) for last in range(rows.shape[-1]))
    )
    return transforms


def true_signs(spectral: klt.SpectralTransforms) -> Float64Array:
    """Signs that the lifting gives its components, see ``levelwise``."""
    signs = np.empty(spectral.rows.shape[:2])
    for index, rows in enumerate(spectral.rows):
        vectors = np.ascontiguousarray(spectral_rows(rows).T.astype(np.int32))
        signs[index] = np.where(np.diagonal(spectral.forward(index, vectors)) < 0, -1.0, 1.0)
    return signs


@dataclass(frozen=True)
class Scene:
    """What is coded: one cube of digital numbers.

    Attributes
    ----------
    name : str
    data : int32 array (T, C, H, W)
    sensor : Sensor
    bands : tuple of int
        Indices in the sensor's bands, rising.
    """

    name: str
    data: Int32Array
    sensor: Sensor
    bands: tuple[int, ...]

    @property
    def mean(self) -> Int32Array:
        """The sensor's mean of each band."""
        return np.array([round(self.sensor.mean[b]) for b in self.bands], np.int32)

    def date(self, t: int) -> Scene:
        """One date."""
        return Scene(f"{self.name}_{t}", self.data[t : t + 1], self.sensor, self.bands)


def padded(x: Int32Array, height: int, width: int) -> Int32Array:
    """Repeat the last row and column: (..., H, W) to (..., height, width)."""
    pad = [(0, 0)] * (x.ndim - 2) + [(0, height - x.shape[-2]), (0, width - x.shape[-1])]
    return np.pad(x, pad, mode="edge")


def wavelet(scene: Scene, layout: Layout, *, unit: bool = False) -> list[Int32Array]:
    """Planes of all dates: levels 0 to 4 (T, n, 3, h, w), and the low-pass (T, C, h, w).

    ``n`` is the number of bands that a level has. ``unit`` gives late bands no gain.
    """
    x = padded(scene.data - scene.mean[:, None, None], *layout.grid)
    planes = np.ascontiguousarray(x[:, layout.present(0)])
    out = []
    for level in range(LEVELS):
        low, high = _split(planes)
        out.append(high)
        planes = np.empty((len(x), len(layout.present(level + 1)), *low.shape[2:]), np.int32)
        for i, k in enumerate(layout.present(level + 1)):
            band = layout.bands[k]
            if band.level == level + 1:
                own = scene.data[:, k] - scene.mean[k]
                planes[:, i] = native.late_plane(own, layout, band, unit=unit)
            else:
                planes[:, i] = low[:, layout.present(level).index(k)]
    return [*out, planes]


def _split(planes: Int32Array) -> tuple[Int32Array, Int32Array]:
    t, c = planes.shape[:2]
    if not c:
        half = [(n + 1) // 2 for n in planes.shape[2:]]
        return np.zeros((t, 0, *half), np.int32), np.zeros((t, 0, 3, *half), np.int32)
    low, high = dwt97.forward(planes.reshape(t * c, *planes.shape[2:]))
    return low.reshape(t, c, *low.shape[1:]), high.reshape(t, c, *high.shape[1:])


class LeverTransform:
    """Transform of one scene with one layout.

    Parameters
    ----------
    scene : Scene
    layout : Layout
    rows : list over dates of Rows
    aligned : bool
        Components have the signs of `transform.signs`, as `elic` wants them.
    unit : bool
        See `wavelet`.
    """

    def __init__(
        self, scene: Scene, layout: Layout, rows: Sequence[Rows], *, aligned: bool, unit: bool
    ) -> None:
        self.scene, self.layout, self.mean, self._unit = scene, layout, scene.mean, unit
        self.entries = len(rows)
        self._aligned = aligned
        c = len(scene.bands)
        every = [
            lift(np.stack([date[level] for date in rows])) if layout.present(level) else None
            for level in range(LOW + 1)
        ]
        self._spectral = every
        self.signs = np.ones((len(rows), LOW + 1, c), np.int32)
        self.rows = np.zeros((len(rows), LOW + 1, c, c))
        for level, spectral in enumerate(every):
            if spectral is not None:
                self._align(level, spectral)

    def _align(self, level: int, spectral: klt.SpectralTransforms) -> None:
        used = self.layout.present(level)
        if not self._aligned:
            return
        n = len(used)
        rows = spectral.rows * true_signs(spectral)[:, :, None]
        signs = component_signs(rows, self.scene.sensor, [self.scene.bands[k] for k in used])
        self.signs[:, level, :n] = signs
        self.rows[:, level, :n, used] = np.moveaxis(spectral_rows(rows * signs[:, :, None]), 2, 0)

    def forward(self, cubes: Int32Array, rate_index: int) -> Coefficients:
        """Transform the scene; the arguments are what it is made of already."""
        del cubes, rate_index
        found = wavelet(self.scene, self.layout, unit=self._unit)
        dates = np.arange(self.entries)
        entries = np.repeat(dates[:, None], LOW + 1, axis=1).astype(np.uint8)
        parts = [self.to_components(x, dates, level) for level, x in enumerate(found)]
        return Coefficients(parts[LOW], tuple(parts[:LOW]), entries)

    def inverse(self, coefficients: Coefficients, height: int, width: int) -> Int32Array:
        """Coefficients to pixels of the inner grid (T, C, height, width)."""
        sizes = level_sizes(height, width)
        planes = [self.to_bands(coefficients.low, coefficients.entries[:, LOW], LOW)]
        for level in reversed(range(LEVELS)):
            planes.insert(0, self._merged(planes[0], coefficients, level, sizes[level]))
        pixels = planes[0] + self.mean[:, None, None]
        self.place_late(pixels, planes[1:])
        return pixels

    def _merged(
        self, planes: Int32Array, found: Coefficients, level: int, size: tuple[int, int]
    ) -> Int32Array:
        high = self.to_bands(found.detail[level], found.entries[:, level], level)
        t, c = planes.shape[:2]
        flat = dwt97.inverse(
            planes.reshape(t * c, *planes.shape[2:]), high.reshape(t * c, *high.shape[2:]), *size
        )
        return np.clip(flat, -PLANE_LIMIT, PLANE_LIMIT).reshape(t, c, *size)

    def place_late(self, pixels: Int32Array, planes: Sequence[Int32Array]) -> None:
        """Write late bands into pixels (T, C, H', W') from the planes under levels 0, 1, ..."""
        height, width = self.layout.height, self.layout.width
        for k in self.layout.late:
            band = self.layout.bands[k]
            known = planes[band.level - 1][:, k]
            own = native.shown(known, self.layout, band, unit=self._unit)
            pixels[:, k, :height, :width] = own + self.mean[k]

    def to_components(
        self, bands: Int32Array, entries: NDArray[np.integer], level: int
    ) -> Int32Array:
        """Bands (T, n, ...) of a level to components (T, C, ...)."""
        used = self.layout.present(level)
        out = np.zeros((len(bands), len(self.scene.bands), *bands.shape[2:]), np.int32)
        if not used:
            return out
        for t, entry in enumerate(entries):
            flat = np.ascontiguousarray(bands[t].reshape(len(used), -1))
            y = self._spectral[level].forward(int(entry), flat)
            out[t, : len(used)] = y.reshape(len(used), *bands.shape[2:])
        return self.align(out, entries, level)

    def to_bands(
        self, components: Int32Array, entries: NDArray[np.integer], level: int
    ) -> Int32Array:
        """Components (T, C, ...) to all bands, zeros where a level does not have a band."""
        used = self.layout.present(level)
        out = np.zeros_like(components)
        if not used:
            return out
        signed = self.align(components, entries, level)
        for t, entry in enumerate(entries):
            flat = np.ascontiguousarray(signed[t, : len(used)].reshape(len(used), -1))
            x = self._spectral[level].inverse(int(entry), flat)
            out[t, used] = x.reshape(len(used), *components.shape[2:])
        return np.clip(out, -PLANE_LIMIT, PLANE_LIMIT, out=out)

    def align(self, components: Int32Array, entries: NDArray[np.integer], level: int) -> Int32Array:
        """Change signs to or from the common convention."""
        signs = self.signs[entries, level]
        return components * signs.reshape(*signs.shape, *([1] * (components.ndim - 2)))

"""The spectral transform of the C core, and what tests feed it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from spectra import Float64Array, Int32Array, Rotation
from tec_numcodecs.models.weights_lookup import ensure_local
from tec_numcodecs.native import native
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.weights.local_store import resolve
from tec_numcodecs.weights.safetensors_io import load

#: `tec_spectrum` of the core.
FIELDS = np.dtype(
    [
        ("n", np.uintp),
        ("rows", np.float64, 169),
        ("band", np.int32, 13),
        ("order", np.int32, 13),
        ("lifts", np.float64, 507),
        ("sign", np.int32, 13),
        ("whole", np.float64, 169),
    ],
    align=True,
)
SENSORS = {"l2a": 12, "l1c": 13}


def _core() -> ModuleType:
    module = native()
    if module is None:
        raise RuntimeError("the C extension was not built")
    return module


@dataclass(frozen=True)
class Spectrum:
    """What the core makes of some rows."""

    data: bytes

    @classmethod
    def of(cls, rows: Float64Array, wavelengths: list[int]) -> Spectrum:
        return cls(_core().spectrum_make(rows, np.array(wavelengths, np.int32)))

    def field(self, name: str, *shape: int) -> NDArray[np.generic]:
        found = np.frombuffer(self.data, FIELDS)[0][name]
        return found[: int(np.prod(shape))].reshape(shape)

    def forward(self, bands: Int32Array, *, aligned: bool = False) -> Int32Array:
        out = np.full_like(bands, -1)
        _core().spectrum_forward(self.data, bands, out, aligned)
        return out

    def inverse(self, components: Int32Array, *, aligned: bool = False) -> Int32Array:
        out = np.full_like(components, -1)
        _core().spectrum_inverse(self.data, components, out, aligned)
        return out


def eigenvectors(covariance: Float64Array) -> Float64Array:
    rows = np.empty_like(covariance)
    _core().spectrum_eigen(covariance, rows, len(rows))
    return rows


def draw_covariances(rng: np.random.Generator, n: int) -> Float64Array:
    """Of all kinds: strong correlation, equal eigenvalues, none."""
    factors = rng.standard_normal((6, n, n)) * 10.0 ** rng.uniform(-3, 3, (6, n, 1))
    out = factors.transpose(0, 2, 1) @ factors
    out[0] = np.eye(n)
    out[1] = 0
    out[2] = np.ones((n, n))
    out[3] += 1e12 * np.ones((n, n))
    return (out + out.transpose(0, 2, 1)) / 2


def draw_rotations(rng: np.random.Generator, n: int, count: int) -> list[Rotation]:
    out = []
    for _ in range(count if n > 1 else 0):
        q = int(rng.integers(1, n))
        out.append((q, int(rng.integers(q)), int(rng.integers(1, 13)), int(rng.choice([-1, 1]))))
    return out


@cache
def codebook(sensor: str) -> Float64Array:
    weights = resolve("mini", "fp")
    tensors = load(ensure_local(weights), weights.sha256)
    return np.asarray(tensors[f"codebook.sentinel-2-{sensor}"], np.float64)


def wavelengths_of(sensor: str, bands: list[int]) -> list[int]:
    every = get_sensor(f"sentinel-2-{sensor}").wavelengths
    return [round(every[b]) for b in bands]


def draw_samples(rng: np.random.Generator, n: int, count: int) -> Int32Array:
    return rng.integers(-(1 << 15), 1 << 15, (n, count)).astype(np.int32)

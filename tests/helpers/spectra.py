"""The spectral transform as FORMAT.md 9.1 and 10.1 describe it, in plain NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
Int32Array = NDArray[np.int32]
Rotation = tuple[int, int, int, int]  # q, p, j, sign

LIMIT = 1 << 21
MOVED_LIMIT = 1 << 26  # of values between the steps


def eigenvectors(covariance: Float64Array) -> Float64Array:
    """9.1, step 1: (n, n) to rows (n, n)."""
    a = covariance.copy()
    n = len(a)
    v = np.eye(n)
    for _ in range(10):
        for p in range(n):
            for q in range(p + 1, n):
                if a[p, q] == 0:
                    continue
                with np.errstate(over="ignore"):
                    tau = (a[q, q] - a[p, p]) / (2 * a[p, q])
                    t = (-1 if tau < 0 else 1) / (np.abs(tau) + np.sqrt(tau * tau + 1))
                c = 1 / np.sqrt(t * t + 1)
                for matrix in (a, a.T, v):  # rows, then columns
                    rotate(matrix, p, q, c, t * c)
    v = v[np.argsort(-np.diagonal(a), kind="stable")]
    peaks = v[np.arange(n), np.abs(v).argmax(1)]
    return np.where(peaks[:, None] < 0, -v, v)


def rotate(rows: Float64Array, p: int, q: int, c: float, s: float) -> None:
    """Turn two rows, from the old ones."""
    rows[p], rows[q] = c * rows[p] - s * rows[q], s * rows[p] + c * rows[q]


def turned(rows: Float64Array, rotations: Sequence[Rotation]) -> Float64Array:
    """9.1: rows (n, n) after a list of rotations."""
    out = rows.copy()
    for q, p, j, sign in rotations:
        t = 2.0**-j
        rotate(out, p, q, (1 - t * t) / (1 + t * t), sign * (2 * t / (1 + t * t)))
    return out


@dataclass(frozen=True)
class Lifting:
    """9.1, steps 2 and 3, of some rows.

    Attributes
    ----------
    bands : int array (n,)
        Of each row that enters.
    order : int array (n,)
        Row that each component leaves in.
    factors : float64 array (3, n, n)
        S, U and L, in units of 2^-14.
    """

    bands: NDArray[np.intp]
    order: NDArray[np.intp]
    factors: Float64Array

    @classmethod
    def of(cls, rows: Float64Array) -> Lifting:
        every = [cls.with_last(rows, last) for last in range(len(rows))]
        return min(every, key=lambda lifting: np.abs(lifting.factors).max())

    @classmethod
    def with_last(cls, rows: Float64Array, last: int) -> Lifting:
        """With one band in the last row."""
        n = len(rows)
        bands = np.arange(n)
        bands[[last, n - 1]] = bands[[n - 1, last]]
        m, components = rows[:, bands], np.arange(n)
        single, lower = np.zeros((2, n, n))
        for step in range(n - 1):
            u = m[step:, -1]
            shears = (m[step:, step] - 1) / np.where(np.abs(u) < 1e-9, 1e-9, u)
            k = step + int(np.abs(shears).argmin())
            single[-1, step] = shears[k - step]
            for x in (m, lower, components):
                x[[step, k]] = x[[k, step]]
            m[:, step] -= single[-1, step] * m[:, -1]
            for i in range(step + 1, n):
                lower[i, step] = m[i, step] / m[step, step]
                m[i] -= lower[i, step] * m[step]
        if m[-1, -1] < 0:
            lower[-1] *= -1
        factors = np.rint(np.stack([single, np.triu(m, 1), lower]) * 2**14)
        return cls(bands, np.argsort(components, kind="stable"), factors)

    def forward(self, samples: Int32Array) -> Int32Array:
        """Bands (n, P) to components (n, P)."""
        z = samples[self.bands].astype(np.float64)
        for which, i in self._steps():
            moved = z[i] + np.rint(self.factors[which, i] @ z / 2**14)
            z[i] = moved.clip(-MOVED_LIMIT, MOVED_LIMIT)
        return z[self.order].astype(np.int32)

    def inverse(self, components: Int32Array) -> Int32Array:
        """Components (n, P) to bands (n, P), clipped."""
        z = np.zeros(components.shape)
        z[self.order] = components
        for which, i in reversed(self._steps()):
            moved = z[i] - np.rint(self.factors[which, i] @ z / 2**14)
            z[i] = moved.clip(-MOVED_LIMIT, MOVED_LIMIT)
        out = np.empty(components.shape, np.int32)
        out[self.bands] = z.clip(-LIMIT, LIMIT)
        return out

    def _steps(self) -> list[tuple[int, int]]:
        n = len(self.bands)
        return [(0, n - 1), *((1, i) for i in range(n - 1)), *((2, i) for i in range(n - 1, 0, -1))]


def signs(rows: Float64Array, lifting: Lifting, wavelengths: Sequence[int]) -> Float64Array:
    """10.1: t_k and u_k, (2, n)."""
    own = np.diagonal(lifting.forward(np.rint(rows.T * 2**12).astype(np.int32)))
    truth = np.where(own < 0, -1.0, 1.0)
    slope = np.rint(truth[:, None] * rows * 2**20) @ np.array(wavelengths, np.float64)
    return np.stack([truth, np.where(slope < 0, -1.0, 1.0)])

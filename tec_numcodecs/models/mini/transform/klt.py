"""Spectral Karhunen-Loeve transform in reversible integer steps, the same on every machine.

A codebook holds covariance matrices of the bands, one per level of the wavelet and entry. For the
bands that a chunk has, the sub-covariances are diagonalised (cyclic Jacobi) and each orthonormal
matrix A is factored as ``P A = L U S`` into two unit triangular matrices and one single-row
matrix (Hao & Shi, "Matrix factorizations for reversible integer mapping", IEEE Trans. Signal
Process. 49(10), 2001). Each factor adds to a sample the rounded weighted sum of other samples, so
the inverse subtracts the same integers: the transform is exactly reversible whatever the
precision of its coefficients.

Everything up to the coefficients uses float64 additions, products, quotients and square roots,
one correctly rounded operation each, so all machines derive the same integers from the same
codebook; the transform itself sums integer products below 2^53 in float64, which is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs import native as _accel

Float64Array = NDArray[np.float64]
Int32Array = NDArray[np.int32]

#: Lifting coefficients are multiples of 2^-PRECISION.
PRECISION = 14
_SWEEPS = 10


@dataclass(frozen=True)
class SpectralTransforms:
    """A stack of K reversible spectral transforms over n bands.

    Attributes
    ----------
    bands : int32 array (K, n)
        Band ``bands[i, r]`` enters the lifting of transform i in row r.
    order : int32 array (K, n)
        Component k of transform i leaves the lifting in row ``order[i, k]``.
    lifts : int32 array (K, 3, n, n)
        Factors S, U, L in the order in which `forward` applies them, in units of
        2^-14, without their unit diagonals.
    rows : float64 array (K, n, n)
        The orthonormal matrices that the lifting approximates, one component a row. Where the
        determinant asks for it, the lifting gives one of the components with its sign changed.
    """

    bands: Int32Array
    order: Int32Array
    lifts: Int32Array
    rows: Float64Array

    @cached_property
    def _coefficients(self) -> Float64Array:
        return self.lifts / float(1 << PRECISION)

    def forward(self, index: int, samples: Int32Array) -> Int32Array:
        """Bands to components: int32 (n, P) -> int32 (n, P), largest variance first."""
        out = np.ascontiguousarray(samples[self.bands[index]], np.int32)
        native = _accel.native()
        if native is not None:
            native.klt_forward(out, self.lifts[index], *out.shape)
            return np.ascontiguousarray(out[self.order[index]])
        single, upper, lower = self._coefficients[index]
        x = out.astype(np.float64)  # (n, P)
        x[-1] += np.rint(single[-1, :-1] @ x[:-1])
        for i in range(len(x) - 1):
            x[i] += np.rint(upper[i, i + 1 :] @ x[i + 1 :])
        for i in range(len(x) - 1, 0, -1):
            x[i] += np.rint(lower[i, :i] @ x[:i])
        return x[self.order[index]].astype(np.int32)

    def inverse(self, index: int, components: Int32Array) -> Int32Array:
        """Undo `forward` exactly: int32 (n, P) -> int32 (n, P)."""
        rows = np.empty(components.shape, np.int32)
        rows[self.order[index]] = components
        samples = np.empty_like(rows)
        native = _accel.native()
        if native is not None:
            native.klt_inverse(rows, self.lifts[index], *rows.shape)
            samples[self.bands[index]] = rows
            return samples
        single, upper, lower = self._coefficients[index]
        x = rows.astype(np.float64)  # (n, P)
        for i in range(1, len(x)):
            x[i] -= np.rint(lower[i, :i] @ x[:i])
        for i in range(len(x) - 2, -1, -1):
            x[i] -= np.rint(upper[i, i + 1 :] @ x[i + 1 :])
        x[-1] -= np.rint(single[-1, :-1] @ x[:-1])
        samples[self.bands[index]] = x.astype(np.int32)
        return samples


def derive(covariances: Float64Array) -> SpectralTransforms:
    """Reversible KLTs of a stack of covariance matrices.

    Parameters
    ----------
    covariances : float64 array (K, n, n)
        Symmetric, positive semi-definite.

    Returns
    -------
    SpectralTransforms
    """
    rows = eigenvectors(np.asarray(covariances, np.float64))
    # Rounding errors grow with the coefficients, and those depend on which band the single-row
    # factor changes: try every band and keep the tamest factors.
    return reduce(_tamer, (_lift(rows, last) for last in range(rows.shape[-1])))


def _lift(rows: Float64Array, last: int) -> SpectralTransforms:
    """Lifting steps of orthonormal matrices (K, n, n) with band ``last`` in the last row."""
    bands = np.arange(rows.shape[-1])
    bands[[last, -1]] = bands[[-1, last]]
    permutation, lifts = _factor(rows[:, :, bands])
    order = np.argsort(permutation, axis=1, kind="stable")
    return SpectralTransforms(
        np.broadcast_to(bands, order.shape).astype(np.int32), order.astype(np.int32), lifts, rows
    )


def _tamer(a: SpectralTransforms, b: SpectralTransforms) -> SpectralTransforms:
    """Per transform, the one whose largest coefficient is smaller (the first on ties)."""
    peaks = (np.abs(x.lifts).max(axis=(1, 2, 3)) for x in (a, b))
    keep = np.less_equal(*peaks)
    return SpectralTransforms(
        np.where(keep[:, None], a.bands, b.bands),
        np.where(keep[:, None], a.order, b.order),
        np.where(keep[:, None, None, None], a.lifts, b.lifts),
        a.rows,
    )


def eigenvectors(covariances: Float64Array) -> Float64Array:
    """Orthonormal eigenvectors as rows, largest eigenvalue first; (K, n, n) -> (K, n, n).

    Cyclic Jacobi rotations (Golub & Van Loan, *Matrix Computations*, section 8.5) in a fixed
    order for a fixed number of sweeps. The entry of largest magnitude in each row is positive.
    """
    a = covariances.copy()
    n = a.shape[-1]
    v = np.broadcast_to(np.eye(n), a.shape).copy()
    for _ in range(_SWEEPS):
        for p in range(n - 1):
            for q in range(p + 1, n):
                c, s = _rotation(a[:, p, p], a[:, q, q], a[:, p, q])
                _rotate(a[:, p, :], a[:, q, :], c, s)  # rows
                _rotate(a[:, :, p], a[:, :, q], c, s)  # columns
                _rotate(v[:, p, :], v[:, q, :], c, s)
    values = np.diagonal(a, axis1=1, axis2=2)
    order = np.argsort(-values, axis=1, kind="stable")
    v = np.take_along_axis(v, order[:, :, None], axis=1)
    peak = np.take_along_axis(v, np.argmax(np.abs(v), axis=2)[:, :, None], axis=2)
    return np.where(peak < 0, -v, v)


def _rotation(
    app: Float64Array, aqq: Float64Array, apq: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Cosine and sine (K, 1) of the rotation that zeroes the off-diagonal entry ``apq`` (K,)."""
    still = apq == 0.0
    with np.errstate(over="ignore"):  # an overflowing tau is the limit t = 0
        tau = (aqq - app) / (2.0 * np.where(still, 1.0, apq))
        t = np.where(tau < 0, -1.0, 1.0) / (np.abs(tau) + np.sqrt(tau * tau + 1.0))
    t = np.where(still, 0.0, t)
    c = 1.0 / np.sqrt(t * t + 1.0)
    return c[:, None], (t * c)[:, None]


def _rotate(x: Float64Array, y: Float64Array, c: Float64Array, s: Float64Array) -> None:
    """Rotate the pair of rows in place: x, y of shape (K, n)."""
    old_x, old_y = x.copy(), y.copy()
    x[:] = c * old_x - s * old_y
    y[:] = s * old_x + c * old_y


def _factor(rows: Float64Array) -> tuple[Int32Array, Int32Array]:
    """Factor orthonormal matrices (K, n, n) into lifting steps.

    Returns
    -------
    permutation : int32 (K, n)
        Lifting row i holds component ``permutation[i]``.
    lifts : int32 (K, 3, n, n)
        S, U, L in units of 2^-14, zero diagonals.
    """
    m = rows.copy()
    k, n, _ = m.shape
    every = np.arange(k)
    permutation = np.broadcast_to(np.arange(n), (k, n)).copy()
    single = np.zeros_like(m)
    lower = np.zeros_like(m)
    for step in range(n - 1):
        last = m[:, step:, -1]  # (K, n - step)
        usable = np.where(np.abs(last) < 1e-9, 1e-9, last)
        shear = (m[:, step:, step] - 1.0) / usable
        pivot = np.argmin(np.abs(shear), axis=1)
        s = shear[every, pivot]
        for rowwise in (m, lower, permutation):
            _swap(rowwise, every, step, step + pivot)
        m[:, :, step] = m[:, :, step] - s[:, None] * m[:, :, -1]
        single[:, -1, step] = s
        factors = m[:, step + 1 :, step] / m[:, step, step][:, None]  # (K, n - step - 1)
        lower[:, step + 1 :, step] = factors
        m[:, step + 1 :, :] = m[:, step + 1 :, :] - factors[:, :, None] * m[:, step, :][:, None, :]
    # The last pivot is the determinant, +1 or -1; where it is -1 the component in that row
    # changes sign, which negates that row of L and leaves U unchanged.
    sign = np.where(m[:, -1, -1] < 0, -1.0, 1.0)
    lower[:, -1, :] = lower[:, -1, :] * sign[:, None]
    upper = np.triu(m, 1)
    stack = np.stack([single, upper, lower], axis=1)
    return permutation.astype(np.int32), np.rint(stack * (1 << PRECISION)).astype(np.int32)


def _swap(x: NDArray[np.generic], every: NDArray[np.intp], i: int, j: NDArray[np.intp]) -> None:
    """Swap rows ``i`` and ``j[k]`` of every matrix k in place; x of shape (K, n, ...)."""
    held = x[:, i].copy()
    x[:, i] = x[every, j]
    x[every, j] = held

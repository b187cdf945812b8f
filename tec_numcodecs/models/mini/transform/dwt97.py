"""Reversible 9/7 wavelet: integers in, integers out, the same on every machine.

The CDF 9/7 wavelet (Cohen, Daubechies & Feauveau 1992) factored into lifting steps (Daubechies &
Sweldens 1998, section 7.7), each step rounded to an integer, so that the inverse undoes it
exactly. The final scaling of the low and high parts is left out: it would not be reversible. It
is accounted for in the quantiser instead: multiplying a low-pass coefficient by ``GAIN`` and a
high-pass coefficient by ``1 / GAIN`` gives (nearly) the orthonormal transform.

One lifting step adds ``rint(c * (left + right))`` to a sample, where ``c`` is a multiple of 2^-12
and ``rint`` rounds ties to even. The product is a multiple of 2^-12 below 2^40, hence exact in
float64: neither FMA contraction nor vector width can change the result.

Signals are extended by whole-sample symmetry, as in JPEG 2000 (ISO/IEC 15444-1, annex F), so any
length from 1 on works; the low part gets the odd sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs import native as _accel

Int32Array = NDArray[np.int32]

#: Lifting coefficients alpha, beta, gamma, delta of the 9/7 wavelet, in units of 2^-12.
COEFFICIENTS = (-6497, -217, 3616, 1817)
_STEPS = tuple(c / 4096 for c in COEFFICIENTS)

#: Norm that one unscaled low-pass step lacks: sqrt(2) / 1.230174104914001.
GAIN = 1.149604398860241

#: Subbands of one level in coding order: high-pass in x, high-pass in y, high-pass in both.
ORIENTATIONS = ("HL", "LH", "HH")


def forward(planes: Int32Array) -> tuple[Int32Array, Int32Array]:
    """Split planes into a low-pass plane and three detail subbands, one level.

    Parameters
    ----------
    planes : int32 array (N, H, W)
        Samples below 2^24 in magnitude.

    Returns
    -------
    low : int32 array (N, ceil(H / 2), ceil(W / 2))
    detail : int32 array (N, 3, ceil(H / 2), ceil(W / 2))
        Orientations HL, LH, HH. Where H or W is odd the last row or column of a high-pass
        subband does not exist and is zero.
    """
    native = _accel.native()
    n, h, w = planes.shape
    low = np.empty((n, (h + 1) // 2, (w + 1) // 2), np.int32)
    detail = np.zeros((n, 3, *low.shape[1:]), np.int32)
    if native is not None:
        native.dwt97_forward(np.ascontiguousarray(planes, np.int32), low, detail, n, h, w)
        return low, detail
    left, right = _split(planes.astype(np.float64))  # (N, H, W/2) each
    low_t, lh = _split(left.swapaxes(1, 2))
    hl, hh = _split(right.swapaxes(1, 2))
    low[:] = low_t.swapaxes(1, 2)
    for k, band in enumerate((hl, lh, hh)):
        detail[:, k, : band.shape[2], : band.shape[1]] = band.swapaxes(1, 2)
    return low, detail


def inverse(low: Int32Array, detail: Int32Array, height: int, width: int) -> Int32Array:
    """Undo `forward` exactly.

    Parameters
    ----------
    low : int32 array (N, ceil(height / 2), ceil(width / 2))
    detail : int32 array (N, 3, ceil(height / 2), ceil(width / 2))
    height, width : int
        Size of the planes to return.

    Returns
    -------
    int32 array (N, height, width)
    """
    native = _accel.native()
    n = low.shape[0]
    planes = np.empty((n, height, width), np.int32)
    if native is not None:
        low, detail = np.ascontiguousarray(low), np.ascontiguousarray(detail)
        native.dwt97_inverse(low, detail, planes, n, height, width)
        return planes
    bands = [b.astype(np.float64) for b in (low, *detail.swapaxes(0, 1))]
    half_h, half_w = height // 2, width // 2
    ll, hl, lh, hh = (b.swapaxes(1, 2) for b in bands)  # (N, w, h)
    left = _merge(ll, lh[:, :, :half_h]).swapaxes(1, 2)
    right = _merge(hl[:, :half_w], hh[:, :half_w, :half_h]).swapaxes(1, 2)
    planes[:] = _merge(left, right)
    return planes


def _split(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lift along the last axis: (N, A, B) -> low (N, A, ceil B/2), high (N, A, floor B/2)."""
    low, high = x[..., 0::2].copy(), x[..., 1::2].copy()
    if high.shape[-1]:
        for k, c in enumerate(_STEPS):
            if k % 2 == 0:
                high += np.rint(c * _even_neighbours(low, high.shape[-1]))
            else:
                low += np.rint(c * _odd_neighbours(high, low.shape[-1]))
    return low, high


def _merge(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `_split`."""
    low, high = low.copy(), high.copy()
    if high.shape[-1]:
        for k, c in reversed(tuple(enumerate(_STEPS))):
            if k % 2 == 0:
                high -= np.rint(c * _even_neighbours(low, high.shape[-1]))
            else:
                low -= np.rint(c * _odd_neighbours(high, low.shape[-1]))
    x = np.empty((*low.shape[:-1], low.shape[-1] + high.shape[-1]))
    x[..., 0::2], x[..., 1::2] = low, high
    return x


def _even_neighbours(low: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Sum of the low samples left and right of each high sample; the last one mirrors."""
    right = np.concatenate([low[..., 1:], low[..., -1:]], axis=-1)
    total: NDArray[np.float64] = low[..., :count] + right[..., :count]
    return total


def _odd_neighbours(high: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Sum of the high samples left and right of each low sample; both ends mirror."""
    padded = np.concatenate([high[..., :1], high, high[..., -1:]], axis=-1)
    total: NDArray[np.float64] = padded[..., :count] + padded[..., 1 : count + 1]
    return total

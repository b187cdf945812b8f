"""A spectral Karhunen-Loeve transform for each wavelet level, fitted to the image.

Sentinel-2 bands have 10, 20 and 60 m pixels, so that bands correlate differently at each scale. One
KLT for the finest details, one for the next and one for all the rest respects this. The result goes
back through the inverse wavelet: planes that look like images, uncorrelated at every scale, for any
image codec. All planes share one scale, so one quantizer step for all of them is optimal.

The wavelet is the 9/7 of JPEG 2000 with nearly orthonormal scaling (Daubechies and Sweldens, 1998).
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVELS = 2
_LIFTING = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
_SCALING = 2**0.5 / 1.230174104914001
_UNIT = 32767.0  # matrices are stored as int16


def forward(image: NDArray[np.uint16], floor: float) -> tuple[Floats, bytes]:
    """Transform an image.

    Parameters
    ----------
    image : uint16 array (C, H, W)
        H and W multiples of 4.
    floor : float
        Components with no more variance than this are dropped: at the intended distortion they
        would get no bits (reverse water-filling).

    Returns
    -------
    float array (K, H, W), bytes
        Planes, K <= C, and what the inverse needs.
    """
    H, W = image.shape[1:]
    if H % 4 or W % 4:
        raise ValueError(f"image of {H} x {W} pixels; allowed: multiples of 4")
    means = np.rint(image.mean((1, 2))).astype("<u2")
    coefficients = _wavelet(image - means[:, None, None].astype(np.float64))
    planes = np.zeros_like(coefficients)
    side, widest = means.tobytes(), 1
    for group, where in enumerate(_groups(H, W)):
        values = coefficients[:, where]  # (C, n)
        variances, vectors = np.linalg.eigh(values @ values.T / values.shape[1])  # rising
        count = int((variances > floor).sum())
        if group == LEVELS:
            count = max(count, 1)
        rows = np.rint(vectors[:, ::-1][:, :count].T * _UNIT).astype("<i2")  # (count, C)
        planes[:count, where] = (rows / _UNIT) @ values
        side += struct.pack("<B", count) + rows.tobytes()
        widest = max(widest, count)
    return _inverse_wavelet(planes[:widest]), side


def inverse(planes: Floats, side: bytes, bands: int) -> Floats:
    """Undo :func:`forward`; (K, H, W) to (C, H, W)."""
    means, matrices = _parse(side, bands)
    coefficients = _wavelet(planes)
    result = np.zeros((bands, *planes.shape[1:]))
    for rows, where in zip(matrices, _groups(*planes.shape[1:]), strict=True):
        # The rows were rounded, so that their transpose is not quite the inverse.
        if len(rows):
            result[:, where] = np.linalg.pinv(rows) @ coefficients[: len(rows), where]
    return _inverse_wavelet(result) + means[:, None, None]


def side_length(data: bytes, bands: int) -> tuple[int, int]:
    """Length of the side information at the start of `data`, and the number of planes K."""
    position, widest = 2 * bands, 1
    for _ in range(LEVELS + 1):
        widest = max(widest, data[position])
        position += 1 + 2 * bands * data[position]
    return position, widest


def _parse(side: bytes, bands: int) -> tuple[Floats, list[Floats]]:
    means = np.frombuffer(side, "<u2", bands).astype(np.float64)
    position, matrices = 2 * bands, []
    for _ in range(LEVELS + 1):
        count = side[position]
        rows = np.frombuffer(side, "<i2", count * bands, position + 1).reshape(count, bands)
        matrices.append(rows / _UNIT)
        position += 1 + 2 * bands * count
    return means, matrices


def _groups(H: int, W: int) -> list[NDArray[np.bool_]]:
    """Where the coefficients of each level are, finest first; the last is all that is coarser."""
    level = np.full((H, W), 0)
    for i in range(1, LEVELS + 1):
        level[: H >> i, : W >> i] = i
    return [level == i for i in range(LEVELS + 1)]


def _wavelet(planes: Floats) -> Floats:
    """Wavelet coefficients with the coarse scales in the top-left corner; (K, H, W) both."""
    result = np.array(planes, np.float64)
    H, W = result.shape[1:]
    for i in range(LEVELS):
        part = result[:, : H >> i, : W >> i]
        part[:] = _split(_split(part).swapaxes(1, 2)).swapaxes(1, 2)
    return result


def _inverse_wavelet(coefficients: Floats) -> Floats:
    result = np.array(coefficients, np.float64)
    H, W = result.shape[1:]
    for i in reversed(range(LEVELS)):
        part = result[:, : H >> i, : W >> i]
        part[:] = _merge(_merge(part.swapaxes(1, 2)).swapaxes(1, 2))
    return result


def _split(x: Floats) -> Floats:
    """One level along the last axis: low-pass half, then high-pass half."""
    low, high = x[..., 0::2].copy(), x[..., 1::2].copy()
    for i, weight in enumerate(_LIFTING):
        _lift(low, high, weight, odd=i % 2 == 0)
    return np.concatenate([low * _SCALING, high / _SCALING], -1)


def _merge(x: Floats) -> Floats:
    half = x.shape[-1] // 2
    low, high = x[..., :half] / _SCALING, x[..., half:] * _SCALING
    for i, weight in reversed(list(enumerate(_LIFTING))):
        _lift(low, high, -weight, odd=i % 2 == 0)
    result = np.empty_like(x)
    result[..., 0::2], result[..., 1::2] = low, high
    return result


def _lift(low: Floats, high: Floats, weight: float, *, odd: bool) -> None:
    """Add to every odd (or even) sample its two neighbors, in place; mirrored at the ends."""
    if odd:
        high += weight * low
        high[..., :-1] += weight * low[..., 1:]
        high[..., -1] += weight * low[..., -1]
    else:
        low += weight * high
        low[..., 1:] += weight * high[..., :-1]
        low[..., 0] += weight * high[..., 0]

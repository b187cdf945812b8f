"""Rows of the context model's tables: which one a mean, a scale and a shape lead to.

A network gives three whole numbers a coefficient: the mean in sixteenths, log2 of the scale in
eighths, the shape 0 to 7. The mean's integer part is subtracted; what is left, scale and shape
name a row of frozen tables. Wide distributions need fewer means, and beyond a scale of 16 the low
bits of a symbol are stored raw, so that no row is longer than about a thousand intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.mini.context.scan import Index
from tec_numcodecs.native import native

Int16Array = NDArray[np.int16]
Int32Array = NDArray[np.int32]
Float32Array = NDArray[np.float32]

#: Eighths of an octave: the smallest and the largest log2 of a scale, and where raw bits begin.
SCALE_MIN, SCALE_MAX, SCALE_RAW = -36, 104, 32
SHAPES = 8
MEANS = 16

# Networks predict no more than this, in sixteenths of a step.
_MEAN_LIMIT = 15 * 16
# Sixteenths that share a row, log2, by octave of the scale: the first for all scales below 1.
_MERGED = {0: 1, 1: 2, 2: 3, 3: 4}


def _merged_bits(scale: int) -> int:
    return 0 if scale < 0 else _MERGED[scale // 8]


@dataclass(frozen=True)
class Row:
    """What a row stands for: log2 scale in eighths, shape, mean in sixteenths."""

    scale: int
    shape: int
    mean: float


def all_rows() -> list[Row]:
    """Every row in table order."""
    rows = []
    for scale in range(SCALE_MIN, SCALE_RAW):
        merged = _merged_bits(scale)
        for shape in range(SHAPES):
            first = range(-MEANS // 2, MEANS // 2, 1 << merged)
            rows += [Row(scale, shape, mean + ((1 << merged) - 1) / 2) for mean in first]
    return rows


def _first_rows() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """First row of each scale and how many bits of the mean it merges."""
    scales = range(SCALE_MIN, SCALE_RAW)
    merged = np.array([_merged_bits(scale) for scale in scales], np.int32)
    counts = SHAPES * (MEANS >> merged)
    return (np.cumsum(counts) - counts).astype(np.int32), merged


@dataclass(frozen=True)
class Choice:
    """Rows and what surrounds them, int32 arrays (P,).

    Attributes
    ----------
    row : int32 array
    base : int32 array
        Subtracted from a coefficient to give the symbol.
    raw : int32 array
        Low bits of the symbol that are stored raw.
    """

    row: Int32Array
    base: Int32Array
    raw: Int32Array


def shapes_of(
    out: Float32Array, features: Int16Array, own: Index, old: Int32Array | None
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """A network's outputs to means, scales and shapes.

    Parameters
    ----------
    out : float32 array (P, 3 or 4)
        In units of 1/512.
    features : int16 array (P, columns)
    own : int64 array (P,)
    old : int32 array (N, h, w), optional
        A reference's coefficients in eighths of a step, with a border.

    Returns
    -------
    mean, scale, shape : float32 arrays (P,)
        Means in sixteenths of a step, scales in eighths of an octave, shapes 0 to 7 before
        clipping; whole numbers.
    """
    c = native()
    if c is not None:
        mean, scale, shape = np.empty((3, len(own)), np.float32)
        c.context_shapes(mean, scale, shape, out, features, features.shape[1], own, old)
        return mean, scale, shape
    mean = np.clip(_rounded(out[:, 0], 5), -_MEAN_LIMIT, _MEAN_LIMIT)
    if old is not None:
        gain = np.clip(_rounded(out[:, 3], 3), -64, 64)  # in 64ths
        mean += _rounded(gain * old.ravel()[own].astype(np.float32), 5)
    scale = _rounded(out[:, 1], 6) + features[:, 0].astype(np.float32)
    shape = np.floor(out[:, 2] * np.float32(7 / 512) + np.float32(0.5))
    return mean, scale, shape


def choose(mean: Float32Array, scale: Float32Array, shape: Float32Array) -> Choice:
    """Choose rows.

    Parameters
    ----------
    mean, scale, shape : float32 arrays (P,) of whole numbers
        Mean in sixteenths, any size below 2^23; scale in eighths of an octave; shape. The last
        two are clipped here.
    """
    c = native()
    if c is not None:
        row, base, raw = np.empty((3, len(mean)), np.int32)
        c.context_choose(mean, scale, shape, PACKED, SCALE_MIN, row, base, raw)
        return Choice(row, base, raw)
    whole = np.floor((mean + MEANS / 2) * (1 / MEANS))
    part = (mean - whole * MEANS).astype(np.int32) + MEANS // 2  # 0 .. 15
    index = np.clip(scale, SCALE_MIN, SCALE_MAX).astype(np.intp) - SCALE_MIN
    packed = PACKED[index]
    merged = (packed >> 16) & 15
    place = np.clip(shape, 0, SHAPES - 1).astype(np.int32) * (MEANS >> merged)
    return Choice(
        (packed & 0xFFFF) + place + (part >> merged), whole.astype(np.int32), packed >> 20
    )


def _rounded(x: Float32Array, bits: int) -> Float32Array:
    """floor(x / 2^bits + 1/2)."""
    out: Float32Array = np.floor(x * np.float32(2.0**-bits) + np.float32(0.5))
    return out


def _pack() -> Int32Array:
    """First row, bits of the mean that it merges and raw bits, by scale."""
    first, merged = _first_rows()
    octave = np.arange(SCALE_MIN, SCALE_MAX + 1)
    raw = np.where(octave >= SCALE_RAW, (octave - SCALE_RAW) // 8 + 1, 0)
    reduced = octave - 8 * raw - SCALE_MIN
    return (first[reduced] | (merged[reduced] << 16) | (raw << 20)).astype(np.int32)


#: First row, bits of the mean that it merges and raw bits, by scale: as C takes them.
PACKED = _pack()

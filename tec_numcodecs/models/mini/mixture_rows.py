"""Rows of the context model's tables: which one a mean, a scale and a shape lead to.

A network gives three whole numbers a coefficient: the mean in sixteenths, log2 of the scale in
eighths, the shape 0 to 7. The mean's integer part is subtracted; what is left, scale and shape
name a row of frozen tables. Wide distributions need fewer means, and beyond a scale of 16 the low
bits of a symbol are stored raw, so that no row is longer than about a thousand intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Eighths of an octave: the smallest and the largest log2 of a scale, and where raw bits begin.
SCALE_MIN, SCALE_MAX, SCALE_RAW = -36, 104, 32
SHAPES = 8
MEANS = 16

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
    """Rows and what surrounds them, int32 tensors of one shape.

    Attributes
    ----------
    row : Tensor
    base : Tensor
        Subtracted from a coefficient to give the symbol.
    raw : Tensor
        Low bits of the symbol that are stored raw.
    """

    row: Tensor
    base: Tensor
    raw: Tensor


class RowChooser:
    """Turns network outputs into rows.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        first, merged = _first_rows()
        octave = np.arange(SCALE_MIN, SCALE_MAX + 1)
        raw = np.where(octave >= SCALE_RAW, (octave - SCALE_RAW) // 8 + 1, 0)
        reduced = octave - 8 * raw - SCALE_MIN
        packed = first[reduced] | (merged[reduced] << 16) | (raw << 20)
        self._table = torch.as_tensor(packed.astype(np.int32), device=device)

    def __call__(self, mean: Tensor, scale: Tensor, shape: Tensor) -> Choice:
        """Choose rows.

        Parameters
        ----------
        mean, scale, shape : float32 tensors of whole numbers
            Mean in sixteenths, any size below 2^23; scale in eighths of an octave; shape. The
            last two are clipped here.
        """
        whole = mean.add(MEANS / 2).mul_(1 / MEANS).floor_()
        part = (mean - whole * MEANS).add_(MEANS / 2).to(torch.int32)  # 0 .. 15
        index = scale.clamp(SCALE_MIN, SCALE_MAX).sub_(SCALE_MIN).to(torch.int64)
        packed = self._table[index]
        merged = (packed >> 16) & 15
        place = (
            shape.clamp(0, SHAPES - 1)
            .to(torch.int32)
            .mul_(torch.bitwise_right_shift(MEANS, merged))
        )
        row = (packed & 0xFFFF) + place + (part >> merged)
        raw = packed >> 20
        return Choice(row, whole.to(torch.int32), raw)

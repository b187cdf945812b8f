"""Planes in blocks of 8 x 8, cut off at the right and lower edges."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 8


def block_sum(x: NDArray[Any]) -> NDArray[Any]:
    """Sums over blocks of 8 x 8, cut off at the edges: (N, h, w) -> (N, ceil(h/8), ceil(w/8))."""
    _, h, w = x.shape
    n, rows, columns = block_shape(x.shape)
    if (h, w) != (rows * BLOCK, columns * BLOCK):
        x = _filled_up(x, rows * BLOCK, columns * BLOCK)
    kind = np.float64 if x.dtype.kind == "f" else np.int64
    # Rows first: the inner loop then runs along memory.
    strips = np.add.reduce(x.reshape(n, rows, BLOCK, columns * BLOCK), axis=2, dtype=kind)
    return np.asarray(strips.reshape(n, rows, columns, BLOCK).sum(axis=3))


def block_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Number of blocks of a plane: (N, h, w) -> (N, ceil(h / 8), ceil(w / 8))."""
    n, h, w = shape
    return n, -(-h // BLOCK), -(-w // BLOCK)


def sum_fours(x: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Sums over 2 x 2, 0 beyond the edges: (..., h, w) -> (..., height, width)."""
    even = _filled_up(x, 2 * height, 2 * width)
    fours = even.reshape(*x.shape[:-2], height, 2, width, 2)
    return np.asarray(fours.sum(axis=(-3, -1), dtype=x.dtype))


def spread_blocks(blocks: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """One value a block to one a sample: (N, H, W) -> (N, height, width)."""
    return blocks.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2)[:, :height, :width]


def _filled_up(x: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Zeros below and to the right: (..., h, w) -> (..., height, width)."""
    *leading, h, w = x.shape
    out = np.zeros((*leading, height, width), x.dtype)
    out[..., :h, :w] = x
    return out

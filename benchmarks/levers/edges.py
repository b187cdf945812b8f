"""Errors near the edges of a chunk, seams between chunks, and weights that an encoder can have."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.levers.native import Layout
from tec_numcodecs.models.mini.subbands import rdoq
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane
from tec_numcodecs.models.mini.transform import dwt97
from tec_numcodecs.models.mini.transform.wavelet_klt import LEVELS, LOW

Float64Array = NDArray[np.float64]
Int32Array = NDArray[np.int32]
#: Pixels of the outermost rows and columns count this much in an encoder's decisions, by distance.
EMPHASIS: tuple[float, ...] = (2.0, 1.5)


@cache
def norms(
    grid: int, seen: int, emphasis: tuple[float, ...] = EMPHASIS
) -> tuple[list[Float64Array], list[Float64Array]]:
    """Squared norms of the synthesis functions of one axis, over the pixels that are seen.

    Parameters
    ----------
    grid : int
        Length of the inner grid.
    seen : int
        Pixels of it that belong to the image.
    emphasis : tuple of float
        Weights of pixels by their distance from either end; 1 further in.

    Returns
    -------
    low, high : lists of float64 arrays
        Of the low-pass and high-pass samples under level 1, 2, ..., relative to the interior's.
    """
    pixel = np.zeros(grid)
    pixel[:seen] = 1
    for distance, weight in enumerate(emphasis):
        pixel[distance] *= weight
        pixel[seen - 1 - distance] *= weight
    sizes = [grid]
    for _ in range(LEVELS):
        sizes.append((sizes[-1] + 1) // 2)
    basis = np.eye(grid)  # column k: what sample k gives
    low, high = [], []
    for level in range(LEVELS):
        matrix = _synthesis(sizes[level])
        split = sizes[level + 1]
        both = basis @ matrix
        energy = (both**2 * pixel[:, None]).sum(0)
        low.append(_relative(energy[:split]))
        high.append(_relative(energy[split:]))
        basis = both[:, :split]
    return low, high


def _relative(energy: Float64Array) -> Float64Array:
    return energy / max(np.median(energy), 1e-12) if len(energy) else energy


@cache
def _synthesis(n: int) -> Float64Array:
    """One inverse step along an axis as a matrix: low samples, then high ones, to n samples."""
    half = (n + 1) // 2
    out = np.empty((n, n))
    scale = 1 << 12
    for k in range(n):
        x = np.zeros(n)
        x[k] = scale
        low, high = x[:half].copy(), x[half:].copy()
        for step, c in reversed(tuple(enumerate(dwt97.COEFFICIENTS))):
            if step % 2 == 0:
                right = np.append(low[1:], low[-1:])
                high -= c / 4096 * (low[: n - half] + right[: n - half])
            elif n > 1:
                around = np.concatenate([high[:1], high, high[-1:]])
                low -= c / 4096 * (around[:half] + around[1 : half + 1])
        out[0::2, k], out[1::2, k] = low / scale, high / scale
    return out


def plane_weights(layout: Layout, plane: Plane, emphasis: tuple[float, ...]) -> Float64Array:
    """Weights of the squared errors of a plane's coefficients, (h, w)."""
    level = min(plane.level, LOW - 1)
    (low_y, high_y), (low_x, high_x) = (
        norms(grid, seen, emphasis)
        for grid, seen in zip(layout.grid, (layout.height, layout.width), strict=True)
    )
    across = high_x[level] if plane.orientation in {0, 2} and plane.level != LOW else low_x[level]
    down = high_y[level] if plane.orientation in {1, 2} and plane.level != LOW else low_y[level]
    size = (len(low_y[level]), len(low_x[level]))
    out = np.ones(size)
    out[: len(down)] *= down[:, None]
    out[:, : len(across)] *= across
    return out


def weighted(layout: Layout, emphasis: tuple[float, ...] = EMPHASIS) -> AbstractContextManager[Any]:
    """Decisions with the weights of the synthesis, in place of today's two for the last row."""
    plane_of, points_of = rdoq.Decider.plane, getattr(rdoq, "_points")  # noqa: B009
    current: list[Plane] = []

    def noted(
        self: rdoq.Decider, plane: Plane, values: Int32Array, scale: Int32Array, before: int
    ) -> tuple[Int32Array, int]:
        current[:] = [plane]
        return plane_of(self, plane, values, scale, before)

    def points(values: Int32Array, scale: Int32Array, step: int) -> Any:
        found = points_of(values, scale, step)
        _, height, width = values.shape
        y, x = np.divmod(found.at % (height * width), width)
        weight = plane_weights(layout, current[0], emphasis)[y, x]
        return type(found)(
            found.at, found.block, found.value, found.scale, weight.astype(np.float32)
        )

    return _Both(
        mock.patch.object(rdoq.Decider, "plane", noted),
        mock.patch.object(rdoq, "_points", points),
    )


class _Both(AbstractContextManager[None]):
    """Two context managers in one."""

    def __init__(self, first: Any, second: Any) -> None:
        self._parts = (first, second)

    def __enter__(self) -> None:
        for part in self._parts:
            part.__enter__()

    def __exit__(self, *error: object) -> None:
        for part in self._parts:
            part.__exit__(*error)


def profile(error: Float64Array, reach: int = 8) -> dict[str, list[float]]:
    """Root mean square errors by distance from each side, relative to the interior's.

    Parameters
    ----------
    error : float64 array (..., H, W)
    reach : int
        Distances looked at.
    """
    square = error**2
    inner = square[..., 32:-32, 32:-32].mean()
    sides = {
        "top": square.swapaxes(-1, -2)[..., :reach],
        "left": square[..., :reach],
        "bottom": square.swapaxes(-1, -2)[..., : -reach - 1 : -1],
        "right": square[..., : -reach - 1 : -1],
    }
    return {
        name: np.sqrt(part.reshape(-1, reach).mean(0) / inner).tolist()
        for name, part in sides.items()
    }


def seam_ratio(
    original: Float64Array, decoded: Float64Array, at: Sequence[int]
) -> dict[str, float]:
    """Mean absolute steps across seams and in the interior, relative to the original's.

    Parameters
    ----------
    original, decoded : float64 arrays (..., H, W)
        A mosaic; seams lie before these rows and columns.
    """
    out = {}
    steps = {}
    for name, image in (("original", original), ("decoded", decoded)):
        across = np.abs(np.diff(image, axis=-1))
        down = np.abs(np.diff(image, axis=-2)).swapaxes(-1, -2)
        seam = [n - 1 for n in at]
        inner = [k for k in range(across.shape[-1]) if min(abs(k - s) for s in seam) > 16]
        steps[name] = (
            np.mean([across[..., seam].mean(), down[..., seam].mean()]),
            np.mean([across[..., inner].mean(), down[..., inner].mean()]),
        )
    out["seam"] = float(steps["decoded"][0] / steps["original"][0])
    out["interior"] = float(steps["decoded"][1] / steps["original"][1])
    return out

"""60 m bands as blocks of 3 x 3 samples at the level where they enter, one agreed sample each.

The decoder shows the sample in the middle of a block (the nearest one inside, where the edge cuts
it); what lies between is the encoder's, which interpolates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.levers import native
from benchmarks.levers.native import Layout, Native

Int32Array = NDArray[np.int32]


def _places(samples: int, phase: int) -> NDArray[np.intp]:
    """Agreed samples along one axis of this many samples at the level of entry."""
    blocks = (samples - 1 + phase) // 3 + 1
    return np.clip(3 * np.arange(blocks) - phase + 1, 0, samples - 1)


def _axes(band: Native, layout: Layout) -> list[tuple[int, int]]:
    """Samples at level 1, and the phase of blocks of three among them, along both axes."""
    sizes = (layout.height, layout.width)
    out = []
    for n, phase in zip(sizes, band.phase, strict=True):
        parity = phase % 2
        out.append(((n - 1 + parity) // 2 + 1, (phase - parity) // 2))
    return out


def interpolated(x: Int32Array, band: Native, layout: Layout) -> Int32Array:
    """Smooth plane (T, h, w) at level 1 through the native samples of a band (T, H, W)."""
    known = native.reduced(x, band).astype(np.float64)
    for axis, (n, phase) in enumerate(_axes(band, layout), start=1):
        known = _cubic(known, _places(n, phase), n, axis)
    return np.rint(known).astype(np.int32)


def _cubic(x: NDArray[np.float64], at: NDArray[np.intp], n: int, axis: int) -> NDArray[np.float64]:
    """Cubic spline through samples at some places, evaluated at all n."""
    from scipy.interpolate import CubicSpline

    if len(at) == 1:
        return np.repeat(x, n, axis=axis)
    inside = np.clip(np.arange(n), at[0], at[-1])
    return np.asarray(CubicSpline(at, x, axis=axis, bc_type="natural")(inside))


def agreed(plane: Int32Array, band: Native, layout: Layout) -> tuple[Int32Array, Native]:
    """Native samples of a decoded plane at level 1, and how to replicate them."""
    (down, p), (across, q) = _axes(band, layout)
    rows, columns = _places(down, p), _places(across, q)
    return np.ascontiguousarray(plane[:, rows][:, :, columns]), band

"""What masked pixels look like to a model: a smooth continuation that costs few bits.

The decoder puts nodata or NaN back in their place, so any values will do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SMOOTHINGS = 2


def fill_masked(planes: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Fill masked pixels from a pyramid of averages of the valid ones (pull-push).

    Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4.

    Parameters
    ----------
    planes : int32 array (..., H, W)
    mask : bool array of the same shape
        True where a pixel is to be filled.

    Returns
    -------
    int32 array
        Valid pixels are unchanged. A plane without any valid pixel is zero.
    """
    if not mask.any():
        return planes
    valid = (~mask).astype(np.float64)
    filled = _pull_push(np.where(mask, 0, planes).astype(np.float64), valid)
    return np.where(mask, np.rint(filled).astype(np.int32), planes)


def _pull_push(total: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Averages of the finest level that has any: total and weight (..., H, W)."""
    own = total / np.maximum(weight, 1e-300)
    if total.shape[-2:] == (1, 1):
        return np.where(weight > 0, own, 0.0)
    coarse = _pull_push(_halve(total), _halve(weight))
    h, w = total.shape[-2:]
    filled = np.where(weight > 0, own, coarse.repeat(2, axis=-2).repeat(2, axis=-1)[..., :h, :w])
    for _ in range(_SMOOTHINGS):  # what was repeated has steps, and steps cost bits
        filled = np.where(weight > 0, own, _binomial(_binomial(filled, -1), -2))
    return filled


def _binomial(x: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Average with weights 1, 2, 1 along an axis; ends repeat."""
    n = x.shape[axis]
    left = np.take(x, np.maximum(np.arange(n) - 1, 0), axis)
    right = np.take(x, np.minimum(np.arange(n) + 1, n - 1), axis)
    return (left + 2 * x + right) / 4


def _halve(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over 2 x 2 pixels; the last row or column of an odd size stands alone."""
    pad = [(0, 0)] * (x.ndim - 2) + [(0, n % 2) for n in x.shape[-2:]]
    even = np.pad(x, pad)
    rows = even[..., 0::2, :] + even[..., 1::2, :]
    return np.asarray(rows[..., 0::2] + rows[..., 1::2])

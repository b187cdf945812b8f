"""What is held out to cross-validate: pieces of the shape of the clouds that are really there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_xarray.gapfill.series import Mask

_SHARE = 0.05, 0.6  # of the points that a fold may hold out
_TURNS = ((1, 1), (1, 0), (0, 1), (1, 2), (2, 1))  # halves and quarters of a window to move clouds


def folds(clear: Mask, date: int, pixels: NDArray[np.intp]) -> list[Mask]:
    """Return two sets of points to hold out.

    Single pixels would be easy: their neighbors show them. So the gaps of the date are moved to
    where it is clear, or, where nothing fits, a coarse checkerboard is laid over it.

    Parameters
    ----------
    clear : bool array, shape (T, H, W)
    date : int
    pixels : int array, shape (n,)
        Flat positions of points, clear on that date.

    Returns
    -------
    list of two bool arrays, shape (n,)
        Neither empty nor everything.
    """
    hidden = ~clear[date]
    H, W = hidden.shape
    found = []
    for down, across in _TURNS:
        moved = np.roll(hidden, (down * H // 2 - down // 2 * H // 4, across * W // 2), (0, 1))
        fold = moved.ravel()[pixels]
        if _SHARE[0] <= fold.mean() <= _SHARE[1]:
            found.append(fold)
        if len(found) == 2:
            return found
    rows, columns = pixels // W, pixels % W
    down, across = (np.searchsorted(np.quantile(a, (0.25, 0.5, 0.75)), a) for a in (rows, columns))
    odd = (down + across) % 2 == 1
    return (
        [odd, ~odd] if 0 < odd.sum() < len(odd) else [np.arange(len(odd)) % 2 == k for k in (0, 1)]
    )

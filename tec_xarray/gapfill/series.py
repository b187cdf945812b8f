"""What engines get and give: a window of a series of images, and an estimate of one date."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Series:
    """A window of a cube.

    Attributes
    ----------
    values : array, shape (T, C, H, W)
        As stored, in any unit; dates in their order.
    clear : bool array, shape (T, H, W)
        Which pixels show the ground, in all bands. Others are never looked at.
    days : float64 array, shape (T,)
        When, in days since any date.
    """

    values: NDArray[Any]
    clear: Mask
    days: NDArray[np.float64]

    @property
    def bands(self) -> int:
        """How many bands there are."""
        return self.values.shape[1]

    def at(self, date: int, pixels: NDArray[np.intp]) -> Floats:
        """Return the values of one date at flat positions: (C, n)."""
        flat = self.values[date].reshape(self.bands, -1)
        return flat[:, pixels].astype(np.float32)


@dataclass(frozen=True)
class Estimate:
    """What was estimated of one date at n pixels; NaN where nothing could be said.

    Attributes
    ----------
    values : float32 array, shape (C, n)
    error : float32 array, shape (C, n)
        Half of the width of the interval that holds the truth in nine of ten cases.
    """

    values: Floats
    error: Floats


class Engine(Protocol):
    """A way to estimate hidden pixels of a window."""

    def estimate(self, date: int, pixels: NDArray[np.intp]) -> Estimate:
        """Estimate one date at flat positions (n,) of the window, which are hidden there."""

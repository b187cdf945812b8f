"""The planes of a level while it is coded, and what lies under and above them.

Coefficients carry the signs of `.signs` here.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.mini.context.features import (
    Companding,
    Known,
    add_own,
    bordered,
    plane_features,
)
from tec_numcodecs.models.mini.context.references import Reference
from tec_numcodecs.models.mini.context.scan import Index, Places

Int16Array = NDArray[np.int16]
Int32Array = NDArray[np.int32]

#: The image under a level is seen in eighths of a step.
LOW_UNITS = 8
_ORIENTATIONS = 3


class Surroundings:
    """The planes of one level and what lies under and above them.

    Parameters
    ----------
    companding : Companding
    low : int32 array (N, C, h, w)
        The decoded image under the level in the level's components, in eighths of a step.
    parent : Surroundings, optional
        The next coarser level, coded completely.
    reference : Reference, optional
        What another date, or a pass before, holds at this level.

    Attributes
    ----------
    q, magnitude : int32 arrays (C, 3, N, h + 2, w + 2)
        Coefficients and their magnitudes, zero where nothing is coded yet.
    """

    def __init__(
        self,
        companding: Companding,
        low: Int32Array,
        parent: Surroundings | None,
        reference: Reference | None = None,
    ) -> None:
        n, components, h, w = low.shape
        self._companding, self._parent, self._reference = companding, parent, reference
        self._low = bordered(low.swapaxes(0, 1), mode="edge")
        self.q = np.zeros((components, _ORIENTATIONS, n, h + 2, w + 2), np.int32)
        self.magnitude = np.zeros_like(self.q)
        self._before = np.zeros((_ORIENTATIONS, n, h + 2, w + 2), np.int32)
        self._summed = 0  # components that are in it

    def plane_features(
        self,
        component: int,
        orientation: int,
        places: Places,
        scale: Int32Array,
        shift: int,
        flags: NDArray[np.bool_],
    ) -> Int16Array:
        """Features that do not change while a plane is coded; see `.plane_features`."""
        known = self._known(component, orientation)
        return plane_features(self._companding, known, places, scale, shift, flags)

    def add_own(self, features: Int16Array, component: int, orientation: int, own: Index) -> None:
        """Fill in features (P, columns) from the plane itself as far as it is coded."""
        q, magnitude = self.q[component, orientation], self.magnitude[component, orientation]
        add_own(self._companding, features, own, q, magnitude)

    def clear(self, component: int, orientation: int) -> None:
        """Forget a plane that is to be coded again."""
        self.q[component, orientation] = 0
        self.magnitude[component, orientation] = 0

    def set(self, component: int, orientation: int, own: Index, q: Int32Array) -> None:
        """Record coefficients (P,) at their places."""
        self.q[component, orientation].ravel()[own] = q
        self.magnitude[component, orientation].ravel()[own] = np.abs(q)

    def plane(self, component: int, orientation: int) -> Int32Array:
        """The coefficients of a plane, int32 (N, h, w)."""
        return self.q[component, orientation, :, 1:-1, 1:-1]

    def _known(self, k: int, o: int) -> Known:
        q, magnitude = self.q, self.magnitude
        before = self._sums(k)
        here = (
            *(magnitude[k, other] if other < o else None for other in (0, 1)),
            *(planes[k - 1, o] if k >= 1 else None for planes in (magnitude, q)),
            *(planes[k - 2, o] if k >= 2 else None for planes in (magnitude, q)),
            q[k - 3, o] if k >= 3 else None,
            *(before[other] if k else None for other in range(_ORIENTATIONS)),
            self._low[k],
        )
        above = self._parent.above(k, o) if self._parent else None
        if self._reference is None:
            return Known(here, above, None, of_pass=False)
        return Known(here, above, self._reference.planes(k, o), self._reference.of_pass)

    def above(self, k: int, o: int) -> tuple[Int32Array, ...]:
        """Planes of the next finer level's `.features.Known`."""
        return self.magnitude[k, o], self.q[k, o], self._complete[o], self._total

    def _sums(self, component: int) -> Int32Array:
        """Magnitudes summed over the components before one, (3, N, h + 2, w + 2)."""
        while self._summed < component:
            self._before += self.magnitude[self._summed]
            self._summed += 1
        return self._before

    @cached_property
    def _complete(self) -> Int32Array:
        """Sums over all components, of a level that is coded completely."""
        return self._sums(len(self.magnitude))

    @cached_property
    def _total(self) -> Int32Array:
        """Sums over all components and orientations, of a level that is coded completely."""
        return self._complete.sum(axis=0, dtype=np.int32)

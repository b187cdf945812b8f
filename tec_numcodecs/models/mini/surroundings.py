"""What surrounds a coefficient, as small integers: the input of the context model's networks.

While a level is coded its planes lie here with a border of one, so that a neighbour is a constant
offset away. Every feature is an integer function of integers that are decoded by then: magnitudes
of the same place and its neighbours in planes that came before, signed values where signs go
together, differences of the decoded image under the level. All are companded by frozen tables to
-127 ... 127, in sixteenths.

Coefficients carry the signs of :mod:`.signs` here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.blocks import BLOCK
from tec_numcodecs.models.mini.prior import SCALE_LIMIT

Int32Array = NDArray[np.int32]
Index = NDArray[np.intp]

#: Features of a coefficient that are known before its plane, after its neighbours in the plane,
#: and from a reference date.
PLANE_FEATURES, OWN_FEATURES, REFERENCE_FEATURES = 46, 5, 7
#: Expected magnitudes enter in eighths of an octave, from 2^-8 steps on.
SCALE_EIGHTHS = 144
SCALE_OFFSET = -64
#: The image under a level is seen in eighths of a step.
LOW_UNITS = 8
_ORIENTATIONS = 3


class Companding:
    """Integers to features by frozen tables.

    Parameters
    ----------
    arrays : mapping
        ``features.integers``, ``features.eighths``: int8, the features of 0, 1, 2, ...; larger
        numbers have the last one's. ``features.scales``: int32, the smallest expected magnitude of
        every eighth of an octave but the first.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        self._integers = np.asarray(arrays["features.integers"], np.float32)
        self._eighths = np.asarray(arrays["features.eighths"], np.float32)
        edges = np.asarray(arrays["features.scales"], np.int64)
        bins = np.searchsorted(edges, np.arange(SCALE_LIMIT), side="right")
        self._scales = (bins + SCALE_OFFSET).astype(np.float32)

    def integers(self, x: NDArray[np.integer]) -> NDArray[np.float32]:
        """Features of magnitudes."""
        return self._integers[np.minimum(x, len(self._integers) - 1)]

    def signed(self, x: Int32Array) -> NDArray[np.float32]:
        """Features of signed integers."""
        return np.copysign(self.integers(np.abs(x)), x)

    def eighths(self, x: Int32Array) -> NDArray[np.float32]:
        """Features of differences in eighths of a step, by magnitude."""
        return self._eighths[np.minimum(x, len(self._eighths) - 1)]

    def scales(self, scale: NDArray[np.integer]) -> NDArray[np.float32]:
        """Eighths of an octave of expected magnitudes, relative to one step."""
        return self._scales[scale]


@dataclass(frozen=True)
class Places:
    """Coefficients of a plane that are coded, phase by phase.

    Attributes
    ----------
    flat : intp array (P,)
        Places in the flat plane (N, h, w).
    own : intp array (P,)
        Places in the flat plane with a border.
    parent, down, across : intp arrays (P,)
        The coefficient above in the coarser level, with a border, and its nearest neighbours.
    block : intp array (P,)
        Places of their blocks among the flags, with a border.
    phases : list of slices
        Four, whose rows and columns are even and even, odd and odd, even and odd, odd and even.
    """

    flat: Index
    own: Index
    parent: Index
    down: Index
    across: Index
    block: Index
    phases: list[slice]

    @classmethod
    def of(cls, coded: NDArray[np.bool_]) -> Places:
        """Places where ``coded`` (N, h, w) is set."""
        _, h, w = coded.shape
        flat = np.flatnonzero(coded)
        rows, x = np.divmod(flat, w)
        date, y = np.divmod(rows, h)
        phase = _PHASE[(y & 1) * 2 + (x & 1)]
        order = np.argsort(phase, kind="stable")
        flat, date, y, x = flat[order], date[order], y[order], x[order]
        ends = np.cumsum(np.bincount(phase, minlength=4)).tolist()
        up, wide = (h + 1) // 2 + 2, (w + 1) // 2 + 2
        down, across = -(-h // BLOCK) + 2, -(-w // BLOCK) + 2
        parent = (date * up + (y >> 1) + 1) * wide + (x >> 1) + 1
        return cls(
            flat,
            (date * (h + 2) + y + 1) * (w + 2) + x + 1,
            parent,
            parent + np.where(y & 1, wide, -wide),
            parent + np.where(x & 1, 1, -1),
            (date * down + y // BLOCK + 1) * across + x // BLOCK + 1,
            [slice(a, b) for a, b in zip([0, *ends[:3]], ends, strict=True)],
        )


_PHASE = np.array([0, 2, 3, 1], np.int8)  # of (even, even), (even, odd), (odd, even), (odd, odd)


class Referred(Protocol):
    """What is known of a level from elsewhere; see :mod:`.references`."""

    def features(self, k: int, o: int, own: Index) -> list[NDArray[np.float32]]:
        """REFERENCE_FEATURES arrays (P,)."""


class Surroundings:
    """The planes of one level and what lies under and above them.

    Parameters
    ----------
    companding : Companding
    low : int32 array (N, C, h, w)
        The decoded image under the level in the level's components, in eighths of a step.
    parent : Surroundings, optional
        The next coarser level, coded completely.
    reference : Referred, optional
        What another date, or a pass before, holds at this level.

    Attributes
    ----------
    q, magnitude : int32 arrays (C, 3, N, h + 2, w + 2)
        Coefficients and their magnitudes, zero where nothing is coded yet.
    width : int
        Of a row with its border.
    """

    def __init__(
        self,
        companding: Companding,
        low: Int32Array,
        parent: Surroundings | None,
        reference: Referred | None = None,
    ) -> None:
        n, components, h, w = low.shape
        self._companding, self._parent, self._reference = companding, parent, reference
        self._low = np.pad(low.swapaxes(0, 1), BORDER, mode="edge")
        self.q = np.zeros((components, _ORIENTATIONS, n, h + 2, w + 2), np.int32)
        self.magnitude = np.zeros_like(self.q)
        self._before = np.zeros((_ORIENTATIONS, n, h + 2, w + 2), np.int32)
        self._summed = 0  # components that are in it
        self.width = w + 2

    def plane_features(
        self,
        component: int,
        orientation: int,
        places: Places,
        scale: Int32Array,
        shift: int,
        flags: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Features that do not change while a plane is coded.

        Parameters
        ----------
        component, orientation : int
        places : Places
        scale : int32 array (P,)
            Expected magnitudes after the shift.
        shift : int
            Of the plane, in quarter-octaves.
        flags : bool array (N, blocks down, blocks across)

        Returns
        -------
        float32 array (P, PLANE_FEATURES [+ REFERENCE_FEATURES])
            Whole numbers.
        """
        k, o = component, orientation
        before = self._sums(k)
        magnitude, signed = self._companding.integers, self._companding.signed
        count = PLANE_FEATURES + (REFERENCE_FEATURES if self._reference else 0)
        out = _Columns(len(places.own), count)
        out.add(self._companding.scales(scale))
        out.add(4.0 * shift)
        for other in (0, 1):
            out.extend(magnitude, self._around(self.magnitude, (k, other), places, other < o))
        for other in (k - 1, k - 2):
            out.extend(magnitude, self._around(self.magnitude, (other, o), places, other >= 0))
            out.add(signed(self.q[other, o].ravel()[places.own]) if other >= 0 else 0.0)
        out.add(signed(self.q[k - 3, o].ravel()[places.own]) if k >= 3 else 0.0)
        for other in range(_ORIENTATIONS):
            out.extend(magnitude, self._around(before, (other,), places, k > 0))
        self._add_parent(out, k, o, places)
        self._add_low(out, k, places.own)
        blocks = np.pad(flags.astype(np.int32), ((0, 0), (1, 1), (1, 1)))
        direct, _ = neighbours(blocks.ravel(), places.block, blocks.shape[-1])
        out.add(16.0 * (direct - 2))
        if self._reference:
            out.extend(None, self._reference.features(k, o, places.own))
        return out.finish()

    def own_features(self, component: int, orientation: int, own: Index) -> NDArray[np.float32]:
        """Features from the plane itself as far as it is coded: (P, OWN_FEATURES)."""
        width = self.width
        q = self.q[component, orientation].ravel()
        m = self.magnitude[component, orientation].ravel()
        beside, above = own + 1, own + width
        left, upper = own - 1, own - width
        _, diagonal = neighbours(m, own, width, direct=False)
        out = _Columns(len(own), OWN_FEATURES)
        out.add(self._companding.integers(m[left] + m[beside]))
        out.add(self._companding.integers(m[upper] + m[above]))
        out.add(self._companding.integers(diagonal))
        out.add(self._companding.signed(q[left] + q[beside]))
        out.add(self._companding.signed(q[upper] + q[above]))
        return out.finish()

    def clear(self, component: int, orientation: int) -> None:
        """Forget a plane that is to be coded again."""
        self.q[component, orientation] = 0
        self.magnitude[component, orientation] = 0

    def set(self, component: int, orientation: int, own: Index, q: Int32Array) -> None:
        """Record coefficients (P,) at their places."""
        self.q[component, orientation].ravel()[own] = q
        self.magnitude[component, orientation].ravel()[own] = np.abs(q)

    def _sums(self, component: int) -> Int32Array:
        """Magnitudes summed over the components before one, (3, N, h + 2, w + 2)."""
        while self._summed < component:
            self._before += self.magnitude[self._summed]
            self._summed += 1
        return self._before

    @cached_property
    def complete(self) -> Int32Array:
        """Sums over all components, of a level that is coded completely."""
        return self._sums(len(self.magnitude))

    @cached_property
    def total(self) -> Int32Array:
        """Sums over all components and orientations, of a level that is coded completely."""
        return self.complete.sum(axis=0, dtype=np.int32)

    def plane(self, component: int, orientation: int) -> Int32Array:
        """The coefficients of a plane, int32 (N, h, w)."""
        return self.q[component, orientation, :, 1:-1, 1:-1]

    def _around(
        self, planes: Int32Array, at: tuple[int, ...], places: Places, known: bool
    ) -> Sequence[Any]:
        """The place itself, its direct and its diagonal neighbours; zeros if not known."""
        if not known:
            return (0, 0, 0)
        flat = planes[at].ravel()
        return (flat[places.own], *neighbours(flat, places.own, self.width))

    def _add_parent(self, out: _Columns, k: int, o: int, places: Places) -> None:
        magnitude = self._companding.integers
        if self._parent is None:
            for _ in range(8):
                out.add(0.0)
            return
        flat = self._parent.magnitude[k, o].ravel()
        direct, diagonal = neighbours(flat, places.parent, self._parent.width)
        for values in (flat[places.parent], direct, diagonal):
            out.add(magnitude(values))
        out.add(magnitude(flat[places.down]))
        out.add(magnitude(flat[places.across]))
        signs = self._parent.q[k, o].ravel()
        out.add(self._companding.signed(signs[places.parent]))
        out.add(magnitude(self._parent.complete[o].ravel()[places.parent]))
        out.add(magnitude(self._parent.total.ravel()[places.parent]))

    def _add_low(self, out: _Columns, k: int, own: Index) -> None:
        """First and second differences of the image under the level, and its brightness."""
        low, width = self._low[k].ravel(), self.width
        centre = low[own]
        left, right, upper, lower = low[own - 1], low[own + 1], low[own - width], low[own + width]
        differences = (
            left + right - 2 * centre,
            upper + lower - 2 * centre,
            right - left,
            lower - upper,
            low[own + width + 1]
            - low[own + width - 1]
            - low[own - width + 1]
            + low[own - width - 1],
        )
        for x in differences:
            feature = self._companding.eighths(np.abs(x))
            out.add(feature)
            out.add(np.copysign(feature, x))
        out.add(np.copysign(self._companding.integers(np.abs(centre) >> 8), centre))


#: One more place on every side of the planes (C, N, h, w).
BORDER = ((0, 0), (0, 0), (1, 1), (1, 1))


def neighbours(
    flat: Int32Array, at: Index, width: int, *, direct: bool = True
) -> tuple[Any, Int32Array]:
    """Sums over the four direct and the four diagonal neighbours, (P,) each."""
    first = (flat[at - 1] + flat[at + 1] + flat[at - width] + flat[at + width]) if direct else None
    upper, lower = at - width, at + width
    return first, flat[upper - 1] + flat[upper + 1] + flat[lower - 1] + flat[lower + 1]


class _Columns:
    """A matrix that is filled column by column."""

    def __init__(self, rows: int, columns: int) -> None:
        self._out = np.empty((columns, rows), np.float32)
        self._next = 0

    def add(self, column: NDArray[np.float32] | float) -> None:
        self._out[self._next] = column
        self._next += 1

    def extend(self, compand: Callable[[Any], Any] | None, columns: Sequence[Any]) -> None:
        for column in columns:
            self.add(column if compand is None or np.isscalar(column) else compand(column))

    def finish(self) -> NDArray[np.float32]:
        """float32 (rows, columns), columns contiguous."""
        return self._out.T

"""What surrounds a coefficient as small integers: the inputs of the context model's networks.

Every feature is an integer function of integers that are decoded by then: magnitudes of the same
place and its neighbours in planes that came before, signed values where signs go together,
differences of the decoded image under the level, what another date or the pass before holds. All
are companded by frozen tables to -127 ... 127, in sixteenths.

Planes have a border of one, so that a neighbour is a constant offset away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.mini.context.scan import Index, Places
from tec_numcodecs.models.mini.subbands.magnitude_model import SCALE_LIMIT
from tec_numcodecs.native import native

Int16Array = NDArray[np.int16]
Int32Array = NDArray[np.int32]

#: Features of a coefficient that are known before its plane, from a reference, and from the plane
#: itself. Networks take them in this order; those of a reference are left out where there is none.
PLANE_FEATURES, REFERENCE_FEATURES, OWN_FEATURES = 46, 7, 5
#: Expected magnitudes enter in eighths of an octave, from 2^-8 steps on.
SCALE_EIGHTHS = 144
SCALE_OFFSET = -64


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
        edges = np.asarray(arrays["features.scales"], np.int64)
        bins = np.searchsorted(edges, np.arange(SCALE_LIMIT), side="right")
        #: Those of integers, of eighths and of expected magnitudes, int16.
        self.tables = (
            np.asarray(arrays["features.integers"], np.int16),
            np.asarray(arrays["features.eighths"], np.int16),
            (bins + SCALE_OFFSET).astype(np.int16),
        )

    def integers(self, x: NDArray[np.integer]) -> Int16Array:
        """Features of magnitudes."""
        table = self.tables[0]
        return table[np.minimum(x, len(table) - 1)]

    def signed(self, x: Int32Array) -> Int16Array:
        """Features of signed integers."""
        return with_sign(self.integers(np.abs(x)), x)

    def eighths(self, x: NDArray[np.integer]) -> Int16Array:
        """Features of differences in eighths of a step, by magnitude."""
        table = self.tables[1]
        return table[np.minimum(x, len(table) - 1)]

    def scales(self, scale: NDArray[np.integer]) -> Int16Array:
        """Eighths of an octave of expected magnitudes, relative to one step."""
        return self.tables[2][scale]


def bordered(planes: Int32Array, mode: Literal["constant", "edge"] = "constant") -> Int32Array:
    """Planes (..., h, w) with one more place on every side, contiguous: zeros or the edge."""
    margins = [*([(0, 0)] * (planes.ndim - 2)), (1, 1), (1, 1)]
    return np.ascontiguousarray(np.pad(planes, margins, mode=mode))


def with_sign(features: Int16Array, x: Int32Array) -> Int16Array:
    """Magnitudes of features with the signs of integers."""
    size = np.abs(features)
    return np.where(x < 0, -size, size)


@dataclass(frozen=True)
class Known:
    """What is known before a plane of component k and orientation o, planes int32 (N, h, w).

    All have a border, those of one level the same size; None stands for zeros.

    Attributes
    ----------
    here : tuple of 11 arrays
        Of the level: magnitudes of k in orientations 0 and 1, where they come before o; magnitudes
        and coefficients of k - 1, the same of k - 2, coefficients of k - 3; magnitudes summed over
        all components before, in three orientations; the image under the level in eighths of a
        step.
    above : tuple of 4 arrays, optional
        Of the next coarser level, k and o: magnitudes, coefficients, magnitudes summed over
        components, and over orientations, too.
    old : tuple of 3 arrays, optional
        Of a reference: see `.references`.
    of_pass : bool
        The reference is the pass before.
    """

    here: tuple[Int32Array | None, ...]
    above: tuple[Int32Array, ...] | None
    old: tuple[Int32Array | None, ...] | None
    of_pass: bool

    @property
    def low(self) -> Int32Array:
        """The image under the level."""
        low = self.here[-1]
        if low is None:
            raise RuntimeError("there is always an image under a level")
        return low


def plane_features(
    companding: Companding,
    known: Known,
    places: Places,
    scale: Int32Array,
    shift: int,
    flags: NDArray[np.bool_],
) -> Int16Array:
    """Features that do not change while a plane is coded.

    Parameters
    ----------
    companding : Companding
    known : Known
    places : Places
    scale : int32 array (P,)
        Expected magnitudes after the shift.
    shift : int
        Of the plane, in quarter-octaves.
    flags : bool array (N, blocks down, blocks across)

    Returns
    -------
    int16 array (P, PLANE_FEATURES [+ REFERENCE_FEATURES] + OWN_FEATURES)
        The last are zeros.
    """
    n, down, across = flags.shape
    blocks = np.zeros((n, down + 2, across + 2), np.bool_)
    blocks[:, 1:-1, 1:-1] = flags
    columns = PLANE_FEATURES + (REFERENCE_FEATURES if known.old else 0) + OWN_FEATURES
    c = native()
    if c is None:
        return _Columns(companding, known, places, columns).finish(scale, shift, blocks)
    out = np.zeros((len(places.own), columns), np.int16)
    where = (places.own, places.parent, places.block, places.ends)
    wide = known.above[0].shape[-1] if known.above else known.low.shape[-1]
    c.context_plane(
        out, *out.shape, where, companding.tables, known.here, known.low.shape[-1], known.above,
        wide, known.old, known.of_pass, blocks, blocks.shape[-1], scale, shift,
    )  # fmt: skip
    return out


def add_own(
    companding: Companding, features: Int16Array, own: Index, q: Int32Array, magnitude: Int32Array
) -> None:
    """Fill in the last features: those from the plane itself as far as it is coded.

    Parameters
    ----------
    companding : Companding
    features : int16 array (P, columns)
    own : int64 array (P,)
    q, magnitude : int32 arrays (N, h, w)
        The plane with its border.
    """
    c = native()
    width = q.shape[-1]
    if c is not None:
        integers = companding.tables[0]
        c.context_own(features, features.shape[1], own, integers, q, magnitude, width)
        return
    x, m = q.ravel(), magnitude.ravel()
    beside, above, left, upper = own + 1, own + width, own - 1, own - width
    columns = (
        companding.integers(m[left] + m[beside]),
        companding.integers(m[upper] + m[above]),
        companding.integers(_diagonal(m, own, width)),
        companding.signed(x[left] + x[beside]),
        companding.signed(x[upper] + x[above]),
    )
    for index, column in enumerate(columns):
        features[:, index - OWN_FEATURES] = column


def _direct(flat: NDArray[Any], at: Index, width: int) -> NDArray[Any]:
    """Sums over the four direct neighbours, (P,)."""
    return flat[at - 1] + flat[at + 1] + flat[at - width] + flat[at + width]


def _diagonal(flat: Int32Array, at: Index, width: int) -> Int32Array:
    """Sums over the four diagonal neighbours, (P,)."""
    upper, lower = at - width, at + width
    return flat[upper - 1] + flat[upper + 1] + flat[lower - 1] + flat[lower + 1]


class _Columns:
    """Twin of the C function: a matrix that is filled column by column."""

    def __init__(self, companding: Companding, known: Known, places: Places, columns: int) -> None:
        self._companding, self._known, self._places = companding, known, places
        self._out = np.zeros((len(places.own), columns), np.int16)
        self._next = 0

    def finish(self, scale: Int32Array, shift: int, blocks: NDArray[np.bool_]) -> Int16Array:
        """Fill all columns."""
        known, own, at = self._known, self._places.own, self._places.block
        here, integers = known.here, self._companding.integers
        self._add(self._companding.scales(scale), np.int16(4 * shift))
        for plane in here[:2]:
            self._add_around(plane, own)
        for magnitude, q in (here[2:4], here[4:6]):
            self._add_around(magnitude, own)
            self._add_signed(q)
        self._add_signed(here[6])
        for plane in here[7:10]:
            self._add_around(plane, own)
        if known.above is None:
            self._next += 8
        else:
            self._add_above(*known.above)
        self._add_low()
        flat = blocks.ravel().astype(np.int16)
        self._add(16 * (_direct(flat, at, blocks.shape[-1]) - 2))
        if known.old is not None:
            self._add_old(integers if known.of_pass else self._companding.eighths)
        return self._out

    def _add(self, *columns: NDArray[np.integer] | np.int16) -> None:
        for column in columns:
            self._out[:, self._next] = column
            self._next += 1

    def _add_around(self, plane: Int32Array | None, at: Index) -> None:
        """The place itself, its direct and its diagonal neighbours."""
        if plane is None:
            self._next += 3
            return
        flat, width, integers = plane.ravel(), plane.shape[-1], self._companding.integers
        self._add(integers(flat[at]))
        self._add(integers(_direct(flat, at, width)), integers(_diagonal(flat, at, width)))

    def _add_signed(self, plane: Int32Array | None) -> None:
        if plane is None:
            self._next += 1
        else:
            self._add(self._companding.signed(plane.ravel()[self._places.own]))

    def _add_above(
        self, magnitude: Int32Array, q: Int32Array, complete: Int32Array, total: Int32Array
    ) -> None:
        places, integers = self._places, self._companding.integers
        self._add_around(magnitude, places.parent)
        flat = magnitude.ravel()
        self._add(integers(flat[places.down]), integers(flat[places.across]))
        self._add(self._companding.signed(q.ravel()[places.parent]))
        self._add(*(integers(plane.ravel()[places.parent]) for plane in (complete, total)))

    def _add_low(self) -> None:
        """First and second differences of the image under the level, and its brightness."""
        low, own = self._known.low.ravel(), self._places.own
        width = self._known.low.shape[-1]
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
            self._add_size_and_sign(self._companding.eighths, x)
        self._add(with_sign(self._companding.integers(np.abs(centre) >> 8), centre))

    def _add_size_and_sign(
        self, compand: Callable[[Int32Array], Int16Array], x: Int32Array
    ) -> None:
        size = compand(np.abs(x))
        self._add(size, with_sign(size, x))

    def _add_old(self, compand: Callable[[Int32Array], Int16Array]) -> None:
        old, own = self._known.old, self._places.own
        if old is None or old[0] is None or old[1] is None:
            raise RuntimeError("a reference has coefficients and an image")
        width, eighths = old[0].shape[-1], self._companding.eighths
        q, image = old[0].ravel(), old[1].ravel()
        m = np.abs(q)
        self._add_size_and_sign(eighths, q[own])
        self._add(eighths(_direct(m, own, width)), eighths(_diagonal(m, own, width)))
        if not self._known.of_pass:
            self._add_size_and_sign(compand, image[own])
            slope = np.abs(image[own + 1] - image[own - 1])
            self._add(compand(slope + np.abs(image[own + width] - image[own - width])))
            return
        self._add(compand(image[own]), compand(_direct(image, own, width)))
        if old[2] is not None:
            self._add(compand(old[2].ravel()[own]))

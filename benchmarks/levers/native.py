"""Bands at their native resolution: detection, layout, and how a band joins the wavelet.

A 20 m band that was brought to 10 m by nearest neighbor consists of 2 x 2 equal pixels, a 60 m
band of 6 x 6. Such a band is late: it enters the wavelet at a level e > 0, beside the low-pass of
the others.

Sample ``i`` of a band of factor f and phase p covers the rows ``f i - p`` to ``f i - p + f - 1``;
sample ``m`` of the planes under level e - 1 is centered on row ``2^e m``. Native sample ``i`` is
kept in the plane's sample that is nearest to its center; what lies between is the encoder's. For
factor 2 that is ``m = i`` for both phases, half a pixel off to either side, and nothing lies
between. With an inner grid of odd length no phase needs another row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int32Array = NDArray[np.int32]
#: Gain of the planes under levels 0 and 1 in units of 2^-12: 1.2301741^2 and its square.
GAINS = {1: 6198, 2: 9380}
_BITS = 12
FACTORS = (6, 3, 2)


@dataclass(frozen=True)
class Native:
    """Factor and phase of one band.

    Attributes
    ----------
    factor : int
        1, 2, 3 or 6.
    phase : (row, column)
        Blocks begin at rows ``factor * i - phase[0]``.
    level : int
        Where it enters the wavelet; chosen, not detected.
    """

    factor: int = 1
    phase: tuple[int, int] = (0, 0)
    level: int = 0


@dataclass(frozen=True)
class Layout:
    """How the bands of one date lie in the wavelet.

    Attributes
    ----------
    height, width : int
        Of the image.
    bands : tuple of Native
    odd : bool
        Whether the inner grid has an odd length, with a free last row and column where the image
        has an even one.
    """

    height: int
    width: int
    bands: tuple[Native, ...]
    odd: bool = True

    @property
    def grid(self) -> tuple[int, int]:
        """Size of the inner grid."""
        return tuple(n | 1 if self.odd else n for n in (self.height, self.width))

    def size(self, level: int) -> tuple[int, int]:
        """Size of the planes that a level splits."""
        return tuple(-(-n >> level) for n in self.grid)

    def present(self, level: int) -> list[int]:
        """Bands that a level (or the low-pass, 5) has."""
        return [k for k, band in enumerate(self.bands) if band.level <= level]

    def entering(self, level: int) -> list[int]:
        """Bands that enter at a level."""
        return [k for k, band in enumerate(self.bands) if band.level == level]

    @property
    def late(self) -> list[int]:
        """Bands that enter later than level 0."""
        return [k for k, band in enumerate(self.bands) if band.level]


def plain(height: int, width: int, bands: int, *, odd: bool) -> Layout:
    """The layout of bands that all have the full resolution."""
    return Layout(height, width, (Native(),) * bands, odd)


def detect(x: NDArray[np.generic], valid: NDArray[np.bool_] | None = None) -> list[Native]:
    """Find exact replication, band by band.

    Parameters
    ----------
    x : array (T, C, H, W)
    valid : bool array (T, C, H, W), optional

    Returns
    -------
    list of Native
        The largest factor that holds for all dates; bands of factor 2 share the phase of the
        majority where theirs is ambiguous.
    """
    valid = np.ones(x.shape, np.bool_) if valid is None else valid
    fits = [_fits(x[:, k], valid[:, k]) for k in range(x.shape[1])]
    return [_agreed(own, fits) for own in fits]


def _fits(x: NDArray[np.generic], valid: NDArray[np.bool_]) -> list[Native]:
    """All factors and phases that hold for a band (T, H, W), the largest factor first."""
    found = []
    for factor in FACTORS:
        rows = _phases(x, valid, factor, axis=1)
        columns = _phases(x, valid, factor, axis=2)
        found += [
            Native(factor, (p, q))
            for p in rows
            for q in columns
            if _replicated(x, valid, Native(factor, (p, q)))
        ]
    return [*found, Native()]


def _phases(x: NDArray[np.generic], valid: NDArray[np.bool_], factor: int, axis: int) -> list[int]:
    """Phases under which neighbors along one axis are equal inside of blocks."""
    a, b = np.moveaxis(x, axis, 0)[:-1], np.moveaxis(x, axis, 0)[1:]
    u, v = np.moveaxis(valid, axis, 0)[:-1], np.moveaxis(valid, axis, 0)[1:]
    equal = ((a == b) | ~u | ~v).all(axis=(1, 2))  # (n - 1,)
    at = np.arange(len(equal))
    return [p for p in range(factor) if equal[(at + p + 1) % factor != 0].all()]


def _replicated(x: NDArray[np.generic], valid: NDArray[np.bool_], band: Native) -> bool:
    """Whether all valid pixels of every block are equal; (T, H, W)."""
    high = _blocks(np.where(valid, x, np.iinfo(np.int32).min).astype(np.int64), band, -(2**40))
    low = _blocks(np.where(valid, x, np.iinfo(np.int32).max).astype(np.int64), band, 2**40)
    top, bottom = high.max(axis=(2, 4)), low.min(axis=(2, 4))
    some = _blocks(valid, band, fill=False).any(axis=(2, 4))
    return bool((top == bottom)[some].all())


def _blocks(x: NDArray[np.generic], band: Native, fill: float) -> NDArray[np.generic]:
    """(T, H, W) to (T, h, factor, w, factor), filled up on all sides."""
    f, (p, q) = band.factor, band.phase
    t, h, w = x.shape
    down, across = -(-(h + p) // f), -(-(w + q) // f)
    pad = ((0, 0), (p, down * f - h - p), (q, across * f - w - q))
    return np.pad(x, pad, constant_values=fill).reshape(t, down, f, across, f)


def _agreed(own: list[Native], every: list[list[Native]]) -> Native:
    """The band's largest factor, with the phase modulo 2 that most other bands can have."""
    best = [n for n in own if n.factor == own[0].factor]

    def support(native: Native) -> int:
        parity = tuple(p % 2 for p in native.phase)
        return sum(
            any(n.factor > 1 and tuple(p % 2 for p in n.phase) == parity for n in fits)
            for fits in every
        )

    return max(best, key=support)


def sample_rows(n: int, band: Native, axis: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where native samples are read from, and which of them each pixel shows, along one axis.

    Returns
    -------
    source : (samples,)
        A pixel inside of each block.
    shown : (n,)
        Native sample of each pixel.
    """
    shown = (np.arange(n) + band.phase[axis]) // band.factor
    source = np.searchsorted(shown, np.arange(shown[-1] + 1))
    return source, shown


def reduced(x: Int32Array, band: Native) -> Int32Array:
    """Native samples (T, h, w) of a replicated band (T, H, W)."""
    rows, _ = sample_rows(x.shape[1], band, 0)
    columns, _ = sample_rows(x.shape[2], band, 1)
    return np.ascontiguousarray(x[:, rows][:, :, columns])


def replicated(native: Int32Array, band: Native, height: int, width: int) -> Int32Array:
    """Undo `reduced`."""
    _, rows = sample_rows(height, band, 0)
    _, columns = sample_rows(width, band, 1)
    return np.ascontiguousarray(native[:, rows][:, :, columns])


def places(n: int, band: Native, axis: int, size: int) -> NDArray[np.intp]:
    """Samples of a plane of this size, at the level of entry, that keep the native samples.

    The nearest to the center of each block, along one axis of ``n`` pixels; inside of the plane.
    """
    f, p, e = band.factor, band.phase[axis], band.level
    i = np.arange((n - 1 + p) // f + 1)
    nearest = (2 * (f * i - p) + f - 1 + (1 << e)) >> (e + 1)
    return np.clip(nearest, 0, size - 1)


def late_plane(x: Int32Array, layout: Layout, band: Native, *, unit: bool) -> Int32Array:
    """Plane (T, h, w) that a late band (T, H, W), mean removed, gives to its level of entry."""
    known = reduced(x, band).astype(np.float64)
    size = layout.size(band.level)
    for axis, n in enumerate((layout.height, layout.width)):
        known = _spread(known, places(n, band, axis, size[axis]), size[axis], axis + 1)
    plane = np.rint(known).astype(np.int32)
    return plane if unit else raised(plane, band.level)


def _spread(
    x: NDArray[np.float64], at: NDArray[np.intp], size: int, axis: int
) -> NDArray[np.float64]:
    """Samples at some places along an axis, a cubic spline between, the ends repeated."""
    from scipy.interpolate import CubicSpline

    inside = np.clip(np.arange(size), at[0], at[-1])
    if len(at) == at[-1] - at[0] + 1:
        return np.take(x, inside - at[0], axis)
    return np.asarray(CubicSpline(at, x, axis=axis, bc_type="natural")(inside))


def shown(plane: Int32Array, layout: Layout, band: Native, *, unit: bool) -> Int32Array:
    """Pixels (T, H, W) of a late band, mean removed, from its plane at the level of entry."""
    known = plane if unit else lowered(plane, band.level)
    rows = places(layout.height, band, 0, plane.shape[1])
    columns = places(layout.width, band, 1, plane.shape[2])
    return replicated(known[:, rows][:, :, columns], band, layout.height, layout.width)


def raised(x: Int32Array, level: int) -> Int32Array:
    """DN (without the mean) to the scale of the planes that a level splits."""
    return ((x.astype(np.int64) * GAINS[level] + (1 << (_BITS - 1))) >> _BITS).astype(np.int32)


def lowered(y: Int32Array, level: int) -> Int32Array:
    """Undo `raised` exactly; any other integer goes to the nearest."""
    gain = GAINS[level]
    return ((y.astype(np.int64) * (1 << _BITS) + gain // 2) // gain).astype(np.int32)

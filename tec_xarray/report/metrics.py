"""How far one cube is from another: sums over a block, which add up over blocks.

Everything is counted in digital numbers (DN, reflectance = DN / 10,000) and in float64, for the
samples that are valid in both cubes. A `Tally` of a whole cube is the sum of the tallies of its
blocks, so that a cube larger than memory needs one block at a time.

SSIM is in `tec_xarray.report.ssim`.
The spectral angle is that of Kruse et al., "The spectral image processing system (SIPS)", Remote
Sensing of Environment 44, 1993.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.arithmetic import ieee754
from tec_xarray.cube.units import DNScaling
from tec_xarray.report.ssim import WINDOW, Floats, Mask, ssim_sum

__all__ = ["INDICES", "WINDOW", "Floats", "Mask", "Plan", "Tally", "tally"]

HISTOGRAM_LIMIT = 2000  # DN; the outermost bins hold everything beyond
INDEX_STEPS = 1000  # bins of an index's error for a range of 1

INDICES = {
    "NDVI": ("nir", "red"),  # Rouse et al., 1974
    "NDWI": ("green", "nir"),  # McFeeters, 1996
}


@dataclass(frozen=True)
class Plan:
    """What is to be measured besides the errors of samples.

    Attributes
    ----------
    indices : tuple of (int, int)
        Positions of two bands a, b of a normalized difference (a - b) / (a + b).
    tile : tuple of int
        Rows and columns of a tile, whose errors are summed on their own: the store's chunks.
    ssim : bool
        Whether to compute SSIM, most of the time that all takes.
    """

    indices: tuple[tuple[int, int], ...] = ()
    tile: tuple[int, int] = (256, 256)
    ssim: bool = True


@dataclass
class Tally:
    """Sums from which every figure of a report follows.

    Attributes
    ----------
    count, error, square, peak : float64, shape (T, C)
        Valid samples; sum of the errors, of their squares, and the largest magnitude, in DN.
    ssim, windows : float64, shape (T, C)
        Sum of SSIM over windows without an invalid pixel, and how many those are.
    mask_errors : float64, shape (T, C)
        Samples that are valid in one cube only.
    angle, spectra : float64, shape (T,)
        Sum of spectral angles in radians over pixels valid in all bands, and how many those are.
    histogram : float64, shape (C, 2 * HISTOGRAM_LIMIT + 1)
        Samples by their error, rounded to DN, from -HISTOGRAM_LIMIT up.
    tile_count, tile_square, tile_peak : float64, shape (T, tiles down, tiles across)
        The same sums over all bands of a tile.
    index_count, index_error, index_square, index_peak : float64, shape (T, I)
        The same sums for the errors of I normalized differences; these have no unit.
    index_histogram : float64, shape (I, 2 * INDEX_STEPS + 1)
        Pixels by the error of an index, in thousandths, from -1 up.
    worst : tuple of int
        Where the largest error is: (time, band, y, x).
    """

    count: Floats
    error: Floats
    square: Floats
    peak: Floats
    ssim: Floats
    windows: Floats
    mask_errors: Floats
    angle: Floats
    spectra: Floats
    histogram: Floats
    tile_count: Floats
    tile_square: Floats
    tile_peak: Floats
    index_count: Floats
    index_error: Floats
    index_square: Floats
    index_peak: Floats
    index_histogram: Floats
    worst: tuple[int, int, int, int] = (0, 0, 0, 0)

    @classmethod
    def zeros(
        cls, dates: int, bands: int, tiles: tuple[int, int] = (1, 1), indices: int = 0
    ) -> Tally:
        """Return the tally of nothing, for T dates, C bands, so many tiles and indices."""
        shapes: dict[str, tuple[int, ...]] = {
            "angle": (dates,),
            "spectra": (dates,),
            "histogram": (bands, 2 * HISTOGRAM_LIMIT + 1),
            "index_histogram": (indices, 2 * INDEX_STEPS + 1),
        }
        for field in fields(cls):
            if field.name.startswith("tile_"):
                shapes[field.name] = (dates, *tiles)
            elif field.name.startswith("index_"):
                shapes.setdefault(field.name, (dates, indices))
            elif field.name != "worst":
                shapes.setdefault(field.name, (dates, bands))
        sums: dict[str, Any] = {name: np.zeros(shape) for name, shape in shapes.items()}
        return cls(**sums)

    def add(
        self, block: Tally, origin: tuple[int, int, int], tile: tuple[int, int] = (0, 0)
    ) -> None:
        """Add the tally of a block.

        Its first sample is at (time, y, x) = `origin`, and in the tile (row, column) = `tile`.
        """
        dates = slice(origin[0], origin[0] + len(block.angle))
        if block.peak.max(initial=0.0) > self.peak.max(initial=0.0):
            t, c, y, x = block.worst
            self.worst = (t + origin[0], c, y + origin[1], x + origin[2])
        for field in fields(self):
            name = field.name
            if name == "worst":
                continue
            part, own = getattr(block, name), getattr(self, name)
            if name in ("histogram", "index_histogram"):
                own += part
                continue
            place: Any = dates
            if name.startswith("tile_"):
                _, down, across = part.shape
                place = (dates, *(slice(a, a + n) for a, n in
                                  zip(tile, (down, across), strict=True)))  # fmt: skip
            own[place] = np.maximum(own[place], part) if "peak" in name else own[place] + part


@ieee754
def tally(
    original: NDArray[Any],
    decoded: NDArray[Any],
    scalings: tuple[DNScaling, DNScaling] = (DNScaling(), DNScaling()),
    plan: Plan | None = None,
    corner: tuple[int, int] = (0, 0),
) -> Tally:
    """Compare two blocks, plane by plane: little more memory than they take themselves.

    Parameters
    ----------
    original, decoded : array, shape (T, C, H, W)
        As stored.
    scalings : tuple of DNScaling
        What their values mean.
    plan : Plan, optional
        What to measure.
    corner : tuple of int
        Row and column of the first pixel inside of its tile.

    Returns
    -------
    Tally
        Of shape (T, C), with the tiles that the block touches.
    """
    plan = plan or Plan()
    T, C, H, W = original.shape
    cuts = [_cuts(n, size, at) for n, size, at in zip((H, W), plan.tile, corner, strict=True)]
    found = Tally.zeros(T, C, (len(cuts[0]), len(cuts[1])), len(plan.indices))
    for t in range(T):
        sums = np.zeros((3, H, W))  # over the bands: valid samples, squared errors; largest error
        for c in range(C):
            a, valid = scalings[0].apply(original[t, c])  # (H, W)
            b, decoded_valid = scalings[1].apply(decoded[t, c])
            both = valid & decoded_valid
            error = np.where(both, b - a, 0.0)
            found.mask_errors[t, c] = np.count_nonzero(valid != decoded_valid)
            _count_errors(found, (t, c), error, both)
            _sum_bands(sums, error, both)
            if plan.ssim:
                found.ssim[t, c], found.windows[t, c] = ssim_sum(a, b, both)
        _count_tiles(found, t, sums, cuts)
        for i, pair in enumerate(plan.indices):
            _count_index(found, (t, i), original[t], decoded[t], scalings, pair)
        found.angle[t], found.spectra[t] = _spectral_angle(original[t], decoded[t], scalings)
    return found


def _count_errors(found: Tally, place: tuple[int, int], error: Floats, both: Mask) -> None:
    """Enter the errors of one plane (H, W), 0 where a sample is invalid."""
    size = np.abs(error)
    peak = size.max(initial=0.0)
    if peak > found.peak.max():
        y, x = np.unravel_index(int(size.argmax()), size.shape)
        found.worst = (*place, int(y), int(x))
    found.peak[place] = peak
    found.count[place] = np.count_nonzero(both)
    found.error[place] = error.sum()
    found.square[place] = np.square(error).sum()
    found.histogram[place[1]] += _histogram(error if both.all() else error[both], HISTOGRAM_LIMIT)


def _histogram(errors: Floats, limit: int) -> NDArray[np.intp]:
    """Count errors, rounded, from -limit to limit; what lies beyond is counted at the ends."""
    bins = np.clip(np.rint(errors), -limit, limit).astype(np.intp).ravel()
    return np.bincount(bins + limit, minlength=2 * limit + 1)


def _cuts(length: int, size: int, start: int) -> NDArray[np.intp]:
    """Return where tiles of `size` begin in a block that begins `start` inside of one."""
    return np.unique(np.clip(np.arange(-start, length, size), 0, None))


def _sum_bands(sums: Floats, error: Floats, both: Mask) -> None:
    sums[0] += both
    sums[1] += error * error
    np.maximum(sums[2], np.abs(error), out=sums[2])


def _count_tiles(found: Tally, t: int, sums: Floats, cuts: list[NDArray[np.intp]]) -> None:
    """Reduce maps (H, W) of one date to a figure for each tile."""
    for target, values, by in (
        (found.tile_count, sums[0], np.add),
        (found.tile_square, sums[1], np.add),
        (found.tile_peak, sums[2], np.maximum),
    ):
        target[t] = by.reduceat(by.reduceat(values, cuts[0], axis=0), cuts[1], axis=1)


def _count_index(
    found: Tally,
    place: tuple[int, int],
    original: NDArray[Any],
    decoded: NDArray[Any],
    scalings: tuple[DNScaling, DNScaling],
    pair: tuple[int, int],
) -> None:
    """Enter the errors of one normalized difference of one date (C, H, W).

    A pixel whose original bands sum to nothing has no index. One that decodes to nothing has 0.
    """
    values, valid = [], np.ones(original.shape[1:], np.bool_)
    for scaling, planes in zip(scalings, (original, decoded), strict=True):
        (a, a_valid), (b, b_valid) = (scaling.apply(planes[i]) for i in pair)
        values.append((a - b, a + b))
        valid &= a_valid & b_valid
    valid &= values[0][1] > 0
    ours, theirs = ((d[valid] / np.maximum(s[valid], 1.0)) for d, s in reversed(values))
    error = ours - theirs
    found.index_count[place] = error.size
    found.index_error[place] = error.sum()
    found.index_square[place] = np.square(error).sum()
    found.index_peak[place] = np.abs(error).max(initial=0.0)
    found.index_histogram[place[1]] += _histogram(error * INDEX_STEPS, INDEX_STEPS)


def _spectral_angle(
    original: NDArray[Any], decoded: NDArray[Any], scalings: tuple[DNScaling, DNScaling]
) -> tuple[float, int]:
    """Sum the angles between spectra of one date (C, H, W), in radians; count them."""
    if len(original) < 2:
        return 0.0, 0
    pixels = np.ones(original.shape[1:], np.bool_)
    squares = np.zeros((2, *pixels.shape))
    for planes in zip(original, decoded, strict=True):
        for i in (0, 1):
            dn, valid = scalings[i].apply(planes[i])
            squares[i] += dn * dn
            pixels &= valid
    pixels &= (squares > 0).all(axis=0)  # darkness has no direction
    length_u, length_v = np.sqrt(squares[:, pixels])  # (n,) each
    # Kahan's form: the arc cosine of a dot product near 1 would lose half of the digits.
    apart, along = np.zeros_like(length_u), np.zeros_like(length_u)
    for planes in zip(original, decoded, strict=True):
        u = scalings[0].apply(planes[0][pixels])[0] / length_u
        v = scalings[1].apply(planes[1][pixels])[0] / length_v
        apart += (u - v) ** 2
        along += (u + v) ** 2
    return float((2 * np.arctan2(np.sqrt(apart), np.sqrt(along))).sum()), len(apart)

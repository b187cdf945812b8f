"""From the sums of a `Tally` to the figures of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.arithmetic import ieee754
from tec_numcodecs.rate_control import psnr
from tec_xarray.report.metrics import HISTOGRAM_LIMIT, INDEX_STEPS, Floats, Tally

# Widths of the bins of a histogram, in DN. Odd, as errors of integers are whole and 0 is a middle.
_WIDTHS = (1, 3, 5, 11, 21, 51, 101, 201)
_EACH_SIDE = 10  # bins, and one more for everything beyond


@dataclass(frozen=True)
class Errors:
    """Errors of one band, one date, or all: decoded minus original, in DN.

    Attributes
    ----------
    label : str
        The band or date, or ``"all"``.
    samples : int
        Valid in both cubes; the other figures are about these. NaN if there are none.
    rmse, bias, max_error : float
        In DN (reflectance times 10,000).
    psnr : float
        In dB, with the peak at 10,000 DN; infinite where nothing differs.
    ssim : float
        Mean over 11 x 11 windows without missing pixels (Gaussian, sigma 1.5, range 10,000).
    mask_errors : int
        Samples that are missing in one cube only. 0 unless something is wrong.
    p95 : float
        95 % of the samples are off by no more DN, rounded up to whole ones. NaN for a single date.
    spectral_angle : float
        Mean angle between original and decoded spectra, in degrees. NaN for a single band.
    """

    label: str
    samples: int
    rmse: float
    psnr: float
    max_error: float
    bias: float
    ssim: float
    mask_errors: int
    p95: float = math.nan
    spectral_angle: float = math.nan


@dataclass(frozen=True)
class IndexErrors:
    """Errors of a normalized difference, decoded minus original; without a unit.

    Attributes
    ----------
    label : str
        ``"NDVI"`` (B08, B04) or ``"NDWI"`` (B03, B08).
    date : str
        A date, or ``"all"``.
    pixels : int
        Where both bands are valid and the index exists in the original.
    rmse, bias, max_error : float
    p95 : float
        95 % of the pixels are off by no more, rounded up to thousandths. NaN for a single date.
    """

    label: str
    date: str
    pixels: int
    rmse: float
    bias: float
    max_error: float
    p95: float = math.nan


@dataclass(frozen=True)
class Chunk:
    """The chunk of the store with the largest RMSE.

    Attributes
    ----------
    index : tuple of int
        Of the chunk, along (time, y, x).
    time, y, x : tuple of int
        First position and the one after the last, for ``isel``.
    rmse, max_error : float
        In DN.
    psnr : float
        In dB.
    """

    index: tuple[int, int, int]
    time: tuple[int, int]
    y: tuple[int, int]
    x: tuple[int, int]
    rmse: float
    max_error: float
    psnr: float


@dataclass(frozen=True)
class Histogram:
    """How many samples are off by how much.

    Attributes
    ----------
    edges : tuple of float
        Of the bins, in DN: all as wide, but the outermost, which are infinite.
    counts : dict of tuple of int
        For each band, and ``"all"``: samples in each bin.
    """

    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]


@ieee754
def errors_of(label: str, tally: Tally, part: tuple[Any, Any]) -> Errors:
    """Turn the sums over part of (time, band) into figures."""
    count, windows = float(tally.count[part].sum()), float(tally.windows[part].sum())
    mean_square = float(tally.square[part].sum()) / count if count else math.nan
    dates, bands = part
    largest = float(tally.peak[part].max()) if count else math.nan
    every_date = dates == slice(None)
    return Errors(
        label=label,
        samples=int(count),
        rmse=math.sqrt(mean_square),
        psnr=psnr(mean_square),
        max_error=largest,
        bias=float(tally.error[part].sum()) / count if count else math.nan,
        ssim=float(tally.ssim[part].sum()) / windows if windows else math.nan,
        mask_errors=int(tally.mask_errors[part].sum()),
        p95=_within(np.atleast_2d(tally.histogram[bands]).sum(axis=0), largest)
        if every_date
        else math.nan,
        spectral_angle=_angle(tally, dates) if bands == slice(None) else math.nan,
    )


@ieee754
def indices_of(names: Sequence[str], dates: Sequence[str], tally: Tally) -> tuple[IndexErrors, ...]:
    """Return the errors of each index: over all dates, then date by date."""
    found = []
    for i, name in enumerate(names):
        parts: list[tuple[str, Any]] = [("all", slice(None))]
        parts += [(date, t) for t, date in enumerate(dates)]
        for date, part in parts:
            count = float(tally.index_count[part, i].sum())
            largest = float(tally.index_peak[part, i].max()) if count else math.nan
            p95 = math.nan
            if date == "all":
                p95 = _within(tally.index_histogram[i], largest * INDEX_STEPS) / INDEX_STEPS
            found.append(
                IndexErrors(
                    label=name,
                    date=date,
                    pixels=int(count),
                    rmse=math.sqrt(tally.index_square[part, i].sum() / count)
                    if count
                    else math.nan,
                    bias=float(tally.index_error[part, i].sum()) / count if count else math.nan,
                    max_error=largest,
                    p95=p95,
                )
            )
    return tuple(found)


@ieee754
def worst_chunk(tally: Tally, shape: Sequence[int], chunks: Sequence[int]) -> Chunk | None:
    """Find the chunk with the largest RMSE; None if there is no valid sample."""
    starts = np.arange(0, shape[0], chunks[0])
    count, square = (np.add.reduceat(a, starts) for a in (tally.tile_count, tally.tile_square))
    peak = np.maximum.reduceat(tally.tile_peak, starts)
    if not count.any():
        return None
    mean: Floats = square / np.maximum(count, 1)
    index = np.unravel_index(int(mean.argmax()), mean.shape)
    at = tuple(int(i) for i in index)
    sizes, steps = (shape[0], *shape[2:]), (chunks[0], *chunks[2:])
    spans = [(i * n, min((i + 1) * n, size)) for i, n, size in zip(at, steps, sizes, strict=True)]
    return Chunk(
        index=(at[0], at[1], at[2]),
        time=spans[0],
        y=spans[1],
        x=spans[2],
        rmse=math.sqrt(mean[index]),
        max_error=float(peak[index]),
        psnr=psnr(float(mean[index])),
    )


@ieee754
def histogram_of(bands: Sequence[str], tally: Tally) -> Histogram:
    """Gather the fine histogram into equal bins, as wide as 99 % of all errors need."""
    total = tally.histogram.sum(axis=0)
    reach = _within(total, math.inf, 0.99)
    fitting = [width for width in _WIDTHS if (_EACH_SIDE + 0.5) * width >= reach]
    width = fitting[0] if fitting else _WIDTHS[-1]
    middle = (np.arange(-_EACH_SIDE, _EACH_SIDE + 2) - 0.5) * width
    edges = (-math.inf, *(float(edge) for edge in middle), math.inf)
    errors = np.arange(-HISTOGRAM_LIMIT, HISTOGRAM_LIMIT + 1)
    bins = np.searchsorted(edges, errors) - 1
    counts = {}
    for band, row in zip([*bands, "all"], [*tally.histogram, total], strict=True):
        sums = np.bincount(bins, weights=row, minlength=len(edges) - 1)
        counts[band] = tuple(int(n) for n in sums)
    return Histogram(edges, counts)


def _within(histogram: NDArray[Any], largest: float, share: float = 0.95) -> float:
    """Return the smallest whole number that this share of the magnitudes does not exceed.

    `largest` stands for what the outermost bins do not tell.
    """
    middle = len(histogram) // 2
    size = histogram[middle:].copy()
    size[1:] += histogram[:middle][::-1]
    total = size.sum()
    if not total:
        return math.nan
    place = int(np.searchsorted(size.cumsum(), share * total))
    return largest if place >= middle else float(place)


def _angle(tally: Tally, dates: Any) -> float:
    spectra = float(tally.spectra[dates].sum())
    return math.degrees(float(tally.angle[dates].sum()) / spectra) if spectra else math.nan

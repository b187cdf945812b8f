"""A block of a cube, filled window by window.

Engines learn from windows of about 2 x `CELL` pixels each way, which overlap by half, and their
estimates are blended where two of them know as much, so that no window's edge shows. The windows
lie on a grid of the whole image: what is filled does not depend on how the work was cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tec_xarray.gapfill.masks import absent
from tec_xarray.gapfill.series import Engine, Floats, Mask, Series
from tec_xarray.gapfill.spectral import Spectral
from tec_xarray.gapfill.temporal import METHODS, Temporal

CELL = 256  # pixels, about; a window is two cells wide
ENGINES = ("spectral", *METHODS)


class Filled(NamedTuple):
    """A block, filled.

    Attributes
    ----------
    values : array, shape (T, C, H, W)
        In the dtype of the data; what could not be filled is nodata.
    error : float32 array, shape (T, C, H, W)
        Half of the width of a 90 % interval; 0 where nothing was filled, NaN where nothing could.
    filled, unfilled : bool arrays, shape (T, H, W)
    """

    values: NDArray[Any]
    error: Floats
    filled: Mask
    unfilled: Mask


class Span(NamedTuple):
    """A window along one axis: where it lies, and how much it counts at each of its pixels."""

    start: int
    stop: int
    weight: Floats


@dataclass(frozen=True)
class Job:
    """What is the same for every block.

    Attributes
    ----------
    days : tuple of float
        Of the dates, in their order in the data.
    method : str
        One of `ENGINES`.
    nodata : float, str or None
        What marks missing samples, beside NaN.
    free : int or None
        The band in which nodata is an ordinary value.
    missing : bool
        Whether missing samples are to be filled.
    """

    days: tuple[float, ...]
    method: str
    nodata: float | str | None
    free: int | None
    missing: bool


def cells(size: int) -> list[int]:
    """Return where cells of an axis begin and end: all of one size but the last, as Zarr has it."""
    count = max(1, round(size / CELL))
    step = -(-size // count)
    return [*range(0, step * count, step), size][: count + 1] if size else [0, 0]


def reach(size: int, first: int, last: int) -> tuple[int, int]:
    """Return which pixels blocks of cells [first, last) look at: a cell more at each end."""
    edges = cells(size)
    return edges[max(0, first - 1)], edges[min(len(edges) - 1, last + 1)]


def fill_block(
    values: NDArray[Any], hidden: Mask, inside: tuple[tuple[int, int], tuple[int, int]],
    size: tuple[int, int], job: Job,
) -> Filled:  # fmt: skip
    """Fill the cells of a block.

    Parameters
    ----------
    values : array, shape (T, C, h, w)
        The block, and around it what `reach` says.
    hidden : bool array, shape (T, h, w)
        What the mask says of it.
    inside : two pairs of int
        The first cell of the block and the first behind it, along y and x.
    size : two ints
        H and W of the whole image.
    job : Job
    """
    missing = absent(values, job.nodata, job.free)
    write = np.broadcast_to(hidden[:, None], missing.shape)
    write = write | missing if job.missing else write
    gone = missing.any(axis=1)
    wanted = hidden | gone if job.missing else hidden
    order = np.argsort(job.days, kind="stable")
    ordered = bool((order == np.arange(len(order))).all())
    shown = values if ordered else values[order]  # a copy is as large as the block
    series = Series(shown, ~(wanted | gone)[order], np.array(job.days)[order])
    spans = [list(_spans(n, *cut)) for n, cut in zip(size, inside, strict=True)]
    y, x = (_own(n, *cut) for n, cut in zip(size, inside, strict=True))
    block = values[..., y, x].copy()
    error = np.zeros(block.shape, np.float32)
    filled, unfilled = (np.zeros((len(block), *block.shape[2:]), np.bool_) for _ in range(2))
    for position, t in enumerate(order):
        gap = wanted[t, y, x]
        if not gap.any():
            continue
        found, off = _blended(series, position, wanted[t], spans, job.method)
        found, off = found[:, y, x], off[:, y, x]
        known = np.isfinite(found).all(axis=0)
        filled[t], unfilled[t] = gap & known, gap & ~known
        over = write[t][:, y, x] & gap
        stored = _stored(found, block.dtype, job.nodata)
        block[t] = np.where(over, stored, block[t])
        error[t] = np.where(over, off, 0)
    return Filled(block, error, filled, unfilled)


def _blended(
    series: Series, date: int, wanted: Mask, spans: list[list[Span]], method: str
) -> tuple[Floats, Floats]:
    """Estimate one date: values and errors (C, h, w), NaN where nothing is wanted or known."""
    values, error = (np.zeros((series.bands, *wanted.shape), np.float32) for _ in range(2))
    total = np.zeros(wanted.shape, np.float32)
    for down, across in itertools.product(*spans):
        weight = down.weight[:, None] * across.weight
        y, x = slice(down.start, down.stop), slice(across.start, across.stop)
        pixels = np.flatnonzero(wanted[y, x] & (weight > 0))
        if not pixels.size:
            continue
        engine = _engine(series, y, x, method)
        found = engine.estimate(date, pixels)
        known = np.isfinite(found.values).all(axis=0)
        rows, columns = np.divmod(pixels[known], weight.shape[1])
        share = weight[rows, columns]
        rows, columns = rows + y.start, columns + x.start
        values[:, rows, columns] += share * found.values[:, known]
        error[:, rows, columns] += share * found.error[:, known]
        total[rows, columns] += share
    total[total == 0] = np.nan
    values /= total
    error /= total
    return values, error


def _engine(series: Series, rows: slice, columns: slice, method: str) -> Engine:
    """Return an engine for a window. It is a copy, and kept no longer than one date takes."""
    window = Series(
        np.ascontiguousarray(series.values[..., rows, columns]),
        np.ascontiguousarray(series.clear[:, rows, columns]),
        series.days,
    )
    return Spectral(window) if method == "spectral" else Temporal(window, method)


def _spans(size: int, first: int, last: int) -> Iterator[Span]:
    """Yield the windows of an axis that count inside of cells [first, last).

    Positions are those of the block with what lies around it. A window lies around each inner edge
    of two cells; at the ends of the image the outermost window counts alone.
    """
    edges = cells(size)
    count, origin = len(edges) - 1, reach(size, first, last)[0]
    start, stop = edges[first], edges[last]
    if count < 3:
        yield Span(0, size, np.ones(size, np.float32))
        return
    for k in range(max(1, first), min(count - 1, last) + 1):
        a, b = edges[k - 1], edges[k + 1]
        at = np.arange(a, b)
        up = np.ones(b - a) if k == 1 else (at + 0.5 - a) / (edges[k] - a)
        down = np.ones(b - a) if k == count - 1 else (b - at - 0.5) / (b - edges[k])
        # Blended over the middle third of a cell: most pixels are estimated once or twice.
        weight = (3 * np.where(at < edges[k], up, down) - 1).clip(0, 1)
        weight[(at < start) | (at >= stop)] = 0
        if weight.any():
            yield Span(a - origin, b - origin, weight.astype(np.float32))


def _own(size: int, first: int, last: int) -> slice:
    """Return where the cells of a block lie in what was read for it."""
    edges, origin = cells(size), reach(size, first, last)[0]
    return slice(edges[first] - origin, edges[last] - origin)


def _stored(found: Floats, dtype: np.dtype[Any], nodata: float | str | None) -> NDArray[Any]:
    """Return estimates as the data have them; nodata where there is none, and only there."""
    known = np.isfinite(found)
    empty = np.nan if nodata is None or isinstance(nodata, str) else nodata
    if dtype.kind == "f":
        return np.where(known, found, empty).astype(dtype)
    limits = np.iinfo(dtype)
    whole = np.rint(np.where(known, found, 0)).astype(np.float64).clip(limits.min, limits.max)
    if np.isfinite(empty):
        beside = empty + 1 if empty < limits.max else empty - 1
        whole[whole == empty] = beside
    whole[~known] = empty if np.isfinite(empty) else 0
    return whole.astype(dtype)

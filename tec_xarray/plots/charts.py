"""Charts: a pixel over time, bytes by chunk, rate and distortion, how large errors are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.layout import Bands, as_dataset, cube_of
from tec_xarray.plots.data import bands_of, before_and_after, meaning_of, pick
from tec_xarray.plots.images import aligned
from tec_xarray.plots.themes import Picture, find_theme, grid, new_figure, paint
from tec_xarray.report.formatting import decimal, span
from tec_xarray.report.metrics import INDICES, Floats
from tec_xarray.report.stored_size import find_array
from tec_xarray.store.chunk_sizes import chunk_sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tec_xarray.report.rate_sweep import Sweep
    from tec_xarray.report.report import Report

_MARKS = "osD^vP"
_MOST_LINES = 6  # colors that people tell apart
_AXES = {
    "psnr": "PSNR (dB, peak 10,000 DN)",
    "rmse": "RMSE (DN, reflectance x 10,000)",
    "max_error": "largest error (DN, reflectance x 10,000)",
    "p95": "95 % of errors within (DN, reflectance x 10,000)",
    "ssim": "SSIM",
    "spectral_angle": "spectral angle (degrees)",
    "ndvi_rmse": "RMSE of NDVI",
    "ndwi_rmse": "RMSE of NDWI",
}


def time_series(
    original: xr.Dataset | xr.DataArray,
    decoded: xr.Dataset | xr.DataArray,
    *,
    y: int,
    x: int,
    show: str | Sequence[str] = "NDVI",
    bands: Bands | None = None,
    sensor: str | None = None,
    variable: str | None = None,
    title: str | None = None,
    theme: str | None = None,
) -> Picture:
    """Draw one pixel over time, before and after, and the difference below.

    Parameters
    ----------
    original, decoded : xarray.Dataset or xarray.DataArray
        Bands in any layout, of the same shape.
    y, x : int
        Position of the pixel.
    show : {"NDVI", "NDWI"} or list of str
        An index, or up to six bands.
    bands, sensor, variable : optional
        How the bands of the original are called, as of `tec_xarray.to_cube`. Default: as the
        stored cube remembers it, or as the names say.
    title, theme : str, optional
        As of `rgb`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InvalidInput
        There is no such pixel, index or band, or shapes differ.
    """
    look = find_theme(theme)
    naming = {"bands": bands, "sensor": sensor, "variable": variable}
    cube, other = before_and_after(original, decoded, **naming)
    other = aligned(cube, other)
    _, _, H, W = cube.shape
    if not (0 <= y < H and 0 <= x < W):
        raise InvalidInput(f"pixel y {y}, x {x}", allowed=f"0 ... {H - 1} and 0 ... {W - 1}")
    lines, unit = _pixel(cube, other, y, x, show)
    times = cube[cube.dims[0]] if cube.dims[0] in cube.coords else np.arange(cube.shape[0])
    values: Any = np.asarray(times)
    figure = new_figure(8.4, 4.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for (label, before, after), color, mark in zip(lines, look.lines, _MARKS, strict=False):
        above.plot(values, before, color=color, marker=mark, label=f"{label}, original")
        above.plot(values, after, color=color, marker=mark, markerfacecolor="none",
                   linestyle="--", label=f"{label}, decoded")  # fmt: skip
        below.plot(values, after - before, color=color, marker=mark, markersize=4)
    below.axhline(0, color=look.text, linewidth=0.8)
    above.set_ylabel(unit)
    below.set_ylabel("difference" if unit.startswith(tuple(INDICES)) else "difference (DN)")
    below.set_xlabel(_time_label(cube))
    if values.dtype.kind != "M":
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (above, below):
        grid(axes, look)
        _plain_numbers(axes)
    above.legend(fontsize=9, ncols=min(len(lines), 3))
    above.set_title(title or f"pixel y {y}, x {x}", fontsize=11)
    figure.align_ylabels()
    paint(figure, look)
    return figure


def chunk_bytes(
    data: xr.Dataset,
    *,
    time_chunk: int = 0,
    store: Any = None,
    group: str | None = None,
    storage_options: dict[str, Any] | None = None,
    title: str | None = None,
    theme: str | None = None,
) -> Picture:
    """Draw what each chunk of a stored cube costs, in kB. Only the shards' indices are read.

    Parameters
    ----------
    data : xarray.Dataset
        What ``compress(store=...)`` or ``xr.open_zarr`` of a compressed store returned.
    time_chunk : int
        Which of the chunks along time.
    store, group, storage_options : optional
        As of `tec_xarray.compare`.
    title, theme : str, optional
        As of `rgb`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InvalidInput
        The store is not known, or has no such chunk.
    """
    look, cube = find_theme(theme), cube_of(as_dataset(data))
    _, array = find_array(data, cube, store=store, group=group, storage_options=storage_options)
    sizes = chunk_sizes(array)
    if not 0 <= time_chunk < len(sizes):
        raise InvalidInput(f"time_chunk = {time_chunk}", allowed=f"0 ... {len(sizes) - 1}")
    shown: Floats = sizes[time_chunk] / 1e3
    dates, height, width = array.chunks[0], *array.chunks[2:]
    edges = [np.minimum(np.arange(n + 1) * size, whole) for n, size, whole in
             zip(shown.shape, (height, width), array.shape[2:], strict=True)]  # fmt: skip
    aspect = min(max(array.shape[2] / array.shape[3], 0.3), 3.0)
    figure = new_figure(6.6, 5.4 * aspect + 0.9)
    axes = figure.subplots()
    mesh = axes.pcolormesh(edges[1], edges[0], shown, cmap=look.magnitude, vmin=0)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_xlabel("x (pixels)")
    axes.set_ylabel("y (pixels)")
    figure.colorbar(mesh, ax=axes, shrink=0.9).set_label("kB in a chunk")
    first = time_chunk * dates
    last = min(first + dates, array.shape[0]) - 1
    total = sizes[time_chunk].sum() / 1e3
    axes.set_title(
        title or f"dates {first} to {last}: {total:,.1f} kB in {shown.size} chunks of up to "
        f"{height} x {width}",
        fontsize=10,
    )  # fmt: skip
    _plain_numbers(axes)
    paint(figure, look)
    return figure


def rate_distortion(
    sweep: Sweep, *, metric: str = "psnr", title: str | None = None, theme: str | None = None
) -> Picture:
    """Draw quality against size for the settings of a sweep.

    Parameters
    ----------
    sweep : Sweep
        What ``ds.tec.sweep(...)`` returned.
    metric : str
        ``"psnr"``, ``"rmse"``, ``"max_error"``, ``"p95"``, ``"ssim"``, ``"spectral_angle"``,
        ``"ndvi_rmse"`` or ``"ndwi_rmse"``.
    title, theme : str, optional
        As of `rgb`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InvalidInput
        There is no such metric.
    """
    look = find_theme(theme)
    if metric not in _AXES:
        raise InvalidInput(f"metric = {metric!r}", allowed=", ".join(map(repr, _AXES)))
    figure = new_figure(7.4, 4.8)
    axes = figure.subplots()
    upwards = metric in ("psnr", "ssim")
    for i, ((name, points), color, mark) in enumerate(
        zip(sweep.curves().items(), look.lines * 2, _MARKS * 2, strict=False)
    ):
        # The first curve is labeled on its open side, the others on the other one.
        place = (-4, 6) if upwards == (i == 0) else (5, -10) if upwards else (5, 5)
        place = place if i == 0 or upwards else (-6, -11)
        order = sorted((p for p in points if np.isfinite(getattr(p, metric))),
                       key=lambda p: p.bits_per_sample)  # fmt: skip
        rates = [p.bits_per_sample for p in order]
        axes.plot(rates, [getattr(p, metric) for p in order], color=color, marker=mark, label=name)
        for point in order:
            axes.annotate(
                point.label, (point.bits_per_sample, getattr(point, metric)),
                xytext=place, textcoords="offset points", fontsize=8,
                ha="right" if place[0] < 0 else "left",
            )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.09, y=0.1)
    axes.set_xlabel("bits per pixel and band, as stored")
    axes.set_ylabel(_AXES[metric])
    grid(axes, look)
    axes.legend(fontsize=9)
    axes.set_title(title or sweep.where, fontsize=10)
    paint(figure, look)
    return figure


def histogram(
    report: Report, *, band: str = "all", title: str | None = None, theme: str | None = None
) -> Picture:
    """Draw how many samples are off by how many DN.

    Parameters
    ----------
    report : Report
        What ``ds.tec.report(original)`` returned.
    band : str
        A band, or ``"all"``.
    title, theme : str, optional
        As of `rgb`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InvalidInput
        The report has no such band.
    """
    look = find_theme(theme)
    counts = report.histogram.counts
    if band not in counts:
        raise InvalidInput(f"band = {band!r}", allowed=", ".join(counts))
    edges = report.histogram.edges
    names = [span(low, high).removesuffix(" DN") for low, high in
             zip(edges[:-1], edges[1:], strict=True)]  # fmt: skip
    share = 100 * np.array(counts[band]) / max(sum(counts[band]), 1)
    figure = new_figure(7.4, 5.6)
    axes = figure.subplots()
    axes.barh(range(len(share)), share, color=look.lines[0], height=0.85)
    axes.set_yticks(range(len(share)), [name.replace(" DN", "") for name in names], fontsize=8)
    axes.set_xlabel("samples (%)")
    axes.set_ylabel("error, decoded minus original (DN, reflectance x 10,000)")
    grid(axes, look)
    axes.grid(visible=False, axis="y")
    row = next(r for r in (*report.bands, report.total) if r.label == band)
    axes.set_title(
        title or f"{'all bands' if band == 'all' else band}: RMSE {decimal(row.rmse, 1)} DN, "
        f"95 % within {decimal(row.p95, 0)} DN",
        fontsize=10,
    )  # fmt: skip
    paint(figure, look)
    return figure


def _pixel(
    cube: xr.DataArray, other: xr.DataArray, y: int, x: int, show: str | Sequence[str]
) -> tuple[list[tuple[str, Floats, Floats]], str]:
    """Return what to draw of one pixel: label, before, after; and the unit."""
    index = show if isinstance(show, str) else None
    if index is not None and index not in INDICES:
        raise InvalidInput(
            f"show = {show!r}", allowed=f"{', '.join(map(repr, INDICES))}, or a list of bands"
        )
    names = list(INDICES[index]) if index is not None else [str(name) for name in show]
    if not 0 < len(names) <= _MOST_LINES:
        raise InvalidInput(f"{len(names)} bands", allowed=f"1 to {_MOST_LINES}")
    series = []
    for one in (cube, other):
        picked = pick(one, names, "a time series")
        values = picked.isel({one.dims[2]: y, one.dims[3]: x}).values  # (T, C)
        dn, valid = meaning_of(one).apply(values)
        series.append(np.where(valid, dn, np.nan).T)
    if index is None:
        labels = bands_of(pick(cube, names, "a time series"))
        return list(zip(labels, *series, strict=True)), "DN (reflectance x 10,000)"
    with np.errstate(invalid="ignore", divide="ignore"):
        before, after = ((a - b) / (a + b) for a, b in series)
    return [(index, before, after)], f"{index} (no unit)"


def _time_label(cube: xr.DataArray) -> str:
    time = cube.dims[0]
    if time not in cube.coords:
        return "date (position)"
    if cube[time].dtype.kind == "M":
        return "date"
    return str(cube[time].attrs.get("long_name", time)).partition(",")[0]


def _plain_numbers(axes: Axes) -> None:
    """No exponents and no offsets on linear axes."""
    for axis in (axes.xaxis, axes.yaxis):
        formatter: Any = axis.get_major_formatter()
        for method in ("set_scientific", "set_useOffset"):
            if hasattr(formatter, method):
                getattr(formatter, method)(False)

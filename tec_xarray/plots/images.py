"""Pictures of pixels: composites, before and after, and where the errors are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from matplotlib.colors import to_rgb

from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.layout import Bands
from tec_xarray.plots.data import (
    Composite,
    Stretch,
    bands_of,
    before_and_after,
    composite_bands,
    cube_from,
    date_label,
    limits_of,
    meaning_of,
    percentile,
    pick,
    plane_of,
    round_up,
    step_of,
    stretched,
)
from tec_xarray.plots.themes import Picture, find_theme, new_figure, paint
from tec_xarray.report.metrics import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DN = "DN (reflectance x 10,000)"


def rgb(
    data: xr.Dataset | xr.DataArray,
    composite: Composite = "true color",
    *,
    date: int = 0,
    stretch: Stretch = "shared",
    bands: Bands | None = None,
    sensor: str | None = None,
    variable: str | None = None,
    title: str | None = None,
    theme: str | None = None,
) -> Picture:
    """Draw one date in three bands of your choice.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        Bands in any layout, before or after compression.
    composite : {"true color", "false color"} or sequence of three str
        B04, B03, B02; B08, B04, B03; or any bands for red, green and blue, by any of their names.
    date : int
        Position of the date.
    stretch : {"shared", "band"} or (float, float)
        Black and white in DN: from the percentiles 0.5 and 98.5 of all three bands, of each, or
        as given.
    bands, sensor, variable : optional
        How the bands are called, as of `tec_xarray.to_cube`. Default: as the names say.
    title : str, optional
        Default: the bands and the date.
    theme : {"light", "dark"}, optional
        Default: as matplotlib's style is.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with ``.savefig(path)``; a notebook shows it by itself.

    Raises
    ------
    InvalidInput
        A band is missing, or there is no such date, composite, stretch or theme.
    """
    look = find_theme(theme)
    cube = cube_from(data, bands=bands, sensor=sensor, variable=variable)
    name, shown = composite_bands(composite)
    plane = plane_of(pick(cube, shown, name), date, meaning_of(cube))  # (3, H, W)
    figure = new_figure(5.6, 5.6 * _aspect(plane) + 0.4)
    axes = figure.subplots()
    image = stretched(plane, limits_of(plane, stretch), to_rgb(look.missing))
    _show(axes, image, title or f"{name}, {date_label(cube, date)}{_thinned(cube)}")
    paint(figure, look)
    return figure


def side_by_side(
    original: xr.Dataset | xr.DataArray,
    decoded: Mapping[str, xr.Dataset | xr.DataArray],
    *,
    date: int = 0,
    composite: Composite | Sequence[Composite] = "true color",
    stretch: Stretch = "shared",
    scale: float | None = None,
    bands: Bands | None = None,
    sensor: str | None = None,
    variable: str | None = None,
    title: str | None = None,
    theme: str | None = None,
) -> Picture:
    """Draw original, reconstruction and error next to each other.

    Parameters
    ----------
    original : xarray.Dataset or xarray.DataArray
        Bands in any layout.
    decoded : dict of xarray.Dataset or xarray.DataArray
        Reconstructions of the same shape, by what to call them: a row for each, and composite.
    date : int
        Position of the date.
    composite : str, sequence of three str, or list of such
        As of `rgb`; a list gives a row for each.
    stretch
        As of `rgb`. It is taken from the original, and the same for all.
    scale : float, optional
        Value of 1 DN (1e-4 for reflectance). Default: as the codec or the dtype says.
    bands, sensor, variable : optional
        How the bands of the original are called, as of `tec_xarray.to_cube`. Default: as the
        stored cube remembers it, or as the names say.
    title, theme : str, optional
        Of the whole figure; as of `rgb`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InvalidInput
        A band is missing, or shapes differ.
    """
    look = find_theme(theme)
    if not decoded:
        raise InvalidInput("nothing to compare with", allowed="at least one reconstruction")
    naming = {"bands": bands, "sensor": sensor, "variable": variable}
    pairs = {label: before_and_after(original, d, **naming) for label, d in decoded.items()}
    cube = next(iter(pairs.values()))[0]
    composites = [composite_bands(one) for one in _several(composite)]
    others = {label: aligned(cube, other) for label, (_, other) in pairs.items()}
    names = bands_of(cube)
    rows = [
        _row(cube, others[label], label, name, shown, shown if len(composites) > 1 else names,
             date=date, scale=scale)
        for label in others
        for name, shown in composites
    ]  # fmt: skip
    top = round_up(max(percentile(row.error, 99.5) for row in rows))
    height = 3.6 * _aspect(rows[0].error) + 0.45
    figure = new_figure(12.2, height * len(rows) + (0.5 if title else 0.1))
    panels = figure.subplots(len(rows), 3, squeeze=False)
    missing = to_rgb(look.missing)
    for (before, after, away), row in zip(panels, rows, strict=True):
        limits = limits_of(row.before, stretch)
        _show(before, stretched(row.before, limits, missing),
              f"original, {row.name}{_thinned(cube)}")  # fmt: skip
        _show(after, stretched(row.after, limits, missing), row.label)
        image = away.imshow(row.error, cmap=look.magnitude, vmin=0, vmax=top)
        _bare(away, f"mean |error| of {row.bands} bands")
        bar = figure.colorbar(image, ax=away, extend="max", shrink=0.9)
        bar.set_label(DN)
    if title:
        figure.suptitle(title, fontsize=12)
    paint(figure, look)
    return figure


def error_maps(
    original: xr.Dataset | xr.DataArray,
    decoded: xr.Dataset | xr.DataArray,
    *,
    bands: Bands | None = None,
    sensor: str | None = None,
    variable: str | None = None,
    date: int = 0,
    limit: float | None = None,
    title: str | None = None,
    theme: str | None = None,
) -> Picture:
    """Draw where each band is too bright or too dark: decoded minus original, in DN.

    Parameters
    ----------
    original, decoded : xarray.Dataset or xarray.DataArray
        Bands in any layout, of the same shape.
    bands : list or dict of str, optional
        Which to draw; a dict says how the original calls them, as of `tec_xarray.to_cube`.
        Default: all.
    sensor, variable : optional
        Of the original, as of `tec_xarray.to_cube`.
    date : int
        Position of the date.
    limit : float, optional
        DN at the ends of the colors. Default: what 99.5 % of the errors do not exceed, rounded.
    title, theme : str, optional
        As of `rgb`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InvalidInput
        A band is missing, or shapes differ.
    """
    look = find_theme(theme)
    naming = {"bands": bands if isinstance(bands, Mapping) else None}
    cube, other = before_and_after(original, decoded, **naming, sensor=sensor, variable=variable)
    other = aligned(cube, other)
    shown = list(bands.values() if isinstance(bands, Mapping) else bands or ())
    names = bands_of(pick(cube, shown, "error maps")) if shown else bands_of(cube)
    planes = [
        plane_of(pick(one, names, "error maps"), date, meaning_of(one)) for one in (cube, other)
    ]
    error = planes[1] - planes[0]  # (C, H, W)
    ends = round_up(percentile(np.abs(error), 99.5)) if limit is None else float(limit)
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(3.0 * columns + 0.9, (2.9 * _aspect(error) + 0.35) * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False)
    image = None
    for axes, name, band in zip(panels.flat, names, error, strict=False):
        image = axes.imshow(band, cmap=look.signed, vmin=-ends, vmax=ends)
        _bare(axes, f"{name}: RMSE {_rms(band):,.1f} DN")
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    if image is not None:
        bar = figure.colorbar(image, ax=panels, extend="both", shrink=0.9, aspect=30)
        bar.set_label(f"error, decoded minus original, in {DN}")
    figure.suptitle(title or f"errors, {date_label(cube, date)}{_thinned(cube)}", fontsize=12)
    paint(figure, look)
    return figure


def aligned(cube: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """Return a cube with the bands of another one, in its order.

    Raises
    ------
    InvalidInput
        Dates or pixels are not as many, or a band is missing.
    """
    if bands_of(other) != bands_of(cube):
        other = pick(other, bands_of(cube), "the comparison")
    if other.shape != cube.shape:
        raise InvalidInput(
            f"shapes {cube.shape} and {other.shape}",
            allowed="the same dates and pixels",
            fix="select the same part of both",
        )
    return other


@dataclass(frozen=True)
class _Row:
    """What one row of `side_by_side` shows; planes (3, H, W) and a map (H, W), in DN."""

    label: str
    name: str
    before: Floats
    after: Floats
    error: Floats
    bands: int


def _row(
    cube: xr.DataArray,
    other: xr.DataArray,
    label: str,
    name: str,
    bands: Sequence[str],
    measured: Sequence[str],
    *,
    date: int,
    scale: float | None,
) -> _Row:
    """Read what a row shows: a composite, and the error of the bands to be `measured`."""
    shown, whole = (
        [plane_of(pick(one, some, name), date, meaning_of(one, scale)) for one in (cube, other)]
        for some in (bands, measured)
    )
    return _Row(label, name, shown[0], shown[1], _mean_error(*whole), len(measured))


def _several(composite: Composite | Sequence[Composite]) -> list[Composite]:
    """Tell one composite from a list of them: three bands are one."""
    if isinstance(composite, str):
        return [composite]
    items = list(composite)
    named = [isinstance(item, str) and item not in ("true color", "false color")
             for item in items]  # fmt: skip
    return [tuple(str(item) for item in items)] if items and all(named) else list(items)


def _mean_error(original: Floats, decoded: Floats) -> Floats:
    """Return the mean magnitude of the errors over the bands, (C, H, W) to (H, W)."""
    error = np.abs(decoded - original)
    valid = np.isfinite(error)
    total = np.where(valid, error, 0).sum(axis=0)
    count = valid.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _rms(error: Floats) -> float:
    finite = error[np.isfinite(error)]
    return float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0


def _aspect(planes: Floats) -> float:
    """Return height over width, within what fits on a page."""
    return min(max(planes.shape[-2] / planes.shape[-1], 0.2), 3.0)


def _thinned(cube: xr.DataArray) -> str:
    step = step_of(cube)
    return "" if step == 1 else f" (1 pixel in {step} each way)"


def _show(axes: Axes, image: Floats, title: str) -> None:
    axes.imshow(image)
    _bare(axes, title)


def _bare(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])

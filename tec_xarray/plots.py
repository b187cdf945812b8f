"""Pictures of a cube before and after: what a person looks at before trusting a lossy format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tec_numcodecs.errors import InvalidInput
from tec_xarray._find import find_axes
from tec_xarray.metrics import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COMPOSITES = {
    "true colour": ("B04", "B03", "B02"),
    "false colour": ("B08", "B04", "B03"),
}
_GAMMA = 0.8  # lifts dark vegetation a little, as screens are read


def side_by_side(
    original: xr.DataArray,
    decoded: Mapping[str, xr.DataArray],
    *,
    date: int = 0,
    composite: str = "true colour",
    scale: float = 1.0,
    title: str | None = None,
) -> Figure:
    """Draw original, reconstruction and error next to each other, a row for each reconstruction.

    Parameters
    ----------
    original : xarray.DataArray
        A cube (time, band, y, x) with canonical band labels, as `tec_xarray.to_cube` gives.
    decoded : dict of xarray.DataArray
        Reconstructions of the same shape, by what to call them.
    date : int
        Which date to show.
    composite : {"true colour", "false colour"}
        B04, B03, B02 or B08, B04, B03 as red, green, blue.
    scale : float
        Value of 1 DN (1e-4 for reflectance), so that errors are drawn in DN.
    title : str, optional
        Of the whole figure.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with ``.savefig(path)``; a notebook shows it by itself. No global state of
        matplotlib is touched.

    Raises
    ------
    InvalidInput
        A band of the composite is missing, or shapes differ.
    """
    from matplotlib.figure import Figure

    if not decoded:
        raise InvalidInput("nothing to compare with", allowed="at least one reconstruction")
    plane = original.isel({original.dims[0]: date})  # (C, H, W)
    low, high = _limits(_composite(plane, composite))
    errors = {
        label: _mean_error(plane, other.isel({other.dims[0]: date}), scale)
        for label, other in decoded.items()
    }
    top = _round_up(max(float(np.nanpercentile(error, 99.5)) for error in errors.values()))
    H, W = plane.shape[1:]
    height = 3.6 * H / W
    size = (12.2, (height + 0.45) * len(decoded) + (0.5 if title else 0.1))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(decoded), 3, squeeze=False)
    for row, (label, other) in zip(axes, decoded.items(), strict=True):
        shown = other.isel({other.dims[0]: date})
        _draw(row[0], _stretch(_composite(plane, composite), low, high), f"original, {composite}")
        _draw(row[1], _stretch(_composite(shown, composite), low, high), label)
        image = row[2].imshow(errors[label], cmap="magma", vmin=0, vmax=top)
        _bare(row[2], f"mean |error| of {plane.shape[0]} bands")
        bar = figure.colorbar(image, ax=row[2], extend="max", shrink=0.9)
        bar.set_label("DN (reflectance x 10,000)")
    if title:
        figure.suptitle(title, fontsize=12)
    return figure


def _composite(plane: xr.DataArray, composite: str) -> Floats:
    """Return three bands as (H, W, 3), NaN where there are no data."""
    if composite not in COMPOSITES:
        raise InvalidInput(
            f"composite = {composite!r}", allowed=", ".join(map(repr, COMPOSITES))
        )
    band = str(find_axes(plane).band)
    there = [str(name) for name in plane[band].values]
    missing = [name for name in COMPOSITES[composite] if name not in there]
    if missing:
        raise InvalidInput(
            f"no {', '.join(missing)} for {composite}",
            allowed=", ".join(there),
            fix="choose another composite",
        )
    picked = plane.isel({band: [there.index(name) for name in COMPOSITES[composite]]})
    values = np.moveaxis(picked.values.astype(np.float64), 0, -1)
    nodata = plane.attrs.get("nodata")
    return values if nodata is None else np.where(values == nodata, np.nan, values)


def _limits(rgb: Floats) -> tuple[float, float]:
    """Return one stretch for three bands: one for each would change the colours."""
    valid = rgb[np.isfinite(rgb)]
    if valid.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(valid, (0.5, 98.5)))
    return low, max(high, low + 1e-9)


def _stretch(rgb: Floats, low: float, high: float) -> Floats:
    """Map low ... high to 0 ... 1; missing pixels become grey."""
    stretched: Floats = np.clip((rgb - low) / (high - low), 0, 1) ** _GAMMA
    return np.where(np.isnan(stretched), 0.5, stretched)


def _mean_error(original: xr.DataArray, decoded: xr.DataArray, scale: float) -> Floats:
    """Return the mean magnitude of the errors over the bands, in DN: (H, W)."""
    if original.shape != decoded.shape:
        raise InvalidInput(
            f"shapes {original.shape} and {decoded.shape}", allowed="the same date and window"
        )
    error = np.abs(decoded.values.astype(np.float64) - original.values.astype(np.float64))
    mean: Floats = error.mean(axis=0) / scale
    return mean


def _round_up(value: float) -> float:
    """Return the next round number: a limit that a colour bar can label."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return float(next(step * power for step in steps if step * power >= value))


def _draw(axes: Axes, image: NDArray[Any], title: str) -> None:
    axes.imshow(image)
    _bare(axes, title)


def _bare(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])

"""What pictures are made of: planes in DN, composites, stretches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from tec_numcodecs.arithmetic import ieee754
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.bands import places_of_bands
from tec_xarray.cube.layout import as_dataset
from tec_xarray.cube.layout_record import LAYOUT
from tec_xarray.cube.naming import cube_like
from tec_xarray.cube.units import DNScaling
from tec_xarray.report.blockwise import scaling_of
from tec_xarray.report.metrics import Floats
from tec_xarray.store.codec_metadata import configuration_in

Composite: TypeAlias = "str | Sequence[str]"
Stretch: TypeAlias = "str | tuple[float, float]"

COMPOSITES = {
    "true color": ("red", "green", "blue"),
    "false color": ("nir", "red", "green"),
}
MOST_PIXELS = 1200  # drawn along a side; of more, every second, third, ... is
_GAMMA = 0.8  # lifts dark vegetation a little, as screens are read


def cube_from(data: xr.Dataset | xr.DataArray, **naming: Any) -> xr.DataArray:
    """Return data of any layout as (time, band, y, x); naming as of `cube_like`."""
    return cube_like(data, **naming)


def before_and_after(
    original: xr.Dataset | xr.DataArray, decoded: xr.Dataset | xr.DataArray, **naming: Any
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return two cubes; the original's bands are named as the decoded cube remembers them.

    What `naming` says is said of the original, and of the decoded one if that is no cube of ours.
    """
    there = as_dataset(decoded)
    ours = any(LAYOUT in array.attrs for array in there.data_vars.values())
    other = cube_like(there, **({} if ours else naming))
    return cube_like(original, other, **naming), other


def bands_of(cube: xr.DataArray) -> list[str]:
    """Return the canonical names of the bands of a cube."""
    return [str(name) for name in np.atleast_1d(cube[cube.dims[1]].values)]


def meaning_of(cube: xr.DataArray, scale: float | None = None) -> DNScaling:
    """Tell how to turn the values of a cube into DN."""
    codec = configuration_in(cube.encoding)
    dtype = np.dtype(cube.encoding.get("dtype", cube.dtype)) if codec else cube.dtype
    found = scaling_of(codec, dtype, cube)
    return found if scale is None else DNScaling(scale, found.offset, found.nodata)


def pick(cube: xr.DataArray, names: Sequence[str], what: str) -> xr.DataArray:
    """Return some bands of a cube, in the order asked for.

    Raises
    ------
    InvalidInput
        A name is none of a band, or the cube lacks that band.
    """
    places = places_of_bands(cube, names)
    there = bands_of(cube)
    missing = [str(name) for name, place in zip(names, places, strict=True) if place < 0]
    if missing:
        raise InvalidInput(
            f"no {', '.join(missing)} for {what}",
            allowed=", ".join(there),
            fix="choose bands that the cube has",
        )
    return cube.isel({cube.dims[1]: places})


@ieee754
def plane_of(cube: xr.DataArray, date: int, scaling: DNScaling) -> Floats:
    """Return one date in DN, (C, H, W), thinned out if it is large; NaN where data are missing."""
    T = cube.shape[0]
    if not -T <= date < T:
        raise InvalidInput(f"date = {date}", allowed=f"0 ... {T - 1}, the position of a date")
    step = step_of(cube)
    _, _, y, x = cube.dims
    thin = slice(None, None, step)
    values = cube.isel({cube.dims[0]: date, y: thin, x: thin}).values
    dn, valid = scaling.apply(values)
    return np.where(valid, dn, np.nan)


def step_of(cube: xr.DataArray) -> int:
    """Return which of the pixels are drawn: every one, every second, ..."""
    return max(1, math.ceil(max(cube.shape[2:]) / MOST_PIXELS))


def composite_bands(composite: Composite) -> tuple[str, tuple[str, ...]]:
    """Return what a composite is called and its bands for red, green and blue."""
    if isinstance(composite, str):
        if composite not in COMPOSITES:
            raise InvalidInput(
                f"composite = {composite!r}",
                allowed=f"{', '.join(map(repr, COMPOSITES))}, or three bands",
                fix="for example composite=('B12', 'B08', 'B04')",
            )
        return composite, COMPOSITES[composite]
    bands = tuple(composite)
    if len(bands) != 3:
        raise InvalidInput(f"{len(bands)} bands for a composite", allowed="three: red, green, blue")
    names = tuple(str(band) for band in bands)
    return ", ".join(names), names


@ieee754
def limits_of(rgb: Floats, stretch: Stretch) -> tuple[Floats, Floats]:
    """Return DN of black and of white for each of three planes (3, H, W).

    "shared" takes the range of all three, so that colors keep their meaning; "band" one for each,
    which shows more where bands differ a lot.
    """
    if isinstance(stretch, str):
        if stretch not in ("shared", "band"):
            raise InvalidInput(
                f"stretch = {stretch!r}", allowed="'shared', 'band', or (black, white) in DN"
            )
        groups = [rgb] * 3 if stretch == "shared" else list(rgb)
        pairs = [_percentiles(group) for group in groups]
    else:
        low, high = (float(v) for v in stretch)
        if not low < high:
            raise InvalidInput(f"stretch = {stretch}", allowed="black below white, in DN")
        pairs = [(low, high)] * 3
    low_high = np.array(pairs).T[:, :, None, None]  # (2, 3, 1, 1)
    return low_high[0], low_high[1]


@ieee754
def stretched(rgb: Floats, limits: tuple[Floats, Floats], missing: tuple[float, ...]) -> Floats:
    """Map (3, H, W) in DN to an image (H, W, 3) of 0 ... 1."""
    low, high = limits
    image: Floats = np.clip((rgb - low) / (high - low), 0, 1) ** _GAMMA
    image = np.moveaxis(image, 0, -1)
    gaps = np.isnan(image).any(axis=-1, keepdims=True)
    return np.where(gaps, np.array(missing), image)


def round_up(value: float) -> float:
    """Return the next round number: a limit that a color bar can label."""
    if not value > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return float(next(step * power for step in steps if step * power >= value * (1 - 1e-12)))


def percentile(values: Floats, share: float) -> float:
    """Return a percentile of what is finite; 0 of nothing."""
    finite = values[np.isfinite(values)]
    return float(np.percentile(finite, share)) if finite.size else 0.0


def date_label(cube: xr.DataArray, date: int) -> str:
    """Return what to call a date: its label, or its number."""
    time = cube.dims[0]
    label: Any = cube[time].values[date] if time in cube.coords else date % cube.shape[0]
    return str(label)[:10] if np.asarray(label).dtype.kind == "M" else f"date {label}"


def _percentiles(values: Floats) -> tuple[float, float]:
    low, high = percentile(values, 0.5), percentile(values, 98.5)
    return low, max(high, low + 1e-9)

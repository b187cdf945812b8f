"""`inpaint`: gaps under clouds filled by what the series knows, lazily."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping
from itertools import pairwise

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed
from numpy.typing import NDArray

from tec_numcodecs.arguments import choice
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.bands import find_axes
from tec_xarray.cube.layout import Bands, as_dataset, cube_of, to_cube
from tec_xarray.cube.units import nodata_of
from tec_xarray.encoding.second_loss import drop_codec
from tec_xarray.gapfill.masks import CLOUDS, hidden
from tec_xarray.gapfill.temporal import COVERAGE, NEED_DATES
from tec_xarray.gapfill.windows import ENGINES, Job, cells, fill_block, reach

_MOST_BYTES = 1 << 28  # that a block reads, more or less
_MOST_CELLS = 4  # of a block, each way


def inpaint(
    data: xr.Dataset | xr.DataArray,
    mask: xr.DataArray | NDArray[np.bool_] | str | None = None,
    method: str = "spectral",
    *,
    clouds: xr.DataArray | str | None = None,
    classes: Iterable[str | int] | None = None,
    dilate: int | None = None,
    nodata: int | float | str | None = "auto",
    bands: Bands | None = None,
    variable: str | None = None,
) -> xr.Dataset:
    """Fill hidden pixels of a series, and say how far the fill may be from the truth.

    Lazy: nothing is computed before values are wanted, block by block, and memory is bounded by
    dates times bands times a window of about a thousand pixels each way.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        At least two dates, in any layout that `tec_xarray.to_cube` takes: fresh, or opened from an
        archive. Any unit; integers or floats.
    mask : xarray.DataArray, array or str, optional
        Booleans (time, y, x), True where the ground is hidden; the name of such a variable;
        ``"nodata"``: fill samples that are missing; ``"scl"``: the same as ``clouds="scl"``.
    method : str
        ``"spectral"``: learns from the clear part of each date what the other dates say of it.
        ``"nearest"``, ``"linear"``, ``"median"``, ``"harmonic"``, ``"whittaker"``: in time only;
        see `tec_xarray.gapfill.temporal`.
    clouds : xarray.DataArray or str, optional
        A scene classification of Sentinel-2 (time, y, x), or the name of its variable; ``"scl"``
        finds it. With `mask`, both hide.
    classes : list of str or int, optional
        The classes that hide. Default: ``no_data``, ``saturated``, ``cloud_shadow``,
        ``cloud_medium``, ``cloud_high``, ``cirrus``.
    dilate : int, optional
        Pixels by which what is hidden grows. Default: 3 with `clouds`, else 0.
    nodata : int, float, str or None
        What marks missing samples, which nothing is learned from; as of `tec_xarray.compress`.
    bands, variable : optional
        As of `tec_xarray.to_cube`.

    Returns
    -------
    xarray.Dataset
        The cube (time, band, y, x), on dask, in the dtype of the data: what is not hidden is what
        it was, bit for bit. Beside it everything that stood beside it, and

        ``filled`` : bool (time, y, x)
            Where values are estimates.
        ``unfilled`` : bool (time, y, x)
            Where something is hidden and no other date is clear: nodata there, or 0 in integers
            without one. Its sum counts them.
        ``error`` : float32 (time, band, y, x)
            Half of the width of an interval around an estimate that holds the truth in nine of
            ten cases, in the unit of the data. 0 where nothing was filled, NaN where nothing could.

    Raises
    ------
    InvalidInput
        One date only, no mask, a mask that does not fit, no scene classification where one is
        asked for, an unknown method, or one that needs dates where there are none.
    MissingExtra
        scipy is not installed.

    Examples
    --------
    >>> import numpy as np, tec_xarray, tec_xarray.tutorial
    >>> scene = tec_xarray.tutorial.open_dataset("0173706").isel(y=slice(64), x=slice(64))
    >>> clouds = np.zeros((4, 64, 64), bool)
    >>> clouds[1, 20:40, 10:50] = True
    >>> full = scene.tec.inpaint(clouds)
    >>> int(full.filled.sum()), int(full.unfilled.sum())
    (800, 0)
    """
    choice("method", method, ENGINES)
    dataset = as_dataset(data)
    cubes = to_cube(dataset, bands=bands, variable=variable)
    cube = cube_of(cubes)
    _check(cubes, cube, method)
    axes = find_axes(cube)
    wanted, missing = hidden(
        dataset, cube, mask=mask, clouds=clouds, classes=classes, dilate=dilate
    )
    fill = nodata_of(cube, dataset, nodata)
    names = [str(name) for name in cube[axes.band].values]
    free = names.index("B10") if fill == 0 and "B10" in names else None
    job = Job(tuple(_days(cube, str(axes.time))), method, fill, free, missing)
    said: dict[str, object] = {"method": method}
    if mask is not None:
        said["mask"] = mask if isinstance(mask, str) else "given"
    if clouds is not None or said.get("mask") == "scl":
        said["classes"] = list(CLOUDS if classes is None else classes)
    return _together(cubes, cube, _blocks(cube, wanted, job), said)


def _together(
    cubes: xr.Dataset,
    cube: xr.DataArray,
    parts: tuple[da.Array, da.Array, da.Array, da.Array],
    said: Mapping[str, object],
) -> xr.Dataset:
    """Put the filled cube in the place of the cube, and what is known of it beside."""
    values, error, filled, unfilled = parts
    axes, name = find_axes(cube), str(cube.name)
    result = drop_codec(cubes)
    # What is read from the result is not what an archive holds: nothing of its encoding is true.
    kept = {k: v for k, v in cube.encoding.items() if k == "grid_mapping"}
    shared = {k: v for k, v in cube.attrs.items() if k == "grid_mapping"}
    unit = {k: v for k, v in cube.attrs.items() if k == "units"}
    width = f"half width of the {100 * COVERAGE:.0f} % interval of filled values"
    result[name] = result[name].copy(data=values)
    result["error"] = (cube.dims, error, {"long_name": width, **shared, **unit})
    dims = (axes.time, axes.y, axes.x)
    result["filled"] = (dims, filled, {"long_name": "estimated, not seen", **shared})
    result["unfilled"] = (dims, unfilled, {"long_name": "hidden, and not filled", **shared})
    for changed in (name, "error", "filled", "unfilled"):
        result[changed].encoding = dict(kept)
    result.attrs["tec_inpaint"] = json.dumps(said, default=str)
    return result


def _check(cubes: xr.Dataset, cube: xr.DataArray, method: str) -> None:
    """Refuse what cannot be filled."""
    axes = find_axes(cube)
    T = cube.sizes[axes.time]
    if T < 2:
        raise InvalidInput(
            f"{T} date{'' if T == 1 else 's'}",
            allowed="two dates or more: gaps of one are filled from the others",
            fix="load a longer series",
        )
    if cube.dtype.kind not in "iuf":
        raise InvalidInput(f"data of dtype {cube.dtype}", allowed="integers or floats")
    taken = [n for n in ("filled", "unfilled", "error") if n in cubes.variables]
    if taken:
        raise InvalidInput(
            f"a variable {', '.join(taken)} beside the cube, where the result would be",
            fix=f"rename it, or drop it: ds.drop_vars({taken})",
        )
    if method in NEED_DATES and _dates(cube, str(axes.time)) is None:
        raise InvalidInput(
            f"method={method!r} for a series without dates",
            allowed="'spectral', 'nearest' or 'linear', which use their order",
            fix="assign dates: ds.assign_coords(time=[...])",
        )


def _dates(cube: xr.DataArray, time: str) -> NDArray[np.float64] | None:
    """Return days since the first date, None where the labels are none."""
    if time not in cube.coords:
        return None
    labels = cube[time].values
    if labels.dtype.kind == "M":
        if np.isnat(labels).any():
            raise InvalidInput(
                "a date that is missing (NaT)",
                allowed="a date for every image",
                fix=f"ds.dropna({time!r}), or assign it",
            )
        return (labels - labels.min()) / np.timedelta64(1, "D")
    try:  # cftime, datetime.date, Timestamp with a time zone
        apart = [(label - labels[0]).total_seconds() / 86400 for label in labels]
    except (TypeError, AttributeError):
        return None
    return np.array(apart, np.float64)


def _days(cube: xr.DataArray, time: str) -> NDArray[np.float64]:
    """Return days, or the order of the images without dates."""
    days = _dates(cube, time)
    return np.arange(cube.sizes[time], dtype=np.float64) if days is None else days


def _blocks(
    cube: xr.DataArray, wanted: da.Array, job: Job
) -> tuple[da.Array, da.Array, da.Array, da.Array]:
    """Return the parts of `Filled` on dask."""
    T, C, H, W = cube.shape
    # `data` would read what xarray opened lazily without dask.
    own = cube.chunks is None
    source = (
        cube.chunk(dict(zip(cube.dims, (T, C, 1024, 1024), strict=True))) if own else cube
    ).data
    cuts = [_cuts(n, T * C * cube.dtype.itemsize) for n in (H, W)]
    kinds = ((cube.dtype, 4), (np.dtype("f4"), 4), (np.dtype("?"), 3), (np.dtype("?"), 3))
    rows: list[list[list[da.Array]]] = [[] for _ in kinds]
    fill = delayed(fill_block, pure=True)
    for down in pairwise(cuts[0]):
        for row in rows:
            row.append([])
        for across in pairwise(cuts[1]):
            y, x = slice(*reach(H, *down)), slice(*reach(W, *across))
            block = fill(source[..., y, x], wanted[:, y, x], (down, across), (H, W), job)
            size = [cells(n)[b] - cells(n)[a] for n, (a, b) in ((H, down), (W, across))]
            for k, (dtype, ndim) in enumerate(kinds):
                shape = (T, C, *size) if ndim == 4 else (T, *size)
                part = delayed(operator.getitem, pure=True)(block, k)
                rows[k][-1].append(da.from_delayed(part, shape, dtype))  # type: ignore[no-untyped-call]
    values, error, filled, unfilled = (da.block(row) for row in rows)  # type: ignore[no-untyped-call]
    return values, error, filled, unfilled


def _cuts(size: int, depth: int) -> list[int]:
    """Return the cells at which blocks of an axis begin and end; `depth` is bytes of a pixel."""
    edges = cells(size)
    count, side = len(edges) - 1, max(np.diff(edges))
    most = int(np.sqrt(_MOST_BYTES / max(depth, 1)) // side) - 2
    step = min(max(1, most), _MOST_CELLS)
    return [*range(0, count, step), count]

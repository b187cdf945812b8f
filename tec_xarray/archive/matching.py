"""What does not belong into an archive that is there: other settings, places, dates, variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.crs import crs_of, same_crs
from tec_xarray.cube.layout import cube_of
from tec_xarray.encoding.exact_values import equal

if TYPE_CHECKING:
    pass


def check_like(marked: xr.Dataset, stored: xr.Dataset, codec: Mapping[str, Any], label: str,
               found: Mapping[str, Any]) -> None:  # fmt: skip
    """Refuse data that do not belong into an archive: settings, pixels, CRS, what stands beside.

    Parameters
    ----------
    marked, stored : xarray.Dataset
        What is to be written, and the archive as it is.
    codec, found : dict
        The codec's configuration in the archive, and the one that the data would get.
    label : str
        What to call the archive.

    Raises
    ------
    InvalidInput
        They differ.
    """
    keys = sorted(k for k in {*codec, *found} if codec.get(k) != found.get(k))
    if keys:
        raise InvalidInput(
            "other settings: " + ", ".join(f"{k} = {found.get(k)!r}" for k in keys),
            allowed=", ".join(f"{k} = {codec.get(k)!r}" for k in keys) + f", as in {label}",
            fix="leave settings out, they are taken from the store; to use others, write another "
            "store",
        )
    cube, there = cube_of(marked), cube_of(stored)
    if cube.dims != there.dims or cube.dtype != there.dtype or cube.shape[1:] != there.shape[1:]:
        raise InvalidInput(
            f"{cube.dtype} with {dict(cube.sizes)}",
            allowed=f"{there.dtype} with {dict(there.sizes)}, but for the dates, as in {label}",
        )
    check_place(marked, stored, label)
    time = str(cube.dims[0])
    missing = {str(n) for n, v in stored.variables.items() if time in v.dims} - set(
        map(str, marked.variables)
    )
    extra = {str(n) for n, v in marked.variables.items() if time in v.dims} - set(
        map(str, stored.variables)
    )
    if missing or extra:
        names = sorted(missing | extra)
        raise InvalidInput(
            f"{', '.join(names)}: in {'the store' if missing else 'the data'} only",
            allowed="the same variables",
            fix="drop what is too much with ds.drop_vars(...), or add what is missing",
        )


def check_place(marked: xr.Dataset, stored: xr.Dataset, label: str) -> None:
    """Refuse pixels of another place, another orientation or another CRS than those stored.

    Coordinates are compared with a tolerance of a hundredth of a pixel, CRS by what they mean.
    Labels that one side does not have contradict nothing.

    Raises
    ------
    InvalidInput
        They differ.
    """
    cube, there = cube_of(marked), cube_of(stored)
    fix = "load the data on the same grid: same CRS, resolution and bounding box"
    for dim in cube.dims[2:]:
        if dim not in cube.coords or dim not in there.coords:
            continue
        ours, theirs = cube[dim].values, there[dim].values
        if not _close(ours, theirs):
            turned = _close(ours[::-1], theirs)
            raise InvalidInput(
                f"other {dim} coordinates than those of {label}: {_ends(ours)}",
                allowed=f"the same pixels: {_ends(theirs)}",
                fix=f"turn them: ds.isel({dim}=slice(None, None, -1))" if turned else fix,
            )
    crs, other = crs_of(marked), crs_of(stored)
    if not same_crs(crs, other):
        found = f"another CRS than that of {label}: {crs}"
        raise InvalidInput(found, allowed=str(other), fix=fix)
    moved, still = _transform(marked), _transform(stored)
    bare = not any(dim in cube.coords or dim in there.coords for dim in cube.dims[2:])
    if bare and moved and still and not np.allclose(moved, still, rtol=1e-9, atol=1e-9):
        found = f"another GeoTransform than that of {label}: {moved}"
        raise InvalidInput(found, allowed=str(still), fix=fix)


def _close(ours: Any, theirs: Any) -> bool:
    """Tell whether coordinates are the same to a hundredth of their step."""
    if ours.shape != theirs.shape:
        return False
    if {ours.dtype.kind, theirs.dtype.kind} <= set("iuf"):
        steps = np.abs(np.diff(theirs.astype(np.float64)))
        least = 0.01 * steps.min() if steps.size else 1e-6 * np.abs(theirs).max(initial=1.0)
        return bool((np.abs(ours.astype(np.float64) - theirs) <= least).all())
    return equal(ours, theirs)


def _ends(values: Any) -> str:
    return f"{values[0]} ... {values[-1]}" if len(values) else "none"


def _transform(data: xr.Dataset) -> list[float] | None:
    """Return what a grid mapping says of the place of pixels, for data without coordinates."""
    for variable in data.variables.values():
        stated = variable.attrs.get("GeoTransform")
        if isinstance(stated, str):
            try:
                return [float(number) for number in stated.split()]
            except ValueError:
                return None
    return None


def check_region(
    marked: xr.Dataset, stored: xr.Dataset, region: Mapping[str, Any], label: str
) -> None:
    """Refuse pixels of a region whose labels are not those of the region.

    Parameters
    ----------
    marked : xarray.Dataset
        What is to be written.
    stored : xarray.Dataset
        The whole of what is there.
    region : dict of slice
    label : str
        What to call the store.

    Raises
    ------
    InvalidInput
        The place, the CRS, the orientation or the dates differ.
    """
    cube, there = cube_of(marked), cube_of(stored)
    if cube.dims != there.dims:
        raise InvalidInput(f"dimensions {cube.dims}", allowed=f"{there.dims}, as in {label}")
    part = stored.isel({dim: region[str(dim)] for dim in cube.dims if dim in region})
    if cube_of(part).shape != cube.shape:
        raise InvalidInput(
            f"data of shape {cube.shape} for a region of {cube_of(part).shape}",
            allowed="data of the size of the region",
        )
    check_place(marked, part, label)
    check_dates(cube, cube_of(part), label)
    time = cube.dims[0]
    if not _close_bands(cube, there):
        raise InvalidInput(
            f"bands {[str(b) for b in cube[cube.dims[1]].values]}",
            allowed=f"{[str(b) for b in there[there.dims[1]].values]}, as in {label}, along {time}",
        )


def _close_bands(cube: xr.DataArray, there: xr.DataArray) -> bool:
    band = cube.dims[1]
    if band not in cube.coords or band not in there.coords:
        return True
    return list(map(str, cube[band].values)) == list(map(str, there[band].values))


def check_dates(cube: xr.DataArray, there: xr.DataArray, label: str) -> None:
    """Refuse data of other dates than those that are there.

    Raises
    ------
    InvalidInput
        Another number of them, or other labels.
    """
    time = cube.dims[0]
    same = cube.shape[0] == there.shape[0]
    if same and time in cube.coords and time in there.coords:
        same = equal(cube[time].values, there[time].values)
    if not same:
        known = time in there.coords and there.shape[0] > 0
        raise InvalidInput(
            f"{cube.shape[0]} dates that are not those of {label}",
            allowed=f"its {there.shape[0]} dates"
            + (f": {_ends(there[time].values)}" if known else ""),
            fix="pass the data from which it was begun; to add dates, use tec_xarray.append",
        )

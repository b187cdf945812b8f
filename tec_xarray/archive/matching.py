"""Data for an archive that is there: its settings, its order of bands, and what does not belong."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tec_numcodecs.arguments import known
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.bands import find_axes, find_source
from tec_xarray.cube.crs import crs_of, same_crs
from tec_xarray.cube.layout import as_dataset, cube_of
from tec_xarray.encoding.exact_values import equal
from tec_xarray.store.codec_metadata import configurations

if TYPE_CHECKING:
    from tec_xarray.archive.handle import Archive


#: What an array has for good: nobody may say otherwise of data that come later.
_OF_THE_ARRAY = ("data", "chunks", "shards", "zarr_format")


def mark_like(
    data: xr.Dataset | xr.DataArray, archive: Archive, settings: Mapping[str, Any]
) -> xr.Dataset:
    """Mark data with the settings of an archive, and refuse what does not belong into it."""
    from tec_xarray.encode import compress

    taken = inspect.signature(compress).parameters
    known(settings, [name for name in taken if name not in _OF_THE_ARRAY], "data for an archive")
    array = archive.array
    own = {key: value for key, value in archive.codec.items() if key != "bands"}
    settings = dict(settings)
    if settings.pop("per", "chunk") == "cube":  # what came of it is the archive's lam
        settings = {k: v for k, v in settings.items() if k not in ("psnr", "bpppb")}
    data, settings = in_order(data, archive.codec["bands"], settings)
    shards = array.shards if array.shards is not None else False
    marked = compress(
        data,
        **{**own, **settings},
        chunks=array.chunks,
        shards=None if array.metadata.zarr_format == 2 else shards,
        zarr_format=array.metadata.zarr_format,
    )
    encoding = cube_of(marked).encoding
    found = next(configurations(encoding.get("serializer", encoding.get("compressors"))))
    check_like(marked, archive.stored(), archive.codec, archive.place.label, found)
    return marked


def in_order(
    data: xr.Dataset | xr.DataArray, wanted: list[str], settings: Mapping[str, Any]
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Bring the bands of data into an archive's order, where they are the same bands.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        In any layout of `tec_xarray.to_cube`.
    wanted : list of str
        Canonical names.
    settings : mapping
        Of `tec_xarray.compress`; those that follow the order of the bands are ordered with them.

    Returns
    -------
    xarray.Dataset, dict
        Data and settings; as they were, if the order is right or no order could be.
    """
    dataset, settings = as_dataset(data), dict(settings)
    keys = ("bands", "sensor", "variable")
    found = find_source(dataset, **{key: settings.get(key) for key in keys})
    if found.bands == wanted or sorted(found.bands) != sorted(wanted):
        return dataset, settings
    order = [found.bands.index(band) for band in wanted]
    if found.form == "variables":
        settings["bands"] = {found.variables[i]: found.bands[i] for i in order}
    else:
        places = order if found.positions is None else [found.positions[i] for i in order]
        dataset = dataset.isel({find_axes(dataset[found.variables[0]]).band: places})
        settings |= _reordered(settings, "bands", order)
    return dataset, settings | _reordered(settings, "max_error", order)


def _reordered(settings: Mapping[str, Any], key: str, order: list[int]) -> dict[str, Any]:
    """Return a setting that has one value a band in another order; {} if it is no such list."""
    value = settings.get(key)
    if not isinstance(value, (list, tuple)) or len(value) != len(order):
        return {}
    return {key: [value[i] for i in order]}


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

"""Which pixels are hidden: by a mask, by a scene classification, or because data are missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from tec_numcodecs.arguments import shown, whole
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.bands import Axes, find_axes
from tec_xarray.gapfill.series import Mask

#: Names of the classes of Sentinel-2's scene classification.
SCL: Mapping[str, int] = MappingProxyType(
    {
        "no_data": 0,
        "saturated": 1,
        "dark": 2,
        "cloud_shadow": 3,
        "vegetation": 4,
        "bare": 5,
        "water": 6,
        "unclassified": 7,
        "cloud_medium": 8,
        "cloud_high": 9,
        "cirrus": 10,
        "snow": 11,
    }
)
#: What does not show the ground.
CLOUDS = ("no_data", "saturated", "cloud_shadow", "cloud_medium", "cloud_high", "cirrus")
DILATE = 3  # pixels around what a classification says: its clouds are smaller than they are
_FARTHEST = 100  # pixels of dilation
_SCL_NAME = re.compile(r"(s2_)?scl(_(10|20|60)m)?", re.IGNORECASE)


def hidden(
    dataset: xr.Dataset,
    cube: xr.DataArray,
    *,
    mask: xr.DataArray | NDArray[np.bool_] | str | None = None,
    clouds: xr.DataArray | str | None = None,
    classes: Iterable[str | int] | None = None,
    dilate: int | None = None,
) -> tuple[da.Array, bool]:
    """Return what is hidden, (T, H, W) on dask, and whether missing samples are to be filled, too.

    Parameters are those of `tec_xarray.inpaint`.

    Raises
    ------
    InvalidInput
        Nothing says what is hidden, or what says it does not fit the cube.
    """
    axes = find_axes(cube)
    missing = isinstance(mask, str) and mask == "nodata"
    if isinstance(mask, str) and mask.lower() == "scl" and mask not in dataset.variables:
        mask, clouds = None, "scl" if clouds is None else clouds
    if mask is None and clouds is None:
        raise InvalidInput(
            "neither mask= nor clouds=: nothing says which pixels are hidden",
            allowed="mask= (boolean (time, y, x), True where hidden; the name of such a variable; "
            "or 'nodata'), clouds='scl'",
            fix="pass clouds='scl' where there is a scene classification",
        )
    if clouds is None and classes is not None:
        raise InvalidInput("classes= without clouds=", fix="pass clouds='scl', too")
    found = da.zeros(_shape(cube, axes), dtype=np.bool_, chunks=_chunks(cube, axes))
    if mask is not None and not missing:
        found = found | _boolean(dataset, cube, axes, mask)
    if clouds is not None:
        found = found | _clouded(dataset, cube, axes, clouds, classes)
    default = DILATE if clouds is not None else 0
    reach = default if dilate is None else whole("dilate", dilate, 0, _FARTHEST)
    return (_dilated(found, reach) if reach else found), missing


def absent(values: NDArray[Any], nodata: float | str | None, free: int | None) -> Mask:
    """Return which samples (T, C, H, W) are missing.

    Parameters
    ----------
    values : array
    nodata : float, str or None
        What marks them beside NaN and infinity; ``"NaN"`` and None: nothing else.
    free : int or None
        A band in which nodata is an ordinary value: B10 is 0 under a clear sky.
    """
    found: Mask = np.zeros(values.shape, np.bool_)
    if values.dtype.kind == "f":
        found = ~np.isfinite(values)
    if nodata is not None and not isinstance(nodata, str):
        same = values == nodata
        if free is not None:
            same[:, free] = same.all(axis=1)
        found |= same
    return found


def _boolean(dataset: xr.Dataset, cube: xr.DataArray, axes: Axes, mask: Any) -> da.Array:
    """Return a mask on dask, in the order of the cube."""
    if isinstance(mask, str):
        mask = _variable(dataset, "mask", mask)
    array = _fitting("mask", mask, cube, axes)
    if array.dtype != np.bool_:
        raise InvalidInput(
            f"a mask of dtype {array.dtype}",
            allowed="booleans, True where the ground is hidden",
            fix="compare it first: mask != 0; pass a scene classification as clouds=",
        )
    return _lazy(array, cube, axes)


def _clouded(
    dataset: xr.Dataset,
    cube: xr.DataArray,
    axes: Axes,
    clouds: Any,
    classes: Iterable[str | int] | None,
) -> da.Array:
    """Return where a scene classification has one of some classes."""
    numbers = [_number(name) for name in (CLOUDS if classes is None else _listed(classes))]
    if isinstance(clouds, str):
        name = clouds
        if name.lower() == "scl" and name not in dataset.variables:
            name = _scene_classification(dataset)
        clouds = _variable(dataset, "clouds", name)
    array = _fitting("clouds", clouds, cube, axes)
    if array.dtype.kind not in "iuf":
        raise InvalidInput(
            f"clouds of dtype {array.dtype}",
            allowed="a scene classification: whole numbers from 0 to 11",
            fix="pass booleans as mask=",
        )
    if isinstance(array.variable._data, np.ndarray) and array.size:  # noqa: SLF001
        top = np.nanmax(array.values) if array.dtype.kind != "f" else np.nanmax(array.fillna(0))
        if top > max(SCL.values()):
            raise InvalidInput(
                f"a class {top:g} in {array.name!r}",
                allowed="the classes of Sentinel-2's SCL, 0 to 11",
                fix="make a boolean mask of it, and pass mask=",
            )
    said = _lazy(array, cube, axes)
    found = da.isin(said, numbers)
    return found | da.isnan(said) if array.dtype.kind == "f" and 0 in numbers else found


def _number(name: object) -> int:
    """Return the number of a class of SCL."""
    if isinstance(name, str) and name.lower() in SCL:
        return SCL[name.lower()]
    if isinstance(name, int | np.integer) and not isinstance(name, bool) and name in SCL.values():
        return int(name)
    raise InvalidInput(
        f"the class {shown(name)}", allowed=", ".join(map(repr, SCL)), fix="or its number, 0 to 11"
    )


def _listed(classes: object) -> list[Any]:
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        classes = [classes]
    found = list(classes)
    if not found:
        raise InvalidInput("classes = []", allowed="at least one class", fix="or leave it out")
    return found


def _scene_classification(dataset: xr.Dataset) -> str:
    names = [str(n) for n in dataset.variables if _SCL_NAME.fullmatch(str(n))]
    if len(names) == 1:
        return names[0]
    others = ", ".join(map(str, dataset.variables))
    raise InvalidInput(
        f"{'several' if names else 'no'} scene classifications among {others}",
        allowed="one variable called SCL, scl, s2_scl or SCL_20m",
        fix="pass clouds= with its name or the array, or mask= with booleans",
    )


def _variable(dataset: xr.Dataset, what: str, name: str) -> xr.DataArray:
    if name not in dataset.variables:
        raise InvalidInput(
            f"{what}={shown(name)}, which is no variable",
            allowed=", ".join(map(str, dataset.variables)),
            fix=f"pass one of these, or an array: {what}=...",
        )
    return dataset[name]


def _fitting(what: str, array: Any, cube: xr.DataArray, axes: Axes) -> xr.DataArray:
    """Return an array with the dimensions of the cube, (time, y, x), checked against it."""
    shape = _shape(cube, axes)
    dims = [str(axes.time), axes.y, axes.x]
    if not isinstance(array, xr.DataArray):
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            raise InvalidInput(
                f"{what} of type {type(array).__name__}",
                allowed=f"an array ({', '.join(dims)}), or the name of a variable",
            )
        if tuple(array.shape) != shape:
            raise _other_shape(what, tuple(array.shape), dims, shape)
        return xr.DataArray(array, dims=dims)
    own = find_axes(array)
    if own.time is None or own.band is not None:
        fix = "reduce it: .any('band')" if own.band is not None else (
            "give it a time axis: what is hidden on every date cannot be filled"
        )  # fmt: skip
        raise InvalidInput(
            f"{what} with the dimensions {', '.join(map(str, array.dims))}",
            allowed=f"({', '.join(dims)})",
            fix=fix,
        )
    array = array.transpose(own.time, own.y, own.x)
    if array.shape != shape:
        raise _other_shape(what, array.shape, dims, shape)
    for ours, theirs in zip(dims, array.dims, strict=True):
        if ours in cube.indexes and theirs in array.indexes:
            _check_labels(what, ours, cube[ours].values, array[theirs].values)
    return array


def _check_labels(what: str, dim: str, ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    """Refuse labels of another place or of other dates."""
    if ours.dtype.kind == theirs.dtype.kind == "f":
        step = float(np.abs(np.diff(ours)).min()) if len(ours) > 1 else 0.0
        same = np.allclose(ours, theirs, rtol=1e-9, atol=step / 100)
    else:
        same = bool((ours == theirs).all())
    if not same:
        at = int(np.flatnonzero(ours != theirs)[0])
        raise InvalidInput(
            f"{what} is labeled otherwise along {dim}: {shown(theirs[at])}, not {shown(ours[at])}",
            allowed="the dates and the grid of the cube, in its order",
            fix=f"select them: {what}.reindex_like(cube) or .sel({dim}=cube.{dim})",
        )


def _other_shape(
    what: str, found: tuple[int, ...], dims: list[str], shape: tuple[int, ...]
) -> InvalidInput:
    return InvalidInput(
        f"{what} of shape {found}",
        allowed=f"{shape} for ({', '.join(dims)})",
        fix="bring it to the grid and the dates of the cube: "
        f"{what}.interp_like(cube, method='nearest') for a classification of 20 m",
    )


def _shape(cube: xr.DataArray, axes: Axes) -> tuple[int, int, int]:
    return cube.sizes[axes.time], cube.sizes[axes.y], cube.sizes[axes.x]


def _chunks(cube: xr.DataArray, axes: Axes) -> tuple[Any, ...]:
    """Return chunks (T, H, W) like those of the cube, or what dask would choose."""
    if cube.chunks is None:
        return (-1, 1024, 1024)
    lengths = dict(zip(cube.dims, cube.chunks, strict=True))
    return lengths[str(axes.time)], lengths[axes.y], lengths[axes.x]


def _lazy(array: xr.DataArray, cube: xr.DataArray, axes: Axes) -> da.Array:
    return array.chunk(dict(zip(array.dims, _chunks(cube, axes), strict=True))).data


def _dilated(found: da.Array, reach: int) -> da.Array:
    """Grow masks (T, H, W) by a disc."""
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = (y * y + x * x <= reach * reach)[None]
    return da.map_overlap(  # type: ignore[no-untyped-call]
        binary_dilation, found, depth=(0, reach, reach), boundary=False, dtype=np.bool_,
        structure=disc, meta=np.empty((0, 0, 0), np.bool_),
    )  # fmt: skip

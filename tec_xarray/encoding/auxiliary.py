"""How variables beside the cube are stored: coordinates, bounds, everything else.

What comes back from a store must be what went in. Times get units that hold them exactly, text a
dtype of fixed width (Dask cannot choose chunks for any other), and what no store can give back is
refused by name, before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from tec_numcodecs.errors import InvalidInput
from tec_xarray.encoding.exact_values import UNITS, check_round_trip, storable, time_unit

# Every storage setting that xarray keeps in an encoding. What remains is CF: dtype, units, ...
_STORAGE = (
    "chunks", "preferred_chunks", "shards", "compressor", "compressors", "filters", "serializer",
    "fill_value", "object_codec", "cache_metadata", "chunk_key_encoding", "write_empty_chunks",
    "source", "original_shape", "contiguous", "chunksizes", "zlib", "shuffle", "complevel",
    "fletcher32",
)  # fmt: skip
_PACKING = ("dtype", "scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned")
_TEXT_ROOM = 32  # characters: text along time is as wide as a multiple of this, later ones may be


def mark_auxiliary(marked: xr.Dataset, cube: str, time: str | None, zarr_format: int) -> xr.Dataset:
    """Make every variable but the cube one that a store gives back as it is.

    Parameters
    ----------
    marked : xarray.Dataset
        Of its own: its variables get other encodings, and new values where no store could hold
        those that they have.
    cube : str
        The name of the cube, which is left alone.
    time : str or None
        The dimension along which an archive grows.
    zarr_format : {2, 3}

    Raises
    ------
    InvalidInput
        A variable or an attribute that cannot be kept, by its name.
    """
    check_attributes(marked)
    others = [name for name in marked.variables if name != cube]
    for name in others:
        before = marked.variables[name]
        after = storable(before, str(name))
        if after.dtype.kind == "U":
            after = _with_room(after, time)
            # An index needs no chunks: text of any length, as is usual. (Of format 2, xarray could
            # not write again what it has read.)
            if name in marked.dims and zarr_format == 3:
                after = after.astype(object)
        if after is not before:
            kind = "assign_coords" if name in marked.coords else "assign"
            marked = getattr(marked, kind)({name: after})
    for name in others:
        settings = auxiliary_encoding(marked, str(name), time)
        mapping = settings.pop("grid_mapping", None)
        variable = marked.variables[name]
        array = align_chunks(marked[name], settings.get("chunks"))
        if array.chunks != variable.chunks:
            marked[name] = array
        # In one encoding only, it would still make xarray demote spatial_ref to a variable.
        own = {} if mapping is None else {"grid_mapping": mapping}
        marked[name].attrs = {**variable.attrs, **own}
        marked[name].encoding = settings
        exact = check_round_trip(marked.variables[name], str(name))
        if name in marked.coords and not exact:  # what packs data is what somebody asked for
            marked[name].encoding = {k: v for k, v in settings.items() if k not in _PACKING}
    return marked


def auxiliary_encoding(data: xr.Dataset, name: str, time: str | None) -> dict[str, Any]:
    """Return the encoding of a variable that is stored losslessly."""
    variable = data.variables[name]
    encoding = without_storage(variable.encoding)
    if variable.dtype.kind in "UTO":
        encoding = {k: v for k, v in encoding.items() if k not in _PACKING}
    if variable.dtype.kind == "M" or _calendar(variable):
        # The units are fixed, because those that xarray infers from the first dates ("days
        # since") cannot hold the hours of later ones. Dates that will be added may be finer.
        least = "microseconds" if time in variable.dims else "seconds"
        units = [time_unit(data.variables[n]) for n in {name, *_bounds(data, name)}]
        unit = max([least, *units], key=UNITS.index)
        encoding = {k: v for k, v in encoding.items() if k not in _PACKING} | {
            "units": f"{unit} since 1970-01-01",
            "calendar": _calendar(variable) or "proleptic_gregorian",
            "dtype": "int64",
        }
    elif variable.dtype.kind == "m":  # xarray writes its own dtype for them, and reads it
        drop = (*_PACKING, "units")
        encoding = {k: v for k, v in encoding.items() if k not in drop}
    if variable.dims and variable.dims[0] == time and variable.ndim <= 2:
        # One chunk for years of appends.
        encoding["chunks"] = (1024, *variable.shape[1:])
    if variable.ndim:
        encoding["write_empty_chunks"] = True  # a chunk that is not there is a chunk that was lost
    return encoding


def _bounds(data: xr.Dataset, name: str) -> list[str]:
    """Return the bounds of a variable, or the variable whose bounds it is: they share units."""
    own = data.variables[name].attrs.get("bounds")
    parents = [str(n) for n, v in data.variables.items() if v.attrs.get("bounds") == name]
    found = [*parents, own] if isinstance(own, str) else parents
    return [n for n in found if n in data.variables and data.variables[n].dtype.kind == "M"]


def _calendar(variable: xr.Variable) -> str | None:
    """Return the calendar of cftime dates, None for anything else."""
    if variable.dtype.kind != "O" or not variable.size:
        return None
    return getattr(variable.values.flat[0], "calendar", None)


def _with_room(variable: xr.Variable, time: str | None) -> xr.Variable:
    """Return text whose dtype has room for text that comes with later dates."""
    if time not in variable.dims:
        return variable
    width = max(variable.dtype.itemsize // 4, 1)
    return variable.astype(f"<U{-(-width // _TEXT_ROOM) * _TEXT_ROOM}")


def check_attributes(data: xr.Dataset) -> None:
    """Refuse attributes that JSON does not give back, by their names.

    Raises
    ------
    InvalidInput
        The first one.
    """
    places = [("the dataset", data.attrs)]
    places += [(repr(name), variable.attrs) for name, variable in data.variables.items()]
    for where, attrs in places:
        for key, value in attrs.items():
            found = None if isinstance(key, str) else key
            found = _not_json(value) if found is None else found
            if found is not None:
                raise InvalidInput(
                    f"attribute {key!r} of {where} holds {found!r:.80} ({type(found).__name__})",
                    allowed="numbers, text, and lists and dicts of them",
                    fix="change it to one of these (str(...), for example), or drop it",
                )


def _not_json(value: Any) -> Any:
    """Return the first part of a value that JSON does not have, None if there is none."""
    if isinstance(value, np.ndarray):
        return None if value.dtype.kind in "iufbU" else _first(value.tolist(), value)
    if value is None or isinstance(value, str | bool | int | float | np.number | np.bool_):
        return value if isinstance(value, np.complexfloating) else None
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, str)]
        return odd[0] if odd else _first(list(value.values()), value)
    if isinstance(value, list | tuple):
        return _first(value, value)
    return value


def _first(items: Any, whole: Any) -> Any:
    if not isinstance(items, list | tuple):
        return whole
    return next((found for found in map(_not_json, items) if found is not None), None)


def check_indexes(data: xr.Dataset) -> None:
    """Refuse an index over several levels: no store holds one.

    Raises
    ------
    InvalidInput
        There is one.
    """
    for index, names in _groups(data):
        if hasattr(index, "level_coords_dtype"):
            dim = str(index.dim)
            raise InvalidInput(
                f"{dim!r} is a MultiIndex of {', '.join(n for n in names if n != dim)}",
                allowed="coordinates of their own: Zarr holds no MultiIndex",
                fix=f"pass ds.reset_index({dim!r}), and afterwards ds.set_index(...) what is read",
            )


def _groups(data: xr.Dataset) -> list[tuple[Any, list[str]]]:
    groups = data.xindexes.group_by_index()
    return [(index, [str(name) for name in names]) for index, names in groups]


def align_chunks(array: xr.DataArray, chunks: tuple[int, ...] | None) -> xr.DataArray:
    """Make dask chunks those that are stored, or at least equal, as Zarr needs them."""
    if array.chunks is None:
        return array
    if array.dtype.kind in "OUT":
        return array.compute()  # labels; xarray would load text on dask, too, and warn
    if chunks is not None:
        return array.chunk(dict(zip(array.dims, chunks, strict=True)))
    uneven = {
        dim: max(sizes)
        for dim, sizes in zip(array.dims, array.chunks or (), strict=False)
        if len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]
    }
    return array.chunk(uneven) if uneven else array


def without_storage(encoding: Mapping[Any, Any]) -> dict[str, Any]:
    """Return an encoding without storage settings: what remains is CF."""
    return {str(key): value for key, value in encoding.items() if key not in _STORAGE}

"""Everything of an archive but its blocks: metadata, coordinates, small variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
import zarr

from tec_numcodecs.errors import InvalidInput
from tec_xarray.archive.to_zarr import write
from tec_xarray.cube.layout import cube_of
from tec_xarray.store.codec_metadata import AnyArray
from tec_xarray.store.location import StoreLocation, WriteTarget


def block_of(cube: xr.DataArray) -> tuple[int, ...]:
    """Return the shape of a block, from the encoding that `compress` set."""
    shape = cube.encoding.get("shards") or cube.encoding["chunks"]
    return tuple(int(n) for n in shape)


def beside(marked: xr.Dataset) -> list[str]:
    """Name the variables that are written block by block with the cube: same pixels, no bands."""
    cube = cube_of(marked)
    t, _, y, x = (str(dim) for dim in cube.dims)
    found = []
    for name, variable in marked.variables.items():
        lazy = variable.chunks is not None
        shape = (variable.dims == (t, y, x)) or (variable.dims == (y, x) and lazy)
        if name != cube.name and shape and variable.dtype.kind in "iufb":
            found.append(str(name))
    return found


def write_template(marked: xr.Dataset, target: WriteTarget) -> None:
    """Write metadata and whatever is not written block by block."""
    cube = cube_of(marked)
    block = block_of(cube)
    steps = {3: (block[0], *block[2:]), 2: block[2:]}
    frame = marked.copy(deep=False)
    frame[str(cube.name)] = _nothing(cube, block)
    companions = beside(marked)
    for name in companions:
        frame[name] = _nothing(marked[name], steps[marked[name].ndim])
        frame[name].encoding["chunks"] = steps[marked[name].ndim]
    for key, variable in frame.variables.items():
        if key != cube.name and variable.dtype.kind in "iufbM":
            variable.encoding.setdefault("compressors", _checked(target.zarr_format))
    own = {str(cube.name), *companions}
    slow = [n for n, v in frame.variables.items() if v.chunks is not None and n not in own]
    write(frame.drop_vars(slow), target, compute=False)
    if slow:
        rest = frame[slow].drop_vars([n for n in frame.coords if n not in slow], errors="ignore")
        write(rest, target)


def stored_values(variable: xr.Variable, name: str, array: AnyArray) -> Any:
    """Return values as an array has them: packed, counted in its units; NumPy or dask.

    Raises
    ------
    InvalidInput
        The variable is packed in another way than the array.
    """
    variable = variable.copy(deep=False)
    keys = ["scale_factor", "add_offset"]
    if variable.dtype.kind in "mM":
        keys = ["units", "calendar"]
        settings = {key: array.attrs[key] for key in keys if key in array.attrs}
        variable.encoding = {**settings, "dtype": array.dtype}
    elif array.dtype.kind in "iu":
        keys.append("_FillValue")
    encoded = xr.conventions.encode_cf_variable(variable, name=name)
    for key in keys:
        ours, theirs = encoded.attrs.get(key), array.attrs.get(key)
        if ours != theirs:
            raise InvalidInput(
                f"{key} of {name!r} is {ours!r}",
                allowed=f"{theirs!r}, as it is stored",
                fix="open the data in the same way as those that are there (mask_and_scale)",
            )
    if encoded.chunks is not None:
        return encoded.data.astype(array.dtype)
    return np.asarray(encoded.values).astype(array.dtype)


def reconsolidate(place: StoreLocation) -> None:
    """Renew consolidated metadata wherever there are some: readers see all changes at once."""
    import warnings

    for path in dict.fromkeys((place.group or "", "")):
        try:
            group = zarr.open_group(
                place.store, path=path, mode="r+", storage_options=place.storage_options
            )
        except (FileNotFoundError, zarr.errors.GroupNotFoundError):
            continue
        if group.metadata.consolidated_metadata is not None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Consolidated metadata is currently")
                zarr.consolidate_metadata(group.store, path=group.path)


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
    for dim in cube.dims[2:]:
        known = dim in cube.coords and dim in there.coords
        if known and not (cube[dim].values == there[dim].values).all():
            raise InvalidInput(
                f"other {dim} coordinates than those of {label}",
                allowed="the same pixels",
                fix="load the data on the same grid: same CRS, resolution and bounding box",
            )
    ours, theirs = _crs(marked), _crs(stored)
    if ours and theirs and ours != theirs:
        raise InvalidInput(f"another CRS than that of {label}", allowed=theirs[:60])
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


def _crs(data: xr.Dataset) -> str | None:
    found = [v.attrs["crs_wkt"] for v in data.variables.values() if "crs_wkt" in v.attrs]
    return str(found[0]) if found else None


def _nothing(array: xr.DataArray, chunks: tuple[int, ...]) -> xr.DataArray:
    """Stand in for an array: shape, dtype, attributes and encoding, but no values."""
    import dask.array as da

    empty = array.copy(data=da.zeros(array.shape, dtype=array.dtype, chunks=chunks))
    empty.encoding = dict(array.encoding)
    return empty


def _checked(zarr_format: int) -> Any:
    """Return a compressor with a checksum, so that damage beside the cube is found, too."""
    if zarr_format == 3:
        from zarr.codecs import ZstdCodec

        return (ZstdCodec(level=3, checksum=True),)
    import numcodecs

    return numcodecs.get_codec(  # type: ignore[no-untyped-call]
        {"id": "zstd", "level": 3, "checksum": True}
    )

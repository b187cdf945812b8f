"""Everything of an archive but its blocks: metadata, coordinates, small variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
import zarr

from tec_numcodecs.errors import InvalidInput
from tec_xarray.archive.to_zarr import write
from tec_xarray.cube.layout import cube_of
from tec_xarray.encoding.exact_values import encode_like, storable
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
        if name != cube.name and shape and variable.dtype.kind in "iufbmM":
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
    variable = storable(variable, name)
    if variable.dtype.kind in "mMOU" and variable.chunks is None:
        return encode_like(variable, name, units_of(array), np.dtype(array.dtype))
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


def units_of(array: AnyArray) -> dict[str, Any]:
    """Return the attributes that say what stored times mean; bounds have those of their parent."""
    attrs: dict[str, Any] = dict(array.attrs)
    if "units" in attrs or array.dtype.kind not in "if":
        return attrs
    path = array.store_path.path.rpartition("/")
    group = zarr.open_group(array.store_path.store, path=path[0], mode="r", use_consolidated=False)
    dims: Any = getattr(array.metadata, "dimension_names", None)
    dims = dims or attrs.get("_ARRAY_DIMENSIONS") or ()
    for dim in dims:
        parent: Any = group.get(str(dim))
        if parent is not None and parent.attrs.get("bounds") == path[2]:
            keys = ("units", "calendar")
            return attrs | {key: parent.attrs[key] for key in keys if key in parent.attrs}
    return attrs


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
                warnings.filterwarnings("ignore", message="The data type .FixedLengthUTF32")
                zarr.consolidate_metadata(group.store, path=group.path)


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

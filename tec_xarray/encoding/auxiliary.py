"""How variables beside the cube are stored: coordinates, bounds, everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

# Every storage setting that xarray keeps in an encoding. What remains is CF: dtype, units, ...
_STORAGE = (
    "chunks", "preferred_chunks", "shards", "compressor", "compressors", "filters", "serializer",
    "fill_value", "object_codec", "cache_metadata", "chunk_key_encoding", "write_empty_chunks",
    "source", "original_shape", "contiguous", "chunksizes", "zlib", "shuffle", "complevel",
    "fletcher32",
)  # fmt: skip


def auxiliary_encoding(variable: xr.Variable, time: str | None) -> dict[str, Any]:
    """Return the encoding of a variable that is stored losslessly."""
    encoding = without_storage(variable.encoding)
    if variable.dtype.kind == "U":
        encoding["dtype"] = object  # see layout: fixed-width Unicode is not specified in format 3
    if variable.dims == (time,):
        # One chunk for years of appends. The units are fixed, because those that xarray infers
        # from the first dates ("days since") cannot hold the hours of later ones.
        encoding["chunks"] = (1024,)
        if variable.dtype.kind == "M":
            encoding |= {
                "units": f"{_time_unit(variable)} since 1970-01-01",
                "calendar": "proleptic_gregorian",
                "dtype": "int64",
            }
    return encoding


def _time_unit(times: xr.Variable) -> str:
    """Return the coarsest of the units that hold these times exactly; catalogs have ms."""
    stamps = times.values[~np.isnat(times.values)]
    for name, code in (("seconds", "s"), ("microseconds", "us")):
        if (stamps == stamps.astype(f"datetime64[{code}]")).all():
            return name
    return "nanoseconds"


def align_chunks(array: xr.DataArray, chunks: tuple[int, ...] | None) -> xr.DataArray:
    """Make dask chunks those that are stored, or at least equal, as Zarr needs them."""
    if array.dtype.kind in "OUT":
        return array.compute()  # labels; xarray would load text on dask, too, and warn
    if array.chunks is not None and chunks is not None:
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

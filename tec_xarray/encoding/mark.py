"""Mark a dataset for compression: configuration and grid become encodings and attributes.

Nothing is read and nothing written: values stay what they are, and dask stays lazy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from tec_numcodecs.config import CodecConfig
from tec_xarray.cube.bands import find_axes
from tec_xarray.cube.chunking import Grid
from tec_xarray.cube.layout import cube_of
from tec_xarray.cube.units import DN_PER_REFLECTANCE, DNScaling, plain_attrs
from tec_xarray.encoding.auxiliary import mark_auxiliary
from tec_xarray.encoding.provenance import with_provenance
from tec_xarray.store.codec_metadata import CODEC


def mark(
    cubes: xr.Dataset,
    config: CodecConfig,
    grid: Grid,
    *,
    meaning: DNScaling,
    zarr_format: int = 3,
    cf: bool = False,
    asked: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Set every encoding of a dataset; its cube is rechunked to what is written at once.

    Parameters
    ----------
    cubes : xarray.Dataset
        What `to_cube` made.
    config : CodecConfig
        Of the codec; checked, and the same from here to the store.
    grid : Grid
    meaning : DNScaling
        Fill value and value of missing samples, in the kind of numbers that the data have.
    zarr_format : {3, 2}
    cf : bool
        Whether to write CF attributes that make readers decode DN.
    asked : mapping, optional
        A target of the whole cube, which the configuration does not show.
    """
    cube = cube_of(cubes)
    marked = cubes.copy(deep=False)
    if cube.chunks is not None:
        cube = cube.chunk(dict(zip(cube.dims, grid.block, strict=True)))
    marked[str(cube.name)] = cube
    marked[str(cube.name)].attrs = _attributes(cube, meaning, cf=cf)
    marked = mark_auxiliary(marked, str(cube.name), find_axes(cube).time, zarr_format)
    # Opened with default settings, spatial_ref is a variable, and rioxarray does not look there.
    mappings = {v.attrs.get("grid_mapping") for v in marked.variables.values()}
    marked = marked.set_coords([name for name in marked.data_vars if name in mappings])
    marked[str(cube.name)].encoding = encoding_of(config, grid, meaning.fill_value, zarr_format)
    marked.attrs = {**cubes.attrs, "tec_codec": f"{CODEC}: pip install tec-xarray"}
    marked.encoding = {}
    return with_provenance(marked, config, asked)


def encoding_of(
    config: CodecConfig, grid: Grid, fill_value: Any, zarr_format: int
) -> dict[str, Any]:
    """Return the encoding that makes xarray call our codec, and nothing after it."""
    if zarr_format == 2:
        from tec_numcodecs import TecCodec

        # As the compressor: a lone filter would get Blosc behind it. A fill value would have to be
        # _FillValue here, and turn integers into floats when they are read.
        return {"chunks": grid.chunks, "compressors": TecCodec.of(config), "filters": None}
    from tec_numcodecs import TecSerializer

    encoding = {
        "chunks": grid.chunks,
        "serializer": TecSerializer.of(config),
        "compressors": None,
        "filters": None,
        "fill_value": fill_value,
    }
    return encoding | ({"shards": grid.shards} if grid.shards else {})


def _attributes(cube: xr.DataArray, meaning: DNScaling, *, cf: bool) -> dict[str, Any]:
    attrs = dict(cube.attrs) if cf else plain_attrs(cube)
    if meaning.nodata is not None and not isinstance(meaning.nodata, str):
        attrs.setdefault("nodata", meaning.nodata)
    if cf:
        attrs["scale_factor"] = 1 / DN_PER_REFLECTANCE / meaning.scale
        attrs["add_offset"] = -meaning.offset * attrs["scale_factor"] + 0.0
        if meaning.nodata is not None and not isinstance(meaning.nodata, str):
            attrs["_FillValue"] = meaning.nodata
    return attrs

"""What would come back from an archive, without an archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tec_numcodecs.arguments import known
from tec_xarray.cube.layout import cube_of
from tec_xarray.encoding.encode_dataset import EncodingSettings, encode_dataset, shows_settings
from tec_xarray.encoding.second_loss import drop_codec

#: Settings of arrays that are stored, which is not done here.
_STORING = ("appendable", "per", "shards", "zarr_format")


@shows_settings(*_STORING)
def reconstruct(data: xr.Dataset | xr.DataArray, **settings: Any) -> xr.Dataset:
    """Encode and decode lazily, storing nothing: what a reader of the archive would get.

    Every model, bundled or published. Chunk by chunk, with the padding that Zarr gives chunks at
    the edges, so that the values are those that `compress` with the same settings would store.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        As of `tec_xarray.compress`; NumPy or dask.
    **settings
        Of `tec_xarray.compress`: ``model``, ``lam``, ``quality``, ``weights``, ``nearest``,
        ``max_error``, ``bands``, ``sensor``, ``chunks``, ... All but those about writing.

    Returns
    -------
    xarray.Dataset
        The cube (time, band, y, x) on dask, in the dtype of the data, and everything beside it.

    Raises
    ------
    InvalidInput
        The data or a setting cannot be used.
    WeightsError
        The weights are not to be had.

    Examples
    --------
    >>> import tec_xarray, tec_xarray.tutorial
    >>> scene = tec_xarray.tutorial.open_dataset("0173706").isel(y=slice(64), x=slice(64))
    >>> coarse = scene.tec.reconstruct(model="fp", lam=5)
    >>> coarse.reflectance.shape
    (4, 12, 64, 64)
    """
    taken = [field.name for field in fields(EncodingSettings) if field.name not in _STORING]
    known(settings, taken, "reconstruct, which is not stored")
    marked = encode_dataset(data, EncodingSettings(**settings, shards=False)).dataset
    cube = cube_of(marked)
    encoding = cube.encoding
    chunks: tuple[int, ...] = encoding["chunks"]
    config = encoding["serializer"].config
    lazy = cube.chunk(dict(zip(cube.dims, chunks, strict=True)))
    values = da.map_blocks(  # type: ignore[no-untyped-call]
        _through,
        lazy.data,
        settings=config.to_json(),
        chunk=chunks,
        fill=encoding["fill_value"],
        dtype=cube.dtype,
        meta=np.empty((0,) * 4, cube.dtype),
    )
    result = drop_codec(marked)
    result[str(cube.name)] = cube.copy(data=values).drop_encoding()
    result.attrs.pop("tec_codec", None)
    result.attrs["tec_reconstruction"] = repr(encoding["serializer"])
    return result


def _through(
    block: NDArray[Any], *, settings: Mapping[str, Any], chunk: tuple[int, ...], fill: float
) -> NDArray[Any]:
    """Encode and decode one block, filled up to a whole chunk as Zarr does it at the edges."""
    from tec_numcodecs import TecCodec

    codec = TecCodec(**settings)
    whole = np.full(chunk, fill, block.dtype)
    inside = tuple(slice(0, n) for n in block.shape)
    whole[inside] = block
    return np.asarray(codec.decode(codec.encode(whole))[inside])

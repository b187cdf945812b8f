"""Open what is in a store."""

from __future__ import annotations

import xarray as xr

from tec_xarray.store.location import StoreLocation


def open_store(
    location: StoreLocation, consolidated: bool | None = None, *, mask_and_scale: bool = True
) -> xr.Dataset:
    """Open what was written, lazily: a dask block for each chunk."""
    dataset: xr.Dataset = xr.open_zarr(
        location.store,
        group=location.group,
        chunks={},
        mask_and_scale=mask_and_scale,
        consolidated=consolidated,
        storage_options=location.storage_options,
    )
    if not isinstance(dataset.encoding.get("source"), str):
        dataset.encoding["tec_store"] = location.store  # xarray remembers paths only
    if location.group:
        dataset.encoding["tec_group"] = location.group
    return dataset

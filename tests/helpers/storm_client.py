"""Archive or resume on a cluster of two workers: the process that `test_kill_storm` kills."""

from __future__ import annotations

import sys

import xarray as xr

import tec_xarray
from tec_xarray.archive import begun
from tec_xarray.execution.cluster import workers
from tec_xarray.store.location import StoreLocation


def main(source: str, store: str) -> None:
    # Without consolidated metadata, variables come in any order; that of bands is the archive's.
    data = xr.open_zarr(source)[["B02", "B04", "B8A", "SCL"]]
    with workers(2):
        if begun(StoreLocation.of(store, None, None)) == "archive":
            tec_xarray.resume(data, store)
        else:
            settings = {"lam": 50, "chunks": (4, 3, 64, 64), "shards": False, "mode": "w"}
            data.tec.compress(**settings, store=store, appendable=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

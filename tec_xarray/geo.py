"""Where pixels are, written so that every reader finds it: CF grid mapping and GeoZarr attributes.

CF (what xarray, rioxarray and GDAL's netCDF side read) has a scalar variable with the CRS and an
attribute ``grid_mapping`` on each image. GeoZarr has attributes ``proj:`` and ``spatial:`` on the
group, which say the same without a variable.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  registers .odc
import xarray as xr
from numpy.typing import NDArray

_REPOSITORY = "https://github.com/zarr-conventions"
_RAW = "https://raw.githubusercontent.com/zarr-conventions"
_PREFIXES = ("proj:", "spatial:")


def _convention(name: str, uuid: str, description: str) -> dict[str, str]:
    return {
        "uuid": uuid,
        "name": name,
        "schema_url": f"{_RAW}/{name}/refs/tags/v0.1/schema.json",
        "spec_url": f"{_REPOSITORY}/{name}/blob/v0.1/README.md",
        "description": description,
    }


CONVENTIONS = (
    _convention(
        "proj",
        "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "Coordinate reference system information for geospatial data",
    ),
    _convention(
        "spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"
    ),
)


def geozarr_attrs(data: xr.Dataset) -> dict[str, Any]:
    """Return GeoZarr's attributes for the grid that a dataset has now.

    Parameters
    ----------
    data : xarray.Dataset
        With a CRS (``spatial_ref``) and regular coordinates y and x.

    Returns
    -------
    dict
        ``zarr_conventions``, ``proj:code`` (or ``proj:wkt2``) and ``spatial:`` dimensions, shape,
        transform, bbox and registration; empty if the dataset has no CRS or no regular grid.
    """
    grid = data.odc.geobox
    if grid is None or grid.crs is None or not hasattr(grid, "affine"):
        return {}
    if not all(_is_regular(data[dim].values) for dim in grid.dimensions if dim in data.coords):
        return {}  # odc-geo looks at the ends only
    code = grid.crs.to_epsg()
    box = grid.boundingbox
    return {
        "zarr_conventions": [dict(convention) for convention in CONVENTIONS],
        **({"proj:code": f"EPSG:{code}"} if code else {"proj:wkt2": grid.crs.to_wkt()}),
        "spatial:dimensions": [str(dim) for dim in grid.dimensions],
        "spatial:shape": [int(n) for n in grid.shape],
        "spatial:transform": [float(v) for v in tuple(grid.affine)[:6]],
        "spatial:bbox": [float(v) for v in (box.left, box.bottom, box.right, box.top)],
        "spatial:registration": "pixel",
    }


def _is_regular(values: NDArray[np.floating[Any]]) -> bool:
    """Tell whether coordinates are evenly spaced, to a hundredth of a pixel."""
    steps = np.diff(values.astype(np.float64))
    return not steps.size or bool((np.abs(steps - steps[0]) <= 0.01 * abs(steps[0])).all())


def with_geo(data: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose CRS survives ``to_zarr`` and ``xr.open_zarr`` with default settings.

    ``grid_mapping`` moves from encodings, where it is lost as soon as somebody passes
    ``encoding=``, to attributes; GeoZarr's attributes are set anew, as those of a larger grid do
    not fit a window of it. Without a CRS, only old attributes of GeoZarr are dropped.
    """
    result = data.copy(deep=False)
    other = [c for c in data.attrs.get("zarr_conventions", []) if c["uuid"] not in
             {ours["uuid"] for ours in CONVENTIONS}]  # fmt: skip
    plain = {
        k: v
        for k, v in data.attrs.items()
        if not str(k).startswith(_PREFIXES) and k != "zarr_conventions"
    }
    fresh = geozarr_attrs(data)
    conventions = other + fresh.pop("zarr_conventions", [])
    result.attrs = plain | ({"zarr_conventions": conventions} if conventions else {}) | fresh
    for name in result.data_vars:
        mapping = result[name].encoding.get("grid_mapping")
        if mapping is not None:
            kept = {k: v for k, v in result[name].encoding.items() if k != "grid_mapping"}
            result[name] = result[name].assign_attrs(grid_mapping=mapping)
            result[name].encoding = kept
    return result

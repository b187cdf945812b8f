"""Where pixels are, written so that every reader finds it: CF grid mapping and GeoZarr attributes.

CF (what xarray, rioxarray and GDAL's netCDF side read) has a scalar variable with the CRS and an
attribute ``grid_mapping`` on each image. GeoZarr has attributes ``proj:`` and ``spatial:`` on the
group, which say the same without a variable. What stackstac says in attributes of its own becomes
both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  registers .odc
import pyproj
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.bands import role_of

_REPOSITORY = "https://github.com/zarr-conventions"
_RAW = "https://raw.githubusercontent.com/zarr-conventions"
_PREFIXES = ("proj:", "spatial:")
_REFERENCE = "spatial_ref"  # what rioxarray and odc-geo call the variable with the CRS


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
    grid = _by_corners(data, grid)
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


def with_crs(data: xr.Dataset) -> xr.Dataset:
    """Return a dataset that states its CRS as CF does, if it states one at all.

    stackstac writes it into attributes (``crs``, ``transform``) and coordinates (``epsg``), which
    other software does not know. Coordinates stay as they are.

    Raises
    ------
    InvalidInput
        The dataset contradicts itself, or states something that is no CRS.
    """
    if any({"crs_wkt", "spatial_ref"} & set(v.attrs) for v in data.variables.values()):
        return data
    stated = {str(value): where for where, value in _stated(data)}
    if not stated:
        return data
    found = {_crs(text, where): where for text, where in stated.items()}
    if len(found) > 1:
        raise InvalidInput(
            "different CRS: " + ", ".join(f"{where} = {text}" for text, where in stated.items()),
            allowed="one",
            fix="drop what is wrong, or state it with ds.rio.write_crs(...)",
        )
    wkt = next(iter(found)).to_wkt()
    # ``spatial_ref`` is GDAL's name for the attribute that CF calls ``crs_wkt``.
    attrs = {**pyproj.CRS.from_wkt(wkt).to_cf(), "crs_wkt": wkt, "spatial_ref": wkt}
    result = data.assign_coords({_REFERENCE: ((), 0, attrs)})
    for name in [n for n, v in result.data_vars.items() if _is_image(v)]:
        result[name].attrs = {**_plain(result[name].attrs), "grid_mapping": _REFERENCE}
    return result


def _plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as JSON can hold them: stackstac's are objects of its own."""
    plain = dict(attrs)
    for key, value in attrs.items():
        if isinstance(value, Affine):
            plain[key] = [float(number) for number in tuple(value)]
        elif is_dataclass(value) and not isinstance(value, type):
            plain[key] = asdict(value)
    return plain


def _is_image(array: xr.DataArray) -> bool:
    return {"y", "x"} <= {role_of(str(dim)) for dim in array.dims}


def _stated(data: xr.Dataset) -> list[tuple[str, Any]]:
    """Find a CRS in attributes and scalar coordinates: where, and what."""
    found = [("crs", v.attrs["crs"]) for v in (data, *data.data_vars.values()) if "crs" in v.attrs]
    names = [n for n in ("epsg", "proj:epsg", "proj:code") if n in data.coords]
    return found + [(n, data[n].values[()]) for n in names if data[n].ndim == 0]


def _crs(text: str, where: str) -> CRS:
    try:
        return CRS(f"EPSG:{text}" if text.isdigit() else text)
    except Exception as error:
        # pyproj's own class, which odc-geo passes on
        raise InvalidInput(
            f"{where} = {text!r:.60}", allowed="an EPSG code, such as epsg:32632, or WKT",
            fix="drop it, or state the CRS with ds.rio.write_crs(...)",
        ) from error  # fmt: skip


def _by_corners(data: xr.Dataset, grid: Any) -> Any:
    """Return the grid that is there if coordinates are corners of pixels, as stackstac has them.

    Its attribute ``transform`` says so; that of a window is still the one of the whole.
    """
    values = [_plain(v.attrs).get("transform") for v in data.data_vars.values()]
    stated = next((v for v in values if isinstance(v, (list, tuple)) and len(v) in (6, 9)), None)
    if stated is None:
        return grid
    transform, found = Affine(*stated[:6]), grid.affine
    if not np.allclose((transform.a, transform.e), (found.a, found.e)):
        return grid
    top, left = (float(data[dim].values[0]) for dim in grid.dimensions)
    places = (left - transform.c) / transform.a, (top - transform.f) / transform.e
    if max(abs(place - round(place)) for place in places) > 0.01:
        return grid
    return GeoBox(grid.shape, Affine(found.a, 0, left, 0, found.e, top), grid.crs)


def with_geo(data: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose CRS survives ``to_zarr`` and ``xr.open_zarr`` with default settings.

    ``grid_mapping`` moves from encodings, where it is lost as soon as somebody passes
    ``encoding=``, to attributes; GeoZarr's attributes are set anew, as those of a larger grid do
    not fit a window of it. Without a CRS, only old attributes of GeoZarr are dropped.

    Raises
    ------
    InvalidInput
        See `with_crs`.
    """
    data = with_crs(data)
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

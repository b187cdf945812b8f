"""Opening what people have: Zarr, NetCDF, rasters, Sentinel-2 products, by what it is, not by name.

Everything is opened lazily and with the numbers that are stored: scales and fill values are read
from attributes later, by the same rule for compress, append, verify and report.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tec_numcodecs.arguments import as_number
from tec_numcodecs.errors import InvalidInput, TecError
from tec_numcodecs.extras import require
from tec_xarray.cli.common import local_path
from tec_xarray.cube.bands import other_bands, role_of
from tec_xarray.cube.units import FILL_KEYS

_ALLOWED = "a Zarr store, a NetCDF file, a raster that GDAL reads, or a Sentinel-2 product (SAFE)"
# A prefix of GDAL: SENTINEL2_L2A:..., NETCDF:..., /vsizip/...; one letter is a drive of Windows.
_GDAL = re.compile(r"(?:[A-Za-z][A-Za-z0-9_]+:(?!//)|/vsi|zip(\+\w+)?://|tar://)")
_PRODUCT = re.compile(r"MTD_MSIL(1C|2A|1B)\.xml")
_ZARR = ("zarr.json", ".zgroup", ".zmetadata", ".zarray")
# What GDAL says of the first band only, and rioxarray of the whole raster.
_OF_ONE_BAND = ("BANDNAME", "BANDWIDTH", "BANDWIDTH_UNIT", "WAVELENGTH", "WAVELENGTH_UNIT",
                "SOLAR_IRRADIANCE", "SOLAR_IRRADIANCE_UNIT")  # fmt: skip
_MAGIC = {b"\x89HDF\r\n\x1a\n": "NetCDF-4", b"CDF\x01": "NetCDF-3", b"CDF\x02": "NetCDF-3",
          b"CDF\x05": "NetCDF-3"}  # fmt: skip
_ENGINES = {
    "NetCDF-4": (("h5netcdf", "h5py"), ("netCDF4",)),
    "NetCDF-3": (("scipy",), ("netCDF4",)),
}
_INSTALL = {"NetCDF-4": "pip install h5netcdf h5py", "NetCDF-3": "pip install scipy"}


def open_input(
    source: str, bands: Any = None, grid: str | None = None
) -> xr.Dataset | xr.DataArray:
    """Open a dataset lazily, with its numbers as they are stored.

    Parameters
    ----------
    source : str
        A path, a URL, or a name of GDAL's (``SENTINEL2_L2A:/path/MTD_MSIL2A.xml:10m:EPSG_32632``).
    bands : list or dict of str, optional
        The bands to take. Variables that are called like other bands are left out.
    grid : str, optional
        Which resolution of a Sentinel-2 product: ``10m``, ``20m`` or ``60m``.

    Raises
    ------
    InvalidInput
        It is none of these, or not there.
    ImportError
        What reads it is not installed.
    """
    source = local_path(source)
    try:
        opened = _open(source, grid)
    except TecError:
        raise
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{source} cannot be opened: {error}", allowed=_ALLOWED) from error
    if grid is not None and not _has_grids(opened):
        raise InvalidInput(f"--grid {grid} for {source}", allowed="a Sentinel-2 product (SAFE)")
    if isinstance(opened, xr.Dataset):
        opened = _with_fill(_unsigned(opened))
        opened = opened.drop_vars(other_bands(opened, bands))
    return opened


def _open(source: str, grid: str | None) -> xr.Dataset | xr.DataArray:
    path = Path(source)
    if _GDAL.match(source) and not path.exists():
        return _raster(source.replace(":~/", f":{Path.home()}/"), grid)
    if "://" in source:
        return _remote(source, grid)
    if path.is_dir():
        return _folder(path, grid)
    return _file(path, grid) if path.exists() else _inside_zip(source)


def _remote(source: str, grid: str | None) -> xr.Dataset | xr.DataArray:
    suffix = Path(source.partition("?")[0].rstrip("/")).suffix.lower()
    if suffix in (".tif", ".tiff", ".vrt", ".jp2"):
        return _raster(source, grid)
    if suffix in (".nc", ".nc4", ".h5"):
        return xr.open_dataset(source, chunks={}, mask_and_scale=False)
    return _zarr(source, source)


def _folder(path: Path, grid: str | None) -> xr.Dataset | xr.DataArray:
    product = next((p for p in sorted(path.iterdir()) if _PRODUCT.fullmatch(p.name)), None)
    if product is not None:
        return _raster(str(product), grid)
    if not any((path / name).exists() for name in _ZARR):
        raise InvalidInput(f"{path} is a folder without Zarr metadata", allowed=_ALLOWED)
    return _zarr(str(path), str(path))


def _file(path: Path, grid: str | None) -> xr.Dataset | xr.DataArray:
    with path.open("rb") as file:
        head = file.read(8)
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if kind is not None:
        return _netcdf(str(path), kind)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as members:
            names = {name.rpartition("/")[2] for name in members.namelist()}
        if names & set(_ZARR):
            return _zarr(_zip(str(path)), str(path))
    return _raster(str(path), grid)


def _raster(source: str, grid: str | None) -> xr.Dataset | xr.DataArray:
    """Open what GDAL reads; of a product with several grids, the one asked for."""
    require("rioxarray", "a raster")
    import rasterio
    import rioxarray

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(source) as found:
            parts = [] if found.count else list(found.subdatasets)
            parts = parts or (list(found.subdatasets) if "SENTINEL2" in found.driver else [])
            driver = str(found.driver)
    if parts:
        return _raster(_part(source, parts, grid), None)
    opened = rioxarray.open_rasterio(source, chunks={"x": 2048, "y": 2048})
    if isinstance(opened, list):
        raise InvalidInput(f"{source} has rasters of several sizes", fix="name one of them")
    return _of_product(opened) if driver == "SENTINEL2" else opened


def _part(source: str, parts: list[str], grid: str | None) -> str:
    choices = {m[1]: p for p in parts if (m := re.search(r":(\d+m):", p))}
    if grid is not None and (key := f"{grid.removesuffix('m')}m") in choices:
        return choices[key]
    if choices:
        raise InvalidInput(
            f"{source} has bands on {len(choices)} grids",
            allowed=", ".join(choices),
            fix=f"pass --grid {next(iter(choices))}, and compress each into a --group of its own",
        )
    raise InvalidInput(
        f"{source} has {len(parts)} rasters", allowed=", ".join(parts[:8]), fix="name one of them"
    )


def _of_product(opened: Any) -> Any:
    """Keep what a Sentinel-2 product says of all bands, and its date."""
    opened.attrs = {k: v for k, v in opened.attrs.items() if k not in _OF_ONE_BAND}
    start = opened.attrs.get("PRODUCT_START_TIME")
    if isinstance(start, str) and "time" not in opened.coords:
        opened = opened.assign_coords(time=np.datetime64(start.removesuffix("Z"), "ns"))
    return opened


def _has_grids(opened: xr.Dataset | xr.DataArray) -> bool:
    return "PRODUCT_URI" in opened.attrs


def _netcdf(source: str, kind: str) -> xr.Dataset:
    if not any(all(find_spec(name) for name in engine) for engine in _ENGINES[kind]):
        raise ImportError(
            f"{source} is {kind}, and nothing that reads it is installed; {_INSTALL[kind]}"
        )
    return xr.open_dataset(source, chunks={}, mask_and_scale=False)


def _zip(path: str) -> Any:
    import zarr.storage

    return zarr.storage.ZipStore(path, mode="r")


def _inside_zip(source: str) -> xr.Dataset:
    """Open a group of a zipped Zarr store: product.zarr.zip/measurements/reflectance/r10m."""
    for parent in Path(source).parents:
        if parent.is_file() and zipfile.is_zipfile(parent):
            group = str(Path(source).relative_to(parent).as_posix())
            return _zarr(_zip(str(parent)), source, group)
    raise InvalidInput(f"{source}: no such file or directory")


def _zarr(store: Any, label: str, group: str | None = None) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated")
        opened = xr.open_zarr(store, group=group, chunks={}, mask_and_scale=False)
    if opened.data_vars:
        return opened
    import zarr

    root = zarr.open_group(store, path=group, mode="r")
    members = root.members(max_depth=None)
    holders = sorted({n.rpartition("/")[0] for n, m in members if isinstance(m, zarr.Array)} - {""})
    raise InvalidInput(
        f"{label} has no variables at its root",
        allowed="a group with bands" + (f": {', '.join(holders[:12])}" if holders else ""),
        fix=f"name the group in the path: {label.rstrip('/')}/{holders[0]}" if holders else None,
    )


def _unsigned(data: xr.Dataset) -> xr.Dataset:
    """Read integers as unsigned where NetCDF's ``_Unsigned`` says so, fill values with them."""
    for name in [n for n, v in data.variables.items() if _says_unsigned(v)]:
        array = data[name]
        kind = np.dtype(f"u{array.dtype.itemsize}")
        attrs = {k: v for k, v in array.attrs.items() if k != "_Unsigned"}
        for key in FILL_KEYS:
            if key in attrs:
                attrs[key] = int(np.asarray(attrs[key]).astype(array.dtype).astype(kind))
        encoding = {k: v for k, v in array.encoding.items() if k not in ("dtype", "_Unsigned")}
        array = array.astype(kind)
        array.attrs, array.encoding = attrs, encoding
        data = data.assign({name: array})
    return data


def _says_unsigned(variable: xr.Variable) -> bool:
    said = {**variable.encoding, **variable.attrs}.get("_Unsigned")
    return variable.dtype.kind == "i" and str(said).lower() == "true"


def _with_fill(data: xr.Dataset) -> xr.Dataset:
    """Give images the fill value that only the attributes of the whole dataset state."""
    said = next((data.attrs[key] for key in FILL_KEYS if key in data.attrs), None)
    value = as_number(said)
    if value is None or not float(value).is_integer():
        return data
    for name, array in data.data_vars.items():
        own: Mapping[Any, Any] = {**array.encoding, **array.attrs}
        image = {"y", "x"} <= {role_of(str(dim)) for dim in array.dims}
        if not image or array.dtype.kind not in "iu" or any(key in own for key in FILL_KEYS):
            continue
        limits = np.iinfo(array.dtype)
        if limits.min <= value <= limits.max:
            data[name].attrs["nodata"] = int(value)
    return data

"""Where pixels are: whatever loaded a cube, its CRS is there right after ``xr.open_zarr``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import pystac
import pytest
import rioxarray
import xarray as xr
from affine import Affine

import tec_xarray
from archives import SETTINGS, series
from tec_numcodecs.errors import InvalidInput
from tec_xarray.testing.catalog_scene import EPSG, LEFT, TOP, write_scene

GRID = Affine(10, 0, LEFT, 0, -10, TOP)
ITEMS = ("time", "id", "eo:cloud_cover", "s2:processing_baseline", "earthsearch:boa_offset_applied")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Files and items; read from disk, as other loaders are at home there, too."""
    directory = tmp_path_factory.mktemp("scene")
    return directory, write_scene(directory, str(directory))


@dataclass(frozen=True)
class RasterSpec:
    """As stackstac's: the one attribute of its cubes that no store can hold."""

    epsg: int
    bounds: tuple[float, ...]
    resolutions_xy: tuple[float, float]


def stacked(dates: int = 5, first: int = 0) -> xr.DataArray:
    """What ``stackstac.stack(items, dtype="uint16", rescale=False)`` (0.5.1) returns.

    Corners of pixels as coordinates, items' properties along time, and the CRS where only
    stackstac looks. Not made by it, because it needs pandas < 3.
    """
    cube = series(dates, first=first)[["B02", "B04", "B8A"]].to_dataarray("band")
    array = cube.transpose("time", "band", "y", "x").drop_vars(["cloud_cover", "platform"])
    steps = range(first, first + dates)
    return array.rename("stackstac-5f21eb326762fb84434a85d9f7e9de41").assign_coords(
        {
            "band": ["red", "blue", "nir08"],
            "y": TOP - 10.0 * np.arange(64),
            "x": LEFT + 10.0 * np.arange(96),
            "id": ("time", np.array([f"S2A_32TPT_{t:03d}_0_L2A" for t in steps])),
            "eo:cloud_cover": ("time", [float(t) for t in steps]),
            "earthsearch:boa_offset_applied": ("time", [bool(t % 2) for t in steps]),
            "s2:processing_baseline": ("time", np.array([f"05.1{t % 2}" for t in steps])),
            "platform": np.str_("sentinel-2a"),
            "proj:epsg": EPSG,
            "epsg": EPSG,
        }
    ).assign_attrs(
        spec=RasterSpec(EPSG, (LEFT, TOP - 640, LEFT + 960, TOP), (10, 10)),
        crs=f"epsg:{EPSG}",
        transform=GRID,
        resolution=10,
    )  # fmt: skip


def check(store: Path, shape: tuple[int, int], transform: Affine = GRID) -> xr.Dataset:
    """Open as anybody would, and ask where the pixels are."""
    read = xr.open_zarr(store)
    cube = next(v for v in read.data_vars.values() if "tec_layout" in v.attrs)
    assert read.rio.crs.to_epsg() == cube.rio.crs.to_epsg() == EPSG
    assert read.attrs["proj:code"] == f"EPSG:{EPSG}"
    assert cube.shape[2:] == shape
    # stackstac's coordinates are corners of pixels, and stay what they were.
    corner = (float(read.x[0]), float(read.y[0]))
    assert corner in ((transform.c, transform.f), transform * (0.5, 0.5))
    assert not [name for name in read.attrs if name.startswith("spatial:")]
    return read


def test_cubes_of_stackstac(tmp_path: Path) -> None:
    whole, store = stacked(), tmp_path / "a.zarr"
    attrs = dict(whole.attrs)
    whole[:3].chunk(time=1).tec.compress(**SETTINGS, sensor="S2L2A", store=store, appendable=True)
    assert whole.attrs == attrs
    tec_xarray.append(whole[3:].chunk(time=1), store)
    read = check(store, (64, 96))
    for name in (*ITEMS, "boa_offset", "x", "y", "platform"):
        np.testing.assert_array_equal(read[name].values, whole[name].values)
    cube = read[whole.name]
    assert list(cube.band.values) == ["B02", "B04", "B8A"]
    assert json.loads(cube.attrs["spec"])["epsg"] == EPSG
    assert cube.attrs["resolution"] == 10
    window = tmp_path / "window.zarr"
    whole[:, :, 7:50, 3:90].tec.compress(lam=20, sensor="S2L2A", store=window)
    check(window, (43, 87), Affine(10, 0, LEFT + 30, 0, -10, TOP - 70))


def test_cubes_of_odc_stac(scene: Any, tmp_path: Path) -> None:
    items = [pystac.Item.from_dict(item) for item in scene[1]]
    loaded = odc.stac.load(items, ["red", "nir", "scl"], chunks={}, resolution=10)
    loaded.tec.compress(lam=20, store=tmp_path / "a.zarr")
    read = check(tmp_path / "a.zarr", (264, 264))
    np.testing.assert_array_equal(read["scl"], loaded["scl"])
    assert read["scl"].rio.crs.to_epsg() == EPSG
    assert read.rio.transform() == GRID
    xr.testing.assert_identical(read["time"].drop_attrs(), loaded["time"].drop_attrs())


def test_cubes_of_rioxarray(scene: Any, tmp_path: Path) -> None:
    directory, items = scene
    files = [directory / items[0]["id"] / f"{band}.tif" for band in ("B04", "B08")]
    rasters = [rioxarray.open_rasterio(file, chunks=True) for file in files]
    one = rasters[0].tec.compress(lam=20, bands=["B04"], sensor="S2L2A", store=tmp_path / "1.zarr")
    assert check(tmp_path / "1.zarr", (264, 264)).rio.transform() == GRID
    assert one.tec.to_bands()["B04"].attrs["nodata"] == 0
    both = xr.concat(rasters, "band").assign_coords(band=["B04", "B08"]).rename("image")
    both.tec.compress(max_error=0, sensor="S2L2A", store=tmp_path / "2.zarr")
    read = check(tmp_path / "2.zarr", (264, 264))
    np.testing.assert_array_equal(read["image"][0], both)


def test_contradictions_are_refused() -> None:
    data = stacked(1)
    with pytest.raises(InvalidInput, match=r"crs = epsg:32632, epsg = 32633"):
        data.assign_coords(epsg=32633).tec.compress(lam=20, sensor="S2L2A")
    with pytest.raises(InvalidInput, match="crs = 'here'"):
        data.assign_attrs(crs="here").tec.compress(lam=20, sensor="S2L2A")
    # What CF says counts, if it says something.
    marked = data.assign_attrs(crs="here").rio.write_crs(EPSG).tec.compress(lam=20, sensor="S2L2A")
    assert marked.rio.crs.to_epsg() == EPSG


def renamed(y: str, x: str, y_values: Any, x_values: Any, **attrs: Any) -> xr.Dataset:
    """Bands on axes of other names, with a CRS that only an attribute states."""
    data = series(2, (20, 24))
    variables = {
        band: (("time", y, x), data[band].values, dict(attrs)) for band in ("B02", "B04", "B8A")
    }
    coords = {"time": data.time.values, y: y_values, x: x_values}
    return xr.Dataset(variables, coords, {"sensor": "S2L2A", "crs": "EPSG:4326"})


@pytest.mark.parametrize(
    "names", [("Y", "X"), ("lat", "lon"), ("latitude", "longitude"), ("northing", "easting")]
)
@pytest.mark.parametrize("irregular", [False, True])
def test_axes_of_any_name_get_a_grid_mapping_and_no_other_grid(
    names: tuple[str, str], irregular: bool, tmp_path: Path
) -> None:
    y = 47 - (np.linspace(0, 1, 20) ** 2 if irregular else np.arange(20) * 1e-4)
    data = renamed(*names, y, 11 + np.arange(24) * 1e-4, transform=(1e-4, 0, 11, 0, -1e-4, 47))
    data.tec.compress(lam=20, store=tmp_path / "a.zarr")
    read = xr.open_zarr(tmp_path / "a.zarr")
    assert read.reflectance.attrs["grid_mapping"] == "spatial_ref"
    assert read.reflectance.rio.crs.to_epsg() == 4326
    assert not [name for name in read.attrs if name.startswith("spatial:")]
    np.testing.assert_array_equal(read[names[0]], y)


def in_another_variable(name: str) -> xr.Dataset:
    """As openEO writes it: the CRS in a variable that is not called spatial_ref."""
    data = series(2, (20, 24)).rio.write_crs(EPSG, grid_mapping_name=name)
    return data.drop_vars("SCL")


@pytest.mark.parametrize("name", ["crs", "transverse_mercator"])
@pytest.mark.parametrize("place", ["attrs", "encoding", "nowhere"])
@pytest.mark.parametrize("coords", ["all", "coordinates"])
def test_a_grid_mapping_of_another_name_survives(
    name: str, place: str, coords: str, tmp_path: Path
) -> None:
    data = in_another_variable(name)
    for band in ("B02", "B04", "B8A"):
        data[band].encoding.pop("grid_mapping", None)
        data[band].attrs.pop("grid_mapping", None)
        if place != "nowhere":
            getattr(data[band], place)["grid_mapping"] = name
    data.tec.compress(lam=20, store=tmp_path / "a.zarr")
    read = xr.open_zarr(tmp_path / "a.zarr", decode_coords=coords)
    again = tec_xarray.drop_codec(read).tec.compress(lam=20, store=tmp_path / "b.zarr")
    for found in (read.tec.to_bands(), read.tec.from_cube(), again.tec.to_bands()):
        assert found.B04.rio.crs.to_epsg() == EPSG
        found.to_netcdf(tmp_path / "a.nc")


def test_a_transform_of_the_whole_raster_does_not_go_with_a_window(tmp_path: Path) -> None:
    data = series(2, (20, 24)).rio.write_crs(EPSG)
    data = data.rio.write_transform(GRID).isel(x=slice(4, 20))
    assert "GeoTransform" in data.spatial_ref.attrs
    data.tec.compress(lam=20, store=tmp_path / "a.zarr")
    assert "GeoTransform" not in xr.open_zarr(tmp_path / "a.zarr").spatial_ref.attrs

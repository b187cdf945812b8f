"""Bands as files name them: descriptions of rasters, positions, grids of several resolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray
import xarray as xr

import tec_xarray
import tec_xarray.tutorial
from cubes import scene
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.layout import cube_of, from_cube, to_bands, to_cube

GEE = ("B4", "B3", "B2", "B8")
GDAL = (
    "B4, central wavelength 665 nm",
    "B3, central wavelength 560 nm",
    "B8A (865 nm)",
    "B8 - NIR",
)


def raster(path: Path, said: tuple[str, ...]) -> xr.DataArray:
    """A GeoTIFF with descriptions, as rioxarray reads it."""
    array = xr.DataArray(scene((len(said), 1, 32, 32))[:, 0], dims=("band", "y", "x"))
    array.attrs["long_name"] = said
    array.rio.write_crs(32632).rio.to_raster(path)
    read = rioxarray.open_rasterio(path)
    assert isinstance(read, xr.DataArray)
    return read


@pytest.mark.parametrize(
    ("said", "bands"),
    [(GEE, ["B04", "B03", "B02", "B08"]), (GDAL, ["B04", "B03", "B8A", "B08"])],
)
def test_descriptions_go_in_and_out(said: Any, bands: list[str], tmp_path: Path) -> None:
    read = raster(tmp_path / "a.tif", said)
    out = read.tec.compress(sensor="S2L2A", max_error=0, store=tmp_path / "a.zarr")
    cube = cube_of(out)
    assert list(cube.band.values) == sorted(bands)  # which is the order of the sensor here
    back = from_cube(xr.open_zarr(tmp_path / "a.zarr"))
    assert back.reflectance.attrs["long_name"] == said
    back.reflectance.rio.to_raster(tmp_path / "b.tif")
    again = rioxarray.open_rasterio(tmp_path / "b.tif")
    assert again.attrs["long_name"] == said
    np.testing.assert_array_equal(again, read)
    assert to_bands(out)["B04"].attrs["long_name"] == said[0]


def test_bands_select_where_labels_say_which(tmp_path: Path) -> None:
    read = raster(tmp_path / "a.tif", GEE)
    cube = cube_of(to_cube(read, bands=["B02", "red"]))
    assert list(cube.band.values) == ["B02", "B04"]
    np.testing.assert_array_equal(cube[0], read.values[[2, 0]])
    assert cube.attrs["long_name"] == ["B2", "B4"]
    mapped = cube_of(to_cube(read, bands={"3": "B02", "1": "B04"}))
    np.testing.assert_array_equal(mapped[0], read.values[[2, 0]])
    with pytest.raises(InvalidInput, match="'nothing'"):
        to_cube(read, bands={"nothing": "B02"})


def test_positions_in_a_file_are_no_bands(tmp_path: Path) -> None:
    raster(tmp_path / "a.tif", GEE)
    read = rioxarray.open_rasterio(tmp_path / "a.tif", band_as_variable=True)
    assert isinstance(read, xr.Dataset)
    assert list(cube_of(to_cube(read)).band.values) == ["B04", "B03", "B02", "B08"]
    with pytest.raises(InvalidInput, match="may be positions"):
        to_cube(read.drop_attrs())
    numbers = read.drop_attrs().rename(band_1="band_8a")
    assert list(cube_of(to_cube(numbers)).band.values) == ["B8A", "B02", "B03", "B04"]


def test_selected_bands_are_appended_and_verified(tmp_path: Path) -> None:
    read = raster(tmp_path / "a.tif", GEE)
    read.attrs = {"long_name": GEE}
    settings: dict[str, Any] = {"bands": ["B02", "B04"], "sensor": "S2L2A"}
    read.tec.compress(store=tmp_path / "a.zarr", **settings)
    assert tec_xarray.verify(tmp_path / "a.zarr", read, **settings).ok
    turned = {**settings, "bands": ["B04", "B02"]}
    assert tec_xarray.verify(tmp_path / "a.zarr", read, **turned).ok


def test_bands_on_several_grids_are_told_and_usable() -> None:
    ten = (("y", "x"), np.full((12, 12), 900, np.uint16))
    twenty = (("y20", "x20"), np.full((6, 6), 700, np.uint16))
    data = xr.Dataset({"B02": ten, "B03": ten, "B05": twenty, "B8A": twenty})
    with pytest.raises(InvalidInput, match=r"B02, B03 on y \(12\).*B05, B8A on y20 \(6\)"):
        data.tec.compress(sensor="S2L2A")
    for bands in (["B02", "B03"], ["B05", "B8A"]):
        out = data[bands].tec.compress(sensor="S2L2A")
        assert list(cube_of(out).band.values) == bands
    assert cube_of(data.tec.compress(sensor="S2L2A", bands=["B05", "B8A"])).shape == (1, 2, 6, 6)


def test_water_vapor_tells_the_level_where_it_is_plain() -> None:
    scene_l2a = tec_xarray.tutorial.open_dataset(layout="cube").isel(time=[0])
    bare = scene_l2a.reflectance.drop_attrs()[..., :32, :32]
    assert "sentinel-2-l2a" in str(bare.tec.compress().reflectance.encoding["serializer"])
    absorbed = bare.where(bare.band != "B09", bare // 4).astype("u2")
    assert "sentinel-2-l1c" in str(absorbed.tec.compress().reflectance.encoding["serializer"])
    for unclear in (bare * 0 + 9000, bare.where(bare.band != "B09", bare // 4 * 3)):
        with pytest.raises(InvalidInput, match="without a word on the sensor"):
            unclear.astype("u2").tec.compress()

"""Bands of an archive are in the order of the sensor, unless another one was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from zarr.storage import MemoryStore

import tec_xarray
from archives import SETTINGS, objects, series
from tec_numcodecs.errors import InvalidInput
from tec_xarray.store.codec_metadata import configuration_in

NAMES = ["B8A", "B02", "B04"]
ORDER = ["B02", "B04", "B8A"]


def as_variables(data: xr.Dataset) -> xr.Dataset:
    return data[[*NAMES, "SCL"]]


def on_an_axis(data: xr.Dataset) -> xr.Dataset:
    cube = data[NAMES].to_dataarray("band", name="reflectance").assign_coords(band=NAMES)
    return cube.to_dataset().assign(SCL=data["SCL"]).assign_attrs(sensor="S2L2A")


def as_a_raster(data: xr.Dataset) -> xr.Dataset:
    """Numbered positions, and descriptions in an attribute."""
    found = on_an_axis(data).assign_coords(band=[1, 2, 3])
    found["reflectance"].attrs["long_name"] = tuple(NAMES)
    return found


FORMS = [as_variables, on_an_axis, as_a_raster]


@pytest.fixture(scope="module")
def wanted() -> MemoryStore:
    store = MemoryStore()
    series(6).tec.compress(**SETTINGS, store=store, appendable=True)
    return store


@pytest.mark.parametrize("form", FORMS)
def test_a_listing_does_not_decide(form: Any, wanted: MemoryStore) -> None:
    store, data = MemoryStore(), form(series(4))
    read = data.tec.compress(**SETTINGS, store=store, appendable=True)
    assert list(read["band"].values) == ORDER
    tec_xarray.append(form(series(2, first=4)), store)
    assert objects(store) == objects(wanted)
    assert tec_xarray.verify(store, form(series(6))).ok
    back = tec_xarray.from_cube(xr.open_zarr(store).isel(time=[4, 5]))  # these wait without loss
    original = form(series(6)).isel(time=[4, 5])
    for name in original.data_vars:
        np.testing.assert_array_equal(back[name], original[name])
    if form is as_a_raster:
        assert back["reflectance"].attrs["long_name"] == tuple(NAMES)


@pytest.mark.parametrize("form", FORMS)
def test_bounds_for_each_band_follow_their_bands(form: Any) -> None:
    data, store = form(series(2)), MemoryStore()
    data.tec.compress(max_error=[60, 10, 30], store=store, chunks=SETTINGS["chunks"])
    found = tec_xarray.info(store)
    assert found["codec"]["max_error"] == [10, 30, 60]
    for band, bound in zip(ORDER, (10, 30, 60), strict=True):
        assert found["errors"][band]["max_error"] <= bound
    tec_xarray.resume(data, store)
    tec_xarray.resume(data, store, max_error=[60, 10, 30])
    with pytest.raises(InvalidInput, match="max_error"):
        tec_xarray.resume(data, store, max_error=[10, 30, 60])


def test_an_order_that_was_said_is_kept() -> None:
    data = series(2)
    for chosen in (
        data.tec.compress(lam=20, bands=NAMES),
        data.tec.to_cube(bands=NAMES).tec.compress(lam=20),
    ):
        assert configuration_in(chosen["reflectance"].encoding)["bands"] == NAMES
    store = MemoryStore()
    data.tec.compress(**SETTINGS, bands=NAMES, store=store, appendable=True)
    tec_xarray.append(series(1, first=2), store)
    assert list(xr.open_zarr(store)["band"].values) == NAMES
    assert tec_xarray.verify(store, series(3)).ok

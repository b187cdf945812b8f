"""What numbers mean: dtypes that come back as they went in, fill values that nobody mentioned."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import tec_xarray
from archives import series
from tec_xarray.encoding.encode_dataset import EncodingSettings, encode_dataset
from tec_xarray.errors import FillValueWarning
from tec_xarray.store.codec_metadata import configuration_in

BANDS = ["B02", "B04", "B8A"]


def cube(dtype: str, **attrs: Any) -> xr.Dataset:
    data = series(2, (40, 48))[BANDS].astype(dtype)
    data = data.where(data > 0, data + 700).astype(dtype)  # without the zeros of `series`
    for band in BANDS:
        data[band].attrs = dict(attrs)
    return data.assign_attrs(sensor="S2L2A")


def with_hole(dtype: str, value: int, **attrs: Any) -> xr.Dataset:
    data = cube(dtype, **attrs)
    for band in BANDS:
        data[band][:, 10:20, 5:25] = value
    return data


IDENTITY = {"scale_factor": 1.0, "add_offset": 0.0}


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
@pytest.mark.parametrize("attrs", [IDENTITY, {**IDENTITY, "_FillValue": 0}, {"missing_value": 0}])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_integers_that_gdal_describes_come_back_as_integers(
    dtype: str, attrs: dict[str, Any], zarr_format: int, tmp_path: Path
) -> None:
    data = with_hole(dtype, 0, **attrs)
    data.tec.compress(max_error=0, store=tmp_path / "a.zarr", zarr_format=zarr_format)
    read = xr.open_zarr(tmp_path / "a.zarr")
    assert read.reflectance.dtype == dtype
    assert read.reflectance.attrs["nodata"] == 0
    np.testing.assert_array_equal(read.tec.to_bands().B04, data.B04)


def test_a_scale_that_means_something_stays() -> None:
    data = cube("uint16", scale_factor=1e-4, add_offset=0.0, _FillValue=0)
    read = data.tec.compress(max_error=0, store=zarr.storage.MemoryStore())
    np.testing.assert_allclose(read.tec.to_bands().B04, data.B04 * 1e-4, rtol=1e-6)


def test_cf_gives_reflectance_whatever_gdal_says() -> None:
    read = cube("uint16", **IDENTITY).tec.compress(
        lam=20, cf=True, store=zarr.storage.MemoryStore()
    )
    assert 0 < float(read.reflectance.mean()) < 1


@pytest.mark.parametrize(
    ("dtype", "value", "attrs"),
    [
        ("int16", -9999, {}),
        ("int16", -32768, {}),
        ("int16", 32767, {}),
        ("int16", -1, {}),
        ("uint16", 65535, {}),
        ("uint16", 0, {"nodata": 65535}),
        ("int16", -9999, {"_FillValue": 0}),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_a_fill_value_that_nobody_mentioned_is_pointed_out_once(
    dtype: str, value: int, attrs: dict[str, Any], lazy: bool
) -> None:
    data = with_hole(dtype, value, **attrs)
    if lazy and attrs:
        return  # what a source states about its values is believed, and nothing is read
    data = data.chunk(time=1, y=16) if lazy else data
    with pytest.warns(FillValueWarning, match=f"nodata={value} ") as told:
        data.tec.compress(lam=20, store=zarr.storage.MemoryStore())
    assert len([w for w in told if w.category is FillValueWarning]) == 1


def test_lazy_integers_are_not_read_before_they_are_stored() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FillValueWarning)
        with_hole("int16", -9999).chunk(time=1).tec.compress(lam=20)


@pytest.mark.parametrize(
    "data",
    [
        cube("uint16"),
        with_hole("uint16", 0),
        with_hole("int16", -9999, nodata=-9999),
        cube("uint16").clip(max=1200),
        cube("int16") - 1000,
        (cube("int16") - 1000).clip(min=-300),
        xr.full_like(cube("uint16"), 1200),
        xr.full_like(cube("uint16"), 0),
    ],
)
def test_ordinary_values_are_no_fill_values(data: xr.Dataset) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FillValueWarning)
        data.tec.compress(lam=20, store=zarr.storage.MemoryStore())


def test_who_says_what_it_is_hears_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FillValueWarning)
        with_hole("int16", -9999).tec.compress(lam=20, nodata=-9999)
        with_hole("int16", -9999).tec.compress(lam=20, nodata=0)
    read = with_hole("int16", -9999).tec.compress(
        lam=20, nodata=-9999, store=zarr.storage.MemoryStore()
    )
    assert (tec_xarray.to_bands(read).B04[:, 10:20, 5:25] == -9999).all()


def test_floats_are_judged_before_workers_are_asked(client: Any) -> None:
    """Of data that no worker has yet, a window is computed in this process."""
    seen: list[tuple[int, ...]] = []

    def look(values: Any) -> Any:
        seen.append(values.shape)
        return values

    data = series(1, (32, 32))[BANDS].astype("float32") / 1e4
    lazy = data.chunk(y=16).map(
        lambda a: a.copy(data=a.data.map_blocks(look, dtype=a.dtype, meta=a.data._meta))
    )
    meaning = EncodingSettings(lam=20, sensor="S2L2A", nodata=None)
    found = encode_dataset(lazy, meaning, sample=True).dataset
    assert configuration_in(found["reflectance"].encoding)["scale"] == 1e-4
    assert seen
    held = client.persist(data.chunk(y=16))
    found = encode_dataset(held, meaning, sample=True).dataset
    assert configuration_in(found["reflectance"].encoding)["scale"] == 1e-4

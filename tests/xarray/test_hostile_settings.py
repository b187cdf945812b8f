"""Archives, reports and pictures in a process that turns arithmetic of its own kind into errors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import tec_xarray
from tec_xarray import tutorial

BANDS = ["B02", "B03", "B04", "B08"]


@pytest.fixture
def hostile() -> Iterator[None]:
    before = np.seterr(all="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield
    np.seterr(**before)


def cubes() -> dict[str, Any]:
    scene = tutorial.open_dataset("0173706").tec.to_cube(bands=BANDS)
    dn = scene.isel(time=slice(0, 3), y=slice(0, 40), x=slice(0, 40)).load()
    float_ = dn.copy(deep=True)
    values = (dn["reflectance"].values * np.float32(1e-4)).astype(np.float32)
    values[0, :, 3:9, 3:9] = np.nan
    values[1] = np.nan  # a date with nothing
    values[2, 0] = 0  # a band that is constant
    values[2, :, 20, 20] = 0  # an index of 0 / 0
    values[2, 1, 21, 21] = 1e-42
    values.view(np.uint32)[2, :, 30, 30] = 0x7F800001  # signaling NaN
    float_["reflectance"] = (dn["reflectance"].dims, values)
    dark = dn.copy(deep=True)
    dark["reflectance"][:] = 0
    return {"dn": dn, "reflectance": float_, "nothing": dark}


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("name", ["dn", "reflectance", "nothing"])
def test_an_archive_and_its_report(name: str, tmp_path: Path) -> None:
    dataset = cubes()[name]
    small = dataset.tec.compress(lam=20, sensor="sentinel-2-l2a", store=tmp_path / "a.zarr")
    tec_xarray.verify(tmp_path / "a.zarr", dataset)
    report = small.tec.report(dataset)
    assert report.to_json()
    assert repr(report)
    report.to_dataframe()
    with xr.open_zarr(tmp_path / "a.zarr") as again:
        missing = np.isnan(dataset["reflectance"].values.astype(np.float32))
        assert (np.isnan(again["reflectance"].values.astype(np.float32)) == missing).all()


@pytest.mark.usefixtures("hostile")
def test_searches_sweeps_and_pictures(tmp_path: Path) -> None:
    dataset = cubes()["reflectance"]
    settings: dict[str, Any] = {"sensor": "sentinel-2-l2a", "chunks": (1, 4, 16, 16)}
    small = dataset.tec.compress(psnr=40, per="cube", store=tmp_path / "b.zarr", **settings)
    dataset.tec.reconstruct(lam=20, **settings)["reflectance"].load()
    dataset.tec.sweep(lams=[5], models=["fp"], sensor="sentinel-2-l2a")
    small.tec.plot.rgb()
    small.tec.plot.error_maps(dataset)
    small.tec.plot.time_series(dataset, x=30, y=30)

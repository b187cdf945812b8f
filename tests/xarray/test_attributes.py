"""Attributes in archives: strict JSON in Zarr, and something that NetCDF holds, too."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import tec_xarray
from archives import series
from tec_xarray.cube.attributes import flat_attrs

AWKWARD: dict[str, Any] = {
    "zarr_conventions": [{"uuid": "0", "name": "somebody's"}],
    "spec": {"epsg": 32632, "bounds": (0.0, math.nan)},
    "harmonized": True,
    "nothing": None,
    "mixed": [1, "a", None],
    "levels": np.array([1.0, np.nan]),
    "nested": [[1, 2], [3, 4]],
    "gain": np.float32(0.5),
    "worst": math.inf,
    "wavelengths": [490.0, 560],
    "text": "as it is",
}


def refuse(name: str) -> None:
    raise ValueError(name)


def strictly(folder: Path) -> int:
    """Parse every piece of metadata as anybody but Python does; return how many there are."""
    files = [f for f in folder.rglob("*") if f.suffix == ".json" or f.name.startswith(".z")]
    for file in files:
        json.loads(file.read_text(), parse_constant=refuse)
    return len(files)


def awkward() -> xr.Dataset:
    data = (series(2, (20, 24))[["B02", "B04", "B8A"]].astype("float32") / 1e4).drop_attrs()
    data = data.assign_attrs(AWKWARD, sensor="S2L2A")
    data.B04.attrs = {"nodata": math.nan, "scale": [math.inf, 2], **AWKWARD}
    data.B02.attrs = {"nodata": math.nan, "center": math.nan}
    data.time.attrs = dict(AWKWARD)
    return data


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("cf", [False, True])
def test_everything_written_is_strict_json_and_fits_into_netcdf(
    zarr_format: int, cf: bool, tmp_path: Path
) -> None:
    data, store = awkward(), tmp_path / "a.zarr"
    before = data.copy(deep=True)
    data.tec.compress(lam=20, store=store, zarr_format=zarr_format, cf=cf)
    xr.testing.assert_identical(data, before)
    assert strictly(store) > 5
    read = xr.open_zarr(store)
    assert json.loads(read.attrs["spec"]) == {"epsg": 32632, "bounds": [0.0, "NaN"]}
    assert read.attrs["harmonized"] == 1
    assert read.attrs["wavelengths"] == [490.0, 560]
    pieces = {
        "whole": read, "window": read.isel(x=slice(3, 9)), "bands": read.tec.to_bands(),
        "back": read.tec.from_cube(), "date": read.isel(time=[1]),
    }  # fmt: skip
    for name, piece in pieces.items():
        piece.to_netcdf(tmp_path / f"{name}.nc")
        assert xr.open_dataset(tmp_path / f"{name}.nc").sizes["y"] == 20


def test_the_lazy_form_is_strict_json_too(tmp_path: Path) -> None:
    awkward().tec.compress(lam=20).to_zarr(tmp_path / "a.zarr", consolidated=False)
    assert strictly(tmp_path / "a.zarr") > 5


def test_flat_attributes() -> None:
    found = flat_attrs(AWKWARD)
    assert found["text"] == "as it is"
    assert found["gain"] == 0.5
    assert found["worst"] == "Infinity"
    assert json.loads(found["levels"]) == [1.0, "NaN"]
    assert json.loads(found["zarr_conventions"])[0]["uuid"] == "0"
    assert flat_attrs({"a": [1, 2.5], "b": ("x",), "c": []}) == {"a": [1, 2.5], "b": ["x"], "c": []}


def test_a_nodata_of_nan_is_still_nan(tmp_path: Path) -> None:
    data = awkward().where(awkward().B04 > 0.1)
    archive = data.tec.compress(lam=20, store=tmp_path / "a.zarr")
    assert np.isnan(tec_xarray.to_bands(archive).B04.rio.nodata)

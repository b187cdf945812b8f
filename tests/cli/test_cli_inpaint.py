"""`tec inpaint`: from a file with clouds to a store without."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from typer.testing import CliRunner

from cloudy import blobs, seasons
from tec_xarray.cli.commands import app


def tec(*words, code=0):
    done = CliRunner().invoke(app, ["inpaint", *map(str, words)])
    assert done.exit_code == code, done.output
    return done


def cloudy(folder):
    cube = seasons(48)
    classes = np.full(cube[:, 0].shape, 4, "u1")
    classes[1][blobs((48, 48), 0.2)] = 9
    data = {b: (("time", "y", "x"), cube[:, i]) for i, b in enumerate(["B02", "B04", "B08", "B11"])}
    times = np.array(["2021-03-01", "2021-06-01", "2021-09-01", "2021-12-01"], "M8[ns]")
    found = xr.Dataset(data, {"time": times}, {"sensor": "sentinel-2-l2a"})
    found["SCL"] = (("time", "y", "x"), classes)
    found.to_zarr(folder / "in.zarr")
    return found


def test_filled_written_and_counted(tmp_path):
    data = cloudy(tmp_path)
    done = tec(tmp_path / "in.zarr", tmp_path / "out.zarr", "--clouds", "scl", "--method", "linear",
               "--classes", "cloud_high,snow", "--dilate", 0, "--json")  # fmt: skip
    said = json.loads(done.stdout)
    clouds = data.SCL.values == 9
    assert (said["filled"], said["unfilled"]) == (clouds.sum(), 0)
    found = xr.open_zarr(tmp_path / "out.zarr")
    np.testing.assert_array_equal(found.filled, clouds)
    clear = ~clouds
    np.testing.assert_array_equal(found.reflectance.values[:, 0][clear], data.B02.values[clear])
    again = tec(tmp_path / "in.zarr", tmp_path / "out.zarr", "--clouds", "scl", code=2).stderr
    assert "--overwrite" in again


def test_the_input_is_never_overwritten(tmp_path):
    data = cloudy(tmp_path)
    place = tmp_path / "in.zarr"
    tec(place, place, "--clouds", "scl", "--method", "linear", "--overwrite", code=2)
    xr.testing.assert_equal(xr.open_zarr(place), data)


def test_messages_name_flags(tmp_path):
    cloudy(tmp_path)
    error = tec(tmp_path / "in.zarr", tmp_path / "out.zarr", code=2).stderr
    assert "--clouds" in error
    error = tec(tmp_path / "in.zarr", tmp_path / "o", "--clouds", "scl", "--method", "x", code=2)
    assert "--method" in error.stderr

"""The bundled scene, the pictures, and the demo as a person runs it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from tec_numcodecs.errors import InvalidInput
from tec_xarray.tutorial import SCENES, open_dataset


def test_the_scene() -> None:
    bands, cube = open_dataset("0173706"), open_dataset("0173706", layout="cube")
    assert cube["reflectance"].shape == (4, 12, 264, 264)
    assert cube["reflectance"].dtype == np.uint16
    assert list(bands.data_vars) == list(cube["band"].values)
    for band in bands.data_vars:
        np.testing.assert_array_equal(bands[band], cube["reflectance"].sel(band=band))
        assert bands[band].attrs["nodata"] == 0
    # The pixels of the source, in its order: a rewrite of the file must not change them.
    pixels = cube["reflectance"].values.astype("<u2").tobytes()
    assert hashlib.sha256(pixels).hexdigest() == (
        "e9da6fb362241dd9bb0593935699f7d4333a8ac05fb47c20f32f8b11486ce07d"
    )
    for dataset in (bands, cube):
        assert dataset.attrs["license"] == "CC-BY-4.0"
        assert "SSL4EO-S12" in dataset.attrs["attribution"]
        assert "Copernicus" in dataset.attrs["attribution"]
        assert "no geotransform" in dataset.attrs["comment"]
        for name in ("time", "y", "x", "spatial_ref"):
            assert "made up" in dataset[name].attrs["comment"], name


def test_the_scene_is_selected_by_date_and_place() -> None:
    scene = open_dataset()
    assert scene.sel(time="2022-05").sizes["time"] == 1
    part = scene.sel(x=slice(700_000, 700_100), y=slice(5_300_000, 5_299_900))
    assert part.B04.shape == (4, 10, 10)
    small = scene.isel(x=slice(16), y=slice(16)).tec.compress(lam=20)
    assert small["reflectance"].attrs["grid_mapping"] == "spatial_ref"
    assert small["time"].attrs["comment"] == scene["time"].attrs["comment"]


def test_what_ships_is_small_and_attributed() -> None:
    data = resources.files("tec_xarray") / "data"
    files = {item.name: len(item.read_bytes()) for item in data.iterdir()}
    assert sum(files.values()) < 6_000_000
    notes = (data / "README.md").read_text()
    for scene in SCENES.values():
        assert scene.file in files
        assert scene.file in notes


@pytest.mark.parametrize("settings", [{"name": "paris"}, {"layout": "tree"}])
def test_no_such_scene(settings: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(settings.values()))):
        open_dataset(**settings)


@pytest.mark.parametrize("rates", [(200,), pytest.param((), marks=pytest.mark.slow)])
def test_the_demo(rates: tuple[int, ...], tmp_path: Path) -> None:
    words = [word for lam in rates for word in ("--lam", str(lam))]
    done = subprocess.run(
        [sys.executable, "-m", "tec_xarray.cli", "demo", *words],  # `make demo` by its other name
        check=False, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for word in ("catalog: http://127.0.0.1", "4 dates, 12 bands and SCL, EPSG:32632", "2022-10-19",
                 "lam 200", "PSNR", "CC-BY-4.0", "verified",
                 "imported only", "demo.png"):  # fmt: skip
        assert word in done.stdout
    assert "contradict" not in done.stdout  # a newcomer meets no warning
    picture = np.asarray(Image.open(tmp_path / "demo-output" / "demo.png").convert("RGB"))
    assert picture.shape[0] > 550
    assert picture.shape[1] > 1200
    assert picture.std() > 30
    for lam in rates or (20, 200):
        assert xr.open_zarr(tmp_path / "demo-output" / f"lam-{lam}.zarr")["reflectance"].size

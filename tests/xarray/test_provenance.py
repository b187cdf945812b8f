"""What a store says about its loss, and weights that travel with it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import xarray as xr
import zarr

import tec_xarray
from archives import SETTINGS, series
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput, WeightsError
from tec_numcodecs.weights.local_store import locate
from tec_xarray.store import embedded_weights
from tec_xarray.store.location import StoreLocation

PREFIX = "lossy_compression_"


def test_attributes_say_what_was_asked_promised_and_reached(tmp_path):
    store = tmp_path / "a.zarr"
    original = series(4)
    found = original.tec.compress(store=store, **SETTINGS | {"max_error": 40})
    again = xr.open_zarr(store, mask_and_scale=False)  # consolidated or not, the same
    attrs = again["reflectance"].attrs
    said = {k.removeprefix(PREFIX): v for k, v in attrs.items() if k.startswith(PREFIX)}
    plain = zarr.open_group(store, use_consolidated=False)["reflectance"].attrs
    assert all(plain[PREFIX + key] == value for key, value in said.items())
    report = found.tec.report(original, ssim=False)
    assert (said["algorithm"], said["lam"], said["max_error"]) == ("tec mini fp", 100, 40)
    assert said["weights_sha256"] == CodecConfig.parse(lam=1).weights.sha256
    assert said["implementation"].startswith("tec-xarray ")
    assert said["achieved_psnr"] == pytest.approx(report.total.psnr)
    assert said["achieved_rmse"] == pytest.approx([band.rmse for band in report.bands])
    assert said["achieved_max_error"] == [band.max_error for band in report.bands]
    assert max(said["achieved_max_error"]) <= 40
    assert again.attrs["tec_weights"] == "mini-fp-preview1"
    assert again.attrs["tec_weights_sha256"] == said["weights_sha256"]
    assert "pip install tec-xarray" in again.attrs["tec_weights_source"]
    assert "numpy" in again.attrs["tec_software"]
    again.isel(time=0).load().drop_encoding().drop_vars("platform").to_netcdf(tmp_path / "a.nc")
    there = xr.open_dataset(tmp_path / "a.nc")["reflectance"].attrs
    assert there[f"{PREFIX}achieved_psnr"] == said["achieved_psnr"]


def test_lossless_and_lazy_stores_claim_nothing():
    exact = series(2).tec.compress(max_error=0)["reflectance"].attrs
    assert not [key for key in exact if key.startswith(PREFIX)]
    lazy = series(2).tec.compress(psnr=40)["reflectance"].attrs
    assert lazy[f"{PREFIX}psnr"] == 40
    assert not [key for key in lazy if "achieved" in key]


def test_appended_dates_are_counted():
    """An archive that grew says what one written at once says, to the last digit."""
    whole, grown = zarr.storage.MemoryStore(), zarr.storage.MemoryStore()
    series(8).tec.compress(store=whole, appendable=True, **SETTINGS)
    series(3).tec.compress(store=grown, appendable=True, **SETTINGS)
    tec_xarray.append(series(5, first=3), grown)
    a, b = (xr.open_zarr(store)["reflectance"].attrs for store in (whole, grown))
    assert a == b
    assert f"{PREFIX}achieved_psnr" in a


READ = """
import sys, numpy as np
from tec_numcodecs.weights import local_store as registry
registry.bundled = lambda: {}  # as a version that no longer has these weights
import xarray as xr, tec_xarray
try:
    xr.open_zarr(sys.argv[1])["reflectance"].values
except Exception as error:
    print(type(error).__name__, error)
print(int(tec_xarray.open_zarr(sys.argv[1], mask_and_scale=False)["reflectance"].values.sum()))
print(int(xr.open_zarr(sys.argv[1], mask_and_scale=False)["reflectance"].values.sum()))
"""


@pytest.mark.parametrize("zarr_format", [3, 2])
def test_a_reader_finds_weights_in_the_archive(tmp_path, zarr_format):
    store = tmp_path / "a.zarr"
    settings = {"lam": 100, "chunks": (4, 3, 32, 32), "zarr_format": zarr_format}
    found = series(2).tec.compress(store=store, embed_weights=True, **settings)
    expected = int(found["reflectance"].values.sum())
    assert tec_xarray.verify(store).ok
    environment = {"PATH": "", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", READ, str(store)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    missing, ours, afterwards = run.stdout.strip().splitlines()
    assert missing.startswith("WeightsError")
    assert "tec_xarray.open_zarr(store)" in missing
    assert (int(ours), int(afterwards)) == (expected, expected)
    (kept,) = (tmp_path / "cache").rglob("*.safetensors")
    assert kept.read_bytes() == locate(CodecConfig.parse(lam=1).weights).read_bytes()


def test_copies_are_written_once_checked_and_extracted(tmp_path):
    store = zarr.storage.MemoryStore()
    series(2).tec.compress(store=store, embed_weights=True, **SETTINGS)
    before = dict(store._store_dict)
    weights = CodecConfig.parse(lam=1).weights
    embedded_weights.embed(StoreLocation.of(store, None, None), weights)
    assert store._store_dict == before
    (path,) = embedded_weights.extract(store, tmp_path / "w")
    assert path.name == f"{weights.sha256}.safetensors"
    assert path.read_bytes() == locate(weights).read_bytes()
    copied = zarr.storage.MemoryStore()
    tec_xarray.copy(store, copied)
    assert embedded_weights.extract(copied, tmp_path / "w") == [path]
    array = zarr.open_group(store, mode="r+")[f"tec_weights/{weights.sha256}"]
    array[100] = int(array[100]) ^ 1
    with pytest.raises(WeightsError, match="their name"):
        embedded_weights.extract(store, tmp_path / "x")
    problems = tec_xarray.verify(store).problems
    assert [where for where, _ in problems] == [f"tec_weights/{weights.sha256}"]
    tec_xarray.resume(series(2), store)
    assert tec_xarray.verify(store).ok


def test_the_command_embeds_aims_and_extracts(tmp_path):
    series(2).to_zarr(tmp_path / "in.zarr")
    words = [
        ["compress", "in.zarr", "a.zarr", "--psnr", "45", "--embed-weights", "--json"],
        ["weights", "extract", "a.zarr", "--to", "w", "--json"],
    ]
    runs = [
        subprocess.run(
            [sys.executable, "-m", "tec_xarray.cli", *line], cwd=tmp_path, capture_output=True,
            text=True, check=True,
        )
        for line in words
    ]  # fmt: skip
    found, paths = (json.loads(run.stdout) for run in runs)
    assert found["codec"]["psnr"] == 45
    assert found["psnr"] >= 45
    assert [path.name for path in (tmp_path / "w").iterdir()] == [paths[0].rpartition("/")[2]]


def test_embedding_needs_a_store():
    with pytest.raises(InvalidInput, match="pass store="):
        series(2).tec.compress(lam=20, embed_weights=True)
    store = zarr.storage.MemoryStore()
    series(2).tec.compress(store=store, **SETTINGS)
    with pytest.raises(InvalidInput, match="tec_weights_source"):
        embedded_weights.extract(store, "nowhere")


@pytest.mark.parametrize("zarr_format", [3, 2])
def test_without_the_package_an_error_names_it(tmp_path, zarr_format):
    """Zarr alone says which codec it lacks; that is the name to install."""
    store = tmp_path / "a.zarr"
    settings = {"lam": 100, "chunks": (4, 3, 32, 32), "zarr_format": zarr_format}
    series(1).tec.compress(store=store, **settings)
    program = (
        "import sys, importlib.metadata as m; find = m.entry_points\n"
        "def hidden(**k):\n"
        "    found = find(**k)\n"
        "    flat = [e for g in found.values() for e in g] if isinstance(found, dict) else found\n"
        "    return m.EntryPoints(e for e in flat if e.name != 'tec_xarray')\n"
        "m.entry_points = hidden\n"
        "import zarr\n"
        "zarr.open_group(sys.argv[1], mode='r')['reflectance'][:]"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(store)], capture_output=True, text=True, check=False
    )
    assert run.returncode
    assert "tec_xarray" in run.stderr.strip().splitlines()[-1]

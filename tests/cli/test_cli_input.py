"""What people have and what they are told: kinds of files, flags in messages, reports."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
from typer.testing import CliRunner

from archives import series
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cli.commands import app
from tec_xarray.cli.flags import in_flags, message_of
from tec_xarray.cli.input import open_input


def tec(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("pass bands=['B02', ...], one name for each", "pass --bands B02,..., one name for each"),
        ("pass bands={'variable': 'B04', ...} to", "pass --bands variable=B04,... to"),
        ("pass sensor= with one of these", "pass --sensor with one of these"),
        ("lam = -1", "--lam -1"),
        ("pass units='dn' if they are DN", "pass --units dn if they are DN"),
        ("pass max_error=0.5, for example", "pass --max-error 0.5, for example"),
        ("pass nodata=None if", "pass --nodata none if"),
        ("chunks=(4, 12, 256, 256)", "--chunks 4,12,256,256"),
        ("shards=False for none", "--shards none for none"),
        ("value = DN * scale + offset", "value = DN * scale + offset"),
        ("embed_weights=True", "--embed-weights"),
    ],
)
def test_arguments_are_said_as_flags(python: str, shell: str) -> None:
    assert in_flags(python) == shell


def test_what_only_python_does_says_so() -> None:
    error = InvalidInput("dims", fix="rename them: ds.rename({'old': 'y'})")
    assert "in Python: rename them" in message_of(error)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sensor", "landsat"], "pass --sensor with one of these"),
        (["--lam", "-1"], "--lam -1"),
        (["--units", "miles"], "--units miles"),
        (["--scale", "0"], "--scale 0"),
        (["--nodata", "much"], "--nodata much; allowed: a number"),
        (["--nodata", "1.5"], "--nodata"),
        (["--bands", "B99"], "pass --bands variable=B04,..."),
        (["--bands", "B04=B99"], "pass --bands with names from this list"),
        (["--variable", "nothing"], "pass --variable with one of these"),
        (["--chunks", "a,b"], "--chunks a,b; allowed"),
        (["--chunks", "0,1,2,3"], "--chunks"),
        (["--model", "vvc"], "--model"),
        (["--quality", "99", "--model", "flextec"], "--quality"),
        (["--per", "cube", "--psnr", "-3"], "--psnr"),
        (["--grid", "10m"], "--grid"),
    ],
)
def test_every_refusal_names_flags(words: list[str], message: str, tmp_path: Path) -> None:
    series(1, (32, 32)).to_zarr(tmp_path / "in.zarr")
    said = tec("compress", tmp_path / "in.zarr", tmp_path / "out.zarr", *words, code=2)
    assert message in said
    assert "pass lam=" not in said
    assert not (tmp_path / "out.zarr").exists()


def test_bands_select_and_map_names(tmp_path: Path) -> None:
    data = series(1, (32, 32)).rename(B04="s2_B04", B02="blau")
    data.to_zarr(tmp_path / "in.zarr")
    mapped = ("--bands", "s2_B04,blau=B02")
    out = tmp_path / "out.zarr"
    found = json.loads(tec("compress", tmp_path / "in.zarr", out, *mapped, "--json"))
    assert found["bands"] == ["B04", "B02"]
    assert "B8A" not in xr.open_zarr(out)
    tec("verify", out, "--original", tmp_path / "in.zarr", *mapped)
    report = json.loads(tec("report", out, tmp_path / "in.zarr", *mapped, "--no-ssim", "--json"))
    assert report["bits_per_sample"] > 0
    assert "--original" in tec("verify", out, *mapped, code=2)


def test_version_and_completion() -> None:
    assert tec("--version").startswith("tec ")
    assert "--install-completion" in tec("--help")


def test_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    series(1, (32, 32)).to_zarr(tmp_path / "in.zarr")
    tec("compress", "~/in.zarr", "~/out.zarr")
    assert "B8A" in tec("info", "~/out.zarr")
    assert (tmp_path / "out.zarr").is_dir()


def test_unsigned_netcdf_and_a_fill_value_of_the_whole_file(tmp_path: Path) -> None:
    values = np.array([[1, 40000], [65535, 7]], np.uint16)
    data = xr.Dataset({"B2": (("y", "x"), values.view(np.int16), {"_Unsigned": "true"})})
    data.attrs["_FillValue"] = 65535
    data.to_netcdf(tmp_path / "a", engine="h5netcdf")  # no suffix: the content counts
    read: Any = open_input(str(tmp_path / "a"))
    assert read.B2.dtype == np.uint16
    np.testing.assert_array_equal(read.B2, values)
    assert read.B2.attrs["nodata"] == 65535


def test_netcdf_without_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series(1, (32, 32)).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    monkeypatch.setattr("tec_xarray.cli.input.find_spec", lambda _: None)
    said = tec("compress", tmp_path / "a.nc", tmp_path / "b.zarr", code=1)
    assert "pip install h5netcdf h5py" in said
    assert said.count("\n") == 1


def test_groups_and_zipped_products_are_named(tmp_path: Path) -> None:
    data = series(1, (32, 32))
    data.to_zarr(tmp_path / "p.zarr", group="measurements/r10m", consolidated=False)
    with pytest.raises(InvalidInput, match=r"p\.zarr/measurements/r10m"):
        open_input(str(tmp_path / "p.zarr"))
    xr.testing.assert_equal(open_input(str(tmp_path / "p.zarr/measurements/r10m")).load(), data)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as target:
        for file in (tmp_path / "p.zarr").rglob("*"):
            target.write(file, file.relative_to(tmp_path / "p.zarr"))
    xr.testing.assert_equal(open_input(str(tmp_path / "p.zip/measurements/r10m")).load(), data)
    with pytest.raises(InvalidInput, match="no such file"):
        open_input(str(tmp_path / "q.zip/measurements"))
    with pytest.raises(InvalidInput, match="without Zarr metadata"):
        open_input(str(tmp_path))


def test_names_of_gdal_are_taken_as_they_are(tmp_path: Path) -> None:
    """Inside a zip file, as a subdataset, and through a name that only GDAL has."""
    raster = xr.DataArray(np.full((32, 32), 7, np.uint16), dims=("y", "x"), name="B04")
    raster.rio.write_crs(32632).rio.to_raster(tmp_path / "a.tif")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as target:
        target.write(tmp_path / "a.tif", "in/a.tif")
    for name in (f"/vsizip/{tmp_path}/a.zip/in/a.tif", f"GTIFF_DIR:1:{tmp_path}/a.tif"):
        assert open_input(name).shape == (1, 32, 32)
        out = tmp_path / f"{len(name)}.zarr"
        tec("compress", name, out, "--sensor", "S2L2A", "--bands", "B04")
        tec("verify", out, "--original", name, "--bands", "B04")

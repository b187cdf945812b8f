"""Dates for an archive that has no journal: of a plain `to_zarr`, or whose journal is gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from typer.testing import CliRunner

import tec_xarray
from archives import SETTINGS, objects, series
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_xarray.cli.commands import app

UNKNOWN = {"samples": None, "rmse": None, "psnr": None, "max_error": None}


def plain(path: Path, dates: int, **settings: Any) -> dict[str, str]:
    """Write an archive by plain xarray; return the digests of its objects."""
    series(dates).chunk(time=2).tec.compress(**{**SETTINGS, **settings}).to_zarr(
        path, zarr_format=settings.get("zarr_format", 3)
    )
    return objects(path)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_dates_are_added_to_what_a_plain_to_zarr_wrote(tmp_path: Path, zarr_format: int) -> None:
    path = tmp_path / "a.zarr"
    more: dict[str, Any] = {"shards": None, "zarr_format": 2} if zarr_format == 2 else {}
    before = plain(path, 4, **more)
    whole = series(7)
    tec_xarray.append(whole.isel(time=slice(4, 7)).chunk(time=1), path)
    after = objects(path)
    assert before == {key: after[key] for key in before}  # not coded again
    assert tec_xarray.verify(path, whole).ok
    read = xr.open_zarr(path)
    for name in ("SCL", "time", "platform", "cloud_cover"):
        np.testing.assert_array_equal(read[name], whole[name])
    found = tec_xarray.info(path)
    assert found["errors"] == {"B04": UNKNOWN, "B02": UNKNOWN, "B8A": UNKNOWN}
    assert (found["psnr"], found["dates_waiting"], found["blocks_missing"]) == (None, 3, 0)
    json.dumps(found, allow_nan=False)
    assert not [key for key in read["reflectance"].attrs if "achieved" in key]
    assert "not known" in CliRunner().invoke(app, ["info", str(path)]).output
    tec_xarray.append(series(1, first=7), path)  # an archive like any other from now on
    assert tec_xarray.verify(path, series(8)).ok


def test_a_journal_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    """The dates that wait say themselves that they have lost nothing."""
    path, whole = tmp_path / "a.zarr", tmp_path / "whole.zarr"
    series(6).tec.compress(**SETTINGS, store=path, appendable=True)
    shutil.rmtree(path / "tec_journal")
    tec_xarray.append(series(3, first=6), path)
    series(9).tec.compress(**SETTINGS, store=whole, appendable=True)
    assert objects(path) == objects(whole)
    assert not [key for key in xr.open_zarr(path)["reflectance"].attrs if "achieved" in key]


def test_what_is_refused_leaves_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    plain(path, 3)
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    with pytest.raises(InvalidInput, match=r"the last 3 of 3 dates .* coded with loss"):
        tec_xarray.append(series(1, first=3), path)
    with pytest.raises(InvalidInput, match="has already"):
        tec_xarray.append(series(1), path)
    assert before == {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    damaged = tmp_path / "b.zarr"
    plain(damaged, 4)
    block = damaged / "reflectance/c/0/0/1/0"
    block.write_bytes(block.read_bytes()[:-9])
    with pytest.raises(CorruptChunk, match=r"block \(0, 1, 0\)"):
        tec_xarray.append(series(1, first=4), damaged)
    assert not (damaged / "tec_journal" / "zarr.json").exists()


def test_a_variable_whose_chunks_blocks_share_is_written_whole(tmp_path: Path) -> None:
    """Two tasks that write parts of one chunk at once would lose one of them."""
    path = tmp_path / "a.zarr"
    marked = series(4).tec.compress(**SETTINGS)
    marked["SCL"].encoding["chunks"] = (4, 64, 96)
    marked.to_zarr(path)
    tec_xarray.append(series(4, first=4).chunk(time=1, y=32), path)
    assert "SCL" not in zarr.open_group(path)["tec_journal"].attrs["beside"]
    assert tec_xarray.verify(path, series(8)).ok


def test_values_decoded_by_the_codec_are_no_dates_to_add(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    plain(path, 4)
    later = xr.open_zarr(path).load()
    later = later.assign_coords(time=later.time + np.timedelta64(99, "D"))
    with pytest.raises(InvalidInput, match="compressed already"):
        tec_xarray.append(later, path)

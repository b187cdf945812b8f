"""Reports: figures against plain NumPy, any chunking, any store, and views that can be read."""

from __future__ import annotations

import dataclasses
import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import tec_xarray
from tec_numcodecs.errors import InvalidInput
from tec_xarray import compare
from tec_xarray.report import Report, blockwise
from tec_xarray.report.formatting import span, summary
from tec_xarray.tutorial import SCENES, open_dataset

DATES = list(SCENES["0173706"].dates)

BANDS = ["B02", "B08", "B11"]


def small(dtype: str = "uint16") -> xr.Dataset:
    """Cut a piece of the bundled scene, with a hole in it."""
    cube = open_dataset()[BANDS].isel(y=slice(0, 70), x=slice(100, 190))
    for band in BANDS:
        cube[band][1, 20:30, 40:60] = 0
    cube["B02"][0, 0, 0] = 0
    if dtype == "float32":
        for band in BANDS:
            values = cube[band].where(cube[band] > 0).astype("float32") / np.float32(10_000)
            cube[band] = values.drop_attrs()
    return cube


@pytest.fixture(scope="module", params=["uint16", "float32"])
def stored(request: pytest.FixtureRequest) -> tuple[xr.Dataset, xr.Dataset]:
    original = small(request.param)
    return original.tec.compress(lam=50, store=zarr.storage.MemoryStore()), original


def in_dn(dataset: xr.Dataset) -> np.ndarray:
    """Return the bands as (T, C, H, W), DN as float64, NaN where missing."""
    planes = [dataset[b].values.astype(np.float64) for b in BANDS]
    values = np.stack(planes, axis=1)
    if dataset[BANDS[0]].dtype.kind == "f":
        return values * 1e4
    return np.where(values == 0, np.nan, values)


def test_figures_against_numpy(stored: tuple[xr.Dataset, xr.Dataset]) -> None:
    read, original = stored
    report = read.tec.report(original)
    a, b = in_dn(original), in_dn(read.tec.to_bands())
    error = b - a
    assert report.shape == a.shape
    for i, band in enumerate(report.bands):
        own = error[:, i]
        assert band.label == BANDS[i]
        assert band.samples == np.isfinite(own).sum()
        assert band.rmse == pytest.approx(np.sqrt(np.nanmean(own**2)), rel=1e-6)
        assert band.bias == pytest.approx(np.nanmean(own), rel=1e-4, abs=1e-4)
        assert band.max_error == pytest.approx(np.nanmax(abs(own)), rel=1e-5)
        assert band.psnr == pytest.approx(10 * np.log10(1e8 / np.nanmean(own**2)), rel=1e-6)
        assert 0.5 < band.ssim < 1
        sizes = np.rint(abs(own[np.isfinite(own)]))
        assert (sizes <= band.p95).mean() >= 0.95 > (sizes <= band.p95 - 1).mean()
        counts = np.histogram(np.rint(own[np.isfinite(own)]), report.histogram.edges)[0]
        assert report.histogram.counts[band.label] == tuple(counts)
        assert math.isnan(band.spectral_angle)
    for t, date in enumerate(report.dates):
        assert date.rmse == pytest.approx(np.sqrt(np.nanmean(error[t] ** 2)), rel=1e-6)
        assert math.isnan(date.p95)
    assert report.total.rmse == pytest.approx(np.sqrt(np.nanmean(error**2)), rel=1e-6)
    assert report.total.samples == np.isfinite(error).sum()
    assert report.total.mask_errors == 0
    cosine = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    angle = np.degrees(np.nanmean(np.arccos(np.clip(cosine, -1, 1))))
    assert report.spectral_angle == pytest.approx(angle, rel=1e-4)
    where = report.worst
    assert report.indices == ()  # no red band
    assert report.worst_chunk is not None
    assert report.worst_chunk.index == (0, 0, 0)
    assert report.worst_chunk.rmse == pytest.approx(report.total.rmse, rel=1e-6)
    assert (report.worst_chunk.time, report.worst_chunk.y, report.worst_chunk.x) == (
        (0, 4), (0, 70), (0, 90),
    )  # fmt: skip
    place = (where["time"], BANDS.index(where["band"]), where["y"], where["x"])
    assert abs(error[place]) == pytest.approx(report.total.max_error, rel=1e-5)


def test_bytes_are_those_of_the_store(stored: tuple[xr.Dataset, xr.Dataset]) -> None:
    read, original = stored
    store = read.encoding["tec_store"]
    sizes = {key: len(value.to_bytes()) for key, value in store._store_dict.items()}
    own = sum(size for key, size in sizes.items() if key.startswith("reflectance/c/"))
    report = read.tec.report(original)
    assert report.stored_bytes == own
    assert report.other_bytes == sum(sizes.values()) - own
    assert report.raw_bytes == read["reflectance"].nbytes
    assert report.ratio == pytest.approx(read["reflectance"].nbytes / own)
    assert report.bits_per_sample == pytest.approx(8 * own / read["reflectance"].size)
    assert report.codec["model"] == "fp"
    assert report.codec["lam"] == 50


def test_local_files(tmp_path: Path) -> None:
    original, path = small(), tmp_path / "a.zarr"
    for zarr_format in (2, 3):
        original.tec.compress(store=path, mode="w", zarr_format=zarr_format)
        files = [p for p in (path / "reflectance").rglob("*") if p.is_file()]
        metadata = ("zarr.json", ".zarray", ".zattrs")
        on_disk = sum(p.stat().st_size for p in files if p.name not in metadata)
        assert xr.open_zarr(path).tec.report(original).stored_bytes == on_disk
        assert compare(xr.open_zarr(path), original, store=path).stored_bytes == on_disk


def test_the_same_figures_however_it_is_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockwise, "BLOCK", 32)
    original = small()
    store = zarr.storage.MemoryStore()
    lazy = original.tec.compress(store=store, chunks={"y": 16, "x": 16}, shards=False)
    reports = [
        lazy.tec.report(original),
        lazy.load().tec.report(original),
        lazy.chunk(x=13, band=1).tec.report(original.chunk(y=9)),
        xr.open_zarr(store, chunks=None).tec.report(original.tec.to_cube(), store=store),
        xr.open_zarr(store).tec.report(original[BANDS[::-1]], store=store),
    ]
    assert all(report == reports[0] for report in reports)
    assert reports[0].total.ssim < 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than a few blocks are asked for at once, and each sample once."""
    monkeypatch.setattr(blockwise, "BLOCK", 32)
    original = small()
    lazy = original.tec.compress(store=zarr.storage.MemoryStore())
    batches: list[int] = []
    on_dask = blockwise._on_dask

    def spy(*args: Any, **kwargs: Any) -> Any:
        sizes = [[s.stop - s.start for s in (r[0], r[2], r[3])] for r in args[2]]
        batches.append(sum(T * H * W for T, H, W in sizes))
        return on_dask(*args, **kwargs)

    monkeypatch.setattr(blockwise, "_on_dask", spy)
    lazy.tec.report(original)
    assert sum(batches) == 4 * 70 * 90
    assert max(batches) <= blockwise.AT_ONCE * 4 * 32 * 32


def test_perfect_and_missing() -> None:
    original = small()
    exact = original.tec.compress(max_error=0, store=zarr.storage.MemoryStore())
    report = exact.tec.report(original)
    assert report.total.rmse == 0
    assert math.isinf(report.total.psnr)
    assert report.total.ssim == pytest.approx(1)
    assert report.spectral_angle == pytest.approx(0, abs=1e-5)
    assert report.to_dict()["total"]["psnr"] == "inf"
    empty = original.copy(deep=True)
    for band in BANDS:
        empty[band][:] = 0
    nothing = empty.tec.compress(store=zarr.storage.MemoryStore()).tec.report(empty)
    assert nothing.total.samples == 0
    assert nothing.to_dict()["total"]["rmse"] is None
    assert math.isnan(nothing.spectral_angle)
    assert "-" in str(nothing)
    json.loads(nothing.to_json())


def test_what_is_missing_in_one_only_is_counted() -> None:
    original = small()
    read = original.tec.compress(store=zarr.storage.MemoryStore())
    other = original.copy(deep=True)
    other["B11"][0, 3, 4:6] = 0
    report = read.tec.report(other)
    assert [band.mask_errors for band in report.bands] == [0, 0, 2]
    assert "2 samples differ" in str(report)


def test_views(stored: tuple[xr.Dataset, xr.Dataset]) -> None:
    read, original = stored
    report = read.tec.report(original)
    text = str(report)
    for word in (*BANDS, "all", "RMSE (DN)", "PSNR (dB)", "SSIM", "model fp", "mini"):
        assert word in text
    tables = text.split("\n\n")
    assert len(tables) == 3
    for table in tables[1:]:
        assert len({len(line) for line in table.splitlines()}) == 1  # columns line up
    assert repr(report).startswith("<Report of 'reflectance'")
    table = report.to_dataframe()
    assert list(table.index) == [*BANDS, "all"]
    assert table.loc["B11", "rmse"] == report.bands[2].rmse
    assert json.loads(report.to_json())["bands"][1]["label"] == "B08"
    assert json.loads(report.to_json(indent=1)) == report.to_dict()
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.dtype = "x"


def test_html_is_well_formed_and_escaped(stored: tuple[xr.Dataset, xr.Dataset]) -> None:
    read, original = stored
    report: Report = dataclasses.replace(read.tec.report(original), variable="<b>&")
    opened: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
            opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    page = report._repr_html_()
    Checker().feed(page)
    assert opened == []
    assert "&lt;b&gt;&amp;" in page
    tables = [2 + len(BANDS), 1 + len(report.dates), len(report.histogram.edges) - 1]
    assert page.count("<tr>") == len(summary(report)) + sum(tables)


def test_indices_against_numpy() -> None:
    original = open_dataset()[["B03", "B04", "B08"]].isel(y=slice(0, 50), x=slice(0, 60))
    original["B04"][1, :9] = 0
    settings = {"sensor": "S2L2A", "lam": 20}
    read = original.tec.compress(**settings, store=zarr.storage.MemoryStore())
    report = read.tec.report(original)
    again = read.tec.to_bands()
    for name, plus, minus in (("NDVI", "B08", "B04"), ("NDWI", "B03", "B08")):
        both = []
        for data in (again, original):
            a, b = (data[k].where(data[k] > 0).astype("float64").values for k in (plus, minus))
            both.append((a - b) / (a + b))
        error = both[0] - both[1]
        rows = {row.date: row for row in report.indices if row.label == name}
        assert list(rows) == ["all", *DATES]
        parts = [("all", error), *zip(DATES, error, strict=True)]
        for date, part in parts:
            own = rows[date]
            assert own.pixels == np.isfinite(part).sum()
            assert own.rmse == pytest.approx(np.sqrt(np.nanmean(part**2)))
            assert own.bias == pytest.approx(np.nanmean(part))
            assert own.max_error == pytest.approx(np.nanmax(abs(part)))
        sizes = abs(error[np.isfinite(error)])
        assert np.quantile(sizes, 0.95) == pytest.approx(rows["all"].p95, abs=1e-3)
    assert f"RMSE {rows['all'].rmse:.4f}" in str(report)
    assert "NDVI RMSE" in report._repr_html_()
    table = report.to_dataframe("index")
    assert table.loc[("NDWI", DATES[2]), "rmse"] == rows[DATES[2]].rmse


def test_the_worst_chunk_is_where_the_errors_are() -> None:
    original = small()
    store = zarr.storage.MemoryStore()
    settings = {"chunks": {"time": 2, "y": 32, "x": 48}, "shards": False}
    read = original.tec.compress(max_error=0, store=store, **settings)
    wrong = original.copy(deep=True)
    wrong["B08"][3, 40, 50] += np.uint16(100)
    wrong["B02"][0, 0, 5] += np.uint16(104)
    worst = read.tec.report(wrong).worst_chunk
    assert worst is not None
    assert (worst.index, worst.time, worst.y, worst.x) == ((1, 1, 1), (2, 4), (32, 64), (48, 90))
    assert worst.rmse == pytest.approx(math.sqrt(100**2 / (2 * 3 * 32 * 42)))
    assert worst.max_error == 100


def test_tables() -> None:
    original = small()
    report = original.tec.compress(store=zarr.storage.MemoryStore()).tec.report(original)
    assert list(report.to_dataframe("date").index) == DATES
    histogram = report.to_dataframe("histogram")
    assert list(histogram) == [*BANDS, "all"]
    assert histogram["all"].sum() == report.total.samples
    assert histogram.loc[0.0, "B02"] == report.histogram.counts["B02"][11]
    inner = np.diff(report.histogram.edges[1:-1])
    assert len(inner) == 21
    assert set(inner) == {inner[0]}
    beyond = report.histogram.counts["all"]
    assert beyond[0] + beyond[-1] <= 0.01 * report.total.samples
    assert report.to_dataframe("index").empty
    with pytest.raises(InvalidInput, match="'month'"):
        report.to_dataframe("month")
    assert [span(low, high) for low, high in ((-math.inf, -1000.5), (-0.5, 0.5), (5.5, 10.5))] == [
        "-1001 DN or less", "0 DN", "6 ... 10 DN",
    ]  # fmt: skip


def test_of_many_dates_the_worst_are_shown() -> None:
    original = small()[["B08"]].isel(time=[0, 1, 2, 3] * 4).assign_coords(time=range(16))
    read = original.tec.compress(sensor="S2L2A", max_error=0, store=zarr.storage.MemoryStore())
    wrong = original.copy(deep=True)
    wrong["B08"][9] += 7
    text = str(read.tec.report(wrong))
    assert "the worst 12 of 16 dates" in text
    dates = text.split("\n\n")[2].splitlines()[1:-1]
    assert len(dates) == 12
    assert any(line.startswith("9 ") for line in dates)


def test_what_xarray_scaled_is_measured_in_dn() -> None:
    original = small()
    settings = {"lam": 50, "sensor": "S2L2A"}
    plain = original.tec.compress(**settings, store=zarr.storage.MemoryStore())
    scaled = original.tec.compress(**settings, store=zarr.storage.MemoryStore(), cf=True)
    assert scaled["reflectance"].dtype.kind == "f"
    one, other = plain.tec.report(original), scaled.tec.report(original)
    assert other.dtype == "uint16"
    assert other.total.rmse == pytest.approx(one.total.rmse, rel=1e-9)
    assert other.total.mask_errors == 0
    assert other.raw_bytes == one.raw_bytes


def test_ssim_can_be_left_out() -> None:
    original = small()
    read = original.tec.compress(store=zarr.storage.MemoryStore())
    report = read.tec.report(original, ssim=False)
    assert math.isnan(report.total.ssim)
    assert report.total.rmse == read.tec.report(original).total.rmse


def test_refusals(tmp_path: Path) -> None:
    original = small()
    read = original.tec.compress(store=tmp_path / "a.zarr")
    lazy = original.tec.compress()
    for data, other, settings, message in [
        (lazy, original, {}, "write it first"),
        (original, original, {}, "stored.tec.report"),
        (read, original[["B02"]], {}, "no B08, B11"),
        (read, original.isel(time=[0, 1]), {}, "shape"),
        (read, original.assign_coords(time=[9, 8, 7, 6]), {}, "time coordinates"),
        (read.isel(x=slice(5)), original.isel(x=slice(5)), {}, "whole array"),
        (read.isel(time=0), original, {}, "whole"),
        (read, original, {"store": tmp_path / "b.zarr"}, "no Zarr group"),
        (read, original, {"group": "r10m"}, "no Zarr group"),
        (read, original.astype("float32"), {}, "the original is float32"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            data.tec.report(other, **settings)


def test_harmonized_offset_is_taken_out() -> None:
    original = small()
    shifted = original.copy(deep=True)
    for band in BANDS:
        shifted[band] = xr.where(original[band] > 0, original[band] + 1000, 0).astype("uint16")
    plain = original.tec.compress(sensor="S2L2A", store=zarr.storage.MemoryStore())
    moved = shifted.tec.compress(sensor="S2L2A", offset=1000, store=zarr.storage.MemoryStore())
    one, other = plain.tec.report(original), moved.tec.report(shifted)
    assert other.total.rmse == pytest.approx(one.total.rmse, rel=1e-3)
    # 1,000 DN more in every band would halve it.
    assert other.spectral_angle == pytest.approx(one.spectral_angle, rel=1e-2)
    assert other.total.ssim == pytest.approx(one.total.ssim, abs=2e-3)


@pytest.mark.parametrize("appendable", [False, True])
def test_report_and_info_give_one_size_and_name_what_waits(
    appendable: bool, tmp_path: Path
) -> None:
    original, path = small().isel(time=slice(3)), tmp_path / "a.zarr"
    report = original.tec.compress(store=path, appendable=appendable).tec.report(original)
    found = tec_xarray.info(path)
    for name in ("stored_bytes", "other_bytes", "total_bytes", "raw_bytes", "dates_waiting"):
        assert getattr(report, name) == found[name], name
    assert report.ratio == pytest.approx(found["ratio"])
    assert report.total_bytes == sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    assert report.dates_waiting == (3 if appendable else 0)
    assert ("without loss" in str(report)) == appendable

"""What stands beside a cube comes back as it went in, or is refused before a byte is written."""

from __future__ import annotations

import contextlib
import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import tec_xarray
from tec_numcodecs.errors import InvalidInput

BANDS = ["B02", "B03"]
CODES = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def cube(times: Any, **coords: Any) -> xr.Dataset:
    n = len(times)
    values = np.arange(n * 2 * 64, dtype="uint16").reshape(n, 2, 8, 8) % 900 + 1
    return xr.Dataset(
        {"reflectance": (("time", "band", "y", "x"), values)},
        coords={"time": times, "band": BANDS, **coords},
        attrs={"sensor": "sentinel-2-l2a"},
    )


def stored(data: xr.Dataset, **options: Any) -> tuple[xr.Dataset, Any]:
    store = zarr.storage.MemoryStore()
    data.tec.compress(max_error=0, store=store, progress=False, **options)
    return xr.open_zarr(store), store


def stamps(code: str, first: int, steps: list[int]) -> Any:
    """Rising times in a resolution, from nanoseconds since 1970 that are cut to it."""
    ns = first + np.cumsum([abs(step) + 1 for step in steps]) * CODES[code]
    return (ns // CODES[code]).astype(f"datetime64[{code}]")


@settings(max_examples=10, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    first=st.sampled_from(list(CODES)),
    second=st.sampled_from(list(CODES)),
    start=st.integers(-(10**18), 10**18),
    steps=st.lists(st.integers(0, 10**9), min_size=1, max_size=2),
)
def test_times_of_any_resolution_come_back_or_are_refused(
    first: str, second: str, start: int, steps: list[int]
) -> None:
    times = stamps(first, start, steps)
    with_bounds = cube(times, time_bnds=(("time", "bnds"), np.stack([times, times + 1], 1)))
    with_bounds["seen"] = (
        ("time", "y", "x"),
        np.broadcast_to(times[:, None, None], (len(times), 8, 8)),
    )
    found, store = stored(with_bounds, appendable=True)
    for name in ("time", "time_bnds", "seen"):
        assert (found[name].values == with_bounds[name].values).all(), name
    later = stamps(second, int(times[-1].astype("datetime64[ns]").astype("int64")) + 10**10, steps)
    more = cube(later, time_bnds=(("time", "bnds"), np.stack([later, later + 1], 1)))
    more["seen"] = ("time", "y", "x"), np.broadcast_to(later[:, None, None], (len(later), 8, 8))
    if first != "ns" and (later.astype("M8[ns]") != later.astype("M8[us]")).any():
        with pytest.raises(InvalidInput, match=r"'(time|time_bnds|seen)'.*exactly"):
            tec_xarray.append(more, store, progress=False)
        assert xr.open_zarr(store).sizes["time"] == len(times)
        return
    if first != "ns":
        tec_xarray.append(more, store, progress=False)
    else:  # it depends on the first times whether there is room for nanoseconds
        with contextlib.suppress(InvalidInput):
            tec_xarray.append(more, store, progress=False)
        if xr.open_zarr(store).sizes["time"] == len(times):
            return
    found = xr.open_zarr(store)
    for name in ("time", "time_bnds", "seen"):
        assert (found[name].values[len(times) :] == more[name].values).all(), name


def test_bounds_that_time_names_share_its_units() -> None:
    def data(start: str) -> xr.Dataset:
        times = np.datetime64(start, "ns") + np.arange(2) * np.timedelta64(1, "D")
        edges = np.stack([times, times + np.timedelta64(1234, "us")], 1)
        ds = cube(times, time_bnds=(("time", "bnds"), edges))
        ds.time.attrs["bounds"] = "time_bnds"
        return ds

    found, store = stored(data("2024-05-01"), appendable=True)
    assert (found.time_bnds.values == data("2024-05-01").time_bnds.values).all()
    more = data("2024-06-01T10:30:21")
    tec_xarray.append(more, store, progress=False)
    assert (xr.open_zarr(store).time_bnds.values[2:] == more.time_bnds.values).all()


def test_gaps_and_durations_come_back() -> None:
    times = np.array(["2024-05-01", "2024-05-02"], "datetime64[ms]")
    made = np.array(["NaT", "2024-05-01T10:30:21.024"], "datetime64[ms]")
    waits = np.array([1500, "NaT"], "timedelta64[ms]")
    data = cube(times, made=("time", made), wait=("time", waits), once=((), times[0]))
    found, store = stored(data, appendable=True)
    for name in ("made", "wait", "once"):
        assert found[name].equals(
            data[name].drop_vars([c for c in data[name].coords if c != name])
        ) or (np.array_equal(found[name].values, data[name].values, equal_nan=True))
    more = data.assign_coords(time=times + np.timedelta64(9, "D"))
    tec_xarray.append(more, store, progress=False)
    found = xr.open_zarr(store)
    assert np.array_equal(found.made.values[2:], made.astype("datetime64[ns]"), equal_nan=True)
    assert np.array_equal(found.wait.values[2:], waits.astype("timedelta64[ns]"), equal_nan=True)


def test_netcdf_times_as_floats_with_a_fill_value() -> None:
    data = cube(np.array(["2024-05-01T10:30:21"], "datetime64[ns]"))
    data.time.encoding = {
        "units": "days since 1970-01-01",
        "dtype": "float64",
        "_FillValue": np.nan,
    }
    data.time.attrs["_FillValue"] = np.nan  # as mask_and_scale=False leaves it
    found, _ = stored(data)
    assert found.time.values[0] == data.time.values[0]


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "standard"])
def test_dates_of_cftime(calendar: str) -> None:
    cftime = pytest.importorskip("cftime")
    dates = [cftime.datetime(2024, 5, day, 10, 30, 21, calendar=calendar) for day in (1, 2, 3)]
    _, store = stored(cube(dates[:2]), appendable=True)
    tec_xarray.append(cube(dates[2:]), store, progress=False)
    coder = xr.coders.CFDatetimeCoder(use_cftime=True)
    assert list(xr.open_zarr(store, decode_times=coder).time.values) == dates


ODD = {
    "UTC": ("time", pd.date_range("2024-05-01", periods=2, tz="UTC")),
    "zone": ("when", ("time", pd.date_range("2024-05-01", periods=2, tz="Europe/Berlin"))),
    "date": ("day", ("time", np.array([dt.date(2024, 5, 1)] * 2, object))),
    "set": ("proj:bbox", ((), {600000.0})),
    "none": ("title", ("time", np.array(["a", None], object))),
    "dict": ("raster", ("time", np.array([{"a": 1}, {"b": 2}], object))),
    "bare": ("days", ("time", np.array([dt.date(2024, 5, 1), "x"], object))),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_no_store_gives_back_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    name, values = ODD[kind]
    data = cube(np.array(["2024-05-01", "2024-05-02"], "datetime64[ns]")).assign_coords(
        {name: values}
    )
    with pytest.raises(InvalidInput, match=name):
        data.tec.compress(lam=20, store=tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize("value", [dt.timedelta(1), {"a": [b"b"]}, 1j])
def test_an_attribute_that_json_has_not_is_refused_by_name(value: Any, tmp_path: Path) -> None:
    data = cube(np.array(["2024-05-01"], "datetime64[ns]"))
    data.time.attrs["made_on"] = value
    with pytest.raises(InvalidInput, match="'made_on' of 'time'"):
        data.tec.compress(lam=20, store=tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


def test_a_multiindex_is_refused_by_name() -> None:
    levels = pd.MultiIndex.from_arrays([[1, 2], ["A", "B"]], names=("pass", "sat"))
    data = cube([0, 1]).drop_indexes("time").reset_coords("time", drop=True)
    data = data.assign_coords(xr.Coordinates.from_pandas_multiindex(levels, "time"))
    with pytest.raises(InvalidInput, match="'time' is a MultiIndex of pass, sat"):
        data.tec.compress(lam=20)


def test_coordinates_that_share_an_index_are_stored() -> None:
    transform = xr.indexes.CoordinateTransform

    class Plain(transform):
        def forward(self, positions: dict[str, Any]) -> dict[Any, Any]:
            return {d: 10.0 * np.asarray(positions[d]) for d in ("y", "x")}

        def reverse(self, labels: dict[Any, Any]) -> dict[str, Any]:
            return {d: np.asarray(labels[d]) / 10.0 for d in ("y", "x")}

    index = xr.indexes.CoordinateTransformIndex(Plain(["y", "x"], {"y": 8, "x": 8}))
    data = cube(np.array(["2024-05-01"], "datetime64[ns]"))
    data = data.assign_coords(xr.Coordinates.from_xindex(index))
    found, _ = stored(data)
    assert (found.y.values == data.y.values).all()
    assert (found.x.values == data.x.values).all()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_dask_chooses_chunks_of_what_we_write(zarr_format: int) -> None:
    data = cube(
        np.array(["2024-05-01", "2024-05-02"], "datetime64[ns]"),
        tile=("time", np.array(["32TQM", "a longer one"], object)),
        orbit=((), "ascending"),
    )
    store = zarr.storage.MemoryStore()
    data.tec.compress(lam=20, store=store, zarr_format=zarr_format, appendable=True)
    found = xr.open_zarr(store, chunks="auto").chunk("auto")
    assert list(found.tile.values) == list(data.tile.values)
    assert str(found.orbit.values) == "ascending"
    more = data.assign_coords(time=data.time + np.timedelta64(9, "D"))
    tec_xarray.append(more, store)
    assert list(xr.open_zarr(store).tile.values[2:]) == list(data.tile.values)
    long = more.assign_coords(
        time=more.time + np.timedelta64(9, "D"), tile=("time", ["a" * 99] * 2)
    )
    with pytest.raises(InvalidInput, match="'tile'"):
        tec_xarray.append(long, store)


def test_xarray_appends_whole_chunks_to_what_it_wrote() -> None:
    store = zarr.storage.MemoryStore()
    data = cube(np.array(["2024-05-01", "2024-05-02"], "datetime64[ns]"), tile=("time", ["a", "b"]))
    data.tec.compress(max_error=0).to_zarr(store)
    more = data.assign_coords(time=data.time + np.timedelta64(9, "D"), tile=("time", ["cc", "d"]))
    more.tec.compress(max_error=0).to_zarr(store, append_dim="time")
    found = xr.open_zarr(store)
    assert (found.time.values[2:] == more.time.values).all()
    assert (found.reflectance.values[2:] == data.reflectance.values).all()
    assert list(found.tile.values) == ["a", "b", "cc", "d"]
    last = more.assign_coords(time=more.time + np.timedelta64(9, "D"))
    tec_xarray.append(last, store)  # which gives it a journal
    found = xr.open_zarr(store)
    assert (found.time.values[4:] == last.time.values).all()
    assert (found.reflectance.values[4:] == data.reflectance.values).all()
    assert list(found.tile.values) == ["a", "b", "cc", "d", "cc", "d"]


def test_packing_that_would_change_a_coordinate_is_dropped() -> None:
    data = cube(np.array(["2024-05-01"], "datetime64[ns]"), angle=("time", [12.3456]))
    data.angle.encoding = {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -1}
    found, _ = stored(data)
    assert found.angle.values[0] == 12.3456

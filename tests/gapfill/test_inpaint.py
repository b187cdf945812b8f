"""`ds.tec.inpaint`: masks of every kind, layouts, dtypes, blocks, and what it refuses."""

from __future__ import annotations

import json
import sys

import dask
import numpy as np
import pytest
import xarray as xr
import zarr.storage

import tec_xarray
from cloudy import blobs, seasons
from tec_numcodecs.errors import InvalidInput, MissingExtra
from tec_xarray.gapfill import windows
from tec_xarray.gapfill.masks import SCL

BANDS = ["B02", "B04", "B08", "B11"]
TIMES = np.array(["2021-03-01", "2021-06-01", "2021-09-01", "2021-12-01"], "M8[ns]")


def dataset(size=64, dtype="u2", times=TIMES, scl=None):
    """A variable for each band, and a scene classification that calls everything vegetation."""
    cube = seasons(size)
    values = (cube / 10_000).astype(dtype) if dtype[0] == "f" else cube.astype(dtype)
    data = {b: (("time", "y", "x"), values[:, i]) for i, b in enumerate(BANDS)}
    meters = 10.0 * np.arange(size)
    coords = {"time": times, "y": 5e6 - meters, "x": meters}
    found = xr.Dataset(data, coords, {"sensor": "sentinel-2-l2a"})
    scl = np.full(cube[:, 0].shape, 4, "u1") if scl is None else scl
    found["SCL"] = (("time", "y", "x"), scl)
    return found


def masks(size=64):
    mask = np.zeros((4, size, size), bool)
    mask[1:3] = blobs((2, size, size), 0.25, seed=2)
    return xr.DataArray(mask, dims=("time", "y", "x"))


def values(data, name="reflectance"):
    return data[name].values


@pytest.mark.parametrize("method", windows.ENGINES)
@pytest.mark.parametrize("dtype", ["u2", "i2", "f4", "f8"])
def test_clear_pixels_stay_bit_for_bit_and_hidden_ones_are_estimated(method, dtype):
    if dtype != "u2" and (method, dtype) not in {
        ("spectral", "f4"),
        ("linear", "f8"),
        ("linear", "i2"),
    }:
        pytest.skip("one dtype does for each")
    data, mask = dataset(dtype=dtype), masks()
    truth = values(data.tec.to_cube())
    dirty = data.copy(deep=True)
    for band in BANDS:
        dirty[band].values[mask.values] = np.nan if dtype[0] == "f" else 9999
    found = dirty.tec.inpaint(mask, method)
    cube = values(found)
    assert cube.dtype == np.dtype(dtype)
    hidden = np.broadcast_to(mask.values[:, None], cube.shape)
    np.testing.assert_array_equal(cube[~hidden], truth[~hidden])
    np.testing.assert_array_equal(found.filled, mask)
    assert not found.unfilled.any()
    error = values(found, "error")
    assert (error[hidden] > 0).all()
    assert (error[~hidden] == 0).all()
    scale = 1 if dtype[0] != "f" else 10_000
    mistake = np.abs(cube[hidden].astype(float) - truth[hidden]).mean() * scale
    assert mistake < (400 if method == "spectral" else 1000)


def test_lazy_with_either_kind_of_input_and_nothing_of_it_is_changed():
    data, mask = dataset(), masks()
    before = data.copy(deep=True)
    for given in (data, data.chunk({"time": 1, "y": 40, "x": 17})):
        found = given.tec.inpaint(mask.chunk({"x": 11}), "linear")
        assert all(dask.is_dask_collection(found[n]) for n in ("reflectance", "error", "filled"))
        np.testing.assert_array_equal(values(found), values(data.tec.inpaint(mask, "linear")))
    xr.testing.assert_identical(data, before)


def test_the_layout_before_comes_back():
    found = dataset().tec.inpaint(masks())
    again = found.tec.from_cube()
    assert set(BANDS) < set(again.data_vars)
    np.testing.assert_array_equal(again["B08"].values, values(found)[:, 2])
    assert json.loads(found.attrs["tec_inpaint"]) == {"method": "spectral", "mask": "given"}
    turned = xr.DataArray(
        seasons(48), dims=("time", "band", "y", "x"), coords={"time": TIMES, "band": BANDS}
    ).transpose("y", "x", "band", "time")
    assert turned.tec.inpaint(masks(48), "linear")["reflectance"].shape == (4, 4, 48, 48)


def test_classes_by_name_grown_by_three_pixels():
    classes = np.full((4, 64, 64), 4, "u1")
    for k, name in enumerate(("cloud_shadow", "cirrus", "cloud_medium", "cloud_high", "no_data")):
        classes[1, 30, 10 + 10 * k] = SCL[name]
    classes[2, 5, 5] = SCL["snow"]
    data = dataset(scl=classes)
    bare = data.tec.inpaint(clouds="scl", method="linear", dilate=0)
    np.testing.assert_array_equal(bare.filled, (classes != 4) & (classes != 11))
    grown = data.tec.inpaint(mask="scl", method="linear").filled.values
    assert grown[1, 30, 7:14].all()
    assert not grown[1, 30, 6]
    assert not grown[1, 27, 7]  # a disc
    assert not grown[2].any()
    snow = data.tec.inpaint(clouds="SCL", classes=["snow", 3], dilate=0, method="linear").filled
    assert snow.sum() == 2
    as_float = data.assign(SCL=data.SCL.where(data.SCL != 0))  # as mask_and_scale reads it
    np.testing.assert_array_equal(
        as_float.tec.inpaint(clouds="scl", method="linear", dilate=0).filled, bare.filled
    )


def test_a_mask_by_name_and_a_classification_both_hide():
    classes = np.full((4, 64, 64), 4, "u1")
    classes[0, :8] = 8
    data = dataset(scl=classes).assign(bad=masks())
    found = data.tec.inpaint("bad", "linear", clouds="scl", dilate=0).filled
    np.testing.assert_array_equal(found, masks() | (classes == 8))


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_missing_samples_are_filled_where_they_are_asked_for(dtype):
    data = dataset(dtype=dtype)
    data["B04"].values[1, 10:30, 10:30] = 0 if dtype == "u2" else np.nan
    truth = values(dataset(dtype=dtype).tec.to_cube())
    found = data.tec.inpaint("nodata")
    cube = values(found)
    assert found.filled.sum() == 400
    expected = truth.copy()
    expected[1, 1, 10:30, 10:30] = cube[1, 1, 10:30, 10:30]
    np.testing.assert_array_equal(cube, expected)  # the other bands stay
    assert np.isfinite(cube).all()
    mask = xr.zeros_like(masks())
    mask[1, 40:50, 40:50] = True
    only = data.tec.inpaint(mask)
    assert only.filled.sum() == 100
    assert (values(only)[1, 1, 10:30, 10:30] == 0).all() or np.isnan(
        values(only)[1, 1, 10:30, 10:30]
    ).all()


def test_zeros_of_cirrus_are_data():
    cube = seasons(48)
    cube[:, 3] = 0
    data = xr.Dataset(
        {b: (("time", "y", "x"), cube[:, i]) for i, b in enumerate(["B02", "B04", "B08", "B10"])},
        {"time": TIMES},
    )
    found = data.tec.inpaint(masks(48))
    np.testing.assert_array_equal(found.filled, masks(48))
    assert (values(found)[:, 3] <= 1).all()


@pytest.mark.parametrize(("dtype", "empty"), [("u2", 0), ("f4", np.nan)])
@pytest.mark.parametrize("method", ["spectral", "median"])
def test_where_no_date_is_clear_it_stays_masked_and_is_counted(dtype, empty, method):
    mask = masks()
    mask[:, :8, :8] = True
    found = dataset(dtype=dtype).tec.inpaint(mask, method)
    assert found.unfilled.sum() == 4 * 64
    assert not (found.filled & found.unfilled).any()
    np.testing.assert_array_equal(found.filled | found.unfilled, mask)
    np.testing.assert_array_equal(values(found)[:, :, :8, :8], empty)
    assert np.isnan(values(found, "error")[:, :, :8, :8]).all()
    if dtype == "u2":
        assert (values(found).min(axis=1)[found.filled.values] > 0).all()


def test_nothing_hidden_is_nothing_to_do():
    data = dataset()
    found = data.tec.inpaint(clouds="scl")
    np.testing.assert_array_equal(values(found), values(data.tec.to_cube()))
    assert not found.filled.any()
    assert (values(found, "error") == 0).all()


def test_the_order_of_the_dates_does_not_matter():
    data, mask = dataset(), masks().assign_coords(time=TIMES)
    turn = [2, 0, 3, 1]
    found = values(data.isel(time=turn).tec.inpaint(mask.isel(time=turn)))
    np.testing.assert_array_equal(found, values(data.tec.inpaint(mask))[turn])


@pytest.mark.parametrize("method", [pytest.param("spectral", marks=pytest.mark.slow), "linear"])
def test_blocks_do_not_show(method, monkeypatch):
    monkeypatch.setattr(windows, "CELL", 32)
    data, mask = dataset(96), masks(96)
    mask[2] = False
    mask[1, :, 48:] = False
    whole = data.tec.inpaint(mask, method)
    monkeypatch.setattr(sys.modules["tec_xarray.gapfill.inpaint"], "_MOST_CELLS", 1)
    cut = data.tec.inpaint(mask, method)
    assert cut["reflectance"].data.numblocks == (1, 1, 3, 3)
    np.testing.assert_array_equal(values(whole), values(cut))
    np.testing.assert_allclose(values(whole, "error"), values(cut, "error"), rtol=1e-5)


@pytest.mark.parametrize("size", [1, 300, 700, 1000, 2600])
def test_windows_together_count_once_everywhere(size):
    total = np.zeros(size)
    count = len(windows.cells(size)) - 1
    for first in range(0, count, 2):
        last = min(first + 2, count)
        start = windows.reach(size, first, last)[0]
        for span in windows._spans(size, first, last):
            total[start + span.start : start + span.stop] += span.weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_blocks_are_chunks_that_zarr_can_have(monkeypatch):
    monkeypatch.setattr(windows, "CELL", 32)
    monkeypatch.setattr(sys.modules["tec_xarray.gapfill.inpaint"], "_MOST_CELLS", 1)
    data, mask = dataset(110), masks(110)
    found = data.tec.inpaint(mask, "linear")
    assert found["error"].data.numblocks == (1, 1, 3, 3)
    found.drop_vars("common_name").to_zarr(store := zarr.storage.MemoryStore(), consolidated=False)
    again = xr.open_zarr(store, consolidated=False)
    np.testing.assert_array_equal(values(again), values(found))


def test_what_was_opened_without_dask_is_not_read_before_it_is_wanted(monkeypatch):
    data = dataset().drop_vars("SCL")
    stacked = data.tec.to_cube()[["reflectance"]].drop_vars("common_name")
    stacked.assign(bad=masks()).to_zarr(store := zarr.storage.MemoryStore(), consolidated=False)
    opened = xr.open_zarr(store, consolidated=False, chunks=None)
    reads = []
    get = zarr.storage.MemoryStore.get

    async def counted(self, key, *rest, **more):
        reads.append(key)
        return await get(self, key, *rest, **more)

    monkeypatch.setattr(zarr.storage.MemoryStore, "get", counted)
    found = opened.tec.inpaint("bad", "linear")
    assert not [key for key in reads if key.startswith(("reflectance/c/", "bad/c/"))]
    np.testing.assert_array_equal(values(found), values(data.tec.inpaint(masks(), "linear")))


@pytest.mark.parametrize("kind", ["cftime", "date", "zone", "text", "numbers", "none"])
@pytest.mark.parametrize("method", ["linear", "spectral"])
def test_times_of_every_kind(kind, method):
    stamps = [np.datetime64(t, "D").astype(object) for t in TIMES]
    times = {
        "cftime": lambda: xr.date_range("2021-03-01", periods=4, freq="91D", use_cftime=True),
        "date": lambda: np.array(stamps, object),
        "zone": lambda: np.array([f"{t}T00:00+02:00" for t in stamps], object),
        "text": lambda: np.array([str(t) for t in stamps]),
        "numbers": lambda: np.arange(4.0),
        "none": lambda: None,
    }
    if kind == "cftime":
        pytest.importorskip("cftime")
    data = dataset(32).drop_vars("time")
    labels = times[kind]()
    data = data if labels is None else data.assign_coords(time=labels)
    found = data.tec.inpaint(masks(32), method)
    assert found.filled.sum() == masks(32).sum()


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (11, 3)])
@pytest.mark.parametrize("method", ["spectral", "whittaker"])
def test_images_of_few_pixels(shape, method):
    cube = seasons(16)[:, :2, : shape[0], : shape[1]]
    data = xr.DataArray(
        cube, dims=("time", "band", "y", "x"), coords={"time": TIMES, "band": ["B02", "B04"]}
    )
    mask = np.zeros((4, *shape), bool)
    mask[1, 0, 0] = True
    found = data.tec.inpaint(mask, method).load()
    assert found.filled.sum() == 1
    mask[:] = True
    assert data.tec.inpaint(mask, method).unfilled.all()


def test_infinite_values_are_missing():
    data = dataset(dtype="f4")
    data["B04"].values[1, 10:20, 10:20] = np.inf
    mask = masks()
    found = values(data.tec.inpaint(mask))
    hidden = np.broadcast_to(mask.values[:, None], found.shape)
    assert np.isfinite(found[hidden]).all()
    assert np.isfinite(values(data.tec.inpaint("nodata", "linear"))).all()


def test_before_an_archive_and_out_of_one():
    data, mask = dataset(), masks()
    filled = data.tec.inpaint(mask, "linear").drop_vars("error")
    store = zarr.storage.MemoryStore()
    archive = filled.tec.compress(store=store, lam=100)
    np.testing.assert_array_equal(archive.filled, mask)
    masked = data.copy()
    for band in BANDS:
        masked[band] = masked[band].where(~mask.values, 0).astype("u2")
    masked.tec.compress(store=(other := zarr.storage.MemoryStore()), lam=100)
    opened = xr.open_zarr(other, consolidated=False)
    again = opened.tec.inpaint("nodata", "linear")
    np.testing.assert_array_equal(again.filled, mask)
    assert "serializer" not in again["reflectance"].encoding
    assert "earlier_lossy_compression" in again["reflectance"].attrs
    again.drop_vars(["error", "common_name"]).to_zarr(
        zarr.storage.MemoryStore(), consolidated=False
    )


def refused(match, data=None, **settings):
    with pytest.raises(InvalidInput, match=match):
        (dataset() if data is None else data).tec.inpaint(**settings)


def test_what_is_refused():
    mask = masks()
    refused("neither mask= nor clouds=")
    refused("1 date", dataset().isel(time=[0]), mask=mask[:1])
    refused("1 date", dataset().isel(time=0), mask=mask[:1])
    refused(r"shape \(4, 32, 64\)", mask=mask[:, :32])
    refused(r"shape \(3, 64, 64\)", mask=mask.values[:3])
    refused("labeled otherwise along time", mask=mask.assign_coords(time=TIMES[::-1]))
    refused("labeled otherwise along x", mask=mask.assign_coords(x=10.0 * np.arange(64) + 5))
    refused("give it a time axis", mask=mask[0])
    refused("any", mask=mask.expand_dims(band=BANDS))
    refused("dtype int64", mask=mask.astype(int))
    refused("no variable", mask="clouds")
    refused("type list", mask=[True])
    refused("no scene classification", dataset().drop_vars("SCL"), clouds="scl")
    refused("no scene classification", dataset().drop_vars("SCL"), mask="scl")
    refused("the class 'fog'", clouds="scl", classes=["fog"])
    refused("classes", mask=mask, classes=["snow"])
    refused("class 200", dataset(scl=np.full((4, 64, 64), 200, "u1")), clouds="scl")
    refused("dtype bool", clouds=mask)
    refused("dilate", clouds="scl", dilate=-1)
    refused("method", mask=mask, method="magic")
    refused("without dates", dataset(times=np.arange(4)), mask=mask, method="harmonic")
    refused("NaT", dataset(times=np.array([*TIMES[:3], "NaT"], "M8[ns]")), mask=mask)
    refused("beside the cube", dataset().assign(error=1.0), mask=mask)
    refused("nodata", mask=mask, nodata=70_000)
    refused("no bands|band", xr.Dataset({"a": ("x", [1])}), mask=mask)


def test_without_scipy_the_extra_is_named(monkeypatch):
    data, mask = dataset(), masks()
    for name in [n for n in sys.modules if n.startswith(("scipy", "tec_xarray.gapfill"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match="clouds"):
        data.tec.inpaint(mask)


def test_the_function_is_the_method():
    found = tec_xarray.inpaint(dataset(), masks(), "nearest")
    xr.testing.assert_equal(found.load(), dataset().tec.inpaint(masks(), "nearest").load())

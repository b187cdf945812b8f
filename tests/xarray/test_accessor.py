"""What `compress` decides, sets and refuses; nothing here depends on how good a codec is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

import tec_xarray
from tec_numcodecs import TecCodec, TecSerializer
from tec_numcodecs.errors import InvalidInput, TecError
from tec_numcodecs.sensors import get_sensor
from tec_xarray.encode import is_compressed

L2A = get_sensor("sentinel-2-l2a").bands


def scene(
    T: int = 2, bands: tuple[str, ...] = ("B02", "B03", "B04"), size: int = 40, **attrs: Any
) -> xr.Dataset:
    """Make a smooth little scene, a variable for each band, as odc-stac gives it."""
    y, x = np.mgrid[:size, :size]
    times = np.array("2024-03-01", "datetime64[ns]") + np.arange(T) * np.timedelta64(5, "D")
    coords = {"time": times, "y": np.arange(size) * -10.0, "x": np.arange(size) * 10.0}
    variables = {
        band: (
            ("time", "y", "x"),
            np.stack([800 + 100 * i + 5 * x + 3 * y + 40 * t for t in range(T)]).astype(np.uint16),
            {"nodata": 0},
        )
        for i, band in enumerate(bands)
    }
    return xr.Dataset(variables, coords, {"collection": "sentinel-2-l2a", **attrs})


def settings_of(marked: xr.Dataset) -> dict[str, Any]:
    """Return the configuration with which a marked cube would be stored."""
    encoding = marked["reflectance"].encoding
    if "serializer" in encoding:
        return dict(encoding["serializer"].to_dict()["configuration"])
    return dict(encoding["compressors"].get_config())


def test_lazy_form_sets_an_encoding_and_leaves_values() -> None:
    original = scene(T=6)
    marked = original.tec.compress(model="fp", lam=20)
    cube = marked["reflectance"]
    assert cube.dims == ("time", "band", "y", "x")
    encoding = cube.encoding
    assert encoding["chunks"] == (3, 3, 40, 40)
    assert encoding["shards"] == (3, 3, 40, 40)
    assert isinstance(encoding["serializer"], TecSerializer)
    assert encoding["compressors"] is None
    assert encoding["fill_value"] == 0
    for band in ("B02", "B03", "B04"):
        np.testing.assert_array_equal(cube.sel(band=band).values, original[band].values)
    config = settings_of(marked)
    assert config["model"] == "fp"
    assert config["lam"] == 20
    assert list(config["bands"]) == ["B02", "B03", "B04"]
    assert config["sensor"] == "sentinel-2-l2a"
    assert config["units"] == "dn"
    assert config["nodata"] == 0


def test_dask_is_rechunked_to_shards_and_not_computed() -> None:
    class Poison:
        shape, dtype, ndim = (5, 2100, 1500), np.dtype("u2"), 3

        def __getitem__(self, key: object) -> np.ndarray:
            raise AssertionError("computed")

    import dask.array as da

    lazy = da.from_array(Poison(), chunks=(1, 700, 700), meta=np.empty((0, 0, 0), np.uint16))
    image = (("time", "y", "x"), lazy)
    original = xr.Dataset({"B02": image, "B03": image}, attrs={"sensor": "S2L2A"})
    marked = original.tec.compress()
    assert marked["reflectance"].chunks == ((5,), (2,), (384,) * 5 + (180,), (512, 512, 476))
    assert marked["reflectance"].encoding["shards"] == (5, 2, 384, 512)
    unsharded = original.tec.compress(shards=False)
    assert unsharded["reflectance"].chunks[2] == (192,) * 10 + (180,)
    assert "shards" not in unsharded["reflectance"].encoding


def test_nothing_of_the_caller_is_changed() -> None:
    original = scene().chunk(time=1)
    original["SCL"] = original.B02.astype(np.uint8).drop_attrs()
    for name in original.data_vars:
        original[name].encoding = {"grid_mapping": "spatial_ref", "chunks": (1, 7, 7)}
    original["time"].encoding = {"units": "days since 2024-01-01"}
    original = original.assign_coords(spatial_ref=0)
    before = original.copy(deep=True)
    encodings = {n: copy.deepcopy(v.encoding) for n, v in original.variables.items()}
    attrs = {n: copy.deepcopy(v.attrs) for n, v in original.variables.items()}
    chunks = [v.chunks for v in original.variables.values()]
    original.tec.compress()
    original.tec.compress(store=zarr.storage.MemoryStore(), zarr_format=2, cf=True)
    xr.testing.assert_identical(original, before)
    assert {n: v.encoding for n, v in original.variables.items()} == encodings
    assert {n: v.attrs for n, v in original.variables.items()} == attrs
    assert [v.chunks for v in original.variables.values()] == chunks


def test_the_accessor_only_forwards() -> None:
    original = scene()
    by_function = tec_xarray.compress(original, lam=5)
    by_method = original.tec.compress(lam=5)
    xr.testing.assert_identical(by_function, by_method)
    assert settings_of(by_function) == settings_of(by_method)
    xr.testing.assert_identical(original.tec.to_cube(), tec_xarray.to_cube(original))
    cube = original.tec.to_cube()["reflectance"]
    xr.testing.assert_identical(cube.tec.to_bands(), cube.to_dataset().tec.to_bands())
    assert settings_of(cube.tec.compress(sensor="sentinel-2-l2a", lam=5)) == settings_of(by_method)


def test_time_has_fixed_units_and_one_chunk() -> None:
    encoding = scene().tec.compress()["time"].encoding
    assert encoding["units"] == "microseconds since 1970-01-01"
    assert encoding["calendar"] == "proleptic_gregorian"
    assert encoding["dtype"] == "int64"
    assert encoding["chunks"] == (1024,)


def test_times_of_a_catalog_have_milliseconds() -> None:
    stamps = np.array(["2024-03-01T10:36:21.024", "2024-03-06"], "datetime64[ns]")
    original = scene().assign_coords(time=stamps)
    read = original.tec.compress(store=zarr.storage.MemoryStore())
    np.testing.assert_array_equal(read["time"].values, stamps)
    assert read["time"].encoding["units"] == "microseconds since 1970-01-01"


def test_numbers_instead_of_dates_stay_numbers() -> None:
    original = scene().assign_coords(time=[0, 1])
    read = original.tec.compress(store=zarr.storage.MemoryStore())
    assert read["time"].values.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("chunks", "shards", "expected_chunks", "expected_shards"),
    [
        (None, None, (2, 3, 40, 40), (2, 3, 40, 40)),
        ((1, 3, 64, 64), None, (1, 3, 64, 64), (1, 3, 64, 64)),
        ({"y": 32, "x": 16}, None, (2, 3, 32, 16), (2, 3, 32, 16)),
        ((1, -1, 16, 16), (1, 3, 32, 48), (1, 3, 16, 16), (1, 3, 32, 48)),
        ({"time": 1}, {"y": 80}, (1, 3, 40, 40), (1, 3, 80, 40)),
        (None, False, (2, 3, 40, 40), None),
    ],
)
def test_grid(chunks: Any, shards: Any, expected_chunks: Any, expected_shards: Any) -> None:
    encoding = scene().tec.compress(chunks=chunks, shards=shards)["reflectance"].encoding
    assert encoding["chunks"] == expected_chunks
    assert encoding.get("shards") == expected_shards


def test_format_2_has_the_codec_as_compressor() -> None:
    encoding = scene().tec.compress(zarr_format=2)["reflectance"].encoding
    assert isinstance(encoding["compressors"], TecCodec)
    assert not encoding["filters"]
    assert "serializer" not in encoding
    assert "shards" not in encoding


def test_drop_codec() -> None:
    original = scene()
    for zarr_format in (2, 3):
        marked = original.tec.compress(zarr_format=zarr_format)
        assert is_compressed(marked["reflectance"].encoding)
        plain = marked.tec.drop_codec()
        assert not is_compressed(plain["reflectance"].encoding)
        assert is_compressed(marked["reflectance"].encoding)
        store = zarr.storage.MemoryStore()
        plain.to_zarr(store)  # format 3, whatever the first one was
        assert not is_compressed(xr.open_zarr(store)["reflectance"].encoding)
        xr.testing.assert_equal(xr.open_zarr(store).tec.to_bands().load(), original)
        xr.testing.assert_equal(plain.tec.to_bands(), marked.tec.to_bands())
        said = {**plain.attrs, **plain["reflectance"].attrs}
        assert [key for key in said if "loss" in key or "tec_w" in key] == []


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_is_compressed_is_not_compressed_again(zarr_format: int) -> None:
    store = zarr.storage.MemoryStore()
    read = scene().tec.compress(store=store, zarr_format=zarr_format)
    for again in (read, read.isel(time=[0]), xr.open_zarr(store), read.load(), read.tec.to_cube()):
        with pytest.raises(InvalidInput, match=r"drop_codec\(\)"):
            again.tec.compress(store=zarr.storage.MemoryStore())
    read.tec.drop_codec().tec.compress()


def with_values(value: float, dtype: str, **attrs: Any) -> xr.Dataset:
    data = np.full((1, 4, 4), value, dtype)
    return xr.Dataset({"B02": (("time", "y", "x"), data, attrs)}, attrs={"sensor": "S2L2A"})


def scene_with_fill() -> xr.Dataset:
    dataset = with_values(0.12, "f4")
    dataset["B02"][0, 1, 1] = -9999
    return dataset


@pytest.mark.parametrize(
    ("dataset", "settings", "expected"),
    [
        (with_values(1200, "u2"), {}, ("dn", 1.0, 0.0, 0)),
        (with_values(1200, "i2"), {}, ("dn", 1.0, 0.0, 0)),
        (with_values(1200, ">u2"), {}, ("dn", 1.0, 0.0, 0)),
        (with_values(1200, "i2", nodata=-999), {}, ("dn", 1.0, 0.0, -999)),
        (with_values(1200, "i2", _FillValue=np.int16(-1)), {}, ("dn", 1.0, 0.0, -1)),
        (with_values(1200, "u2"), {"nodata": None}, ("dn", 1.0, 0.0, "NaN")),
        (with_values(1200, "u2"), {"nodata": 65535.0}, ("dn", 1.0, 0.0, 65535)),
        (with_values(1200, "u2"), {"offset": 1000}, ("dn", 1.0, 1000.0, 0)),
        # Baseline 04.00 as CF says it: reflectance = value * 1e-4 - 0.1, so value = DN + 1000.
        (with_values(2200, "u2", scale_factor=1e-4, add_offset=-0.1), {}, ("dn", 1.0, 1000.0, 0)),
        (with_values(1200, "i2", scale_factor=2e-4), {}, ("dn", 0.5, 0.0, 0)),
        (with_values(0.12, "f4"), {}, ("reflectance", 1e-4, 0.0, "NaN")),
        (with_values(0.12, "f4"), {"units": "reflectance"}, ("reflectance", 1e-4, 0.0, "NaN")),
        (with_values(1200, "f4"), {"units": "dn"}, ("dn", 1.0, 0.0, "NaN")),
        (with_values(12.0, "f4"), {"scale": 0.01}, ("dn", 0.01, 0.0, "NaN")),
        (with_values(0.0, "f4"), {"units": "dn"}, ("dn", 1.0, 0.0, "NaN")),
        (with_values(0.12, "f4"), {"nodata": float("nan")}, ("reflectance", 1e-4, 0.0, "NaN")),
        (with_values(0.12, "f4", nodata=-1.0), {}, ("reflectance", 1e-4, 0.0, -1.0)),
    ],
)
def test_meaning(dataset: xr.Dataset, settings: dict[str, Any], expected: tuple[Any, ...]) -> None:
    for data in (dataset, dataset.chunk()):
        config = settings_of(data.tec.compress(**settings))
        assert (config["units"], config["scale"], config["offset"], config["nodata"]) == expected


@pytest.mark.parametrize(
    ("dataset", "settings", "message"),
    [
        (with_values(1200, "f8"), {}, "float64.*mask_and_scale"),
        (with_values(1, "u1"), {}, "uint8"),
        (with_values(1200, "f4"), {}, "look like DN.*units='dn'"),
        (with_values(1200, "f4"), {"units": "reflectance"}, "look like dn"),
        (with_values(0.12, "f4"), {"units": "dn"}, "look like reflectance"),
        (scene_with_fill(), {}, "nodata=-9999"),
        (scene_with_fill().chunk(), {}, "nodata=-9999"),
        (with_values(1200, "u2").assign_attrs(odd=object()), {}, "attribute .odd."),
        (with_values(1200, "u2"), {"storage_options": {"anon": True}}, "storage_options"),
        (with_values(1200, "u2"), {"store": 5}, "int"),
        (with_values(10.0, "f4"), {}, "neither plainly"),
        (with_values(np.nan, "f4"), {}, "no valid values"),
        (with_values(1200, "u2"), {"units": "reflectance"}, "units='dn'"),
        (with_values(1200, "u2"), {"units": "radiance"}, "'dn' or 'reflectance'"),
        (with_values(1200, "u2"), {"nodata": -1}, "from 0 to 65535"),
        (with_values(1200, "u2"), {"nodata": 0.5}, "from 0 to 65535"),
        (with_values(1200, "u2"), {"nodata": "none"}, "from 0 to 65535"),
        (with_values(1200, "u2"), {"nodata": "NaN"}, "from 0 to 65535"),
        (with_values(1200, "u2", nodata=0, _FillValue=65535), {}, "several nodata"),
        (with_values(1200, "u2", scale_factor=0.0), {}, "scale_factor"),
        (with_values(0.12, "f4"), {"nodata": "zero"}, "'NaN'"),
        (with_values(0.12, "f4"), {"scale": 0}, "number > 0"),
        (with_values(0.12, "f4"), {"offset": "much"}, "offset"),
        (with_values(1200, "u2"), {"lam": -1}, "lam"),
        (with_values(1200, "u2"), {"lam": 0}, "lam"),
        (with_values(1200, "u2"), {"lam": float("nan")}, "lam"),
        (with_values(1200, "u2"), {"lam": "high"}, "lam"),
        (with_values(1200, "u2"), {"lam": 1e12}, "lam"),
        (with_values(1200, "u2"), {"model": "jpeg"}, "jpeg"),
        (with_values(1200, "u2"), {"weights": "mimi"}, "mimi"),
        (with_values(1200, "u2"), {"max_error": -5}, "max_error"),
        (with_values(1200, "u2"), {"sensor": "landsat"}, "landsat"),
        (with_values(1200, "u2"), {"bands": ["B03"]}, "B03"),
        (with_values(1200, "u2"), {"zarr_format": 1}, "2 or 3"),
        (with_values(1200, "u2"), {"mode": "a"}, "region="),
        (with_values(1200, "u2"), {"chunks": (1, 1, 4)}, "four numbers"),
        (with_values(1200, "u2"), {"chunks": (1, 1, 4, 0)}, "four numbers"),
        (with_values(1200, "u2"), {"chunks": {"lon": 4}}, "lon"),
        (with_values(1200, "u2"), {"chunks": (1, 2, 4, 4)}, "all 1 bands"),
        (
            with_values(1200, "u2"),
            {"chunks": (1, 1, 8, 8), "shards": (1, 1, 12, 8)},
            "whole multiples",
        ),
        (with_values(1200, "u2"), {"shards": True, "zarr_format": 2}, "format 2"),
        (with_values(1200, "u2"), {"region": {"time": slice(0, 1)}}, "region"),
        (with_values(1200, "u2").isel(time=[]), {}, "time of length 0"),
        (with_values(1200, "u2").isel(y=[]), {}, "y of length 0"),
        (with_values(np.inf, "f4"), {"units": "dn"}, "infinite"),
        (scene().drop_attrs(), {}, "pass sensor="),
        (scene(sensor="sentinel-2-l1c"), {}, "contradict"),
    ],
)
def test_refusals_touch_no_store(
    dataset: xr.Dataset, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    store = tmp_path / "cube.zarr"
    settings = settings if "region" in settings else {"store": store, **settings}
    with pytest.raises(TecError, match=message):
        dataset.tec.compress(**settings)
    assert not store.exists()


def test_attributes_of_bands_decide_together() -> None:
    original = scene()
    original.B02.attrs["nodata"] = 7
    with pytest.raises(InvalidInput, match="several nodata"):
        original.tec.compress()
    original = scene()
    original.B03.attrs["add_offset"] = -0.1
    with pytest.raises(InvalidInput, match="B03"):
        original.tec.compress()


def test_nodata_of_an_encoding_counts_for_integers() -> None:
    original = scene().drop_attrs()
    for name in original.data_vars:
        original[name].encoding["_FillValue"] = 9999
    marked = original.tec.compress(sensor="S2L2A")
    assert settings_of(marked)["nodata"] == 9999
    assert marked["reflectance"].attrs["nodata"] == 9999


@pytest.mark.parametrize(
    ("bands", "attrs", "others", "expected"),
    [
        (L2A, {}, ("SCL",), "sentinel-2-l2a"),
        (L2A, {"PROCESSING_LEVEL": "Level-1C"}, (), "sentinel-2-l1c"),
        (("B02", "B10"), {}, (), "sentinel-2-l1c"),
        (("B02",), {}, ("SCL",), "sentinel-2-l2a"),
        (("B02",), {"processing:level": "L1C"}, (), "sentinel-2-l1c"),
        (("B02",), {"processing_level": "Level-2A"}, (), "sentinel-2-l2a"),
        (("B02",), {"product_type": "S2MSI2A"}, (), "sentinel-2-l2a"),
        (("B02",), {"collection": "sentinel-2-c1-l2a"}, (), "sentinel-2-l2a"),
        (L2A, {"collection": "sentinel-2-l1c"}, (), "sentinel-2-l1c"),
    ],
)
def test_sensor(bands: Any, attrs: Any, others: Any, expected: str) -> None:
    original = scene(bands=bands).drop_attrs()
    original = original.assign({name: original[bands[0]].astype("u1") for name in others})
    marked = original.assign_attrs(attrs).tec.compress()
    assert settings_of(marked)["sensor"] == expected


@pytest.mark.parametrize("attrs", [{}, {"collection": "my-area"}])
def test_twelve_bands_may_be_l1c_without_b10(attrs: dict[str, str]) -> None:
    original = scene(bands=L2A).drop_attrs().assign_attrs(attrs)
    original["B09"] = original["B8A"] // 4 * 3  # between what both levels have
    with pytest.raises(InvalidInput, match="without a word on the sensor"):
        original.tec.compress()


def test_an_array_knows_its_nodata_too() -> None:
    array = scene()["B02"]
    array.encoding["_FillValue"] = 900
    array.attrs = {}
    assert settings_of(array.tec.compress(sensor="S2L2A", name="reflectance"))["nodata"] == 900


@given(st.permutations(L2A), st.integers(1, 12))
def test_any_bands_in_any_order(order: list[str], count: int) -> None:
    bands = tuple(order[:count])
    data = scene(T=1, bands=bands, size=3)
    assert settings_of(data.tec.compress())["bands"] == [b for b in L2A if b in bands]
    assert settings_of(data.tec.compress(bands=list(bands)))["bands"] == list(bands)


def test_cf_attributes_are_for_those_who_ask() -> None:
    store = zarr.storage.MemoryStore()
    original = scene()
    plain = original.tec.compress(store=store)
    assert plain["reflectance"].dtype == np.uint16
    assert "scale_factor" not in plain["reflectance"].attrs
    scaled = original.tec.compress(store=zarr.storage.MemoryStore(), cf=True, offset=1000)
    assert scaled["reflectance"].dtype.kind == "f"
    expected = (original.B02.values - 1000.0) / 10_000
    np.testing.assert_allclose(scaled["reflectance"].sel(band="B02"), expected, atol=0.05)

"""Any layout in, a (time, band, y, x) cube out, and the layout back, to the last attribute."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.sensors import get_sensor
from tec_xarray.cube.layout_record import LAYOUT
from tec_xarray.layout import cube_of, from_cube, to_bands, to_cube

L2A = get_sensor("sentinel-2-l2a")
COMMON = dict(zip(L2A.bands, L2A.common_names, strict=True))
NAMINGS = {
    "esa": str,
    "common": COMMON.__getitem__,
    "eopf": str.lower,
    "cdse": "{}_10m".format,
}
DAYS = np.array(["2024-01-01T10:20:30", "2024-01-06", "2024-02-01"], "datetime64[ns]")


def plane_value(band: str, t: int) -> int:
    """Tell what a constant plane holds: a different number for each band and date."""
    return 100 * (1 + L2A.bands.index(band)) + t


def stack(bands: tuple[str, ...], T: int, H: int, W: int) -> np.ndarray:
    planes = [[plane_value(b, t) for b in bands] for t in range(T)]
    return np.broadcast_to(np.array(planes, np.uint16)[..., None, None], (T, len(bands), H, W))


@st.composite
def datasets(draw: st.DrawFn) -> tuple[xr.Dataset, tuple[str, ...], int]:
    """Draw a dataset, the canonical bands in its order, and how many dates it has (0: no axis)."""
    count = draw(st.integers(1, 5))
    bands = tuple(draw(st.permutations(L2A.bands))[:count])
    name = NAMINGS[draw(st.sampled_from(sorted(NAMINGS)))]
    T, H, W = draw(st.sampled_from([0, 1, 3])), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    y, x = draw(st.sampled_from([("y", "x"), ("lat", "lon"), ("latitude", "longitude")]))
    data = stack(bands, max(T, 1), H, W)
    coords: dict[str, object] = {y: np.arange(H) * -10.0, x: np.arange(W) * 10.0}
    coords["spatial_ref"] = ((), 0, {"crs_wkt": "LOCAL_CS"})
    if T:
        coords["time"] = DAYS[:T]
        coords["baseline"] = ("time", [f"05.{t:02}" for t in range(T)])
    elif draw(st.booleans()):
        coords["time"] = DAYS[0]
    array = xr.DataArray(data, dims=("time", "band", y, x)).assign_coords(band=list(bands))
    array = array if T else array.isel(time=0, drop=True)
    array = array.assign_coords(coords)
    array = array.assign_coords(band=[name(b) for b in bands])
    if draw(st.booleans()):
        dims = draw(st.permutations(array.dims))
        dataset = array.transpose(*dims).to_dataset(name="refl")
        dataset["refl"].attrs = {"nodata": 0, "long_name": "x"}
        carriers = ["refl"]
    else:
        dataset = array.to_dataset(dim="band")
        carriers = [name(b) for b in bands]
        for i, carrier in enumerate(carriers):
            own = {"wavelength": 400.0 + i, "list": [1, i]} if draw(st.booleans()) else {}
            dataset[carrier].attrs = {"nodata": 0, **own}
    for carrier in carriers:
        if draw(st.booleans()):
            dataset[carrier].encoding = {"chunksizes": (1,), "dtype": np.dtype("u2")}
    mask_dims = ("time", y, x) if T else (y, x)
    dataset["SCL"] = (mask_dims, np.full([dataset.sizes[d] for d in mask_dims], 4, np.uint8))
    dataset["angle"] = ("tie", [1.5, 2.5])
    dataset.attrs = {"collection": "sentinel-2-l2a"}
    return (dataset.chunk() if draw(st.booleans()) else dataset), bands, T


def with_grid_mapping(dataset: xr.Dataset, carriers: list[str]) -> xr.Dataset:
    for carrier in carriers:
        dataset[carrier].encoding["grid_mapping"] = "spatial_ref"
    return dataset


def snapshot(dataset: xr.Dataset) -> object:
    variables = dataset.variables.items()
    described = {n: (copy.deepcopy(v.attrs), dict(v.encoding)) for n, v in variables}
    return dataset.copy(deep=True), described, copy.deepcopy(dataset.attrs)


def assert_untouched(dataset: xr.Dataset, before: object) -> None:
    values, described, attrs = before  # type: ignore[misc]
    xr.testing.assert_identical(dataset, values)
    assert {n: (v.attrs, v.encoding) for n, v in dataset.variables.items()} == described
    assert dataset.attrs == attrs


@given(datasets())
def test_there_and_back(drawn: tuple[xr.Dataset, tuple[str, ...], int]) -> None:
    dataset, bands, T = drawn
    before = snapshot(dataset)
    cubes = to_cube(dataset)
    cube = cube_of(cubes)
    assert len(cube.dims) == 4
    assert tuple(cube["band"].values) == bands
    assert tuple(cube["common_name"].values) == tuple(COMMON[b] for b in bands)
    expected = stack(bands, max(T, 1), *cube.shape[2:])
    np.testing.assert_array_equal(cube.values, expected)
    assert cube.dtype == np.uint16
    xr.testing.assert_identical(cubes["SCL"].drop_vars("time", errors="ignore"),
                                dataset["SCL"].drop_vars("time", errors="ignore"))  # fmt: skip
    xr.testing.assert_identical(from_cube(cubes), dataset)
    assert_untouched(dataset, before)


@given(datasets())
def test_to_bands(drawn: tuple[xr.Dataset, tuple[str, ...], int]) -> None:
    dataset, bands, T = drawn
    apart = to_bands(to_cube(dataset))
    if "refl" not in dataset:
        xr.testing.assert_identical(apart, dataset)
        return
    assert set(apart.data_vars) == {*bands, "SCL", "angle"}
    for band in bands:
        assert ("time" in apart[band].dims) == bool(T)
        assert "band" not in apart[band].dims
        first = apart[band].isel(time=0) if T else apart[band]
        assert (first.values == plane_value(band, 0)).all()
        assert apart[band].attrs == {"nodata": 0, "long_name": "x"}


@settings(max_examples=settings.default.max_examples // 2)
@given(datasets(), st.sampled_from([2, 3]))
def test_through_a_store(drawn: tuple[xr.Dataset, tuple[str, ...], int], zarr_format: int) -> None:
    dataset, _, _ = drawn
    read = dataset.tec.compress(
        max_error=0, store=zarr.storage.MemoryStore(), zarr_format=zarr_format
    )
    back = from_cube(read).load()
    xr.testing.assert_equal(back, dataset.load())
    for name, variable in dataset.variables.items():
        assert back[name].dtype.kind == variable.dtype.kind or variable.dtype.kind in "OUT"
        assert back[name].dims == variable.dims
        assert {k: back[name].attrs.get(k) for k in variable.attrs} == variable.attrs
    assert dataset.attrs.items() <= back.attrs.items()


@given(datasets())
def test_to_cube_twice_is_to_cube_once(drawn: tuple[xr.Dataset, tuple[str, ...], int]) -> None:
    once = to_cube(drawn[0])
    xr.testing.assert_identical(to_cube(once), once)


def image(**variables: object) -> xr.Dataset:
    """Make a dataset of (y, x) variables, constant unless arrays are given."""
    filled = {
        name: (("y", "x"), np.full((2, 3), value, np.uint16)) for name, value in variables.items()
    }
    return xr.Dataset(filled)


def test_lazy_stays_lazy() -> None:
    dataset = image(B04=1, B08=2).chunk()
    assert cube_of(to_cube(dataset)).chunks is not None


def test_array_without_a_band_axis() -> None:
    array = xr.DataArray(np.ones((2, 3), np.uint16), dims=("y", "x"), name="red")
    assert list(cube_of(to_cube(array))["band"].values) == ["B04"]
    lone = array.rename("data").assign_coords(band="nir")
    cubes = to_cube(lone)
    assert list(cube_of(cubes)["band"].values) == ["B08"]
    xr.testing.assert_identical(from_cube(cubes)["data"], lone)
    with pytest.raises(InvalidInput, match="does not say which bands"):
        to_cube(array.rename("data"))
    assert cube_of(to_cube(array.rename("data"), bands=["B11"]))["band"].values == ["B11"]


def test_numbers_on_the_band_axis_need_bands() -> None:
    array = xr.DataArray(
        np.arange(12, dtype=np.uint16).reshape(2, 2, 3), dims=("band", "y", "x"),
        coords={"band": [1, 2]}, name="image",
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="'1', '2'"):
        to_cube(array)
    cubes = to_cube(array, bands=["B8A", "blue"])
    assert list(cube_of(cubes)["band"].values) == ["B8A", "B02"]
    xr.testing.assert_identical(from_cube(cubes)["image"], array)
    with pytest.raises(InvalidInput, match="3 bands for a band axis of 2"):
        to_cube(array, bands=["B02", "B03", "B04"])
    mapped = to_cube(array, bands={"1": "B03", "2": "B02"})
    assert list(cube_of(mapped)["band"].values) == ["B03", "B02"]


def test_bands_choose_among_variables() -> None:
    dataset = image(red=4, nir=8, green=3)
    cubes = to_cube(dataset, bands=["nir", "B04"])
    assert list(cube_of(cubes)["band"].values) == ["B08", "B04"]
    assert "green" in cubes  # beside the cube: never lost silently
    assert set(to_bands(cubes).data_vars) == {"red", "nir", "green"}
    mapped = to_cube(image(first=1, second=2), bands={"second": "B02", "first": "B03"})
    assert list(cube_of(mapped)["band"].values) == ["B02", "B03"]
    assert cube_of(mapped).values[0, :, 0, 0].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("dataset", "settings", "message"),
    [
        (image(scl=1, foo=2), {}, "no variable is called like a band"),
        (image(B04=1, red=2), {}, "B04 \\('B04', 'red'\\)"),
        (image(B04=1), {"bands": ["B04", "B99"]}, "'B99'"),
        (image(B04=1), {"bands": []}, "no variable"),
        (image(B04=1), {"bands": "B04"}, r"pass bands=\['B04'\]"),
        (image(B04=1, rededge=1), {}, "rededge"),
        (image(B10=1, B04=1), {"sensor": "sentinel-2-l2a"}, "B10"),
        (image(B04=1), {"sensor": "landsat"}, "landsat"),
        (image(B04=1), {"variable": "nothing"}, "nothing"),
        (image(B04=1).rename(y="tie"), {}, "dimensions .*tie"),
        (image(B04=1).rename(y="tie"), {"bands": ["B04"]}, "tie"),
        (image(B04=1).assign(B08=("y", [1, 2])), {"bands": ["B04", "B08"]}, "dimensions"),
        (image(B04=1).assign(B08=image(B08=1).B08.astype("f4")), {}, "float32"),
        (image(B04=1).assign(B08=(("x", "y"), np.ones((3, 2), np.uint16))), {}, "one grid"),
    ],
)
def test_refusals(dataset: xr.Dataset, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        to_cube(dataset, **settings)  # type: ignore[arg-type]


def test_what_is_no_dataset() -> None:
    with pytest.raises(InvalidInput, match="ndarray"):
        to_cube(np.zeros((2, 2)))  # type: ignore[arg-type]


def test_two_variables_with_a_band_axis() -> None:
    array = xr.DataArray(
        np.ones((1, 2, 2), np.uint16), dims=("band", "y", "x"), coords={"band": ["B02"]}
    )
    dataset = xr.Dataset({"a": array, "b": array})
    with pytest.raises(InvalidInput, match="a, b"):
        to_cube(dataset)
    cubes = to_cube(dataset, variable="b")
    assert cube_of(cubes).name == "b"
    xr.testing.assert_identical(from_cube(cubes), dataset)


def test_scalar_band_coordinate_comes_back() -> None:
    dataset = image(B04=1, B08=2).assign_coords(band=1)  # rioxarray's .squeeze("band")
    xr.testing.assert_identical(from_cube(to_cube(dataset)), dataset)


def test_grid_mapping_moves_to_the_attributes_and_back() -> None:
    dataset = with_grid_mapping(image(B04=1, B08=2).assign_coords(spatial_ref=0), ["B04", "B08"])
    cubes = to_cube(dataset)
    assert cube_of(cubes).attrs["grid_mapping"] == "spatial_ref"
    back = from_cube(cubes)
    assert back["B04"].encoding["grid_mapping"] == "spatial_ref"
    assert "grid_mapping" not in back["B04"].attrs


def test_own_common_names_are_kept() -> None:
    array = xr.DataArray(
        np.ones((2, 2, 2), np.uint16), dims=("band", "y", "x"), name="image",
        coords={"band": ["B02", "B03"], "common_name": ("band", ["one", "two"])},
    )  # fmt: skip
    cubes = to_cube(array)
    assert list(cubes["common_name"].values) == ["one", "two"]
    xr.testing.assert_identical(from_cube(cubes)["image"], array)
    assert to_bands(cubes)["B03"].attrs["common_name"] == "two"


def test_selection_of_a_cube_comes_back() -> None:
    dataset = image(red=1, nir=2, blue=3)
    cubes = to_cube(dataset).isel(band=[2, 0], x=slice(1, None))
    back = to_bands(cubes)
    assert set(back.data_vars) == {"red", "blue"}
    xr.testing.assert_identical(back["blue"], dataset["blue"].isel(x=slice(1, None)))


def test_a_date_of_a_cube_is_a_cube_again() -> None:
    dataset = image(B04=1, B08=2).expand_dims(time=[1, 2])
    part = to_cube(dataset).isel(time=1)
    cubes = to_cube(part)
    assert cube_of(cubes).shape == (1, 2, 2, 3)
    assert cubes["time"].values == [2]


def test_attributes_that_json_does_not_know() -> None:
    dataset = image(B04=1, B08=2)
    dataset.B04.attrs["odd"] = object()
    with pytest.raises(InvalidInput, match="odd"):
        to_cube(dataset)
    dataset.B04.attrs["odd"] = np.float32(1.5)
    assert to_bands(to_cube(dataset)).B04.attrs == {"odd": 1.5}


def test_no_cube() -> None:
    with pytest.raises(InvalidInput, match="no cube"):
        to_bands(image(B04=1))
    damaged = to_cube(image(B04=1))
    damaged["reflectance"].attrs[LAYOUT] = "{}"
    with pytest.raises(InvalidInput, match=LAYOUT):
        to_bands(damaged)

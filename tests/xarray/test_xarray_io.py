"""Real stores there and back: both formats, every kind of store, other processes, CRS, Dask."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
import zarr

import tec_xarray
from tec_numcodecs.errors import InvalidInput
from tec_xarray.encode import is_compressed

BANDS = ("B02", "B04", "B8A")


def scene(T: int = 2, size: tuple[int, int] = (40, 56), dtype: str = "uint16") -> xr.Dataset:
    """Make a smooth scene with some texture, missing pixels and a classification beside it."""
    rng = np.random.default_rng(T)
    y, x = np.mgrid[: size[0], : size[1]]
    start = np.array("2024-03-01T10:20:30", "datetime64[ns]")
    times = start + np.arange(T) * np.timedelta64(5, "D")
    variables: dict[str, Any] = {}
    for i, band in enumerate(BANDS):
        ramp = 900 + 300 * i + 6 * x + 4 * y
        dn = np.stack([ramp + 50 * t + rng.integers(0, 9, size) for t in range(T)])
        values = dn * 1e-4 if dtype == "float32" else dn
        values = values.astype(dtype)
        values[0, 5:9, 3:20] = np.nan if dtype == "float32" else 0
        variables[band] = (("time", "y", "x"), values, {"center_wavelength": 500.0 + i})
    variables["SCL"] = (("time", "y", "x"), rng.integers(0, 12, (T, *size), np.uint8))
    y, x = 5e6 - 10.0 * np.arange(size[0]), 4e5 + 10.0 * np.arange(size[1])
    coords: dict[str, Any] = {"time": times, "y": y, "x": x}
    coords["cloud_cover"] = ("time", np.linspace(0, 30, T))
    return xr.Dataset(variables, coords, {"title": "made up"})


def assert_close(read: xr.Dataset, original: xr.Dataset, most: float = 150) -> None:
    """Check everything but the pixels' exact values: what is missing, dtype, what stands beside."""
    apart = read.tec.to_bands().load()
    assert set(apart.data_vars) == set(original.data_vars)
    xr.testing.assert_identical(apart["SCL"], original["SCL"])
    for band in BANDS:
        ours, theirs = apart[band], original[band]
        assert ours.dtype == theirs.dtype
        assert ours.dims == theirs.dims
        assert ours.attrs["center_wavelength"] == theirs.attrs["center_wavelength"]
        scale = 1e-4 if theirs.dtype.kind == "f" else 1
        gone = np.isnan(theirs) if theirs.dtype.kind == "f" else theirs == 0
        back = np.isnan(ours) if theirs.dtype.kind == "f" else ours == 0
        np.testing.assert_array_equal(back, gone)
        error = np.abs(ours.astype(float) - theirs.astype(float)).where(~gone).max()
        assert float(error) / scale < most
    for name in ("time", "x", "y", "cloud_cover"):
        np.testing.assert_array_equal(apart[name], original[name])
    assert apart.attrs["title"] == original.attrs["title"]


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("lazy", [False, True])
def test_formats_and_dtypes(dtype: str, zarr_format: int, lazy: bool, tmp_path: Path) -> None:
    original = scene(dtype=dtype)
    given = original.chunk(time=1, x=17) if lazy else original
    read = given.tec.compress(
        sensor="S2L2A", lam=100, zarr_format=zarr_format, store=tmp_path / "a.zarr"
    )
    assert is_compressed(read["reflectance"].encoding)
    assert_close(read, original)
    assert_close(xr.open_zarr(tmp_path / "a.zarr"), original)


def test_plain_to_zarr_writes_learned_bitstreams(tmp_path: Path) -> None:
    original = scene()
    for zarr_format in (2, 3):
        path = tmp_path / f"{zarr_format}.zarr"
        marked = original.tec.compress(sensor="S2L2A", lam=100, zarr_format=zarr_format)
        marked.to_zarr(path, zarr_format=zarr_format, consolidated=False)
        array = zarr.open_group(path, mode="r")["reflectance"]
        assert array.metadata.zarr_format == zarr_format
        inner = array.compressors
        assert [type(c).__name__ for c in inner] == (["TecCodec"] if zarr_format == 2 else [])
        assert not array.filters
        chunks = [p for p in (path / "reflectance").rglob("*") if p.is_file() and p.name[0] != "."]
        data = b"".join(p.read_bytes() for p in chunks)
        assert b"TEC" in data  # the magic number of a chunk
        assert_close(xr.open_zarr(path, consolidated=False), original)


@pytest.mark.parametrize("shards", [None, False])
@pytest.mark.parametrize("size", [(264, 300), (10, 300), (1, 1)])
def test_edges(size: tuple[int, int], shards: bool | None) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(900, 1100, (5, *size)).astype(np.uint16)
    original = xr.Dataset({"B03": (("time", "y", "x"), data)}, attrs={"sensor": "S2L2A"})
    read = original.tec.compress(shards=shards, max_error=0, store=zarr.storage.MemoryStore())
    np.testing.assert_array_equal(read["reflectance"].values[:, 0], data)
    assert (read["reflectance"].encoding["shards"] is None) == (shards is False)


def memory(tmp_path: Path) -> Any:
    return zarr.storage.MemoryStore()


def local_object(tmp_path: Path) -> Any:
    return zarr.storage.LocalStore(tmp_path / "b.zarr")


def local_string(tmp_path: Path) -> Any:
    return str(tmp_path / "c.zarr")


def fsspec_url(tmp_path: Path) -> Any:
    return f"memory://{tmp_path.name}.zarr"


@pytest.mark.parametrize("place", [memory, local_object, local_string, fsspec_url])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_stores(place: Callable[[Path], Any], zarr_format: int, tmp_path: Path) -> None:
    original, store = scene(), place(tmp_path)
    settings = {"sensor": "S2L2A", "lam": 100, "zarr_format": zarr_format, "store": store}
    read = original.tec.compress(**settings)
    assert_close(read, original)
    report = read.tec.report(original)
    assert 0 < report.stored_bytes < report.raw_bytes
    with pytest.raises(InvalidInput, match=r"holds a Zarr group already.*mode='w'"):
        original.tec.compress(**settings)
    again = original.tec.compress(**settings, mode="w")
    assert_close(again, original)


def test_zip_store(tmp_path: Path) -> None:
    original, path = scene(), tmp_path / "cube.zip"
    marked = original.tec.compress(sensor="S2L2A", lam=100)
    with zarr.storage.ZipStore(path, mode="w") as store:
        with pytest.raises(InvalidInput, match=r"\.to_zarr\(store"):
            original.tec.compress(sensor="S2L2A", store=store)
        marked.to_zarr(store, consolidated=False)
    with zarr.storage.ZipStore(path, mode="r") as store:
        read = xr.open_zarr(store, consolidated=False)
        assert_close(read, original)
        report = read.tec.report(original, store=store)
        assert report.stored_bytes < path.stat().st_size


def test_groups_of_one_store(tmp_path: Path) -> None:
    store = tmp_path / "tree.zarr"
    original = scene()
    for group in ("r10m", "r20m"):
        read = original.tec.compress(sensor="S2L2A", lam=100, store=store, group=group)
        assert_close(read, original)
        assert read.tec.report(original).stored_bytes > 0
    assert_close(xr.open_zarr(store, group="r20m"), original)
    with pytest.raises(InvalidInput, match="r10m"):
        original.tec.compress(sensor="S2L2A", store=store, group="r10m")


def test_crs_is_there_right_after_opening(tmp_path: Path) -> None:
    original = scene().rio.write_crs("EPSG:32631")
    assert original["B04"].encoding["grid_mapping"] == "spatial_ref"  # where others lose it
    for zarr_format in (2, 3):
        path = tmp_path / f"{zarr_format}.zarr"
        original.tec.compress(sensor="S2L2A", store=path, zarr_format=zarr_format)
        read = xr.open_zarr(path)
        assert read.rio.crs.to_epsg() == 32631
        assert read["reflectance"].rio.crs.to_epsg() == 32631
        assert read["SCL"].rio.crs.to_epsg() == 32631
        assert read.rio.bounds() == original.rio.bounds()
        apart = read.tec.to_bands()
        assert apart["B04"].rio.crs.to_epsg() == 32631
    # From a plain store opened with default arguments spatial_ref comes as a variable.
    original.to_zarr(tmp_path / "plain.zarr")
    plain = xr.open_zarr(tmp_path / "plain.zarr")
    assert "spatial_ref" in plain.data_vars
    plain.tec.compress(sensor="S2L2A", store=tmp_path / "b.zarr")
    assert xr.open_zarr(tmp_path / "b.zarr").rio.crs.to_epsg() == 32631


def test_a_stacked_float_cube_and_its_layout(tmp_path: Path) -> None:
    array = scene(dtype="float32")[list(BANDS)].to_dataarray("band", name="stack")
    array = array.transpose("time", "y", "x", "band").assign_coords(band=["red", "blue", "nir08"])
    read = array.tec.compress(sensor="S2L2A", store=tmp_path / "a.zarr")
    assert list(read["band"].values) == list(BANDS)
    back = xr.open_zarr(tmp_path / "a.zarr").tec.from_cube()["stack"]
    assert back.dims == array.dims
    assert list(back["band"].values) == ["red", "blue", "nir08"]
    np.testing.assert_array_equal(np.isnan(back), np.isnan(array))


def test_regions(tmp_path: Path) -> None:
    whole, store = scene(T=8, size=(64, 64)), tmp_path / "a.zarr"
    settings: dict[str, Any] = {"sensor": "S2L2A", "lam": 100, "store": store}
    settings["chunks"] = (4, 3, 32, 32)
    settings["shards"] = (4, 3, 64, 32)
    whole.tec.compress(**settings)
    before = xr.open_zarr(store).load()
    part = whole.isel(time=slice(4, 8), x=slice(32, 64)).copy(deep=True)
    part["B04"][:] = 3000
    part["SCL"][:] = 7
    region = {"time": slice(4, 8), "x": slice(32, 64)}
    after = part.tec.compress(**settings, region=region).load()
    inside = after.isel(time=slice(4, 8), x=slice(32, 64))
    assert abs(inside["reflectance"].sel(band="B04").astype(int) - 3000).max() < 150
    assert (inside["SCL"] == 7).all()
    for outside in (slice(0, 4), slice(4, 8)):
        x = slice(0, 32) if outside == slice(4, 8) else slice(None)
        xr.testing.assert_equal(
            after["reflectance"].isel(time=outside, x=x),
            before["reflectance"].isel(time=outside, x=x),
        )
    files = {p: p.read_bytes() for p in store.rglob("*") if p.is_file()}
    odd = {
        "cuts through blocks of 4": (part.isel(time=[0, 1]), {"time": slice(4, 6)}),
        "cuts through blocks of 32": (part, {"time": slice(4, 8), "x": slice(16, 48)}),
        "cuts through blocks of 64": (
            whole.isel(y=slice(0, 32)), {"y": slice(0, 32)}),
        "of the size of the region": (part, {"time": slice(0, 8), "x": slice(32, 64)}),
        "step 1": (part, {"time": slice(0, 8, 2), "x": slice(32, 64)}),
        "region along lon": (part, {"lon": slice(0, 8)}),
    }  # fmt: skip
    for message, (data, wrong) in odd.items():
        with pytest.raises(InvalidInput, match=message):
            data.tec.compress(**settings, region=wrong)
    with pytest.raises(InvalidInput, match=r"lam = 100\.0"):
        part.tec.compress(**{**settings, "lam": 50}, region=region)
    with pytest.raises(InvalidInput, match="bands"):
        part.tec.compress(**settings, bands=["B04", "B02", "B8A"], region=region)
    with pytest.raises(InvalidInput, match="no Zarr group"):
        part.tec.compress(**{**settings, "store": tmp_path / "b.zarr"}, region=region)
    assert {p: p.read_bytes() for p in store.rglob("*") if p.is_file()} == files


READER = """
import json, sys
import xarray
cube = xarray.open_zarr(sys.argv[1]).reflectance
values = cube.values
found = {
    "dtype": str(values.dtype), "sum": int(values.sum()), "zeros": int((values == 0).sum()),
    "corner": values[0, :, -1, -1].tolist(), "band": [str(b) for b in cube.band.values],
    "modules": sorted({"tec_xarray", "torch"} & set(sys.modules)),
}
print(json.dumps(found))
"""


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_reader_that_imports_only_xarray(zarr_format: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    original = scene()
    read = original.tec.compress(sensor="S2L2A", store=path, zarr_format=zarr_format).load()
    done = subprocess.run(
        [sys.executable, "-c", READER, path], check=True, capture_output=True, text=True,
        cwd=tmp_path,
    )  # fmt: skip
    found = json.loads(done.stdout)
    values = read["reflectance"].values
    assert found["dtype"] == "uint16"
    assert found["sum"] == int(values.sum())
    assert found["zeros"] == int((values == 0).sum()) == 3 * 4 * 17
    assert found["corner"] == values[0, :, -1, -1].tolist()
    assert found["band"] == list(BANDS)
    assert found["modules"] == []


def test_local_cluster(client: Any, tmp_path: Path) -> None:
    assert len(client.scheduler_info()["workers"]) == 2
    original = scene(T=4, size=(96, 96))
    settings = {"sensor": "S2L2A", "chunks": (2, 3, 32, 32), "shards": (2, 3, 64, 64)}
    lazy = original.chunk(time=1, y=50, x=50)
    there = lazy.tec.compress(**settings, store=tmp_path / "cluster.zarr")
    here = original.tec.compress(**settings, store=tmp_path / "here.zarr")
    xr.testing.assert_identical(there.load(), here.load())
    assert_close(there, original, most=400)
    report = xr.open_zarr(tmp_path / "cluster.zarr").tec.report(lazy)
    assert report.bands == here.tec.report(original).bands


def test_import_is_light(tmp_path: Path) -> None:
    """Only what xarray itself imports, and a handful of our own small modules."""
    code = (
        "import xarray, sys; before = set(sys.modules); import tec_xarray; "
        "print(' '.join(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    added = done.stdout.split()
    ours = [n for n in added if n.startswith(("tec_xarray", "tec_numcodecs"))]
    tops = {n.split(".")[0] for n in added} - {"tec_xarray", "tec_numcodecs", "lazy_loader"}
    assert tops <= set(sys.stdlib_module_names)
    assert len(ours) <= 6
    for name in tec_xarray.__all__:
        assert getattr(tec_xarray, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = tec_xarray.nothing
    assert set(tec_xarray.__all__) <= set(dir(tec_xarray))


def test_show_versions() -> None:
    import io

    text = io.StringIO()
    tec_xarray.show_versions(text)
    lines = dict(line.split(":", 1) for line in text.getvalue().splitlines())
    versions = {key.strip(): value.strip() for key, value in lines.items()}
    assert versions["zarr"] == zarr.__version__
    assert versions["C extension"].split()[0] in ("built", "not")

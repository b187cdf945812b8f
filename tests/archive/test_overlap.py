"""What is read is not deleted: lazy input in, above or below the target, by whatever way."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr.storage
from zarr.storage import LocalStore, MemoryStore, ZipStore

import tec_xarray
from archives import series
from tec_numcodecs.errors import InvalidInput
from tec_xarray.store import overlap
from tec_xarray.store.location import StoreLocation
from tec_xarray.store.overlap import check_apart

SMALL: dict[str, Any] = {"lam": 100, "chunks": (2, 3, 32, 32), "shards": False}


def plain(store: Any, **options: Any) -> None:
    series(2, (32, 32)).to_zarr(store, **options)


def linked(path: Path, name: str = "link.zarr") -> Path:
    (path.parent / name).symlink_to(path)
    return path.parent / name


def of_links(path: Path) -> Path:
    """A copy whose chunks are links into the original."""
    farm = path.parent / "farm.zarr"
    for folder, _, names in os.walk(path):
        there = farm / Path(folder).relative_to(path)
        there.mkdir(parents=True)
        for name in names:
            (there / name).symlink_to(Path(folder) / name)
    return farm


def loaded_late(path: Path) -> xr.Dataset:
    """A closure over a path, on dask."""

    def read(block: Any) -> Any:
        return np.asarray(zarr.open_group(str(path), mode="r")["B04"][:]) + block

    return late(da.zeros((2, 32, 32), np.uint16).map_blocks(read, dtype=np.uint16))


def from_partial(path: Path) -> xr.Dataset:
    read = functools.partial(_read, where={"path": [path]})
    return late(da.zeros((2, 32, 32), np.uint16).map_blocks(read, dtype=np.uint16))


def of_netcdf(path: Path) -> xr.Dataset:
    series(2, (32, 32)).drop_vars("platform", errors="ignore").to_netcdf(path / "in.nc")
    return xr.open_dataset(path / "in.nc", chunks={}, mask_and_scale=False)


def of_zip(path: Path) -> xr.Dataset:
    with ZipStore(path / "in.zip", mode="w") as store:
        plain(store, consolidated=False)
    return xr.open_zarr(ZipStore(path / "in.zip", mode="r"), chunks={})


def _read(block: Any, where: Any) -> Any:
    return np.asarray(zarr.open_group(where["path"][0], mode="r")["B04"][:]) + block


def late(values: Any) -> xr.Dataset:
    data = series(2, (32, 32))
    return data.assign(B04=data.B04.copy(data=values))


def beside(path: Path) -> xr.Dataset:
    """Bands from elsewhere; only a variable beside the cube comes from the target."""
    return series(2, (32, 32)).assign(SCL=xr.open_zarr(path, chunks={}).SCL)


WAYS: dict[str, Callable[[Path], xr.Dataset]] = {
    "path": lambda p: xr.open_zarr(p, chunks={}),
    "link": lambda p: xr.open_zarr(linked(p), chunks={}),
    "chunks that are links": lambda p: xr.open_zarr(of_links(p), chunks={}),
    "file URL": lambda p: xr.open_zarr(f"file://{p}", chunks={}),
    "store": lambda p: xr.open_zarr(LocalStore(p), chunks={}),
    "wrapped store": lambda p: xr.open_zarr(
        zarr.storage.LoggingStore(LocalStore(p), log_level="ERROR"), chunks={}
    ),
    "fsspec": lambda p: xr.open_zarr(fsspec.get_mapper(f"file://{p}/"), chunks={}),
    "zarr array": lambda p: late(
        da.from_array(zarr.open_group(p, mode="r")["B04"], chunks=(1, 32, 32))
    ),
    "rechunked": lambda p: (xr.open_zarr(p, chunks={}).chunk(x=16) * 1).astype("u2"),
    "beside": beside,
    "closure": loaded_late,
    "partial": from_partial,
    "netcdf": of_netcdf,
    "zip": of_zip,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_target_from_which_is_read_is_refused_and_whole(way: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    plain(path)
    data = WAYS[way](path)
    before = sorted(p.relative_to(path) for p in path.rglob("*"))
    with pytest.raises(InvalidInput, match=r"are read from .*: what is still to be read"):
        data.tec.compress(**SMALL, store=path, mode="w")
    assert sorted(p.relative_to(path) for p in path.rglob("*")) == before
    assert (xr.open_zarr(path).B04 == series(2, (32, 32)).B04).all()


def test_input_without_dask_is_read_before_the_target_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    plain(path)
    xr.open_zarr(path, chunks=None).tec.compress(**SMALL, store=path, mode="w")
    found = xr.open_zarr(path).tec.to_bands().B04.astype(int)
    assert abs(found - series(2, (32, 32)).B04.astype(int)).max() < 500


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("source", "target"), [(None, None), ("in", None), ("in", "in")])
def test_groups_in_and_above(
    source: str | None, target: str | None, zarr_format: Any, tmp_path: Path
) -> None:
    plain(tmp_path / "a.zarr", group=source, zarr_format=zarr_format)
    data = xr.open_zarr(tmp_path / "a.zarr", group=source, chunks={})
    settings = SMALL | {"shards": None, "zarr_format": zarr_format}
    with pytest.raises(InvalidInput, match="are read from"):
        data.tec.compress(**settings, store=tmp_path / "a.zarr", group=target, mode="w")


def test_groups_beside_each_other_are_no_matter(tmp_path: Path) -> None:
    plain(tmp_path / "a.zarr")
    data = xr.open_zarr(tmp_path / "a.zarr", chunks={})
    for _ in range(2):  # the second time it replaces what the first has written
        data.tec.compress(**SMALL, store=tmp_path / "a.zarr", group="tec", mode="w")
    assert tec_xarray.verify(tmp_path / "a.zarr", data, group="tec").ok
    data.load().tec.compress(**SMALL, store=tmp_path / "a.zarr", mode="w")


@pytest.mark.parametrize(
    "store", [MemoryStore(), {}, "memory://overlap-of-memory.zarr"], ids=["store", "dict", "url"]
)
def test_memory(store: Any) -> None:
    plain(store)
    data = xr.open_zarr(store, chunks={})
    with pytest.raises(InvalidInput, match="are read from"):
        data.tec.compress(**SMALL, store=store, mode="w")
    assert (xr.open_zarr(store).B04 == series(2, (32, 32)).B04).all()


def test_a_file_that_is_mapped_into_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "B04.npy", np.ones((4, 4)))
    values = np.load(tmp_path / "B04.npy", mmap_mode="r")
    data = xr.Dataset({"B04": (("y", "x"), values[1:])})
    with pytest.raises(InvalidInput, match="are read from"):
        check_apart(data, StoreLocation.of(tmp_path, None, None))


def test_append_resume_region_and_copy_onto_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    series(2, (32, 32)).tec.compress(**SMALL, store=path, appendable=True)
    own = xr.open_zarr(path, chunks={}).tec.drop_codec()
    later = own.assign_coords(time=own.time + np.timedelta64(100, "D"))
    with pytest.raises(InvalidInput, match="are read from"):
        tec_xarray.append(later, path)
    with pytest.raises(InvalidInput, match="are read from"):
        tec_xarray.resume(own, linked(path))
    with pytest.raises(InvalidInput, match="are read from"):
        own.tec.compress(**SMALL, store=path, region={"time": slice(0, 2)})
    with pytest.raises(InvalidInput, match="holds"):
        tec_xarray.copy(path, path)
    with pytest.raises(InvalidInput):
        tec_xarray.copy(path, path / "inside.zarr", wait=0)
    assert tec_xarray.verify(path, series(2, (32, 32))).ok


@pytest.mark.parametrize(
    ("source", "target", "same"),
    [
        ("s3://bucket/a.zarr/B04", "s3://bucket/a.zarr/", True),
        ("s3a://bucket/a.zarr", "s3://bucket/a.zarr", True),
        ("/vsis3/bucket/a.zarr/B04.tif", "s3://bucket/a.zarr", True),
        ("https://bucket.s3.eu-west-1.amazonaws.com/a.zarr/x.tif", "s3://bucket/a.zarr", True),
        ("s3://bucket/a.zarr2/B04", "s3://bucket/a.zarr", False),
        ("s3://other/a.zarr/B04", "s3://bucket/a.zarr", False),
    ],
)
def test_urls_as_arguments_of_tasks(source: str, target: str, same: bool) -> None:
    pytest.importorskip("s3fs")
    lazy = late(da.zeros((2, 32, 32), np.uint16).map_blocks(_text, source, dtype=np.uint16))
    place = StoreLocation.of(target, None, {"anon": True})
    if same:
        with pytest.raises(InvalidInput, match="are read from"):
            check_apart(lazy, place)
    else:
        check_apart(lazy, place)


def _text(block: Any, name: str) -> Any:
    return block


def test_what_cannot_be_told_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain(tmp_path / "a.zarr")
    monkeypatch.setattr(overlap, "MOST_OBJECTS", 3)
    lazy = series(2, (32, 32)).chunk(time=1)
    with pytest.raises(InvalidInput, match="too many to tell"):
        lazy.tec.compress(**SMALL, store=tmp_path / "a.zarr", mode="w")
    lazy.tec.compress(**SMALL, store=tmp_path / "b.zarr", mode="w")

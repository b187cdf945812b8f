"""Archives where people keep them: S3 (a server on this machine), memory, zip, icechunk."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import icechunk
import numpy as np
import obstore.store
import pytest
import xarray as xr
import zarr.storage

import tec_xarray
from archives import SETTINGS, Mortal, objects, series
from s3server import BUCKET, s3_options
from tec_numcodecs.errors import InvalidInput, TecError
from tec_xarray.store.journal import Journal
from tec_xarray.store.location import StoreLocation


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """Storage options for a server with an empty bucket; no proxy must see requests to it."""
    with s3_options() as options:
        yield options


@pytest.fixture(scope="module")
def finished() -> zarr.storage.MemoryStore:
    """Seven dates, three of which wait: what every other store must hold, byte for byte."""
    store = zarr.storage.MemoryStore()
    series(7).tec.compress(**SETTINGS, store=store, appendable=True)
    return store


def life(url: str, options: dict[str, Any] | None, finished: Any, copy: Path) -> None:
    """Archive, fail, resume, append, verify, copy there and back: by URL."""
    given: dict[str, Any] = {"storage_options": options}
    whole = series(5)

    def fail(values: Any, block_info: Any) -> Any:
        if values.size and block_info[0]["chunk-location"][-2:] == (1, 0):
            raise OSError("the catalog does not answer")
        return values

    lazy = whole.chunk(time=4, y=32, x=64)
    data = lazy["B04"].data.map_blocks(fail, dtype=np.uint16, meta=np.zeros((0, 0, 0), np.uint16))
    with pytest.raises(TecError, match="2 of 8 blocks failed"):
        lazy.assign(B04=lazy["B04"].copy(data=data)).tec.compress(
            **SETTINGS, store=url, appendable=True, retries=0, **given
        )
    there = Journal(StoreLocation(url, None, options)).states()
    assert (there[..., 0] > 0).sum() == 6
    tec_xarray.resume(lazy, url, **given)
    now = Journal(StoreLocation(url, None, options)).states()
    assert (now[there[..., 0] > 0] == there[there[..., 0] > 0]).all()  # not coded again
    tec_xarray.append(series(2, first=5), url, **given)
    assert tec_xarray.verify(url, series(7), **given).ok
    read = xr.open_zarr(url, **given)
    xr.testing.assert_identical(
        read.load().drop_attrs(), xr.open_zarr(finished).load().drop_attrs()
    )
    tec_xarray.copy(url, copy, **given)
    assert objects(copy) == objects(finished)
    back = f"{url}-back"
    tec_xarray.copy(copy, back, target_storage_options=options)
    assert tec_xarray.verify(back, series(7), **given).ok
    with pytest.raises(InvalidInput, match="already"):
        tec_xarray.copy(copy, back, target_storage_options=options)
    assert tec_xarray.info(url, **given)["dates_waiting"] == 3


def test_s3_with_s3fs(s3: dict[str, Any], finished: Any, tmp_path: Path) -> None:
    life(f"s3://{BUCKET}/a.zarr", s3, finished, tmp_path / "copy.zarr")


def test_memory_of_fsspec(finished: Any, tmp_path: Path) -> None:
    life(f"memory://{uuid.uuid4()}.zarr", None, finished, tmp_path / "copy.zarr")
    fsspec.filesystem("memory").store.clear()


def test_s3_from_a_cluster(s3: dict[str, Any], finished: Any, client: Any) -> None:
    """Workers are processes of their own: the address and the options go to them."""
    url = f"s3://{BUCKET}/cluster.zarr"
    series(7).chunk(time=1, x=50).tec.compress(
        **SETTINGS, store=url, storage_options=s3, appendable=True
    )
    store = zarr.storage.FsspecStore.from_url(url, storage_options=s3)
    assert objects(store) == objects(finished)


def test_s3_with_obstore(s3: dict[str, Any], finished: Any) -> None:
    bucket = obstore.store.S3Store(
        BUCKET, prefix="obstore.zarr", endpoint=s3["endpoint_url"], access_key_id=s3["key"],
        secret_access_key=s3["secret"], region="us-east-1",
        client_options={"allow_http": True},
    )  # fmt: skip
    store = zarr.storage.ObjectStore(bucket)
    series(5).tec.compress(**SETTINGS, store=store, appendable=True)
    tec_xarray.append(series(2, first=5).chunk(time=1), store)
    assert objects(store) == objects(finished)
    assert tec_xarray.verify(store, series(7)).ok


@pytest.mark.slow
def test_a_store_on_s3_that_dies(s3: dict[str, Any], finished: Any) -> None:
    """In the middle of an append: the old dates are there, and the same again finishes it."""
    url = f"s3://{BUCKET}/mortal.zarr"
    series(5).tec.compress(**SETTINGS, store=url, storage_options=s3, appendable=True)
    inner = zarr.storage.FsspecStore.from_url(url, storage_options=s3)
    with pytest.raises((TecError, OSError)):
        tec_xarray.append(series(2, first=5), Mortal(inner, 20), retries=0)
    assert xr.open_zarr(inner).sizes["time"] == 5
    tec_xarray.append(series(2, first=5), url, storage_options=s3)
    assert objects(inner) == objects(finished)


def test_zip_files_are_for_reading(finished: Any, tmp_path: Path) -> None:
    with zarr.storage.ZipStore(tmp_path / "a.zip", mode="w") as store:
        tec_xarray.copy(finished, store)
    with zarr.storage.ZipStore(tmp_path / "a.zip", mode="r") as store:
        read = xr.open_zarr(store)
        xr.testing.assert_identical(read.load(), xr.open_zarr(finished).load())
        assert tec_xarray.verify(store, series(7)).ok
        with pytest.raises(InvalidInput, match="read"):
            tec_xarray.append(series(1, first=7), store)


def test_icechunk(finished: Any, tmp_path: Path) -> None:
    """Each step is a commit; readers of an older one see what was there then."""
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path)))
    session = repository.writable_session("main")
    series(5).chunk(time=1).tec.compress(
        **SETTINGS, store=session.store, consolidated=False, appendable=True
    )
    first = session.commit("five dates")
    session = repository.writable_session("main")
    tec_xarray.append(series(2, first=5), session.store)
    session.commit("two more")
    now = repository.readonly_session("main").store
    assert objects(now) == objects(finished)
    assert tec_xarray.verify(now, series(7)).ok
    then = repository.readonly_session(snapshot_id=first).store
    assert xr.open_zarr(then, consolidated=False).sizes["time"] == 5
    assert tec_xarray.verify(then, series(5)).ok


def test_icechunk_and_processes(client: Any, tmp_path: Path) -> None:
    """What a worker writes in its own copy of a session would never be committed."""
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path)))
    store = repository.writable_session("main").store
    with pytest.raises(InvalidInput, match="session of this process"):
        series(1).tec.compress(lam=20, store=store, consolidated=False)

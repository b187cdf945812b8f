"""Write a marked dataset with xarray, after a rehearsal in memory."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import xarray as xr
import zarr
import zarr.storage
from zarr.core.sync import sync

from tec_numcodecs.errors import InvalidInput, TecError
from tec_numcodecs.options import get_options
from tec_xarray.store.journal import JOURNAL
from tec_xarray.store.lease import KEY as LEASE
from tec_xarray.store.lease import is_lease
from tec_xarray.store.location import WriteTarget, is_transaction


def write(marked: xr.Dataset, target: WriteTarget, **options: Any) -> None:
    """Write a marked dataset, after all metadata were written in memory without complaint.

    Options are those of ``to_zarr``. Whoever calls it has made sure that there is no group.

    Raises
    ------
    InvalidInput
        An attribute or a variable beside the cube is nothing that Zarr can hold.
    """
    rehearse(marked, target.zarr_format)
    there = target.location
    with settings():
        marked.to_zarr(
            there.store,
            group=there.group,
            zarr_format=target.zarr_format,
            consolidated=target.consolidated,
            storage_options=there.storage_options,
            # Not "w-": the lease of the writer is there already.
            # An object that is not there is one that was lost, not one of zeros.
            **{"mode": "a", "write_empty_chunks": True, **options},
        )


def make_room(target: WriteTarget) -> None:
    """Refuse what is there, or delete it if it is to be replaced; but for the writer's lease.

    Raises
    ------
    InvalidInput
        There is something, and it is not to be replaced.
    """
    target.check_free()
    path = target.location.store_path() / (target.location.group or "")
    if is_transaction(target.location.store):
        if target.mode == "w":
            sync(path.delete_dir())
        return
    if target.mode == "w-":
        if not path.store.supports_listing or sync(_is_free(path)):
            return
        raise InvalidInput(
            f"{target.location.label} holds something that is no Zarr group",
            allowed="a place where there is nothing yet",
            fix="pass another path; mode='w' would delete what is there",
        )
    sync(_clear(path, LEASE.split("/")))


async def _is_free(path: zarr.storage.StorePath) -> bool:
    names = {name.strip("/") async for name in path.store.list_dir(path.path)}
    return names <= {JOURNAL} and not any(
        [not is_lease(key) async for key in path.store.list_prefix(path.path)]
    )


async def _clear(path: zarr.storage.StorePath, spared: list[str]) -> None:
    """Delete all below a path but one key."""
    names = {name.strip("/") async for name in path.store.list_dir(path.path)} - {""}
    for name in sorted(names):
        inside = path / name
        if name != spared[0]:
            await _delete(inside)
        elif spared[1:]:
            await _clear(inside, spared[1:])


async def _delete(path: zarr.storage.StorePath) -> None:
    """Delete a key, and all below a prefix of that name."""
    store: Any = path.store
    if isinstance(store, zarr.storage.LocalStore):
        file = store.root / path.path
        if file.is_symlink():
            file.unlink()
            return
    await path.delete()
    await path.delete_dir()


def rehearse(marked: xr.Dataset, zarr_format: int) -> None:
    """Write metadata and coordinates to memory, so that a refusal leaves no half a store."""
    numbers = [name for name, array in marked.data_vars.items() if array.dtype.kind not in "OUST"]
    # With a name of our own: dask would hash all values for one.
    lazy = marked.assign({n: marked[n].chunk(token="rehearsal") for n in numbers})  # noqa: S106
    try:
        with settings():
            lazy.to_zarr(zarr.storage.MemoryStore(), zarr_format=zarr_format, compute=False)
    except TecError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"something beside the bands cannot be stored: {error}",
            allowed="what a plain to_zarr of the dataset accepts",
            fix="change or drop that attribute or variable",
        ) from error


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Let Zarr hand several chunks at once to the codec (read when an array is opened).

    Its warning that consolidated metadata are not specified yet is not for our users: it was not
    their choice, and readers that do not know them ignore them.
    """
    batch = zarr.config.set({"codec_pipeline.batch_size": get_options().batch_size})
    with batch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        # Nor that text of fixed width is not either. Text of any width has no size that Dask could
        # count with: chunks="auto" fails on it.
        warnings.filterwarnings("ignore", message="The data type .FixedLengthUTF32")
        # The lease of this writer, before there is a journal around it.
        warnings.filterwarnings("ignore", message=f"Object at .*{JOURNAL} is not recognized")
        yield

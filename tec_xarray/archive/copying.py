"""Copy an archive to another store, byte for byte: nothing is decoded, nothing is lost twice."""

from __future__ import annotations

import asyncio
from typing import Any

import zarr.storage
from zarr.abc.store import Store
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tec_numcodecs.arguments import switch
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_xarray.execution.progress import Meter
from tec_xarray.store.journal import Journal, has_journal
from tec_xarray.store.location import Place, block_key, check_store, digest
from tec_xarray.store.reading import Target, open_store

_AT_ONCE = 16
_METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")


def copy(
    source: Any,
    target: Any,
    *,
    group: str | None = None,
    storage_options: dict[str, Any] | None = None,
    target_storage_options: dict[str, Any] | None = None,
    progress: bool | None = None,
) -> Any:
    """Copy a group with all that is in it to a store that is empty.

    Chunks and shards stay as they are: another layout would mean another pass through the codec,
    or objects that the journal does not know. Where there is a journal, the digest of each block
    is checked on the way, so that damage does not spread.

    Parameters
    ----------
    source, target : path, URL or Zarr store
        For example an archive on disk and a bucket, or a bucket and a ``ZipStore`` open for
        writing.
    group : str, optional
        Copy this group, to the same place in the target.
    storage_options, target_storage_options : dict, optional
    progress : bool, optional

    Returns
    -------
    xarray.Dataset
        The copy, opened; None if the target is a zip file, which cannot be read before it is
        closed.

    Raises
    ------
    InvalidInput
        There is nothing to copy, or something in the target already.
    CorruptChunk
        A block is not what was written. The target is not complete then.
    """
    if progress is not None:
        switch("progress", progress)
    check_store(target)
    there = Place.of(source, group, storage_options)
    here = Target(target, group, 3, "w-", None, target_storage_options)
    zipped = isinstance(target, zarr.storage.ZipStore)
    if not zipped:
        here.check(None)
    root = there.open()
    expected = _digests(there)
    store = _store_of(target, target_storage_options)
    prefix = f"{root.path}/" if root.path else ""
    keys = sync(_list(root.store, prefix))
    # Metadata last, those of the group itself at the very end: half a copy opens as nothing.
    keys.sort(key=lambda key: (key.rpartition("/")[2] in _METADATA, -key.count("/"), key))
    with Meter("copy", len(keys), progress) as meter:
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            metadata = any(key.rpartition("/")[2] in _METADATA for key in part)
            sync(_move(root.store, store, part, expected, one_by_one=metadata))
            meter.count(len(part))
    return None if zipped else open_store(here)


def _digests(place: Place) -> dict[str, bytes]:
    """Return what the blocks' objects must be, by key."""
    if not has_journal(place):
        return {}
    journal = Journal(place)
    array = place.array(str(journal.attrs["variable"]))
    if journal.attrs.get("append"):
        raise InvalidInput(
            f"an append to {place.label} was interrupted", fix="finish it first: the same append"
        )
    path = array.store_path.path
    return {
        f"{path}/{block_key(array, done.index)}": done.digest
        for done in journal.all()
        if done.stored_bytes
    }


def _store_of(target: Any, options: dict[str, Any] | None) -> Store:
    """Open a store for writing without making a group in it."""
    if isinstance(target, Store):
        return target
    if isinstance(target, str) and "://" in target:
        return zarr.storage.FsspecStore.from_url(target, storage_options=options)
    if isinstance(target, dict):
        return zarr.storage.MemoryStore(target)
    return zarr.storage.LocalStore(target)


async def _list(store: Store, prefix: str) -> list[str]:
    return [key async for key in store.list_prefix(prefix) if not key.endswith(".partial")]


async def _move(
    source: Store, target: Store, keys: list[str], expected: dict[str, bytes], *, one_by_one: bool
) -> None:
    async def move(key: str) -> None:
        data = await source.get(key, default_buffer_prototype())
        if data is None:
            raise CorruptChunk(f"{key} has vanished while it was copied")
        if key in expected and digest(data.to_bytes()) != expected[key]:
            raise CorruptChunk(
                f"{key} is not what the journal says",
                fix="the source is damaged: see tec_xarray.verify; mend it before copying",
            )
        await target.set(key, data)

    if one_by_one:
        for key in keys:
            await move(key)
    else:
        await asyncio.gather(*(move(key) for key in keys))

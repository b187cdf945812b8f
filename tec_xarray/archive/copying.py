"""Copy an archive to another store, byte for byte: nothing is decoded, nothing is lost twice."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import zarr
import zarr.storage
from zarr.core.sync import sync
from zarr.storage import StorePath

from tec_numcodecs.arguments import switch
from tec_numcodecs.chunk import decoding
from tec_numcodecs.errors import CorruptChunk, InvalidInput, TecError
from tec_xarray.execution.progress import Meter
from tec_xarray.store.codec_metadata import configuration
from tec_xarray.store.journal import JOURNAL, Journal, has_journal
from tec_xarray.store.lease import WAIT, Lease, Patience, is_lease, wait_for_writer, writing
from tec_xarray.store.location import StoreLocation, WriteTarget
from tec_xarray.store.objects import block_key, block_shape, read_object
from tec_xarray.store.reading import open_store
from tec_xarray.store.shard_index import chunks_of

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
    wait: float = WAIT,
    break_lease: bool = False,
) -> Any:
    """Copy a group with all that is in it to a store that is empty.

    Chunks and shards stay as they are: another layout would mean another pass through the codec,
    or objects that the journal does not know. Where there is a journal, the digest of each block
    is checked on the way, so that damage does not spread; and every object, of all variables, is
    read back from the target and compared.

    Parameters
    ----------
    source, target : path, URL or Zarr store
        For example an archive on disk and a bucket, or a bucket and a ``ZipStore`` open for
        writing.
    group : str, optional
        Copy this group, to the same place in the target.
    storage_options, target_storage_options : dict, optional
    progress : bool, optional
    wait, break_lease
        As of `tec_xarray.compress`: for writers of the source, and of the target.

    Returns
    -------
    xarray.Dataset
        The copy, opened; None if the target is a zip file, which cannot be read before it is
        closed.

    Raises
    ------
    InvalidInput
        There is nothing to copy, something in the target already, or somebody writes to either.
    CorruptChunk
        A block is not what was written, an object came otherwise when it was read again, or the
        source was changed meanwhile. The target is not complete then.
    """
    patience = Patience(wait, break_lease)
    if progress is not None:
        switch("progress", progress)
    there = StoreLocation.of(source, group, storage_options)
    here = StoreLocation.of(target, group, target_storage_options)
    if isinstance(target, zarr.storage.ZipStore):
        _copy(there, here, patience, progress, None)
        return None
    WriteTarget(here).check(None)
    there.open()
    with writing(here, "copy", patience) as lease:
        WriteTarget(here).check_free()
        _copy(there, here, patience, progress, lease)
    return open_store(here)


def _copy(
    there: StoreLocation,
    here: StoreLocation,
    patience: Patience,
    progress: bool | None,
    lease: Lease | None,
) -> None:
    wait_for_writer(there, patience)
    root = there.open()
    expected = _digests(there)
    source, target = root.store_path, here.store_path() / (here.group or "")
    keys = sync(_list(source))
    if lease is not None:
        _check_foreign(target, keys, here.label)
    # Metadata last, those of the group itself at the very end: half a copy opens as nothing.
    keys.sort(key=lambda key: (key.rpartition("/")[2] in _METADATA, -key.count("/"), key))
    copied: dict[str, bytes] = {}
    with Meter("copy", len(keys), progress) as meter:
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            if lease is not None:
                lease.check()
            metadata = any(key.rpartition("/")[2] in _METADATA for key in part)
            moved = sync(_move(source, target, part, expected, one_by_one=metadata))
            copied |= dict(zip(part, moved, strict=True))
            meter.count(len(part))
        if lease is None:  # a zip file, which cannot be read before it is closed
            return
        _check_arrays(here, expected)
        # Who wrote to the source meanwhile has changed what says so: its metadata or its journal.
        telling = [key for key in keys if _tells(key)]
        if sync(_list(source)) != sorted(keys) or sync(_read(source, telling)) != [
            copied[key] for key in telling
        ]:
            raise CorruptChunk(
                f"{there.label} was changed while it was copied",
                allowed="a source to which nobody writes",
                fix="delete the copy, and make it again",
            )


def _tells(key: str) -> bool:
    """Whether an object changes with every write: metadata, and the journal."""
    return key.rpartition("/")[2] in _METADATA or f"/{key}".startswith(f"/{JOURNAL}/")


def _digests(location: StoreLocation) -> dict[str, bytes]:
    """Return what the blocks' objects must be, by key in the group."""
    if not has_journal(location):
        return {}
    journal = Journal(location)
    name = str(journal.attrs["variable"])
    array = location.array(name)
    if journal.attrs.get("append"):
        raise InvalidInput(
            f"an append to {location.label} was interrupted", fix="finish it first: the same append"
        )
    return {
        f"{name}/{block_key(array, done.index)}": done.digest
        for done in journal.all()
        if done.stored_bytes
    }


def _check_foreign(target: StorePath, keys: Iterable[str], label: str) -> None:
    """Refuse a target that holds what is not of this copy; the half of an earlier one may be."""
    if not target.store.supports_listing:
        return
    foreign = sorted(set(sync(_list(target))) - set(keys))
    if foreign:
        raise InvalidInput(
            f"{label} holds {foreign[0]!r}" + (", among others" if len(foreign) > 1 else ""),
            allowed="a place where there is nothing yet",
            fix="pass another one",
        )


async def _list(path: StorePath) -> list[str]:
    """List what is below a path, relative to it; neither leases nor halves of files."""
    prefix = f"{path.path}/" if path.path else ""
    found = [key.removeprefix(prefix) async for key in path.store.list_prefix(prefix)]
    return sorted(key for key in found if not key.endswith(".partial") and not is_lease(key))


async def _read(path: StorePath, keys: list[str]) -> list[bytes]:
    """Read objects again; return their digests."""
    found = []
    for start in range(0, len(keys), _AT_ONCE):
        part = (_digest_of(path / key) for key in keys[start : start + _AT_ONCE])
        found += await asyncio.gather(*part)
    return found


async def _digest_of(path: StorePath) -> bytes:
    data = await path.get()
    return b"" if data is None else hashlib.sha256(data.to_bytes()).digest()


async def _move(
    source: StorePath,
    target: StorePath,
    keys: list[str],
    expected: dict[str, bytes],
    *,
    one_by_one: bool,
) -> list[bytes]:
    """Copy objects and read them back; return their digests."""

    async def move(key: str) -> bytes:
        data = await (source / key).get()
        if data is None:
            raise CorruptChunk(f"{key} has vanished while it was copied")
        found = hashlib.sha256(data.to_bytes()).digest()
        if key in expected and found != expected[key]:
            raise CorruptChunk(
                f"{key} is not what the journal says",
                fix="the source is damaged: see tec_xarray.verify; mend it before copying",
            )
        await (target / key).set(data)
        if await _digest_of(target / key) != found:
            raise CorruptChunk(
                f"{key} came back from the copy otherwise than it was written",
                fix="check the target; does another process write to it?",
            )
        return found

    if one_by_one:
        return [await move(key) for key in keys]
    return list(await asyncio.gather(*(move(key) for key in keys)))


def _check_arrays(copy: StoreLocation, expected: dict[str, bytes]) -> None:
    """Read every array for whose objects there is no digest: their own checksums speak."""
    for name, member in copy.open().members(max_depth=None):
        array: Any = member
        if not isinstance(member, zarr.Array) or any(k.startswith(f"{name}/") for k in expected):
            continue
        try:
            if configuration(array):
                _check_chunks(array)
            else:
                for start in np.ndindex(*array.cdata_shape):
                    steps = zip(start, array.chunks, strict=True)
                    _ = array[tuple(slice(i * n, (i + 1) * n) for i, n in steps)]
        except (TecError, ValueError, RuntimeError, TypeError) as error:
            raise CorruptChunk(
                f"{name} of the copy cannot be read: {error}",
                allowed="what can be read",
                fix="the source is damaged, or was cut short on the way: see tec_xarray.verify, "
                "then delete the copy, and make it again",
            ) from error


def _check_chunks(array: Any) -> None:
    """Check the checksums of the chunks of a cube, without decoding it."""
    steps = block_shape(array)
    for index in np.ndindex(*(-(-array.shape[i] // steps[i]) for i in (0, 2, 3))):
        data = read_object(array, block_key(array, (index[0], index[1], index[2])))
        for chunk in [] if data is None else chunks_of(array, data):
            if chunk is not None:
                decoding.inspect(chunk)

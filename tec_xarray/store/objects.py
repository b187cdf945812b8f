"""The objects behind an array of a store: the one file that knows how Zarr keeps them.

Blocks are written through arrays that differ from the stored ones in memory only: with a shape of
whole blocks (so that Zarr never reads what it is about to replace, which might be damaged), with
dates that the metadata do not show yet, or with a codec that loses nothing. What they write is
readable through the stored metadata, because every chunk says itself how it was coded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import zarr
import zarr.storage
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tec_xarray.store.codec_metadata import AnyArray
from tec_xarray.store.codec_metadata import lossless as without_loss

Index: TypeAlias = tuple[int, int, int]  # of a block, along (time, y, x)


def block_shape(array: AnyArray) -> tuple[int, ...]:
    """Return the shape of what one object of the store holds."""
    return tuple(array.chunks if array.shards is None else array.shards)


def chunk_bytes(array: AnyArray) -> int:
    """Return what a decoder counts for a chunk: at least 4 KiB for each band of a date."""
    t, c, y, x = array.chunks
    return int(t * c * max(y * x * array.dtype.itemsize, 4096))


def variant(array: AnyArray, shape: tuple[int, ...] | None = None) -> AnyArray:
    """Return an array over the same objects whose metadata say another shape; in memory only.

    What is written through it gets an object even where it equals the fill value: an object that is
    not there is one that was lost.
    """
    metadata: Any = array.metadata.to_dict()
    if shape is not None:
        metadata |= {"shape": shape}
    config: Any = {"write_empty_chunks": True}
    made: AnyArray = zarr.Array(
        zarr.AsyncArray(metadata=metadata, store_path=array.store_path, config=config)
    )
    return made


def scratch(
    array: AnyArray, data: Mapping[Index, bytes] | None = None, *, lossless: bool = False
) -> AnyArray:
    """Return an array like another one, in memory, with some of its objects.

    Writing goes through it because Zarr reads every shard that it is about to write, even a whole
    one, and could not replace a damaged one. Reading goes through it so that an object is fetched
    once.

    Parameters
    ----------
    array : zarr.Array
    data : dict of bytes, optional
        Objects, by the index of their block.
    lossless : bool
        Whether our codec is to code without loss.

    Returns
    -------
    zarr.Array
        With a shape of whole blocks, enough for the objects and more.
    """
    block = block_shape(array)
    metadata: Any = array.metadata.to_dict()
    counts = [-(-n // s) for n, s in zip(array.shape, block, strict=True)]
    # Dates that are being appended are not in the metadata yet.
    counts[0] = 1 << 20
    metadata["shape"] = tuple(n * s for n, s in zip(counts, block, strict=True))
    if lossless:
        metadata = without_loss(metadata)
    place = zarr.storage.StorePath(zarr.storage.MemoryStore(), "")
    made: AnyArray = zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=place))
    for index, item in (data or {}).items():
        write_object(made, block_key(made, index), item)
    return made


def block_key(array: AnyArray, index: Index) -> str:
    """Return the key of a block's object, relative to the array."""
    t, y, x = index
    return array.metadata.encode_chunk_key((t, 0, y, x))


def read_object(array: AnyArray, key: str) -> bytes | None:
    """Read an object of an array as bytes; None if it is not there."""
    found = sync((array.store_path / key).get())
    return None if found is None else found.to_bytes()


def write_object(array: AnyArray, key: str, data: bytes) -> None:
    """Write an object of an array."""
    buffer = default_buffer_prototype().buffer.from_bytes(data)
    sync((array.store_path / key).set(buffer))


def remove_object(array: AnyArray, key: str) -> None:
    """Remove an object of an array, if it is there."""
    sync((array.store_path / key).delete())


def digest(data: bytes | None) -> bytes:
    """SHA-256 of an object; that of nothing if there is none."""
    return hashlib.sha256(data or b"").digest()

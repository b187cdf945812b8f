"""How many bytes each chunk of an array takes, from the indices of its shards."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tec_xarray.store.codec_metadata import AnyArray
from tec_xarray.store.objects import Index, block_key, block_shape
from tec_xarray.store.shard_index import ABSENT, index_at_end, index_size, read_index


def chunk_sizes(array: AnyArray) -> NDArray[np.int64]:
    """Return bytes of each chunk, shape (along time, along y, along x); 0 where there is none.

    Of a shard only the index is read.

    Raises
    ------
    CorruptChunk
        An index is cut off or damaged.
    """
    axes = (0, 2, 3)
    counts = [-(-array.shape[i] // array.chunks[i]) for i in axes]
    sizes = np.zeros(counts, np.int64)
    block = block_shape(array)
    inside = [block[i] // array.chunks[i] for i in axes]
    for index in _blocks(array, axes):
        found = _sizes_of(array, index, inside)
        start = [i * n for i, n in zip(index, inside, strict=True)]
        place = tuple(slice(a, a + n) for a, n in zip(start, inside, strict=True))
        # A shard at the edge has room for chunks that the array does not have.
        room = sizes[place].shape
        sizes[place] = found[tuple(slice(n) for n in room)]
    return sizes


def _blocks(array: AnyArray, axes: tuple[int, ...]) -> Iterator[Index]:
    block = block_shape(array)
    yield from itertools.product(*(range(-(-array.shape[i] // block[i])) for i in axes))


def _sizes_of(array: AnyArray, index: Index, inside: list[int]) -> NDArray[np.int64]:
    """Return bytes of the chunks of one object."""
    path = array.store_path / block_key(array, index)
    if array.shards is None:
        try:
            size = sync(path.store.getsize(path.path))
        except FileNotFoundError:
            size = 0
        return np.full(inside, size, np.int64)
    count = math.prod(inside)
    length = index_size(count)
    part: Any = SuffixByteRequest(length) if index_at_end(array) else RangeByteRequest(0, length)
    raw = sync(path.get(default_buffer_prototype(), part))
    if raw is None:
        return np.zeros(inside, np.int64)
    lengths = read_index(raw.to_bytes(), count)[:, 1].reshape(inside)
    return np.where(lengths == ABSENT, 0, lengths).astype(np.int64)

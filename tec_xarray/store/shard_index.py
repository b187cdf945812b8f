"""Take an object of the store apart into chunks, without decoding them.

The layout of a shard is that of Zarr's codec ``sharding_indexed``: chunks in any order, then (or
before them) an index of two little-endian uint64 for each chunk, offset and length, both 2^64 - 1
for a chunk that is not there, and the CRC-32C of that index.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.chunk.container import crc32c
from tec_numcodecs.errors import CorruptChunk
from tec_xarray.store.codec_metadata import AnyArray

#: Offset and length of a chunk that is not there.
ABSENT = 2**64 - 1


def chunks_of(array: AnyArray, data: bytes) -> list[bytes | None]:
    """Return the bytes of each chunk in an object, in C order; None for those that are not there.

    Raises
    ------
    CorruptChunk
        The index is damaged.
    """
    if array.shards is None:
        return [data]
    count = math.prod(s // c for s, c in zip(array.shards, array.chunks, strict=True))
    size = index_size(count)
    raw = data[-size:] if index_at_end(array) else data[:size]
    found: list[bytes | None] = []
    for offset, length in read_index(raw, count).tolist():
        if offset == ABSENT and length == ABSENT:
            found.append(None)
        elif offset + length > len(data):
            raise CorruptChunk(f"a chunk at {offset} + {length} of {len(data)} bytes")
        else:
            found.append(data[offset : offset + length])
    return found


def index_size(count: int) -> int:
    """Return how many bytes the index of a shard of so many chunks has."""
    return 16 * count + 4


def read_index(raw: bytes, count: int) -> NDArray[np.uint64]:
    """Check the index of a shard, and return offset and length of each chunk, (count, 2).

    Raises
    ------
    CorruptChunk
        It is cut off or damaged.
    """
    if len(raw) != index_size(count):
        raise CorruptChunk(
            f"a shard of {len(raw)} bytes",
            allowed=f"its index alone has {index_size(count)}",
            fix="the object is cut off: restore it from a copy",
        )
    (stored,) = struct.unpack("<I", raw[-4:])
    if crc32c(raw[:-4]) != stored:
        raise CorruptChunk(
            f"checksum {crc32c(raw[:-4]):08x} over the index of a shard",
            allowed=f"{stored:08x}, as stored",
            fix="the object is damaged or cut off: restore it from a copy",
        )
    return np.frombuffer(raw[:-4], "<u8").reshape(count, 2)


def index_at_end(array: AnyArray) -> bool:
    """Tell whether the index of a shard is its end or its beginning."""
    codecs = array.metadata.to_dict()["codecs"]
    for codec in codecs if isinstance(codecs, (list, tuple)) else ():
        if isinstance(codec, dict) and codec.get("name") == "sharding_indexed":
            settings = codec["configuration"]
            return isinstance(settings, dict) and settings.get("index_location", "end") == "end"
    return True

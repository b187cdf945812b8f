"""Take an object of the store apart into chunks, without decoding them.

The layout of a shard is that of Zarr's codec ``sharding_indexed``: chunks in any order, then (or
before them) an index of two little-endian uint64 for each chunk, offset and length, both 2^64 - 1
for a chunk that is not there, and the CRC-32C of that index.
"""

from __future__ import annotations

import math
import struct

import numpy as np

from tec_numcodecs.container import crc32c
from tec_numcodecs.errors import CorruptChunk
from tec_xarray._place import AnyArray

_ABSENT = 2**64 - 1


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
    size = 16 * count + 4
    if len(data) < size:
        raise CorruptChunk(f"a shard of {len(data)} bytes", allowed=f"its index alone has {size}")
    raw = data[-size:] if index_at_end(array) else data[:size]
    (stored,) = struct.unpack("<I", raw[-4:])
    if crc32c(raw[:-4]) != stored:
        raise CorruptChunk(
            f"checksum {crc32c(raw[:-4]):08x} over the index of a shard",
            allowed=f"{stored:08x}, as stored",
            fix="the object is damaged or cut off: restore it from a copy",
        )
    found: list[bytes | None] = []
    for offset, length in np.frombuffer(raw[:-4], "<u8").reshape(count, 2).tolist():
        if offset == _ABSENT and length == _ABSENT:
            found.append(None)
        elif offset + length > len(data):
            raise CorruptChunk(f"a chunk at {offset} + {length} of {len(data)} bytes")
        else:
            found.append(data[offset : offset + length])
    return found


def index_at_end(array: AnyArray) -> bool:
    """Tell whether the index of a shard is its end or its beginning."""
    codecs = array.metadata.to_dict()["codecs"]
    for codec in codecs if isinstance(codecs, (list, tuple)) else ():
        if isinstance(codec, dict) and codec.get("name") == "sharding_indexed":
            settings = codec["configuration"]
            return isinstance(settings, dict) and settings.get("index_location", "end") == "end"
    return True

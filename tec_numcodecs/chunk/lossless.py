"""Chunks without loss and without a model: any dtype that a chunk may have, bit for bit.

For what no model should touch: dates that wait for more dates, data that a model would store in
more bytes than this. Samples are taken as unsigned integers, each replaced by its difference from
its left and then from its upper neighbour (modulo 2^16 or 2^32), split into byte planes and
deflated. Where neighbours tell nothing, the differences are left out.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.chunk.masks import inflate
from tec_numcodecs.errors import CorruptChunk

_PLAIN, _DIFFERENCES = 0, 1
_LEVEL = 6


def encode(array: NDArray[Any]) -> bytes:
    """Encode an array (T, C, H, W) of 2- or 4-byte samples."""
    samples = _unsigned(array)
    candidates = {_PLAIN: samples, _DIFFERENCES: _differences(samples)}
    coded = {kind: bytes((kind,)) + _deflate(values) for kind, values in candidates.items()}
    return min(coded.values(), key=len)


def decode(data: bytes, shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Undo `encode`.

    Raises
    ------
    CorruptChunk
        If the bytes are no such array. No more memory than the array's is used to find out.
    """
    if not data or data[0] > _DIFFERENCES:
        raise CorruptChunk("lossless samples of unknown kind", allowed="kinds 0, 1")
    little = np.dtype(f"<u{dtype.itemsize}")
    count = int(np.prod(shape, dtype=np.int64))
    planes = np.frombuffer(inflate(data[1:], count * dtype.itemsize), np.uint8)
    planes = planes.reshape(dtype.itemsize, count)
    samples = np.ascontiguousarray(planes.T).view(little).reshape(shape)
    if data[0] == _DIFFERENCES:
        for axis in (-2, -1):
            samples = np.add.accumulate(samples, axis=axis, dtype=little)
    native = samples.astype(np.dtype(f"u{dtype.itemsize}"))
    return native.view(dtype.newbyteorder("=")).astype(dtype)


def _unsigned(array: NDArray[Any]) -> NDArray[Any]:
    """The samples' bits as little-endian unsigned integers."""
    native = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("="), copy=False)
    size = array.dtype.itemsize
    return native.view(np.dtype(f"u{size}")).astype(np.dtype(f"<u{size}"), copy=False)


def _differences(samples: NDArray[Any]) -> NDArray[Any]:
    out = samples.copy()
    out[..., 1:] -= samples[..., :-1]
    rows = out.copy()
    out[..., 1:, :] -= rows[..., :-1, :]
    return out


def _deflate(samples: NDArray[Any]) -> bytes:
    planes = np.ascontiguousarray(samples.reshape(-1, 1).view(np.uint8).T)
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    return deflate.compress(planes.tobytes()) + deflate.flush()

"""Masks: which pixels of a chunk are nodata or NaN, without loss.

A mask is packed to bits, each row replaced by its difference from the row above (nodata comes in
large areas with straight or slowly moving edges), and deflated. The first byte says which axes
the mask really has: clouds and swath edges are usually the same in all bands.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import CorruptChunk

Mask = NDArray[np.bool_]  # (T, C, H, W), True where masked

# Kinds of mask: all pixels; one plane a date; one plane a date and band.
_ALL, _PER_DATE, _PER_BAND = 0, 1, 2


def encode(mask: Mask) -> bytes:
    """Encode a mask (T, C, H, W), True where a pixel is masked."""
    if mask.all():
        return bytes((_ALL,))
    per_date = bool((mask == mask[:, :1]).all())
    planes = mask[:, :1] if per_date else mask
    difference = planes.copy()
    difference[:, :, 1:] ^= planes[:, :, :-1]
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = np.packbits(difference).tobytes()
    kind = _PER_DATE if per_date else _PER_BAND
    return bytes((kind,)) + deflate.compress(packed) + deflate.flush()


def decode(data: bytes, shape: tuple[int, int, int, int]) -> Mask:
    """Undo `encode`.

    Parameters
    ----------
    data : bytes
    shape : (T, C, H, W)

    Returns
    -------
    bool array (T, C, H, W)

    Raises
    ------
    CorruptChunk
        If the bytes are no mask of that shape. No more memory than the mask's is used to find out.
    """
    if not data or data[0] > _PER_BAND:
        raise CorruptChunk("a mask of unknown kind", allowed="kinds 0, 1, 2")
    if data[0] == _ALL:
        if len(data) > 1:
            raise CorruptChunk(f"{len(data) - 1} bytes behind a full mask", allowed="none")
        return np.ones(shape, np.bool_)
    t, c, h, w = shape
    planes = (t, 1 if data[0] == _PER_DATE else c, h, w)
    count = int(np.prod(planes, dtype=np.int64))
    packed = inflate(data[1:], -(-count // 8))
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    if bits[count:].any():
        raise CorruptChunk("bits behind the end of a mask", allowed="zeros")
    difference = bits[:count].reshape(planes)
    mask = np.bitwise_xor.accumulate(difference, axis=2).astype(np.bool_)
    return np.broadcast_to(mask, shape)


def inflate(data: bytes, size: int) -> bytes:
    """Inflate a raw deflate stream (RFC 1951) of exactly ``size`` bytes and nothing behind it.

    Raises
    ------
    CorruptChunk
        If it is damaged or of another size; never more than ``size + 1`` bytes are produced.
    """
    decoder = zlib.decompressobj(-15)
    try:
        out = decoder.decompress(data, size + 1)
    except zlib.error as error:
        raise CorruptChunk(f"a damaged deflate stream ({error})") from error
    if len(out) != size or not decoder.eof or decoder.unused_data:
        raise CorruptChunk(f"a deflate stream of {len(out)} bytes or more", allowed=f"{size}")
    return out

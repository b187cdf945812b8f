"""What a rival is, and the bytes that hold several streams together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint16]  # (C, H, W)
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Rival:
    """A codec of one image.

    Attributes
    ----------
    name, note : str
    settings : tuple of float
        From low to high quality or the reverse; what they mean is the codec's business.
    encode, decode : callable
        (image, setting) to bytes, (bytes, shape) to image.
    revision : int
        Raised whenever the bytes change; results of older revisions are measured again.
    """

    name: str
    note: str
    settings: tuple[float, ...]
    encode: Callable[[Image, float], bytes]
    decode: Callable[[bytes, Shape], Image]
    revision: int = 1


def join(streams: Sequence[bytes]) -> bytes:
    """Concatenate, each but the last behind its length (LEB128)."""
    return b"".join(_length(len(stream)) + stream for stream in streams[:-1]) + streams[-1]


def split(data: bytes, count: int) -> list[bytes]:
    """Take apart what :func:`join` made of `count` streams."""
    streams, position = [], 0
    for _ in range(count - 1):
        length = shift = 0
        while True:
            byte = data[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        streams.append(data[position : position + length])
        position += length
    return [*streams, data[position:]]


def to_uint16(values: NDArray[np.floating]) -> Image:
    """Round and clip."""
    return np.clip(np.rint(values), 0, 65535).astype(np.uint16)


def _length(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])

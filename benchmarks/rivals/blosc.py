"""Zstandard behind Blosc's bit shuffle (numcodecs): what Zarr arrays usually are stored with."""

from __future__ import annotations

import struct
from typing import Any

import numcodecs
import numpy as np

from benchmarks.rivals.base import Image, Rival, Shape

#: The setting is the quantizer's step in DN.
STEPS = (9, 33, 101, 241, 601, 1601)
_SETTINGS = {"id": "blosc", "cname": "zstd", "clevel": 9, "shuffle": 2}  # 2: of bits
_CODEC: Any = numcodecs.get_codec(_SETTINGS)  # type: ignore[no-untyped-call]


def _encode_quantized(image: Image, step: float) -> bytes:
    whole = int(step)
    levels = (image.astype(np.int32) + whole // 2) // whole
    return struct.pack("<H", whole) + _encode(levels.astype(np.uint16))


def _decode_quantized(data: bytes, shape: Shape) -> Image:
    (step,) = struct.unpack_from("<H", data)
    levels = _decode(data[2:], shape).astype(np.int32)
    return np.clip(levels * step, 0, 65535).astype(np.uint16)


def _encode(image: Image) -> bytes:
    return bytes(_CODEC.encode(np.ascontiguousarray(image)))


def _decode(data: bytes, shape: Shape) -> Image:
    return np.frombuffer(_CODEC.decode(data), np.uint16).reshape(shape)


QUANTIZED = Rival(
    "quant-blosc",
    "linear quantizer (as scale_factor in CF), then Blosc with bit shuffle and Zstandard 9",
    STEPS,
    _encode_quantized,
    _decode_quantized,
)
LOSSLESS = Rival(
    "blosc-zstd",
    "Blosc with bit shuffle and Zstandard 9",
    (0,),
    lambda image, _: _encode(image),
    _decode,
)

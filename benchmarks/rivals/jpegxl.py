"""JPEG XL (libjxl through imagecodecs), effort 7, one thread; the setting is its distance."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np

from benchmarks.rivals.base import Image, Rival, Shape, join, split, to_uint16

DISTANCES = (0.08, 0.3, 1.0, 2.5, 7, 18)


def _encode_bands(image: Image, distance: float) -> bytes:
    # libjxl takes gray levels as parts of the full range: stretch the image to it.
    top = max(int(image.max()), 1)
    streams = [
        imagecodecs.jpegxl_encode(
            to_uint16(band * (65535 / top)),
            distance=distance,
            lossless=False,
            effort=7,
            usecontainer=False,
            numthreads=1,
        )
        for band in image
    ]
    return struct.pack("<H", top) + join([bytes(stream) for stream in streams])


def _decode_bands(data: bytes, shape: Shape) -> Image:
    (top,) = struct.unpack_from("<H", data)
    streams = split(data[2:], shape[0])
    bands = [imagecodecs.jpegxl_decode(stream, numthreads=1) for stream in streams]
    return to_uint16(np.stack(bands).reshape(shape) * (top / 65535))


def _encode_lossless(image: Image, _: float) -> bytes:
    return bytes(
        imagecodecs.jpegxl_encode(
            image, lossless=True, effort=7, planar=True, usecontainer=False, numthreads=1
        )
    )


BAND = Rival(
    "jxl-band",
    "JPEG XL (lossy, effort 7), a stream for each band",
    DISTANCES,
    _encode_bands,
    _decode_bands,
)
LOSSLESS = Rival(
    "jxl-lossless",
    "JPEG XL (modular, effort 7), 12 planes in one stream",
    (0,),
    _encode_lossless,
    lambda data, shape: np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1)).reshape(shape),
)

"""SZ3 (through imagecodecs), each band in float32; the setting is the largest error in DN."""

from __future__ import annotations

import imagecodecs
import numpy as np

from benchmarks.rivals.base import Image, Rival, Shape, join, split, to_uint16

ERRORS = (4, 16, 50, 120, 300, 800)


def _encode(image: Image, error: float) -> bytes:
    bands = image.astype(np.float32)
    return join([bytes(imagecodecs.sz3_encode(b, mode="abs", abs=float(error))) for b in bands])


def _decode(data: bytes, shape: Shape) -> Image:
    streams = split(data, shape[0])
    bands = [imagecodecs.sz3_decode(stream, shape[1:], np.float32) for stream in streams]
    return to_uint16(np.stack(bands))


BAND = Rival("sz3-band", "SZ3, error-bounded, a stream for each band", ERRORS, _encode, _decode)

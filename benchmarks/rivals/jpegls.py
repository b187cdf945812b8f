"""JPEG-LS near-lossless (CharLS through imagecodecs); the setting is the largest error in DN."""

from __future__ import annotations

import imagecodecs
import numpy as np

from benchmarks.rivals.base import Image, Rival, Shape, join, split

#: The standard has no larger bound.
MOST = 255
ERRORS = (0, 1, 5, 50)


def _encode(image: Image, error: float) -> bytes:
    bands = (np.ascontiguousarray(band) for band in image)
    return join([bytes(imagecodecs.jpegls_encode(band, level=int(error))) for band in bands])


def _decode(data: bytes, shape: Shape) -> Image:
    return np.stack([imagecodecs.jpegls_decode(stream) for stream in split(data, shape[0])])


BAND = Rival(
    "jpegls-band", "JPEG-LS, near-lossless, a stream for each band", ERRORS, _encode, _decode
)

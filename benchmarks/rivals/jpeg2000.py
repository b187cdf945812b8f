"""JPEG 2000 (OpenJPEG through imagecodecs): raw codestreams, 9/7 wavelet, one thread.

The setting is the PSNR to aim at in dB, of all bands together at peak 10,000.
"""

from __future__ import annotations

import math
import struct

import imagecodecs
import numpy as np

from benchmarks.rivals import waveletklt
from benchmarks.rivals.base import Image, Rival, Shape, join, split, to_uint16

TARGETS = (30, 34, 38, 42, 47, 53, 61)
# OpenJPEG's own peak is that of 16-bit samples.
_OTHER_PEAK = 20 * math.log10(65535 / 10_000)
_MIDDLE = 32768


def _encode(planes: Image, decibels: float | None) -> bytes:
    """Encode planes (K, H, W) to one codestream, with bits where they reduce errors most."""
    samples = planes[0] if len(planes) == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))
    return bytes(
        imagecodecs.jpeg2k_encode(
            samples,
            level=0 if decibels is None else decibels,  # type: ignore[arg-type]  # floats do work
            reversible=decibels is None,
            codecformat="j2k",
            mct=False,
            planar=False,
            numthreads=1,
        )
    )


def _decode(data: bytes) -> Image:
    samples = imagecodecs.jpeg2k_decode(data, numthreads=1)
    return samples[None] if samples.ndim == 2 else samples.transpose(2, 0, 1)


def _encode_bands(image: Image, decibels: float) -> bytes:
    means = np.rint(image.mean((1, 2))).astype("<u2")
    centered = np.clip(image.astype(np.int32) - means[:, None, None] + _MIDDLE, 0, 65535)
    streams = [_encode(band[None].astype(np.uint16), decibels + _OTHER_PEAK) for band in centered]
    return means.tobytes() + join(streams)


def _decode_bands(data: bytes, shape: Shape) -> Image:
    bands = shape[0]
    means = np.frombuffer(data, "<u2", bands).astype(np.int32)
    planes = [_decode(stream) for stream in split(data[2 * bands :], bands)]
    centered = np.concatenate(planes).astype(np.int32)
    return np.clip(centered - _MIDDLE + means[:, None, None], 0, 65535).astype(np.uint16)


def _encode_klt(image: Image, decibels: float) -> bytes:
    mse = 10_000.0**2 / 10 ** (decibels / 10)
    # A component whose variance is a quarter of the distortion gets no bits for certain.
    planes, side = waveletklt.forward(image, mse / 4)
    scale = np.float32(min(4.0, 32000 / max(float(np.abs(planes).max()), 1.0)))
    samples = np.rint(planes * float(scale) + _MIDDLE).astype(np.uint16)
    # OpenJPEG averages over the planes that it has, not over the bands.
    target = mse * len(image) / len(planes) * float(scale) ** 2
    stream = _encode(samples, 10 * math.log10(65535**2 / target))
    return side + struct.pack("<f", scale) + stream


def _decode_klt(data: bytes, shape: Shape) -> Image:
    length, _ = waveletklt.side_length(data, shape[0])
    (scale,) = struct.unpack_from("<f", data, length)
    planes = (_decode(data[length + 4 :]).astype(np.float64) - _MIDDLE) / scale
    return to_uint16(waveletklt.inverse(planes, data[:length], shape[0]))


BAND = Rival(
    "j2k-band",
    "JPEG 2000, a codestream for each band, the same MSE target in every band",
    TARGETS,
    _encode_bands,
    _decode_bands,
)
WAVELET_KLT = Rival(
    "wklt-j2k",
    "KLT for each wavelet level, fitted to the image; JPEG 2000 of all planes, bits shared",
    TARGETS,
    _encode_klt,
    _decode_klt,
)
LOSSLESS = Rival(
    "j2k-lossless",
    "JPEG 2000 with the reversible 5/3 wavelet, 12 components in one codestream",
    (0,),
    lambda image, _: _encode(image, None),
    lambda data, _: _decode(data),
)

"""HEVC (x265 through PyAV): 12-bit gray frames, preset slow, tuned for PSNR, one thread.

The setting is the QP, the same for all frames. Bands are stretched to 12 bits with one scale for
the whole image, so nothing is clipped; rounding to 12 bits limits the highest quality.
"""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np

from benchmarks.rivals import waveletklt
from benchmarks.rivals.base import Image, Rival, Shape, to_uint16

QPS = (0, 9, 17, 25, 33, 42, 50)
_FORMAT = "gray12le"
_TOP = 4095
# Headers once, at the start (AV_CODEC_FLAG_GLOBAL_HEADER).
_GLOBAL_HEADER = 1 << 22
_COMMON = (
    "log-level=none:info=0:hrd=0:aud=0:pools=none:frame-threads=1:wpp=0:pmode=0:"
    "scenecut=0:min-keyint=1"
)


def _encode(frames: Image, qp: float, *, intra: bool) -> bytes:
    """Encode frames (K, H, W) of 12-bit samples to an Annex B stream."""
    context = av.CodecContext.create("libx265", "w")
    context.height, context.width = frames.shape[1:]
    context.pix_fmt = _FORMAT
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.thread_count = 1
    context.flags |= _GLOBAL_HEADER
    kind = "keyint=1:ipratio=1:pbratio=1" if intra else "keyint=-1"
    parameters = f"{_COMMON}:{kind}:qp={qp:.0f}"
    context.options = {"preset": "slow", "tune": "psnr", "x265-params": parameters}
    packets = []
    for number, samples in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(samples), format=_FORMAT)
        frame.pts = number
        packets += context.encode(frame)
    packets += context.encode(None)
    return bytes(context.extradata or b"") + b"".join(bytes(packet) for packet in packets)


def _decode(data: bytes) -> Image:
    context = av.CodecContext.create("hevc", "r")
    context.thread_count = 1
    frames = []
    for packet in [*context.parse(data), *context.parse(None)]:
        frames += context.decode(packet)
    frames += context.decode(None)
    return np.stack([frame.to_ndarray() for frame in frames])


def _encode_bands(image: Image, qp: float) -> bytes:
    low, high = int(image.min()), int(image.max())
    stretched = (image.astype(np.float64) - low) * (_TOP / max(high - low, 1))
    frames = np.rint(stretched).astype(np.uint16)
    return struct.pack("<HH", low, high) + _encode(frames, qp, intra=False)


def _decode_bands(data: bytes, _shape: Shape) -> Image:
    low, high = struct.unpack_from("<HH", data)
    return to_uint16(_decode(data[4:]) * (max(high - low, 1) / _TOP) + low)


def _encode_klt(image: Image, qp: float) -> bytes:
    # The scale decides what a QP means in DN, hence which components are worth keeping.
    scale = _scale(waveletklt.forward(image, 0.0)[0])
    step = 16 * 2 ** ((qp - 4) / 6) / scale
    planes, side = waveletklt.forward(image, step**2 / 12 / 4)
    stored = np.float32(_scale(planes))
    frames = np.rint(planes * float(stored) + 2048).astype(np.uint16)
    return side + struct.pack("<f", stored) + _encode(frames, qp, intra=True)


def _decode_klt(data: bytes, shape: Shape) -> Image:
    length, _ = waveletklt.side_length(data, shape[0])
    (scale,) = struct.unpack_from("<f", data, length)
    planes = (_decode(data[length + 4 :]).astype(np.float64) - 2048) / scale
    return to_uint16(waveletklt.inverse(planes, data[:length], shape[0]))


def _scale(planes: waveletklt.Floats) -> float:
    """Scale at which planes fit into 12 bits around 2048; never above one, they are integers."""
    return min(1.0, 2040 / max(float(np.abs(planes).max()), 1.0))


BANDS = Rival(
    "hevc-bands",
    "HEVC (x265 slow), the bands of an image as frames of a video",
    QPS,
    _encode_bands,
    _decode_bands,
)
WAVELET_KLT = Rival(
    "wklt-hevc",
    "KLT for each wavelet level, fitted to the image; HEVC (x265 slow) of all planes, intra",
    QPS,
    _encode_klt,
    _decode_klt,
)

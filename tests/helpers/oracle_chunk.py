"""A writer of the container of version 2 (FORMAT.md 4), from parts."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from oracle_writer import Written, varint
from tec_numcodecs.reference2.section import split

MODELS = {"fp": 1, "elic": 2, "tt": 3, "flextec": 4}
SENSORS = {"sentinel-2-l2a": 1, "sentinel-2-l1c": 2}
DTYPES = {"u2": 1, "i2": 2, "f4": 3}


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def mask_section(mask: NDArray[np.bool_]) -> bytes:
    """A mask of its own for each band (T, C, H, W)."""
    bits = mask.copy()
    bits[:, :, 1:] ^= mask[:, :, :-1]
    return b"\2" + deflated(np.packbits(bits).tobytes())


def samples_section(samples: NDArray[Any]) -> bytes:
    size = samples.dtype.itemsize
    raw = np.frombuffer(samples.astype(samples.dtype.newbyteorder("<")).tobytes(), np.uint8)
    return b"\0" + deflated(raw.reshape(-1, size).T.tobytes())


def model_header(written: Written, digest: bytes = bytes(8)) -> bytes:
    setting = written.setting
    crc = split(written.section, setting).checksum
    numbers = MODELS[setting.model], 1, digest, setting.r, setting.quality, crc
    return struct.pack("<BB8sHBI", *numbers)


def signed(data: bytes) -> bytes:
    return data + struct.pack("<I", google_crc32c.value(data))


def write_chunk(
    shape: tuple[int, int, int, int],
    dtype: str,
    sections: Mapping[int, bytes],
    *,
    mode: int,
    sensor: str | None = None,
    order: tuple[int, ...] = (),
    scaling: tuple[float, float] | None = None,
    nodata: float | None = None,
    model: bytes = b"",
    version: int = 2,
) -> bytes:
    """A chunk; `order` are the sensor's bands of each plane, `model` the model header."""
    kind = DTYPES[dtype[-2:]] + 128 * (dtype[0] == ">")
    present = sum(1 << number for number in sections)
    data = b"\x89TEC" + bytes([version, mode, kind, present])
    data += b"".join(map(varint, shape)) + bytes([SENSORS[sensor] if sensor else 0])
    if sensor:
        shuffled = list(order) != sorted(order)
        data += struct.pack("<H", sum(1 << band for band in order) | shuffled << 15)
        data += bytes(order) if shuffled else b""
    data += bytes([(scaling is not None) | (nodata is not None) << 1])
    data += b"" if scaling is None else struct.pack("<2d", *scaling)
    data += b"" if nodata is None else struct.pack("<d", nodata)
    parts = [sections[number] for number in sorted(sections)]
    return signed(data + model + b"".join(varint(len(x)) for x in parts) + b"".join(parts))

"""The bytes of a chunk: header, sections, checksums. FORMAT.md is the specification.

Reading is strict: a chunk that breaks any rule is refused with a typed error, and nothing is
allocated on the word of a number before the checksum over the bytes has been verified.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from tec_numcodecs.entropy.varint import ByteReader, varint
from tec_numcodecs.errors import CorruptChunk, InvalidInput, UnsupportedFormat
from tec_numcodecs.models import table as model_table
from tec_numcodecs.sensors import get_sensor

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAGIC = b"\x89TEC"
VERSION = 1
#: A dimension is at most this long.
MAX_LENGTH = 1 << 24
_MAX_SECTION = 1 << 40
_CRC_BLOCK = 1 << 18


class Mode(IntEnum):
    """How the pixels of a chunk are stored."""

    EMPTY = 0  # there is no valid pixel
    MODEL = 1  # latents of a model
    LOSSLESS = 2  # no model


class Section(IntEnum):
    """Sections in the order in which they are stored; the value is their bit in the header."""

    NODATA_MASK = 0
    NAN_MASK = 1
    LATENTS = 2
    RESIDUAL = 3
    SAMPLES = 4


#: What a chunk may hold: code in the header -> NumPy dtype.
DTYPES: Mapping[int, np.dtype[Any]] = MappingProxyType(
    {
        code: np.dtype(name)
        for code, name in {
            1: "<u2",
            2: "<i2",
            3: "<f4",
            0x81: ">u2",
            0x82: ">i2",
            0x83: ">f4",
        }.items()
    }
)
_CODES = {dtype.str: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True)
class ModelHeader:
    """What a reader must know to decode latents.

    Attributes
    ----------
    name : str
    weights : bytes
        First 8 bytes of the SHA-256 of the weights file.
    rate_index, quality : int
        See `tec_numcodecs.models.base.Rate`.
    exact : bool
        Whether synthesis gives the same pixels on every machine.
    symbols_crc : int
        CRC-32C of the decoded symbols as little-endian int32.
    """

    name: str
    weights: bytes
    rate_index: int
    quality: int
    exact: bool
    symbols_crc: int


@dataclass(frozen=True)
class Header:
    """Everything but the sections.

    Attributes
    ----------
    mode : Mode
    dtype : numpy.dtype
        With byte order.
    shape : (T, C, H, W)
    sensor : int
        Number of the sensor; 0 if the bands are none of a sensor's (lossless mode only).
    bands : tuple of int
        Index of each band of the chunk in the sensor's order, in the chunk's order.
    scale, offset : float
        value = DN * scale + offset.
    nodata : float or None
        The value of pixels in the nodata mask. NaN is never among them: it has a mask of its own.
    model : ModelHeader or None
        In mode MODEL only.
    """

    mode: Mode
    dtype: np.dtype[Any]
    shape: tuple[int, int, int, int]
    sensor: int
    bands: tuple[int, ...]
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    model: ModelHeader | None = None


@dataclass(frozen=True)
class Chunk:
    """A chunk taken apart."""

    header: Header
    sections: Mapping[Section, bytes] = field(default_factory=dict)


def crc32c(data: Buffer) -> int:
    """CRC-32C (Castagnoli, RFC 3720 appendix B.4) of bytes."""
    view = memoryview(data).cast("B")
    crc = 0
    for start in range(0, len(view), _CRC_BLOCK):  # the library takes nothing but bytes: copies
        crc = google_crc32c.extend(crc, bytes(view[start : start + _CRC_BLOCK]))
    return int(crc)


def dtype_code(dtype: np.dtype[Any]) -> int:
    """Number of a dtype in the header.

    Raises
    ------
    InvalidInput
        If chunks cannot hold it.
    """
    little = dtype.newbyteorder("<").str if dtype.byteorder == "=" else dtype.str
    if little not in _CODES:
        raise InvalidInput(
            f"data of dtype {dtype}",
            allowed="uint16, int16 or float32, in either byte order",
            fix="convert it first, for example with .astype('uint16')",
        )
    return _CODES[little]


# -- writing ----------------------------------------------------------------------------------


def write(chunk: Chunk) -> bytes:
    """Assemble the bytes of a chunk."""
    header = chunk.header
    present = sum(1 << section for section in chunk.sections)
    out = bytearray(MAGIC)
    out += bytes((VERSION, header.mode, dtype_code(header.dtype), present))
    for length in header.shape:
        out += varint(length)
    out += bytes((header.sensor,)) + _bands(header)
    out += _scaling(header)
    if header.model is not None:
        out += _model(header.model)
    for section in Section:
        if section in chunk.sections:
            out += varint(len(chunk.sections[section]))
    for section in Section:
        out += chunk.sections.get(section, b"")
    return bytes(out) + struct.pack("<I", crc32c(bytes(out)))


def _bands(header: Header) -> bytes:
    """16-bit set of the bands; then, only if they are out of order, their order."""
    if header.sensor == 0:
        return b""
    present = sum(1 << band for band in header.bands)
    shuffled = list(header.bands) != sorted(header.bands)
    out = struct.pack("<H", present | (0x8000 if shuffled else 0))
    return out + (bytes(header.bands) if shuffled else b"")


def _scaling(header: Header) -> bytes:
    """One byte of flags, then what they announce."""
    scaled = (header.scale, header.offset) != (1.0, 0.0)
    out = bytes((scaled | (header.nodata is not None) << 1,))
    if scaled:
        out += struct.pack("<dd", header.scale, header.offset)
    if header.nodata is not None:
        out += struct.pack("<d", header.nodata)
    return out


def _model(model: ModelHeader) -> bytes:
    (number,) = (n for n, name in model_table.numbers().items() if name == model.name)
    return (
        bytes((number, model.exact))
        + model.weights
        + struct.pack("<HBI", model.rate_index, model.quality, model.symbols_crc)
    )


# -- reading ----------------------------------------------------------------------------------


def read(data: bytes | bytearray | memoryview) -> Chunk:
    """Take the bytes of a chunk apart.

    Raises
    ------
    CorruptChunk
        If the bytes are damaged, truncated, followed by others, or no chunk at all.
    UnsupportedFormat
        If a newer version of the format is needed.
    """
    data = bytes(data)
    _check_frame(data)
    reader = ByteReader(data[:-4], 5)
    try:
        mode = Mode(reader.byte())
    except ValueError as error:
        raise CorruptChunk("an unknown mode", allowed="0, 1 or 2") from error
    dtype = DTYPES.get(reader.byte())
    if dtype is None:
        raise CorruptChunk("an unknown dtype", allowed=", ".join(map(str, DTYPES.values())))
    present = reader.byte()
    t, c, h, w = (reader.varint(MAX_LENGTH, least=1) for _ in range(4))
    shape = (t, c, h, w)
    sensor = reader.byte()
    bands = _read_bands(reader, sensor, shape[1])
    scale, offset, nodata = _read_scaling(reader)
    model = _read_model(reader) if mode == Mode.MODEL else None
    sections = _read_sections(reader, present)
    _check_sections(mode, frozenset(sections))
    header = Header(mode, dtype, shape, sensor, bands, scale, offset, nodata, model)
    return Chunk(header, sections)


def _check_frame(data: bytes) -> None:
    """Magic, version and the checksum over everything, before any field is believed."""
    if len(data) < 16:
        raise CorruptChunk(f"a chunk of {len(data)} bytes", allowed="at least 16 bytes")
    if data[:4] != MAGIC:
        raise CorruptChunk(
            f"bytes that begin with {data[:4].hex()}",
            allowed=f"chunks of this codec begin with {MAGIC.hex()}",
            fix="the chunk was written by another codec, or its first bytes are damaged",
        )
    (stored,) = struct.unpack("<I", data[-4:])
    found = crc32c(data[:-4])
    if data[4] != VERSION and stored == found:
        raise UnsupportedFormat(
            f"a chunk of format version {data[4]}",
            allowed=f"version {VERSION}",
            fix="install a newer tec-xarray: pip install -U tec-xarray",
        )
    if stored != found:
        raise CorruptChunk(
            f"checksum {found:08x} over {len(data)} bytes",
            allowed=f"{stored:08x}, as stored",
            fix="the chunk is damaged or cut off: restore it from a copy",
        )


def _read_bands(reader: ByteReader, sensor: int, count: int) -> tuple[int, ...]:
    if sensor == 0:
        return ()
    known = len(get_sensor(sensor).bands)
    (present,) = struct.unpack("<H", reader.take(2))
    bands = tuple(band for band in range(15) if present >> band & 1)
    if present & 0x8000:
        order = tuple(reader.take(len(bands)))
        if tuple(sorted(order)) != bands or order == bands:
            raise CorruptChunk(f"band order {order}", allowed=f"another order of {bands}")
        bands = order
    if bands and max(bands) >= known:
        raise CorruptChunk(f"band number {max(bands)}", allowed=f"less than {known}")
    if len(bands) != count:
        raise CorruptChunk(f"{len(bands)} bands named", allowed=f"{count}, as in the shape")
    return bands


def _read_scaling(reader: ByteReader) -> tuple[float, float, float | None]:
    flags = reader.byte()
    if flags > 3:
        raise CorruptChunk(f"scaling flags {flags}", allowed="0 to 3")
    scale, offset = struct.unpack("<dd", reader.take(16)) if flags & 1 else (1.0, 0.0)
    (nodata,) = struct.unpack("<d", reader.take(8)) if flags & 2 else (None,)
    if not (np.isfinite(scale) and np.isfinite(offset) and scale > 0):
        raise CorruptChunk(f"scale {scale}, offset {offset}", allowed="finite, scale > 0")
    if nodata is not None and not np.isfinite(nodata):
        raise CorruptChunk(f"nodata {nodata}", allowed="a finite number")
    return scale, offset, nodata


def _read_model(reader: ByteReader) -> ModelHeader:
    number, exact = reader.byte(), reader.byte()
    models = model_table.numbers()
    if number not in models:
        raise UnsupportedFormat(
            f"model number {number}",
            allowed=", ".join(f"{n} ({name})" for n, name in models.items()),
            fix="a newer tec-xarray may know it: pip install -U tec-xarray",
        )
    if exact > 1:
        raise CorruptChunk(f"synthesis {exact}", allowed="0 (float) or 1 (exact)")
    weights = reader.take(8)
    rate_index, quality, symbols_crc = struct.unpack("<HBI", reader.take(7))
    return ModelHeader(models[number], weights, rate_index, quality, bool(exact), symbols_crc)


def _read_sections(reader: ByteReader, present: int) -> dict[Section, bytes]:
    if present >> len(Section):
        raise CorruptChunk(f"unknown sections {present:#x}", allowed=f"{len(Section)} kinds")
    found = [section for section in Section if present >> section & 1]
    lengths = [reader.varint(_MAX_SECTION) for _ in found]
    sections = {section: reader.take(n) for section, n in zip(found, lengths, strict=True)}
    if reader.left:
        raise CorruptChunk(f"{reader.left} bytes behind the last section", allowed="none")
    return sections


def _check_sections(mode: Mode, present: frozenset[Section]) -> None:
    masks = {Section.NODATA_MASK, Section.NAN_MASK}
    needed = {
        Mode.EMPTY: frozenset[Section](),
        Mode.MODEL: frozenset({Section.LATENTS}),
        Mode.LOSSLESS: frozenset({Section.SAMPLES}),
    }[mode]
    optional = {
        Mode.EMPTY: masks,
        Mode.MODEL: masks | {Section.RESIDUAL},
        Mode.LOSSLESS: set[Section](),
    }[mode]
    if not needed <= present <= needed | optional:
        names = ", ".join(section.name.lower() for section in present) or "none"
        raise CorruptChunk(f"sections {names} in mode {mode.name.lower()}")

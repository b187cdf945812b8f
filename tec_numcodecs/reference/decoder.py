"""A reader of tec chunks, written from FORMAT.md alone: no compiler, no torch, no shared code.

It is the judge of the fast decoder and of FORMAT.md, and it reads archives where nothing but NumPy
runs. It takes the clear way rather than the fast one: the names are those of FORMAT.md, and so are
the section numbers in the comments. It knows the mini family, sections 9 to 12.

>>> weights = load_weights("mini-fp.safetensors")  # doctest: +SKIP
>>> pixels = decode(chunk, weights)  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from tec_numcodecs.errors import CorruptChunk, InvalidInput, UnsupportedFormat, WeightsError
from tec_numcodecs.reference.context import decode_elic, decode_tt
from tec_numcodecs.reference.flextec import TOKENS, decode_flextec, read_tokens
from tec_numcodecs.reference.fp import decode_latents
from tec_numcodecs.reference.fp import synthesise as synthesise_fp
from tec_numcodecs.reference.rans import Cursor, read_residual, require
from tec_numcodecs.reference.transform import MEANS, Setting

Array = NDArray[Any]
Weights = Mapping[str, Array]

EMPTY, MODEL, LOSSLESS = 0, 1, 2
NODATA_MASK, NAN_MASK, LATENTS, RESIDUAL, SAMPLES = range(5)
FP, ELIC, TT, FLEXTEC = 1, 2, 3, 4
DTYPES = {1: "u2", 2: "i2", 3: "f4"}
SENSORS = {1: "sentinel-2-l2a", 2: "sentinel-2-l1c"}


class WeightsFile(dict[str, Array]):
    """Tensors of a weights file by name, and the SHA-256 of the file."""

    sha256: bytes


def load_weights(path: str | Path) -> WeightsFile:
    """Read a weights file; `decode` then refuses chunks that name another one.

    Raises
    ------
    WeightsError
        If the file is unreadable.
    """
    try:
        data = Path(path).read_bytes()
        weights = WeightsFile(load_safetensors(data))
        json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")], object_pairs_hook=_once)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise WeightsError(f"{path}: {error}", allowed="a readable safetensors file") from error
    weights.sha256 = hashlib.sha256(data).digest()
    return weights


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a JSON object in which a name stands twice: readers differ in which one they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return found


def decode(
    chunk: bytes, weights: Weights, *, quality: int | None = None, max_samples: int = 1 << 28
) -> Array:
    """Decode a chunk to pixels.

    Parameters
    ----------
    chunk
        The whole chunk.
    weights
        Tensors of the weights file that the chunk names, best from `load_weights`; not used (and
        may be empty) if the chunk is empty or lossless.
    quality
        Of mini flextec, read no more than that many tokens (1 to 16); all if None.
    max_samples
        A chunk that claims more samples is refused before memory is allocated for it.

    Returns
    -------
    ndarray
        Pixels (T, C, H, W) in the data type and byte order of the chunk.

    Raises
    ------
    CorruptChunk
        If the bytes are damaged or contradict FORMAT.md.
    UnsupportedFormat
        If the version is none that this reader knows.
    WeightsError
        If the weights are others than the chunk's, or a tensor is missing.
    InvalidInput
        If `quality` is out of range, or asks for a part of a chunk with a residual, or of one of a
        model that has no tokens.
    """
    # Binary64 and binary32, to infinity and beyond, whatever the process has set for NumPy.
    with np.errstate(all="ignore"):
        return _decode(read_header(chunk, max_samples), weights, quality)


def _decode(header: Header, weights: Weights, quality: int | None) -> Array:
    _check_quality(quality, header)
    if header.mode == LOSSLESS:
        return _lossless_samples(header)
    nodata, nan = _read_mask(header, NODATA_MASK), _read_mask(header, NAN_MASK)
    if header.mode == MODEL:
        dn = _decode_latents(header, weights, quality)[0]
        planes = [sorted(header.bands).index(band) for band in header.bands]
        samples = _to_samples(dn[:, planes] * header.scale + header.offset, header)
        if RESIDUAL in header.sections:
            q, step = read_residual(header.sections[RESIDUAL], header.shape)
            samples = _to_samples(samples + q * step, header)
    else:
        require((nodata | nan).all(), "an empty chunk whose masks leave pixels out")
        samples = np.zeros(header.shape, header.dtype.newbyteorder("="))
    if NODATA_MASK in header.sections:
        value = _nodata_sample(header)
        require(value is not None, f"a nodata mask, but no {header.nodata} in {header.dtype}")
        samples[nodata] = value
    if NAN_MASK in header.sections:
        samples[nan] = np.nan
    return samples.astype(header.dtype)


def decode_symbols(
    chunk: bytes, weights: Weights, *, max_samples: int = 1 << 28
) -> NDArray[np.int32]:
    """Decode the integers of a chunk in mode 1, in the order of their checksum (int32, 1-D).

    Raises
    ------
    CorruptChunk, UnsupportedFormat, WeightsError
        As `decode` does.
    InvalidInput
        If the chunk holds no model's latents.
    """
    header = read_header(chunk, max_samples)
    if header.mode != MODEL:
        raise InvalidInput(f"a chunk in mode {header.mode}", allowed="mode 1, a model's latents")
    with np.errstate(all="ignore"):
        return _decode_latents(header, weights, None)[1]


def _check_quality(quality: int | None, header: Header) -> None:
    if quality is None or header.mode != MODEL:
        return
    if header.model != FLEXTEC:
        raise InvalidInput(f"quality={quality} for a chunk of model {header.model}", allowed="None")
    if not 1 <= quality <= TOKENS:
        raise InvalidInput(f"quality={quality}", allowed=f"1 to {TOKENS}, or None")
    if RESIDUAL in header.sections and quality < (header.quality or TOKENS):
        raise InvalidInput(f"quality={quality} for a chunk with a residual", allowed="all tokens")


def _decode_latents(
    header: Header, weights: Weights, quality: int | None
) -> tuple[Array, NDArray[np.int32]]:
    """Decode digital numbers, planes in the sensor's order, and the integers behind them."""
    if isinstance(weights, WeightsFile) and weights.sha256[:8] != header.weights_digest:
        raise WeightsError(
            f"weights {weights.sha256[:8].hex()}", allowed=f"those the chunk names, "
            f"{header.weights_digest.hex()}", fix="load the file whose SHA-256 begins so",
        )  # fmt: skip
    require(header.sensor, "latents of no sensor")
    require(header.rate_index <= 223, f"rate index {header.rate_index}")
    sensor, bands = SENSORS[header.sensor], sorted(header.bands)
    setting = Setting(header.shape, sensor, bands, header.rate_index)
    data = header.sections[LATENTS]
    if header.model == FLEXTEC:
        tokens = read_tokens(data, header.quality or TOKENS)
        dn, symbols = decode_flextec(tokens[:quality], setting, weights)
        if quality is not None and quality < len(tokens):  # the checksum is that of all tokens
            return dn, symbols
    elif header.model == FP:
        latents = decode_latents(data, setting, weights)
        dn, symbols = synthesise_fp(latents, setting, weights), latents.symbols()
    else:
        dn, symbols = (decode_elic if header.model == ELIC else decode_tt)(data, setting, weights)
    found = google_crc32c.value(symbols.tobytes())
    require(found == header.symbols_crc, "symbols whose checksum does not match")
    return dn, symbols


# ---------------------------------------------------------- 2. Conventions, 4. Layout of a chunk


@dataclass
class Header:
    """The fields of a chunk that decoding needs, and the digest that names the weights."""

    mode: int
    dtype: np.dtype[Any]
    shape: tuple[int, int, int, int]
    sensor: int
    bands: list[int]  # of each plane of the array
    scale: float
    offset: float
    nodata: float | None
    model: int
    weights_digest: bytes
    rate_index: int
    quality: int
    symbols_crc: int
    sections: dict[int, bytes]


def read_header(chunk: bytes, max_samples: int = 1 << 28) -> Header:
    """Check a chunk and take it apart, without decoding any section.

    Raises
    ------
    CorruptChunk, UnsupportedFormat
        As `decode` does.
    """
    chunk = bytes(chunk)
    require(chunk[:4] == b"\x89TEC" and len(chunk) >= 9, "no tec chunk")
    checksum = int.from_bytes(chunk[-4:], "little")
    require(google_crc32c.value(chunk[:-4]) == checksum, "a checksum that does not match")
    cursor = Cursor(chunk[:-4], 4)
    version, mode, dtype, present = cursor.unpack("4B")
    if version != 1:
        raise UnsupportedFormat(f"chunk format version {version}", allowed="1")
    require(mode <= LOSSLESS and dtype & 127 in DTYPES, f"mode {mode}, data type {dtype}")
    byte_order = ">" if dtype & 128 else "<"
    must, may = {EMPTY: (0, 0b11), MODEL: (0b100, 0b1111), LOSSLESS: (0b10000, 0b10000)}[mode]
    require(present & must == must and not present & ~may, f"sections {present:#b} in mode {mode}")
    T, C, H, W = (cursor.varint() for _ in range(4))
    require(all(1 <= n <= 1 << 24 for n in (T, C, H, W)), f"shape {(T, C, H, W)}")
    samples = T * C * H * W
    require(samples <= max_samples, f"{samples} samples, more than {max_samples}")
    sensor, bands = _read_bands(cursor, C)
    scale, offset, nodata = _read_scaling(cursor)
    model, exact, digest, rate, quality, crc = (
        cursor.unpack("BB8sHBI") if mode == MODEL else (0,) * 6
    )
    require(model <= 4 and exact <= 1 and (mode != MODEL or model), f"model {model}")
    require(exact or not present & 1 << RESIDUAL, "a residual on pixels that are not exact")
    numbers = [i for i in range(5) if present >> i & 1]
    lengths = [cursor.varint() for _ in numbers]
    sections = {i: cursor.take(n) for i, n in zip(numbers, lengths, strict=True)}
    require(cursor.position == len(cursor.data), "bytes that are left over")
    require(NODATA_MASK not in sections or nodata is not None, "a mask of no nodata value")
    require(NAN_MASK not in sections or dtype & 127 == 3, "NaN in an integer type")
    return Header(
        mode, np.dtype(byte_order + DTYPES[dtype & 127]), (T, C, H, W), sensor, bands,
        scale, offset, nodata, model, digest, rate, quality, crc, sections,
    )  # fmt: skip


def _read_bands(cursor: Cursor, C: int) -> tuple[int, list[int]]:
    (sensor,) = cursor.take(1)
    if sensor == 0:
        return 0, []
    require(sensor in SENSORS, f"sensor {sensor}")
    (bits,) = cursor.unpack("H")
    bands = [b for b in range(15) if bits >> b & 1]
    known = len(MEANS[SENSORS[sensor]])
    require(len(bands) == C and bands[-1] < known, f"bands {bands} for {C} planes")
    if not bits >> 15:
        return sensor, bands
    order = list(cursor.take(C))
    require(sorted(order) == bands and order != bands, f"order {order} for bands {bands}")
    return sensor, order


def _read_scaling(cursor: Cursor) -> tuple[float, float, float | None]:
    (bits,) = cursor.take(1)
    require(bits <= 3, f"scaling {bits:#b}")
    scale, offset = cursor.unpack("2d") if bits & 1 else (1.0, 0.0)
    require(math.isfinite(scale) and scale > 0 and math.isfinite(offset), "an impossible scaling")
    (nodata,) = cursor.unpack("d") if bits & 2 else (None,)
    require(nodata is None or math.isfinite(nodata), f"nodata {nodata}")
    return scale, offset, nodata


# ----------------------------------------------------------------- 5. Masks, 6. Lossless samples


def _inflate(data: bytes, size: int) -> NDArray[np.uint8]:
    inflater = zlib.decompressobj(-15)
    try:
        found = inflater.decompress(data, size + 1)
    except zlib.error as error:
        raise CorruptChunk(f"a deflate stream: {error}") from error
    complete = inflater.eof and not inflater.unused_data
    require(len(found) == size and complete, "a deflate stream of another length")
    return np.frombuffer(found, np.uint8)


def _read_mask(header: Header, number: int) -> NDArray[np.bool_]:
    """Return the mask (T, C, H, W); nothing is masked if the section is not there."""
    T, C, H, W = header.shape
    if number not in header.sections:
        return np.broadcast_to(np.False_, header.shape)
    kind, stream = header.sections[number][:1], header.sections[number][1:]
    require(kind in {b"\0", b"\1", b"\2"}, "a mask of unknown kind")
    if kind == b"\0":
        require(not stream, "bytes after a full mask")
        return np.broadcast_to(np.True_, header.shape)
    planes = (T, 1 if kind == b"\1" else C, H, W)
    n = math.prod(planes)
    bits = np.unpackbits(_inflate(stream, -(-n // 8)))
    require(not bits[n:].any(), "unused bits of a mask that are not 0")
    mask = np.bitwise_xor.accumulate(bits[:n].reshape(planes), axis=2)
    return np.broadcast_to(mask.astype(bool), header.shape)


def _lossless_samples(header: Header) -> Array:
    kind, stream = header.sections[SAMPLES][:1], header.sections[SAMPLES][1:]
    require(kind in {b"\0", b"\1"}, "samples of unknown kind")
    size = header.dtype.itemsize
    by_significance = _inflate(stream, math.prod(header.shape) * size).reshape(size, -1)
    samples = np.ascontiguousarray(by_significance.T).view(f"<u{size}").reshape(header.shape)
    if kind == b"\1":  # sums along y and x undo differences along both
        samples = np.cumsum(np.cumsum(samples, 2, samples.dtype), 3, samples.dtype)
    return samples.view(header.dtype.newbyteorder("<")).astype(header.dtype)


# ------------------------------------------------------- 7. From digital numbers to samples


def _nodata_sample(header: Header) -> Any:
    """Nodata as a value of the dtype; None if there is none or the dtype cannot hold it."""
    nodata, dtype = header.nodata, header.dtype
    if nodata is None:
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            rounded = np.float32(nodata)
        return rounded if np.isfinite(rounded) else None
    limits = np.iinfo(dtype)
    return int(nodata) if nodata.is_integer() and limits.min <= nodata <= limits.max else None


def _to_samples(values: Array, header: Header) -> Array:
    """Round binary64 values to the dtype; what equals nodata moves by one value."""
    dtype = header.dtype.newbyteorder("=")
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    if dtype.kind != "f":
        values = np.rint(np.clip(values, limits.min, limits.max))
    samples = values.astype(dtype)
    nodata = _nodata_sample(header)
    if nodata is not None:
        up = nodata != limits.max
        if dtype.kind == "f":
            replacement = np.nextafter(nodata, np.float32(np.inf if up else -np.inf))
        else:
            replacement = nodata + (1 if up else -1)
        samples[samples == nodata] = replacement
    return samples

"""A reader of tec chunks, written from FORMAT.md alone: no compiler, no torch, no shared code.

It is the judge of the fast decoder and of FORMAT.md, and it reads archives where nothing but NumPy
runs. It takes the clear way rather than the fast one: the names are those of FORMAT.md, and so are
the section numbers in the comments. It knows the mini family, sections 9 to 12.

>>> weights = load_weights("mini-fp.safetensors")  # doctest: +SKIP
>>> pixels = decode(chunk, weights)  # doctest: +SKIP
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import InvalidInput, UnsupportedFormat, WeightsError
from tec_numcodecs.reference2.coder import Weights
from tec_numcodecs.reference2.layout import Setting
from tec_numcodecs.reference2.rans import Cursor, require
from tec_numcodecs.reference2.samples import (
    SampleType,
    count_blocks,
    means,
    read_mask,
    read_residual,
    read_samples,
)
from tec_numcodecs.reference2.section import read_section, split
from tec_numcodecs.reference2.transform import MEANS

Array = NDArray[Any]

EMPTY, MODEL, LOSSLESS = 0, 1, 2
NODATA_MASK, NAN_MASK, LATENTS, RESIDUAL, SAMPLES = range(5)
MODELS = {1: "fp", 2: "elic", 3: "tt", 4: "flextec"}
DTYPES = {1: "u2", 2: "i2", 3: "f4"}
SENSORS = {1: "sentinel-2-l2a", 2: "sentinel-2-l1c"}


# ---------------------------------------------------------------------- 4. Layout of a chunk


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

    @property
    def setting(self) -> Setting:
        """What decoding the latents needs."""
        bands = tuple(sorted(self.bands))
        sensor, model = SENSORS[self.sensor], MODELS[self.model]
        return Setting(self.shape, sensor, bands, model, self.rate_index, self.quality)

    @property
    def order(self) -> list[int]:
        """Place of each plane of the array in the order of the sensor."""
        return [sorted(self.bands).index(band) for band in self.bands]


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
    if version != 2:
        raise UnsupportedFormat(
            f"chunk format version {version}" + ", which previews wrote" * (version == 1),
            allowed="2",
            fix="read it with the preview that wrote it" if version == 1 else "upgrade",
        )
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
    if mode == MODEL:
        require(model in MODELS and exact <= 1 and sensor, f"model {model} of sensor {sensor}")
        most = 16 if MODELS[model] == "flextec" else 0
        require(rate <= 223 and quality <= most, f"rate index {rate}, quality {quality}")
    require(exact or not present & 1 << RESIDUAL, "a residual on pixels that are not exact")
    numbers = [i for i in range(5) if present >> i & 1]
    lengths = [cursor.varint() for _ in numbers]
    sections = {i: cursor.take(n) for i, n in zip(numbers, lengths, strict=True)}
    cursor.end("the last section")
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


# ------------------------------------------------------------------------------- A whole chunk


def decode(
    chunk: bytes,
    weights: Weights,
    *,
    dates: Sequence[int] | None = None,
    level: int = 0,
    quality: int | None = None,
    max_samples: int = 1 << 28,
) -> Array:
    """Decode a chunk to pixels.

    Parameters
    ----------
    chunk
        The whole chunk.
    weights
        Those that the chunk names, best from `load_weights`; not used (and may be empty) if the
        chunk is empty or lossless.
    dates
        Those that are wanted (0 to T - 1); all if None.
    level
        0 the image, 1 to 5 an overview (section 9.7).
    quality
        Of mini flextec, read no more than that many tokens (1 to 16); all if None.
    max_samples
        A chunk that claims more samples is refused before memory is allocated for it.

    Returns
    -------
    ndarray
        Pixels (dates, C, h, w) in the data type and byte order of the chunk.

    Raises
    ------
    CorruptChunk
        If the bytes are damaged or contradict FORMAT.md.
    UnsupportedFormat
        If the version is none that this reader knows.
    WeightsError
        If the weights are others than the chunk's, or a tensor is missing.
    InvalidInput
        If there is no such date, level or quality, or a quality is asked of an image with a
        residual, or of a model that has no tokens.
    """
    header = read_header(chunk, max_samples)
    wanted = list(range(header.shape[0])) if dates is None else list(dates)
    if not all(0 <= t < header.shape[0] for t in wanted) or level not in range(6):
        raise InvalidInput(
            f"dates={wanted}, level={level}", allowed=f"{header.shape[0]} dates, 0-5"
        )
    _check_quality(quality, header, level)
    # Binary64 and binary32, to infinity and beyond, whatever the process has set for NumPy.
    with np.errstate(all="ignore"):
        kind = SampleType(header.dtype.newbyteorder("="), header.nodata)
        if header.mode == LOSSLESS:
            samples = read_samples(header.sections[SAMPLES], header.shape, kind.dtype)[wanted]
            if not level:  # its bits are those of the array
                return samples.astype(header.dtype)
            nan = np.isnan(samples)
            nodata = (samples == kind.nodata_sample()) & ~nan
            samples = means(samples, ~(nodata | nan), kind, level)
        else:
            nodata, nan = (_mask(header, number) for number in (NODATA_MASK, NAN_MASK))
            require(header.mode == MODEL or (nodata | nan).all(), "an empty chunk with pixels")
            samples = _model_samples(header, kind, weights, wanted, level, quality, nodata | nan)
            nodata, nan = nodata[wanted], nan[wanted]
        if level:
            pixels = count_blocks(np.ones_like(nan), level)
            missing = 2 * count_blocks(nodata | nan, level) > pixels
            nan = missing & (count_blocks(nan, level) > 0)
            nodata = missing & ~nan
        if nodata.any() or NODATA_MASK in header.sections:
            value = kind.nodata_sample()
            require(value is not None, f"a nodata mask, but no {header.nodata} in {header.dtype}")
            samples[nodata] = value
        if nan.any():
            samples[nan] = np.nan
        return samples.astype(header.dtype)


def _check_quality(quality: int | None, header: Header, level: int) -> None:
    if quality is None or header.mode != MODEL:
        return
    if MODELS[header.model] != "flextec" or not 1 <= quality <= 16:
        raise InvalidInput(
            f"quality={quality} of {MODELS[header.model]}", allowed="1-16 of flextec"
        )
    if RESIDUAL in header.sections and not level and quality < (header.quality or 16):
        raise InvalidInput(f"quality={quality} for a chunk with a residual", allowed="all tokens")


def _mask(header: Header, number: int) -> NDArray[np.bool_]:
    """The mask (T, C, H, W); nothing is masked if the section is not there."""
    if number not in header.sections:
        return np.broadcast_to(np.False_, header.shape)
    return read_mask(header.sections[number], header.shape)


def _model_samples(
    header: Header,
    kind: SampleType,
    weights: Weights,
    wanted: list[int],
    level: int,
    quality: int | None,
    masked: NDArray[np.bool_],
) -> Array:
    """Samples of a model's latents; zeros if there are none."""
    C, H, W = header.shape[1:]
    if header.mode == EMPTY:
        return np.zeros((len(wanted), C, -(-H >> level), -(-W >> level)), kind.dtype)
    if weights.sha256 is not None and weights.sha256[:8] != header.weights_digest:
        raise WeightsError(
            f"weights {weights.sha256[:8].hex()}", allowed=f"those the chunk names, "
            f"{header.weights_digest.hex()}", fix="load the file whose SHA-256 begins so",
        )  # fmt: skip
    setting = header.setting
    section = split(header.sections[LATENTS], setting)
    without = [t for t in range(header.shape[0]) if t not in section.dates]
    require(masked[without].all(), "a date without data whose masks leave pixels out")
    dn = read_section(
        header.sections[LATENTS], setting, weights,
        dates=wanted, level=level, tokens=quality, checksum=header.symbols_crc,
    )  # fmt: skip
    samples = kind.rounded(dn[:, header.order] * header.scale + header.offset)
    if RESIDUAL in header.sections and not level:
        q, step = read_residual(
            header.sections[RESIDUAL], header.shape, section.dates, section.layouts, header.order
        )
        samples = kind.rounded(samples + q[wanted] * step)
    return samples

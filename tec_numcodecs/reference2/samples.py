"""Sections 5 to 8a and 9.7 of FORMAT.md: masks, lossless samples, rounding, residuals, means."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.reference2.coder import Coder, Place, Reader
from tec_numcodecs.reference2.fp import spread
from tec_numcodecs.reference2.layout import Layout
from tec_numcodecs.reference2.rans import Cursor, Ints, Row, require, row_of_weights

CLASSES = 24
LARGEST = 1 << 20
D = (
    0, 512, 724, 1024, 1447, 2046, 2891, 4080, 5748, 8068, 11244, 15471,
    20830, 27146, 33924, 40503, 46341, 51169, 54967, 57854, 59999, 61568, 62704, 63520,
)  # fmt: skip


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


def read_mask(section: bytes, shape: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Decode section 0 or 1: the mask (T, C, H, W)."""
    T, C, H, W = shape
    kind, stream = section[:1], section[1:]
    require(kind in {b"\0", b"\1", b"\2"}, "a mask of unknown kind")
    if kind == b"\0":
        require(not stream, "bytes after a full mask")
        return np.broadcast_to(np.True_, shape)
    planes = (T, 1 if kind == b"\1" else C, H, W)
    n = math.prod(planes)
    bits = np.unpackbits(_inflate(stream, -(-n // 8)))
    require(not bits[n:].any(), "unused bits of a mask that are not 0")
    mask = np.bitwise_xor.accumulate(bits[:n].reshape(planes), axis=2)
    return np.broadcast_to(mask.astype(bool), shape)


def read_samples(
    section: bytes, shape: tuple[int, int, int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Decode section 4: samples (T, C, H, W)."""
    kind, stream = section[:1], section[1:]
    require(kind in {b"\0", b"\1"}, "samples of unknown kind")
    size = dtype.itemsize
    by_significance = _inflate(stream, math.prod(shape) * size).reshape(size, -1)
    samples = np.ascontiguousarray(by_significance.T).view(f"<u{size}").reshape(shape)
    if kind == b"\1":  # sums along y and x undo differences along both
        samples = np.cumsum(np.cumsum(samples, 2, samples.dtype), 3, samples.dtype)
    return samples.view(dtype.newbyteorder("<")).astype(dtype)


# ------------------------------------------------------- 7. From digital numbers to samples


class SampleType(NamedTuple):
    """Data type (in the byte order of the machine) and nodata value of samples."""

    dtype: np.dtype[Any]
    nodata: float | None

    def nodata_sample(self) -> Any:
        """Nodata as a value of the dtype; None if there is none or the dtype cannot hold it."""
        if self.nodata is None:
            return None
        if self.dtype.kind == "f":
            rounded = np.float32(self.nodata)
            return rounded if np.isfinite(rounded) else None
        limits = np.iinfo(self.dtype)
        holds = self.nodata.is_integer() and limits.min <= self.nodata <= limits.max
        return int(self.nodata) if holds else None

    def rounded(self, values: NDArray[Any]) -> NDArray[Any]:
        """Round binary64 values to the dtype; what equals nodata moves by one value."""
        dtype = self.dtype
        limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        if dtype.kind != "f":
            values = np.rint(np.clip(values, limits.min, limits.max))
        samples = values.astype(dtype)
        nodata = self.nodata_sample()
        if nodata is not None:
            up = nodata != limits.max
            if dtype.kind == "f":
                replacement = np.nextafter(nodata, np.float32(np.inf if up else -np.inf))
            else:
                replacement = nodata + (1 if up else -1)
            samples[samples == nodata] = replacement
        return samples


# ------------------------------------------------------------------------------ 9.7 Overviews


def count_blocks(values: NDArray[Any], level: int) -> NDArray[Any]:
    """Sums (..., ceil(H / 2^level), ceil(W / 2^level)) over blocks."""
    H, W = values.shape[-2:]
    rows = np.add.reduceat(values.astype(np.int64), range(0, H, 1 << level), -2)
    return np.add.reduceat(rows, range(0, W, 1 << level), -1)


def means(samples: NDArray[Any], valid: NDArray[Any], kind: SampleType, level: int) -> NDArray[Any]:
    """Mean of the valid samples of each block: sums in raster order, one quotient."""
    side = 1 << level
    H, W = samples.shape[-2:]
    total = np.zeros(count_blocks(valid, level).shape)
    values = np.where(valid, samples, 0).astype(np.float64)
    for y, x in np.ndindex(min(side, H), min(side, W)):
        part = values[..., y::side, x::side]
        total[..., : part.shape[-2], : part.shape[-1]] += part
    return kind.rounded(total / np.maximum(count_blocks(valid, level), 1))


# ----------------------------------------------------------------------- 8a. Residual (section 3)


@cache
def rows() -> dict[int, Row]:
    """The 48 rows."""
    table = {}
    for k in range(CLASSES):
        w = [1 << 40]
        for _ in range(40):
            w.append(w[-1] * D[k] >> 16)
        escape = 2 * (w[40] * D[k] // (65536 - D[k]))
        table[k] = row_of_weights([*w[:0:-1], *w, escape], -40)
        near = [65536 // (1 + abs(j - k)) ** 3 + 64 for j in range(CLASSES)]
        table[CLASSES + k] = row_of_weights([*near, 1], 0)
    return table


def code_date(coder: Coder, layout: Layout, order: Sequence[int], H: int, W: int) -> list[Ints]:
    """Code the residuals of a date: integers of the native samples of each band of the array.

    `order` says which band of the layout each band of the array is.
    """
    found = []
    before, g = np.zeros((1, 1), np.int64), 6 * max(H, W)  # one block of class 0
    for number, band in enumerate(order):
        h, w = layout.native_shape(band, H, W)
        f = layout.factor(band)
        down, across = before.shape
        Y = np.minimum(np.arange(-(-h // 8)) * f // g, down - 1)
        X = np.minimum(np.arange(-(-w // 8)) * f // g, across - 1)
        likely = before[np.ix_(Y, X)]
        place = Place("classes", 0, number)
        symbols = coder.symbols(place, CLASSES + likely.ravel(), rows(), 0, CLASSES - 1)
        before, g = symbols.reshape(likely.shape), f
        classes = spread(before, 8, (h, w))
        some = classes > 0
        q = np.zeros((h, w), np.int64)
        place = Place("residuals", 0, number, 0, some)
        q[some] = coder.symbols(place, classes[some], rows(), -LARGEST, LARGEST)
        found.append(q)
    return found


def replicated(native: Ints, layout: Layout, band: int, H: int, W: int) -> Ints:
    """Give every pixel (H, W) the value of the native sample that it shows."""
    shown = (layout.shown(band, axis, np.arange(n)) for axis, n in enumerate((H, W)))
    return native[np.ix_(*shown)]


def read_residual(
    data: bytes,
    shape: tuple[int, int, int, int],
    dates: Sequence[int],
    layouts: Sequence[Layout],
    order: Sequence[int],
) -> tuple[Ints, NDArray[np.float64]]:
    """Decode section 3 of a chunk.

    Parameters
    ----------
    data
        The section.
    shape
        (T, C, H, W).
    dates
        Those with data.
    layouts
        That of each date with data.
    order
        Which band of the layouts (in the order of the sensor) each band of the array is.

    Returns
    -------
    q : int64 array (T, C, H, W)
        In the order of the array; 0 where a date has no data.
    steps : float64 array (1 or C, 1, 1)

    Raises
    ------
    CorruptChunk
        If it is damaged.
    """
    T, C, H, W = shape
    cursor = Cursor(data)
    (n,) = cursor.take(1)
    require(n in {1, C}, f"{n} steps of residuals for {C} bands")
    steps = np.array(struct.unpack(f"<{n}d", cursor.take(8 * n)))
    require(all(math.isfinite(step) and step > 0 for step in steps), "an impossible step")
    lengths = [cursor.varint() for _ in dates]
    streams = [cursor.take(length) for length in lengths]
    cursor.end("the last residual")
    q = np.zeros((T, C, H, W), np.int64)
    for t, layout, stream in zip(dates, layouts, streams, strict=True):
        coder = Reader(stream)
        for number, native in enumerate(code_date(coder, layout, order, H, W)):
            q[t, number] = replicated(native, layout, order[number], H, W)
        coder.finish()
    return q, steps[:, None, None]

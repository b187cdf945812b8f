"""The layer that keeps a promise: what a model lacks to a bound on every pixel's error.

Residuals of a band are quantised with a step of twice the bound (plus one for integers), so that
what is left after the correction is within it. Most of them are zero. They are coded in blocks of
8 x 8 pixels: a class a block, which says how large its residuals are on average, then the residuals
with the table of that class. A class is coded under that of the same block in the band before.

The tables are two-sided geometric distributions computed in integers; nothing is trained, so the
layer goes with every model.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans
from tec_numcodecs.entropy.blocks8 import block_shape, block_sum, spread_blocks
from tec_numcodecs.errors import CorruptChunk

Int32Array = NDArray[np.int32]

CLASSES = 24
#: Larger corrections than this many steps do not come from any encoder.
LIMIT = 1 << 20
_REACH = 40


def encode(q: Int32Array) -> bytes:
    """Encode quantised residuals.

    Parameters
    ----------
    q : int32 array (T, C, H, W)

    Returns
    -------
    bytes
    """
    encoder = rans.Encoder()
    tables = _tables()
    t, c, h, w = q.shape
    before = np.zeros(block_shape((t, h, w)), np.int32)
    for band in range(c):
        plane = q[:, band]
        classes = _classes(plane)
        encoder.push(classes.ravel(), _class_rows(before), tables)
        rows = _rows(classes, h, w)
        coded = rows >= 0
        encoder.push(plane[coded], rows[coded], tables)
        before = classes
    return encoder.finish()


def decode(data: bytes, shape: tuple[int, int, int, int]) -> Int32Array:
    """Undo `encode`: int32 array (T, C, H, W).

    Raises
    ------
    CorruptChunk
        If the bytes are damaged, in time and memory bounded by the shape.
    """
    decoder = rans.Decoder(data)
    tables = _tables()
    t, c, h, w = shape
    q = np.zeros(shape, np.int32)
    before = np.zeros(block_shape((t, h, w)), np.int32)
    for band in range(c):
        classes = decoder.pull(_class_rows(before), tables).reshape(before.shape)
        if classes.min() < 0 or classes.max() >= CLASSES:
            raise CorruptChunk("an unknown class of residuals", allowed=f"0 to {CLASSES - 1}")
        rows = _rows(classes, h, w)
        coded = rows >= 0
        symbols = decoder.pull(rows[coded], tables)
        if symbols.size and max(-int(symbols.min()), int(symbols.max())) > LIMIT:
            raise CorruptChunk("a residual out of range", allowed=f"up to {LIMIT} steps")
        q[:, band][coded] = symbols
        before = classes
    decoder.finish()
    return q


def _classes(plane: Int32Array) -> Int32Array:
    """Class of each block from its mean magnitude: (T, h, w) -> (T, H, W)."""
    total = block_sum(np.abs(plane).astype(np.int64))
    area = block_sum(np.ones_like(plane, np.int64))
    mean = total / area
    found = np.searchsorted(_CLASS_EDGES, mean, side="right")
    return np.where(total == 0, 0, np.clip(found, 1, CLASSES - 1)).astype(np.int32)


def _class_rows(before: Int32Array) -> Int32Array:
    """Table rows (blocks,) of classes, given those of the band before."""
    return before.ravel() + CLASSES


def _rows(classes: Int32Array, height: int, width: int) -> Int32Array:
    """Table row of each pixel; -1 where a block is all zero."""
    return spread_blocks(np.where(classes == 0, -1, classes), height, width)


# Decays are in units of 2^-16: a two-sided geometric distribution of decay d has the mean
# magnitude 2 d / (1 - d^2). Rounded once and written down. Class 0 has no residuals.
_DECAYS = (
    0, 512, 724, 1024, 1447, 2046, 2891, 4080, 5748, 8068, 11244, 15471,
    20830, 27146, 33924, 40503, 46341, 51169, 54967, 57854, 59999, 61568, 62704, 63520,
)  # fmt: skip

#: A class k > 0 stands for a mean magnitude of 2^((k - 13) / 2); its edges lie between.
_CLASS_EDGES = 2.0 ** ((np.arange(1, CLASSES) - 13.5) / 2)


@lru_cache(maxsize=1)
def _tables() -> rans.Tables:
    """Rows 0 .. CLASSES-1: residuals of a class; CLASSES + k: classes after class k.

    Integers all the way, so that every machine has the same.
    """
    rows = [_geometric(decay) for decay in _DECAYS]
    minimum = [-_REACH] * CLASSES
    for before in range(CLASSES):
        weights = [(1 << 16) // (1 + abs(k - before)) ** 3 + 64 for k in range(CLASSES)]
        rows.append(_normalised([*weights, 1]))
        minimum.append(0)
    return rans.Tables.from_frequencies(rows, np.array(minimum, np.int32))


def _geometric(decay: int) -> NDArray[np.int64]:
    """Frequencies of -40 .. 40 and of everything beyond."""
    weights = [1 << 40]
    for _ in range(_REACH):
        weights.append(weights[-1] * decay >> 16)
    tail = 2 * (weights[-1] * decay // ((1 << 16) - decay))
    return _normalised([*weights[:0:-1], *weights, tail])


def _normalised(weights: list[int]) -> NDArray[np.int64]:
    """Frequencies >= 1 that sum to 65536; what rounding leaves goes to the largest (first)."""
    total = sum(weights)
    room = (1 << 16) - len(weights)
    frequencies = [1 + weight * room // total for weight in weights]
    frequencies[weights.index(max(weights))] += (1 << 16) - sum(frequencies)
    return np.array(frequencies, np.int64)


def pack(steps: NDArray[np.float64], q: Int32Array) -> bytes:
    """Section of a chunk: the steps (one if all bands have the same), then the residuals."""
    if (steps == steps[0]).all():
        steps = steps[:1]
    return bytes((len(steps),)) + steps.astype("<f8").tobytes() + encode(q)


def unpack(data: bytes, shape: tuple[int, int, int, int]) -> tuple[NDArray[np.float64], Int32Array]:
    """Undo `pack`: steps (C,) and residuals (T, C, H, W).

    Raises
    ------
    CorruptChunk
        If the bytes are no such section.
    """
    count = data[0] if data else 0
    head = 1 + 8 * count
    if count not in (1, shape[1]) or len(data) < head:
        raise CorruptChunk(f"{count} residual steps", allowed=f"1 or {shape[1]}")
    steps = np.frombuffer(data[1:head], "<f8").astype(np.float64)
    if not (np.isfinite(steps) & (steps > 0)).all():
        raise CorruptChunk("residual steps that are not finite and positive")
    return np.broadcast_to(steps, shape[1]), decode(data[head:], shape)


def quantise(
    original: NDArray[Any], decoded: NDArray[Any], steps: NDArray[np.float64]
) -> Int32Array | None:
    """Corrections in steps, nearest to original - decoded, (T, C, H, W); None if too large."""
    out = np.empty(original.shape, np.int32)
    for date in range(len(out)):  # one at a time: float64 takes four times the room of a chunk
        difference = original[date].astype(np.float64) - decoded[date].astype(np.float64)
        q = np.rint(difference / steps[:, None, None])
        if np.abs(q).max(initial=0) > LIMIT:
            return None
        out[date] = q
    return out


def apply(decoded: NDArray[Any], q: Int32Array, steps: NDArray[np.float64]) -> NDArray[Any]:
    """Add corrections to samples (T, C, H, W) of a native dtype; integers saturate."""
    out = np.empty_like(decoded)
    for date in range(len(out)):
        corrected = decoded[date].astype(np.float64) + q[date] * steps[:, None, None]
        if decoded.dtype.kind == "f":
            with np.errstate(over="ignore"):
                out[date] = corrected.astype(decoded.dtype)
        else:
            info = np.iinfo(decoded.dtype)
            out[date] = np.rint(np.clip(corrected, info.min, info.max))
    return out

"""Section 9 of FORMAT.md: mini fp, from a stream to pixels.

Written from FORMAT.md alone, with its names. Only the loop over symbols is slow; everything else
is one array operation a plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.reference.rans import Ints, RansDecoder, Row, require
from tec_numcodecs.reference.transform import (
    GAINS,
    LARGEST,
    LOWPASS,
    Setting,
    Spectra,
    Weights,
    add_details,
    dequantise,
    sizes_of,
    step_of,
    tensor,
    to_dn,
)


@dataclass
class Latents:
    """What the stream holds; `d` is that of section 9.2."""

    entries: Ints  # (T, 6)
    shifts: Ints  # (6, C, 3)
    lowpass: Ints  # (T, C, h, w)
    details: dict[int, Ints]  # level: (T, C, 3, h, w)
    d: dict[int, Ints]  # of the same shapes

    def symbols(self) -> NDArray[np.int32]:
        """Return all integers in the order of section 9.6."""
        arrays = [self.entries, self.shifts, self.lowpass]
        arrays += [self.details[level] for level in (4, 3, 2, 1, 0)]
        return np.concatenate([a.ravel() for a in arrays]).astype("<i4")


# 9.4 Order, 9.5 Rows


class Table(dict[int, Row]):
    """Rows of `tables` or `prior.tables`, each taken apart when it is first needed."""

    def __init__(self, weights: Weights, name: str) -> None:
        names = ("cdf", "starts", "minimum")
        self.cdf, self.starts, self.minimum = (tensor(weights, f"{name}.{n}") for n in names)

    def __missing__(self, row: int) -> Row:
        bounds = self.cdf[self.starts[row] : self.starts[row + 1]].tolist()
        self[row] = [*bounds, 1 << 16], int(self.minimum[row])
        return self[row]


class PlaneDecoder:
    """Decodes plane after plane of one stream, given what earlier planes say about each."""

    def __init__(self, rans: RansDecoder, weights: Weights, r: int, C: int) -> None:
        self.rans = rans
        self.shifts = np.zeros((6, C, 3), np.int64)
        self.table = Table(weights, "prior.tables")
        self.take_prior(weights, r)

    def take_prior(self, weights: Weights, r: int) -> None:
        """Decode as the rate index says from here on."""
        o = r // 16
        g = tensor(weights, "prior.group")[o]
        self.weights = tensor(weights, "prior.weights")[o]
        self.bias = tensor(weights, "prior.bias")[o]
        self.coefficient_rows = tensor(weights, "prior.coefficient_rows")[g]
        self.flag_rows = tensor(weights, "prior.flag_rows")[g]
        self.shift_rows = tensor(weights, "prior.shift_rows")[g]

    def plane(self, level: int, c: int, orientation: int, features: Ints) -> tuple[Ints, Ints]:
        """Decode one plane of all dates: integers and rows (T, h, w); features (12, T, h, w)."""
        E, _, coded = self.blocks(level, c, orientation, features)
        rows = self.coefficient_rows[level, bin_of(E)]
        k = np.maximum(_floor_log2(np.maximum(E, 1)) - 10, 0)[coded]
        symbols = self.rans.pull(rows[coded], self.table)
        require((np.abs(symbols) <= LARGEST).all(), "a symbol above 2^22")
        low = np.zeros_like(symbols)
        low[k > 0] = [self.rans.raw(bits) for bits in k[k > 0].tolist()]
        q = np.zeros_like(E)
        q[coded] = (symbols << k) + low
        return q, rows

    def blocks(
        self, level: int, c: int, orientation: int, features: Ints
    ) -> tuple[Ints, Ints, NDArray[np.bool_]]:
        """Decode what comes before a plane's coefficients.

        Returns E' (T, h, w), flags (T, ceil(h / 8), ceil(w / 8)) and which coefficients lie in
        blocks with flag 1 (T, h, w).
        """
        index = level, min(c, 11), orientation
        weighted = np.tensordot(self.weights[index], features, 1)
        E = np.minimum((self.bias[index] + weighted) >> 4, (1 << 18) - 1)  # (T, h, w)
        S = sum_blocks(E)
        s = self.shifts[level, c, orientation] = self.shift(level, c, orientation)
        S = _shift(S, s)  # (T, ceil(h / 8), ceil(w / 8))
        E = np.minimum(_shift(E, s), (1 << 18) - 1)
        flags = self.flags((level, c, orientation), S)
        require(((flags == 0) | (flags == 1)).all(), "a flag that is neither 0 nor 1")
        return E, flags, spread(flags, 8, E.shape) == 1

    def flags(self, plane: tuple[int, int, int], S: Ints) -> Ints:
        """Flags of a plane (level, component, orientation), given S before its limits."""
        S = np.clip(S, 1, 1 << 24)
        n = _floor_log2(S)
        half = (2 * S >> n) - 2  # 1 if S >= 3 * 2^(n - 1), else 0
        return self.rans.pull(self.flag_rows[plane[0], 2 * n + half], self.table)

    def shift(self, level: int, c: int, orientation: int) -> int:
        """Decode the shift of a plane."""
        p = self.shifts[level, c - 1, orientation] if c else 0
        return self.shift_after(p)

    def shift_after(self, p: int) -> int:
        """Decode a shift, in the row that another one decides."""
        s = int(self.rans.pull(self.shift_rows[p + 8 : p + 9], self.table)[0])
        require(abs(s) <= 8, f"a shift of {s}")
        return s

    def level(
        self, level: int, shape: tuple[int, ...], parents: dict[tuple[int, int], Ints]
    ) -> tuple[Ints, Ints, dict[tuple[int, int], Ints]]:
        """Decode all planes of a level: integers, rows (T, C, orientations, h, w), m and a."""
        T, _, orientations, h, w = shape
        nothing = np.zeros((2, T, h, w), np.int64)
        known: dict[tuple[int, int], Ints] = {}
        before = [nothing] * orientations
        q, rows = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for c, i in np.ndindex(shape[1:3]):
            coarser = nothing
            if (c, i) in parents:
                coarser = spread(parents[c, i], 2, (T, h, w))
            features = [
                coarser,
                known.get((c - 1, i), nothing),
                known.get((c - 2, i), nothing),
                before[i],
                known.get((c, i - 1), nothing),
                known.get((c, i - 2), nothing),
            ]
            q[:, c, i], rows[:, c, i] = self.plane(level, c, i, np.concatenate(features))
            known[c, i] = _magnitudes(q[:, c, i])
            before[i] = before[i] + known[c, i]
        return q, rows, known


def sum_blocks(values: Ints) -> Ints:
    """Sums (..., ceil(h / 8), ceil(w / 8)) over blocks of 8 x 8."""
    h, w = values.shape[-2:]
    return np.add.reduceat(np.add.reduceat(values, range(0, h, 8), -2), range(0, w, 8), -1)


def spread(values: Ints, n: int, shape: tuple[int, ...]) -> Ints:
    """Repeat each value n times along both axes of its plane; cut off to the shape's h and w."""
    return values.repeat(n, -2).repeat(n, -1)[..., : shape[-2], : shape[-1]]


def _shift(values: Ints, s: int) -> Ints:
    """Multiply by about 2^(s / 4)."""
    return (values * (256, 304, 362, 431)[s % 4]) >> (8 - s // 4)


def bin_of(E: Ints) -> Ints:
    """Bins of expected magnitudes."""
    n = _floor_log2(np.maximum(E, 1))
    return np.where(E < 4, 0, 1 + 4 * (n - 2) + ((E >> np.maximum(n - 2, 0)) & 3))


def _floor_log2(values: Ints) -> Ints:
    """Floor of the logarithm of integers from 1 to 2^53."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1


def _magnitudes(q: Ints) -> Ints:
    """m and a of a plane (T, h, w), as (2, T, h, w)."""
    m = np.minimum(np.abs(q), 1023)
    _, h, w = m.shape
    padded = np.pad(m, ((0, 0), (1, 1), (1, 1)))
    all_nine = sum(padded[:, y : y + h, x : x + w] for y in range(3) for x in range(3))
    return np.stack([m, all_nine - m])


def read_entries(rans: RansDecoder, setting: Setting, weights: Weights) -> Ints:
    """Decode the codebook entries (T, 6)."""
    T = setting.shape[0]
    entries = np.array([rans.raw(4) for _ in range(T * 6)], np.int64).reshape(T, 6)
    known = len(tensor(weights, f"codebook.{setting.sensor}"))
    require(entries.max() < known, f"codebook entry {entries.max()} of {known}")
    return entries


def decode_latents(data: bytes, setting: Setting, weights: Weights) -> Latents:
    """Decode section 2 of a chunk.

    Raises
    ------
    CorruptChunk
        If the stream is damaged.
    WeightsError
        If a tensor is missing.
    """
    T, C, H, W = setting.shape
    decoder = PlaneDecoder(RansDecoder(data), weights, setting.r, C)
    entries = read_entries(decoder.rans, setting, weights)
    sizes = sizes_of(H, W)
    residuals, _, _ = decoder.level(LOWPASS, (T, C, 1, *sizes[5]), {})
    shrink = tensor(weights, "prior.shrink")
    details, d = {}, {}
    parents: dict[tuple[int, int], Ints] = {}
    for level in (4, 3, 2, 1, 0):
        q, rows, parents = decoder.level(level, (T, C, 3, *sizes[level + 1]), parents)
        details[level], d[level] = q, shrink[rows, np.clip(np.abs(q), 1, 3) - 1]
    decoder.rans.finish()
    return Latents(entries, decoder.shifts, undo_prediction(residuals[:, :, 0]), details, d)


# 9.3 Low-pass


def undo_prediction(residuals: Ints) -> Ints:
    """From residuals of the low-pass to its integers (T, C, h, w)."""
    T, C, h, w = residuals.shape
    q = np.zeros((T, C, h + 1, w + 1), np.int32)  # row 0 and column 0 are outside; it wraps
    for y, x in np.ndindex(h, w):
        a, b, c = q[:, :, y + 1, x], q[:, :, y, x + 1], q[:, :, y, x]
        median = np.sort([a, b, a + b - c], axis=0)[1]
        q[:, :, y + 1, x + 1] = residuals[:, :, y, x].astype(np.int32) + median
    return q[:, :, 1:, 1:].astype(np.int64)


def synthesise(latents: Latents, setting: Setting, weights: Weights) -> Ints:
    """Digital numbers (T, C, H, W) of latents.

    Raises
    ------
    CorruptChunk
        If a coefficient is larger than any encoder makes it.
    """
    H, W = setting.shape[2:]
    spectra = Spectra(setting, weights)

    def step(level: int, i: int) -> int:
        return step_of(setting.r, GAINS[level][i])

    lowpass = dequantise(latents.lowpass, 0, step(LOWPASS, 0))
    x = spectra.to_bands(lowpass, latents.entries[:, LOWPASS], LOWPASS)
    for level in (4, 3, 2, 1, 0):
        q, d = latents.details[level], latents.d[level]
        subbands = [dequantise(q[:, :, i], d[:, :, i], step(level, i)) for i in range(3)]
        details = spectra.to_bands(np.stack(subbands, 2), latents.entries[:, level], level)
        x = add_details(x, details, *sizes_of(H, W)[level])
    return to_dn(x, setting)

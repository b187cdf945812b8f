"""Section 9 of FORMAT.md for :mod:`tec_numcodecs.reference`: mini fp, from a stream to pixels.

Written from FORMAT.md alone, with its names. Only the loop over symbols is slow; everything else
is one array operation a plane.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.reference_rans import Ints, RansDecoder, Row, require

Floats = NDArray[np.float64]
Weights = Mapping[str, NDArray[Any]]

LOWPASS = 5  # its number among the levels
LARGEST = 1 << 22
CLIP = 1 << 21
MEANS = {
    "sentinel-2-l2a": (793, 925, 1185, 1341, 1671, 2240, 2468, 2563, 2628, 2711, 2417, 1850),
    "sentinel-2-l1c": (1607, 1393, 1320, 1374, 1563, 2110, 2393, 2321, 2584, 839, 22, 2205, 1546),
}


class Setting(NamedTuple):
    """What a chunk's header says about its latents; bands in the order of the sensor."""

    shape: tuple[int, int, int, int]
    sensor: str
    bands: list[int]
    r: int


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


def tensor(weights: Weights, name: str) -> NDArray[Any]:
    """Return a tensor of the weights file; integers as int64, so that nothing overflows.

    Raises
    ------
    WeightsError
        If there is none of that name.
    """
    if name not in weights:
        raise WeightsError(f"no tensor {name}", fix="use the weights file that the chunk names")
    found = np.asarray(weights[name])
    return found.astype(np.int64 if found.dtype.kind in "iu" else np.float64)


def sizes_of(H: int, W: int) -> list[tuple[int, int]]:
    """Sizes of what levels 0 to 4 split; element l + 1 is that of the subbands of level l."""
    sizes = [(H, W)]
    for _ in range(5):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


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
        o = r // 16
        g = tensor(weights, "prior.group")[o]
        self.weights = tensor(weights, "prior.weights")[o]
        self.bias = tensor(weights, "prior.bias")[o]
        self.coefficient_rows = tensor(weights, "prior.coefficient_rows")[g]
        self.flag_rows = tensor(weights, "prior.flag_rows")[g]
        self.shift_rows = tensor(weights, "prior.shift_rows")[g]
        self.table = Table(weights, "prior.tables")

    def plane(self, level: int, c: int, orientation: int, features: Ints) -> tuple[Ints, Ints]:
        """Decode one plane of all dates: integers and rows (T, h, w); features (12, T, h, w)."""
        E, _, coded = self.blocks(level, c, orientation, features)
        n = _floor_log2(np.maximum(E, 1))
        bins = np.where(E < 4, 0, 1 + 4 * (n - 2) + ((E >> np.maximum(n - 2, 0)) & 3))
        rows = self.coefficient_rows[level, bins]
        k = np.maximum(n - 10, 0)[coded]
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
        S = np.clip(_shift(S, s), 1, 1 << 24)  # (T, ceil(h / 8), ceil(w / 8))
        E = np.minimum(_shift(E, s), (1 << 18) - 1)
        n = _floor_log2(S)
        half = (2 * S >> n) - 2  # 1 if S >= 3 * 2^(n - 1), else 0
        flags = self.flags(level, c, orientation, self.flag_rows[level, 2 * n + half])
        require(((flags == 0) | (flags == 1)).all(), "a flag that is neither 0 nor 1")
        return E, flags, spread(flags, 8, E.shape) == 1

    def flags(self, level: int, c: int, orientation: int, rows: Ints) -> Ints:
        """Decode the flags of a plane, one for each row number."""
        return self.rans.pull(rows, self.table)

    def shift(self, level: int, c: int, orientation: int) -> int:
        """Decode the shift of a plane."""
        p = self.shifts[level, c - 1, orientation] if c else 0
        return self.shift_after(p)

    def shift_after(self, p: int) -> int:
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
    T, C, h, w = residuals.shape
    q = np.zeros((T, C, h + 1, w + 1), np.int32)  # row 0 and column 0 are outside; it wraps
    for y, x in np.ndindex(h, w):
        a, b, c = q[:, :, y + 1, x], q[:, :, y, x + 1], q[:, :, y, x]
        median = np.sort([a, b, a + b - c], axis=0)[1]
        q[:, :, y + 1, x + 1] = residuals[:, :, y, x].astype(np.int32) + median
    return q[:, :, 1:, 1:].astype(np.int64)


# 9.2 Quantiser

MANTISSAS = (
    65536, 68438, 71468, 74632, 77936, 81386, 84990, 88752,
    92682, 96785, 101070, 105545, 110218, 115098, 120194, 125515,
)  # fmt: skip
GAINS = (
    (65536, 65536, 86612), (49589, 49589, 65536), (37522, 37522, 49589),
    (28392, 28392, 37522), (21483, 21483, 28392), (16255,),
)  # fmt: skip


def step_of(r: int, gain: int) -> int:
    """Step of a subband in sixteenths of a DN."""
    common = MANTISSAS[r % 16] << (r // 16)
    return 16 if r == 0 else max(16, (common * gain + (1 << 27)) >> 28)


def dequantise(q: Ints, d: Ints | int, step: int) -> Ints:
    """Integers of a subband to DN.

    Raises
    ------
    CorruptChunk
        If a coefficient is larger than any encoder makes it.
    """
    magnitude = np.abs(q)
    if step != 16:
        magnitude = (np.maximum(64 * magnitude - d, 0) * step + 512) >> 10
    require((magnitude <= LARGEST).all(), "a coefficient above 2^22")
    return np.sign(q) * magnitude


# 9.1 Transform


def _divide(values: Ints, bits: int) -> Ints:
    """rint(values / 2^bits)."""
    half = 1 << (bits - 1)
    rounded = (values + half) >> bits
    tie = (values & ((1 << bits) - 1)) == half
    return rounded - (tie & rounded & 1)


def _eigenvectors(A: Floats) -> Floats:
    """Components (C, C), one a row, by falling eigenvalue."""
    A, C = A.copy(), len(A)
    V = np.eye(C)
    for _ in range(10):
        for p in range(C):
            for q in range(p + 1, C):
                t = 0.0
                if A[p, q] != 0:
                    tau = float(A[q, q] - A[p, p]) / (2 * float(A[p, q]))
                    t = (-1 if tau < 0 else 1) / (abs(tau) + math.sqrt(tau * tau + 1))
                c = 1 / math.sqrt(t * t + 1)
                s = t * c
                for rows in (A, A.T, V):  # rows of A.T are columns of A
                    rows[p], rows[q] = c * rows[p] - s * rows[q], s * rows[p] + c * rows[q]
    V = V[np.argsort(-np.diag(A), kind="stable")]
    largest = V[np.arange(C), np.abs(V).argmax(1)]
    V[largest < 0] *= -1
    return V


class _Lifting:
    """A spectral transform as integer lifting steps, in units of 2^-14, with one choice of last."""

    def __init__(self, V: Floats, last: int) -> None:
        C = len(V)
        M = V.copy()
        M[:, [last, C - 1]] = M[:, [C - 1, last]]
        S, L, components = np.zeros(C - 1), np.zeros((C, C)), np.arange(C)
        for step in range(C - 1):
            u = M[step:, C - 1]
            shear = (M[step:, step] - 1) / np.where(np.abs(u) < 1e-9, 1e-9, u)
            best = int(np.abs(shear).argmin())
            S[step] = shear[best]
            for rows in (M, L, components):
                rows[[step, step + best]] = rows[[step + best, step]]
            M[:, step] -= S[step] * M[:, C - 1]
            below = slice(step + 1, C)
            L[below, step] = M[below, step] / M[step, step]
            M[below] -= L[below, step, None] * M[step]
        if M[C - 1, C - 1] < 0:
            L[C - 1] *= -1
        factors = S, np.triu(M, 1), L
        self.S, self.U, self.L = (np.rint(x * (1 << 14)).astype(np.int64) for x in factors)
        self.last, self.components = last, components
        self.largest = max(np.abs(x).max(initial=0) for x in (self.S, self.U, self.L))

    def forward(self, planes: Ints) -> Ints:
        """From bands (C, ...) to components (C, ...)."""
        z = planes.copy()
        C = len(z)
        z[[self.last, C - 1]] = z[[C - 1, self.last]]
        z[C - 1] += _divide(np.tensordot(self.S, z[: C - 1], 1), 14)
        for i in range(C - 1):
            z[i] += _divide(np.tensordot(self.U[i, i + 1 :], z[i + 1 :], 1), 14)
        for i in range(C - 1, 0, -1):
            z[i] += _divide(np.tensordot(self.L[i, :i], z[:i], 1), 14)
        components = np.empty_like(z)
        components[self.components] = z
        return components

    def inverse(self, planes: Ints) -> Ints:
        """From components (C, ...) to bands (C, ...)."""
        z = planes[self.components]
        C = len(z)
        for i in range(1, C):
            z[i] -= _divide(np.tensordot(self.L[i, :i], z[:i], 1), 14)
        for i in range(C - 2, -1, -1):
            z[i] -= _divide(np.tensordot(self.U[i, i + 1 :], z[i + 1 :], 1), 14)
        z[C - 1] -= _divide(np.tensordot(self.S, z[: C - 1], 1), 14)
        z[[self.last, C - 1]] = z[[C - 1, self.last]]
        return z


def _unlift(low: Ints, high: Ints) -> Ints:
    """Join low- and high-pass parts along the last axis."""
    low, high = low.copy(), high.copy()
    nl, nh = low.shape[-1], high.shape[-1]
    if nh:
        here, after = np.arange(nh), np.minimum(np.arange(nh) + 1, nl - 1)
        before, same = np.maximum(np.arange(nl) - 1, 0), np.minimum(np.arange(nl), nh - 1)
        for c_high, c_low in ((3616, 1817), (-6497, -217)):
            low -= _divide(c_low * (high[..., before] + high[..., same]), 12)
            high -= _divide(c_high * (low[..., here] + low[..., after]), 12)
    x = np.empty((*low.shape[:-1], nl + nh), np.int64)
    x[..., 0::2], x[..., 1::2] = low, high
    return x


def _join(lowpass: Ints, detail: Ints, H: int, W: int) -> Ints:
    """From low-pass (..., h, w) and subbands (..., 3, h, w) to the finer plane (..., H, W)."""
    HL, LH, HH = (detail[..., i, :, :].swapaxes(-1, -2) for i in range(3))
    left = _unlift(lowpass.swapaxes(-1, -2), LH[..., : H // 2]).swapaxes(-1, -2)
    right = _unlift(HL, HH[..., : H // 2]).swapaxes(-1, -2)
    return _unlift(left, right[..., : W // 2])


class Spectra:
    """The spectral transforms of a codebook, each made when it is first needed."""

    def __init__(self, setting: Setting, weights: Weights) -> None:
        self.bands = setting.bands
        self.book = tensor(weights, f"codebook.{setting.sensor}")
        self.made: dict[tuple[int, int], tuple[Floats, _Lifting]] = {}

    def get(self, entry: int, level: int) -> tuple[Floats, _Lifting]:
        """V (C, C) and the lifting steps of an entry and level."""
        key = entry, level
        if key not in self.made:
            V = _eigenvectors(self.book[key][np.ix_(self.bands, self.bands)])
            every = [_Lifting(V, last) for last in range(len(V))]
            self.made[key] = V, min(every, key=lambda lifting: lifting.largest)
        return self.made[key]

    def to_bands(self, planes: Ints, entries: Ints, level: int) -> Ints:
        """Components (T, C, ...) to bands, with one entry a date."""
        pairs = zip(entries.tolist(), planes, strict=True)
        found = np.stack([self.get(entry, level)[1].inverse(date) for entry, date in pairs])
        return np.clip(found, -CLIP, CLIP)


def add_details(x: Ints, details: Ints, H: int, W: int) -> Ints:
    """Join a level in bands: low-pass (T, C, h, w), details (T, C, 3, h, w) to (T, C, H, W)."""
    return np.clip(_join(x, details, H, W), -CLIP, CLIP)


def to_dn(x: Ints, setting: Setting) -> Ints:
    """Add the means to planes (T, C, H, W)."""
    return x + np.array(MEANS[setting.sensor])[setting.bands, None, None]


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

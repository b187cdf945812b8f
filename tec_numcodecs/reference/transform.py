"""Sections 9.1 and 9.2 of FORMAT.md: transform, quantiser.

Written from FORMAT.md alone, with its names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.reference.rans import Ints, require

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

"""Sections 9.1 (spectrum, rotations) and 10.1 of FORMAT.md."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.reference2.coder import Coder, Place, Weights, one, raw
from tec_numcodecs.reference2.layout import Setting
from tec_numcodecs.reference2.rans import Ints, Row, require, row_of_weights

Floats = NDArray[np.float64]

CLIP = 1 << 21
FACTOR_LIMIT = 1 << 23  # of S, U, L in units of 2^-14
VALUE_LIMIT = 1 << 26  # of values between the steps
WAVELENGTHS = {
    "sentinel-2-l2a": (443, 492, 560, 665, 704, 740, 783, 833, 865, 945, 1614, 2202),
    "sentinel-2-l1c": (443, 492, 560, 665, 704, 740, 783, 833, 865, 945, 1374, 1614, 2202),
}


class Rotation(NamedTuple):
    """Rows p < q turn by an angle; the tangent of its half is s * 2^-j."""

    q: int
    p: int
    j: int
    s: int


# ------------------------------------------------------------------- 9.4 Entries and rotations

_A = [
    121, 31, 36, 36, 34, 34, 30, 24, 22, 18, 16, 13, 12, 11, 10, 9, 9, 8, 8, 7, 7, 6, 6, 5, 5, 5,
    4, 4, 4, 3, 3, 3, 3, 3, *[2] * 11, *[1] * 18, 11,
]  # fmt: skip
_B = [630, 811, 837, 760, 743, 526, 500, 471, 419, 361, 263, 60]
_C = [2139, 1489, 1074, 551, 430, 241, 164, 96, 86, 37, 14, 6]
_D = [4, 110, 547, 1004, 1442, 1384, 1090, 523, 185, 27, 6, 3]
#: Rows A (0), D (1), B[n] (100 + n), C[q] (200 + q).
ROTATION_ROWS: dict[int, Row] = {
    0: row_of_weights([*_A, 0], 0),
    1: row_of_weights([*_D, 0], 1),
    **{100 + n: row_of_weights([*_B[: n - 1], 0], 1) for n in range(2, 14)},
    **{200 + q: row_of_weights([*_C[:q], 0], 0) for q in range(1, 13)},
}


def code_spectrum(
    coder: Coder, level: int, n: int, entries: int, *, lists: bool
) -> tuple[int, list[Rotation], list[int]]:
    """Code the entry of a level of n bands, and its list of rotations.

    Returns entry, rotations, and both as section 9.6 orders them.
    """
    entry = raw(coder, Place("entry", level), 4)
    require(entry < entries, f"entry {entry} of a codebook of {entries}")
    if not lists or n < 2:
        return entry, [], [entry]
    rotations = []
    for _ in range(one(coder, Place("rotations", level), 0, ROTATION_ROWS, 0, 63)):
        q = one(coder, Place("q", level), 100 + n, ROTATION_ROWS, 1, n - 1)
        p = one(coder, Place("p", level), 200 + q, ROTATION_ROWS, 0, q - 1)
        j = one(coder, Place("j", level), 1, ROTATION_ROWS, 1, 12)
        rotations.append(Rotation(q, p, j, -1 if raw(coder, Place("sign", level), 1) else 1))
    flat = [value for rotation in rotations for value in rotation]
    return entry, rotations, [entry, len(rotations), *flat]


# ------------------------------------------------------------------------------ 9.1 Spectrum


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


def _turned(V: Floats, rotations: list[Rotation]) -> Floats:
    V = V.copy()
    for q, p, j, s in rotations:
        t = 2.0**-j
        c = (1 - t * t) / (1 + t * t)
        d = s * (2 * t / (1 + t * t))
        V[p], V[q] = c * V[p] - d * V[q], d * V[p] + c * V[q]
    return V


def _divide(values: Ints, bits: int) -> Ints:
    """rint(values / 2^bits)."""
    half = 1 << (bits - 1)
    rounded = (values + half) >> bits
    tie = (values & ((1 << bits) - 1)) == half
    return rounded - (tie & rounded & 1)


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
        self.largest = max(np.abs(np.rint(x * (1 << 14))).max(initial=0) for x in factors)
        self.factors = factors
        self.last, self.components = last, components

    def steps(self) -> list[tuple[int, slice, Ints]]:
        """Forward: element i of z gets the sum of factors times a part of z."""
        C = len(self.components)
        S, U, L = (np.rint(x * (1 << 14)).astype(np.int64) for x in self.factors)
        found = [(C - 1, slice(0, C - 1), S)]
        found += [(i, slice(i + 1, C), U[i, i + 1 :]) for i in range(C - 1)]
        found += [(i, slice(0, i), L[i, :i]) for i in range(C - 1, 0, -1)]
        return found


def _limited(values: Ints) -> Ints:
    """As far as values of the lifting may go."""
    return np.clip(values, -VALUE_LIMIT, VALUE_LIMIT)


class Spectrum:
    """The spectral transform of one level of one date.

    Attributes
    ----------
    V : (n, n)
        Component k is row k.
    u : (n,)
        Signs of section 10.1.
    R : (n, n)
        Rows of section 10.1.
    """

    def __init__(self, V: Floats, wavelengths: Ints) -> None:
        C = len(V)
        self.V = V
        lifting = min((_Lifting(V, last) for last in range(C)), key=lambda x: x.largest)
        require(
            lifting.largest < FACTOR_LIMIT, f"rotations that need a factor of {lifting.largest}"
        )
        self.steps, self.components = lifting.steps(), lifting.components
        self.exchanged = [lifting.last, C - 1]
        r = np.rint(V * (1 << 12)).astype(np.int64)
        forward = np.diagonal(self.forward(r.T.copy()))  # component k of row k
        t = np.where(forward < 0, -1, 1)[:, None]
        color = np.rint(V * t * (1 << 20)).astype(np.int64) @ wavelengths
        self.u = np.where(color < 0, -1, 1)
        self.R = self.u[:, None] * np.rint(V * t * (1 << 12)).astype(np.int64)

    def forward(self, bands: Ints) -> Ints:
        """From bands (n, ...) to components (n, ...), without the signs."""
        z = bands.copy()
        z[self.exchanged] = z[self.exchanged[::-1]]
        for i, part, factors in self.steps:
            z[i] = _limited(z[i] + _divide(np.tensordot(factors, z[part], 1), 14))
        found = np.empty_like(z)
        found[self.components] = z
        return found

    def inverse(self, components: Ints) -> Ints:
        """From components (n, ...), without the signs, to bands (n, ...)."""
        z = components[self.components]
        for i, part, factors in reversed(self.steps):
            z[i] = _limited(z[i] - _divide(np.tensordot(factors, z[part], 1), 14))
        z[self.exchanged] = z[self.exchanged[::-1]]
        return np.clip(z, -CLIP, CLIP)


def spectrum_of(
    weights: Weights,
    setting: Setting,
    used: list[int],
    level: int,
    entry: int,
    rotations: list[Rotation],
) -> Spectrum:
    """The transform of a level that has the bands `used` of the chunk's bands."""
    bands = tuple(setting.bands[b] for b in used)
    key = "spectrum", setting.sensor, bands, level, entry
    wavelengths = np.array(WAVELENGTHS[setting.sensor])[list(bands)]
    if key not in weights.made:
        book = weights.tensor(f"codebook.{setting.sensor}")
        V = _eigenvectors(book[entry, level][np.ix_(bands, bands)])
        weights.made[key] = Spectrum(V, wavelengths)
    found: Spectrum = weights.made[key]
    return Spectrum(_turned(found.V, rotations), wavelengths) if rotations else found

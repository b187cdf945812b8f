"""Spectra of the image itself: an entry of the codebook, then a short list of plane rotations.

The recipe is that of the research notes on the KLT: greedy choice by the saving in
``log2(1 + y^2 / D)``, angles with the tangent of their half a power of two, static frequencies.
Here the lists are really written by the entropy coder, and read back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans

Float64Array = NDArray[np.float64]
Int32Array = NDArray[np.int32]
#: (p, q, j, sign): rows p < q turn by an angle with tan(angle / 2) = 2^-j, j = 1 .. 12.
Rotation = tuple[int, int, int, int]
Rotations = list[Rotation]

MOST = 63
ANGLES = 12
#: Bits that a rotation is taken to cost beside its pair, when it is chosen.
_OWN_BITS = 3.8
_TRIES = 10
#: Entries of the codebook that are tried as bases.
_BASES = 2
_SAMPLES = 2048

_TANGENT = 2.0 ** -np.arange(1, ANGLES + 1)
_COSINE = (1 - _TANGENT * _TANGENT) / (1 + _TANGENT * _TANGENT)
_SINE = 2 * _TANGENT / (1 + _TANGENT * _TANGENT)
_ANGLE = 2 * np.arctan(_TANGENT)

# Frequencies of training scenes (see `statistics`), smoothed: number of rotations of a level; pairs
# p < q, q given the number of rows, p given q (cut off where there are fewer); angles.
_OF_COUNT = (
    121, 31, 36, 36, 34, 34, 30, 24, 22, 18, 16, 13, 12, 11, 10, 9, 9, 8, 8, 7, 7, 6, 6, 5, 5, 5,
    4, 4, 4, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 11,
)  # fmt: skip
_OF_Q = (630, 811, 837, 760, 743, 526, 500, 471, 419, 361, 263, 60)
_OF_P = (2139, 1489, 1074, 551, 430, 241, 164, 96, 86, 37, 14, 6)
_OF_J = (4, 110, 547, 1004, 1442, 1384, 1090, 523, 185, 27, 6, 3)
_MOST_ROWS = 13


def turned(rows: Float64Array, rotations: Sequence[Rotation]) -> Float64Array:
    """Rows of an entry after a list of rotations, one binary64 operation after another."""
    out = rows.copy()
    for p, q, j, sign in rotations:
        c, s = _COSINE[j - 1], sign * _SINE[j - 1]
        a, b = out[p].copy(), out[q].copy()
        out[p], out[q] = c * a - s * b, s * a + c * b
    return out


def choose(
    book: Float64Array,
    flat: Int32Array,
    residual: Int32Array,
    noise: float,
    *,
    count: int,
    rotate: bool,
    low: bool,
) -> tuple[Float64Array, Rotations]:
    """Rows of one level of one date.

    Parameters
    ----------
    book : float64 array (entries, n, n)
        Rows of the codebook.
    flat : int32 array (n, P)
        Coefficients of the bands.
    residual : int32 array (n, P)
        What is coded of them: prediction residuals of the low-pass, else the same.
    noise : float
        Of the quantizer.
    count : int
        Coefficients looked at without rotations.
    rotate : bool
        Whether rotations are allowed.
    low : bool
        Whether this is the low-pass: it tries one entry only.
    """
    sample = _sampled(flat, flat.shape[1] if low else count)
    costs = np.log2(1 + (book @ sample) ** 2 / noise).sum(axis=(1, 2))
    if not rotate:
        return book[int(np.argmin(costs))], []
    coded = _sampled(residual, _SAMPLES)
    each = residual.shape[1] / coded.shape[1]
    if not low:
        costs = _cost((book @ coded) ** 2, noise).sum(axis=1)
    best: tuple[float, Float64Array, Rotations] | None = None
    for entry in np.argsort(costs)[: 1 if low else _BASES]:
        before = each * float(_cost((book[entry] @ coded) ** 2, noise).sum())
        rows, found, after = _greedy(book[entry], coded, each, noise)
        bits = list_bits(found, len(rows))
        for total, own, kept in (
            (before + list_bits([], len(rows)), book[entry], []),
            (after + bits, rows, found),
        ):
            if best is None or total < best[0]:
                best = (total, own, kept)
    if best is None:
        raise RuntimeError("a codebook has entries")
    return best[1], best[2]


def _sampled(flat: Int32Array, count: int) -> Float64Array:
    return flat[:, :: max(1, flat.shape[1] // count)].astype(np.float64)


def _cost(energy: Float64Array, noise: float) -> Float64Array:
    """Sum over the last axis of log2(1 + energy / noise), one logarithm for eight factors."""
    z = 1 + energy / noise
    whole = z.shape[-1] // 8 * 8
    head = z[..., :whole].reshape(*z.shape[:-1], -1, 8).prod(-1)
    total: Float64Array = np.log2(head).sum(-1) + np.log2(z[..., whole:]).sum(-1)
    return total


class _Search:
    """State of the greedy search: rows, components, and their costs."""

    def __init__(self, rows: Float64Array, x: Float64Array, each: float, noise: float) -> None:
        self.rows, self.y = rows.copy(), rows @ x
        self.each, self.noise = each, noise
        self.cost = each * _cost(self.y**2, noise)
        self.upper = np.triu_indices(len(rows), 1)
        self.known: dict[tuple[int, int], tuple[float, int, int, float, float]] = {}
        self.bits = _OWN_BITS + _pair_bits(len(rows))[self.upper]

    def ranked(self) -> tuple[NDArray[np.intp], Float64Array, Float64Array]:
        """Pairs by the gain that a quadratic model predicts, their angles and gains."""
        energy = self.y**2
        w = 1 / (self.noise + energy)
        a, h = self.y @ (self.y * w).T, w @ energy.T
        own = np.diag(h)
        p, q = self.upper
        gradient = (a - a.T)[p, q]
        both = (h + h.T)[p, q]
        newton = both - own[p] - own[q]
        angle = -gradient / np.where(newton > 0.15 * both, newton, both)
        gain = self.each * 1.4427 * np.abs(gradient) * np.minimum(np.abs(angle), 0.8)
        return np.argsort(-gain), angle, gain

    def tried(self, pair: int, angle: float) -> tuple[float, int, int, float, float]:
        """Exact gain of the best of three angles: gain, j, sign, costs of both rows."""
        p, q = int(self.upper[0][pair]), int(self.upper[1][pair])
        if (p, q) not in self.known:
            size = min(max(abs(angle), 1e-6), 0.95)
            j0 = -np.log2(size / _ANGLE[0])
            near = np.clip([np.floor(j0) - 1, np.floor(j0), np.ceil(j0)], 0, ANGLES - 1)
            j = np.unique(near.astype(int))
            sign = 1 if angle > 0 else -1
            c, s = _COSINE[j][:, None], sign * _SINE[j][:, None]
            first = self.each * _cost((c * self.y[p] - s * self.y[q]) ** 2, self.noise)
            second = self.each * _cost((s * self.y[p] + c * self.y[q]) ** 2, self.noise)
            gain = self.cost[p] + self.cost[q] - first - second
            i = int(gain.argmax())
            found = float(gain[i]), int(j[i]) + 1, sign, float(first[i]), float(second[i])
            self.known[p, q] = found
        return self.known[p, q]

    def apply(self, pair: int) -> Rotation:
        """Turn a pair that was tried."""
        p, q = int(self.upper[0][pair]), int(self.upper[1][pair])
        _, j, sign, first, second = self.known[p, q]
        for matrix in (self.y, self.rows):
            a, b = matrix[p].copy(), matrix[q].copy()
            c, s = _COSINE[j - 1], sign * _SINE[j - 1]
            matrix[p], matrix[q] = c * a - s * b, s * a + c * b
        self.cost[p], self.cost[q] = first, second
        self.known = {k: v for k, v in self.known.items() if not {p, q} & set(k)}
        return p, q, j, sign


def _greedy(
    rows: Float64Array, x: Float64Array, each: float, noise: float
) -> tuple[Float64Array, Rotations, float]:
    """Rotations as long as one pays for itself: rows, list, cost after."""
    search = _Search(rows, x, each, noise)
    found: Rotations = []
    while len(found) < MOST:
        order, angle, gain = search.ranked()
        best, saving = -1, 0.0
        for pair in order[:_TRIES]:
            if 3 * gain[pair] < search.bits[pair]:
                break
            net = search.tried(int(pair), float(angle[pair]))[0] - search.bits[pair]
            if net > saving:
                best, saving = int(pair), net
        if best < 0:
            break
        found.append(search.apply(best))
    return search.rows, found, float(search.cost.sum())


# -- coding ----------------------------------------------------------------------------------


@cache
def _pair_bits(n: int) -> Float64Array:
    """Bits of a pair (p, q) of n rows, (n, n)."""
    bits = np.full((n, n), np.inf)
    of_q = np.array(_OF_Q[: n - 1], np.float64)
    for q in range(1, n):
        of_p = np.array(_OF_P[:q], np.float64)
        chance = of_q[q - 1] / of_q.sum() * of_p / of_p.sum()
        bits[:q, q] = -np.log2(chance)
    return bits


def list_bits(found: Rotations, n: int) -> float:
    """Bits of a list."""
    of_count = np.array(_OF_COUNT) / sum(_OF_COUNT)
    number = float(-np.log2(of_count[len(found)]))
    if not found:
        return number
    of_j = -np.log2(np.array(_OF_J) / sum(_OF_J))
    pairs = _pair_bits(n)
    return number + sum(float(pairs[p, q] + of_j[j - 1]) + 1 for p, q, j, _ in found)


@cache
def _tables() -> rans.Tables:
    """Rows: number of rotations (0), angle (1), q of n rows (2 + n), p of q (20 + q)."""
    rows = [_row(_OF_COUNT), _row(_OF_J)]
    rows += [_row(_OF_Q[: max(n - 1, 1)]) for n in range(18)]
    rows += [_row(_OF_P[: max(q, 1)]) for q in range(_MOST_ROWS)]
    minimum = [0, 1] + [1] * 18 + [0] * _MOST_ROWS
    return rans.Tables.from_frequencies(rows, np.array(minimum, np.int32))


def _row(weights: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
    """Frequencies that sum to 65536, at least one each; the escape, last, has one."""
    values = np.append(np.asarray(weights, np.float64), 0)
    room = (1 << 16) - len(values)
    found = 1 + np.floor(values / values.sum() * room).astype(np.int64)
    found[int(np.argmax(values))] += (1 << 16) - found.sum()
    return found


def write(dates: Sequence[Sequence[Rotations]], sizes: Sequence[int]) -> bytes:
    """Lists of all dates and levels, which have so many rows.

    One byte 0 where no level has any: the flag of a chunk.
    """
    if not any(found for date in dates for found in date):
        return b"\0"
    encoder, tables = rans.Encoder(), _tables()
    for date in dates:
        for size, found in zip(sizes, date, strict=True):
            if size > 1:
                _push(encoder, tables, [(len(found), 0)])
            for p, q, j, sign in found:
                _push(encoder, tables, [(q, 2 + size), (p, 20 + q), (j, 1)])
                _push(encoder, tables, [(int(sign < 0), rans.UNIFORM + 1)])
    return b"\1" + encoder.finish()


def _push(encoder: rans.Encoder, tables: rans.Tables, pairs: Sequence[tuple[int, int]]) -> None:
    symbols, rows = (np.array(x, np.int32) for x in zip(*pairs, strict=True))
    encoder.push(symbols, rows, tables)


def read(data: bytes, dates: int, sizes: Sequence[int]) -> list[list[Rotations]]:
    """Undo `write`."""
    if data == b"\0":
        return [[[] for _ in range(6)] for _ in range(dates)]
    decoder, tables = rans.Decoder(data[1:]), _tables()

    def pull(row: int) -> int:
        return int(decoder.pull(np.array([row], np.int32), tables)[0])

    every = []
    for _ in range(dates):
        date: list[Rotations] = []
        for size in sizes:
            found: Rotations = []
            for _ in range(pull(0) if size > 1 else 0):
                q = pull(2 + size)
                p, j = pull(20 + q), pull(1)
                found.append((p, q, j, 1 - 2 * pull(rans.UNIFORM + 1)))
            date.append(found)
        every.append(date)
    decoder.finish()
    return every


def statistics(lists: Sequence[tuple[int, Rotations]]) -> dict[str, list[int]]:
    """Histograms that the static frequencies are made of.

    Parameters
    ----------
    lists : sequence of (number of rows, rotations)
        Of single levels.
    """
    counts = np.zeros(MOST + 1, np.int64)
    of_p, of_q, of_j = (np.zeros(n, np.int64) for n in (_MOST_ROWS - 1, _MOST_ROWS, ANGLES + 1))
    for _, found in lists:
        counts[len(found)] += 1
        for p, q, j, _ in found:
            of_p[p] += 1
            of_q[q] += 1
            of_j[j] += 1
    return {
        "count": counts.tolist(),
        "p": of_p.tolist(),
        "q": of_q[1:].tolist(),
        "j": of_j[1:].tolist(),
    }

"""What streams by date cost: dates coded side by side against dates coded alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.levers.coder import HEADER, Levers, encode, rate_of
from benchmarks.levers.measure import LAMS, gain, point
from benchmarks.levers.transform import Scene
from benchmarks.metrics import Point, psnr


@dataclass(frozen=True)
class Split:
    """Dates of a chunk in streams of their own.

    Attributes
    ----------
    bits : float
        BD-rate against one stream of all dates, lengths counted.
    lossless : float
        Bytes of the lossless chunk, likewise.
    one : float
        Bytes that one date takes, of those of the chunk; mean over dates and rates.
    """

    bits: float
    lossless: float
    one: float


def measure(scene: Scene, model: str, levers: Levers, lams: Sequence[float] = LAMS) -> Split:
    """Code a series both ways."""
    together, apart, shares = [], [], []
    for lam in lams:
        together.append(point(scene, encode(scene, model, rate_of(lam), levers)))
        own, sizes = alone(scene, model, lam, levers)
        apart.append(own)
        shares.append(np.mean(sizes) / sum(sizes))
    whole = encode(scene, model, 0, levers).size
    parts = alone(scene, model, 0, levers)[0]["bytes"]
    return Split(gain(together, apart), parts / whole - 1, float(np.mean(shares)))


def alone(scene: Scene, model: str, lam: float, levers: Levers) -> tuple[Point, list[int]]:
    """One chunk whose dates are streams of their own, and their sizes."""
    sizes, squares = [], 0.0
    for t in range(len(scene.data)):
        coded = encode(scene.date(t), model, rate_of(lam), levers)
        sizes.append(coded.size - HEADER)
        squares += float(np.square(coded.pixels - scene.data[t], dtype=np.float64).sum())
    size = HEADER + sum(n + varint(n) for n in sizes)
    mse = squares / scene.data.size
    found = {"bytes": size, "bpppb": 8 * size / scene.data.size, "psnr": psnr(mse) if mse else None}
    return found, sizes


def varint(n: int) -> int:
    """Bytes of a length."""
    return max(1, -(-n.bit_length() // 7))

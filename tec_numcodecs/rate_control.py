"""Aiming at a quality or a size: which rate index reaches it, found in few evaluations.

PSNR and size both fall with the rate index, and their curves look much alike from scene to scene:
what differs is mostly how high they lie. So a search begins where the typical curve reaches the
target, moves by what that curve says of the distance that is left, and from the second evaluation
on corrects the slope by the secant. It depends on nothing but its own chunk: bytes are the same in
whatever order and company chunks are coded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.mini.transform.quantizer import MAX_RATE_INDEX

Kind = Literal["psnr", "bpppb"]

#: PSNR's peak in digital numbers: reflectance 1.
PEAK = 10_000.0
#: What may be aimed at. Above 80 dB float data would be off by what DN round away.
RANGES: dict[Kind, tuple[float, float]] = {"psnr": (10.0, 80.0), "bpppb": (0.001, 16.0)}

# Typical curves of mini fp over rate indices 0, 8, 16 ...: means over the validation crops (the
# ends are drawn out). How many evaluations a search takes depends on them, not what it promises.
_TYPICAL: dict[Kind, tuple[float, ...]] = {
    "psnr": (
        78.0, 76.2, 74.9, 74.1, 73.3, 72.2, 70.7, 68.7, 66.4, 63.8, 61.1, 58.5, 56.1, 53.7, 51.5,
        49.4, 47.5, 45.5, 43.7, 42.0, 40.3, 38.8, 37.2, 35.9, 34.5, 33.4, 32.1, 31.0, 30.0,
    ),
    "bpppb": (
        6.0, 5.51, 5.00, 4.52, 4.03, 3.59, 3.14, 2.71, 2.30, 1.90, 1.53, 1.20, 0.920, 0.685, 0.502,
        0.364, 0.262, 0.182, 0.124, 0.083, 0.0552, 0.0363, 0.0233, 0.0152, 0.0097, 0.0063, 0.0039,
        0.0025, 0.0016,
    ),
}  # fmt: skip
# A rate index is about 0.3 dB and 4 % of the bytes; nearer than this is not worth an evaluation.
_TOLERANCE: dict[Kind, float] = {"psnr": 0.4, "bpppb": math.log2(1.09)}
_ENOUGH = 4  # evaluations, if one of them kept the promise
_MOST = 12


@dataclass(frozen=True)
class Target:
    """What is asked for.

    Attributes
    ----------
    kind : str
        ``psnr``: at least `value` dB over the valid pixels (peak 10,000 DN). ``bpppb``: at most
        `value` bits per valid pixel and band, everything counted that is stored.
    value : float
    """

    kind: Kind
    value: float


class Search:
    """The search for one chunk (or for one rate of several).

    The target is a promise: of what was evaluated, the index that keeps it by the least is chosen.
    If none does (a size below that of an empty stream), the one that comes nearest.

    Parameters
    ----------
    target : Target

    Attributes
    ----------
    index : int
        What to evaluate next.
    evaluations : int
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._margins: dict[int, float] = {}
        self.index = self._index_of(self._typical_at_target())

    @property
    def evaluations(self) -> int:
        """How many there were."""
        return len(self._margins)

    @property
    def best(self) -> int:
        """The index to use, of those evaluated."""
        kept = [i for i, margin in self._margins.items() if margin >= 0]
        if kept:
            return min(kept, key=self._margins.__getitem__)
        return max(self._margins, key=self._margins.__getitem__)

    def tell(self, value: float) -> bool:
        """Say what came of `index`: PSNR in dB (maybe infinite) or bits.

        Returns
        -------
        bool
            Whether the search is over; else `index` is the next one.
        """
        self._margins[self.index] = self._margin(value)
        low, high = self._open()
        kept = max((m for m in self._margins.values() if m >= 0), default=None)
        near = any(0 <= m <= _TOLERANCE[self._target.kind] for m in self._margins.values())
        enough = self.evaluations >= (_ENOUGH if kept is not None else _MOST)
        if near or low > high or enough:
            return True
        self.index = min(max(self._guess(), low), high)
        return False

    def _margin(self, value: float) -> float:
        """By how much a value keeps the promise (dB, octaves), capped where it is boundless."""
        if self._target.kind == "psnr":
            margin = value - self._target.value
        else:
            margin = math.log2(self._target.value / value)
        return min(max(margin, -60.0), 60.0)

    def _open(self) -> tuple[int, int]:
        """Between which indices, both included, the promise begins to fail."""
        coarser_is_better = self._target.kind == "bpppb"
        low, high = 0, MAX_RATE_INDEX
        for index, margin in self._margins.items():
            if (margin >= 0) == coarser_is_better:
                high = min(high, index - 1)
            else:
                low = max(low, index + 1)
        return low, high

    def _guess(self) -> int:
        """Where the margin should be half the tolerance."""
        curve = self._curve()
        aim = _TOLERANCE[self._target.kind] / 2
        points = sorted(self._margins.items(), key=lambda p: abs(p[1] - aim))[:2]
        (at, margin), slope = points[0], 1.0
        here = float(np.interp(at, *curve))
        if len(points) == 2:
            run = here - float(np.interp(points[1][0], *curve))
            rise = margin - points[1][1]
            slope = min(max(rise / run, 0.25), 4.0) if run else 1.0
        # What fails again and again is left behind by ever more than the curve says.
        push = 0.0 if margin >= 0 else aim * max(2 ** (self.evaluations - 2) - 1, 0)
        return self._index_of(here + (aim + push - margin) / slope)

    def _curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Indices, and margins on the typical curve (up to a constant)."""
        typical = _TYPICAL[self._target.kind]
        margins = typical if self._target.kind == "psnr" else [-math.log2(y) for y in typical]
        indices = 8.0 * np.arange(len(typical), dtype=np.float64)
        return indices, np.array(margins, np.float64)

    def _typical_at_target(self) -> float:
        value = self._target.value
        return value if self._target.kind == "psnr" else -math.log2(value)

    def _index_of(self, margin: float) -> int:
        """Index at which the typical curve has this margin."""
        indices, margins = self._curve()
        order = np.argsort(margins)
        return min(round(float(np.interp(margin, margins[order], indices[order]))), MAX_RATE_INDEX)


def psnr(squares: float, samples: float = 1) -> float:
    """PSNR in dB, with the peak at 10,000 DN (reflectance 1).

    Parameters
    ----------
    squares : float
        Sum of squared errors in DN.
    samples : float
        How many errors are in the sum; 1 where `squares` is a mean.

    Returns
    -------
    float
        Infinite where nothing differs, NaN where there are no samples.
    """
    if not samples:
        return math.nan
    return math.inf if not squares else 10 * math.log10(PEAK**2 * samples / squares)

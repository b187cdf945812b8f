"""Integer tables of the normal distribution, GELU and 2**-x, from integer arithmetic alone.

Nothing here touches a floating-point unit: two constants come from Python's ``decimal`` (whose
exponential is correctly rounded by definition), the rest are Python integers. Every machine gets
the same tables, and `digest` proves it.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

TAIL_BITS = 40  # the normal tail is stored as an integer times 2**-40
TAIL_GRID_BITS = 10  # on a grid of 2**-10
TAIL_END = 9  # beyond nine standard deviations the tail is below 2**-62

GELU_BITS = 30
GELU_GRID_BITS = 9
GELU_END = 8  # x * (1 - Phi(x)) is below 2**-46 from here on

EXP_BITS = 30
EXP_GRID_BITS = 8
EXP_END = 31  # 2**30 * 2**-31 rounds down to zero

_WORK_BITS = 160  # fixed point of the recurrences below: far more than they lose


def _fixed(value: Decimal, bits: int) -> int:
    """Round `value` times ``2**bits`` to the nearest integer."""
    return int((value * (1 << bits)).to_integral_value())


@cache
def normal_tail() -> NDArray[np.int64]:
    """Return ``round(2**40 * (1 - Phi(i / 1024)))`` for i = 0 ... 9216.

    The density on a grid of half steps follows from two multiplications a step, since
    ``phi(x + h) / phi(x) = exp(-x h - h^2 / 2)`` is itself a geometric sequence; Simpson's rule
    on steps of 2**-10 then errs by less than 2**-58 in total.

    Returns
    -------
    numpy.ndarray
        int64, 9217 values, read-only.
    """
    half_steps = 2 * TAIL_END << TAIL_GRID_BITS
    with localcontext() as context:
        context.prec = 60
        step = Decimal(1) / (2 << TAIL_GRID_BITS)
        ratio = _fixed((-step * step / 2).exp(), _WORK_BITS)
        shrink = _fixed((-step * step).exp(), _WORK_BITS)
        # 1/sqrt(2 pi) cancels: the whole tail from 0 is one half, so it is normalized below.
        density = 1 << _WORK_BITS
        densities = [density]
        for _ in range(half_steps):
            density = density * ratio >> _WORK_BITS
            ratio = ratio * shrink >> _WORK_BITS
            densities.append(density)
    tail = [0]
    for i in range(half_steps - 2, -1, -2):
        tail.append(tail[-1] + densities[i] + 4 * densities[i + 1] + densities[i + 2])
    tail.reverse()
    half, total = 1 << (TAIL_BITS - 1), tail[0]
    return _frozen([(2 * t * half + total) // (2 * total) for t in tail])


@cache
def gelu_dip() -> NDArray[np.int64]:
    """Return ``2**30 * x * (1 - Phi(x))`` at x = i / 512, i = 0 ... 4097, rounded down.

    It is what GELU lacks of ``max(x, 0)``, on either side of zero (the last entry, past the end
    of the grid, keeps interpolation free of a special case).
    """
    stride = 1 << (TAIL_GRID_BITS - GELU_GRID_BITS)
    tail = normal_tail()[::stride][: (GELU_END << GELU_GRID_BITS) + 1]
    shift = TAIL_BITS - GELU_BITS + GELU_GRID_BITS
    values = [(i * int(t)) >> shift for i, t in enumerate(tail)]
    return _frozen([*values, values[-1]])


@cache
def exp2_falling() -> NDArray[np.int64]:
    """Return ``round(2**30 * 2**(-i / 256))`` for i = 0 ... 31 * 256, int64; the last is 0."""
    with localcontext() as context:
        context.prec = 60
        factor = _fixed((-Decimal(2).ln() / (1 << EXP_GRID_BITS)).exp(), _WORK_BITS)
    value, values = 1 << _WORK_BITS, []
    shift = _WORK_BITS - EXP_BITS
    for _ in range(EXP_END << EXP_GRID_BITS):
        values.append((value + (1 << (shift - 1))) >> shift)
        value = value * factor >> _WORK_BITS
    return _frozen([*values, 0])


def digest(*arrays: NDArray[np.generic]) -> str:
    """Return the SHA-256 of the arrays' little-endian bytes, as lower-case hexadecimal."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return sha.hexdigest()


def _frozen(values: list[int]) -> NDArray[np.int64]:
    array = np.array(values, np.int64)
    array.flags.writeable = False
    return array

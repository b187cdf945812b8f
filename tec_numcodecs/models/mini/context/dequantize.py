"""From integers to coefficients in DN: each at the centroid of its interval, under its row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.mini.context.mixture_cdf import Choice
from tec_numcodecs.models.mini.transform.quantizer import COEFFICIENT_LIMIT, STEP_UNIT
from tec_numcodecs.native import native

Int32Array = NDArray[np.int32]
#: Symbols this far from the mean and farther share a reconstruction offset.
OFFSETS = 3


def rescaled(
    q: Int32Array, choice: Choice, offsets: NDArray[np.int8], step: int, half: int = 0
) -> Int32Array:
    """Integers to coefficients.

    Parameters
    ----------
    q : int32 array (P,)
    choice : Choice
        Their rows.
    offsets : int8 array (rows, 7)
        In 64ths of a step.
    step : int
        In sixteenths of a DN.
    half : int
        Offset away from zero of integers that have raw bits.

    Raises
    ------
    CorruptChunk
        If a coefficient is larger than the transform allows.
    """
    c = native()
    if c is not None:
        value = np.empty(len(q), np.int32)
        q = np.ascontiguousarray(q)
        peak = c.context_rescale(value, q, choice.row, choice.base, choice.raw, offsets, half, step)
    else:
        value, peak = _rescaled(q, choice, offsets, step, half)
    return within_limit(value, peak)


def within_limit(coefficients: Int32Array, peak: int) -> Int32Array:
    """Coefficients, of which ``peak`` is the largest magnitude; CorruptChunk if it is too large."""
    if peak > COEFFICIENT_LIMIT:
        raise CorruptChunk(f"a coefficient of {peak} DN", allowed=f"up to {COEFFICIENT_LIMIT}")
    return coefficients


def _rescaled(
    q: Int32Array, choice: Choice, offsets: NDArray[np.int8], step: int, half: int
) -> tuple[Int32Array, int]:
    """Coefficients and the largest magnitude; twin of the C function."""
    value = q.astype(np.int64)
    if step != STEP_UNIT:
        symbol = np.clip(q - choice.base, -OFFSETS, OFFSETS) + OFFSETS
        offset = np.where(choice.raw > 0, half * np.sign(q), offsets[choice.row, symbol])
        value = in_step(value, offset, step)
    return value.astype(np.int32), int(np.abs(value).max(initial=0))


def in_step(q: NDArray[np.int64], offset: NDArray[np.integer], step: int) -> NDArray[np.int64]:
    """Integers and offsets in 64ths of a step to DN, the step being in sixteenths of one."""
    return ((q * 64 + offset) * step + 512) >> 10

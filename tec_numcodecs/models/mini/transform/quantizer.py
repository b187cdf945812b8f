"""One uniform quantiser step for the whole image, in integers.

The rate index r stands for a step of 2^(r/16) digital numbers in the orthonormal transform. The
lifting leaves out its scaling (see `.lifting`), so the step of a raw subband is the common
step divided by what that subband lacks, and never less than one: at r = 0 every step is one and
the codec is lossless.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import CorruptChunk, InvalidInput

LEVELS = 5
#: Largest rate index; its step is 2^13.9 DN, more than the whole range of reflectance.
MAX_RATE_INDEX = 223
#: 18-bit digital numbers cannot give larger coefficients; a stream that holds one is damaged.
COEFFICIENT_LIMIT = 1 << 22
#: Steps are kept in sixteenths of a digital number.
STEP_UNIT = 16

# Common step within an octave: 2^(k/16) for k = 0 .. 15, in units of 2^-16, rounded.
_MANTISSAS = (
    65536, 68438, 71468, 74632, 77936, 81386, 84990, 88752,
    92682, 96785, 101070, 105545, 110218, 115098, 120194, 125515,
)  # fmt: skip
# rint(2^16 / g), where g is the norm that the raw subband lacks: GAIN^(2 l) for HL and LH of
# level l, GAIN^(2 l - 2) for HH; the last row is the low-pass of level 4.
_INVERSE_NORMS = (
    (65536, 65536, 86612),
    (49589, 49589, 65536),
    (37522, 37522, 49589),
    (28392, 28392, 37522),
    (21483, 21483, 28392),
    (16255, 16255, 16255),
)


def steps(rate_index: int) -> NDArray[np.int64]:
    """Quantiser steps of all subbands.

    Parameters
    ----------
    rate_index : int
        0 (lossless) to 223.

    Returns
    -------
    int64 array (6, 3)
        Steps in sixteenths of a DN; rows are levels 0 (finest) to 4 and the low-pass, columns
        the orientations HL, LH, HH.

    Raises
    ------
    InvalidInput
        If the rate index is out of range.
    """
    if not 0 <= rate_index <= MAX_RATE_INDEX:
        raise InvalidInput(
            f"rate index {rate_index}",
            allowed=f"0 (lossless) to {MAX_RATE_INDEX}",
            fix="choose lam within the range of the model",
        )
    if rate_index == 0:
        return np.full((LEVELS + 1, 3), STEP_UNIT, np.int64)
    octave, sixteenth = divmod(rate_index, 16)
    step = _MANTISSAS[sixteenth] << octave  # common step, 2^-16 DN
    table = (step * np.array(_INVERSE_NORMS, np.int64) + (1 << 27)) >> 28
    return np.maximum(table, STEP_UNIT)


def dequantise(
    q: NDArray[np.int32], step: int, shrink: NDArray[np.int64] | None = None
) -> NDArray[np.int32]:
    """Integers back to coefficients.

    Parameters
    ----------
    q : int32 array
    step : int
        In sixteenths of a DN.
    shrink : int64 array, broadcastable to ``q``, optional
        How far the reconstruction lies inside its interval, towards zero, in 64ths of a step.
        Ignored where the step is one: there the integers are the coefficients.

    Returns
    -------
    int32 array of the shape of ``q``
        Coefficients in DN.

    Raises
    ------
    CorruptChunk
        If one is larger than ``COEFFICIENT_LIMIT``.
    """
    value = np.abs(q.astype(np.int64))
    if step != STEP_UNIT:
        value *= 64
        if shrink is not None:
            value = np.maximum(value - shrink, 0)
        value = (value * step + 512) >> 10
    if int(value.max(initial=0)) > COEFFICIENT_LIMIT:
        raise CorruptChunk(
            f"a coefficient of {int(value.max())} DN", allowed=f"up to {COEFFICIENT_LIMIT}"
        )
    return (np.sign(q) * value).astype(np.int32)


#: Step in DN that lam = 1 stands for. The mean squared error of a uniform quantiser is a twelfth
#: of the squared step, so the step goes with lam^(-1/2). Chosen so that lam = 10 costs about
#: what TerraCodec's published FP and ELIC cost on their example scene 0080717, first date: 0.04
#: bits per pixel and band.
STEP_OF_UNIT_LAMBDA = 3850.0


def rate_index_of(lam: float) -> int:
    """Rate index of a Lagrange multiplier.

    Parameters
    ----------
    lam : float
        Weight of the mean squared error of standardised bands, as in TerraCodec.

    Returns
    -------
    int
        1 to 223.

    Raises
    ------
    InvalidInput
        If it is not a number whose step the quantiser has.
    """
    if math.isfinite(lam) and lam > 0:
        index = round(16 * math.log2(STEP_OF_UNIT_LAMBDA / math.sqrt(lam)))
        if 1 <= index <= MAX_RATE_INDEX:
            return index
    low = (STEP_OF_UNIT_LAMBDA / 2 ** (MAX_RATE_INDEX / 16)) ** 2
    high = (STEP_OF_UNIT_LAMBDA / 2 ** (1 / 16)) ** 2
    raise InvalidInput(
        f"lam={lam!r}",
        allowed=f"{low:.3g} (smallest) to {high:.3g} (best)",
        fix="pass lam=20 for a start, or max_error=0 for lossless",
    )


def lam_of(rate_index: int) -> float:
    """Lagrange multiplier of a rate index, 1 to 223; undoes `rate_index_of`."""
    return (STEP_OF_UNIT_LAMBDA / 2 ** (rate_index / 16)) ** 2


def rate_index_of_step(step: float) -> int:
    """Rate index, 1 to 223, whose step in DN comes nearest."""
    return min(max(round(16 * math.log2(max(step, 1.0))), 1), MAX_RATE_INDEX)

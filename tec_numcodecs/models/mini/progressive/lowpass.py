"""The low-pass of mini `flextec`, which becomes known digit by digit as the details do.

The first pass codes it as the other models code whole integers, less the digits that are left for
later passes: three, fewer or none, by the rate (`.refining.low_digits`). In a pass that adds
a digit, a coefficient that was zero gets a flag that says whether it still is, then a sign; the
others get the digit. Signs and digits are raw. The rows of flags are those of `.blockflags`,
by how large the plane was before, and how large the component before has become.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans
from tec_numcodecs.models.mini.context.dequantize import within_limit
from tec_numcodecs.models.mini.progressive.bitplanes import FIRST_FLAG_ROW
from tec_numcodecs.models.mini.progressive.significance import FLAG_ROWS
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.subbands.bitstream import Stage, pull_flags

Int32Array = NDArray[np.int32]
# Logits of flags, by logistic regression on the low-pass of training scenes at many rates: weights
# of the two magnitudes and a constant, in 64ths of a row.
_OWN, _BEFORE, _CONSTANT = 9, 22, -819


def digit_stages(low: Int32Array, before: Int32Array, tables: rans.Tables) -> list[Stage]:
    """What a later pass says: integers as it knows them and as the pass before did.

    Parameters
    ----------
    low, before : int32 arrays (N, C, h, w)
    tables : Tables
        Those of the networks' rows.
    """
    stages: list[Stage] = []
    for k in range(low.shape[1]):
        was, now = before[:, k], low[:, k]
        zero, some = was == 0, now != 0
        if zero.any():
            rows = _flag_rows(before, low, k)[zero]
            stages.append((some[zero].astype(np.int32), rows, tables))
        if some.any():
            bits = np.where(zero, now < 0, np.abs(now) & 1)[some].astype(np.int32)
            stages.append((bits, _raw_rows(bits.size), tables))
    return stages


def read_digits(token: rans.Decoder, before: Int32Array, tables: rans.Tables) -> Int32Array:
    """Undo `digit_stages`.

    Raises
    ------
    CorruptChunk
        If a flag is one that no encoder writes.
    """
    low = np.zeros_like(before)
    for k in range(low.shape[1]):
        was = before[:, k]
        zero = was == 0
        some = ~zero
        if zero.any():
            rows = _flag_rows(before, low, k)[zero]
            some[zero] = pull_flags(token, rows, tables, "a flag of the low-pass")
        if some.any():
            bits = token.pull(_raw_rows(int(np.count_nonzero(some))), tables)
            known = was[some]
            finer = 2 * known + np.sign(known) * bits
            low[:, k][some] = np.where(known == 0, 1 - 2 * bits, finer)
    return low


def middles(low: Int32Array, digits: int, step: int) -> Int32Array:
    """Coefficients in DN of integers that lack some digits: the middles of what they may be.

    Parameters
    ----------
    low : int32 array
    digits : int
        How many they lack.
    step : int
        Of integers that lack none, in sixteenths of a DN.

    Raises
    ------
    CorruptChunk
        If one is larger than ``COEFFICIENT_LIMIT``.
    """
    sign = np.sign(low).astype(np.int64)
    doubled = (np.abs(low.astype(np.int64)) << (digits + 1)) + (1 << digits) - 1
    value = np.abs(sign) * ((32 * doubled * step + 512) >> 10)
    return within_limit((sign * value).astype(np.int32), int(value.max(initial=0)))


def _flag_rows(before: Int32Array, low: Int32Array, component: int) -> Int32Array:
    """Rows of the flags of a component, (N, h, w); those before it are known in ``low``."""
    was = before[:, component]
    own = _size_bins(np.abs(was))
    other = np.abs(low[:, component - 1]) if component else 2 * np.abs(was)
    logit = (_OWN * own + _BEFORE * _size_bins(other) + _CONSTANT) >> 6
    half = FLAG_ROWS // 2
    rows = FIRST_FLAG_ROW + half + np.clip(logit, -half, half - 1)
    return np.broadcast_to(rows[:, None, None], was.shape).astype(np.int32)


def _size_bins(magnitudes: Int32Array) -> NDArray[np.int64]:
    """Quarter-octave bins (N,) of mean magnitudes of planes (N, h, w), in 2^-8 steps."""
    area = magnitudes[0].size
    mean = (magnitudes.sum((1, 2), dtype=np.int64) << 8) // area
    scale = np.minimum(mean, frozen.SCALE_LIMIT - 1).astype(np.int32)
    return frozen.scale_bins(scale).astype(np.int64)


def _raw_rows(count: int) -> Int32Array:
    return np.full(count, rans.UNIFORM + 1, np.int32)

"""The entropy model of mini `fp`: frozen tables, chosen by a linear rule on decoded integers.

No network. A coefficient's table row is the logarithm of its expected magnitude, and that is a
weighted sum, in integers, of magnitudes that are known already: the parent in the coarser level,
the components before it and the orientations before it at the same place, each with its eight
neighbours. The weights belong to the level, component, orientation and octave of the rate.

The planes of a chunk are coded one after another, coarse to fine; everything a plane's rows
depend on lies in earlier planes, so a whole plane is one array operation and one call of the
entropy coder. Blocks of 8 x 8 coefficients that are all zero cost one flag.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy.rans import Tables
from tec_numcodecs.models.mini.transform.quantizer import LEVELS
from tec_numcodecs.models.mini.transform.wavelet_klt import LOW

Int32Array = NDArray[np.int32]

#: Magnitudes enter the context no larger than this.
CLIP = 1023
#: Parent, component before, the one before that, all components before, orientation before, the
#: one before that; of each the magnitude at the place and the sum over its eight neighbours.
FEATURES = 12
#: Expected magnitudes are in units of 2^-8, weights in units of 2^-12.
SCALE_LIMIT = 1 << 18
SCALE_BINS = 65
FLAG_BINS = 50
#: Planes may lie this many quarter-octaves off what the rule expects.
SHIFT_LIMIT = 8
_QUARTERS = (256, 304, 362, 431)  # 2^(k/4) in units of 2^-8
#: From this scale on (8 steps) the low bits of a symbol are stored raw.
_RAW_EXPONENT = 10
OCTAVES = 14
COMPONENTS = 12


@dataclass(frozen=True)
class Plane:
    """Place of a plane in the coding order."""

    level: int  # 4 to 0, or LOW
    component: int
    orientation: int


@dataclass(frozen=True)
class Prior:
    """Frozen integers of the entropy model.

    Attributes
    ----------
    weights : int32 array (octaves, 6, components, 3, FEATURES)
    bias : int32 array (octaves, 6, components, 3)
    group : int32 array (octaves,)
        Which set of tables an octave of the rate uses.
    coefficient_rows : int32 array (groups, 6, SCALE_BINS)
    flag_rows : int32 array (groups, 6, FLAG_BINS)
    shift_rows : int32 array (groups, 17)
        Rows of shifts -8 to 8, by the shift of the component before.
    shrink : int32 array (rows, 3)
        Per coefficient row and magnitude 1, 2, 3 or more: how far the reconstruction lies towards
        zero from the middle of its interval, in 64ths of a step.
    tables : Tables
    """

    weights: Int32Array
    bias: Int32Array
    group: Int32Array
    coefficient_rows: Int32Array
    flag_rows: Int32Array
    shift_rows: Int32Array
    shrink: Int32Array
    tables: Tables

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Prior:
        """Read the tensors named ``prior.*`` of a weights file."""
        own = ("weights", "bias", "group", "coefficient_rows", "flag_rows", "shift_rows", "shrink")
        return cls(
            **{name: np.asarray(arrays[f"prior.{name}"], np.int32) for name in own},
            tables=Tables.from_arrays(
                {name: arrays[f"prior.tables.{name}"] for name in ("cdf", "starts", "minimum")}
            ),
        )

    def rows_of(self, octave: int, plane: Plane, scale: Int32Array) -> Int32Array:
        """Table rows (P,) of coefficients with these expected magnitudes."""
        rows = self.coefficient_rows[self.group[octave], plane.level]
        return rows[scale_bins(scale).ravel()]

    def row_of_shift(self, octave: int, before: int) -> int:
        """Table row of a plane's shift, given that of the component before."""
        return int(self.shift_rows[self.group[octave], before + SHIFT_LIMIT])

    def rows_of_flags(self, octave: int, plane: Plane, sums: NDArray[np.int64]) -> Int32Array:
        """Table rows (blocks,) of block flags, from the blocks' sums after the shift."""
        rows = self.flag_rows[self.group[octave], plane.level]
        return rows[flag_bins(sums).ravel()]

    def shrink_of(
        self, octave: int, plane: Plane, scale: Int32Array, q: Int32Array
    ) -> NDArray[np.int64]:
        """How far inside their intervals integers ``q != 0`` are reconstructed, (P,)."""
        magnitude = np.minimum(np.abs(q), 3) - 1
        return self.shrink[self.rows_of(octave, plane, scale), magnitude].astype(np.int64)

    def bits_of(self, row: int, symbol: int) -> float:
        """Bits of one symbol that a row codes directly. Encoder only."""
        k = int(self.tables.starts[row]) + symbol - int(self.tables.minimum[row])
        return 16 - math.log2(int(self.tables.cdf[k + 1]) - int(self.tables.cdf[k]))

    @cached_property
    def magnitude_bits(self) -> NDArray[np.float32]:
        """Bits of the symbols +m and -m, on average, for m = 0 .. 31: (R, 32). Encoder only."""
        magnitudes = np.arange(32)
        out = np.empty((len(self.tables), len(magnitudes)), np.float32)
        for row, (first, last) in enumerate(pairwise(self.tables.starts)):
            width = np.diff(np.append(self.tables.cdf[first:last].astype(np.int64), 1 << 16))
            escape = len(width) - 1
            sides = []
            for sign in (1, -1):
                at = sign * magnitudes - int(self.tables.minimum[row])
                inside = (at >= 0) & (at < escape)
                # An escape costs its interval and a dozen raw bits or so.
                sides.append(16 - np.log2(width[np.where(inside, at, escape)]) + 12 * ~inside)
            out[row] = (sides[0] + sides[1]) / 2
        return out


#: Codes one plane: gets the plane and its expected magnitudes (N, h, w), returns the integers.
PlaneCoder = Callable[[Plane, Int32Array], Int32Array]


def walk(
    prior: Prior,
    shape: tuple[int, int],
    sizes: list[tuple[int, int]],
    octave: int,
    code: PlaneCoder,
    finest: int = 0,
) -> tuple[Int32Array, tuple[Int32Array, ...]]:
    """Visit all planes in coding order.

    Parameters
    ----------
    prior : Prior
    shape : (N, C)
        Dates and components.
    sizes : list of (height, width)
        Of the subbands of levels 0 to 4 and of the low-pass, see ``subband_sizes``.
    octave : int
        Of the rate index.
    code : callable
        See ``PlaneCoder``.
    finest : int
        Levels finer than this are not visited; their coefficients are zero.

    Returns
    -------
    low : int32 array (N, C, h, w)
        What ``code`` returned for the low-pass (prediction residuals).
    detail : tuple of int32 arrays (N, C, 3, h, w), levels 0 to 4
    """
    low = walk_low(prior, shape, sizes, octave, code)
    return low, walk_detail(prior, shape, sizes, octave, code, finest)


def walk_low(
    prior: Prior,
    shape: tuple[int, int],
    sizes: list[tuple[int, int]],
    octave: int,
    code: PlaneCoder,
) -> Int32Array:
    """Visit the planes of the low-pass; see `walk`."""
    low = np.zeros((*shape, 1, *sizes[LOW]), np.int32)
    _visit_level(prior, LOW, octave, low, None, code)
    return low[:, :, 0]


def walk_detail(
    prior: Prior,
    shape: tuple[int, int],
    sizes: list[tuple[int, int]],
    octave: int,
    code: PlaneCoder,
    finest: int = 0,
) -> tuple[Int32Array, ...]:
    """Visit the planes of levels 4 to 0; see `walk`."""
    detail = tuple(np.zeros((*shape, 3, *sizes[level]), np.int32) for level in range(LEVELS))
    parent = None
    for level in reversed(range(finest, LEVELS)):
        parent = _visit_level(prior, level, octave, detail[level], parent, code)
    return detail


def _visit_level(
    prior: Prior,
    level: int,
    octave: int,
    q: Int32Array,
    parent: Fields | None,
    code: PlaneCoder,
) -> Fields:
    """Code all planes of one level into ``q`` (N, C, O, h, w); return their magnitudes."""
    n, components, orientations, h, w = q.shape
    fields = Fields(components, orientations, (n, h, w), parent, finest=level == 0)
    for k in range(components):
        index = min(k, COMPONENTS - 1)
        for o in range(orientations):
            scale = expected_magnitude(
                prior.weights[octave, level, index, o],
                int(prior.bias[octave, level, index, o]),
                fields.sources(k, o),
                (n, h, w),
            )
            q[:, k, o] = code(Plane(level, k, o), scale)
            fields.set(k, o, q[:, k, o])
    return fields


class Fields:
    """Clipped magnitudes of the planes of a level, and the sums over their eight neighbours.

    Parameters
    ----------
    components, orientations : int
    shape : (N, h, w)
        Of one plane.
    parent : Fields, optional
        Of the next coarser level.
    finest : bool
        No level will ask for these as its parent, so that three components at a time are enough.
    """

    def __init__(
        self,
        components: int,
        orientations: int,
        shape: tuple[int, int, int],
        parent: Fields | None,
        *,
        finest: bool = False,
    ) -> None:
        self._shape = shape
        self._parent = parent
        kept = min(components, 3) if finest else components
        self._planes = np.zeros((kept, orientations, 2, *shape), np.int32)
        self._before = np.zeros((orientations, 2, *shape), np.int32)  # sums over components

    def sources(self, component: int, orientation: int) -> list[Int32Array | None]:
        """What is known when a plane is coded, in the order of ``FEATURES``.

        Each is a pair of fields, int32 (2, N, h, w): magnitude and neighbours; None is zeros.
        """
        k, o = component, orientation
        return [
            self._parent.enlarged(k, o, self._shape) if self._parent else None,
            self._plane(k - 1, o) if k >= 1 else None,
            self._plane(k - 2, o) if k >= 2 else None,
            self._before[o] if k >= 1 else None,
            self._plane(k, o - 1) if o >= 1 else None,
            self._plane(k, o - 2) if o >= 2 else None,
        ]

    def set(self, component: int, orientation: int, q: Int32Array) -> None:
        """Record the integers (N, h, w) of a plane; components come in order."""
        pair = self._plane(component, orientation)
        np.minimum(np.abs(q), CLIP, out=pair[0])
        pair[1] = _eight_neighbours(pair[0])
        self._before[orientation] += pair

    def _plane(self, component: int, orientation: int) -> Int32Array:
        return self._planes[component % len(self._planes), orientation]

    def enlarged(self, component: int, orientation: int, shape: tuple[int, int, int]) -> Int32Array:
        """Fields of a plane at twice the resolution, cut to (2, N, h, w)."""
        pair = self._plane(component, orientation)
        return pair.repeat(2, axis=-2).repeat(2, axis=-1)[..., : shape[1], : shape[2]]


def expected_magnitude(
    weights: Int32Array,
    bias: int,
    sources: list[Int32Array | None],
    shape: tuple[int, ...],
) -> Int32Array:
    """Expected magnitudes of a plane in 2^-8 steps: (bias + sum of weight x field) / 16, floored.

    ``sources`` are pairs of fields in the order of ``FEATURES``; None counts as zeros. Weights
    are frozen so that no sum reaches 2^31.
    """
    scale = np.full(shape, bias, np.int32)
    term = np.empty(shape, np.int32)
    for k, source in enumerate(sources):
        if source is None:
            continue
        for weight, values in zip(weights[2 * k : 2 * k + 2], source, strict=True):
            if weight:
                np.multiply(values, weight, out=term)
                scale += term
    scale >>= 4
    return np.minimum(scale, SCALE_LIMIT - 1, out=scale)


def shifted(scale: Int32Array, shift: int) -> Int32Array:
    """Expected magnitudes times 2^(shift / 4), in integers; -8 <= shift <= 8."""
    if shift == 0:
        return scale
    moved = _times_power(scale, shift)
    return np.minimum(moved, SCALE_LIMIT - 1, out=moved)


def shifted_sums(sums: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    """Sums of expected magnitudes over blocks, times 2^(shift / 4)."""
    return _times_power(sums, shift)


def _times_power(values: NDArray[Any], shift: int) -> NDArray[Any]:
    octaves, quarter = divmod(shift, 4)
    return (values * _QUARTERS[quarter]) >> (8 - octaves)


def matching_shift(scale: NDArray[np.integer], magnitudes: Int32Array) -> int:
    """Shift that brings the sum of expected magnitudes to that of those found, in steps."""
    if not scale.size or not magnitudes.any():
        return 0
    ratio = 256 * float(magnitudes.sum(dtype=np.float64)) / max(float(scale.sum()), 1.0)
    return int(np.clip(np.rint(4 * np.log2(ratio)), -SHIFT_LIMIT, SHIFT_LIMIT))


def scale_bins(scale: Int32Array) -> NDArray[np.uint8]:
    """Quarter-octave bins 0..64 of expected magnitudes."""
    return _SCALE_LUT[scale]


def raw_bits(scale: Int32Array) -> NDArray[np.uint8]:
    """How many low bits of a symbol are stored raw, 0..7."""
    return _RAW_LUT[scale]


def flag_bins(sums: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Half-octave bins 0..49 of the expected magnitudes of whole blocks (sums over them)."""
    mantissa, exponent = np.frexp(np.clip(sums, 1, 1 << 24).astype(np.float64))
    return (2 * (exponent - 1) + (mantissa >= 0.75)).astype(np.uint8)


def _eight_neighbours(m: Int32Array) -> Int32Array:
    """Sum over the eight neighbours, zero beyond the edge; (N, h, w)."""
    rows = m.copy()
    rows[:, 1:] += m[:, :-1]
    rows[:, :-1] += m[:, 1:]
    total = rows - m
    total[:, :, 1:] += rows[:, :, :-1]
    total[:, :, :-1] += rows[:, :, 1:]
    return total


def _exponent(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """floor(log2(v)) for v >= 1."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1


def _scale_lut() -> NDArray[np.uint8]:
    scale = np.arange(4, SCALE_LIMIT, dtype=np.int64)
    n = _exponent(scale)
    bins = 1 + 4 * (n - 2) + ((scale >> (n - 2)) & 3)
    return np.concatenate([np.zeros(4, np.int64), bins]).astype(np.uint8)


def _raw_lut() -> NDArray[np.uint8]:
    scale = np.arange(SCALE_LIMIT, dtype=np.int64)
    return np.maximum(_exponent(np.maximum(scale, 1)) - _RAW_EXPONENT, 0).astype(np.uint8)


_SCALE_LUT = _scale_lut()
_RAW_LUT = _raw_lut()


def predict_low(q: Int32Array) -> Int32Array:
    """Low-pass integers to prediction residuals, (N, C, h, w).

    The prediction is the median of left, upper and left + upper - upper left (the LOCO-I
    predictor; Weinberger, Seroussi & Sapiro 2000, equation 1); outside the plane counts as zero.
    """
    padded = np.pad(q, ((0, 0), (0, 0), (1, 0), (1, 0)))
    return q - _median(padded[..., 1:, :-1], padded[..., :-1, 1:], padded[..., :-1, :-1])


def restore_low(residuals: Int32Array) -> Int32Array:
    """Undo `predict_low`; integers wrap around at 32 bits."""
    n, c, h, w = residuals.shape
    padded = np.zeros((n, c, h + 1, w + 1), np.int32)
    for y in range(1, h + 1):
        for x in range(1, w + 1):
            padded[..., y, x] = residuals[..., y - 1, x - 1] + _median(
                padded[..., y, x - 1], padded[..., y - 1, x], padded[..., y - 1, x - 1]
            )
    return np.ascontiguousarray(padded[..., 1:, 1:])


def _median(left: Int32Array, upper: Int32Array, corner: Int32Array) -> Int32Array:
    low, high = np.minimum(left, upper), np.maximum(left, upper)
    return np.clip(left + upper - corner, low, high)

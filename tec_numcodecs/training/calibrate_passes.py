"""Where coefficients lie above their integers after each pass of `flextec`, measured.

Offsets depend on the table row, so on what the networks expect; rows that were seen rarely lean on
others of the same pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.base import Cube, Geometry, Rate
from tec_numcodecs.models.mini.context import mixture_cdf
from tec_numcodecs.models.mini.context.dequantize import OFFSETS
from tec_numcodecs.models.mini.context.mixture_cdf import Choice
from tec_numcodecs.models.mini.context.scan import Index
from tec_numcodecs.models.mini.flextec import MiniFlex
from tec_numcodecs.models.mini.progressive.bitplanes import (
    DIGIT_ROWS,
    FIRST_DIGIT_ROW,
    MIXTURE_ROWS,
    PASSES,
    RefiningWalk,
)
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane
from tec_numcodecs.models.mini.transform.quantizer import STEP_UNIT
from tec_numcodecs.models.mini.transform.wavelet_klt import Coefficients
from tec_numcodecs.training.dataset.progressive_samples import code_passes

Int32Array = NDArray[np.int32]
Float64Array = NDArray[np.float64]
#: Observations that a symbol's mean over a pass is worth.
_PRIOR_WEIGHT = 100.0
_WIDTH = 2 * OFFSETS + 1


class _Sums:
    """How often cells of a table were met, and how far values lay above integers there."""

    def __init__(self, *shape: int) -> None:
        self._shape = shape
        self.count = np.zeros(int(np.prod(shape)))
        self.total = np.zeros_like(self.count)

    def add(
        self, row: NDArray[np.integer], symbol: NDArray[np.integer], above: Float64Array
    ) -> None:
        """Note values of rows and symbols, arrays (P,)."""
        cell = row * self._shape[-1] + symbol
        self.count += np.bincount(cell, minlength=len(self.count))
        self.total += np.bincount(cell, above, len(self.count))

    def offsets(self, keys: NDArray[np.integer]) -> NDArray[np.int8]:
        """Mean of rows of one key, drawn to the mean of the symbol, in 64ths: (rows, symbols)."""
        count, total = self.count.reshape(self._shape), self.total.reshape(self._shape)
        middle = total.sum(axis=0) / np.maximum(count.sum(axis=0), 1)
        groups = int(keys.max()) + 1
        counts, totals = np.zeros((groups, count.shape[1])), np.zeros((groups, count.shape[1]))
        np.add.at(counts, keys, count)
        np.add.at(totals, keys, total)
        means = (totals + _PRIOR_WEIGHT * middle) / (counts + _PRIOR_WEIGHT)
        return np.clip(np.rint(64 * means), -127, 127).astype(np.int8)[keys]


#: Of the first pass; of zeros and of digits of each later one.
_PassSums = tuple[_Sums, list[_Sums], list[_Sums]]


class _Observing(RefiningWalk):
    """A pass that notes where values lie."""

    values: Coefficients
    sums: _PassSums

    def _place(self, plane: Plane, flat: Index, q: Int32Array, choice: Choice) -> None:
        super()._place(plane, flat, q, choice)
        step = int(self._steps[plane.level, plane.orientation])
        if step == STEP_UNIT:
            return
        values = self.values.detail[plane.level][:, plane.component, plane.orientation]
        above = np.clip(values.ravel()[flat] * (STEP_UNIT / step) - q, -2, 2)
        first, zeros, digits = self.sums
        if self.number == 0:
            use = choice.raw == 0
            symbol = np.clip((q - choice.base)[use], -OFFSETS, OFFSETS) + OFFSETS
            first.add(choice.row[use], symbol, above[use])
            return
        digit = choice.row >= FIRST_DIGIT_ROW
        new = ~digit
        zeros[self.number - 1].add(choice.row[new] - MIXTURE_ROWS, q[new] + 1, above[new])
        known = (np.sign(q) * above)[digit]
        digits[self.number - 1].add(choice.row[digit] - FIRST_DIGIT_ROW, q[digit] & 1, known)


def fit_pass_offsets(
    arrays: Mapping[str, NDArray[np.generic]],
    samples: Iterable[tuple[Cube, Geometry, Rate]],
) -> dict[str, NDArray[np.generic]]:
    """Measure reconstruction offsets of all passes.

    Parameters
    ----------
    arrays : mapping
        Frozen weights; what networks expect depends on the offsets in them.
    samples : iterable of (cube, geometry, rate)

    Returns
    -------
    dict of arrays
        ``flex.offsets.first``, ``.zeros``, ``.digits``; see `.refining.Refining`.
    """
    model = MiniFlex(arrays)
    later = range(PASSES - 1)
    first = _Sums(MIXTURE_ROWS, _WIDTH)
    zeros = [_Sums(MIXTURE_ROWS, 3) for _ in later]
    digits = [_Sums(DIGIT_ROWS, 2) for _ in later]
    sums = first, zeros, digits
    for cube, geometry, rate in samples:
        _observe(model, cube, geometry, rate, sums)
    mixture, of_digits = _keys()
    return {
        "flex.offsets.first": first.offsets(mixture),
        "flex.offsets.zeros": np.stack([sums.offsets(mixture) for sums in zeros]),
        "flex.offsets.digits": np.stack([sums.offsets(of_digits) for sums in digits]),
    }


def _observe(model: MiniFlex, cube: Cube, geometry: Geometry, rate: Rate, sums: _PassSums) -> None:
    """Code a crop and note where its values lie."""
    found = model._transform(geometry).forward(cube, rate.index)

    def observe(walk: _Observing) -> None:
        walk.values, walk.sums = found, sums

    code_passes(model, found, geometry, rate, _Observing, observe)


def untrained_offsets() -> dict[str, NDArray[np.generic]]:
    """Middles of intervals: of truncated values, in the last pass of rounded ones."""
    sign = np.sign(np.arange(-OFFSETS, OFFSETS + 1))
    first = np.broadcast_to(26 * sign, (MIXTURE_ROWS, _WIDTH))
    middle = np.array([26, 22, -4])
    zeros = np.broadcast_to(
        middle[:, None, None] * np.array([-1, 0, 1]), (PASSES - 1, MIXTURE_ROWS, 3)
    )
    digits = np.broadcast_to(middle[:, None, None], (PASSES - 1, DIGIT_ROWS, 2))
    named = {"first": first, "zeros": zeros, "digits": digits}
    return {f"flex.offsets.{name}": values.astype(np.int8) for name, values in named.items()}


def _keys() -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Rows of the mixture and of digits that share offsets: shapes, and every second scale."""
    places = [(row.scale // 2, round(row.mean)) for row in mixture_cdf.all_rows()]
    index = {place: i for i, place in enumerate(sorted(set(places)))}
    rows = np.arange(DIGIT_ROWS) // mixture_cdf.SHAPES  # magnitude, scale
    return np.array([index[place] for place in places]), rows // 2

"""Where coefficients lie in their intervals, measured: reconstruction offsets of frozen weights.

The middle of the interval is the best reconstruction of neither a peaked distribution nor of
integers that were chosen by rate-distortion optimization. What is left between the centroids that
the distributions imply and what the encoder really does is measured on the training scenes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.base import Cube, Geometry, Rate
from tec_numcodecs.models.mini.context import mixture_cdf
from tec_numcodecs.models.mini.context.dequantize import OFFSETS
from tec_numcodecs.models.mini.context.mixture_cdf import Choice
from tec_numcodecs.models.mini.context.subband_coder import Networks
from tec_numcodecs.models.mini.context.symbols import Prices
from tec_numcodecs.models.mini.elic import MiniElic
from tec_numcodecs.models.mini.transform.quantizer import STEP_UNIT

Int32Array = NDArray[np.int32]
#: Observations that the implied centroid is worth.
_PRIOR_WEIGHT = 300.0
_WIDTH = 2 * OFFSETS + 1


class _Observing(Prices):
    """Decides, and sums where values lie around their integers, per table row and symbol."""

    def __init__(self, networks: Networks) -> None:
        super().__init__(networks)
        rows = len(mixture_cdf.all_rows())
        self.total = np.zeros(rows * _WIDTH)
        self.count = np.zeros(rows * _WIDTH)

    def decide(self, values: Int32Array, step: int, choice: Choice) -> Int32Array:
        """Decide, and note down."""
        q = super().decide(values, step, choice)
        if step != STEP_UNIT:
            use = choice.raw == 0
            symbol = np.clip((q - choice.base)[use], -OFFSETS, OFFSETS) + OFFSETS
            cell = choice.row[use] * _WIDTH + symbol
            lies = np.clip((values * (STEP_UNIT / step) - q)[use], -1, 1)
            self.total += np.bincount(cell, lies, len(self.total))
            self.count += np.bincount(cell, minlength=len(self.count))
        return q


def fit_offsets(
    arrays: Mapping[str, NDArray[np.generic]],
    implied: NDArray[np.generic],
    samples: Iterable[tuple[Cube, Geometry, Rate]],
) -> dict[str, NDArray[np.generic]]:
    """Measure reconstruction offsets.

    Parameters
    ----------
    arrays : mapping
        Frozen weights; the encoder's decisions depend on the offsets in them.
    implied : int8 array (rows, 7)
        Offsets that the distributions imply.
    samples : iterable of (cube, geometry, rate)

    Returns
    -------
    dict of arrays
        ``offsets``, int8 (rows, 7), in 64ths of a step.
    """
    model = MiniElic(arrays)
    observing = _Observing(model._networks)
    model._prices = observing
    for cube, geometry, rate in samples:
        model.analysis([cube], [geometry], [rate])
    return {"offsets": _combine(np.asarray(implied, np.float64) / 64, observing)}


def _combine(implied: NDArray[np.float64], observer: _Observing) -> NDArray[np.int8]:
    """Add to the implied offsets what is measured beyond them, shared by similar rows."""
    rows = mixture_cdf.all_rows()
    total, count = (x.reshape(-1, _WIDTH) for x in (observer.total, observer.count))
    surplus = total - implied * count
    # A row and its mirror image are alike, and so are shapes; every second scale is enough.
    keys = [((row.scale + 36) // 2, round(row.mean + 0.5)) for row in rows]
    index = {key: i for i, key in enumerate(sorted(set(keys)))}
    own = np.array([index[key] for key in keys])
    mirror = np.array([index.get((scale, -mean), index[scale, mean]) for scale, mean in keys])
    sums = np.zeros((len(index), _WIDTH))
    counts = np.zeros((len(index), _WIDTH))
    np.add.at(sums, own, surplus)
    np.add.at(counts, own, count)
    np.add.at(sums, mirror, -surplus[:, ::-1])
    np.add.at(counts, mirror, count[:, ::-1])
    shift = sums / (counts + _PRIOR_WEIGHT)
    return np.clip(np.rint((implied + shift[own]) * 64), -100, 100).astype(np.int8)

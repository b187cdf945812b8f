"""Where coefficients lie in their intervals, measured: reconstruction offsets of frozen weights.

The middle of the interval is the best reconstruction of neither a peaked distribution nor of
integers that were chosen by rate-distortion optimisation. What is left between the centroids that
the distributions imply and what the encoder really does is measured on the training scenes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.base import Cube, Geometry, Rate
from tec_numcodecs.models.mini import mixture_rows
from tec_numcodecs.models.mini.context import MiniElic
from tec_numcodecs.models.mini.quantiser import STEP_UNIT
from tec_numcodecs.models.mini.stagecoders import Deciding
from tec_numcodecs.models.mini.transform import LOW
from tec_numcodecs.models.mini.walk import OFFSETS, Int32Array, Stage
from tec_numcodecs.training.export import Arrays

#: Observations that the implied centroid is worth.
_PRIOR_WEIGHT = 300.0
_WIDTH = 2 * OFFSETS + 1


class _Observer:
    """Sums of where values lie around their integers, per table row and symbol."""

    def __init__(self, rows: int) -> None:
        self.total = np.zeros(rows * _WIDTH)
        self.count = np.zeros(rows * _WIDTH)

    def see(
        self, stage: Stage, q: Int32Array, exact: NDArray[np.float32], use: NDArray[np.bool_]
    ) -> None:
        """Add one stage."""
        use = use & (stage.raw == 0)
        symbol = np.clip((q - stage.base)[use], -OFFSETS, OFFSETS) + OFFSETS
        cell = stage.row[use] * _WIDTH + symbol
        lies = np.clip((exact - q)[use], -1, 1)
        self.total += np.bincount(cell, lies, len(self.total))
        self.count += np.bincount(cell, minlength=len(self.count))


def fit_offsets(
    arrays: Arrays,
    implied: NDArray[np.generic],
    samples: Iterable[tuple[Cube, Geometry, Rate]],
) -> NDArray[np.int8]:
    """Measure reconstruction offsets.

    Parameters
    ----------
    arrays : dict of arrays
        Frozen weights; the encoder's decisions depend on the offsets in them.
    implied : int8 array (rows, 7)
        Offsets that the distributions imply.
    samples : iterable of (cube, geometry, rate)

    Returns
    -------
    int8 array (rows, 7)
        Offsets in 64ths of a step.
    """
    model = MiniElic(arrays)
    observer = _Observer(len(mixture_rows.all_rows()))

    class Observing(Deciding):
        def _decide(
            self, values: Int32Array, step: NDArray[np.int64], stage: Stage, price: float
        ) -> Int32Array:
            q = super()._decide(values, step, stage, price)
            if stage.level != LOW:
                exact = (values * (STEP_UNIT / step)).astype(np.float32)
                observer.see(stage, q, exact, step > STEP_UNIT)
            return q

    model.deciding = Observing
    for cube, geometry, rate in samples:
        model.analysis([cube], [geometry], [rate])
    return _combine(np.asarray(implied, np.float64) / 64, observer)


def _combine(implied: NDArray[np.float64], observer: _Observer) -> NDArray[np.int8]:
    """Add to the implied offsets what is measured beyond them, shared by similar rows."""
    rows = mixture_rows.all_rows()
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

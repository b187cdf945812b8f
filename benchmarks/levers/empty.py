"""What dates without any data cost today, and what they would as one bit a date."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.levers.transform import Scene
from tec_numcodecs.chunk import decoding
from tec_numcodecs.config import CodecConfig


def sizes(scene: Scene, model: str, lam: float, gap: int) -> tuple[int, int, int]:
    """Bytes of a series with ``gap`` empty dates after each date that has data.

    Returns
    -------
    today : int
        With the empty dates, as today's format stores them.
    without : int
        Of the dates with data alone.
    bitmap : int
        The same and a bit for each date.
    """
    t, c, h, w = scene.data.shape
    series = np.zeros((t * (gap + 1), c, h, w), np.uint16)
    series[:: gap + 1] = np.maximum(scene.data, 1)
    today = _stored(scene, series, model, lam)
    without = _stored(scene, series[:: gap + 1], model, lam)
    return today, without, without + -(-len(series) // 8)


def _stored(scene: Scene, samples: NDArray[np.uint16], model: str, lam: float) -> int:
    names: Sequence[str] = [scene.sensor.bands[b] for b in scene.bands]
    sensor = scene.sensor.name
    config = CodecConfig.parse(model, lam, bands=names, sensor=sensor, nodata=0)
    (data,) = decoding.encode([np.ascontiguousarray(samples)], config)
    (found,) = decoding.decode([data], config)
    if not np.array_equal(found == 0, samples == 0):
        raise RuntimeError("nodata did not come back")
    return len(data)

"""The bundled context models, and latents that depend on a seed only."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.base import Geometry, Latents, Rate
from tec_numcodecs.models.mini.context import MiniElic
from tec_numcodecs.models.mini.temporal import MiniTT
from tec_numcodecs.models.mini.transform import subband_sizes
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.weights import files, registry

L2A = get_sensor("sentinel-2-l2a")
L1C = get_sensor("sentinel-2-l1c")
MODELS = (MiniElic, MiniTT)


@cache
def arrays() -> dict[str, NDArray[np.generic]]:
    weights = registry.resolve("mini", "elic")
    return files.load(registry.locate(weights), weights.sha256)


@cache
def model(kind: type[MiniElic]) -> MiniElic:
    return kind(arrays())


def geometry(shape: tuple[int, int, int, int], bands: Any = None, sensor: Any = L2A) -> Geometry:
    return Geometry(shape, sensor, tuple(range(shape[1]) if bands is None else bands))


def invented(kind: type[MiniElic], where: Geometry, rate: Rate, seed: int) -> Latents:
    """Latents that no encoder would choose: the decoder must cope with any."""
    random = np.random.default_rng(seed)
    t, c, h, w = where.shape
    low_h, low_w = subband_sizes(h, w)[-1]
    header = random.integers(0, 4, (t, kind.header_width))
    count = t * c * (low_h * low_w + sum(3 * y * x for y, x in subband_sizes(h, w)[:-1]))
    q = np.rint(
        random.laplace(0, 0.6, count) * random.choice([0.3, 1, 40], count, p=[0.8, 0.19, 0.01])
    )
    symbols = np.concatenate([header.ravel(), q]).astype(np.int32)
    return Latents(where, rate, symbols)

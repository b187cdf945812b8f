"""The bundled context models, and latents that depend on a seed only."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.base import Geometry, Latents, Rate
from tec_numcodecs.models.mini.elic import MiniElic
from tec_numcodecs.models.mini.flextec import MiniFlex, latents_of_tokens
from tec_numcodecs.models.mini.fp import latents_of
from tec_numcodecs.models.mini.subbands.bitstream import Shifts
from tec_numcodecs.models.mini.transform.wavelet_klt import Coefficients, subband_sizes
from tec_numcodecs.models.mini.tt import MiniTT, latents_of_dates
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.weights import local_store, safetensors_io

L2A = get_sensor("sentinel-2-l2a")
L1C = get_sensor("sentinel-2-l1c")
MODELS = (MiniElic, MiniTT, MiniFlex)


@cache
def arrays(model: str = "elic") -> dict[str, NDArray[np.generic]]:
    weights = local_store.resolve("mini", model)
    return safetensors_io.load(local_store.locate(weights), weights.sha256)


@cache
def model(kind: type[MiniElic]) -> MiniElic:
    return kind(arrays(kind.name))


def geometry(shape: tuple[int, int, int, int], bands: Any = None, sensor: Any = L2A) -> Geometry:
    return Geometry(shape, sensor, tuple(range(shape[1]) if bands is None else bands))


def invented(kind: type[MiniElic], where: Geometry, rate: Rate, seed: int) -> Latents:
    """Latents that no encoder would choose: the decoder must cope with any."""
    random = np.random.default_rng(seed)
    t, c, h, w = where.shape

    def integers(*shape: int) -> NDArray[np.int32]:
        scale = random.choice([0.3, 1, 40], shape, p=[0.8, 0.19, 0.01])
        return np.rint(random.laplace(0, 0.6, shape) * scale).astype(np.int32)

    def shifts(followed: Shifts | None = None) -> Shifts:
        own = Shifts(c, followed)
        own.values[:-1] = random.integers(-8, 9, (5, c, 3))
        own.values[-1, :, 0] = random.integers(-8, 9, c)
        return own

    sizes = subband_sizes(h, w)
    detail = tuple(integers(t, c, 3, *size) for size in sizes[:-1])
    entries = random.integers(0, 4, (t, 6)).astype(np.uint8)
    q = Coefficients(integers(t, c, *sizes[-1]), detail, entries)
    if kind is MiniTT:
        every = [shifts() for _ in range(t)]
        return latents_of_dates(where, rate, q, [0, *[1] * (t - 1)], every, {})
    if kind is MiniFlex:
        return latents_of_tokens(where, rate, q, {})
    return latents_of(where, rate, q, shifts(), {})

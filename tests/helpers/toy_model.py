"""A model of a family of its own, in one module: what adding a model to the package takes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.base import Cube, Geometry, Latents, Model, Rate
from tec_numcodecs.models.table import Family, ModelSpec
from tec_numcodecs.weights.local_store import WeightsId


class Shift(Model):
    """Drops as many bits as the rate index says, and hands the rest to zlib."""

    name = "shift"
    synthesis_kind = "exact"

    def analysis(
        self, cubes: Sequence[Cube], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        return [
            Latents(geometry, rate, (cube >> rate.index).astype(np.int32).reshape(-1))
            for cube, geometry, rate in zip(cubes, geometries, rates, strict=True)
        ]

    def entropy_encode(self, latents: Sequence[Latents]) -> list[bytes]:
        return [zlib.compress(item.symbols.astype("<i4").tobytes()) for item in latents]

    def entropy_decode(
        self, payloads: Sequence[bytes], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        found = []
        for payload, geometry, rate in zip(payloads, geometries, rates, strict=True):
            symbols = np.frombuffer(zlib.decompress(payload), "<i4")
            if symbols.size != np.prod(geometry.shape):
                raise CorruptChunk(f"{symbols.size} symbols", allowed=f"{geometry.shape}")
            found.append(Latents(geometry, rate, symbols))
        return found

    def synthesis(self, latents: Sequence[Latents]) -> list[Any]:
        return [
            (item.symbols << item.rate.index).reshape(item.geometry.shape).astype(np.int32)
            for item in latents
        ]


def read(spec: ModelSpec, path: Path, weights: WeightsId) -> Model:
    assert path.stem == weights.sha256
    return Shift()


def rate_index_of(lam: float) -> int:
    return max(0, 8 - round(np.log2(lam)))


def rate_index_of_step(step: float) -> int:
    return int(np.log2(step))


def lam_of(rate_index: int) -> float:
    return float(2.0 ** (8 - rate_index))


FAMILY = Family("toy", reader="toy_model:read", rates="toy_model", reversible=True, largest=1 << 10)
ROW = ModelSpec(FAMILY, "shift", 200, "toy_model:Shift", "drops bits")

"""Mini `elic`: the fixed transform with a coarse-to-fine, space-channel context model.

Named after TerraCodec's ELIC, whose place it takes in the family. Transform, order of planes,
shifts, block flags and low-pass are those of `.fp`; inside coded blocks small integer
networks say how every coefficient is distributed, see `.detail`. NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans
from tec_numcodecs.models.base import Cube, Geometry, Latents, Rate
from tec_numcodecs.models.mini.context.coders import Deciding, Decoding, Going
from tec_numcodecs.models.mini.context.subband_coder import DetailWalk, Networks
from tec_numcodecs.models.mini.context.symbols import Prices
from tec_numcodecs.models.mini.fp import MiniFP, latents_of
from tec_numcodecs.models.mini.subbands.bitstream import PlaneReader, Shifts, Stage
from tec_numcodecs.models.mini.transform.by_level import LevelTransform
from tec_numcodecs.models.mini.transform.wavelet_klt import Coefficients

Int32Array = NDArray[np.int32]


class MiniElic(MiniFP):
    """The context model.

    Parameters
    ----------
    arrays : mapping of str to array
        Contents of the weights file.
    """

    name = "elic"

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        super().__init__(arrays)
        self._networks = Networks(arrays, "elic")
        self._prices = Prices(self._networks)
        self._levelwise: dict[tuple[int, tuple[int, ...]], LevelTransform] = {}

    def synthesis(self, latents: Sequence[Latents]) -> list[NDArray[Any]]:
        return [
            item.state["pixels"] if "pixels" in item.state else self._pixels_of(item)
            for item in latents
        ]

    def _pixels_of(self, latents: Latents) -> Int32Array:
        return self._go(latents).walk.finish()[0]

    def _transform(self, geometry: Geometry) -> LevelTransform:
        key = (geometry.sensor.id, geometry.bands)
        if key not in self._levelwise:
            codebook = self._codebook(geometry.sensor)
            self._levelwise[key] = LevelTransform(codebook, geometry.bands)
        return self._levelwise[key]

    def _detail_walk(self, geometry: Geometry, rate: Rate) -> DetailWalk:
        transform, size = self._transform(geometry), geometry.shape[2:]
        return DetailWalk(self._networks, transform, rate.index, size)

    def _analyse(self, cube: Cube, geometry: Geometry, rate: Rate) -> Latents:
        found = self._transform(geometry).forward(cube, rate.index)
        coder, q = self._decide(found, geometry, rate)
        pixels, _ = coder.walk.finish()
        state = {"stages": coder.writer.stages, "pixels": pixels}
        return latents_of(geometry, rate, q, coder.writer.shifts, state)

    def _decide(
        self, found: Coefficients, geometry: Geometry, rate: Rate
    ) -> tuple[Deciding, Coefficients]:
        """Coefficients to integers."""
        coder = Deciding(
            self._detail_walk(geometry, rate),
            rate.index,
            self._prior,
            self._prices,
            found,
        )
        coder.writer.stages.append(self._entry_stage(found.entries))
        _, detail = self._walk(geometry, rate, coder)
        return coder, Coefficients(coder.low, detail, found.entries)

    def _stages_of(self, latents: Latents) -> list[Stage]:
        return self._go(latents).writer.stages

    def _decode(self, payload: bytes, geometry: Geometry, rate: Rate) -> Latents:
        decoder = rans.Decoder(payload)
        entries = self._read_entries(decoder, geometry)
        reader = PlaneReader(decoder, self._prior, Shifts(geometry.shape[1]), rate.index // 16)
        walk = self._detail_walk(geometry, rate)
        coder = Decoding(walk, rate.index, entries, reader, decoder)
        _, detail = self._walk(geometry, rate, coder)
        decoder.finish()
        q = Coefficients(coder.low, detail, entries)
        return latents_of(geometry, rate, q, reader.shifts, {"pixels": walk.finish()[0]})

    def _go(self, latents: Latents) -> Going:
        """Go over latents of which only the symbols are known."""
        geometry, rate = latents.geometry, latents.rate
        q, shifts = latents.state["q"], latents.state["shifts"]
        walk = self._detail_walk(geometry, rate)
        coder = Going(walk, rate.index, self._prior, q, shifts)
        coder.writer.stages.append(self._entry_stage(q.entries))
        self._walk(geometry, rate, coder)
        return coder

"""Mini `fp`: fixed transform, frozen tables. NumPy only: no network, no torch.

Named after TerraCodec's factorised-prior codec, whose place it takes in the family: the model
without a learned network in the entropy path. Each date is coded on its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs import rans
from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.base import Cube, Geometry, Latents, Model, Rate
from tec_numcodecs.models.mini import prior as frozen
from tec_numcodecs.models.mini.decision import Decider
from tec_numcodecs.models.mini.prior import Plane, Prior
from tec_numcodecs.models.mini.quantiser import COEFFICIENT_LIMIT, dequantise, steps
from tec_numcodecs.models.mini.transform import (
    LOW,
    Codebook,
    Coefficients,
    Transform,
    subband_sizes,
)

Int32Array = NDArray[np.int32]

_ENTRY_BITS = 4


class MiniFP(Model):
    """The model without a network.

    Parameters
    ----------
    arrays : mapping of str to array
        Contents of the weights file: ``codebook.<sensor name>`` and ``prior.*``.
    """

    name = "fp"
    synthesis_kind = "exact"

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        self._arrays = arrays
        self._prior = Prior.from_arrays(arrays)
        self._transforms: dict[tuple[int, tuple[int, ...]], Transform] = {}

    def analysis(
        self, cubes: Sequence[Cube], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        return [
            self._analyse(cube, geometry, rate)
            for cube, geometry, rate in zip(cubes, geometries, rates, strict=True)
        ]

    def entropy_encode(self, latents: Sequence[Latents]) -> list[bytes]:
        return [self._encode(item) for item in latents]

    def entropy_decode(
        self, payloads: Sequence[bytes], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        return [
            self._decode(payload, geometry, rate)
            for payload, geometry, rate in zip(payloads, geometries, rates, strict=True)
        ]

    def synthesis(self, latents: Sequence[Latents]) -> list[NDArray[Any]]:
        cubes: list[NDArray[Any]] = []
        for item in latents:
            _, _, height, width = item.geometry.shape
            found = self._dequantised(item)
            cubes.append(self._transform(item.geometry).inverse(found, height, width))
        return cubes

    def _transform(self, geometry: Geometry) -> Transform:
        key = (geometry.sensor.id, geometry.bands)
        if key not in self._transforms:
            covariances = np.asarray(self._arrays[f"codebook.{geometry.sensor.name}"], np.float32)
            codebook = Codebook(geometry.sensor, covariances)
            self._transforms[key] = Transform(codebook, geometry.bands)
        return self._transforms[key]

    def _walk(
        self, geometry: Geometry, rate: Rate, code: frozen.PlaneCoder
    ) -> tuple[Int32Array, tuple[Int32Array, ...]]:
        t, c, h, w = geometry.shape
        return frozen.walk(self._prior, (t, c), subband_sizes(h, w), rate.index // 16, code)

    # -- encoder ------------------------------------------------------------------------------

    def _analyse(self, cube: Cube, geometry: Geometry, rate: Rate) -> Latents:
        coefficients = self._transform(geometry).forward(cube, rate.index)
        decider = Decider(self._prior, rate.index)
        low = decider.low(coefficients.low)
        residuals = frozen.predict_low(low)

        def choose(plane: Plane, scale: Int32Array) -> Int32Array:
            if plane.level == LOW:
                return residuals[:, plane.component]
            values = coefficients.detail[plane.level][:, plane.component, plane.orientation]
            return decider.detail(plane, values, scale)

        _, detail = self._walk(geometry, rate, choose)
        q = Coefficients(low, detail, coefficients.entries)
        return Latents(geometry, rate, frozen.coding_order(q), {"q": q})

    def _encode(self, latents: Latents) -> bytes:
        q: Coefficients = latents.state["q"]
        encoder = rans.Encoder()
        entries = q.entries.ravel().astype(np.int32)
        rows = np.full(entries.shape, rans.UNIFORM + _ENTRY_BITS, np.int32)
        encoder.push(entries, rows, self._prior.tables)
        residuals = frozen.predict_low(q.low)
        octave = latents.rate.index // 16

        def write(plane: Plane, scale: Int32Array) -> Int32Array:
            if plane.level == LOW:
                values = residuals[:, plane.component]
            else:
                values = q.detail[plane.level][:, plane.component, plane.orientation]
            self._write_plane(encoder, octave, plane, scale, values)
            return values

        self._walk(latents.geometry, latents.rate, write)
        return encoder.finish()

    def _write_plane(
        self,
        encoder: rans.Encoder,
        octave: int,
        plane: Plane,
        scale: Int32Array,
        values: Int32Array,
    ) -> None:
        """Push the block flags, the symbols and their raw low bits of one plane (N, h, w)."""
        tables = self._prior.tables
        flags = frozen.block_sum(values != 0) > 0
        encoder.push(
            flags.ravel().astype(np.int32), self._prior.rows_of_flags(octave, plane, scale), tables
        )
        coded = frozen.spread_blocks(flags, *values.shape[1:])
        values, scale = values[coded], scale[coded]
        raw = frozen.raw_bits(scale).astype(np.int32)
        encoder.push(values >> raw, self._prior.rows_of(octave, plane, scale), tables)
        partly = raw > 0
        if partly.any():
            low_bits = values[partly] & ((1 << raw[partly]) - 1)
            encoder.push(low_bits, rans.UNIFORM + raw[partly], tables)

    # -- decoder ------------------------------------------------------------------------------

    def _decode(self, payload: bytes, geometry: Geometry, rate: Rate) -> Latents:
        decoder = rans.Decoder(payload)
        count = geometry.shape[0] * (LOW + 1)
        rows = np.full(count, rans.UNIFORM + _ENTRY_BITS, np.int32)
        entries = decoder.pull(rows, self._prior.tables).astype(np.uint8).reshape(-1, LOW + 1)
        known = self._transform(geometry).entries
        if entries.size and int(entries.max()) >= known:
            raise CorruptChunk(
                f"codebook entry {int(entries.max())}", allowed=f"less than {known}"
            )
        octave = rate.index // 16

        def read(plane: Plane, scale: Int32Array) -> Int32Array:
            return self._read_plane(decoder, octave, plane, scale)

        residuals, detail = self._walk(geometry, rate, read)
        decoder.finish()
        q = Coefficients(frozen.restore_low(residuals), detail, entries)
        return Latents(geometry, rate, frozen.coding_order(q), {"q": q})

    def _read_plane(
        self, decoder: rans.Decoder, octave: int, plane: Plane, scale: Int32Array
    ) -> Int32Array:
        """Undo :meth:`_write_plane`."""
        tables = self._prior.tables
        flags = decoder.pull(self._prior.rows_of_flags(octave, plane, scale), tables) != 0
        blocks = flags.reshape(frozen.block_shape(scale.shape))
        coded = frozen.spread_blocks(blocks, *scale.shape[1:])
        inside = scale[coded]
        raw = frozen.raw_bits(inside).astype(np.int32)
        symbols = decoder.pull(self._prior.rows_of(octave, plane, inside), tables)
        if symbols.size and max(-int(symbols.min()), int(symbols.max())) > COEFFICIENT_LIMIT:
            raise CorruptChunk("a symbol out of range", allowed=f"up to {COEFFICIENT_LIMIT}")
        partly = raw > 0
        if partly.any():
            low_bits = decoder.pull(rans.UNIFORM + raw[partly], tables)
            symbols[partly] = (symbols[partly] << raw[partly]) | low_bits
        values = np.zeros(scale.shape, np.int32)
        values[coded] = symbols
        return values

    def _dequantised(self, latents: Latents) -> Coefficients:
        """Integers to coefficients, each at the centroid of its interval."""
        q: Coefficients = latents.state["q"]
        step = steps(latents.rate.index)
        octave = latents.rate.index // 16
        low = dequantise(q.low, int(step[LOW, 0]))
        detail = tuple(np.zeros_like(level) for level in q.detail)

        def place(plane: Plane, scale: Int32Array) -> Int32Array:
            if plane.level == LOW:
                return np.zeros(scale.shape, np.int32)
            values = q.detail[plane.level][:, plane.component, plane.orientation]
            where = np.nonzero(values)
            found = values[where]
            shrink = self._prior.shrink_of(octave, plane, scale[where], found)
            out = detail[plane.level][:, plane.component, plane.orientation]
            out[where] = dequantise(found, int(step[plane.level, plane.orientation]), shrink)
            return values

        self._walk(latents.geometry, latents.rate, place)
        return Coefficients(low, detail, q.entries)


"""Mini `fp`: fixed transform, frozen tables. NumPy only: no network, no torch.

Named after TerraCodec's factorised-prior codec, whose place it takes in the family: the model
without a learned network in the entropy path. Each date is coded on its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs import rans
from tec_numcodecs.blocks import block_shape, block_sum, spread_blocks
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
#: Symbols and their table rows, (n,) each, as the entropy coder takes them.
Stage = tuple[Int32Array, Int32Array]

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
            found = item.state.get("coefficients") or self._dequantised(item)
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
        stages = self._first_stages(coefficients.entries)

        def choose(plane: Plane, scale: Int32Array) -> Int32Array:
            if plane.level == LOW:
                q = residuals[:, plane.component]
            else:
                values = coefficients.detail[plane.level][:, plane.component, plane.orientation]
                q = decider.detail(plane, values, scale)
            stages.extend(self._stages(rate.index // 16, plane, scale, q))
            return q

        _, detail = self._walk(geometry, rate, choose)
        q = Coefficients(low, detail, coefficients.entries)
        return Latents(geometry, rate, frozen.coding_order(q), {"q": q, "stages": stages})

    def _encode(self, latents: Latents) -> bytes:
        stages: list[Stage] = latents.state.get("stages") or self._stages_of(latents)
        tables = self._prior.tables
        encoder = rans.Encoder()
        for symbols, rows in stages:
            encoder.push(symbols, rows, tables)
        payload = encoder.finish()
        decoder = rans.Decoder(payload)
        for symbols, rows in stages:
            if not np.array_equal(decoder.pull(rows, tables), symbols):
                raise CorruptChunk(
                    "a stream that does not decode to what was encoded",
                    fix="memory or processor of this machine are at fault: nothing was written",
                )
        decoder.finish()
        return payload

    def _stages_of(self, latents: Latents) -> list[Stage]:
        """Symbols and rows of latents that did not come from this process's analysis."""
        q: Coefficients = latents.state["q"]
        residuals = frozen.predict_low(q.low)
        stages = self._first_stages(q.entries)

        def visit(plane: Plane, scale: Int32Array) -> Int32Array:
            if plane.level == LOW:
                values = residuals[:, plane.component]
            else:
                values = q.detail[plane.level][:, plane.component, plane.orientation]
            stages.extend(self._stages(latents.rate.index // 16, plane, scale, values))
            return values

        self._walk(latents.geometry, latents.rate, visit)
        return stages

    def _first_stages(self, entries: NDArray[np.uint8]) -> list[Stage]:
        symbols = entries.ravel().astype(np.int32)
        return [(symbols, np.full(symbols.shape, rans.UNIFORM + _ENTRY_BITS, np.int32))]

    def _stages(
        self, octave: int, plane: Plane, scale: Int32Array, values: Int32Array
    ) -> Iterator[Stage]:
        """Block flags, symbols and their raw low bits of one plane (N, h, w)."""
        flags = block_sum(values != 0) > 0
        flag_rows = self._prior.rows_of_flags(octave, plane, scale)
        yield flags.ravel().astype(np.int32), flag_rows
        if not flags.any():
            return
        coded = spread_blocks(flags, *values.shape[1:])
        values, scale = values[coded], scale[coded]
        raw = frozen.raw_bits(scale).astype(np.int32)
        yield values >> raw, self._prior.rows_of(octave, plane, scale)
        partly = raw > 0
        if partly.any():
            yield values[partly] & ((1 << raw[partly]) - 1), rans.UNIFORM + raw[partly]

    # -- decoder ------------------------------------------------------------------------------

    def _decode(self, payload: bytes, geometry: Geometry, rate: Rate) -> Latents:
        decoder = rans.Decoder(payload)
        entries = self._read_entries(decoder, geometry)
        octave = rate.index // 16
        placer = _Placer(self._prior, geometry, rate)

        def read(plane: Plane, scale: Int32Array) -> Int32Array:
            values = self._read_plane(decoder, octave, plane, scale)
            placer.place(plane, scale, values)
            return values

        residuals, detail = self._walk(geometry, rate, read)
        decoder.finish()
        q = Coefficients(frozen.restore_low(residuals), detail, entries)
        state = {"q": q, "coefficients": placer.finish(q)}
        return Latents(geometry, rate, frozen.coding_order(q), state)

    def _read_entries(self, decoder: rans.Decoder, geometry: Geometry) -> NDArray[np.uint8]:
        rows = np.full(geometry.shape[0] * (LOW + 1), rans.UNIFORM + _ENTRY_BITS, np.int32)
        entries = decoder.pull(rows, self._prior.tables).astype(np.uint8).reshape(-1, LOW + 1)
        known = self._transform(geometry).entries
        if int(entries.max()) >= known:
            raise CorruptChunk(f"codebook entry {int(entries.max())}", allowed=f"less than {known}")
        return entries

    def _read_plane(
        self, decoder: rans.Decoder, octave: int, plane: Plane, scale: Int32Array
    ) -> Int32Array:
        """Undo :meth:`_stages`."""
        tables = self._prior.tables
        values = np.zeros(scale.shape, np.int32)
        flags = decoder.pull(self._prior.rows_of_flags(octave, plane, scale), tables) != 0
        if not flags.any():
            return values
        blocks = flags.reshape(block_shape(scale.shape))
        coded = spread_blocks(blocks, *scale.shape[1:])
        inside = scale[coded]
        raw = frozen.raw_bits(inside).astype(np.int32)
        symbols = decoder.pull(self._prior.rows_of(octave, plane, inside), tables)
        if max(-int(symbols.min()), int(symbols.max())) > COEFFICIENT_LIMIT:
            raise CorruptChunk("a symbol out of range", allowed=f"up to {COEFFICIENT_LIMIT}")
        partly = raw > 0
        if partly.any():
            low_bits = decoder.pull(rans.UNIFORM + raw[partly], tables)
            symbols[partly] = (symbols[partly] << raw[partly]) | low_bits
        values[coded] = symbols
        return values

    def _dequantised(self, latents: Latents) -> Coefficients:
        """Coefficients of latents that did not come from this process's decoder."""
        q: Coefficients = latents.state["q"]
        placer = _Placer(self._prior, latents.geometry, latents.rate)
        residuals = frozen.predict_low(q.low)

        def visit(plane: Plane, scale: Int32Array) -> Int32Array:
            if plane.level == LOW:
                return residuals[:, plane.component]
            values = q.detail[plane.level][:, plane.component, plane.orientation]
            placer.place(plane, scale, values)
            return values

        self._walk(latents.geometry, latents.rate, visit)
        return placer.finish(q)


class _Placer:
    """Turns integers into coefficients, plane by plane, each at the centroid of its interval."""

    def __init__(self, prior: Prior, geometry: Geometry, rate: Rate) -> None:
        t, c, height, width = geometry.shape
        self._prior = prior
        self._octave = rate.index // 16
        self._steps = steps(rate.index)
        sizes = subband_sizes(height, width)
        self._detail = tuple(np.zeros((t, c, 3, *size), np.int32) for size in sizes[:LOW])

    def place(self, plane: Plane, scale: Int32Array, values: Int32Array) -> None:
        """Dequantise one plane of details, (N, h, w) each."""
        if plane.level == LOW:
            return
        where = np.flatnonzero(values)
        if not where.size:
            return
        found = values.ravel()[where]
        shrink = self._prior.shrink_of(self._octave, plane, scale.ravel()[where], found)
        step = int(self._steps[plane.level, plane.orientation])
        flat = np.zeros(values.size, np.int32)
        flat[where] = dequantise(found, step, shrink)
        self._detail[plane.level][:, plane.component, plane.orientation] = flat.reshape(
            values.shape
        )

    def finish(self, q: Coefficients) -> Coefficients:
        """All coefficients, the low-pass included."""
        low = dequantise(q.low, int(self._steps[LOW, 0]))
        return Coefficients(low, self._detail, q.entries)

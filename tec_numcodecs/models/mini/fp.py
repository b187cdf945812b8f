"""Mini `fp`: fixed transform, frozen tables. NumPy only: no network, no torch.

Named after TerraCodec's factorised-prior codec, whose place it takes in the family: the model
without a learned network in the entropy path. Each date is coded on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans
from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.base import Cube, Geometry, Latents, Model, Rate
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.subbands.bitstream import (
    Placer,
    PlaneReader,
    PlaneWriter,
    Shifts,
    Stage,
)
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane, Prior
from tec_numcodecs.models.mini.subbands.rdoq import Decider
from tec_numcodecs.models.mini.transform.wavelet_klt import (
    LOW,
    Codebook,
    Coefficients,
    Transform,
    subband_sizes,
)
from tec_numcodecs.sensors import Sensor

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
            found = item.state.get("coefficients") or self._dequantised(item)
            cubes.append(self._transform(item.geometry).inverse(found, height, width))
        return cubes

    def _transform(self, geometry: Geometry) -> Transform:
        key = (geometry.sensor.id, geometry.bands)
        if key not in self._transforms:
            self._transforms[key] = Transform(self._codebook(geometry.sensor), geometry.bands)
        return self._transforms[key]

    def _codebook(self, sensor: Sensor) -> Codebook:
        covariances = np.asarray(self._arrays[f"codebook.{sensor.name}"], np.float32)
        return Codebook(sensor, covariances)

    def _entry_stage(self, entries: NDArray[np.uint8]) -> Stage:
        symbols = entries.ravel().astype(np.int32)
        rows = np.full(symbols.shape, rans.UNIFORM + _ENTRY_BITS, np.int32)
        return symbols, rows, self._prior.tables

    def _walk(
        self, geometry: Geometry, rate: Rate, code: frozen.PlaneCoder
    ) -> tuple[Int32Array, tuple[Int32Array, ...]]:
        t, c, h, w = geometry.shape
        return frozen.walk(self._prior, (t, c), subband_sizes(h, w), rate.index // 16, code)

    # -- encoder ------------------------------------------------------------------------------

    def _analyse(self, cube: Cube, geometry: Geometry, rate: Rate) -> Latents:
        coefficients = self._transform(geometry).forward(cube, rate.index)
        decider = Decider(self._prior, rate.index)
        writer = PlaneWriter(self._prior, Shifts(geometry.shape[1]), rate.index // 16)
        writer.stages.append(self._entry_stage(coefficients.entries))
        low = decider.low(coefficients.low)
        residuals = frozen.predict_low(low)

        def choose(plane: Plane, scale: Int32Array) -> Int32Array:
            if plane.level == LOW:
                values = residuals[:, plane.component]
            else:
                values = coefficients.detail[plane.level][:, plane.component, plane.orientation]
            q, shift = decider.plane(plane, values, scale, writer.shifts.before(plane))
            writer.write(plane, scale, q, shift)
            return q

        _, detail = self._walk(geometry, rate, choose)
        q = Coefficients(low, detail, coefficients.entries)
        return latents_of(geometry, rate, q, writer.shifts, {"stages": writer.stages})

    def _encode(self, latents: Latents) -> bytes:
        stages: list[Stage] = latents.state.get("stages") or self._stages_of(latents)
        return write_stages(stages)

    def _stages_of(self, latents: Latents) -> list[Stage]:
        """Symbols and rows of latents that did not come from this process's analysis."""
        q: Coefficients = latents.state["q"]
        shifts: Shifts = latents.state["shifts"]
        writer = PlaneWriter(
            self._prior, Shifts(latents.geometry.shape[1]), latents.rate.index // 16
        )
        writer.stages.append(self._entry_stage(q.entries))

        def visit(plane: Plane, scale: Int32Array, values: Int32Array) -> None:
            shift = shifts.values[plane.level, plane.component, plane.orientation]
            writer.write(plane, scale, values, int(shift))

        self._revisit(latents, visit)
        return writer.stages

    # -- decoder ------------------------------------------------------------------------------

    def _decode(self, payload: bytes, geometry: Geometry, rate: Rate) -> Latents:
        decoder = rans.Decoder(payload)
        entries = self._read_entries(decoder, geometry)
        reader = PlaneReader(decoder, self._prior, Shifts(geometry.shape[1]), rate.index // 16)
        placer = Placer(self._prior, geometry, rate)

        def read(plane: Plane, scale: Int32Array) -> Int32Array:
            values, scale = reader.read(plane, scale)
            placer.place(plane, scale, values)
            return values

        residuals, detail = self._walk(geometry, rate, read)
        decoder.finish()
        q = Coefficients(frozen.restore_low(residuals), detail, entries)
        return latents_of(geometry, rate, q, reader.shifts, {"coefficients": placer.finish(q)})

    def _read_entries(self, decoder: rans.Decoder, geometry: Geometry) -> NDArray[np.uint8]:
        rows = np.full(geometry.shape[0] * (LOW + 1), rans.UNIFORM + _ENTRY_BITS, np.int32)
        entries = decoder.pull(rows, self._prior.tables).astype(np.uint8).reshape(-1, LOW + 1)
        known = self._transform(geometry).entries
        if int(entries.max()) >= known:
            raise CorruptChunk(f"codebook entry {int(entries.max())}", allowed=f"less than {known}")
        return entries

    def _dequantised(self, latents: Latents) -> Coefficients:
        """Coefficients of latents that did not come from this process's decoder."""
        shifts: Shifts = latents.state["shifts"]
        placer = Placer(self._prior, latents.geometry, latents.rate)

        def visit(plane: Plane, scale: Int32Array, values: Int32Array) -> None:
            shift = shifts.values[plane.level, plane.component, plane.orientation]
            placer.place(plane, frozen.shifted(scale, int(shift)), values)

        self._revisit(latents, visit)
        return placer.finish(latents.state["q"])

    def _revisit(
        self, latents: Latents, visit: Callable[[Plane, Int32Array, Int32Array], None]
    ) -> None:
        """Walk over integers that are known: place, expected magnitudes, integers."""
        q: Coefficients = latents.state["q"]
        residuals = frozen.predict_low(q.low)

        def known(plane: Plane, scale: Int32Array) -> Int32Array:
            if plane.level == LOW:
                values = residuals[:, plane.component]
            else:
                values = q.detail[plane.level][:, plane.component, plane.orientation]
            visit(plane, scale, values)
            return values

        self._walk(latents.geometry, latents.rate, known)


def write_stages(stages: Sequence[Stage]) -> bytes:
    """Code stages, and see that the bytes decode to them."""
    encoder = rans.Encoder()
    for symbols, rows, tables in stages:
        encoder.push(symbols, rows, tables)
    payload = encoder.finish()
    decoder = rans.Decoder(payload)
    for symbols, rows, tables in stages:
        if not np.array_equal(decoder.pull(rows, tables), symbols):
            raise CorruptChunk(
                "a stream that does not decode to what was encoded",
                fix="memory or processor of this machine are at fault: nothing was written",
            )
    decoder.finish()
    return payload


def latents_of(
    geometry: Geometry, rate: Rate, q: Coefficients, shifts: Shifts, state: dict[str, Any]
) -> Latents:
    """Latents whose symbols are codebook entries, shifts, low-pass and levels 4 to 0."""
    parts = [q.entries.astype(np.int32), shifts.values, q.low, *q.detail[::-1]]
    symbols = np.concatenate([part.ravel() for part in parts])
    # The symbols are all that is kept: the planes become views of them.
    ends = np.cumsum([part.size for part in parts])[:-1]
    views = [flat.reshape(p.shape) for flat, p in zip(np.split(symbols, ends), parts, strict=True)]
    kept = Coefficients(views[2], tuple(views[:2:-1]), q.entries)
    return Latents(geometry, rate, symbols, {"q": kept, "shifts": shifts, **state})

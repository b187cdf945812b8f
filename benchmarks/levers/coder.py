"""Real encodes with any combination of levers: bytes that are decoded again, and their pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.levers import native, rotations
from benchmarks.levers.native import Layout, Native
from benchmarks.levers.transform import (
    LEVELS,
    LOW,
    LeverTransform,
    Rows,
    Scene,
    arrays_of,
    book_rows,
    wavelet,
)
from tec_numcodecs.models.base import Geometry, Latents, Rate
from tec_numcodecs.models.mini import elic, fp, tt
from tec_numcodecs.models.mini.context.subband_coder import DetailWalk, Visited
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane
from tec_numcodecs.models.mini.transform import quantizer
from tec_numcodecs.models.mini.transform.quantizer import rate_index_of, steps

Int32Array = NDArray[np.int32]
#: Bytes around the latents of a chunk with 12 bands of a sensor: header, lengths, checksum.
HEADER = 49
#: Coefficients that the choice of an entry looks at, as today.
SAMPLES: Mapping[str, int] = {"fp": 1024, "elic": 4096, "tt": 4096}


class _Patched:
    """What all patched models share: the transform is handed over, fine levels may lack bands."""

    lever: LeverTransform

    def _transform(self, geometry: Geometry) -> LeverTransform:
        del geometry
        return self.lever

    def _walk(
        self, geometry: Geometry, rate: Rate, code: frozen.PlaneCoder
    ) -> tuple[Int32Array, tuple[Int32Array, ...]]:
        layout = self.lever.layout
        counts = [len(layout.present(level)) for level in range(LOW + 1)]

        def present(plane: Plane, scale: Int32Array) -> Int32Array:
            if plane.component >= counts[plane.level]:
                return np.zeros_like(scale)
            return code(plane, scale)

        return super()._walk(geometry, rate, present)  # type: ignore[misc]


class PatchedFP(_Patched, fp.MiniFP):
    """`fp` with levers."""


class _Walk(DetailWalk):
    """Puts late bands in place when all levels are there."""

    def _finished(self) -> tuple[Int32Array, Visited]:
        pixels, visited = super()._finished()
        self._transform.place_late(pixels, visited.planes)
        return pixels, visited


class PatchedElic(_Patched, elic.MiniElic):
    """`elic` with levers."""

    def _detail_walk(self, geometry: Geometry, rate: Rate) -> DetailWalk:
        return _Walk(self._networks, self.lever, rate.index, geometry.shape[2:])


class PatchedTT(_Patched, tt.MiniTT):
    """`tt` with levers."""

    def _detail_walk(self, geometry: Geometry, rate: Rate) -> DetailWalk:
        return _Walk(self._networks, self.lever, rate.index, geometry.shape[2:])

    def _dated_walk(self, own: Geometry, rate: Rate, done: Any, referring: bool) -> DetailWalk:
        if not referring:
            return self._detail_walk(own, rate)
        past = tt.Past(done.visited[-tt.HISTORY :])
        return _Walk(self._temporal, self.lever, rate.index, own.shape[2:], past)


_CLASSES = {"fp": PatchedFP, "elic": PatchedElic, "tt": PatchedTT}
_MODELS: dict[str, Any] = {}


def model_of(name: str) -> Any:
    """The patched model, loaded once."""
    if name not in _MODELS:
        _MODELS[name] = _CLASSES[name](arrays_of(name))
    return _MODELS[name]


@dataclass(frozen=True)
class Levers:
    """Which levers are pulled.

    Attributes
    ----------
    native : {"", "auto", "coarse", "deep", "side"}
        Bands at their native resolution. Those of 20 m always enter at level 1. Those of 60 m do
        as if they were of 20 m ("auto"); as every third sample at level 1 ("coarse"); as two of
        three samples at level 2 ("deep"); or they are a small cube of their own ("side").
    rotate : bool
        Spectra by rotations.
    odd : bool
        Inner grid of odd length. Native bands always have it.
    low_bits : int
        How many times the step of the low-pass is halved.
    weights : bool
        Weights of errors at the edges are those of the synthesis, in place of today's.
    unit : bool
        Late bands without gain (lossless only).
    """

    native: str = ""
    rotate: bool = False
    odd: bool = False
    low_bits: int = 0
    weights: bool = False
    unit: bool = False


@dataclass(frozen=True)
class Coded:
    """Result of one encode.

    Attributes
    ----------
    size : int
        Bytes, everything counted.
    pixels : int32 array (T, C, H, W)
    parts : dict of int
        Bytes of what there is beside the payload.
    """

    size: int
    pixels: Int32Array
    parts: Mapping[str, int]


def encode(
    scene: Scene, model: str, rate_index: int, levers: Levers, layout: Layout | None = None
) -> Coded:
    """Encode one scene (T, C, H, W) as one chunk, decode the bytes, and measure both."""
    if levers.native == "side":
        found = _with_side(scene, model, rate_index, levers)
        if found is not None:
            return found
    layout = layout or layout_of(scene, levers)
    chosen = [
        spectra(scene.date(t), layout, model, rate_index, levers) for t in range(len(scene.data))
    ]
    lists = [lists for _, lists in chosen]
    side = 0
    if levers.rotate:
        sizes = [len(layout.present(level)) for level in range(LOW + 1)]
        data = rotations.write(lists, sizes)
        if rotations.read(data, len(lists), sizes) != lists:
            raise RuntimeError("rotations do not come back")
        side = len(data)
    payload, pixels = _code(scene, layout, [rows for rows, _ in chosen], model, rate_index, levers)
    extra = _layout_bytes(layout)
    parts = {"payload": len(payload), "rotations": side, "layout": extra}
    return Coded(len(payload) + side + extra + HEADER, pixels, parts)


def _layout_bytes(layout: Layout) -> int:
    """Two bits a band say which of four classes (full, 20 m, 60 m) it is in; a byte a phase."""
    late = {band for band in layout.bands if band.factor > 1}
    return 1 + (-(-len(layout.bands) // 4) + len(late) if late else 0)


def _with_side(scene: Scene, model: str, rate_index: int, levers: Levers) -> Coded | None:
    """60 m bands (factor 3 or 6) as a cube of their own; None if there are none."""
    found = native.detect(scene.data)
    coarse = [k for k, band in enumerate(found) if band.factor in {3, 6}]
    if not coarse:
        return None
    rest = [k for k in range(len(found)) if k not in coarse]
    height, width = scene.data.shape[2:]
    pixels = np.empty_like(scene.data)
    size, parts = -HEADER, {}
    kinds = [found[k] for k in coarse]
    for kind in set(kinds):
        own = [k for k in coarse if found[k] == kind]
        small = np.stack([native.reduced(scene.data[:, k], kind) for k in own], axis=1)
        part = Scene(scene.name, small, scene.sensor, tuple(scene.bands[k] for k in own))
        # A sample stands for factor^2 pixels: its step is smaller by the factor.
        own_rate = rate_index and max(rate_index - round(16 * np.log2(kind.factor)), 1)
        coded = encode(part, model, own_rate, replace(levers, native=""))
        for i, k in enumerate(own):
            pixels[:, k] = native.replicated(coded.pixels[:, i], kind, height, width)
        size += coded.size
        parts["side"] = parts.get("side", 0) + coded.size - HEADER
    if rest:
        part = Scene(
            scene.name, scene.data[:, rest], scene.sensor, tuple(scene.bands[k] for k in rest)
        )
        coded = encode(part, model, rate_index, replace(levers, native="auto"))
        pixels[:, rest] = coded.pixels
        size += coded.size
        parts |= coded.parts
    return Coded(size, pixels, parts)


def layout_of(scene: Scene, levers: Levers) -> Layout:
    """Find the layout of a scene."""
    height, width = scene.data.shape[2:]
    if not levers.native:
        return native.plain(height, width, len(scene.bands), odd=levers.odd)
    found = native.detect(scene.data)
    halves = [band for band in found if band.factor in {2, 6}]
    parity = max(
        ((band.phase[0] % 2, band.phase[1] % 2) for band in halves),
        key=[(b.phase[0] % 2, b.phase[1] % 2) for b in halves].count,
        default=(0, 0),
    )
    bands = tuple(_entering(band, parity, levers) for band in found)
    return Layout(height, width, bands, odd=True)


def _entering(band: Native, parity: tuple[int, int], levers: Levers) -> Native:
    """What is made of a band's replication."""
    own = (band.phase[0] % 2, band.phase[1] % 2)
    if band.factor == 1 or (band.factor in {2, 6} and own != parity):
        return Native()
    if levers.native == "auto":
        return Native() if band.factor == 3 else Native(2, own, 1)
    level = {2: 1, 3: 1, 6: 1 if levers.native == "coarse" else 2}[band.factor]
    return replace(band, level=level)


def spectra(
    scene: Scene, layout: Layout, model: str, rate_index: int, levers: Levers
) -> tuple[Rows, list[rotations.Rotations]]:
    """Rows of one date's levels: an entry of the codebook, and rotations if asked for."""
    noise = (steps(rate_index)[:, 0] / 16.0) ** 2 / 12
    bitstream = wavelet(scene, layout, unit=levers.unit)
    rows: Rows = []
    lists = []
    for level, plane in enumerate(bitstream):
        used = layout.present(level)
        if not used:
            rows.append(np.zeros((0, 0)))
            lists.append([])
            continue
        book = book_rows(scene.sensor, tuple(scene.bands[k] for k in used))[:, level]
        flat = plane[0].reshape(len(used), -1)
        residual = flat
        if level == LOW:
            residual = frozen.predict_low(plane)[0].reshape(len(used), -1)
        count = SAMPLES[model]
        own, found = rotations.choose(
            book, flat, residual, noise[level], count=count, rotate=levers.rotate, low=level == LOW
        )
        rows.append(own)
        lists.append(found)
    return rows, lists


def _code(
    scene: Scene,
    layout: Layout,
    rows: Sequence[Rows],
    model: str,
    rate_index: int,
    levers: Levers,
) -> tuple[bytes, Int32Array]:
    coder = model_of(model)
    coder.lever = LeverTransform(
        scene, layout, rows, aligned=model != "fp", unit=levers.unit and rate_index == 0
    )
    t, c, height, width = scene.data.shape
    geometry = Geometry((t, c, *layout.grid), scene.sensor, scene.bands)
    rate = Rate(rate_index)
    with finer_low(levers.low_bits), _edge_weights(layout, levers):
        (latents,) = coder.analysis([scene.data], [geometry], [rate])
        (payload,) = coder.entropy_encode([latents])
        (again,) = coder.entropy_decode([payload], [geometry], [rate])
        check(latents, again)
        (pixels,) = coder.synthesis([again])
    return payload, np.clip(pixels[:, :, :height, :width], 0, 65535)


def check(latents: Latents, again: Latents) -> None:
    """See that what was decoded is what was encoded."""
    if not np.array_equal(latents.symbols, again.symbols):
        raise RuntimeError("the payload does not decode to its symbols")


def finer_low(bits: int) -> AbstractContextManager[Any]:
    """Today's steps, that of the low-pass halved some times."""
    if not bits:
        return nullcontext()

    def halved(rate_index: int) -> NDArray[np.int64]:
        table = steps(rate_index).copy()
        table[LOW] = np.maximum(table[LOW] >> bits, quantizer.STEP_UNIT)
        return table

    from tec_numcodecs.models.mini.context import coders, subband_coder
    from tec_numcodecs.models.mini.subbands import bitstream, rdoq

    stack = mock.patch.multiple
    return _Several([stack(m, steps=halved) for m in (coders, rdoq, subband_coder, bitstream)])


def _edge_weights(layout: Layout, levers: Levers) -> AbstractContextManager[Any]:
    if not levers.weights:
        return nullcontext()
    from benchmarks.levers.edges import weighted

    return weighted(layout)


class _Several(AbstractContextManager[None]):
    """Several context managers in one."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts

    def __enter__(self) -> None:
        for part in self._parts:
            part.__enter__()

    def __exit__(self, *error: object) -> None:
        for part in self._parts:
            part.__exit__(*error)


def rate_of(lam: float) -> int:
    """Rate index of a Lagrange multiplier, 0 for 0 (lossless)."""
    return rate_index_of(lam) if lam else 0


__all__ = ["LEVELS", "Coded", "Levers", "encode", "rate_of"]

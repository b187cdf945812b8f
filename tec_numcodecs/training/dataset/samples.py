"""What the networks of the context model learn from: coefficients and what surrounds them.

Crops are coded by the product itself, under its own decisions; the walk notes down the features
of every coefficient in coded blocks, or of a part of them where there are many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy.blocks8 import block_sum
from tec_numcodecs.models.mini.context.coders import ContextCoder
from tec_numcodecs.models.mini.context.mixture_cdf import Choice
from tec_numcodecs.models.mini.context.scan import Index
from tec_numcodecs.models.mini.context.subband_coder import Coding, DetailWalk
from tec_numcodecs.models.mini.progressive.bitplanes import RefiningWalk
from tec_numcodecs.models.mini.progressive.coders import PassDecider, PassEncoder
from tec_numcodecs.models.mini.progressive.significance import BlockFlags
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane
from tec_numcodecs.models.mini.subbands.rdoq import Decider
from tec_numcodecs.models.mini.transform.wavelet_klt import Coefficients
from tec_numcodecs.training.perceptrons import FLAGS

Int16Array = NDArray[np.int16]
Int32Array = NDArray[np.int32]
Float32Array = NDArray[np.float32]
#: Places of a phase of a plane that are all kept.
_KEPT = 800


@dataclass(frozen=True)
class Samples:
    """What one network sees; arrays of P rows.

    Attributes
    ----------
    features : int8 array (P, F)
    q : int16 array
        Coefficients; of a network of block flags, flags.
    component, phase : int8 arrays
    rate : int16 array
    weight : float32 array
    old : int32 array
        A reference's coefficient in eighths of a step; 0 where there is none.
    known : int16 array
        Magnitude after the pass before; -1 where there was none, and ``q`` is a coefficient;
        otherwise ``q`` is what `.refining.refinement` gives.
    """

    features: NDArray[np.int8]
    q: NDArray[np.int16]
    component: NDArray[np.int8]
    phase: NDArray[np.int8]
    rate: NDArray[np.int16]
    weight: Float32Array
    old: Int32Array
    known: NDArray[np.int16]


class Noting(DetailWalk):
    """Notes down what networks would see. Comes before the walk among the bases."""

    #: Filled by `begin_notes`.
    notes: dict[Plane, list[tuple[Any, ...]]]

    def begin_notes(self, rng: np.random.Generator) -> None:
        """Start with empty notes."""
        self._rng = rng
        self.notes = {}

    def code(
        self,
        plane: Plane,
        scale: Int32Array,
        shift: int,
        flags: NDArray[np.bool_],
        coding: Coding,
    ) -> Int32Array:
        """Code a plane; a second pass over it replaces the notes of the first."""
        self.notes[plane] = []

        def noting(at: Index, choice: Choice) -> Int32Array:
            q = coding(at, choice)
            features, phase, old = self._seen
            keep: NDArray[np.intp] = np.arange(len(q))
            if len(q) > _KEPT:
                keep = self._rng.permutation(len(q))[: max(_KEPT, len(q) // 3)]
            weight = len(q) / len(keep)
            known = self._magnitudes(at)[keep]
            seen = features[keep].astype(np.int8)
            self.notes[plane].append((seen, q[keep], phase, weight, old[keep], known))
            return q

        return super().code(plane, scale, shift, flags, noting)

    def _magnitudes(self, at: Index) -> Int32Array:
        """What a pass before knows of these places; -1 where there was none."""
        before = getattr(self, "_before", None)
        return np.full(len(at), -1, np.int32) if before is None else np.abs(before[at])

    def _distributions(
        self, plane: Plane, own: Index, features: Int16Array, phase: int
    ) -> tuple[Float32Array, Float32Array, Float32Array]:
        old = np.zeros(len(own), np.int32)
        if self._reference is not None:
            old = self._reference.plane(plane.component, plane.orientation).ravel()[own]
        self._seen = (features, phase, old)
        return super()._distributions(plane, own, features, phase)


class SamplingWalk(Noting, DetailWalk):
    """A walk of `elic` or `tt` that takes notes."""


class SamplingPass(Noting, RefiningWalk):
    """A pass of `flextec` that takes notes."""

    #: Of block flags.
    flag_notes: dict[Plane, tuple[Any, ...]]

    def begin_notes(self, rng: np.random.Generator) -> None:
        """Start with empty notes."""
        super().begin_notes(rng)
        self.flag_notes = {}

    def note_flags(self, plane: Plane, features: Int16Array, flags: NDArray[np.bool_]) -> None:
        """Note down the flags (P,) of a plane and what is known before them, or a part of it."""
        keep = self._rng.permutation(len(flags))[: max(_KEPT, len(flags) // 3)]
        weight = len(flags) / max(len(keep), 1)
        self.flag_notes[plane] = (features[keep].astype(np.int8), flags[keep], weight)


class NotingFlags(PassEncoder):
    """Takes notes of block flags. Comes before an encoder among the bases."""

    def _code_later(
        self, plane: Plane, scale: Int32Array, blocks: BlockFlags, unknown: NDArray[np.bool_]
    ) -> Int32Array:
        q = super()._code_later(plane, scale, blocks, unknown)
        if not isinstance(self.walk, SamplingPass):
            raise TypeError("the walk takes notes, too")
        features = blocks.features(plane, scale, self._own.shifts.of(plane))[unknown.ravel()]
        self.walk.note_flags(plane, features, (block_sum(q != 0) > 0)[unknown])
        return q


class SamplingEncoder(NotingFlags, PassEncoder):
    """Codes a pass and takes notes of its block flags."""


class SamplingDecider(NotingFlags, PassDecider):
    """Decides on the last pass and takes notes of its block flags."""


class Guessing(ContextCoder):
    """Codes as `fp` decides, before there are networks.

    Parameters
    ----------
    walk : DetailWalk
    rate_index : int
    prior : Prior
    found : Coefficients
    """

    def __init__(
        self, walk: DetailWalk, rate_index: int, prior: frozen.Prior, found: Coefficients
    ) -> None:
        super().__init__(walk, rate_index, found.entries)
        self._found = found
        self._decider = Decider(prior, rate_index)
        self._given = frozen.predict_low(self._decider.low(found.low))

    def _code_low(self, plane: Plane, scale: Int32Array) -> Int32Array:
        del scale
        return self._given[:, plane.component]

    def _code_detail(self, plane: Plane, scale: Int32Array) -> Int32Array:
        values = self._found.detail[plane.level][:, plane.component, plane.orientation]
        q, shift = self._decider.plane(plane, values, scale, 0)
        flat = q.ravel().copy()
        flags = block_sum(q != 0) > 0
        return self.walk.code(plane, scale, shift, flags, lambda at, _: flat[at])


def gather(walks: Sequence[tuple[Noting, int]]) -> dict[str, Samples]:
    """Notes of walks at their rates, by network; each walk weighs the same."""
    parts: dict[str, list[tuple[NDArray[np.generic], ...]]] = defaultdict(list)
    for walk, rate in walks:
        # A walk's bits go roughly with the coefficients it codes.
        total = sum(n[3] * len(n[1]) for notes in walk.notes.values() for n in notes) or 1.0
        for plane, notes in walk.notes.items():
            own = f"{plane.level}_{plane.orientation}"
            name = f"{walk.number}_{own}" if isinstance(walk, SamplingPass) else own
            for features, q, phase, weight, old, known in notes:
                share = weight / total**0.9
                parts[name].append(_columns(features, q, plane, phase, rate, share, old, known))
        if isinstance(walk, SamplingPass):
            for plane, (features, flags, weight) in walk.flag_notes.items():
                name = f"{FLAGS}_{plane.level}_{plane.orientation}"
                none, share = np.zeros(len(flags), np.int32), weight / total**0.9
                phase = walk.number - 1
                parts[name].append(_columns(features, flags, plane, phase, rate, share, none, none))
    return {
        name: Samples(*(np.concatenate(column) for column in zip(*own, strict=True)))
        for name, own in parts.items()
    }


def _columns(
    features: NDArray[np.int8],
    q: NDArray[Any],
    plane: Plane,
    phase: int,
    rate: int,
    weight: float,
    old: Int32Array,
    known: Int32Array,
) -> tuple[NDArray[np.generic], ...]:
    n = len(q)
    return (
        features,
        np.clip(q, -32000, 32000).astype(np.int16),
        np.full(n, plane.component, np.int8),
        np.full(n, phase, np.int8),
        np.full(n, rate, np.int16),
        np.full(n, weight, np.float32),
        old,
        np.minimum(known, 32000).astype(np.int16),
    )

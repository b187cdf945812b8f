"""Mini `flextec`: one stream of 16 tokens from coarse to fine; stop after any of them.

Named after FlexTEC, whose place it takes in the family. The integers are those of `elic`; they
become known digit by digit, in four passes over the image (see :mod:`.refining`), each of four
tokens: the low-pass with levels 4 and 3, then levels 2, 1 and 0. Every token is an entropy coder's
stream of its own, so a reader needs the first ones only. What is missing of a pass is taken from
the pass before; a level of which nothing is there is zero.

Payload: number of tokens (1 byte), their sizes (LEB128 each), the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs import rans
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_numcodecs.models.base import Cube, Geometry, Latents, Rate
from tec_numcodecs.models.mini import prior as frozen
from tec_numcodecs.models.mini.detail import Networks, Visited
from tec_numcodecs.models.mini.elic import MiniElic
from tec_numcodecs.models.mini.fp import write_stages
from tec_numcodecs.models.mini.passcoders import (
    TOKEN_OF_LEVEL,
    Pass,
    PassCoder,
    PassDecoder,
    PassEncoder,
)
from tec_numcodecs.models.mini.planes import Shifts
from tec_numcodecs.models.mini.quantiser import LEVELS, steps
from tec_numcodecs.models.mini.refining import (
    PASSES,
    RefiningWalk,
    low_values,
    refined_values,
    truncated,
)
from tec_numcodecs.models.mini.tokens import TOKENS, join_tokens, split_tokens
from tec_numcodecs.models.mini.transform import LOW, Coefficients, subband_sizes
from tec_numcodecs.options import get_options

Int32Array = NDArray[np.int32]
_PER_PASS = TOKENS // PASSES


class MiniFlex(MiniElic):
    """The progressive context model; ``rate.quality`` is the number of tokens, 0 for all 16.

    Parameters
    ----------
    arrays : mapping of str to array
        Contents of the weights file.
    """

    name = "flextec"

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        super().__init__(arrays)
        self._refining = Networks(arrays, "flex")
        self._centroids = np.asarray(arrays["flex.offsets"], np.int64)  # (PASSES, 3)

    def _analyse(self, cube: Cube, geometry: Geometry, rate: Rate) -> Latents:
        q: Coefficients = super()._analyse(cube, geometry, rate).state["q"]
        tokens = _tokens(rate)
        detail = tuple(
            truncated(values, PASSES - _passes(level, tokens)) * (_passes(level, tokens) > 0)
            for level, values in enumerate(q.detail)
        )
        low = q.low >> (PASSES - _passes(LOW, tokens))
        return latents_of_tokens(geometry, rate, Coefficients(low, detail, q.entries))

    def _encode(self, latents: Latents) -> bytes:
        geometry, rate = latents.geometry, latents.rate
        q: Coefficients = latents.state["q"]
        tokens = _tokens(rate)
        shifts = Shifts(geometry.shape[1])
        stages = []
        before: Visited | None = None
        known: tuple[Int32Array, ...] | None = None
        for number in range(-(-tokens // _PER_PASS)):
            own = self._pass(geometry, rate, number, shifts, before, known)
            coder = PassEncoder(own, _of_pass(q, number, tokens))
            before, known = self._visit(geometry, coder, number, tokens)
            stages += coder.tokens
        stages[0].insert(0, self._entry_stage(q.entries))
        return join_tokens([write_stages(part) for part in stages[:tokens]])

    def _decode(self, payload: bytes, geometry: Geometry, rate: Rate) -> Latents:
        stored = split_tokens(payload)
        if len(stored) != _tokens(rate):
            raise CorruptChunk(
                f"{len(stored)} tokens", allowed=f"{_tokens(rate)}, as in the header"
            )
        wanted = get_options().quality
        if 0 < wanted < len(stored):
            rate, stored = Rate(rate.index, wanted), stored[:wanted]
        tokens = [rans.Decoder(token) for token in stored]
        entries = self._read_entries(tokens[0], geometry)
        t, c, h, w = geometry.shape
        sizes = subband_sizes(h, w)
        detail = [np.zeros((t, c, 3, *size), np.int32) for size in sizes[:LEVELS]]
        low: Int32Array | None = None
        shifts = Shifts(c)
        before: Visited | None = None
        known: tuple[Int32Array, ...] | None = None
        for number in range(-(-len(tokens) // _PER_PASS)):
            part = tokens[number * _PER_PASS : (number + 1) * _PER_PASS]
            own = self._pass(geometry, rate, number, shifts, before, known)
            coder = PassDecoder(own, entries, part, low)
            before, known = self._visit(geometry, coder, number, len(tokens))
            low = coder.low
            for level in range(_finest(number, len(tokens)), LEVELS):
                detail[level] = known[level]
        for token in tokens:
            token.finish()
        if low is None:
            raise CorruptChunk("no tokens")
        return latents_of_tokens(geometry, rate, Coefficients(low, tuple(detail), entries))

    def _pixels_of(self, latents: Latents) -> Int32Array:
        q: Coefficients = latents.state["q"]
        index, tokens = latents.rate.index, _tokens(latents.rate)
        fine = steps(index)
        detail = []
        for level, values in enumerate(q.detail):
            number = max(_passes(level, tokens) - 1, 0)
            planes = [
                refined_values(
                    values[:, :, o],
                    self._centroids[number],
                    int(fine[level, o]) << (PASSES - 1 - number),
                )
                for o in range(3)
            ]
            detail.append(np.stack(planes, axis=2))
        low = low_values(q.low, PASSES - _passes(LOW, tokens), int(fine[LOW, 0]))
        found = Coefficients(low, tuple(detail), q.entries)
        _, _, height, width = latents.geometry.shape
        return self._transform(latents.geometry).inverse(found, height, width)

    def _pass(
        self,
        geometry: Geometry,
        rate: Rate,
        number: int,
        shifts: Shifts,
        before: Visited | None,
        known: tuple[Int32Array, ...] | None,
    ) -> Pass:
        transform, size = self._transform(geometry), geometry.shape[2:]
        walk = RefiningWalk(
            self._refining, transform, rate.index, size, number, self._centroids, before, known
        )
        step = int(steps(rate.index)[LOW, 0])
        return Pass(self._prior, walk, number, step, shifts, self._refining.tables)

    def _visit(
        self, geometry: Geometry, coder: PassCoder, number: int, tokens: int
    ) -> tuple[Visited | None, tuple[Int32Array, ...]]:
        """Go through one pass as far as there are tokens."""
        t, c, h, w = geometry.shape
        finest = _finest(number, tokens)
        sizes, octave = subband_sizes(h, w), coder.walk.octave
        _, known = frozen.walk(self._prior, (t, c), sizes, octave, coder, finest)
        return (coder.walk.finish()[1] if finest == 0 else None), known


def _tokens(rate: Rate) -> int:
    """Tokens that a quality asks for."""
    if not 0 <= rate.quality <= TOKENS:
        raise InvalidInput(f"quality {rate.quality}", allowed=f"1 to {TOKENS}, or 0 for all")
    return rate.quality or TOKENS


def _passes(level: int, tokens: int) -> int:
    """How many passes of a level the tokens hold."""
    return (tokens + _PER_PASS - 1 - TOKEN_OF_LEVEL[level]) // _PER_PASS


def _finest(number: int, tokens: int) -> int:
    """The finest level of which a pass holds something."""
    return min(level for level in range(LEVELS) if _passes(level, tokens) > number)


def _of_pass(q: Coefficients, number: int, tokens: int) -> Coefficients:
    """Integers of the precision of a pass, from those that all tokens give."""
    detail = tuple(
        truncated(values, max(_passes(level, tokens) - 1 - number, 0))
        for level, values in enumerate(q.detail)
    )
    return Coefficients(q.low >> (_passes(LOW, tokens) - 1 - number), detail, q.entries)


def latents_of_tokens(geometry: Geometry, rate: Rate, q: Coefficients) -> Latents:
    """Latents whose symbols are codebook entries, low-pass and levels 4 to 0."""
    parts = [q.entries.astype(np.int32), q.low, *q.detail[::-1]]
    symbols = np.concatenate([part.ravel() for part in parts])
    return Latents(geometry, rate, symbols, {"q": q})

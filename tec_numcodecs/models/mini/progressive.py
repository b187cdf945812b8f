"""Mini `flextec`: one stream of 16 tokens from coarse to fine; stop after any of them.

Named after FlexTEC, whose place it takes in the family. The image is coded four times, each time
with half the quantiser's step, and each time what was decoded before is the reference, as an
earlier date is in :mod:`.temporal`. A pass is four tokens: the low-pass with levels 4 and 3, then
levels 2, 1 and 0. Every token is an entropy coder's stream of its own, so a reader needs the first
ones only. What is missing of a pass is taken from the pass before, in the first one predicted by
the networks; passes of which nothing is there are not visited.

Payload: number of tokens (1 byte), their sizes (LEB128 each), the tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs import rans
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_numcodecs.models.base import Cube, Geometry, Latents, Rate
from tec_numcodecs.models.mini.context import Batch, Block, MiniElic, batches, take_dates
from tec_numcodecs.models.mini.quantiser import MAX_RATE_INDEX
from tec_numcodecs.models.mini.stagecoders import Known, Reading, write
from tec_numcodecs.models.mini.transform import LOW
from tec_numcodecs.models.mini.walk import Coder, Int32Array, Job, Stage, Visited

TOKENS = 16
#: Rate indices above the finest, a pass each.
PASSES = (48, 32, 16, 0)
_PER_PASS = TOKENS // len(PASSES)
#: Token of a pass that holds a level.
_TOKEN_OF_LEVEL = {LOW: 0, 4: 0, 3: 0, 2: 1, 1: 2, 0: 3}


@dataclass(frozen=True)
class Coarser:
    """The pass before, as a reference; see :class:`.walk.History`."""

    visited: Visited

    @property
    def referenced(self) -> NDArray[np.float32]:
        """Every date has one."""
        return np.ones(len(self.visited.pixels), np.float32)

    def low(self) -> Int32Array:
        """Low-pass of the pass before."""
        return self.visited.planes[LOW - 1]

    def detail(self, level: int, planes: Int32Array) -> tuple[Int32Array, Int32Array]:
        """The pass before, whatever this one has decoded."""
        del planes
        return self.visited.planes[level], self.visited.bands[level]


class Partly:
    """Codes the tokens that are there, and predicts the others."""

    def __init__(self, coder: Coder, present: int) -> None:
        self._coder, self._present = coder, present

    def code(self, stage: Stage) -> Int32Array:
        """Code or predict a stage."""
        if _TOKEN_OF_LEVEL[stage.level] < self._present:
            return self._coder.code(stage)
        return stage.base.copy() if stage.old is None else stage.old


class _TokenReading:
    """Reads the stages of a block from the streams of a pass."""

    def __init__(self, tokens: Sequence[rans.Decoder], dates: int, tables: rans.Tables) -> None:
        whole = [slice(0, dates)]
        self._readings = [Reading([token], whole, tables) for token in tokens]
        self.stages: list[tuple[Stage, Int32Array]] = []

    def code(self, stage: Stage) -> Int32Array:
        """Read a stage."""
        q = self._readings[_TOKEN_OF_LEVEL[stage.level]].code(stage)
        self.stages.append((stage, q))
        return q


class _Recording(Coder, Protocol):
    """A coder that keeps what it coded."""

    stages: list[tuple[Stage, Int32Array]]


#: What was coded, pass by pass.
_Coded = list[tuple[int, list[tuple[Stage, Int32Array]]]]
#: Makes the coder of a block in a pass: gets the pass's number, its rate index and the block.
_Maker = Callable[[int, int, Block], _Recording]


class MiniFlex(MiniElic):
    """The progressive context model; ``rate.quality`` is the number of tokens, 0 for all 16."""

    name = "flextec"

    def analysis(
        self, cubes: Sequence[Cube], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Transform and quantise; see :meth:`.Model.analysis`."""
        chunks = zip(cubes, geometries, rates, strict=True)
        return [self._analyse(cube, geometry, rate) for cube, geometry, rate in chunks]

    def entropy_decode(
        self, payloads: Sequence[bytes], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Undo :meth:`entropy_encode`, as far as the quality asks."""
        chunks = zip(payloads, geometries, rates, strict=True)
        return [self._decode(payload, geometry, rate) for payload, geometry, rate in chunks]

    def _analyse(self, cube: Cube, geometry: Geometry, rate: Rate) -> Latents:
        (batch,) = batches([geometry], [rate])
        found = self._forward(batch, [cube])

        def decide(number: int, index: int, block: Block) -> _Recording:
            del number
            rates = np.full(len(block.dates), index, np.int64)
            return self.deciding(take_dates(found, block.dates), rates, self._prices)

        pixels, coded = self._passes(batch, found.entries.astype(np.int64), rate, decide)
        return _latents(geometry, rate, found.entries, pixels, coded)

    def _decode(self, payload: bytes, geometry: Geometry, rate: Rate) -> Latents:
        tokens = [rans.Decoder(token) for token in split_tokens(payload)[: _tokens(rate)]]
        rate = Rate(rate.index, len(tokens))
        (batch,) = batches([geometry], [rate])
        header = self._read_header(tokens[0], geometry)

        def read(number: int, index: int, block: Block) -> _Recording:
            del index
            own = tokens[number * _PER_PASS : (number + 1) * _PER_PASS]
            return _TokenReading(own, len(block.dates), self._tables)

        pixels, coded = self._passes(batch, header, rate, read)
        for token in tokens:
            token.finish()
        return _latents(geometry, rate, header, pixels, coded)

    def _encode(self, latents: Latents) -> bytes:
        coded: _Coded = latents.state.get("coded") or self._replay(latents)[0]
        encoders = [rans.Encoder() for _ in range(_tokens(latents.rate))]
        self._write_header(encoders[0], latents)
        for number, stages in coded:
            for stage, q in stages:
                token = number * _PER_PASS + _TOKEN_OF_LEVEL[stage.level]
                write(encoders[token], [(stage, q)], self._tables)
        return join_tokens([encoder.finish() for encoder in encoders])

    def _replay(self, latents: Latents) -> tuple[Any, Int32Array]:
        """What was coded, and pixels, of latents of which only the symbols are known."""
        (batch,) = batches([latents.geometry], [latents.rate])
        size = self._header_size(latents.geometry)
        header = latents.symbols[:size].reshape(-1, self.header_width).astype(np.int64)
        known = [Known(latents.symbols[size:])]

        def look_up(number: int, index: int, block: Block) -> _Recording:
            del number, index, block
            known.append(Known(known[-1].rest))
            return known[-1]

        pixels, coded = self._passes(batch, header, latents.rate, look_up)
        return coded, pixels

    def _passes(
        self, batch: Batch, header: NDArray[np.int64], rate: Rate, coder_of: _Maker
    ) -> tuple[Int32Array, _Coded]:
        """Visit as many passes as there are tokens for."""
        blocks = list(batch.blocks(self.dates_together))
        past: list[Visited] = []
        coded: _Coded = []
        for number in range(-(-_tokens(rate) // _PER_PASS)):
            index = min(rate.index + PASSES[number], MAX_RATE_INDEX)
            present = _tokens(rate) - number * _PER_PASS
            visited = []
            for k, block in enumerate(blocks):
                history = Coarser(past[k]) if past else None
                rates = np.full(len(block.dates), index, np.int64)
                job = Job(batch.geometry.shape[2:], rates, header[block.dates], history)
                coder = coder_of(number, index, block)
                visited.append(self._run(batch.geometry, job, Partly(coder, present)))
                coded.append((number, coder.stages))
            past = visited
        return np.concatenate([v.pixels for v in past]), coded


def _latents(
    geometry: Geometry, rate: Rate, header: NDArray[Any], pixels: Int32Array, coded: _Coded
) -> Latents:
    parts = [header.astype(np.int32).ravel()]
    parts += [q.ravel() for _, stages in coded for _, q in stages]
    state = {"coded": coded, "pixels": pixels}
    return Latents(geometry, rate, np.concatenate(parts), state)


def _tokens(rate: Rate) -> int:
    """Tokens that a quality asks for."""
    if not 0 <= rate.quality <= TOKENS:
        raise InvalidInput(f"quality {rate.quality}", allowed=f"1 to {TOKENS}, or 0 for all")
    return rate.quality or TOKENS


def join_tokens(tokens: Sequence[bytes]) -> bytes:
    """Tokens to a payload."""
    sizes = bytearray([len(tokens)])
    for token in tokens:
        size = len(token)
        while size > 127:
            sizes.append(size & 127 | 128)
            size >>= 7
        sizes.append(size)
    return bytes(sizes) + b"".join(tokens)


def split_tokens(payload: bytes) -> list[bytes]:
    """Undo :func:`join_tokens`; tokens cut off at the end are left out.

    Raises
    ------
    CorruptChunk
        If there are no whole tokens, or more bytes than the sizes say.
    """
    count = payload[0] if payload else 0
    if not 1 <= count <= TOKENS:
        raise CorruptChunk(f"{count} tokens", allowed=f"1 to {TOKENS}")
    sizes, at = [], 1
    for _ in range(count):
        size = shift = 0
        while True:
            if at >= len(payload) or shift > 28:
                raise CorruptChunk("sizes of tokens that do not end")
            size |= (payload[at] & 127) << shift
            shift += 7
            at += 1
            if payload[at - 1] < 128:
                break
        sizes.append(size)
    tokens = []
    for size in sizes:
        if at + size > len(payload):
            break
        tokens.append(payload[at : at + size])
        at += size
    if not tokens or (len(tokens) == count and at != len(payload)):
        raise CorruptChunk(f"a payload of {len(payload)} bytes that does not fit its tokens")
    return tokens

"""Mini `flextec`: one stream of 16 tokens from coarse to fine; stop after any of them.

Named after FlexTEC, whose place it takes in the family. The integers are decided on as those of
`elic` are, last digits anew; they become known digit by digit, in four passes over the image (see
`.refining`), each of four tokens: levels 4 and 3, then 2, 1 and 0. The first token of each
pass has what the pass knows of the low-pass, too; see `.lowpass`.

Every token is an entropy coder's stream of its own, so a reader needs the first ones only. What
is missing of a pass is taken from the pass before; a level of which nothing is there is zero.

Payload: number of tokens (1 byte), their sizes (LEB128 each), the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_numcodecs.models.base import Cube, Geometry, Latents, Rate
from tec_numcodecs.models.mini.context.subband_coder import Visited
from tec_numcodecs.models.mini.context.symbols import TableBits
from tec_numcodecs.models.mini.elic import MiniElic
from tec_numcodecs.models.mini.fp import write_stages
from tec_numcodecs.models.mini.progressive.bitplanes import (
    PASSES,
    Refining,
    RefiningWalk,
    low_digits,
    rate_without,
    truncated,
)
from tec_numcodecs.models.mini.progressive.coders import (
    TOKEN_OF_LEVEL,
    Pass,
    PassCoder,
    PassDecider,
    PassDecoder,
    PassEncoder,
)
from tec_numcodecs.models.mini.progressive.lowpass import digit_stages, middles, read_digits
from tec_numcodecs.models.mini.progressive.tokens import TOKENS, join_tokens, split_tokens
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.subbands.bitstream import PlaneReader, PlaneWriter, Shifts, Stage
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane
from tec_numcodecs.models.mini.subbands.rdoq import Decider
from tec_numcodecs.models.mini.transform.quantizer import LEVELS, steps
from tec_numcodecs.models.mini.transform.wavelet_klt import LOW, Coefficients, subband_sizes
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
        self._refining = Refining(arrays)
        self._bits = TableBits(self._refining.tables)

    def _analyse(self, cube: Cube, geometry: Geometry, rate: Rate) -> Latents:
        tokens = _tokens(rate)
        found = self._transform(geometry).forward(cube, rate.index)
        _, q = self._decide(found, geometry, rate)
        detail = tuple(
            truncated(values, PASSES - _passes(level, tokens)) * (_passes(level, tokens) > 0)
            for level, values in enumerate(q.detail)
        )
        low = truncated(q.low, low_digits(rate.index, _begun(tokens) - 1))
        known = Coefficients(low, detail, q.entries)
        return self._go_through(known, geometry, rate, found.detail)

    def _encode(self, latents: Latents) -> bytes:
        if "tokens" not in latents.state:
            latents = self._go_through(latents.state["q"], latents.geometry, latents.rate)
        return join_tokens([write_stages(part) for part in latents.state["tokens"]])

    def _pixels_of(self, latents: Latents) -> Int32Array:
        found = self._go_through(latents.state["q"], latents.geometry, latents.rate)
        pixels: Int32Array = found.state["pixels"]
        return pixels

    def _go_through(
        self,
        q: Coefficients,
        geometry: Geometry,
        rate: Rate,
        values: tuple[Int32Array, ...] | None = None,
    ) -> Latents:
        """All passes over integers; with coefficients, last digits are decided on anew."""
        tokens = _tokens(rate)
        progress = Progress(geometry, rate, q.entries)
        stages: list[list[Stage]] = []
        for number in range(_begun(tokens)):
            low = self._write_low(low_of_pass(q.low, rate.index, number, tokens), number, progress)
            own = self._pass(number, progress)
            part = of_pass(q.detail, number, tokens)
            if values is None or number < PASSES - 1:
                coder = PassEncoder(own, part)
            else:
                coder = PassDecider(own, part, values, rate.index, self._bits)
            self._visit(coder, number, tokens, progress)
            coder.tokens[0][:0] = low
            stages += coder.tokens
        stages[0].insert(0, self._entry_stage(q.entries))
        state = {"tokens": stages[:tokens], "pixels": progress.pixels}
        return latents_of_tokens(geometry, rate, progress.integers(), state)

    def _write_low(self, low: Int32Array, number: int, progress: Progress) -> list[Stage]:
        """Stages of the low-pass in a pass: integers (N, C, h, w) as the pass knows them."""
        before, progress.low = progress.low, low
        if number:
            new = _new_digit(progress.rate.index, number)
            return digit_stages(low, before, self._refining.tables) if new else []
        rate = _rate_of_low(progress.rate.index)
        decider = Decider(self._prior, rate)
        writer = PlaneWriter(self._prior, progress.shifts, rate // 16)
        given = frozen.predict_low(low)

        def write(plane: Plane, scale: Int32Array) -> Int32Array:
            q = given[:, plane.component]
            _, shift = decider.plane(plane, q, scale, writer.shifts.before(plane))
            writer.write(plane, scale, q, shift)
            return q

        self._walk_low(progress.geometry, rate, write)
        return writer.stages

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
        progress = Progress(geometry, rate, entries)
        for number in range(_begun(len(tokens))):
            part = tokens[number * _PER_PASS : (number + 1) * _PER_PASS]
            self._read_low(part[0], number, progress)
            coder = PassDecoder(self._pass(number, progress), part)
            self._visit(coder, number, len(tokens), progress)
        for token in tokens:
            token.finish()
        return latents_of_tokens(geometry, rate, progress.integers(), {"pixels": progress.pixels})

    def _read_low(self, token: rans.Decoder, number: int, progress: Progress) -> None:
        if number:
            if _new_digit(progress.rate.index, number):
                progress.low = read_digits(token, progress.low, self._refining.tables)
            return
        rate = _rate_of_low(progress.rate.index)
        reader = PlaneReader(token, self._prior, progress.shifts, rate // 16)

        def read(plane: Plane, scale: Int32Array) -> Int32Array:
            return reader.read(plane, scale)[0]

        residuals = self._walk_low(progress.geometry, rate, read)
        progress.low = frozen.restore_low(residuals)

    def _walk_low(self, geometry: Geometry, rate: int, code: frozen.PlaneCoder) -> Int32Array:
        t, c, h, w = geometry.shape
        return frozen.walk_low(self._prior, (t, c), subband_sizes(h, w), rate // 16, code)

    def _pass(
        self, number: int, progress: Progress, kind: type[RefiningWalk] = RefiningWalk
    ) -> Pass:
        geometry, rate = progress.geometry, progress.rate
        walk = kind(
            self._refining,
            self._transform(geometry),
            rate.index,
            geometry.shape[2:],
            number,
            progress.before,
            progress.known,
        )
        step = int(steps(rate.index)[LOW, 0])
        low = middles(progress.low, low_digits(rate.index, number), step)
        walk.start(low, progress.entries)
        return Pass(self._prior, self._refining, walk, number, progress.shifts)

    def _visit(self, coder: PassCoder, number: int, tokens: int, progress: Progress) -> None:
        """Go through one pass as far as there are tokens."""
        t, c, h, w = progress.geometry.shape
        finest = _finest(number, tokens)
        sizes, octave = subband_sizes(h, w), coder.walk.rate // 16
        known = frozen.walk_detail(self._prior, (t, c), sizes, octave, coder, finest)
        progress.add(coder, known, finest)


class Progress:
    """What is known of a chunk after some passes.

    Attributes
    ----------
    low : int32 array (N, C, h, w)
        As the last pass knows it.
    shifts : Shifts
    known : tuple of int32 arrays (N, C, 3, h, w), optional
        Levels 0 to 4 of the last pass, zeros where it did not get.
    before : Visited, optional
    pixels : int32 array (N, C, H, W)
    """

    def __init__(self, geometry: Geometry, rate: Rate, entries: NDArray[np.uint8]) -> None:
        t, c, h, w = geometry.shape
        self.geometry, self.rate, self.entries = geometry, rate, entries
        self.low = np.zeros(0, np.int32)
        self.shifts = Shifts(c)
        self.known: tuple[Int32Array, ...] | None = None
        self.before: Visited | None = None
        self.pixels = np.zeros(0, np.int32)
        sizes = subband_sizes(h, w)[:LEVELS]
        self._detail = [np.zeros((t, c, 3, *size), np.int32) for size in sizes]

    def add(self, coder: PassCoder, known: tuple[Int32Array, ...], finest: int) -> None:
        """Note a pass that has gone down to a level."""
        self.pixels, self.before = coder.walk.finish()
        self.known = known
        self._detail[finest:] = known[finest:]

    def integers(self) -> Coefficients:
        """Of every level what the last pass knows that got there."""
        return Coefficients(self.low, tuple(self._detail), self.entries)


def _tokens(rate: Rate) -> int:
    """Tokens that a quality asks for."""
    if not 0 <= rate.quality <= TOKENS:
        raise InvalidInput(f"quality {rate.quality}", allowed=f"1 to {TOKENS}, or 0 for all")
    return rate.quality or TOKENS


def _begun(tokens: int) -> int:
    """How many passes the tokens hold something of."""
    return -(-tokens // _PER_PASS)


def _passes(level: int, tokens: int) -> int:
    """How many passes of a level the tokens hold."""
    return (tokens + _PER_PASS - 1 - TOKEN_OF_LEVEL[level]) // _PER_PASS


def _finest(number: int, tokens: int) -> int:
    """The finest level of which a pass holds something."""
    return min(level for level in range(LEVELS) if _passes(level, tokens) > number)


def of_pass(detail: tuple[Int32Array, ...], number: int, tokens: int) -> tuple[Int32Array, ...]:
    """Integers of the precision of a pass, from those that all tokens give."""
    return tuple(
        truncated(values, max(_passes(level, tokens) - 1 - number, 0))
        for level, values in enumerate(detail)
    )


def low_of_pass(low: Int32Array, rate_index: int, number: int, tokens: int) -> Int32Array:
    """The low-pass to the precision of a pass, from that which all tokens give."""
    missing = low_digits(rate_index, _begun(tokens) - 1)
    return truncated(low, low_digits(rate_index, number) - missing)


def _rate_of_low(rate_index: int) -> int:
    """Rate index that the low-pass of the first pass stands for."""
    return rate_without(rate_index, low_digits(rate_index, 0))


def _new_digit(rate_index: int, number: int) -> bool:
    """Whether a later pass knows one more digit of the low-pass than the pass before."""
    return low_digits(rate_index, number) < low_digits(rate_index, number - 1)


def latents_of_tokens(
    geometry: Geometry, rate: Rate, q: Coefficients, state: Mapping[str, Any]
) -> Latents:
    """Latents whose symbols are codebook entries, low-pass and levels 4 to 0."""
    parts = [q.entries.astype(np.int32), q.low, *q.detail[::-1]]
    symbols = np.concatenate([part.ravel() for part in parts])
    return Latents(geometry, rate, symbols, {"q": q, **state})

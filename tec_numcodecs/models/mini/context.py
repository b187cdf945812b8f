"""Mini `elic`: the fixed transform with a coarse-to-fine, space-channel context model.

Named after TerraCodec's ELIC, whose place it takes in the family. The image decoded so far, the
coarser level and the components before say how every coefficient is distributed; see
:mod:`.contextnet` for the networks, :mod:`.walk` for the order. Integers throughout: symbols and
pixels are the same on every machine.

The latents of a chunk are its header (per date the codebook entries of the six levels), then the
coefficients of block after block of dates in the order of the walk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tec_numcodecs import rans
from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.base import Cube, Geometry, Latents, Model, Rate
from tec_numcodecs.models.mini.contextnet import ContextNetwork
from tec_numcodecs.models.mini.integernet import Arrays
from tec_numcodecs.models.mini.levelwise import LevelTransform
from tec_numcodecs.models.mini.stagecoders import Deciding, Known, Prices, Reading, write
from tec_numcodecs.models.mini.transform import LOW, Codebook, Coefficients
from tec_numcodecs.models.mini.walk import Coder, Int32Array, Job, Stage, Visited, Walker
from tec_numcodecs.options import get_options

_HEADER_BITS = 4
#: Codebook entries of a date: five levels and the low-pass.
ENTRIES = LOW + 1


@dataclass(frozen=True)
class Batch:
    """Chunks of one size and one set of bands that go through the networks together.

    Attributes
    ----------
    index : list of int
        Which of the caller's chunks.
    geometry : Geometry
        Of the first; the others differ in the number of dates only.
    dates : list of slice
        Each chunk's part of all dates.
    rates : int64 array (N,)
        Rate index of every date.
    """

    index: list[int]
    geometry: Geometry
    dates: list[slice]
    rates: NDArray[np.int64]

    def blocks(self, together: int) -> Iterator[Block]:
        """Blocks of dates that are visited together."""
        for first in range(0, max(d.stop - d.start for d in self.dates), together):
            every, parts, at = [], [], 0
            for i, d in enumerate(self.dates):
                own = np.arange(d.start, d.stop)[first : first + together]
                if own.size:
                    every.append(own)
                    parts.append((i, slice(at, at + own.size)))
                    at += own.size
            yield Block(np.concatenate(every), parts)


@dataclass(frozen=True)
class Block:
    """Some dates of a batch: indices among all, and each chunk's part of the block."""

    dates: NDArray[np.intp]
    parts: list[tuple[int, slice]]


class MiniElic(Model):
    """The context model.

    Parameters
    ----------
    arrays : mapping of str to array
        Contents of the weights file.
    """

    name = "elic"
    synthesis_kind = "exact"
    #: Dates of a chunk that are visited together, and numbers in a date's header: part of the
    #: format.
    dates_together = 4
    header_width = ENTRIES
    #: How the encoder quantises; training watches it.
    deciding = Deciding

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._tables = rans.Tables(
            cdf=np.asarray(arrays["tables.cdf"], np.uint16),
            starts=np.asarray(arrays["tables.starts"], np.int64),
            minimum=np.asarray(arrays["tables.minimum"], np.int32),
        )
        self._offsets = np.asarray(arrays["offsets"], np.int8)
        self._prices = Prices(self._tables, self._offsets)
        self._transforms: dict[tuple[int, tuple[int, ...]], LevelTransform] = {}
        self._networks: dict[tuple[int, str], ContextNetwork] = {}

    def analysis(
        self, cubes: Sequence[Cube], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Transform and quantise; see :meth:`.Model.analysis`."""
        results: dict[int, Latents] = {}
        for batch in batches(geometries, rates):
            found = self._forward(batch, [cubes[k] for k in batch.index])
            headers: list[list[Int32Array]] = [[] for _ in batch.index]
            stages: list[list[tuple[Stage, Int32Array]]] = [[] for _ in batch.index]
            past: list[list[Visited]] = [[] for _ in batch.index]
            for block in batch.blocks(self.dates_together):
                header, decided, visited = self._decide(batch, block, found, past)
                for i, part in block.parts:
                    headers[i].append(header[part].astype(np.int32).ravel())
                    stages[i] += [_cut(stage, q, part) for stage, q in decided]
                    past[i].append(visited.take(part))
            for i, k in enumerate(batch.index):
                parts = [*headers[i], *(q.ravel() for _, q in stages[i])]
                state = {"stages": stages[i], "pixels": _pixels(past[i])}
                results[k] = Latents(geometries[k], rates[k], np.concatenate(parts), state)
        return [results[k] for k in range(len(cubes))]

    def entropy_encode(self, latents: Sequence[Latents]) -> list[bytes]:
        """Code without loss; see :meth:`.Model.entropy_encode`."""
        return [self._encode(item) for item in latents]

    def entropy_decode(
        self, payloads: Sequence[bytes], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Undo :meth:`entropy_encode`; see :meth:`.Model.entropy_decode`."""
        results: dict[int, Latents] = {}
        for batch in batches(geometries, rates):
            decoders = [rans.Decoder(payloads[k]) for k in batch.index]
            headers = [
                self._read_header(decoder, geometries[k])
                for decoder, k in zip(decoders, batch.index, strict=True)
            ]
            symbols = [[header.astype(np.int32).ravel()] for header in headers]
            past: list[list[Visited]] = [[] for _ in batch.index]
            every = np.concatenate(headers)
            for block in batch.blocks(self.dates_together):
                own = [(decoders[i], part) for i, part in block.parts]
                read = Reading([d for d, _ in own], [part for _, part in own], self._tables)
                visited = self._visit(batch, block, every[block.dates], past, read)
                for (i, part), found in zip(block.parts, read.symbols, strict=True):
                    symbols[i] += found
                    past[i].append(visited.take(part))
            for i, k in enumerate(batch.index):
                decoders[i].finish()
                state = {"pixels": _pixels(past[i])}
                results[k] = Latents(geometries[k], rates[k], np.concatenate(symbols[i]), state)
        return [results[k] for k in range(len(payloads))]

    def synthesis(self, latents: Sequence[Latents]) -> list[NDArray[Any]]:
        """Pixels; the walk has reconstructed them already. See :meth:`.Model.synthesis`."""
        return [
            item.state["pixels"] if "pixels" in item.state else self._replay(item)[1]
            for item in latents
        ]

    # -- what models of the family do differently ----------------------------------------------

    def _decide(
        self, batch: Batch, block: Block, found: Coefficients, past: list[list[Visited]]
    ) -> tuple[NDArray[np.int64], list[tuple[Stage, Int32Array]], Visited]:
        """Encoder: header, stages and reconstruction of a block."""
        header = found.entries[block.dates].astype(np.int64)
        decide = self.deciding(
            take_dates(found, block.dates), batch.rates[block.dates], self._prices
        )
        visited = self._visit(batch, block, header, past, decide)
        return header, decide.stages, visited

    def _job(
        self,
        batch: Batch,
        block: Block,
        header: NDArray[np.int64],
        past: list[list[Visited]],
    ) -> Job:
        """What to visit, given the headers of a block's dates and the chunks' earlier dates."""
        del past
        return Job(batch.geometry.shape[2:], batch.rates[block.dates], header)

    # -- shared ----------------------------------------------------------------------------------

    def _visit(
        self,
        batch: Batch,
        block: Block,
        header: NDArray[np.int64],
        past: list[list[Visited]],
        coder: Coder,
    ) -> Visited:
        return self._run(batch.geometry, self._job(batch, block, header, past), coder)

    def _run(self, geometry: Geometry, job: Job, coder: Coder) -> Visited:
        with _exactly():
            return self._walker(geometry).visit(job, coder)

    def _encode(self, latents: Latents) -> bytes:
        stages = latents.state.get("stages")
        if stages is None:
            stages = self._replay(latents)[0]
        encoder = rans.Encoder()
        self._write_header(encoder, latents)
        write(encoder, stages, self._tables)
        return encoder.finish()

    def _write_header(self, encoder: rans.Encoder, latents: Latents) -> None:
        header = np.ascontiguousarray(latents.symbols[: self._header_size(latents.geometry)])
        rows = np.full(header.shape, rans.UNIFORM + _HEADER_BITS, np.int32)
        encoder.push(header, rows, self._tables)

    def _replay(self, latents: Latents) -> tuple[list[tuple[Stage, Int32Array]], Int32Array]:
        """Stages and pixels of latents of which only the symbols are known."""
        (batch,) = batches([latents.geometry], [latents.rate])
        size = self._header_size(latents.geometry)
        header = latents.symbols[:size].reshape(-1, self.header_width).astype(np.int64)
        known = Known(latents.symbols[size:])
        past: list[list[Visited]] = [[]]
        for block in batch.blocks(self.dates_together):
            past[0].append(self._visit(batch, block, header[block.dates], past, known))
        return known.stages, _pixels(past[0])

    def _header_size(self, geometry: Geometry) -> int:
        return geometry.shape[0] * self.header_width

    def _read_header(self, decoder: rans.Decoder, geometry: Geometry) -> NDArray[np.int64]:
        rows = np.full(self._header_size(geometry), rans.UNIFORM + _HEADER_BITS, np.int32)
        header = decoder.pull(rows, self._tables).astype(np.int64).reshape(-1, self.header_width)
        known = self._transform(geometry).entries
        largest = int(header[:, :ENTRIES].max())
        if largest >= known:
            raise CorruptChunk(f"codebook entry {largest}", allowed=f"less than {known}")
        return header

    def _forward(self, batch: Batch, cubes: Sequence[Cube]) -> Coefficients:
        """Coefficients of all dates of all cubes, signs of the common convention."""
        transform = self._transform(batch.geometry)
        done = [
            transform.forward(cube, int(batch.rates[dates.start]))
            for cube, dates in zip(cubes, batch.dates, strict=True)
        ]
        return Coefficients(
            np.concatenate([c.low for c in done]),
            tuple(np.concatenate([c.detail[k] for c in done]) for k in range(LOW)),
            np.concatenate([c.entries for c in done]),
        )

    def _transform(self, geometry: Geometry) -> LevelTransform:
        key = (geometry.sensor.id, geometry.bands)
        if key not in self._transforms:
            covariances = np.asarray(self._arrays[f"codebook.{geometry.sensor.name}"], np.float32)
            codebook = Codebook(geometry.sensor, covariances)
            self._transforms[key] = LevelTransform(codebook, geometry.bands)
        return self._transforms[key]

    def _walker(self, geometry: Geometry) -> Walker:
        device = torch.device(get_options().device)
        key = (len(geometry.bands), str(device))
        if key not in self._networks:
            self._networks[key] = ContextNetwork(self._arrays, len(geometry.bands), device)
        first = int(self._arrays[f"codebook.first.{geometry.sensor.name}"].item())
        return Walker(self._networks[key], self._transform(geometry), first, self._offsets)


def batches(geometries: Sequence[Geometry], rates: Sequence[Rate]) -> Iterator[Batch]:
    """Group chunks of the same size, bands and sensor, at most the option's number at once."""
    groups: dict[object, list[int]] = defaultdict(list)
    for k, geometry in enumerate(geometries):
        groups[geometry.shape[2:], geometry.bands, geometry.sensor.id].append(k)
    most = max(1, get_options().batch_size)
    for group in groups.values():
        for start in range(0, len(group), most):
            index = group[start : start + most]
            lengths = [geometries[k].shape[0] for k in index]
            ends = np.cumsum(lengths).tolist()
            dates = [slice(end - n, end) for n, end in zip(lengths, ends, strict=True)]
            every = np.repeat([rates[k].index for k in index], lengths).astype(np.int64)
            yield Batch(index, geometries[index[0]], dates, every)


def take_dates(coefficients: Coefficients, dates: NDArray[np.intp]) -> Coefficients:
    """Coefficients of some dates."""
    detail = tuple(level[dates] for level in coefficients.detail)
    return Coefficients(coefficients.low[dates], detail, coefficients.entries[dates])


def _cut(stage: Stage, q: Int32Array, part: slice) -> tuple[Stage, Int32Array]:
    rows = (x[part] for x in (stage.row, stage.base, stage.raw))
    return Stage(stage.level, stage.first, stage.last, *rows), q[part]


def _pixels(visited: list[Visited]) -> Int32Array:
    return np.concatenate([v.pixels for v in visited])


@contextmanager
def _exactly() -> Iterator[None]:
    """Keep torch from lowering precision or recording gradients; set the number of threads."""
    threads = torch.get_num_threads()
    wanted = get_options().threads
    if threads != wanted:
        torch.set_num_threads(wanted)
    try:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            yield
    finally:
        if threads != wanted:
            torch.set_num_threads(threads)

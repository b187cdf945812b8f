"""Mini `tt`: the context model of `elic` that also looks at dates decoded before.

Named after TerraCodec's temporal transformer, whose place it takes in the family. A date refers
to earlier dates of its chunk by attention that picks, at every place and level, the one whose
image so far resembles its own most: a cloud in one date is looked at through another, gaps and
order do not matter. What the reference then says about a coefficient is up to the networks.

The encoder also codes every date without a reference and keeps the cheaper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans
from tec_numcodecs.models.base import Cube, Geometry, Latents, Rate
from tec_numcodecs.models.mini.context.coders import Deciding, Decoding, Going
from tec_numcodecs.models.mini.context.subband_coder import DetailWalk, Networks, Visited
from tec_numcodecs.models.mini.context.symbols import LAGRANGIAN, TableBits
from tec_numcodecs.models.mini.elic import MiniElic
from tec_numcodecs.models.mini.subbands.bitstream import PlaneReader, Shifts, Stage
from tec_numcodecs.models.mini.transform.wavelet_klt import Coefficients

Int32Array = NDArray[np.int32]
#: Earlier dates that a date looks at; part of the format.
HISTORY = 8


@dataclass(frozen=True)
class Past:
    """Dates decoded before, the latest last; see `.detail.History`."""

    dates: list[Visited]

    def at(self, level: int, planes: Int32Array) -> tuple[Int32Array, Int32Array]:
        """The most similar date at every place."""
        known = np.concatenate([date.planes[level] for date in self.dates])  # (D, C, h, w)
        bands = np.concatenate([date.bands[level] for date in self.dates])  # (D, C, 3, h, w)
        if len(self.dates) == 1:
            return known, bands
        best = _most_similar(planes[0], known)  # (h, w)
        rows, columns = np.indices(best.shape)
        picked = known[best, :, rows, columns].transpose(2, 0, 1)[None]
        detail = bands[best, :, :, rows, columns].transpose(2, 3, 0, 1)[None]
        return np.ascontiguousarray(picked), np.ascontiguousarray(detail)


class MiniTT(MiniElic):
    """The temporal context model.

    Parameters
    ----------
    arrays : mapping of str to array
        Contents of the weights file.
    """

    name = "tt"

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        super().__init__(arrays)
        self._temporal = Networks(arrays, "tt")
        every = (self._prior.tables, self._networks.tables, self._temporal.tables)
        self._bits = {id(tables): TableBits(tables) for tables in every}

    def _analyse(self, cube: Cube, geometry: Geometry, rate: Rate) -> Latents:
        found = self._transform(geometry).forward(cube, rate.index)
        done = _Done(geometry)
        stages = [self._entry_stage(found.entries)]
        for date, own in enumerate(done.geometries()):
            part = _date(found, date)
            attempts = [
                self._attempt(part, own, rate, done, referring)
                for referring in ([False, True] if done.visited else [False])
            ]
            costs = [self._cost(coder) for coder, _ in attempts]
            referring = int(np.argmin(costs))
            coder, detail = attempts[referring]
            stages += [self._reference_stage(referring)] if date else []
            stages += coder.writer.stages
            done.add(referring, coder.writer.shifts, coder.low, detail, coder.walk)
        return done.latents(rate, found.entries, {"stages": stages})

    def _attempt(
        self, part: Coefficients, own: Geometry, rate: Rate, done: _Done, referring: bool
    ) -> tuple[Deciding, tuple[Int32Array, ...]]:
        walk = self._dated_walk(own, rate, done, referring)
        coder = Deciding(walk, rate.index, self._prior, self._prices, part, done.shifts)
        _, detail = self._walk(own, rate, coder)
        return coder, detail

    def _cost(self, coder: Deciding) -> float:
        """Squared error in squared steps, and bits at the price of the decisions."""
        bits = 0.0
        for symbols, rows, tables in coder.writer.stages:
            direct = rows < rans.UNIFORM
            bits += float(self._bits[id(tables)].of(symbols[direct], rows[direct]).sum())
            bits += float((rows[~direct] - rans.UNIFORM).sum())
        return coder.distortion + LAGRANGIAN * bits

    def _dated_walk(self, own: Geometry, rate: Rate, done: _Done, referring: bool) -> DetailWalk:
        if not referring:
            return self._detail_walk(own, rate)
        past = Past(done.visited[-HISTORY:])
        transform = self._transform(own)
        return DetailWalk(self._temporal, transform, rate.index, own.shape[2:], past)

    def _decode(self, payload: bytes, geometry: Geometry, rate: Rate) -> Latents:
        decoder = rans.Decoder(payload)
        entries = self._read_entries(decoder, geometry)
        done = _Done(geometry)
        for date, own in enumerate(done.geometries()):
            referring = bool(self._read_reference(decoder)) if date else False
            shifts = Shifts(geometry.shape[1], done.shifts)
            reader = PlaneReader(decoder, self._prior, shifts, rate.index // 16)
            walk = self._dated_walk(own, rate, done, referring)
            coder = Decoding(walk, rate.index, entries[[date]], reader, decoder)
            _, detail = self._walk(own, rate, coder)
            done.add(int(referring), reader.shifts, coder.low, detail, walk)
        decoder.finish()
        return done.latents(rate, entries, {})

    def _stages_of(self, latents: Latents) -> list[Stage]:
        return self._replay(latents)[0]

    def _pixels_of(self, latents: Latents) -> Int32Array:
        pixels: Int32Array = self._replay(latents)[1].state["pixels"]
        return pixels

    def _replay(self, latents: Latents) -> tuple[list[Stage], Latents]:
        """Stages and pixels of latents of which only the symbols are known."""
        geometry, rate, state = latents.geometry, latents.rate, latents.state
        done = _Done(geometry)
        q: Coefficients = state["q"]
        stages = [self._entry_stage(q.entries)]
        for date, own in enumerate(done.geometries()):
            referring = int(state["references"][date])
            walk = self._dated_walk(own, rate, done, bool(referring))
            known = _date(q, date)
            coder = Going(walk, rate.index, self._prior, known, state["shifts"][date], done.shifts)
            _, detail = self._walk(own, rate, coder)
            stages += [self._reference_stage(referring)] if date else []
            stages += coder.writer.stages
            done.add(referring, coder.writer.shifts, coder.low, detail, walk)
        return stages, done.latents(rate, q.entries, {})

    def _reference_stage(self, referring: int) -> Stage:
        row = np.array([rans.UNIFORM + 1], np.int32)
        return np.array([referring], np.int32), row, self._prior.tables

    def _read_reference(self, decoder: rans.Decoder) -> int:
        return int(decoder.pull(np.array([rans.UNIFORM + 1], np.int32), self._prior.tables)[0])


class _Done:
    """Dates of a chunk that are coded."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self.visited: list[Visited] = []
        self.shifts: Shifts | None = None
        self._references: list[int] = []
        self._every: list[Shifts] = []
        self._low: list[Int32Array] = []
        self._detail: list[tuple[Int32Array, ...]] = []
        self._pixels: list[Int32Array] = []

    def geometries(self) -> Iterator[Geometry]:
        """One for every date."""
        t, c, h, w = self._geometry.shape
        own = Geometry((1, c, h, w), self._geometry.sensor, self._geometry.bands)
        for _ in range(t):
            yield own

    def add(
        self,
        referring: int,
        shifts: Shifts,
        low: Int32Array,
        detail: tuple[Int32Array, ...],
        walk: DetailWalk,
    ) -> None:
        """Keep a date."""
        pixels, visited = walk.finish()
        self.visited = [*self.visited[1 - HISTORY :], visited]
        self.shifts = shifts
        self._references.append(referring)
        self._every.append(shifts)
        self._low.append(low)
        self._detail.append(detail)
        self._pixels.append(pixels)

    def latents(self, rate: Rate, entries: NDArray[np.uint8], state: dict[str, Any]) -> Latents:
        """All dates in one."""
        low = np.concatenate(self._low)
        detail = tuple(np.concatenate(level) for level in zip(*self._detail, strict=True))
        q = Coefficients(low, detail, entries)
        pixels = {"pixels": np.concatenate(self._pixels)}
        return latents_of_dates(
            self._geometry, rate, q, self._references, self._every, pixels | state
        )


def latents_of_dates(
    geometry: Geometry,
    rate: Rate,
    q: Coefficients,
    references: Sequence[int],
    shifts: Sequence[Shifts],
    state: dict[str, Any],
) -> Latents:
    """Latents whose symbols are entries, references, shifts, low-pass and levels 4 to 0."""
    whole = np.array(references, np.int32)
    values = np.stack([own.values for own in shifts])  # (T, 6, C, 3)
    parts = [q.entries.astype(np.int32), whole, values, q.low, *q.detail[::-1]]
    symbols = np.concatenate([part.ravel() for part in parts])
    kept = {"q": q, "references": references, "shifts": shifts, **state}
    return Latents(geometry, rate, symbols, kept)


def _date(every: Coefficients, date: int) -> Coefficients:
    one = slice(date, date + 1)
    detail = tuple(level[one] for level in every.detail)
    return Coefficients(every.low[one], detail, every.entries[one])


def _most_similar(planes: Int32Array, known: Int32Array) -> NDArray[np.intp]:
    """Which of D dates (D, C, h, w) differs least from (C, h, w) around each place: (h, w)."""
    apart = np.abs(known - planes).sum(axis=1, dtype=np.int64)  # (D, h, w)
    padded = np.pad(apart, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    around = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return around.argmin(axis=0)

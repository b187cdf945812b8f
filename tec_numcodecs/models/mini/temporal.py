"""Mini `tt`: the context model of `elic` that also looks at dates decoded before.

Named after TerraCodec's temporal transformer, whose place it takes in the family. A date refers
to earlier dates of its chunk by attention that picks, at every place and level, the one whose
image so far resembles its own most: a cloud in one date is looked at through another, gaps and
order do not matter. What the reference then says about a coefficient is up to the networks.

The encoder also codes every date without a reference and keeps the cheaper; so a date never costs
more than with `elic`, except for the four bits that say which low-pass to refer to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.mini.context import ENTRIES, Batch, Block, MiniElic, take_dates
from tec_numcodecs.models.mini.stagecoders import LAGRANGIAN
from tec_numcodecs.models.mini.transform import LOW, Coefficients
from tec_numcodecs.models.mini.walk import Int32Array, Job, Stage, Visited

#: Earlier dates that a date can refer to; part of the format.
HISTORY = 8


@dataclass(frozen=True)
class Past:
    """Earlier dates of the chunks of a block, one date a chunk; see :class:`.walk.History`.

    Attributes
    ----------
    visited : list of lists of Visited
        Per chunk, the latest last.
    picks : int64 array (N,)
        Which one the low-pass refers to: 1 for the latest; 0 for no reference at all.
    """

    visited: list[list[Visited]]
    picks: NDArray[np.int64]

    @property
    def referenced(self) -> NDArray[np.float32]:
        """1 for dates that have a reference."""
        return (self.picks > 0).astype(np.float32)

    def low(self) -> Int32Array:
        """Low-pass of the dates picked, int32 (N, C, h, w)."""
        chosen = zip(self.visited, np.maximum(self.picks, 1).tolist(), strict=True)
        return np.concatenate([dates[-pick].planes[LOW - 1] for dates, pick in chosen])

    def detail(self, level: int, planes: Int32Array) -> tuple[Int32Array, Int32Array]:
        """The most similar date at every place; see :meth:`.walk.History.detail`."""
        chosen_planes, chosen_bands = [], []
        for i, dates in enumerate(self.visited):
            known = np.concatenate([date.planes[level] for date in dates])  # (D, C, h, w)
            bands = np.concatenate([date.bands[level] for date in dates])  # (D, C, 3, h, w)
            if len(dates) == 1:
                chosen_planes.append(known)
                chosen_bands.append(bands)
                continue
            best = _most_similar(planes[i], known)  # (h, w)
            rows, columns = np.indices(best.shape)
            chosen_planes.append(known[best, :, rows, columns].transpose(2, 0, 1)[None])
            picked = bands[best, :, :, rows, columns]  # (h, w, C, 3)
            chosen_bands.append(picked.transpose(2, 3, 0, 1)[None])
        return (
            np.ascontiguousarray(np.concatenate(chosen_planes)),
            np.ascontiguousarray(np.concatenate(chosen_bands)),
        )


class MiniTT(MiniElic):
    """The temporal context model."""

    name = "tt"
    dates_together = 1
    header_width = ENTRIES + 1

    def _job(
        self, batch: Batch, block: Block, header: NDArray[np.int64], past: list[list[Visited]]
    ) -> Job:
        visited = [past[i][-HISTORY:] for i, _ in block.parts]
        # All chunks of a block are at the same date, so their histories are equally long. A pick
        # beyond the history is its oldest date; the first date has none.
        picks = np.minimum(header[:, ENTRIES], len(visited[0]))
        history = Past(visited, picks) if picks.any() else None
        entries = header[:, :ENTRIES]
        return Job(batch.geometry.shape[2:], batch.rates[block.dates], entries, history)

    def _decide(
        self, batch: Batch, block: Block, found: Coefficients, past: list[list[Visited]]
    ) -> tuple[NDArray[np.int64], list[tuple[Stage, Int32Array]], Visited]:
        own = take_dates(found, block.dates)
        picks = self._picks(batch, block, own, past)
        alone = self._attempt(batch, block, own, past, 0 * picks)
        if not picks.any():
            return alone[:3]
        helped = self._attempt(batch, block, own, past, picks)
        better = helped[3] < alone[3]  # (N,)
        if better.all():
            return helped[:3]
        if not better.any():
            return alone[:3]
        return (
            np.where(better[:, None], helped[0], alone[0]),
            [_mixed(better, a, b) for a, b in zip(helped[1], alone[1], strict=True)],
            _mixed_visits(better, helped[2], alone[2]),
        )

    def _attempt(
        self,
        batch: Batch,
        block: Block,
        own: Coefficients,
        past: list[list[Visited]],
        picks: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], list[tuple[Stage, Int32Array]], Visited, NDArray[np.float64]]:
        """Header, stages, reconstruction and cost of the dates with these picks."""
        header = np.concatenate([own.entries.astype(np.int64), picks[:, None]], axis=1)
        decide = self.deciding(own, batch.rates[block.dates], self._prices)
        visited = self._visit(batch, block, header, past, decide)
        return header, decide.stages, visited, decide.distortion + LAGRANGIAN * decide.bits()

    def _picks(
        self, batch: Batch, block: Block, own: Coefficients, past: list[list[Visited]]
    ) -> NDArray[np.int64]:
        """The earlier date whose low-pass is most like the date's own; 0 if there is none."""
        levelwise = self._transform(batch.geometry)
        low = levelwise.to_bands(own.low, own.entries[:, LOW].astype(np.intp), LOW)
        picks = np.zeros(len(block.parts), np.int64)
        for n, (i, _) in enumerate(block.parts):
            dates = past[i][-HISTORY:]
            if dates:
                apart = [np.abs(low[n] - d.planes[LOW - 1][0]).sum() for d in dates]
                picks[n] = len(dates) - int(np.argmin(apart))
        return picks


def _most_similar(planes: Int32Array, known: Int32Array) -> NDArray[np.intp]:
    """Which of D dates (D, C, h, w) differs least from (C, h, w) around each place: (h, w)."""
    apart = np.abs(known - planes).sum(axis=1, dtype=np.int64)  # (D, h, w)
    padded = np.pad(apart, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    around = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return around.argmin(axis=0)


def _mixed(
    better: NDArray[np.bool_], a: tuple[Stage, Int32Array], b: tuple[Stage, Int32Array]
) -> tuple[Stage, Int32Array]:
    """Stage a where better, b elsewhere."""
    where = better[:, None, None, None]
    pairs = ((a[0].row, b[0].row), (a[0].base, b[0].base), (a[0].raw, b[0].raw), (a[1], b[1]))
    row, base, raw, q = (np.where(where, x, y) for x, y in pairs)
    return Stage(a[0].level, a[0].first, a[0].last, row, base, raw), q


def _mixed_visits(better: NDArray[np.bool_], a: Visited, b: Visited) -> Visited:
    def choose(x: Int32Array, y: Int32Array) -> Int32Array:
        return np.where(better.reshape(-1, *[1] * (x.ndim - 1)), x, y)

    planes, bands = (
        [choose(x, y) for x, y in zip(p, q, strict=True)]
        for p, q in ((a.planes, b.planes), (a.bands, b.bands))
    )
    return Visited(choose(a.pixels, b.pixels), planes, bands)

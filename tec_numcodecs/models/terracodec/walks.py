"""Walks of TT and FlexTEC through chunks of one shape: what an encoder knows, a decoder finds out.

An encoder has all latents and sends many frames and windows through the network together. A
decoder goes token by token, and takes the same windows of all chunks together. Every row of exact
arithmetic depends on that row alone, so that both see the same means and scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tec_numcodecs.entropy import rans
from tec_numcodecs.models.terracodec import coders
from tec_numcodecs.models.terracodec.exact import backends
from tec_numcodecs.models.terracodec.grid import GROUP, Grid
from tec_numcodecs.models.terracodec.temporal import TemporalContext, whole

_WINDOWS_KNOWN = 8  # parts whose contexts are held at a time by an encoder: bounds memory


@dataclass
class Pass:
    """What a walk through a chunk leaves behind, in memory of the processor."""

    stages: list[coders.Stage]
    latents: Tensor  # float64 [T, M, h, w], whole numbers
    features: Tensor  # float32 [T, d, h, w]


# --- encoding ----------------------------------------------------------------------------------


def write(network: TemporalContext, tables: rans.Tables, grid: Grid, known: Tensor) -> list[Pass]:
    """Visit chunks whose latents are known.

    Parameters
    ----------
    network : TemporalContext
        Where it computes.
    tables : rans.Tables
    grid : Grid
        The common shape.
    known : Tensor
        float64 [chunks, T, windows, coded tokens, M].
    """
    writer = _Writer(network, grid, known)
    frames, step = grid.frames, 1
    if grid.coded == network.tokens:  # nothing depends on what the network expects
        together = _WINDOWS_KNOWN * backends.current().windows
        step = max(1, together // (len(known) * grid.windows))
    for first in range(0, frames, step):
        writer.visit(first, min(first + step, frames))
    return [writer.result(i, tables) for i in range(len(known))]


class _Writer:
    """The state of `write`: what has been found, on the processor, and contexts on the device."""

    def __init__(self, network: TemporalContext, grid: Grid, known: Tensor) -> None:
        self._network, self._grid = network, grid
        self._device = network.position.device
        self._known = known.to(self._device)
        self._shape = chunks, frames, count, _, channels = known.shape
        tokens, width = network.tokens, network.position.shape[2]
        self._rows = np.empty(known.shape, np.int32)
        self._symbols = np.empty(known.shape, np.int32)
        place = (chunks, frames, count, tokens)
        self._latents = torch.empty((*place, channels), dtype=torch.float64, device="cpu")
        self._features = torch.empty((*place, width), dtype=torch.float32, device="cpu")
        self._on_grid = grid.on_grid.to(self._device)
        self._contexts: dict[int, Tensor] = {}  # of frames, [chunks, windows, 64, d]

    def visit(self, first: int, last: int) -> None:
        """Find what the network says to frames `first` to `last`."""
        self._embed(range(max(first - 1, 0), last - 1))
        if first == 0:
            self._frames(range(1))
        self._frames(range(max(first, 1), last))
        for old in [frame for frame in self._contexts if frame < last - 2]:
            del self._contexts[old]

    def _embed(self, frames: range) -> None:
        """Turn frames into contexts of the next ones."""
        new = [frame for frame in frames if frame not in self._contexts]
        if not new:
            return
        tokens = self._latents[:, new].to(self._device)
        if self._grid.coded == self._network.tokens:
            tokens = self._known[:, new]
        images = self._grid.image(tokens.flatten(0, 2))
        contexts = self._network.embed_context(images).unflatten(0, (self._shape[0], len(new), -1))
        self._contexts |= dict(zip(new, contexts.unbind(1), strict=True))

    def _frames(self, frames: range) -> None:
        if not frames:
            return
        chunks, _, count, _, _ = self._shape
        older = newer = None
        if frames[0]:
            kept = torch.stack(
                [self._contexts[f] for f in range(max(frames[0] - 2, 0), frames[-1])]
            )
            offset = frames[-1] - len(kept)  # the frame of the first of them
            newer = kept[[f - 1 - offset for f in frames]].flatten(0, 2)
            older = kept[[max(f - 2, 0) - offset for f in frames]].flatten(0, 2)
        # (frame, chunk, window) of each of the windows that go through
        places = np.stack(np.meshgrid(list(frames), range(chunks), range(count), indexing="ij"))
        places = places.reshape(3, -1)

        def work(first: int, last: int) -> None:
            if older is None or newer is None:
                decoding = self._network.begin_first()
            else:
                decoding = self._network.begin(older[first:last], newer[first:last])
            self._windows(decoding, *places[:, first:last])

        backends.in_parts(places.shape[1], backends.current().windows, work, "windows")

    def _windows(
        self, decoding: object, frame: NDArray[np.int64], chunk: NDArray[np.int64],
        window: NDArray[np.int64],
    ) -> None:  # fmt: skip
        network = self._network
        at = [torch.from_numpy(index).to(self._device) for index in (chunk, frame, window)]
        known, on_grid = self._known[at[0], at[1], at[2]], self._on_grid[at[2]]
        found: list[Tensor] = []

        def take(first: int, last: int, mean: Tensor, scale: Tensor) -> Tensor:
            values = known[:, first:last]
            rows, symbols = network.rows(mean, scale), values - whole(mean)
            found.append(torch.stack((rows.to(torch.int32), symbols.to(torch.int32))))
            return values

        y, z = network.walk(decoding, take, self._grid.coded, known, on_grid)  # type: ignore[arg-type]
        where = (chunk, frame, window)
        self._rows[where], self._symbols[where] = torch.cat(found, dim=2).cpu().numpy()
        here = tuple(map(torch.from_numpy, where))
        self._latents[here] = y.cpu()
        self._features[here] = z.to(torch.float32).cpu()

    def result(self, i: int, tables: rans.Tables) -> Pass:
        """Return what was found of chunk `i`, its stages in coding order."""
        grid, source = self._grid, coders.Quantizer()
        inside = grid.on_grid.numpy()
        for place in grid.places():
            where = inside[place[1:]]
            source.take(self._rows[i][place][where], tables, self._symbols[i][place][where])
        parts = (grid.image(part[i].flatten(0, 1)) for part in (self._latents, self._features))
        return Pass(source.stages, *parts)


# --- decoding ----------------------------------------------------------------------------------


def read(
    network: TemporalContext, tables: rans.Tables, grid: Grid, readers: Sequence[coders.Source]
) -> list[Pass]:
    """Visit chunks whose latents come from streams, one for each; see `write`."""
    past: list[Tensor] = []
    latents, features = [], []
    for frame in range(grid.frames):
        y, z = _read_frame(network, tables, grid, readers, past)
        image = grid.image(y)
        latents.append(image.cpu())
        features.append(grid.image(z).to(torch.float32).cpu())
        if frame + 1 < grid.frames:
            past = [*past[-1:], network.embed_context(image)]
    y, z = torch.stack(latents, dim=1), torch.stack(features, dim=1)  # (chunks, T, ...)
    return [Pass(reader.stages, y[i], z[i]) for i, reader in enumerate(readers)]


def _read_frame(
    network: TemporalContext, tables: rans.Tables, grid: Grid, readers: Sequence[coders.Source],
    past: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Visit one frame; return its tokens [chunks * windows, tokens, M] and features."""
    chunks, device = len(readers), network.position.device
    contexts = [context.unflatten(0, (chunks, -1)) for context in past]
    done = []
    for start in range(0, grid.windows, GROUP):
        group = slice(start, start + GROUP)
        if contexts:
            older, newer = (contexts[i][:, group].flatten(0, 1) for i in (0, -1))
            decoding = network.begin(older, newer)
        else:
            decoding = network.begin_first()
        on_grid = grid.on_grid[group]
        take = _Take(network, tables, readers, on_grid.numpy())
        everywhere = on_grid.repeat(chunks, 1, 1).to(device)
        done.append(network.walk(decoding, take, grid.coded, None, everywhere))
    parts = zip(*done, strict=True)
    y, z = (torch.cat([p.unflatten(0, (chunks, -1)) for p in part], dim=1) for part in parts)
    return y.flatten(0, 1), z.flatten(0, 1)


@dataclass(frozen=True)
class _Take:
    """Reads the latents of a token of some windows of all chunks."""

    network: TemporalContext
    tables: rans.Tables
    readers: Sequence[coders.Source]
    on_grid: NDArray[np.bool_]  # (windows, tokens, M)

    def __call__(self, first: int, last: int, mean: Tensor, scale: Tensor) -> Tensor:
        """Return latents, given what the network expects: [chunks * windows, last - first, M]."""
        rows, center = self.network.rows(mean, scale), whole(mean)
        both = torch.stack((rows.to(torch.int32), center.to(torch.int32))).cpu().numpy()
        out: NDArray[np.float64] = np.zeros(both.shape[1:])
        count = len(self.on_grid)
        for i, reader in enumerate(self.readers):
            mine = slice(i * count, (i + 1) * count)
            for token in range(first, last):
                where, at = self.on_grid[:, token], (mine, token - first)
                row, middle = (part[at][where] for part in both)
                latents = reader.take(row, self.tables, None).astype(np.int64) + middle
                coders.check_symbols(latents)
                out[at][where] = latents
        return torch.from_numpy(out).to(mean.device)

"""How the latents of a chunk of TT or FlexTEC are cut into windows, and in what order they go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.base import Geometry
from tec_numcodecs.models.terracodec import windows
from tec_numcodecs.models.terracodec.temporal import TemporalContext

STRIDE = 16
GROUP = 16  # windows coded together: part of the format


@dataclass(frozen=True)
class Grid:
    """How the latents of a chunk are cut into windows, and which of them are coded."""

    frames: int
    height: int  # of the latent image
    width: int
    rows: int  # of windows
    columns: int
    coded: int  # leading tokens
    on_grid: Tensor  # bool (windows, tokens, M)
    pack: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, context: TemporalContext, channels: int, geometry: Geometry, coded: int) -> Grid:
        """Return the grid of a chunk."""
        frames, _, height, width = geometry.shape
        h, w = -(-height // STRIDE), -(-width // STRIDE)
        cell, pack = context.cell, context.pack
        rows, columns = -(-h // cell), -(-w // cell)
        inside = torch.zeros(
            (1, channels, rows * cell, columns * cell), dtype=torch.bool, device="cpu"
        )
        inside[:, :, :h, :w] = True
        on_grid = pack(windows.cells(inside, cell))
        return cls(frames, h, w, rows, columns, coded, on_grid, pack)

    @property
    def windows(self) -> int:
        """Windows of a frame."""
        return self.rows * self.columns

    @property
    def key(self) -> tuple[int, ...]:
        """What two chunks must share to be decoded together."""
        return self.frames, self.height, self.width, self.coded

    def image(self, tokens: Tensor) -> Tensor:
        """Turn tokens [B * windows, tokens, D] into images [B, D, h, w], without what is beyond."""
        whole = windows.from_cells(self.pack(tokens), self.rows, self.columns)
        return whole[:, :, : self.height, : self.width]

    def in_coding_order(self, y: Tensor) -> NDArray[np.int32]:
        """List the coded latents of [T, M, h, w], int32."""
        cell = round(self.on_grid.shape[1] ** 0.5)
        size = (y.shape[0], y.shape[1], self.rows * cell, self.columns * cell)
        padded = torch.zeros(size, dtype=y.dtype, device="cpu")
        padded[:, :, : self.height, : self.width] = y
        tokens = self.pack(windows.cells(padded, cell)).unflatten(0, (self.frames, -1))
        out = [tokens[place][self.on_grid[place[1:]]] for place in self.places()]
        return torch.cat(out).to(torch.int32).numpy()

    def from_coding_order(self, symbols: NDArray[np.int32]) -> Tensor:
        """Undo `in_coding_order`: float64 [T, windows, coded tokens, M], 0 elsewhere."""
        count, _, channels = self.on_grid.shape
        expected = self.frames * int(self.on_grid[:, : self.coded].sum())
        if len(symbols) != expected:
            raise InvalidInput(f"{len(symbols)} symbols", allowed=f"{expected} for this geometry")
        left = torch.from_numpy(symbols).to(torch.float64)
        size = (self.frames, count, self.coded, channels)
        out = torch.zeros(size, dtype=torch.float64, device="cpu")
        for place in self.places():
            where = self.on_grid[place[1:]]
            taken = int(where.sum())
            out[place][where] = left[:taken]
            left = left[taken:]
        return out

    def places(self) -> list[tuple[int, slice, int]]:
        """Return (frame, windows, token) in coding order."""
        starts = range(0, self.rows * self.columns, GROUP)
        return [
            (frame, slice(start, start + GROUP), token)
            for frame in range(self.frames)
            for start in starts
            for token in range(self.coded)
        ]

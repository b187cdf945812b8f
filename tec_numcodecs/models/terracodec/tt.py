"""TEC-TT: an image transform and a transformer that predicts each latent from the two before it.

After Mentzer et al., "VCT: A video compression transformer", 2022, as trained for TerraCodec.
Encoding sends all tokens of a frame through the transformer at once; decoding sends them one by
one with cached keys and values. Exact arithmetic makes both give the same bits.

Coding order: frames; in each, groups of 16 windows (row-major); in each group, token by token;
for each token all windows of the group with all channels. Latents beyond the image are not coded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.base import Cube, Geometry, Latents, Rate
from tec_numcodecs.models.terracodec import checkpoint, freezing, layers, temporal, windows
from tec_numcodecs.models.terracodec import coders as stages
from tec_numcodecs.models.terracodec.exact_synthesis import (
    Published,
    Transform,
    exact_twin,
    run_exact,
)
from tec_numcodecs.models.terracodec.standardize import Standardizer, to_symbols

STRIDE = 16
GROUP = 16  # windows coded together: part of the format
CHUNKS_TOGETHER = 4  # chunks decoded in one pass: bounds memory, not results

_ANALYSIS = "model.transform.analysis_transform.transforms"
_SYNTHESIS = "model.transform.synthesis_transform.transforms"
_DEQUANTIZER = "model._dequantizer"


def _transforms(state: checkpoint.State, prefix: str) -> tuple[nn.Sequential, nn.Sequential]:
    weights = [checkpoint.require(state, f"{prefix}.{i}.weight", 4) for i in (0, 4, 9, 13)]
    first, second, third, latent = (w.shape[0] for w in weights)
    widths, bands = (first, second, third, latent), weights[0].shape[1]
    unit = layers.ResidualUnit
    return layers.deep_analysis(bands, widths, unit), layers.deep_synthesis(bands, widths, unit)


def layout(state: checkpoint.State) -> checkpoint.Layout:
    """Return the tensors of a checkpoint of the size of `state`."""
    first = checkpoint.require(state, f"{_DEQUANTIZER}.process_conv.0.weight", 4)
    with torch.device("meta"):
        analysis, synthesis = _transforms(state, _ANALYSIS)
        out = checkpoint.module_layout(analysis, _ANALYSIS)
        out |= checkpoint.module_layout(synthesis, _SYNTHESIS)
        dequantizer = layers.Dequantizer(first.shape[1], first.shape[0])
        out |= checkpoint.module_layout(dequantizer, _DEQUANTIZER)
    return out | temporal.layout(state)


def freeze(state: checkpoint.State) -> freezing.Store:
    """Freeze a checked state dict."""
    store: freezing.Store = {}
    floats = {"g_a": _ANALYSIS, "g_s": _SYNTHESIS, "dequantiser": _DEQUANTIZER}
    freezing.put_floats(store, state, floats)
    temporal.freeze(store, state)
    return store


@dataclass
class Pass:
    """What a walk through a chunk leaves behind."""

    stages: list[stages.Stage]
    latents: Tensor  # float64 [T, M, h, w], whole numbers
    features: Tensor  # float32 [T, d, h, w]


class TemporalTransformer(Published):
    """TEC-TT with loaded weights.

    Parameters
    ----------
    tensors : Mapping
        A frozen checkpoint, see `freeze`.
    """

    name = "tt"
    multiple = STRIDE
    repacked = False
    _exact_dequantizer: Transform

    def __init__(self, tensors: freezing.Tensors) -> None:
        analysis, synthesis = _transforms(tensors, "g_a")
        first = checkpoint.require(tensors, "dequantiser.process_conv.0.weight", 4)
        dequantizer = layers.Dequantizer(first.shape[1], first.shape[0])
        self.g_a = freezing.load_module(analysis, tensors, "g_a")
        self.g_s = freezing.load_module(synthesis, tensors, "g_s")
        self.dequantizer = freezing.load_module(dequantizer, tensors, "dequantiser")
        self.context = temporal.TemporalContext(tensors, repacked=self.repacked)
        self.tables = freezing.get_tables(tensors, "gaussian")
        self.channels = first.shape[0]
        self.standardizer = Standardizer.for_channels(tensors["g_a.0.weight"].shape[1])

    def analysis(
        self, cubes: Sequence[Cube], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Transform and round; symbols are the latents that the stream carries."""
        out = []
        for cube, geometry, rate in zip(cubes, geometries, rates, strict=True):
            x = layers.pad_to_multiple(self.standardizer.forward(cube, geometry), STRIDE)
            y = to_symbols(layers.run_frames(self.g_a, x).to(torch.float64))
            grid = Grid.of(self, geometry, self.coded_tokens(rate))
            out.append(Latents(geometry, rate, grid.in_coding_order(y)))
        return out

    def entropy_encode(self, latents: Sequence[Latents]) -> list[bytes]:
        """Code each latent's difference from its rounded mean."""
        return [stages.encode(self._pass(item).stages) for item in latents]

    def entropy_decode(
        self, payloads: Sequence[bytes], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Decode; chunks of one shape and quality go through the network together."""
        grids = []
        for geometry, rate in zip(geometries, rates, strict=True):
            self.standardizer.check(geometry)
            grids.append(Grid.of(self, geometry, self.coded_tokens(rate)))
        out: dict[int, Latents] = {}
        for members in _alike(grids):
            readers = [stages.TokenReader(payloads[i]) for i in members]
            passes = self._walk(grids[members[0]], readers)
            for i, reader, result in zip(members, readers, passes, strict=True):
                reader.finish()
                symbols = grids[i].in_coding_order(result.latents)
                out[i] = Latents(geometries[i], rates[i], symbols, {"pass": result})
        return [out[i] for i in range(len(grids))]

    def synthesis(self, latents: Sequence[Latents]) -> list[NDArray[Any]]:
        """Reconstruct digital numbers."""
        return [self._pixels(self.decoded(item), item.geometry) for item in latents]

    def decoded(self, item: Latents) -> Tensor:
        """Return latents corrected by what the decoder's features say: [T, M, h, w]."""
        return self._corrected(self._pass(item))

    def exact(self) -> Self:
        """Return this model with exact pixels; all weights are shared."""
        twin = super().exact()
        twin._exact_dequantizer = exact_twin(self.dequantizer)  # noqa: SLF001 (its own class)
        return twin

    def _corrected(self, result: Pass) -> Tensor:
        """Add to the latents what the decoder's features say about them: [T, M, h, w]."""
        if self.synthesis_kind == "exact":
            return result.latents + run_exact(self._exact_dequantizer, result.features)
        correction = layers.run_frames(self.dequantizer, result.features)
        return result.latents.to(torch.float32) + correction

    def coded_tokens(self, rate: Rate) -> int:
        """Return how many tokens of a window are stored: all of them."""
        if rate.quality != 0:
            raise InvalidInput(
                f"quality = {rate.quality} with model='tt'",
                allowed="no quality",
                fix="use model='flextec'",
            )
        return self.context.tokens

    def _pass(self, item: Latents) -> Pass:
        """Return the walk that belongs to some latents, from their state if it is there."""
        found = item.state.get("pass")
        if isinstance(found, Pass):
            return found
        grid = Grid.of(self, item.geometry, self.coded_tokens(item.rate))
        result = self._walk(grid, [stages.TokenRecorder()], grid.from_coding_order(item.symbols))[0]
        if isinstance(item.state, dict):  # encoders ask twice: to code, and to look at the result
            item.state["pass"] = result
        return result

    def _walk(
        self, grid: Grid, coders: Sequence[stages.TokenCoder], known: Tensor | None = None
    ) -> list[Pass]:
        """Visit every frame of chunks of one shape.

        Parameters
        ----------
        grid : Grid
            Their common shape.
        coders : sequence
            One per chunk.
        known : Tensor, optional
            For a single chunk: [T, windows, coded tokens, M].
        """
        chunks = len(coders)
        past: list[Tensor] = []
        latents, features = [], []
        for frame in range(grid.frames):
            frame_known = None if known is None else known[frame]
            y, z = self._frame(grid, coders, past, frame_known)
            image = grid.crop(windows.from_cells(self.context.pack(y), grid.rows, grid.columns))
            feature = windows.from_cells(self.context.pack(z), grid.rows, grid.columns)
            latents.append(image)
            features.append(grid.crop(feature).to(torch.float32))
            if frame + 1 < grid.frames:
                past = [*past[-1:], self.context.embed_context(image)]
        y, z = torch.stack(latents, dim=1), torch.stack(features, dim=1)  # (B, T, ...)
        return [Pass(coders[i].stages, y[i], z[i]) for i in range(chunks)]

    def _frame(
        self, grid: Grid, coders: Sequence[stages.TokenCoder], past: Sequence[Tensor],
        known: Tensor | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Visit one frame; return its tokens [B * windows, tokens, M] and features."""
        chunks, count = len(coders), grid.rows * grid.columns
        done = []
        for start in range(0, count, GROUP):
            stop = min(start + GROUP, count)
            where = torch.cat([torch.arange(start, stop) + i * count for i in range(chunks)])
            if past:
                decoding = self.context.begin(past[0][where], past[-1][where])
            else:
                decoding = self.context.begin_first()
            on_grid = grid.on_grid[start:stop]
            group_known = None if known is None else known[start:stop]
            take = self._take(coders, on_grid, group_known)
            everywhere = on_grid.repeat(chunks, 1, 1)
            done.append(self.context.walk(decoding, take, grid.coded, group_known, everywhere))
        parts = zip(*done, strict=True)
        y, z = (torch.cat([p.unflatten(0, (chunks, -1)) for p in part], dim=1) for part in parts)
        return y.flatten(0, 1), z.flatten(0, 1)

    def _take(
        self, coders: Sequence[stages.TokenCoder], on_grid: Tensor, known: Tensor | None
    ) -> temporal.Take:
        def take(first: int, last: int, mean: Tensor, scale: Tensor) -> Tensor:
            rows, center = self.context.rows(mean, scale), temporal.whole(mean)
            out = torch.zeros_like(mean)
            count = on_grid.shape[0]
            for i, coder in enumerate(coders):
                mine = slice(i * count, (i + 1) * count)
                for token in range(first, last):
                    where = on_grid[:, token]  # (windows, M)
                    at = (mine, token - first)
                    wanted = None if known is None else known[:, token][where]
                    row, middle = rows[at][where], center[at][where]
                    out[at][where] = coder.code(row, self.tables, middle, wanted)
            return out

        return take


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
    def of(cls, model: TemporalTransformer, geometry: Geometry, coded: int) -> Grid:
        """Return the grid of a chunk."""
        frames, _, height, width = geometry.shape
        h, w = -(-height // STRIDE), -(-width // STRIDE)
        cell, pack = model.context.cell, model.context.pack
        rows, columns = -(-h // cell), -(-w // cell)
        inside = torch.zeros((1, model.channels, rows * cell, columns * cell), dtype=torch.bool)
        inside[:, :, :h, :w] = True
        on_grid = pack(windows.cells(inside, cell))
        return cls(frames, h, w, rows, columns, coded, on_grid, pack)

    @property
    def key(self) -> tuple[int, ...]:
        """What two chunks must share to be decoded together."""
        return self.frames, self.height, self.width, self.coded

    def crop(self, image: Tensor) -> Tensor:
        """Drop latents beyond the image."""
        return image[:, :, : self.height, : self.width]

    def in_coding_order(self, y: Tensor) -> NDArray[np.int32]:
        """List the coded latents of [T, M, h, w], int32."""
        cell = round(self.on_grid.shape[1] ** 0.5)
        size = (y.shape[0], y.shape[1], self.rows * cell, self.columns * cell)
        padded = torch.zeros(size, dtype=y.dtype)
        padded[:, :, : self.height, : self.width] = y
        tokens = self.pack(windows.cells(padded, cell)).unflatten(0, (self.frames, -1))
        out = [tokens[place][self.on_grid[place[1:]]] for place in self._places()]
        return torch.cat(out).to(torch.int32).numpy()

    def from_coding_order(self, symbols: NDArray[np.int32]) -> Tensor:
        """Undo `in_coding_order`: float64 [T, windows, coded tokens, M], 0 elsewhere."""
        count, _, channels = self.on_grid.shape
        expected = self.frames * int(self.on_grid[:, : self.coded].sum())
        if len(symbols) != expected:
            raise InvalidInput(f"{len(symbols)} symbols", allowed=f"{expected} for this geometry")
        left = torch.from_numpy(symbols).to(torch.float64)
        out = torch.zeros((self.frames, count, self.coded, channels), dtype=torch.float64)
        for place in self._places():
            where = self.on_grid[place[1:]]
            taken = int(where.sum())
            out[place][where] = left[:taken]
            left = left[taken:]
        return out

    def _places(self) -> list[tuple[int, slice, int]]:
        """Return (frame, windows, token) in coding order."""
        starts = range(0, self.rows * self.columns, GROUP)
        return [
            (frame, slice(start, start + GROUP), token)
            for frame in range(self.frames)
            for start in starts
            for token in range(self.coded)
        ]


def _alike(grids: Sequence[Grid]) -> list[list[int]]:
    """Group positions of equal grids, at most `CHUNKS_TOGETHER` each."""
    groups: dict[tuple[int, ...], list[list[int]]] = {}
    for i, grid in enumerate(grids):
        lists = groups.setdefault(grid.key, [[]])
        if len(lists[-1]) == CHUNKS_TOGETHER:
            lists.append([])
        lists[-1].append(i)
    return [members for lists in groups.values() for members in lists]

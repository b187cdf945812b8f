"""TEC-TT: an image transform and a transformer that predicts each latent from the two before it.

After Mentzer et al., "VCT: A video compression transformer", 2022, as trained for TerraCodec.
Encoding sends all tokens of all frames through the transformer at once; decoding sends them one by
one with cached keys and values. Exact arithmetic makes both give the same bits.

Coding order: frames; in each, groups of 16 windows (row-major); in each group, token by token;
for each token all windows of the group with all channels. Latents beyond the image are not coded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.base import Cube, Geometry, Latents, Rate
from tec_numcodecs.models.terracodec import checkpoint, coders, freezing, layers, temporal, walks
from tec_numcodecs.models.terracodec.exact import backends
from tec_numcodecs.models.terracodec.exact_synthesis import (
    Published,
    Transform,
    alike,
    exact_twin,
    run_exact,
)
from tec_numcodecs.models.terracodec.grid import STRIDE, Grid
from tec_numcodecs.models.terracodec.standardize import Standardizer, to_symbols
from tec_numcodecs.models.terracodec.walks import Pass

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
            grid = self._grid(geometry, rate)
            out.append(Latents(geometry, rate, grid.in_coding_order(y)))
        return out

    def entropy_encode(self, latents: Sequence[Latents]) -> list[bytes]:
        """Code each latent's difference from its rounded mean."""
        return [coders.encode(result.stages) for result in self._passes(latents)]

    def entropy_decode(
        self, payloads: Sequence[bytes], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Decode; chunks of one shape and quality go through the network together."""
        for geometry in geometries:
            self.standardizer.check(geometry)
        grids = [self._grid(*item) for item in zip(geometries, rates, strict=True)]
        out: dict[int, Latents] = {}

        def read(grid: Grid, members: Sequence[int]) -> None:
            readers = [coders.Reader(payloads[i]) for i in members]
            passes = walks.read(self._network(), self.tables, grid, readers)
            for i, reader, result in zip(members, readers, passes, strict=True):
                reader.finish()
                symbols = grid.in_coding_order(result.latents)
                out[i] = Latents(geometries[i], rates[i], symbols, {"pass": result})

        self._batches(grids, read)
        return [out[i] for i in range(len(grids))]

    def synthesis(self, latents: Sequence[Latents]) -> list[NDArray[Any]]:
        """Reconstruct digital numbers."""
        return [self._pixels(self.decoded(item), item.geometry) for item in latents]

    def decoded(self, item: Latents) -> Tensor:
        """Return latents corrected by what the decoder's features say: [T, M, h, w]."""
        return self._corrected(self._passes([item])[0])

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

    def _grid(self, geometry: Geometry, rate: Rate) -> Grid:
        return Grid.of(self.context, self.channels, geometry, self.coded_tokens(rate))

    def _network(self) -> temporal.TemporalContext:
        """Return the entropy network where it computes now."""
        return backends.placed(self.context)

    def _batches(self, grids: Sequence[Grid], work: Callable[[Grid, Sequence[int]], None]) -> None:
        """Call `work` with positions of chunks of one shape, as many as go together."""
        with self.computing() as backend:
            for members in alike([grid.key for grid in grids]):

                def part(first: int, last: int, members: list[int] = members) -> None:
                    work(grids[members[0]], members[first:last])

                backends.in_parts(len(members), backend.chunks, part, "chunks")

    def _passes(self, latents: Sequence[Latents]) -> list[Pass]:
        """Return the walks that belong to some latents, from their states if they are there."""
        out: dict[int, Pass] = {}
        for i, item in enumerate(latents):
            known = item.state.get("pass")
            if isinstance(known, Pass):
                out[i] = known
        left = [i for i in range(len(latents)) if i not in out]
        grids = [self._grid(latents[i].geometry, latents[i].rate) for i in left]

        def find(grid: Grid, members: Sequence[int]) -> None:
            mine = [left[i] for i in members]
            known = [grid.from_coding_order(latents[i].symbols) for i in mine]
            results = walks.write(self._network(), self.tables, grid, torch.stack(known))
            for i, result in zip(mine, results, strict=True):
                out[i] = result
                state = latents[i].state
                if isinstance(state, dict):  # encoders ask twice: to code, and to look at it
                    state["pass"] = result

        self._batches(grids, find)
        return [out[i] for i in range(len(latents))]

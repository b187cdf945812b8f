"""TEC-ELIC: hyperprior, five channel groups and a checkerboard, frame by frame.

He et al., "ELIC: Efficient learned image compression with unevenly grouped space-channel
contextual adaptive coding", 2022, in the variant whose channel context sees group 0 and the
previous group only. Everything between two symbols is exact arithmetic (`exact.layers`).

Coding order: groups of up to four frames; in each the hyper-latents (T, N, h/4, w/4), then for
every channel group first the positions with even row + column, then the others, each as
(T, positions, channels).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tec_numcodecs.entropy import rans
from tec_numcodecs.errors import WeightsError
from tec_numcodecs.models.base import Cube, Geometry, Latents, Rate
from tec_numcodecs.models.terracodec import checkpoint, coders, freezing, layers, tables
from tec_numcodecs.models.terracodec.exact import backends
from tec_numcodecs.models.terracodec.exact import layers as exact
from tec_numcodecs.models.terracodec.exact_synthesis import Published, alike
from tec_numcodecs.models.terracodec.standardize import Standardizer

STRIDE = 16
PIXEL_MULTIPLE = 64  # the hyperprior halves the latent grid twice
FRAMES_TOGETHER = 4
GROUPS = 5

AnyCoder = TypeVar("AnyCoder", bound=coders.Source)

_Y = "latent_codec.y"
_HYPER = "latent_codec.hyper"
_KERNEL = 5
_ODD_TAPS = [5 * i + j for i in range(5) for j in range(5) if (i + j) % 2]  # never the center


def sizes(state: checkpoint.State) -> tuple[int, int, int]:
    """Read (bands, N, M) off a state dict."""
    first = checkpoint.require(state, "g_a.0.weight", 4)
    return first.shape[1], first.shape[0], checkpoint.require(state, "g_a.13.weight", 4).shape[0]


def _group_key(k: int) -> str:
    return f"{_Y}.latent_codec.y{k}"


def _context_inputs(groups: Sequence[int], k: int) -> int:
    """Return the channels that group k sees: group 0, and group k - 1 if that is another."""
    return groups[0] + (groups[k - 1] if k > 1 else 0)


def layout(state: checkpoint.State) -> checkpoint.Layout:
    """Return the tensors of a checkpoint of the size of `state`."""
    bands, n, m = sizes(state)
    widths = (n, n, n, m)
    with torch.device("meta"):
        unit = layers.ResidualBottleneck
        out = checkpoint.module_layout(layers.deep_analysis(bands, widths, unit), "g_a")
        out |= checkpoint.module_layout(layers.deep_synthesis(bands, widths, unit), "g_s")
        out |= checkpoint.module_layout(hyper_analysis(n, m), f"{_HYPER}.h_a")
    out |= checkpoint.factorized_layout(f"{_HYPER}.entropy_bottleneck", n)
    wide = 3 * n // 2
    out |= checkpoint.linear_layout(f"{_HYPER}.h_s.0", n, n, 5, 5)
    out |= checkpoint.linear_layout(f"{_HYPER}.h_s.2", n, wide, 5, 5, outputs=wide)
    out |= checkpoint.linear_layout(f"{_HYPER}.h_s.4", 2 * m, wide, 3, 3)
    groups = [
        checkpoint.require(state, f"{_group_key(k)}.context_prediction.weight", 4).shape[1]
        for k in range(GROUPS)
    ]
    if sum(groups) != m:
        raise WeightsError(
            f"channel groups of {groups} for {m} latent channels",
            allowed="groups that add up to the latent channels",
        )
    for k in range(GROUPS):
        out |= _group_layout(state, groups, k, m)
    return out


def _group_layout(
    state: checkpoint.State, groups: Sequence[int], k: int, m: int
) -> checkpoint.Layout:
    group, prefix = groups[k], _group_key(k)
    hidden = checkpoint.require(state, f"{_group_key(0)}.entropy_parameters.2.weight", 4).shape[0]
    inputs = 2 * m + (4 if k else 2) * group
    out = checkpoint.linear_layout(f"{prefix}.entropy_parameters.0", 2 * m, inputs, 1, 1)
    out |= checkpoint.linear_layout(f"{prefix}.entropy_parameters.2", hidden, 2 * m, 1, 1)
    out |= checkpoint.linear_layout(f"{prefix}.entropy_parameters.4", 2 * group, hidden, 1, 1)
    out |= checkpoint.linear_layout(f"{prefix}.context_prediction", 2 * group, group, 5, 5)
    out[f"{prefix}.context_prediction.mask"] = (2 * group, group, 5, 5)
    for bound in ("scale_bound", "likelihood_lower_bound.bound", "lower_bound_scale.bound"):
        out[f"{prefix}.y.gaussian_conditional.{bound}"] = (1,)
    if k:
        context = f"{_Y}.channel_context.y"
        first = checkpoint.require(state, f"{context}1.0.weight", 4).shape[0]
        second = checkpoint.require(state, f"{context}1.2.weight", 4).shape[0]
        seen = _context_inputs(groups, k)
        out |= checkpoint.linear_layout(f"{context}{k}.0", first, seen, 5, 5)
        out |= checkpoint.linear_layout(f"{context}{k}.2", second, first, 5, 5)
        out |= checkpoint.linear_layout(f"{context}{k}.4", 2 * group, second, 5, 5)
    return out


def hyper_analysis(n: int, m: int) -> nn.Sequential:
    """Return h_a: [B, m, h, w] to [B, n, h / 4, w / 4]."""
    return nn.Sequential(
        layers.conv(m, n, 3, 1), nn.ReLU(), layers.conv(n, n), nn.ReLU(), layers.conv(n, n)
    )


def freeze(state: checkpoint.State) -> freezing.Store:
    """Freeze a checked state dict."""
    store: freezing.Store = {}
    freezing.put_floats(store, state, {"g_a": "g_a", "g_s": "g_s", "h_a": f"{_HYPER}.h_a"})
    freezing.put_prior(store, state, "prior", f"{_HYPER}.entropy_bottleneck")
    for i in (0, 2):
        prefix = f"{_HYPER}.h_s.{i}"
        weight, bias = state[f"{prefix}.weight"], state[f"{prefix}.bias"]
        freezing.put_conv_transpose(store, f"h_s.{i}", weight, bias)
    freezing.put_exact(store, state, {"h_s.4": f"{_HYPER}.h_s.4"})
    for k in range(GROUPS):
        prefix = _group_key(k)
        names = {f"y{k}.net.{i}": f"{prefix}.entropy_parameters.{i}" for i in (0, 2, 4)}
        if k:
            names |= {f"y{k}.channel.{i}": f"{_Y}.channel_context.y{k}.{i}" for i in (0, 2, 4)}
        freezing.put_exact(store, state, names)
        _check_mask(state[f"{prefix}.context_prediction.mask"], prefix)
        weight = state[f"{prefix}.context_prediction.weight"].flatten(2)[:, :, _ODD_TAPS]
        bias = state[f"{prefix}.context_prediction.bias"]
        freezing.put_linear(store, f"y{k}.spatial", weight, bias)
    freezing.put_tables(store, "gaussian", tables.elic_tables())
    store["thresholds"] = torch.from_numpy(tables.elic_scale_thresholds().copy())
    return store


def _check_mask(mask: Tensor, prefix: str) -> None:
    expected = torch.zeros(25, dtype=mask.dtype)
    expected[_ODD_TAPS] = 1
    if not torch.equal(mask.flatten(2), expected.expand_as(mask.flatten(2))):
        raise WeightsError(
            f"{prefix}.context_prediction.mask is no checkerboard", allowed="1 where i + j is odd"
        )


@dataclass(frozen=True)
class Group:
    """The exact networks of one channel group."""

    spatial: exact.Linear  # 12 g -> 2 g
    channel: tuple[exact.Conv, ...]  # three convolutions, none for group 0
    net: tuple[exact.Linear, ...]  # three 1 x 1 layers

    @classmethod
    def read(cls, tensors: freezing.Tensors, k: int) -> Group:
        """Read group k of a frozen checkpoint."""
        channel = tuple(freezing.get_conv(tensors, f"y{k}.channel.{i}") for i in (0, 2, 4) if k)
        net = tuple(freezing.get_linear(tensors, f"y{k}.net.{i}") for i in (0, 2, 4))
        return cls(freezing.get_linear(tensors, f"y{k}.spatial"), channel, net)

    @property
    def channels(self) -> int:
        """Latent channels of this group."""
        return self.spatial.bias.shape[0] // 2

    def channel_context(self, seen: Tensor) -> Tensor:
        """Map decoded groups [B, C, h, w] to rows [B, h w, 2 g]."""
        first, second, third = self.channel
        x = third(exact.relu(second(exact.relu(first(seen)))))
        return x.flatten(2).transpose(1, 2)

    def spatial_context(self, decoded: Tensor, where: Tensor) -> Tensor:
        """Map this group so far [B, g, h, w] (0 where unknown) to rows [B, positions, 2 g]."""
        patches = exact.patches(decoded, _KERNEL).flatten(1, 2)[:, where]  # (B, P, 25, g)
        taps = patches[:, :, _ODD_TAPS].transpose(2, 3)  # (B, P, g, 12)
        return self.spatial(taps.flatten(2))

    def parameters(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Map context rows [B, P, .] to means and scales [B, P, g]."""
        first, second, third = self.net
        out = third(exact.relu(second(exact.relu(first(rows)))))
        mean, scale = out.chunk(2, dim=-1)
        return mean, scale


@dataclass(frozen=True, eq=False)
class Network:
    """Everything between two symbols, in exact arithmetic."""

    h_s: tuple[exact.ConvTranspose, exact.ConvTranspose, exact.Conv]
    groups: tuple[Group, ...]
    median: Tensor  # of the hyper-latents, float64 [N, 1, 1]
    thresholds: Tensor

    @classmethod
    def read(cls, tensors: freezing.Tensors) -> Network:
        """Read a frozen checkpoint."""
        return cls(
            (
                freezing.get_conv_transpose(tensors, "h_s.0"),
                freezing.get_conv_transpose(tensors, "h_s.2"),
                freezing.get_conv(tensors, "h_s.4"),
            ),
            tuple(Group.read(tensors, k) for k in range(GROUPS)),
            freezing.get_double(tensors, "prior.median")[:, None, None],
            tensors["thresholds"],
        )

    def side(self, symbols: Tensor) -> Tensor:
        """Map hyper-latents [B, N, h / 4, w / 4] to side parameters as rows [B, h w, 2 M]."""
        first, second, third = self.h_s
        x = third(exact.relu(second(exact.relu(first(symbols + self.median)))))
        return x.flatten(2).transpose(1, 2)

    def latents(
        self, coder: coders.Coder, tables: rans.Tables, side: Tensor, size: tuple[int, int],
        y: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """Visit the channel groups; return y_hat, float64 [B, M, h, w]."""
        halves = _halves(*size, side.device)
        targets: Sequence[Tensor | None] = [None] * GROUPS
        if y is not None:
            targets = y.flatten(2).transpose(1, 2).split([g.channels for g in self.groups], dim=2)
        decoded: list[Tensor] = []
        for k, (group, target) in enumerate(zip(self.groups, targets, strict=True)):
            context = [side]
            if k:
                seen = torch.cat([decoded[0], decoded[k - 1]] if k > 1 else [decoded[0]], dim=1)
                context.insert(0, group.channel_context(seen))
            grid = side.new_zeros((side.shape[0], side.shape[1], group.channels))
            for second, where in enumerate(halves):
                if second:
                    spatial = group.spatial_context(_image(grid, size), where)
                else:
                    spatial = side.new_zeros((len(side), len(where), 2 * group.channels))
                rows = torch.cat([spatial, *(c[:, where] for c in context)], dim=-1)
                mean, scale = group.parameters(rows)
                index = exact.threshold_index(scale, self.thresholds)
                wanted = None if target is None else target[:, where] - mean
                grid[:, where] = coder.code(index, tables, wanted) + mean
            decoded.append(_image(grid, size))
        return torch.cat(decoded, dim=1)


def _halves(h: int, w: int, device: torch.device) -> list[Tensor]:
    """Return the positions with even row + column, and the others."""
    parity = (torch.arange(h, device=device)[:, None] + torch.arange(w, device=device)) % 2
    return [torch.nonzero(parity.flatten() == p).flatten() for p in (0, 1)]


def _image(rows: Tensor, size: tuple[int, int]) -> Tensor:
    """Turn rows [B, h w, C] into [B, C, h, w]."""
    return rows.transpose(1, 2).unflatten(2, size)


class Elic(Published):
    """TEC-ELIC with loaded weights.

    Parameters
    ----------
    tensors : Mapping
        A frozen checkpoint, see `freeze`.
    """

    name = "elic"
    multiple = PIXEL_MULTIPLE

    def __init__(self, tensors: freezing.Tensors) -> None:
        bands, self.hyper_channels, self.channels = sizes(tensors)
        n, m = self.hyper_channels, self.channels
        unit = layers.ResidualBottleneck
        analysis = layers.deep_analysis(bands, (n, n, n, m), unit)
        synthesis = layers.deep_synthesis(bands, (n, n, n, m), unit)
        self.g_a = freezing.load_module(analysis, tensors, "g_a")
        self.g_s = freezing.load_module(synthesis, tensors, "g_s")
        self.h_a = freezing.load_module(hyper_analysis(n, m), tensors, "h_a")
        self.network = Network.read(tensors)
        self.prior = freezing.get_tables(tensors, "prior")
        self.gaussian = freezing.get_tables(tensors, "gaussian")
        self.standardizer = Standardizer.for_channels(bands)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The networks of the channel groups."""
        return self.network.groups

    @property
    def median(self) -> Tensor:
        """What hyper-latents are counted from, float64 [N, 1, 1]."""
        return self.network.median

    def analysis(
        self, cubes: Sequence[Cube], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Transform, and walk through the context model to find the symbols."""
        known = []
        for cube, geometry in zip(cubes, geometries, strict=True):
            x = layers.pad_to_multiple(self.standardizer.forward(cube, geometry), PIXEL_MULTIPLE)
            y = layers.run_frames(self.g_a, x)
            z = layers.run_frames(self.h_a, y).to(torch.float64) - self.median
            known.append((y.to(torch.float64), z))
        found = self._walks(geometries, lambda _: coders.Quantizer(), known)
        return [
            Latents(geometry, rate, coder.symbols(), {"stages": coder.stages, "y_hat": y_hat})
            for geometry, rate, (coder, y_hat) in zip(geometries, rates, found, strict=True)
        ]

    def entropy_encode(self, latents: Sequence[Latents]) -> list[bytes]:
        """Code the symbols with the rows that their context gives."""
        return [coders.encode(item.state["stages"]) for item in self._with_states(latents)]

    def entropy_decode(
        self, payloads: Sequence[bytes], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Decode stage by stage, each with the rows that the ones before it give."""
        for geometry in geometries:
            self.standardizer.check(geometry)
        found = self._walks(geometries, lambda i: coders.Reader(payloads[i]))
        for coder, _ in found:
            coder.finish()
        return [
            Latents(geometry, rate, coder.symbols(), {"stages": coder.stages, "y_hat": y_hat})
            for geometry, rate, (coder, y_hat) in zip(geometries, rates, found, strict=True)
        ]

    def synthesis(self, latents: Sequence[Latents]) -> list[NDArray[Any]]:
        """Reconstruct digital numbers."""
        return [self._pixels(self.decoded(item), item.geometry) for item in latents]

    def decoded(self, item: Latents) -> Tensor:
        """Return y_hat, float64 [T, M, h, w]."""
        y_hat: Tensor = self._with_states([item])[0].state["y_hat"]
        return y_hat

    def _with_states(self, latents: Sequence[Latents]) -> list[Latents]:
        if all("y_hat" in item.state for item in latents):
            return list(latents)
        geometries = [item.geometry for item in latents]
        found = self._walks(geometries, lambda i: coders.Replay(latents[i].symbols))
        return [
            Latents(item.geometry, item.rate, item.symbols, {"stages": coder.stages, "y_hat": y})
            for item, (coder, y) in zip(latents, found, strict=True)
        ]

    def _walks(
        self,
        geometries: Sequence[Geometry],
        start: Callable[[int], AnyCoder],
        known: Sequence[tuple[Tensor, Tensor]] | None = None,
    ) -> list[tuple[AnyCoder, Tensor]]:
        """Walk through chunks; on a device those of one shape together.

        Parameters
        ----------
        geometries : sequence
        start : callable
            Returns the coder of one of them, anew if memory ran out meanwhile.
        known : sequence, optional
            Latents y and hyper-latents z, if they are known.
        """
        out: dict[int, tuple[AnyCoder, Tensor]] = {}
        with self.computing() as backend:
            for members in alike([geometry.shape for geometry in geometries]):

                def work(first: int, last: int, members: list[int] = members) -> None:
                    mine = members[first:last]
                    sources = [start(i) for i in mine]
                    parts = None if known is None else [known[i] for i in mine]
                    y_hat = self._walk(
                        coders.Together(sources), geometries[mine[0]], _stacked(parts), len(mine)
                    )
                    for i, source, y in zip(mine, sources, y_hat, strict=True):
                        out[i] = source, y

                together = 1 if backend.native else backend.chunks
                backends.in_parts(len(members), together, work, "chunks")
        return [out[i] for i in range(len(geometries))]

    def _walk(
        self,
        coder: coders.Coder,
        geometry: Geometry,
        known: tuple[Tensor, Tensor] | None = None,
        chunks: int = 1,
    ) -> Tensor:
        """Visit every symbol in coding order; return y_hat, float64 [chunks, T, M, h, w].

        `known` are the latents [chunks T, M, h, w] and hyper-latents of all chunks.
        """
        network = backends.placed(self.network)
        device = network.median.device
        frames, _, height, width = geometry.shape
        h = -(-height // PIXEL_MULTIPLE) * (PIXEL_MULTIPLE // STRIDE)
        w = -(-width // PIXEL_MULTIPLE) * (PIXEL_MULTIPLE // STRIDE)
        parts = None if known is None else [k.unflatten(0, (chunks, frames)) for k in known]
        out = []
        for start in range(0, frames, FRAMES_TOGETHER):
            count = min(FRAMES_TOGETHER, frames - start)
            y = z = None
            if parts is not None:
                y, z = (k[:, start : start + count].flatten(0, 1).to(device) for k in parts)
            shape = (chunks * count, self.hyper_channels, h // 4, w // 4)
            rows = torch.arange(self.hyper_channels, device=device)
            symbols = coder.code(rows.reshape(1, -1, 1, 1).expand(shape), self.prior, z)
            side = network.side(symbols)
            y_hat = network.latents(coder, self.gaussian, side, (h, w), y)
            out.append(y_hat.unflatten(0, (chunks, count)).cpu())
        return torch.cat(out, dim=1)


def _stacked(known: Sequence[tuple[Tensor, Tensor]] | None) -> tuple[Tensor, Tensor] | None:
    if known is None:
        return None
    y, z = (torch.cat(parts) for parts in zip(*known, strict=True))
    return y, z

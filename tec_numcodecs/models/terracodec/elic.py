"""TEC-ELIC: hyperprior, five channel groups and a checkerboard, frame by frame.

He et al., "ELIC: Efficient learned image compression with unevenly grouped space-channel
contextual adaptive coding", 2022, in the variant whose channel context sees group 0 and the
previous group only. Everything between two symbols is exact arithmetic (`exact.layers`).

Coding order: groups of up to four frames; in each the hyper-latents (T, N, h/4, w/4), then for
every channel group first the positions with even row + column, then the others, each as
(T, positions, channels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.models.base import Cube, Geometry, Latents, Rate
from tec_numcodecs.models.terracodec import checkpoint, coders, freezing, layers, tables
from tec_numcodecs.models.terracodec.exact import layers as exact
from tec_numcodecs.models.terracodec.exact_synthesis import Published
from tec_numcodecs.models.terracodec.standardize import Standardizer

STRIDE = 16
PIXEL_MULTIPLE = 64  # the hyperprior halves the latent grid twice
FRAMES_TOGETHER = 4
GROUPS = 5

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
        self.h_s = (
            freezing.get_conv_transpose(tensors, "h_s.0"),
            freezing.get_conv_transpose(tensors, "h_s.2"),
            freezing.get_conv(tensors, "h_s.4"),
        )
        self.groups = [Group.read(tensors, k) for k in range(GROUPS)]
        self.median = freezing.get_double(tensors, "prior.median")[:, None, None]
        self.prior = freezing.get_tables(tensors, "prior")
        self.gaussian = freezing.get_tables(tensors, "gaussian")
        self.thresholds = tensors["thresholds"]
        self.standardizer = Standardizer.for_channels(bands)

    def analysis(
        self, cubes: Sequence[Cube], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Transform, and walk through the context model to find the symbols."""
        out = []
        for cube, geometry, rate in zip(cubes, geometries, rates, strict=True):
            x = layers.pad_to_multiple(self.standardizer.forward(cube, geometry), PIXEL_MULTIPLE)
            y = layers.run_frames(self.g_a, x)
            z = layers.run_frames(self.h_a, y).to(torch.float64) - self.median
            coder = coders.Quantizer()
            y_hat = self._walk(coder, geometry, (y.to(torch.float64), z))
            state = {"stages": coder.stages, "y_hat": y_hat}
            out.append(Latents(geometry, rate, coder.symbols(), state))
        return out

    def entropy_encode(self, latents: Sequence[Latents]) -> list[bytes]:
        """Code the symbols with the rows that their context gives."""
        return [coders.encode(self._with_state(item).state["stages"]) for item in latents]

    def entropy_decode(
        self, payloads: Sequence[bytes], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Decode stage by stage, each with the rows that the ones before it give."""
        out = []
        for payload, geometry, rate in zip(payloads, geometries, rates, strict=True):
            self.standardizer.check(geometry)
            coder = coders.Reader(payload)
            state = {"y_hat": self._walk(coder, geometry), "stages": coder.stages}
            coder.finish()
            out.append(Latents(geometry, rate, coder.symbols(), state))
        return out

    def synthesis(self, latents: Sequence[Latents]) -> list[NDArray[Any]]:
        """Reconstruct digital numbers."""
        return [self._pixels(self.decoded(item), item.geometry) for item in latents]

    def decoded(self, item: Latents) -> Tensor:
        """Return y_hat, float64 [T, M, h, w]."""
        y_hat: Tensor = self._with_state(item).state["y_hat"]
        return y_hat

    def _with_state(self, item: Latents) -> Latents:
        if "y_hat" in item.state:
            return item
        coder = coders.Replay(item.symbols)
        y_hat = self._walk(coder, item.geometry)
        state = {"stages": coder.stages, "y_hat": y_hat}
        return Latents(item.geometry, item.rate, item.symbols, state)

    def _walk(
        self, coder: coders.Coder, geometry: Geometry, known: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Visit every symbol in coding order; return y_hat, float64 [T, M, h, w]."""
        frames, _, height, width = geometry.shape
        h = -(-height // PIXEL_MULTIPLE) * (PIXEL_MULTIPLE // STRIDE)
        w = -(-width // PIXEL_MULTIPLE) * (PIXEL_MULTIPLE // STRIDE)
        out = []
        for start in range(0, frames, FRAMES_TOGETHER):
            count = min(FRAMES_TOGETHER, frames - start)
            part = None if known is None else tuple(k[start : start + count] for k in known)
            y, z = (None, None) if part is None else part
            side = self._side(coder, (count, self.hyper_channels, h // 4, w // 4), z)
            out.append(self._groups(coder, side, (count, self.channels, h, w), y))
        return torch.cat(out)

    def _side(
        self, coder: coders.Coder, shape: tuple[int, int, int, int], z: Tensor | None
    ) -> Tensor:
        """Code the hyper-latents; return side parameters as rows [T, h w, 2 M]."""
        rows = torch.arange(shape[1]).reshape(1, -1, 1, 1).expand(shape)
        symbols = coder.code(rows, self.prior, z)
        x = symbols + self.median
        first, second, third = self.h_s
        x = third(exact.relu(second(exact.relu(first(x)))))
        return x.flatten(2).transpose(1, 2)

    def _groups(
        self,
        coder: coders.Coder,
        side: Tensor,
        shape: tuple[int, int, int, int],
        y: Tensor | None,
    ) -> Tensor:
        frames, _, h, w = shape
        parity = (torch.arange(h)[:, None] + torch.arange(w)) % 2
        halves = [torch.nonzero(parity.flatten() == p).flatten() for p in (0, 1)]
        decoded: list[Tensor] = []
        start = 0
        for k, group in enumerate(self.groups):
            target = None if y is None else y[:, start : start + group.channels]
            start += group.channels
            context = [side]
            if k:
                seen = torch.cat([decoded[0], decoded[k - 1]] if k > 1 else [decoded[0]], dim=1)
                context.insert(0, group.channel_context(seen))
            grid = torch.zeros((frames, h * w, group.channels), dtype=torch.float64)
            for pass_number, where in enumerate(halves):
                if pass_number:
                    image = grid.transpose(1, 2).unflatten(2, (h, w))
                    spatial = group.spatial_context(image, where)
                else:
                    size = (frames, len(where), 2 * group.channels)
                    spatial = torch.zeros(size, dtype=torch.float64)
                rows = torch.cat([spatial, *(c[:, where] for c in context)], dim=-1)
                mean, scale = group.parameters(rows)
                index = exact.threshold_index(scale, self.thresholds)
                wanted = None
                if target is not None:
                    wanted = target.flatten(2).transpose(1, 2)[:, where] - mean
                grid[:, where] = coder.code(index, self.gaussian, wanted) + mean
            decoded.append(grid.transpose(1, 2).unflatten(2, (h, w)))
        return torch.cat(decoded, dim=1)

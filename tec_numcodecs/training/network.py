"""The context networks in floating point, made so that freezing them loses next to nothing.

Everything is kept within what :mod:`tec_numcodecs.models.mini.context` computes in integers:
activations are clipped to [0, 255/32] in steps of 1/32, weights are 8-bit integers times a power
of two per output channel, input features are multiples of 1/16. ``fake`` switches the rounding on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tec_numcodecs.training.likelihood import clamp, snap
from tec_numcodecs.training.wavelet import SLOTS

ORIENTATIONS = 3
#: Components decoded together: each group sees the ones before.
GROUPS = ((0, 1), (1, 2), (2, 4), (4, SLOTS))
ACTIVATION_UNIT, ACTIVATION_MAX = 32.0, 255 / 32
FEATURE_UNIT, FEATURE_MAX = 16.0, 127 / 16
MEAN_MAX = 15.0
RATE_KNOTS, RATE_STEP = 13, 20  # conditioning is piecewise linear in the rate index
ENTRIES = 32  # codebook entries of all sensors
LEVEL_ROWS = 6


@dataclass(frozen=True)
class Sizes:
    """Channels of the networks of level 0, level 1, levels 2 to 4, and of the low-pass."""

    width: tuple[int, int, int] = (64, 96, 96)
    low: int = 64


class Conv(nn.Conv2d):
    """Convolution with zero padding whose weights can be rounded to 8 bits."""

    fake = False

    def __init__(self, cin: int, cout: int, k: int, bias: bool = True) -> None:
        super().__init__(cin, cout, k, padding=k // 2, bias=bias)

    def scaled(self) -> tuple[Tensor, Tensor]:
        """Whole-number weights (as floats) and the power of two per output channel."""
        peak = self.weight.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=2.0**-12)
        scale = torch.exp2(torch.ceil(torch.log2(peak / 127)))
        return torch.round(self.weight.detach() / scale).clamp(-127, 127), scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, h, w) -> (B, cout, h, w)."""
        weight = self.weight
        if self.fake:
            whole, scale = self.scaled()
            weight = weight + (whole * scale - weight.detach())
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class Activation(nn.Module):
    """Clip to what an unsigned byte holds."""

    fake = False

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        x = x.clamp(0, ACTIVATION_MAX)
        return snap(x, ACTIVATION_UNIT) if self.fake else x


def companded(q: Tensor) -> Tensor:
    """Whole numbers to signed features and their magnitudes: (B, n, ..) -> (B, 2 n, ..)."""
    compressed = torch.round(torch.asinh(q * 1.5) * FEATURE_UNIT) / FEATURE_UNIT
    compressed = compressed.clamp(-FEATURE_MAX, FEATURE_MAX)
    return torch.cat((compressed, compressed.abs()), 1)


def linear_feature(x: Tensor) -> Tensor:
    """Round and clip to the feature grid."""
    return (torch.round(x * FEATURE_UNIT) / FEATURE_UNIT).clamp(-FEATURE_MAX, FEATURE_MAX)


class Condition(nn.Module):
    """Bias of a network from rate, level, codebook entry and number of bands."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.randn(LEVEL_ROWS, RATE_KNOTS, width) * 0.02)
        self.slope = nn.Parameter(torch.randn(width) * 0.3)
        self.entry = nn.Parameter(torch.zeros(LEVEL_ROWS, ENTRIES, width))
        self.count = nn.Parameter(torch.zeros(SLOTS + 1, width))

    def forward(self, rate: Tensor, level: int, entry: Tensor, count: Tensor) -> Tensor:
        """rate float (B,), entry and count int64 (B,) -> (B, width, 1, 1)."""
        at = rate / RATE_STEP
        knot = at.floor().clamp(0, RATE_KNOTS - 2).long()
        part = (at - knot)[:, None]
        table = self.rate[level]
        bias = table[knot] * (1 - part) + table[knot + 1] * part
        bias = bias + self.slope * (at[:, None] - 7.0) * 0.5
        return (bias + self.entry[level][entry] + self.count[count])[:, :, None, None]


class Head(nn.Module):
    """Parameters of one group of components from the trunk and the groups before."""

    def __init__(
        self, width: int, first: int, last: int, per_component: int, features: int
    ) -> None:
        super().__init__()
        self.first, self.last, self.per = first, last, per_component
        self.n = (last - first) * per_component
        self.mixes = (last - first) * first if per_component > 1 else 0
        self.trunk = Conv(width, width, 1)
        self.before = Conv(features * first * per_component, width, 3, False) if first else None
        self.hidden = Conv(width, width, 1)
        self.out = Conv(width, 3 * self.n + self.mixes, 1)
        self.act = Activation()
        start = torch.zeros(3 * self.n + self.mixes)
        start[self.n : 2 * self.n] = -1.0
        start[2 * self.n : 3 * self.n] = 0.4
        with torch.no_grad():
            self.out.weight.mul_(0.3)
            self.out.bias = nn.Parameter(start)

    def forward(self, trunk: Tensor, before: Tensor | None) -> Tensor:
        """Raw outputs (B, 3 n + mixes, h, w): means, log2 scales, shapes, mixing weights."""
        x = self.trunk(trunk)
        if self.before is not None and before is not None:
            x = x + self.before(before)
        x = self.act(x)
        x = self.act(self.hidden(x))
        y: Tensor = self.out(x)
        return y


class LevelNet(nn.Module):
    """Trunk and heads of one level of detail coefficients."""

    def __init__(self, width: int, parent_width: int) -> None:
        super().__init__()
        n = SLOTS * ORIENTATIONS
        self.low = Conv(3 * SLOTS, width, 3)
        self.parent = Conv(2 * n, width, 3)
        self.above = Conv(parent_width, width, 1)
        self.condition = Condition(width)
        self.first = Conv(width, width, 3)
        self.second = Conv(width, width, 3)
        self.act = Activation()
        self.reference = Conv(2 * n + 2 * SLOTS, width, 3)
        self.gain = Conv(width, n, 1)
        self.heads = nn.ModuleList(Head(width, a, b, ORIENTATIONS, 2) for a, b in GROUPS)
        _quieten(self.reference, self.gain)

    def trunk(
        self,
        low: Tensor,
        parent: Tensor | None,
        above: Tensor | None,
        reference: Tensor | None,
        bias: Tensor,
    ) -> Tensor:
        """Context that is known before the level: features -> (B, width, h, w)."""
        x = self.low(low) + bias
        if reference is not None:
            x = x + self.reference(reference)
        if parent is not None:
            coarse = self.parent(parent)
            if above is not None:
                coarse = coarse + self.above(above)
            x = x + F.interpolate(coarse, scale_factor=2, mode="nearest")
        t = self.act(x)
        return self.act(t + self.second(self.act(self.first(t))))


class LowNet(nn.Module):
    """Heads of the low-pass; its context is the groups before, and a reference date."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.condition = Condition(width)
        self.act = Activation()
        self.reference = Conv(2 * SLOTS, width, 3)
        self.gain = Conv(width, SLOTS, 1)
        self.heads = nn.ModuleList(Head(width, a, b, 1, 2) for a, b in GROUPS)
        _quieten(self.reference, self.gain)

    def trunk(self, bias: Tensor, reference: Tensor | None, height: int, width: int) -> Tensor:
        """Activations (B, width, h, w)."""
        x = bias.expand(-1, -1, height, width)
        if reference is not None:
            x = x + self.reference(reference)
        t: Tensor = self.act(x)
        return t


def _quieten(reference: Conv, gain: Conv) -> None:
    """Start close to ignoring the reference, so that it can be added to trained networks."""
    with torch.no_grad():
        reference.weight.mul_(0.05)
        gain.weight.zero_()
        for layer in (reference, gain):
            if layer.bias is not None:
                layer.bias.zero_()


class ContextNet(nn.Module):
    """All networks of the model."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        w = sizes.width
        self.sizes = sizes
        self.levels = nn.ModuleList(
            (LevelNet(w[0], w[1]), LevelNet(w[1], w[2]), LevelNet(w[2], w[2]))
        )
        self.low = LowNet(sizes.low)

    def level(self, level: int) -> LevelNet:
        """The network of a level; levels 2 to 4 share one."""
        return cast(LevelNet, self.levels[min(level, 2)])

    def set_fake(self, fake: bool) -> None:
        """Switch rounding of weights and activations on or off."""
        for module in self.modules():
            if isinstance(module, (Conv, Activation)):
                module.fake = fake


def split_outputs(head: Head, y: Tensor, fake: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clamp and (when ``fake``) round raw outputs to the units of the tables.

    Returns
    -------
    mean, log2_scale, shape : (B, n, h, w)
    mixing : (B, components, components before, h, w)
    """
    from tec_numcodecs.training import likelihood as lk

    n = head.n
    mean = clamp(y[:, :n], -MEAN_MAX, MEAN_MAX)
    scale = clamp(y[:, n : 2 * n], lk.SCALE_MIN, lk.SCALE_MAX)
    shape = clamp(y[:, 2 * n : 3 * n], 0.0, 1.0)
    mixing = clamp(y[:, 3 * n :], -1.0, 1.0)
    if fake:
        mean = snap(mean, lk.MEANS_PER_UNIT)
        scale = snap(scale, lk.SCALES_PER_OCTAVE)
        shape = snap(shape, lk.SHAPES - 1)
        mixing = snap(mixing, 64.0)
    b, _, h, w = y.shape
    return mean, scale, shape, mixing.view(b, head.last - head.first, -1, h, w)

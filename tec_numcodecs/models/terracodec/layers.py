"""Floating-point transforms of the published architectures: pixels to latents and back.

Parameter names are those of the published files, so that a state dict loads as it is. These
networks are never between two symbols of a stream: their output is rounded once, at the encoder,
or shown to the user.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.terracodec.devices import (
    chosen_device,
    chosen_name,
    full_precision,
    on_device,
)
from tec_numcodecs.models.terracodec.exact.backends import in_parts

_PEDESTAL = 2.0**-36  # of the reparametrization of GDN (Balle et al. 2016, as trained upstream)
_BETA_MINIMUM = 1e-6
_GAMMA_BOUND = 2.0**-18
_PIXELS_TOGETHER = 1024


class Pointwise(nn.Conv2d):
    """A 1 x 1 convolution through oneDNN whatever the number of threads.

    With one thread torch takes a matrix product of another library instead, which needs two to
    three times as long on some processors.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, N, H, W]."""
        return pointwise(x, self.weight, self.bias)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve [B, C, H, W] with weight [N, C, 1, 1] and bias [N]."""
    mkldnn = torch.backends.mkldnn
    trains = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if x.device.type == "cpu" and mkldnn.is_available() and mkldnn.enabled and not trains:
        run = torch.ops.aten.mkldnn_convolution
        out: Tensor = run(x, weight, bias, (0, 0), (1, 1), (1, 1), 1)
        return out
    return nn.functional.conv2d(x, weight, bias)


def conv(inputs: int, outputs: int, kernel: int = 5, stride: int = 2) -> nn.Conv2d:
    """Return a convolution with padding ``kernel // 2``."""
    if kernel == stride == 1:
        return Pointwise(inputs, outputs, 1)
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)


def deconv(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """Return the transposed 5 x 5 convolution that exactly doubles height and width."""
    return nn.ConvTranspose2d(inputs, outputs, 5, 2, 2, output_padding=1)


class _Bound(nn.Module):
    def __init__(self, bound: float) -> None:
        super().__init__()
        self.register_buffer("bound", torch.tensor([bound], dtype=torch.float32))


class _Reparametrized(nn.Module):
    """The constants by which GDN parameters are stored; present in every published file."""

    pedestal: Tensor

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.register_buffer("pedestal", torch.tensor([_PEDESTAL], dtype=torch.float32))
        self.lower_bound = _Bound(bound)

    def forward(self, stored: Tensor) -> Tensor:
        """Return the parameter that the network uses, of the precision of `stored`."""
        bound: Tensor = self.lower_bound.bound  # type: ignore[assignment]
        root = torch.maximum(stored, bound)
        return root * root - self.pedestal


class GDN(nn.Module):
    """Generalized divisive normalization, y = x / sqrt(beta + gamma x^2), or its inverse.

    Balle, Laparra and Simoncelli, "Density modeling of images using a generalized normalization
    transformation", 2016, equation 3 with exponents 2 and 1/2.
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.ones(channels, dtype=torch.float32))
        # Not torch.eye: on the meta device it imports all of torch._dynamo, seconds.
        gamma = torch.zeros(channels, channels, dtype=torch.float32).fill_diagonal_(0.1)
        self.gamma = nn.Parameter(gamma)
        self.beta_reparam = _Reparametrized((_BETA_MINIMUM + _PEDESTAL) ** 0.5)
        self.gamma_reparam = _Reparametrized(_GAMMA_BOUND)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape, in place if it lies in channels-last memory.

        A thousand pixels at a time: squares and norms then stay in the cache. In place, here and
        below, wherever gradients allow it: fresh memory costs more than the arithmetic.
        """
        gamma = self.gamma_reparam(self.gamma)[:, :, None, None]
        beta = self.beta_reparam(self.beta)
        if torch.is_grad_enabled():
            norm = pointwise(x * x, gamma, beta)
            return x * (norm.sqrt() if self.inverse else norm.rsqrt())
        pixels = x.permute(0, 2, 3, 1).flatten(0, 2)  # (B H W, C), a view of channels-last memory
        for part in pixels.split(_PIXELS_TOGETHER):
            squares = (part * part)[None, None].permute(0, 3, 1, 2)  # (1, C, 1, pixels)
            norm = pointwise(squares, gamma, beta)[0, :, 0].T
            part.mul_(norm.sqrt_() if self.inverse else norm.rsqrt_())
        return pixels.unflatten(0, (x.shape[0], *x.shape[2:])).permute(0, 3, 1, 2)


class ResidualUnit(nn.Module):
    """1x1, 3x3, 1x1 at half width, input added, ReLU *after* the addition."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv = nn.Sequential(
            conv(channels, half, 1, 1),
            nn.ReLU(inplace=True),
            conv(half, half, 3, 1),
            nn.ReLU(inplace=True),
            conv(half, channels, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        out: Tensor = self.conv(x)
        return out.add_(x).relu_()


class ResidualBottleneck(nn.Module):
    """1x1, 3x3, 1x1 at half width, input added, *no* ReLU after it (ELIC, He et al. 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = conv(channels, half, 1, 1)
        self.conv2 = conv(half, half, 3, 1)
        self.conv3 = conv(half, channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        inner = self.conv2(self.conv1(x).relu_()).relu_()
        outer: Tensor = self.conv3(inner)
        return outer.add_(x)


class DequantizerBlock(nn.Module):
    """x + LeakyReLU(3x3(LeakyReLU(3x3(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, channels, 3, 1)
        self.conv2 = conv(channels, channels, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        act = nn.functional.leaky_relu
        return x + act(self.conv2(act(self.conv1(x))))


class Dequantizer(nn.Module):
    """A correction of the decoded latents from the decoder's features [B, d, h, w]."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.process_conv = nn.Sequential(
            conv(width, channels, 1, 1), nn.LeakyReLU(), DequantizerBlock(channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features to a correction [B, M, h, w]."""
        out: Tensor = self.process_conv(features)
        return out


UnitType = type[ResidualUnit] | type[ResidualBottleneck]


class Attention(nn.Module):
    """The simplified attention of Cheng et al. 2020: x + a(x) * sigmoid(b(x))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(*(ResidualUnit(channels) for _ in range(3)))
        self.conv_b = nn.Sequential(
            *(ResidualUnit(channels) for _ in range(3)), conv(channels, channels, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        mask: Tensor = self.conv_b(x).sigmoid_()
        features = self.conv_a(x)
        branch = mask * features if torch.is_grad_enabled() else mask.mul_(features)
        return branch.add_(x)


def deep_analysis(inputs: int, widths: tuple[int, int, int, int], unit: UnitType) -> nn.Sequential:
    """Four halvings with three residual units after the first three; attention at two places.

    Parameters
    ----------
    inputs : int
        Bands.
    widths : tuple of int
        Channels after each halving.
    unit : type
        `ResidualBottleneck` (ELIC) or `ResidualUnit` (TT).
    """
    first, second, third, latent = widths
    return nn.Sequential(
        conv(inputs, first), *(unit(first) for _ in range(3)),
        conv(first, second), *(unit(second) for _ in range(3)), Attention(second),
        conv(second, third), *(unit(third) for _ in range(3)),
        conv(third, latent), Attention(latent),
    )  # fmt: skip


def deep_synthesis(
    outputs: int, widths: tuple[int, int, int, int], unit: UnitType
) -> nn.Sequential:
    """Mirror `deep_analysis`; `widths` are those of the analysis."""
    first, second, third, latent = widths
    return nn.Sequential(
        Attention(latent), deconv(latent, third), *(unit(third) for _ in range(3)),
        deconv(third, second), Attention(second), *(unit(second) for _ in range(3)),
        deconv(second, first), *(unit(first) for _ in range(3)),
        deconv(first, outputs),
    )  # fmt: skip


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until height and width are multiples: [B, C, H, W]."""
    height, width = x.shape[-2:]
    if height == 0 or width == 0:
        raise InvalidInput(f"an image of {height} x {width} pixels", allowed="at least 1 x 1")
    bottom, right = -height % multiple, -width % multiple
    if bottom == 0 and right == 0:
        return x
    return nn.functional.pad(x, (0, right, 0, bottom), mode="replicate")


def run_float(network: nn.Module, x: Tensor) -> Tensor:
    """Run a transform in float32 without gradients, whatever the caller's torch settings.

    On the device of the options; the result is where `x` was. Channels-last memory: on CPUs a
    strided transposed convolution is several times faster so.
    """
    device = chosen_device()
    with torch.inference_mode(), full_precision(device):
        there = x.to(device, torch.float32).contiguous(memory_format=torch.channels_last)
        out: Tensor = on_device(network, device)(there)
        return out.to(x.device)


def run_frames(network: nn.Module, x: Tensor, budget: int = 1 << 16) -> Tensor:
    """Run a transform on [T, C, H, W] a few frames at a time, so that memory stays flat in T.

    Parameters
    ----------
    network : nn.Module
        A transform whose output frames depend on one input frame each.
    x : Tensor
        Frames.
    budget : int
        Elements of `x` that go through at once; never less than one frame.
    """
    step = max(1, budget // max(1, x[0].numel()))
    done: list[Tensor] = []

    def work(first: int, last: int) -> None:
        done.append(run_float(network, x[first:last]))

    in_parts(x.shape[0], step, work, "images", chosen_name())
    return torch.cat(done)

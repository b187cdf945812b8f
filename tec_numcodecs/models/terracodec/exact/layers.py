"""Network operations whose results depend on integers only, never on the machine.

A learned entropy model decodes a symbol with a probability that the decoder must compute bit for
bit as the encoder did. Floating-point networks do not do that: one more thread, another vector
width or another batch size changes their last bits. Here every value is an IEEE double that is
either an exact integer times a power of two, or the correctly rounded result of *one* addition,
multiplication, division or square root of such values. Sums of more than two terms are sums of
integers below 2**53, exact in any order.

Only these torch operations appear: ``+ - * /`` of tensors, round, floor, clamp, where,
comparisons, abs, amax, bit operations, gathers, data movement, sums and matrix products of whole
numbers. Library versions of sqrt, softmax, exp, GELU, layer norm and friends differ between
vector instruction sets and builds and may not be used; nor may fused forms (``alpha=``, addcmul).

Values are float64 tensors, rows along the last axis. Every operation gives each row a result that
depends on that row alone, so batches, windows and cached tokens can be cut at will.

Matrix products of integers are in `tec_numcodecs.models.terracodec.exact.integer_gemm`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tec_numcodecs.models.terracodec.exact import rowwise, tables
from tec_numcodecs.models.terracodec.exact.integer_gemm import (
    Matrix,
    Patches,
    affine,
    affine_patches,
    batched_product,
)
from tec_numcodecs.models.terracodec.exact.rowwise import (
    LEFT_LIMIT,
    RIGHT_LIMIT,
    gelu_,
    power_of_two,
    quantize,
    scale_exponent,
    softmax,
    sqrt,
)

__all__ = [
    "LEFT_LIMIT",
    "RIGHT_LIMIT",
    "Conv",
    "ConvTranspose",
    "LayerNorm",
    "Linear",
    "Operand",
    "attention",
    "freeze",
    "gelu_",
    "leaky_relu",
    "patches",
    "power_of_two",
    "quantize",
    "relu",
    "scale_exponent",
    "sigmoid",
    "softmax",
    "sqrt",
    "threshold_index",
]


def freeze(weight: Tensor) -> Matrix:
    """Quantize a float weight [N, K] once, each output row with a scale of its own."""
    integers, scale = quantize(weight.to(torch.float64), RIGHT_LIMIT)
    return Matrix(integers.to(torch.int16), scale[..., 0])


# --- layers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Linear:
    """A frozen linear map: integer weights, their scales, and a float64 bias."""

    matrix: Matrix  # int16 [N, K]
    bias: Tensor  # float64 [N]

    @classmethod
    def frozen(cls, weight: Tensor, bias: Tensor) -> Linear:
        """Freeze float parameters: weight [N, K], bias [N]."""
        return cls(freeze(weight), bias.to(torch.float64))

    def __call__(self, x: Tensor) -> Tensor:
        """Map float64 [..., K] to float64 [..., N]."""
        out = affine(x.reshape(-1, x.shape[-1]), self.matrix, self.bias)
        return out.reshape(*x.shape[:-1], out.shape[-1])


@dataclass(frozen=True)
class Conv:
    """A convolution with odd square kernel and zero padding k // 2: patches, then `Linear`."""

    linear: Linear  # weight [N, k * k * C]
    kernel: int

    @classmethod
    def frozen(cls, weight: Tensor, bias: Tensor) -> Conv:
        """Freeze float parameters: weight [N, C, k, k], bias [N]."""
        taps = weight.permute(0, 2, 3, 1).flatten(1)
        return cls(Linear.frozen(taps, bias), weight.shape[-1])

    def __call__(self, x: Tensor) -> Tensor:
        """Map float64 [B, C, H, W] to float64 [B, N, H, W], channels-last in memory."""
        image = _zero_pad(x, self.kernel // 2)
        square, size = (self.kernel, self.kernel), (x.shape[2], x.shape[3])
        patches = Patches(image, square, (0, 0), size)
        out = affine_patches(patches, self.linear.matrix, self.linear.bias)
        return out.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class ConvTranspose:
    """Transposed convolution, kernel 5, stride 2, padding 2, output padding 1: exact doubling.

    Even and odd output rows and columns see disjoint taps, so it is four ordinary convolutions:
    output 2i takes kernel rows 4, 2, 0 on inputs i-1, i, i+1; output 2i+1 takes rows 3, 1 on
    inputs i, i+1.
    """

    phases: tuple[Linear, Linear, Linear, Linear]

    @classmethod
    def frozen(cls, weight: Tensor, bias: Tensor) -> ConvTranspose:
        """Freeze float parameters: weight [C, N, 5, 5] (torch's order), bias [N]."""
        phases = (taps.permute(0, 2, 3, 1).flatten(1) for taps in cls.taps(weight))
        a, b, c, d = (Linear.frozen(taps, bias) for taps in phases)
        return cls((a, b, c, d))

    @staticmethod
    def taps(weight: Tensor) -> list[Tensor]:
        """Split [C, N, 5, 5] into phases [N, C, 3 or 2, 3 or 2], as correlations."""
        taps = weight.permute(1, 0, 2, 3).flip(2, 3)
        return [taps[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]

    def __call__(self, x: Tensor) -> Tensor:
        """Map float64 [B, C, H, W] to float64 [B, N, 2 H, 2 W], channels-last in memory."""
        batch, _, height, width = x.shape
        image = _zero_pad(x, 1)  # (B, H + 2, W + 2, C)
        channels = self.phases[0].bias.shape[0]
        out = image.new_empty((batch, height, 2, width, 2, channels))
        for phase, linear in enumerate(self.phases):
            row, column = divmod(phase, 2)
            patches = Patches(image, (3 - row, 3 - column), (row, column), (height, width))
            out[:, :, row, :, column] = affine_patches(patches, linear.matrix, linear.bias)
        return out.reshape(batch, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


def _zero_pad(x: Tensor, margin: int) -> Tensor:
    """Put zeros around [B, C, H, W]: [B, H + 2 margin, W + 2 margin, C], contiguous."""
    rows = x.permute(0, 2, 3, 1)
    if margin == 0:
        return rows.contiguous()
    batch, height, width, channels = rows.shape
    out = rows.new_zeros((batch, height + 2 * margin, width + 2 * margin, channels))
    out[:, margin : margin + height, margin : margin + width] = rows
    return out


def patches(x: Tensor, kernel: int) -> Tensor:
    """Cut [B, C, H, W] into one row per position: [B, H, W, k * k, C], zero-padded."""
    image, size = _zero_pad(x, kernel // 2), (x.shape[2], x.shape[3])
    rows = Patches(image, (kernel, kernel), (0, 0), size).rows()
    return rows.reshape(x.shape[0], *size, kernel * kernel, x.shape[1])


@dataclass(frozen=True)
class LayerNorm:
    """Layer norm over the last axis from exact integer sums; weight and bias float64 [n]."""

    weight: Tensor
    bias: Tensor
    epsilon: float = 1e-6

    def __call__(self, x: Tensor) -> Tensor:
        """Normalize float64 [..., n], n <= 2900, row by row."""
        return rowwise.layer_norm(x, self.weight, self.bias, self.epsilon)


# --- attention -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operand:
    """Keys or values of attention, ready to be the right side of a product.

    Each token of each head has a scale of its own, so that a token's integers never change when
    later tokens join it in a cache.
    """

    integers: Tensor  # int16 [W, heads, tokens, dim]: memories are the largest thing kept
    scale: Tensor  # float64 [W, heads, 1, tokens]

    @classmethod
    def of(cls, x: Tensor) -> Operand:
        """Quantize float64 [W, heads, tokens, dim]."""
        # Heads are cut out of tokens, which lie one after the other in memory.
        integers, scale = quantize(x.transpose(1, 2), RIGHT_LIMIT)
        return cls(integers.to(torch.int16).transpose(1, 2), scale.permute(0, 2, 3, 1))

    def widened(self) -> Tensor:
        """Return the integers as float64."""
        return self.integers.to(torch.float64, memory_format=torch.contiguous_format)

    def join(self, other: Operand) -> Operand:
        """Append the tokens of `other`."""
        return Operand(
            torch.cat((self.integers, other.integers), dim=2),
            torch.cat((self.scale, other.scale), dim=3),
        )


def attention(query: Tensor, keys: Operand, values: Operand, hidden: Tensor | None) -> Tensor:
    """Scaled dot-product attention.

    Parameters
    ----------
    query : Tensor
        float64 [W, heads, tokens, dim].
    keys, values : Operand
        The tokens to attend to.
    hidden : Tensor, optional
        bool [tokens, key tokens], True where a key must not be seen.

    Returns
    -------
    Tensor
        float64 [W, heads, tokens, dim].
    """
    integers, scale = quantize(query)
    scores = batched_product(integers, keys.widened().transpose(-1, -2))
    factor = 1.0 / math.sqrt(query.shape[-1])
    weights, scale = rowwise.attend(scores, scale, keys.scale, values.scale, hidden, factor)
    return batched_product(weights, values.widened()).mul_(scale)


# --- elementwise -----------------------------------------------------------------------------


def relu(x: Tensor) -> Tensor:
    """Return max(x, 0)."""
    return torch.clamp(x, min=0.0)


def leaky_relu(x: Tensor) -> Tensor:
    """Return x where positive, else x / 100 (as one multiplication by the double 0.01)."""
    return torch.where(x > 0, x, x * 0.01)


def sigmoid(x: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x)), the exponential in whole numbers times 2**-30."""
    one = float(1 << tables.EXP_BITS)
    power = rowwise.whole_exp(torch.abs(x))  # exp(-|x|)
    above = torch.where(x > 0, torch.full_like(power, one), power)
    return above / (power + one)


def threshold_index(x: Tensor, thresholds: Tensor, fraction_bits: int = 16) -> Tensor:
    """Count how many integer thresholds lie at or below ``x * 2**fraction_bits``.

    Parameters
    ----------
    x : Tensor
        float64.
    thresholds : Tensor
        int64, ascending.

    Returns
    -------
    Tensor
        int64, 0 ... len(thresholds).
    """
    fixed = torch.clamp(x * float(1 << fraction_bits), min=-(2.0**62), max=2.0**62)
    fixed = torch.floor(fixed).to(torch.int64)
    return torch.searchsorted(thresholds, fixed.contiguous(), right=True)

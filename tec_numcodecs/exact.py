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

Matrix products of integers are in `tec_numcodecs.carrier`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tec_numcodecs import exact_tables
from tec_numcodecs.carrier import Matrix, batched_product, product

LEFT_LIMIT = 32639  # 127 * 256 + 127: two signed bytes, radix 256
RIGHT_LIMIT = 8127  # 63 * 128 + 63: two signed bytes of at most 64, radix 128
SCALE_FLOOR = -60  # exponent of the smallest scale: zero rows and subnormals become zeros

_EXPONENT_BIAS = 1023
_MANTISSA_BITS = 52
_LOG2_E = 94548 / 65536  # log2(e) to 16 binary places: exact in a double


# --- scales ----------------------------------------------------------------------------------


def power_of_two(exponent: Tensor) -> Tensor:
    """Return ``2.0 ** exponent`` for int64 exponents in -1022 ... 1023, built from their bits."""
    return ((exponent + _EXPONENT_BIAS) << _MANTISSA_BITS).view(torch.float64)


def scale_exponent(largest: Tensor, limit: int) -> Tensor:
    """Return the smallest exponent e >= -60 with ``largest <= limit * 2**e``.

    Parameters
    ----------
    largest : Tensor
        float64, finite and >= 0.
    limit : int
        The largest integer allowed after division by the scale.

    Returns
    -------
    Tensor
        int64, of the shape of `largest`.
    """
    bits = limit.bit_length() - 1
    exponent = (largest.view(torch.int64) >> _MANTISSA_BITS) - (_EXPONENT_BIAS + bits)
    exponent = torch.clamp(exponent, min=SCALE_FLOOR)
    too_small = largest * power_of_two(-exponent) > limit
    return exponent + too_small.to(torch.int64)


def quantise(x: Tensor, limit: int = LEFT_LIMIT) -> tuple[Tensor, Tensor]:
    """Write each row of `x` as integers times a power of two of its own.

    Parameters
    ----------
    x : Tensor
        float64 [..., K].
    limit : int
        Largest magnitude of an integer.

    Returns
    -------
    integers : Tensor
        float64 [..., K], whole numbers, rounded half to even.
    scale : Tensor
        float64 [..., 1], powers of two.
    """
    exponent = scale_exponent(torch.amax(torch.abs(x), dim=-1, keepdim=True), limit)
    return (x * power_of_two(-exponent)).round_(), power_of_two(exponent)


def freeze(weight: Tensor) -> Matrix:
    """Quantise a float weight [N, K] once, each output row with a scale of its own."""
    integers, scale = quantise(weight.to(torch.float64), RIGHT_LIMIT)
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
        rows = x.reshape(-1, x.shape[-1])
        integers, scale = quantise(rows)
        out = product(integers, self.matrix)  # (rows, N), whole numbers
        out = out.mul_(scale).mul_(self.matrix.scale)  # powers of two: exact
        out = out.add_(self.bias)
        return out.reshape(*x.shape[:-1], out.shape[-1])


@dataclass(frozen=True)
class Conv:
    """A convolution with odd square kernel and zero padding k // 2: patches, then `Linear`."""

    linear: Linear  # weight [N, C * k * k]
    kernel: int

    @classmethod
    def frozen(cls, weight: Tensor, bias: Tensor) -> Conv:
        """Freeze float parameters: weight [N, C, k, k], bias [N]."""
        return cls(Linear.frozen(weight.flatten(1), bias), weight.shape[-1])

    def __call__(self, x: Tensor) -> Tensor:
        """Map float64 [B, C, H, W] to float64 [B, N, H, W]."""
        return self.linear(patches(x, self.kernel)).permute(0, 3, 1, 2)


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
        a, b, c, d = (Linear.frozen(taps.flatten(1), bias) for taps in cls.taps(weight))
        return cls((a, b, c, d))

    @staticmethod
    def taps(weight: Tensor) -> list[Tensor]:
        """Split [C, N, 5, 5] into phases [N, C, 3 or 2, 3 or 2], as correlations."""
        taps = weight.permute(1, 0, 2, 3).flip(2, 3)
        return [taps[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]

    def __call__(self, x: Tensor) -> Tensor:
        """Map float64 [B, C, H, W] to float64 [B, N, 2 H, 2 W]."""
        batch, _, height, width = x.shape
        padded = _zero_pad(x, 1, 1)  # (B, C, H + 2, W + 2)
        channels = self.phases[0].bias.shape[0]
        out = torch.empty(
            (batch, channels, height, 2, width, 2), dtype=torch.float64, device=x.device
        )
        for phase, linear in enumerate(self.phases):
            row, column = divmod(phase, 2)
            view = padded[:, :, row:, column:]
            view = view.unfold(2, 3 - row, 1).unfold(3, 3 - column, 1)
            view = view[:, :, :height, :width]  # (B, C, H, W, 3 - row, 3 - column)
            rows = view.permute(0, 2, 3, 1, 4, 5).flatten(3)
            out[:, :, :, row, :, column] = linear(rows).permute(0, 3, 1, 2)
        return out.reshape(batch, channels, 2 * height, 2 * width)


def _zero_pad(x: Tensor, before: int, after: int) -> Tensor:
    batch, channels, height, width = x.shape
    size = (batch, channels, height + before + after, width + before + after)
    out = torch.zeros(size, dtype=torch.float64, device=x.device)
    out[:, :, before : before + height, before : before + width] = x
    return out


def patches(x: Tensor, kernel: int) -> Tensor:
    """Cut [B, C, H, W] into one row per position: [B, H, W, C * kernel^2], zero-padded."""
    if kernel == 1:
        return x.permute(0, 2, 3, 1)
    view = _zero_pad(x, kernel // 2, kernel // 2).unfold(2, kernel, 1).unfold(3, kernel, 1)
    return view.permute(0, 2, 3, 1, 4, 5).flatten(3)  # (B, H, W, C * k * k)


@dataclass(frozen=True)
class LayerNorm:
    """Layer norm over the last axis from exact integer sums; weight and bias float64 [n]."""

    weight: Tensor
    bias: Tensor
    epsilon: float = 1e-6

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise float64 [..., n], n <= 2900, row by row.

        With x = s q, (x - mean) / sqrt(var + eps) is
        (n q - sum q) / sqrt(n sum q^2 - (sum q)^2 + n^2 eps / s^2).
        """
        n = float(x.shape[-1])
        q, scale = quantise(x)
        # Whole numbers below n^2 * 32639^2 < 2**53: exact in float64, in any order.
        total = torch.sum(q, dim=-1, keepdim=True)
        squares = torch.sum(q * q, dim=-1, keepdim=True)
        spread = squares * n - total * total
        inverse = 1.0 / scale
        spread = spread + (inverse * inverse) * (n * n * self.epsilon)
        centred = q * n - total
        return (centred / sqrt(spread)) * self.weight + self.bias


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
        """Quantise float64 [W, heads, tokens, dim]."""
        integers, scale = quantise(x, RIGHT_LIMIT)
        return cls(integers.to(torch.int16), scale.transpose(-1, -2))

    def widened(self) -> Tensor:
        """Return the integers as float64."""
        return self.integers.to(torch.float64)

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
    integers, scale = quantise(query)
    scores = batched_product(integers, keys.widened().transpose(-1, -2))
    scores = (scores * scale) * keys.scale
    weights = softmax(scores * (1.0 / math.sqrt(query.shape[-1])), hidden)
    # A value's scale moves into its weight, so that the product is between integers; a hidden
    # token weighs exactly zero and cannot change the row's scale.
    integers, scale = quantise(weights * values.scale)
    return batched_product(integers, values.widened()) * scale


def softmax(scores: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Softmax over the last axis with a whole-number exponential, an exact sum and one division.

    Parameters
    ----------
    scores : Tensor
        float64 [..., n], finite.
    hidden : Tensor, optional
        bool, broadcastable; hidden entries get exactly 0. At least one per row must be visible.
    """
    if hidden is not None:
        scores = torch.where(hidden, torch.full_like(scores, -math.inf), scores)
    fall = torch.amax(scores, dim=-1, keepdim=True) - scores  # >= 0, infinite where hidden
    power = whole_exp(fall)
    if hidden is not None:
        power = torch.where(hidden, torch.zeros_like(power), power)
    # Whole numbers of at most 2**30: their sum is exact in any order.
    return power / torch.sum(power, dim=-1, keepdim=True)


def whole_exp(fall: Tensor) -> Tensor:
    """Return about ``2**30 * exp(-fall)`` as whole numbers, for float64 ``fall >= 0``.

    A table of 2**-y on a grid of 2**-8 with linear steps, rounded down to an integer: within
    2e-6 of the true value, relatively, before the rounding.
    """
    end = float(exact_tables.EXP_END << exact_tables.EXP_GRID_BITS)
    fixed = (fall * (_LOG2_E * (1 << exact_tables.EXP_GRID_BITS))).clamp_(max=end)
    return _interpolate(fixed, *_exp_tables(fall.device)).floor_()


def _interpolate(position: Tensor, table: Tensor, slope: Tensor) -> Tensor:
    """Interpolate a table of whole numbers at float64 positions >= 0 within it; spends them."""
    flat = position.reshape(-1)
    index = torch.floor(flat)
    where = index.to(torch.int32)
    rest = flat.sub_(index)  # exact
    step = torch.index_select(slope, 0, where).mul_(rest)
    return step.add_(torch.index_select(table, 0, where)).reshape(position.shape)


# --- elementwise -----------------------------------------------------------------------------


def sqrt(x: Tensor) -> Tensor:
    """Return the correctly rounded square root of float64 values >= 0.

    On CPUs through NumPy, which uses the processor's instruction: torch hands double precision
    to a vector library (MKL) whose result is one unit off for about one value in a hundred.
    """
    if x.device.type == "cpu":
        return torch.from_numpy(np.sqrt(x.numpy()))
    return torch.sqrt(x)


def relu(x: Tensor) -> Tensor:
    """Return max(x, 0)."""
    return torch.clamp(x, min=0.0)


def leaky_relu(x: Tensor) -> Tensor:
    """Return x where positive, else x / 100 (as one multiplication by the double 0.01)."""
    return torch.where(x > 0, x, x * 0.01)


def gelu(x: Tensor) -> Tensor:
    """GELU(x) = max(x, 0) - |x| Phi(-|x|), the second term from a table with linear steps.

    The table's spacing is 2**-9 and its values are integers times 2**-30: the result is within
    1e-6 of the exact function everywhere.
    """
    grid = float(1 << exact_tables.GELU_GRID_BITS)
    position = torch.abs(x).mul_(grid).clamp_(max=exact_tables.GELU_END * grid)
    dip = _interpolate(position, *_gelu_tables(x.device)).mul_(2.0**-exact_tables.GELU_BITS)
    return relu(x).sub_(dip)


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


@cache
def _exp_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    return _with_slope(exact_tables.exp2_falling(), device)


@cache
def _gelu_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    return _with_slope(exact_tables.gelu_dip(), device)


def _with_slope(table: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pair a table with its differences, both float64 and whole; the last difference is 0."""
    values = torch.tensor(table, device=device)
    slope = torch.zeros_like(values)
    slope[:-1] = values[1:] - values[:-1]
    return values.to(torch.float64), slope.to(torch.float64)

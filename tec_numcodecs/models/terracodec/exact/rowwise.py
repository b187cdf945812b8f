"""Row by row operations of exact networks: scales, layer norm, GELU, softmax.

Each function states its rule once, in torch, with the allow-list of `layers`; on CPUs
the C extension, where it was built, does the same in one pass over memory and gives the same bits.
Every row's result depends on that row alone.
"""

from __future__ import annotations

import math
from functools import cache
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tec_numcodecs import native as _accel
from tec_numcodecs.models.terracodec.exact import backends, tables
from tec_numcodecs.models.terracodec.exact.row_threads import spread

LEFT_LIMIT = 32639  # 127 * 256 + 127: two signed bytes, radix 256
RIGHT_LIMIT = 8127  # 63 * 128 + 63: two signed bytes of at most 64, radix 128
SCALE_FLOOR = -60  # exponent of the smallest scale: zero rows and subnormals become zeros

_EXPONENT_BIAS = 1023
_MANTISSA_BITS = 52
_LOG2_E = 94548 / 65536  # log2(e) to 16 binary places: exact in a double
_NOTHING_HIDDEN = np.zeros(0, np.uint8)


def native_for(x: Tensor) -> ModuleType | None:
    """Return the C extension if it was built, may be used, and the tensor is where it can work."""
    here = x.device.type == "cpu" and backends.current().native
    module = _accel.native() if here and x.numel() else None
    # In a working copy the extension may be older than this file.
    return module if hasattr(module, "exact_multiply") else None


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


def quantize(x: Tensor, limit: int = LEFT_LIMIT) -> tuple[Tensor, Tensor]:
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
    native = native_for(x)
    if native is None:
        exponent = scale_exponent(torch.amax(torch.abs(x), dim=-1, keepdim=True), limit)
        return (x * power_of_two(-exponent)).round_(), power_of_two(exponent)
    width = x.shape[-1]
    rows = x.reshape(-1, width).contiguous()
    out, scale = torch.empty_like(rows), rows.new_empty((rows.shape[0], 1))
    source, target, scales = rows.numpy(), out.numpy(), scale.numpy()

    def work(i: int, j: int) -> None:
        native.exact_quantise(source[i:j], target[i:j], scales[i:j], j - i, width, limit)

    spread(rows.shape[0], width, work)
    return out.reshape(x.shape), scale.reshape(*x.shape[:-1], 1)


# --- layer norm ------------------------------------------------------------------------------


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Normalize float64 [..., n], n <= 2900, row by row.

    With x = s q, (x - mean) / sqrt(var + eps) is
    (n q - sum q) / sqrt(n sum q^2 - (sum q)^2 + n^2 eps / s^2).
    """
    n = x.shape[-1]
    native = native_for(x)
    if native is None:
        return _torch_norm(x, weight, bias, epsilon)
    rows = x.reshape(-1, n).contiguous()
    out = torch.empty_like(rows)
    source, target = rows.numpy(), out.numpy()
    gain, shift = weight.contiguous().numpy(), bias.contiguous().numpy()

    def work(i: int, j: int) -> None:
        native.exact_norm(source[i:j], gain, shift, target[i:j], j - i, n, epsilon)

    spread(rows.shape[0], n, work)
    return out.reshape(x.shape)


def _torch_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    n = float(x.shape[-1])
    q, scale = quantize(x)
    # Whole numbers below n^2 * 32639^2 < 2**53: exact in float64, in any order.
    total = torch.sum(q, dim=-1, keepdim=True)
    squares = torch.sum(q * q, dim=-1, keepdim=True)
    spread_ = squares * n - total * total
    inverse = 1.0 / scale
    spread_ = spread_ + (inverse * inverse) * (n * n * epsilon)
    centered = q * n - total
    return (centered / sqrt(spread_)) * weight + bias


# --- attention -------------------------------------------------------------------------------


def attend(
    scores: Tensor, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None, factor: float
) -> tuple[Tensor, Tensor]:
    """Turn products of queries and keys into whole-number weights of the values; spends `scores`.

    Parameters
    ----------
    scores : Tensor
        float64 [W, heads, tokens, n], whole numbers.
    query : Tensor
        float64 [W, heads, tokens, 1], scales of the queries.
    key, value : Tensor
        float64 [W or 1, heads, 1, n], scales of the keys and values.
    hidden : Tensor, optional
        bool [tokens, n], True where a key must not be seen.
    factor : float
        What scores are multiplied by before the softmax.

    Returns
    -------
    integers : Tensor
        float64 [W, heads, tokens, n], whole numbers; exactly zero where hidden.
    scale : Tensor
        float64 [W, heads, tokens, 1].
    """
    native = native_for(scores)
    if native is None:
        weights = softmax(((scores * query) * key) * factor, hidden)
        # A value's scale moves into its weight, so that the product is between integers; a
        # hidden token weighs exactly zero and cannot change the row's scale.
        return quantize(weights * value)
    *outer, tokens, n = scores.shape
    groups = math.prod(outer)
    flat, scale = scores.contiguous(), query.contiguous().clone()
    keys, values = (x.expand(*outer, 1, n).reshape(groups, n).contiguous() for x in (key, value))
    arrays = (flat.reshape(groups, tokens, n).numpy(), scale.reshape(groups, tokens).numpy(),
              keys.numpy(), values.numpy())  # fmt: skip
    mask = _NOTHING_HIDDEN if hidden is None else hidden.to(torch.uint8).contiguous().numpy()
    table = [t.numpy() for t in _exp_tables(scores.device)]

    def work(i: int, j: int) -> None:
        parts = (array[i:j] for array in arrays)
        native.exact_attend(*parts, mask, *table, j - i, tokens, n, factor)

    spread(groups, tokens * n, work)
    return flat, scale


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
    end = float(tables.EXP_END << tables.EXP_GRID_BITS)
    fixed = (fall * (_LOG2_E * (1 << tables.EXP_GRID_BITS))).clamp_(max=end)
    return _interpolate(fixed, *_exp_tables(fall.device)).floor_()


# --- elementwise -----------------------------------------------------------------------------


def sqrt(x: Tensor) -> Tensor:
    """Return the correctly rounded square root of float64 values >= 0.

    On CPUs through NumPy, which uses the processor's instruction: torch hands double precision
    to a vector library (MKL) whose result is one unit off for about one value in a hundred.
    """
    if x.device.type == "cpu":
        return torch.from_numpy(np.sqrt(x.numpy()))
    return torch.sqrt(x)


def gelu_(x: Tensor) -> Tensor:
    """Replace float64 x by GELU(x) = max(x, 0) - |x| Phi(-|x|), and return it.

    The second term comes from a table with linear steps. Its spacing is 2**-9 and its values are
    integers times 2**-30: the result is within 1e-6 of the exact function everywhere.
    """
    native = native_for(x)
    if native is None or not x.is_contiguous():
        grid = float(1 << tables.GELU_GRID_BITS)
        position = torch.abs(x).mul_(grid).clamp_(max=tables.GELU_END * grid)
        dip = _interpolate(position, *_gelu_tables(x.device)).mul_(2.0**-tables.GELU_BITS)
        return x.clamp_(min=0.0).sub_(dip)
    flat = x.reshape(-1).numpy()
    table = [t.numpy() for t in _gelu_tables(x.device)]
    spread(flat.size, 1, lambda i, j: native.exact_gelu(flat[i:j], *table, j - i))
    return x


def _interpolate(position: Tensor, table: Tensor, slope: Tensor) -> Tensor:
    """Interpolate a table of whole numbers at float64 positions >= 0 within it; spends them."""
    flat = position.reshape(-1)
    index = torch.floor(flat)
    where = index.to(torch.int32)
    rest = flat.sub_(index)  # exact
    step = torch.index_select(slope, 0, where).mul_(rest)
    return step.add_(torch.index_select(table, 0, where)).reshape(position.shape)


@cache
def _exp_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    return _with_slope(tables.exp2_falling(), device)


@cache
def _gelu_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    return _with_slope(tables.gelu_dip(), device)


def _with_slope(table: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pair a table with its differences, both float64 and whole; the last difference is 0."""
    values = torch.tensor(table, device=device)
    slope = torch.zeros_like(values)
    slope[:-1] = values[1:] - values[:-1]
    return values.to(torch.float64), slope.to(torch.float64)

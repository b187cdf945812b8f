"""Products of integer matrices, carried by whatever unit of the machine does them exactly.

`float64` is the reference: products of 16-bit by 14-bit integers and all their partial sums stay
below 2**53, so a double-precision matrix product is exact whatever order or fused operation it
uses. `int8` splits the integers into signed bytes and multiplies those in four parts; it is used
only where a probe with saturating vectors found it exact and faster, and every single product is
checked by its row sums besides: some byte kernels saturate silently on some instruction sets.

Both return the same integers, so the carrier is a run-time choice and never part of a stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from tec_numcodecs import exact_rows
from tec_numcodecs._spread import spread
from tec_numcodecs.errors import InvalidInput

Carrier = Literal["auto", "float64", "int8"]

_CARRIERS = ("auto", "float64", "int8")
_MIN_INNER = 256  # shorter products than this are dominated by splitting and joining bytes
_MIN_OUTER = 128
_PROBE_SHAPES = ((16, 768, 768), (40, 1030, 136), (256, 3072, 768))  # rows, inner, outer
_requested: Carrier = "auto"


class Matrix:
    """A frozen right operand: integers of at most 8127 [N, K] and a power of two per row.

    Held in two bytes an element: 16-bit integers, or a high and a low byte once the `int8`
    carrier has used it. Neither is kept beside the other.

    Parameters
    ----------
    integers : Tensor
        int16 [N, K].
    scale : Tensor
        float64 [N].
    """

    def __init__(self, integers: Tensor, scale: Tensor) -> None:
        self.scale = scale
        self._integers: Tensor | None = integers
        self._limbs: Tensor | None = None
        self._row_total: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""
        if self._integers is not None:
            return self._integers.shape[0], self._integers.shape[1]
        limbs = self._held_limbs()
        return limbs.shape[0] // 2, limbs.shape[1]

    def integers(self) -> Tensor:
        """Return the integers as int16 [N, K]."""
        if self._integers is not None:
            return self._integers
        high, low = self._held_limbs().to(torch.int16).chunk(2)
        return high * 128 + low

    def widened(self) -> Tensor:
        """Return the integers as float64 [N, K]."""
        return self.integers().to(torch.float64)

    def limbs(self) -> Tensor:
        """Return int8 [2 N, K]: all high bytes, then all low bytes, of radix 128."""
        if self._limbs is None:
            integers = self.integers()
            high = (integers + 64) >> 7
            self._limbs = torch.cat((high, integers - (high << 7))).to(torch.int8)
            self._integers = None
        return self._limbs

    def row_total(self) -> Tensor:
        """Return the sum over the N rows, float64 [K]: whole numbers."""
        if self._row_total is None:
            total = torch.sum(self.integers(), dim=0, dtype=torch.int64)
            self._row_total = total.to(torch.float64)
        return self._row_total

    def _held_limbs(self) -> Tensor:
        if self._limbs is None:  # pragma: no cover - one of the two always exists
            raise RuntimeError("a matrix without elements")
        return self._limbs


def set_carrier(name: Carrier) -> None:
    """Choose how integer products are computed in this process; results are the same.

    Parameters
    ----------
    name : {"auto", "float64", "int8"}
        "auto" probes once and takes bytes where they are exact and faster.

    Raises
    ------
    InvalidInput
        The name is unknown, or "int8" was asked for where it is not exact.
    """
    global _requested
    if name not in _CARRIERS:
        raise InvalidInput(f"carrier = {name!r}", allowed=", ".join(_CARRIERS))
    if name == "int8" and not int8_is_exact():
        raise InvalidInput(
            "carrier = 'int8', but this machine's byte products saturate or are missing",
            allowed="auto, float64",
            fix="leave it at 'auto'",
        )
    _requested = name


def affine(x: Tensor, matrix: Matrix, bias: Tensor) -> Tensor:
    """Quantise rows, multiply, scale, add: ``x @ matrix.T + bias`` by exact arithmetic.

    Parameters
    ----------
    x : Tensor
        float64 [M, K].
    matrix : Matrix
        The right operand, [N, K].
    bias : Tensor
        float64 [N].

    Returns
    -------
    Tensor
        float64 [M, N]: for each row the exact sum of the products of integers, times the scales
        (powers of two, hence exact), plus the bias (rounded once).
    """
    if _use_int8(x, matrix):
        native = exact_rows.native_for(x)
        product = _by_bytes if native is None else _by_bytes_in_c
        out = product(x.contiguous(), matrix, bias)
        if out is not None:
            return out
    integers, scale = exact_rows.quantise(x)
    return _scaled(integers @ matrix.widened().T, scale, matrix, bias)


def _scaled(whole: Tensor, scale: Tensor, matrix: Matrix, bias: Tensor) -> Tensor:
    return whole.mul_(scale).mul_(matrix.scale).add_(bias)


def _by_bytes(x: Tensor, matrix: Matrix, bias: Tensor) -> Tensor | None:
    """Do `affine` with products of bytes; None if one of them was not exact."""
    integers, scale = exact_rows.quantise(x)
    out = _int8_product(integers, matrix.limbs())
    # A row's sum must be the row times the sum of all weights: one wrong element shows.
    if not torch.equal(torch.sum(out, dim=1), integers @ matrix.row_total()):
        return None
    return _scaled(out, scale, matrix, bias)


def _by_bytes_in_c(x: Tensor, matrix: Matrix, bias: Tensor) -> Tensor | None:
    """Do `_by_bytes` with two passes over memory."""
    native = exact_rows.native_for(x)
    (rows, inner), outer = x.shape, matrix.shape[0]
    parts = torch.empty((2, rows, inner), dtype=torch.int8)
    scale, check = x.new_empty(rows), x.new_empty(rows)
    out = x.new_empty((rows, outer))
    total, column, shift = matrix.row_total().numpy(), matrix.scale.numpy(), bias.numpy()
    source, (high, low) = x.numpy(), parts.numpy()
    scales, checks, target = scale.numpy(), check.numpy(), out.numpy()

    def split(i: int, j: int) -> None:
        native.exact_split(
            source[i:j], total, high[i:j], low[i:j], scales[i:j], checks[i:j], j - i, inner
        )

    spread(rows, inner, split)
    sums = _int_mm(parts.reshape(2 * rows, inner), matrix.limbs())
    upper, lower = sums.reshape(2, rows, 2 * outer).numpy()

    def join(i: int, j: int) -> None:
        scaling = (scales[i:j], checks[i:j], column, shift)
        if not native.exact_join(upper[i:j], lower[i:j], *scaling, target[i:j], j - i, outer):
            wrong.append(i)

    wrong: list[int] = []
    spread(rows, outer, join)
    return None if wrong else out


def batched_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply whole numbers [..., M, K] by [..., K, N], both float64."""
    return left @ right


@cache
def int8_is_exact() -> bool:
    """Tell whether this machine's byte products are exact on saturating vectors."""
    try:
        return all(_probe(*shape) for shape in _PROBE_SHAPES)
    except (RuntimeError, AttributeError, NotImplementedError):  # not offered by this build
        return False


@cache
def _int8_wins() -> bool:
    """Tell whether four byte products beat one double product here, by timing both once."""
    rows, inner, outer = 256, 768, 768
    left = torch.full((rows, inner), 32639.0, dtype=torch.float64)
    whole = torch.full((outer, inner), 8127, dtype=torch.int16)
    matrix = Matrix(whole, torch.ones(outer, dtype=torch.float64))
    double = _best_time(lambda: left @ matrix.widened().T)
    limbs = matrix.limbs()
    return _best_time(lambda: _int8_product(left, limbs)) < double


def _use_int8(left: Tensor, matrix: Matrix) -> bool:
    outer, inner = matrix.shape
    if _requested == "float64" or left.device.type != "cpu":
        return False
    if inner < _MIN_INNER or outer < _MIN_OUTER or left.shape[0] == 0:
        return False
    if _requested == "int8":
        return True
    return int8_is_exact() and _int8_wins()


def _int8_product(left: Tensor, limbs: Tensor) -> Tensor:
    """Return the exact product from bytes: left radix 256, right radix 128."""
    rows, outer = left.shape[0], limbs.shape[0] // 2
    whole = left.to(torch.int32)
    high = (whole + 128) >> 8
    parts = torch.cat((high, whole - (high << 8))).to(torch.int8)  # (2 M, K)
    sums = _int_mm(parts, limbs)
    middle = sums[:rows, outer:] * 2 + sums[rows:, :outer]  # units of 128
    out = sums[:rows, :outer].to(torch.float64)
    out = out.mul_(256.0).add_(middle).mul_(128.0)
    return out.add_(sums[rows:, outer:])


def _int_mm(parts: Tensor, limbs: Tensor) -> Tensor:
    """Multiply bytes [2 M, K] by the transpose of [2 N, K]: int32 [2 M, 2 N]."""
    return torch._int_mm(parts, limbs.T)  # noqa: SLF001 (the only name it has)


def _probe(rows: int, inner: int, outer: int) -> bool:
    generator = torch.Generator().manual_seed(inner)
    shape_left, shape_right = (rows, inner), (outer, inner)
    signs = torch.randint(0, 2, shape_left, generator=generator, dtype=torch.int64) * 2 - 1
    lefts = [
        torch.full(shape_left, 32639, dtype=torch.int64),
        torch.full(shape_left, -32639, dtype=torch.int64),
        signs * 32639,
        torch.randint(-32639, 32640, shape_left, generator=generator, dtype=torch.int64),
    ]
    rights = [
        torch.full(shape_right, 8127, dtype=torch.int64),
        torch.full(shape_right, -8127, dtype=torch.int64),
        torch.randint(-8127, 8128, shape_right, generator=generator, dtype=torch.int64),
    ]
    one = torch.ones(outer, dtype=torch.float64)
    for right in rights:
        matrix = Matrix(right.to(torch.int16), one)
        wide = right.to(torch.float64).T
        for whole in lefts:
            left = whole.to(torch.float64)
            if not torch.equal(_int8_product(left, matrix.limbs()), left @ wide):
                return False
    return True


def _best_time(work: Callable[[], Tensor]) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)

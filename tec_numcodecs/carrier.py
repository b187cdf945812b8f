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
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tec_numcodecs import exact_rows
from tec_numcodecs._spread import spread
from tec_numcodecs.errors import InvalidInput

Carrier = Literal["auto", "float64", "int8"]

_CARRIERS = ("auto", "float64", "int8")
_MIN_INNER = 256  # shorter products than this are dominated by splitting and joining bytes
_MIN_OUTER = 128
_MIN_INNER_IN_C = 64
_NUMBERS_TOGETHER = 1 << 21  # of a left operand or its products: bounds memory, not results
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


@dataclass(frozen=True)
class Patches:
    """Rows of a left operand, cut out of images only where they are multiplied.

    Position (i, j) of an image has the row ``image[i : i + kernel[0], j : j + kernel[1]]``, flat.

    Attributes
    ----------
    image : Tensor
        float64 [B, rows, columns, C], channels-last and contiguous, padded by the caller.
    kernel : tuple of int
        Rows and columns of a patch.
    origin : tuple of int
        Where the first patch begins.
    size : tuple of int
        Positions along rows and columns.
    """

    image: Tensor
    kernel: tuple[int, int]
    origin: tuple[int, int]
    size: tuple[int, int]

    @property
    def inner(self) -> int:
        """Numbers in one patch."""
        return self.kernel[0] * self.kernel[1] * self.image.shape[3]

    def of(self, image: int, first: int, last: int) -> Patches:
        """Return rows `first` to `last` of the positions of one image."""
        top, left = self.origin
        part = self.image[image : image + 1, top + first : top + last + self.kernel[0] - 1]
        return Patches(part, self.kernel, (0, left), (last - first, self.size[1]))

    def rows(self) -> Tensor:
        """Cut all of them out: float64 [positions of all images, inner]."""
        (top, left), (height, width) = self.origin, self.size
        view = self.image[:, top:, left:]
        view = view.unfold(1, self.kernel[0], 1).unfold(2, self.kernel[1], 1)
        view = view[:, :height, :width]  # (B, height, width, C, kernel rows, kernel columns)
        return view.permute(0, 1, 2, 4, 5, 3).reshape(-1, self.inner)


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
    rows = x.contiguous()[None, :, None]  # an image of one column
    patches = Patches(rows, (1, 1), (0, 0), (x.shape[0], 1))
    return affine_patches(patches, matrix, bias)[0, :, 0]


def affine_patches(patches: Patches, matrix: Matrix, bias: Tensor) -> Tensor:
    """Do `affine` for every patch of images.

    Returns
    -------
    Tensor
        float64 [B, height, width, N].
    """
    outer, inner = matrix.shape
    images, (height, width) = patches.image.shape[0], patches.size
    out = patches.image.new_empty((images, height, width, outer))
    step = max(1, _NUMBERS_TOGETHER // (width * max(inner, 2 * outer)))
    for image in range(images):
        for first in range(0, height, step):
            last = min(first + step, height)
            target = out[image, first:last].flatten(0, 1)  # a view
            _affine_into(target, patches.of(image, first, last), matrix, bias)
    return out


def _affine_into(out: Tensor, patches: Patches, matrix: Matrix, bias: Tensor) -> None:
    native = exact_rows.native_for(patches.image)
    if _use_int8(patches, matrix, native=native is not None):
        if native is None:
            exact = _by_bytes(out, patches, matrix, bias)
        else:
            exact = _by_bytes_in_c(native, out, patches, matrix, bias)
        if exact:
            return
    integers, scale = exact_rows.quantise(patches.rows())
    torch.mm(integers, matrix.widened().T, out=out)
    out.mul_(scale).mul_(matrix.scale).add_(bias)


def _by_bytes(out: Tensor, patches: Patches, matrix: Matrix, bias: Tensor) -> bool:
    """Do `affine` with products of bytes; tell whether all of them were exact."""
    integers, scale = exact_rows.quantise(patches.rows())
    whole = _int8_product(integers, matrix.limbs())
    # A row's sum must be the row times the sum of all weights: one wrong element shows.
    if not torch.equal(torch.sum(whole, dim=1), integers @ matrix.row_total()):
        return False
    out.copy_(whole.mul_(scale).mul_(matrix.scale).add_(bias))
    return True


def _by_bytes_in_c(
    native: ModuleType, out: Tensor, patches: Patches, matrix: Matrix, bias: Tensor
) -> bool:
    """Do `_by_bytes` with two passes over memory, and without cutting patches out first."""
    (height, width), inner, outer = patches.size, patches.inner, matrix.shape[0]
    (top, left), channels = patches.origin, patches.image.shape[3]
    pitch = patches.image.shape[2] * channels
    shape = (pitch, channels, patches.kernel[0], patches.kernel[1] * channels)
    rows = height * width
    parts = torch.empty((2, rows, inner), dtype=torch.int8)
    scales, checks = np.empty(rows), np.empty(rows)
    total, column, shift = matrix.row_total().numpy(), matrix.scale.numpy(), bias.numpy()
    source = patches.image.reshape(-1)[top * pitch + left * channels :].numpy()
    high, low = parts.numpy()
    target = out.numpy()

    def split(i: int, j: int) -> None:
        part = slice(i * width, j * width)
        filled = (high[part], low[part], scales[part], checks[part])
        native.exact_split(source[i * pitch :], total, *filled, j - i, width, *shape)

    def join(i: int, j: int) -> None:
        scaling = (scales[i:j], checks[i:j], column, shift)
        if not native.exact_join(upper[i:j], lower[i:j], *scaling, target[i:j], j - i, outer):
            wrong.append(i)

    wrong: list[int] = []
    spread(height, width * inner, split)
    sums = _int_mm(parts.reshape(2 * rows, inner), matrix.limbs())
    upper, lower = sums.reshape(2, rows, 2 * outer).numpy()
    spread(rows, outer, join)
    return not wrong


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


def _use_int8(patches: Patches, matrix: Matrix, *, native: bool) -> bool:
    if _requested == "float64" or patches.image.device.type != "cpu":
        return False
    if patches.inner < (_MIN_INNER_IN_C if native else _MIN_INNER):
        return False
    if not native and matrix.shape[0] < _MIN_OUTER:
        return False
    if _requested == "int8":
        return True
    return _int8_wins() and int8_is_exact()  # the cheaper one first


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

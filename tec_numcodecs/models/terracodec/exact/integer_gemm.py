"""Products of integer matrices, carried by whatever unit of the machine does them exactly.

`float64` is the reference: products of 16-bit by 14-bit integers and all their partial sums stay
below 2**53, so a double-precision matrix product is exact whatever order or fused operation it
uses. `int16` multiplies the integers as they are in the C extension: eight products fit 31 bits,
and their sums are added modulo 2**32 and, without their last 15 bits, once more, from which the
whole sum follows. `int8` splits the integers into signed bytes and multiplies those in four parts
by torch's kernel; every single product is checked by its row sums, because some byte kernels
saturate silently on some instruction sets. Both are used only where a probe with saturating
vectors found them exact, and faster than the others. On a device there are `float64`, which a probe
proves once, too, and `int8`, under the same conditions; row sums are not checked there, as that
would wait for the device.

All return the same integers, so the carrier is a run-time choice and never part of a stream.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.terracodec.exact import backends, rowwise
from tec_numcodecs.models.terracodec.exact.row_threads import spread

Carrier = Literal["auto", "float64", "int16", "int8"]

_CARRIERS = ("auto", "float64", "int16", "int8")
_MIN_INNER = 256  # shorter products than this are dominated by splitting and joining bytes
_MIN_OUTER = 128
_MIN_INNER_IN_C = 64
_COLUMNS, _STEP = 8, 8  # of a panel, see exact.h
_MOST_WORDS = 1 << 17
_MOST_BYTES = 1 << 16  # longer sums of bytes would not fit 32 bits
_BYTES_STEP = 32  # rows, columns and terms that byte kernels of devices ask for
_PROBE_SHAPES = ((16, 768, 768), (40, 1030, 136))  # rows, inner, outer
_PROBE_SHAPE_OF_BYTES = (256, 3072, 768)  # besides: libraries choose their kernels by size
_ONE = torch.ones(1)
_requested: Carrier = "auto"

Float64Array = NDArray[np.float64]


class Matrix(backends.Placeable):
    """A frozen right operand: integers of at most 8127 [N, K] and a power of two per row.

    Held in two bytes an element: 16-bit integers, the same in panels once the `int16` carrier has
    used it, or a high and a low byte after the `int8` carrier. Only one of them is kept.

    Parameters
    ----------
    integers : Tensor
        int16 [N, K].
    scale : Tensor
        float64 [N].
    """

    def __init__(self, integers: Tensor, scale: Tensor) -> None:
        self.scale = scale
        self.shape: tuple[int, int] = (integers.shape[0], integers.shape[1])
        self._form: Carrier = "float64"
        self._held = integers
        self._row_total: Tensor | None = None
        self._wide: Tensor | None = None  # on a device, where widening costs more than memory

    def to(self, device: torch.device) -> Self:
        """Return a copy on a device."""
        return type(self)(self.integers().to(device), self.scale.to(device))

    def integers(self) -> Tensor:
        """Return the integers as int16 [N, K]."""
        if self._form == "int8":
            high, low = self._held.to(torch.int16).chunk(2)
            return high * 128 + low
        if self._form == "int16":
            outer, inner = self.shape
            panels = self._held.permute(0, 2, 1, 3)  # (N / 8, 8, K / 2, 2)
            return panels.flatten(2).flatten(0, 1)[:outer, :inner].contiguous()
        return self._held

    def widened(self) -> Tensor:
        """Return the integers as float64 [N, K]; kept on devices."""
        if self._held.device.type == "cpu":
            return self.integers().to(torch.float64)
        if self._wide is None:
            self._wide = self.integers().to(torch.float64)
        return self._wide

    def limbs(self) -> Tensor:
        """Return int8 [2 N, K]: all high bytes, then all low bytes, of radix 128."""
        if self._form != "int8":
            integers = self.integers()
            high = (integers + 64) >> 7
            self._hold("int8", torch.cat((high, integers - (high << 7))).to(torch.int8))
        return self._held

    def panels(self) -> Tensor:
        """Return int16 [N / 8, K / 2, 8, 2], zeros where N and K are filled up to eights."""
        if self._form != "int16":
            integers, (outer, inner) = self.integers(), self.shape
            filled = nn.functional.pad(integers, (0, -inner % _STEP, 0, -outer % _COLUMNS))
            parts = filled.unflatten(1, (-1, 2)).unflatten(0, (-1, _COLUMNS))
            self._hold("int16", parts.permute(0, 2, 1, 3).contiguous())
        return self._held

    def _hold(self, form: Carrier, held: Tensor) -> None:
        self._form, self._held = form, held

    def row_total(self) -> Tensor:
        """Return the sum over the N rows, float64 [K]: whole numbers."""
        if self._row_total is None:
            total = torch.sum(self.integers(), dim=0, dtype=torch.int64)
            self._row_total = total.to(torch.float64)
        return self._row_total


def set_carrier(name: Carrier) -> None:
    """Choose how integer products are computed in this process; results are the same.

    Parameters
    ----------
    name : {"auto", "float64", "int16", "int8"}
        "auto" probes once and takes the fastest of those that are exact.

    Raises
    ------
    InvalidInput
        The name is unknown, or "int8" was asked for where it is not exact. ("int16" without the
        C extension is "float64".)
    """
    global _requested
    if name not in _CARRIERS:
        raise InvalidInput(f"carrier = {name!r}", allowed=", ".join(_CARRIERS))
    if name == "int8" and not int8_is_exact():
        raise InvalidInput(
            "carrier = 'int8', but this machine's byte products saturate or are missing",
            allowed="auto, float64, int16",
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

    def images(self, first: int, last: int) -> Patches:
        """Return all positions of some images."""
        return Patches(self.image[first:last], self.kernel, self.origin, self.size)

    def rows(self) -> Tensor:
        """Cut all of them out: float64 [positions of all images, inner]."""
        (top, left), (height, width) = self.origin, self.size
        view = self.image[:, top:, left:]
        view = view.unfold(1, self.kernel[0], 1).unfold(2, self.kernel[1], 1)
        view = view[:, :height, :width]  # (B, height, width, C, kernel rows, kernel columns)
        return view.permute(0, 1, 2, 4, 5, 3).reshape(-1, self.inner)


def affine(x: Tensor, matrix: Matrix, bias: Tensor) -> Tensor:
    """Quantize rows, multiply, scale, add: ``x @ matrix.T + bias`` by exact arithmetic.

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
    return affine_patches(_as_patches(x), matrix, bias)[0, :, 0]


def _as_patches(x: Tensor) -> Patches:
    """Take rows [M, K] as an image of one column."""
    return Patches(x.contiguous()[None, :, None], (1, 1), (0, 0), (x.shape[0], 1))


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
    most = backends.current().numbers
    step = max(1, most // (width * max(inner, 2 * outer)))
    if step >= height and images > 1 and not backends.current().native:
        several = max(1, most // (height * width * max(inner, 2 * outer)))
        for first in range(0, images, several):
            target = out[first : first + several].flatten(0, 2)  # a view
            _affine_into(target, patches.images(first, first + several), matrix, bias)
        return out
    for image in range(images):
        for first in range(0, height, step):
            last = min(first + step, height)
            target = out[image, first:last].flatten(0, 1)  # a view
            _affine_into(target, patches.of(image, first, last), matrix, bias)
    return out


def _affine_into(out: Tensor, patches: Patches, matrix: Matrix, bias: Tensor) -> None:
    native = rowwise.native_for(patches.image)
    way = _way(patches, matrix, native)
    if way == "int16" and native is not None:
        _by_words(native, out, patches, matrix, bias)
        return
    if way == "int8":
        if not backends.current().native:
            integers, scale = rowwise.quantize(patches.rows())
            whole = _int8_product(integers, matrix.limbs())
            out.copy_(whole.mul_(scale).mul_(matrix.scale).add_(bias))
            return
        if native is None:
            exact = _by_bytes(out, patches, matrix, bias)
        else:
            exact = _by_bytes_in_c(native, out, patches, matrix, bias)
        if exact:
            return
    integers, scale = rowwise.quantize(patches.rows())
    torch.mm(integers, matrix.widened().T, out=out)
    out.mul_(scale).mul_(matrix.scale).add_(bias)


def _by_words(
    native: ModuleType, out: Tensor, patches: Patches, matrix: Matrix, bias: Tensor
) -> None:
    """Do `affine` with products of 16-bit words."""
    (height, width), rows, outer = patches.size, out.shape[0], matrix.shape[0]
    source, pitch, shape = _pieces(patches)
    right = matrix.panels()
    padded = right.shape[1] * 2
    words, scales = np.empty((rows, padded), np.int16), np.empty(rows)
    column, shift, target = matrix.scale.numpy(), bias.numpy(), out.numpy()
    panels = right.numpy()

    def split(i: int, j: int) -> None:
        part = slice(i * width, j * width)
        native.exact_split_words(
            source[i * pitch :], words[part], scales[part], j - i, width, *shape, padded
        )

    def multiply(i: int, j: int) -> None:
        arrays = (words, scales, panels, column, shift, target)
        native.exact_multiply(*arrays, rows, outer, padded, i, j)

    spread(height, width * patches.inner, split)
    spread(len(panels), rows * padded, multiply)


def _pieces(patches: Patches) -> tuple[Float64Array, int, tuple[int, int, int, int]]:
    """Return where patches begin, how far rows lie apart, and their shape as the C code has it."""
    (top, left), channels = patches.origin, patches.image.shape[3]
    pitch = patches.image.shape[2] * channels
    source = patches.image.reshape(-1)[top * pitch + left * channels :].numpy()
    shape = (pitch, channels, patches.kernel[0], patches.kernel[1] * channels)
    return source, pitch, shape


def _by_bytes(out: Tensor, patches: Patches, matrix: Matrix, bias: Tensor) -> bool:
    """Do `affine` with products of bytes; tell whether all of them were exact."""
    integers, scale = rowwise.quantize(patches.rows())
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
    source, pitch, shape = _pieces(patches)
    rows = height * width
    parts = torch.empty((2, rows, inner), dtype=torch.int8)
    scales, checks = np.empty(rows), np.empty(rows)
    total, column, shift = matrix.row_total().numpy(), matrix.scale.numpy(), bias.numpy()
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
        return _probe(
            lambda left, matrix: _int8_product(left, matrix.limbs()), _PROBE_SHAPE_OF_BYTES
        )
    except (RuntimeError, AttributeError, NotImplementedError):  # not offered by this build
        return False


def int16_is_exact() -> bool:
    """Tell whether the C extension is there and its products exact on saturating vectors."""
    native = rowwise.native_for(_ONE)
    return native is not None and _words_are_exact(native)


@cache
def _words_are_exact(native: ModuleType) -> bool:
    return _probe(lambda left, matrix: _words_product(native, left, matrix))


@cache
def _fastest(native: ModuleType | None) -> Carrier:
    """Return the fastest of the carriers that are exact here, by timing each once."""
    rows, inner, outer = 64, 768, 768
    left = torch.full((rows, inner), 32639.0, dtype=torch.float64)
    whole = torch.full((outer, inner), 8127, dtype=torch.int16)
    one = torch.ones(outer, dtype=torch.float64)
    plain, bytewise = Matrix(whole, one), Matrix(whole, one)
    times: dict[Carrier, float] = {"float64": _best_time(lambda: left @ plain.widened().T)}
    if native is not None and int16_is_exact():
        times["int16"] = _best_time(lambda: _words_product(native, left, plain))
    best = min(times.values())
    with contextlib.suppress(RuntimeError, AttributeError, NotImplementedError):
        times["int8"] = _best_time(lambda: _int8_product(left, bytewise.limbs()), best)
    found = min(times, key=times.__getitem__)
    if found == "int8" and not int8_is_exact():  # its probe is the dearest
        del times["int8"]
        found = min(times, key=times.__getitem__)
    return found


def _way(patches: Patches, matrix: Matrix, native: ModuleType | None) -> Carrier:
    """Choose the carrier of one product."""
    if not backends.current().native:
        return _way_of_device(patches, matrix)
    if _requested == "float64":
        return "float64"
    if patches.inner < (_MIN_INNER if native is None else _MIN_INNER_IN_C):
        return "float64"
    if native is None and matrix.shape[0] < _MIN_OUTER:
        return "float64"
    way = _fastest(native) if _requested == "auto" else _requested
    if way == "int16" and (native is None or patches.inner > _MOST_WORDS):
        return "float64"
    return way


def _way_of_device(patches: Patches, matrix: Matrix) -> Carrier:
    """Choose the carrier of one product where torch alone is used."""
    name = str(patches.image.device)
    _check_doubles(name)
    if _requested == "float64" or not _MIN_INNER <= patches.inner <= _MOST_BYTES:
        return "float64"
    if matrix.shape[0] < _MIN_OUTER or not _bytes_are_exact(name):
        return "float64"
    return "int8" if _requested == "int8" or _bytes_are_faster(name) else "float64"


@cache
def _check_doubles(device: str) -> None:
    """Refuse a device whose products of doubles are not exact: emulated ones, for example.

    Raises
    ------
    InvalidInput
        They are not.
    """
    if not _probe(lambda left, matrix: left @ matrix.widened().T, device=device):
        raise InvalidInput(
            f"device {device!r}, whose products of doubles are not exact",
            allowed="IEEE double precision",
            fix="switch emulation of float64 off (CUBLAS_EMULATE_DOUBLE_PRECISION=0), or "
            "set_options(device='cpu')",
        )


@cache
def _bytes_are_exact(device: str) -> bool:
    try:
        return _probe(
            lambda left, matrix: _int8_product(left, matrix.limbs()),
            _PROBE_SHAPE_OF_BYTES,
            device=device,
        )
    except (RuntimeError, AttributeError, NotImplementedError):  # not offered by this build
        return False


@cache
def _bytes_are_faster(device: str) -> bool:
    rows, inner, outer = 1024, 768, 768
    left = torch.full((rows, inner), 32639.0, dtype=torch.float64, device=device)
    whole = torch.full((outer, inner), 8127, dtype=torch.int16, device=device)
    one = torch.ones(outer, dtype=torch.float64, device=device)
    plain, bytewise = Matrix(whole, one), Matrix(whole, one)
    limit = _best_time(lambda: left @ plain.widened().T)
    return _best_time(lambda: _int8_product(left, bytewise.limbs()), limit) < limit


def _words_product(native: ModuleType, left: Tensor, matrix: Matrix) -> Tensor:
    """Return the exact product of whole numbers [M, K], each row's scale being 1."""
    out = left.new_empty((left.shape[0], matrix.shape[0]))
    bias = torch.zeros(matrix.shape[0], dtype=torch.float64)
    _by_words(native, out, _as_patches(left), matrix, bias)
    return out


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
    if not backends.current().native:
        rows, columns, terms = parts.shape[0], limbs.shape[0], -parts.shape[1] % _BYTES_STEP
        left = nn.functional.pad(parts, (0, terms, 0, -rows % _BYTES_STEP))
        right = nn.functional.pad(limbs, (0, terms, 0, -columns % _BYTES_STEP))
        return torch._int_mm(left, right.T)[:rows, :columns]  # noqa: SLF001
    return torch._int_mm(parts, limbs.T)  # noqa: SLF001 (the only name it has)


def _probe(
    product: Callable[[Tensor, Matrix], Tensor],
    *more: tuple[int, int, int],
    device: str = "cpu",
) -> bool:
    """Tell whether a product is exact on the largest numbers, of all signs, and on others."""
    shapes = (*_PROBE_SHAPES, *more)
    return all(_probe_shape(product, shape, torch.device(device)) for shape in shapes)


def _probe_shape(
    product: Callable[[Tensor, Matrix], Tensor], shape: tuple[int, int, int], device: torch.device
) -> bool:
    """Compare with products of doubles on the processor."""
    rows, inner, outer = shape
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
    one = torch.ones(outer, dtype=torch.float64, device=device)
    for right in rights:
        matrix = Matrix(right.to(device, torch.int16), one)
        wide = right.to(torch.float64).T
        for whole in lefts:
            left = whole.to(torch.float64)
            if not torch.equal(product(left.to(device), matrix).cpu(), left @ wide):
                return False
    return True


def _best_time(work: Callable[[], Tensor], against: float = math.inf) -> float:
    """Time a few runs, but no more once one took several times as long as what it is `against`."""
    times: list[float] = []
    while len(times) < 3 and (not times or times[-1] < 3 * against):
        start = time.perf_counter()
        work()[:1, :1].cpu()  # a device works on until something is asked of it
        times.append(time.perf_counter() - start)
    return min(times)

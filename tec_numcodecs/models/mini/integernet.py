"""Layers of the context networks in integers, carried exactly by float32.

Activations are whole numbers 0 to 255 in units of 1/32, input features -127 to 127 in units of
1/16, weights -127 to 127 times a power of two per output channel, sums whole numbers in units of
1/512. Reading checks for every channel that no partial sum can exceed 2^24, so float32 holds all of
them: any order of summation, fused or not, in bfloat16 or TF32 products even, gives the same
integers. Only an algorithm that is no plain sum of products
(Winograd, FFT) would not; a probe with the largest values possible finds out whether the machine's
convolution is one, and a sum of shifted matrix products replaces it then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tec_numcodecs.errors import WeightsError

ACTIVATION_MAX = 255
FEATURE_MAX = 127
#: log2 of the units per one: of sums, activations and features.
SUM_BITS, ACTIVATION_BITS, FEATURE_BITS = 9, 5, 4
#: No partial sum of a layer may exceed this.
LIMIT = 1 << 24

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Layer:
    """A convolution with zero padding on whole numbers, rounded once.

    Attributes
    ----------
    weight : Tensor
        float32 (cout, cin, k, k), k = 1 or 3: whole numbers times the power of two that brings
        their products to the unit of the result.
    bias : Tensor
        float32 (cout,): whole numbers plus 1/2, because floor(x + 1/2) rounds.
    direct : bool
        Whether the machine's convolution may be used.
    """

    weight: Tensor
    bias: Tensor
    direct: bool

    def __call__(self, x: Tensor) -> Tensor:
        """(B, cin, h, w) -> (B, cout, h, w), whole numbers."""
        if self.direct:
            return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2).floor_()
        return shifted_products(x, self.weight).add_(self.bias.view(1, -1, 1, 1)).floor_()


def read_layer(
    arrays: Arrays,
    name: str,
    unit_bits: int,
    features: NDArray[np.intp] | None,
    device: torch.device,
) -> Layer:
    """Read one layer.

    Parameters
    ----------
    arrays : mapping
        Holds ``name.weight`` int8 (cout, cin, k, k), ``name.shift`` (cout,) and, where there is a
        bias, ``name.bias`` (cout,) in units of 1/512.
    name : str
    unit_bits : int
        Unit of the result: 9 for sums, 5 for activations.
    features : int array, optional
        Given if the input is features: the channels that are present (the others are zero and
        left out). Otherwise the input is activations.
    device : torch.device

    Raises
    ------
    WeightsError
        If something is missing, or a sum could exceed 2^24.
    """
    try:
        whole = np.asarray(arrays[f"{name}.weight"], np.int64)
        shift = np.asarray(arrays[f"{name}.shift"], np.int64)
    except KeyError as missing:
        raise WeightsError(
            f"no tensor {missing.args[0]!r}", fix="freeze the weights again"
        ) from None
    bias = np.asarray(arrays.get(f"{name}.bias", np.zeros(len(whole))), np.float64)
    if features is None:
        peak, bits = ACTIVATION_MAX, ACTIVATION_BITS
    else:
        peak, bits = FEATURE_MAX, FEATURE_BITS
        whole = whole[:, features]
    scale = 2.0 ** (unit_bits - bits - shift)  # (cout,)
    shifted = bias * 2.0 ** (unit_bits - SUM_BITS) + 0.5
    if _reach(whole, peak, features is not None, shifted / scale) >= LIMIT or scale.max() > 0.5:
        raise WeightsError(f"sums of layer {name} can exceed 2^24", fix="train smaller weights")
    weight = torch.as_tensor(whole * scale[:, None, None, None], dtype=torch.float32)
    return Layer(
        weight.to(device).contiguous(memory_format=torch.channels_last),
        torch.as_tensor(shifted, dtype=torch.float32, device=device),
        is_plain(weight.shape, peak, device),
    )


def _reach(whole: NDArray[np.int64], peak: int, signed: bool, bias: NDArray[np.float64]) -> float:
    """Largest magnitude of any partial sum, in whatever order it is taken."""
    rising = np.maximum(whole, 0).sum(axis=(1, 2, 3))
    falling = np.maximum(-whole, 0).sum(axis=(1, 2, 3))
    sums = rising + falling if signed else np.maximum(rising, falling)
    return float((sums * peak + np.abs(bias)).max())


def activate(sums: Tensor) -> Tensor:
    """Sums to activations, in place: floor(x / 16 + 1/2), clipped to a byte."""
    step = 2.0 ** (ACTIVATION_BITS - SUM_BITS)
    return sums.mul_(step).add_(0.5).floor_().clamp_(0, ACTIVATION_MAX)


def shifted_products(x: Tensor, weight: Tensor) -> Tensor:
    """Convolution as a sum of matrix products, one for each place in the kernel."""
    cout, cin, k, _ = weight.shape
    b, _, h, w = x.shape
    pad = k // 2
    rows = F.pad(x.permute(0, 2, 3, 1), (0, 0, pad, pad, pad, pad))  # (B, h + 2p, w + 2p, cin)
    flat = rows.reshape(-1, cin)
    width = w + 2 * pad
    count = flat.shape[0] - (k - 1) * (width + 1)
    out = torch.zeros(flat.shape[0], cout, dtype=torch.float32, device=x.device)
    for i in range(k):
        for j in range(k):
            start = i * width + j
            out[:count] += flat[start : start + count] @ weight[:, :, i, j].T
    placed = out.view(b, h + 2 * pad, width, cout)[:, :h, :w]
    return placed.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def is_plain(shape: torch.Size, peak: int, device: torch.device) -> bool:
    """Whether the machine's convolution of this shape is exact on the hardest inputs."""
    if device.type != "cpu":
        return False  # which algorithm runs depends on shapes and libraries; products are safe
    _, cin, k, _ = shape
    generator = torch.Generator().manual_seed(cin * 31 + k)
    x = torch.randint(0, 2, (2, cin, 9, 14), generator=generator, dtype=torch.int64) * peak
    largest = min(127, (LIMIT - 1) // (cin * k * k * peak))
    weight = torch.randint(-largest, largest + 1, shape, generator=generator, dtype=torch.int64)
    whole, plane = (
        y.to(torch.float32).contiguous(memory_format=torch.channels_last) for y in (weight, x)
    )
    hardest = torch.full_like(whole, float(largest))
    return all(
        torch.equal(F.conv2d(plane, w, padding=k // 2), shifted_products(plane, w))
        for w in (whole, hardest)
    )

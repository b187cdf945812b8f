"""Probability of a coefficient: three numbers a coefficient, in the units of the frozen tables.

A coefficient follows a mixture of two logistic distributions with a common mean, integrated over
the quantizer's interval: a narrow one of scale s and a wide one of scale s * ratio(t). The network
gives the mean, log2 s and the shape t in [0, 1]; how ratio and weight grow with t is learned once
for all. A third, very wide part of weight 2^-16 stands for the escape of the entropy coder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

#: Range and resolution of the three numbers in the tables.
SCALE_MIN, SCALE_MAX, SCALES_PER_OCTAVE = -4.5, 13.0, 8
SHAPES = 8
MEANS_PER_UNIT = 16

_LN2 = math.log(2.0)
_ESCAPE = -16 * _LN2


class Pull(torch.autograd.Function):
    """Clamp whose gradient still passes where it leads back into the range."""

    @staticmethod
    def forward(ctx, x: Tensor, low: float, high: float) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        ctx.range = (low, high)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        low, high = ctx.range
        stuck = ((x < low) & (grad > 0)) | ((x > high) & (grad < 0))
        return grad.masked_fill(stuck, 0.0), None, None


def clamp(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp ``x``; gradients that point back into the range survive."""
    result: Tensor = Pull.apply(x, low, high)  # type: ignore[no-untyped-call]
    return result


def snap(x: Tensor, per_unit: float) -> Tensor:
    """Round to multiples of ``1 / per_unit``, floor(x + 1/2), straight-through gradient."""
    return x + (torch.floor(x * per_unit + 0.5) / per_unit - x).detach()


class Mixture(nn.Module):
    """How the second logistic depends on the shape t; four numbers, learned."""

    def __init__(self) -> None:
        super().__init__()
        self.ratio = nn.Parameter(
            torch.tensor([1.2, 0.6])
        )  # ln ratio = softplus(a t + b t^2) - ln 2
        self.weight = nn.Parameter(torch.tensor([-1.0, 0.5]))  # logit of the wide part

    def freeze(self) -> dict[str, NDArray[np.generic]]:
        """The numbers themselves, to go on from; readers use tables made of them."""
        both = torch.cat((self.ratio, self.weight)).detach()
        return {"training.mixture": both.numpy().astype(np.float32)}

    def thaw(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Undo `freeze`."""
        both = torch.from_numpy(np.array(arrays["training.mixture"], np.float32))
        with torch.no_grad():
            self.ratio.copy_(both[:2])
            self.weight.copy_(both[2:])

    def parts(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        """ln ratio and logit of the wide part's weight."""
        a, b = self.ratio
        log_ratio = (F.softplus(a * 4 * shape + b * 4 * shape * shape) - _LN2) * 0.6
        return log_ratio, self.weight[0] + self.weight[1] * 4 * shape

    def bits(self, q: Tensor, mean: Tensor, log2_scale: Tensor, shape: Tensor) -> Tensor:
        """Ideal code length of whole numbers ``q``, in bits, element by element."""
        distance = (q - mean).abs()
        log_ratio, logit = self.parts(shape)
        log_scale = log2_scale * _LN2
        narrow = _log_mass(distance, log_scale) + F.logsigmoid(-logit)
        wide = _log_mass(distance, log_scale + log_ratio) + F.logsigmoid(logit)
        escape = _ESCAPE - 2 * torch.log(1 + distance.detach()) - 1
        log_p = torch.logaddexp(torch.logaddexp(narrow, wide), escape)
        return log_p * (-1 / _LN2)


def _log_mass(distance: Tensor, log_scale: Tensor) -> Tensor:
    """ln of the logistic mass in an interval of width 1 centered ``distance`` off the mean.

    sigmoid(u) - sigmoid(v) = sigmoid(-v) sigmoid(u) (1 - exp(v - u)), which keeps its gradient
    where the plain difference would vanish.
    """
    inverse = torch.exp(-log_scale)
    near = (distance - 0.5) * inverse
    return torch.log(-torch.expm1(-inverse)) - F.softplus(near) - F.softplus(-near - inverse)

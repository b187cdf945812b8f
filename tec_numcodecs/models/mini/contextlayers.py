"""Parts of the context networks in integers: trunks and heads of one level.

Everything here maps whole numbers to whole numbers, the same on every machine (see
:mod:`.integernet`). The networks are those that :mod:`tec_numcodecs.training.network` trains.

A level's trunk sees the image decoded so far (the low-pass under the level, in the level's own
spectral components), the coarser level's coefficients and that level's trunk. A group's head sees
the trunk and the components before the group. Tensors are (N, channels, h, w), N dates of any
chunks; channels of coefficients are component-major, orientations HL, LH, HH within.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tec_numcodecs.models.mini.integernet import (
    Arrays,
    Layer,
    activate,
    read_layer,
)

#: Component slots of the networks, and groups of components that are decoded together.
SLOTS = 13
GROUPS = ((0, 1), (1, 2), (2, 4), (4, SLOTS))
LEVELS = 5
LOW = LEVELS
_COMPANDED = 1023


@dataclass(frozen=True)
class Condition:
    """What is known about each of N dates before anything is decoded; int64 tensors.

    Attributes
    ----------
    rate : Tensor
        Rate index, (N,).
    entry : Tensor
        Codebook entry per level, counted over all sensors, (N, 6).
    count : int
        Number of bands.
    referenced : Tensor
        float32 (N,), 1 for dates that have a reference, 0 for the others.
    """

    rate: Tensor
    entry: Tensor
    count: int
    referenced: Tensor


class Companding:
    """Input features by tables: about 16 asinh(1.5 x), in 1/16, signed and as magnitude."""

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        table = np.asarray(arrays["features.companded"], np.float32)  # of 0 .. 1023
        limits = np.asarray(arrays["features.limits"], np.float32)
        self._table = torch.as_tensor(table, device=device)
        self._limits = torch.as_tensor(limits, device=device)

    def integers(self, q: Tensor) -> Tensor:
        """int32 (N, n, h, w) -> float32 (N, 2 n, h, w)."""
        magnitude = self._table[q.abs().clamp_(max=_COMPANDED).to(torch.int64)]
        return torch.cat((torch.where(q < 0, -magnitude, magnitude), magnitude), 1)

    def values(self, x: Tensor) -> Tensor:
        """float32 in steps (N, n, h, w) -> float32 (N, 2 n, h, w)."""
        magnitude = torch.bucketize(x.abs(), self._limits, right=True).to(torch.float32)
        return torch.cat((torch.where(x < 0, -magnitude, magnitude), magnitude), 1)


class Bias:
    """Sums that depend on rate, level, codebook entry and number of bands only."""

    def __init__(self, arrays: Arrays, name: str, device: torch.device) -> None:
        def read(part: str) -> Tensor:
            return torch.as_tensor(np.asarray(arrays[f"{name}.{part}"], np.float32), device=device)

        self._rate, self._entry, self._count = read("rate"), read("entry"), read("count")

    def __call__(self, condition: Condition, level: int, row: int) -> Tensor:
        """(N, width, 1, 1); ``row`` is the level's place among those that share the network."""
        rate = self._rate[row][condition.rate]  # (N, width)
        entry = self._entry[row][condition.entry[:, level]]
        return (rate + entry + self._count[condition.count])[:, :, None, None]


class Head:
    """One group's parameters."""

    def __init__(
        self, arrays: Arrays, name: str, group: int, count: int, per: int, device: torch.device
    ) -> None:
        first, last = GROUPS[group]
        self.first, self.last = first, min(last, count)
        self.full = (last - first) * per
        self.per = per
        self.n = (self.last - first) * per
        self._trunk = read_layer(arrays, f"{name}.trunk", 9, None, device)
        self._before: Layer | None = None
        if first:
            # Low-pass and detail features alike: two per coefficient before the group.
            channels = np.arange(2 * first * per)
            self._before = read_layer(arrays, f"{name}.before", 9, channels, device)
        self._hidden = read_layer(arrays, f"{name}.hidden", 5, None, device)
        self._out = read_layer(arrays, f"{name}.out", 9, None, device)

    def __call__(self, trunk: Tensor, before: Tensor | None) -> Tensor:
        """Activations and features -> sums (N, 3 full + mixes, h, w)."""
        x = self._trunk(trunk)
        if self._before is not None and before is not None:
            x += self._before(before)
        return self._out(self._hidden(activate(x)).clamp_(0, 255))

    def split(self, sums: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Means in 1/64, scales in 1/8, shapes, mixing weights in 1/64; sums in 1/512."""
        n, full = self.n, self.full
        mean = rounded(sums[:, :n], 3).clamp_(-15 * 64, 15 * 64)
        scale = rounded(sums[:, full : full + n], 6)
        shape = sums[:, 2 * full : 2 * full + n].mul(7.0).mul_(2.0**-9).add_(0.5).floor_()
        pairs = (self.last - self.first) * self.first if self.per > 1 else 0
        mixing = rounded(sums[:, 3 * full : 3 * full + pairs], 3).clamp_(-64, 64)
        return mean, scale, shape, mixing


class LevelNetwork:
    """Trunk and heads of a detail level, for a number of bands."""

    def __init__(self, arrays: Arrays, name: str, count: int, device: torch.device) -> None:
        present = np.arange(count)
        low = np.concatenate([present + k * SLOTS for k in range(3)])
        pair = np.arange(3 * count)
        parent = np.concatenate((pair, pair + 3 * SLOTS))
        self._low = read_layer(arrays, f"{name}.low", 9, low, device)
        self._parent = read_layer(arrays, f"{name}.parent", 9, parent, device)
        self._above = read_layer(arrays, f"{name}.above", 9, None, device)
        change = np.concatenate((present, present + SLOTS)) + 6 * SLOTS
        seen = np.concatenate((parent, change))
        self._reference = read_layer(arrays, f"{name}.reference", 9, seen, device)
        self._gain = read_layer(arrays, f"{name}.gain", 9, None, device)
        self._count = count
        self._first = read_layer(arrays, f"{name}.first", 5, None, device)
        self._second = read_layer(arrays, f"{name}.second", 9, None, device)
        self._bias = Bias(arrays, f"{name}.condition", device)
        self.heads = [
            Head(arrays, f"{name}.heads.{g}", g, count, 3, device)
            for g, (first, _) in enumerate(GROUPS)
            if first < count
        ]

    def trunk(
        self,
        low: Tensor,
        coarser: tuple[Tensor, Tensor | None] | None,
        reference: Tensor | None,
        condition: Condition,
        level: int,
    ) -> Tensor:
        """Context of a level.

        Parameters
        ----------
        low : Tensor
            Features of the low-pass (N, 3 C, h, w).
        coarser : pair of tensors, optional
            Features of the coarser level (N, 6 C, ceil(h / 2), ceil(w / 2)) and its trunk.
        reference : Tensor, optional
            Features of reference dates (N, 8 C, h, w).
        condition : Condition
        level : int

        Returns
        -------
        Tensor
            Activations (N, width, h, w).
        """
        x = self._low(low).add_(self._bias(condition, level, max(0, level - 2)))
        if coarser is not None:
            features, above = coarser
            y = self._parent(features)
            if above is not None:
                y += self._above(above)
            x += doubled(y, *x.shape[2:])
        if reference is not None:
            x += self._reference(reference) * condition.referenced.view(-1, 1, 1, 1)
        t = activate(x)
        y = self._second(self._first(t).clamp_(0, 255))
        return activate(y.add_(t * 16.0))

    def gain(self, trunk: Tensor) -> Tensor:
        """How far each coefficient follows the reference's, in 1/64: (N, 3 C, h, w)."""
        return rounded(self._gain(trunk)[:, : 3 * self._count], 3).clamp_(-64, 64)


class LowNetwork:
    """Heads of the low-pass."""

    def __init__(self, arrays: Arrays, name: str, count: int, device: torch.device) -> None:
        self._bias = Bias(arrays, f"{name}.condition", device)
        present = np.arange(count)
        seen = np.concatenate((present, present + SLOTS))
        self._reference = read_layer(arrays, f"{name}.reference", 9, seen, device)
        self._gain = read_layer(arrays, f"{name}.gain", 9, None, device)
        self._count = count
        self.heads = [
            Head(arrays, f"{name}.heads.{g}", g, count, 1, device)
            for g, (first, _) in enumerate(GROUPS)
            if first < count
        ]

    def trunk(
        self, condition: Condition, reference: Tensor | None, height: int, width: int
    ) -> Tensor:
        """Activations (N, width, h, w); without a reference the same everywhere."""
        x = self._bias(condition, LOW, 0)
        if reference is not None:
            x = x + self._reference(reference) * condition.referenced.view(-1, 1, 1, 1)
        return activate(x).expand(-1, -1, height, width)

    def gain(self, trunk: Tensor) -> Tensor:
        """How far each component follows the reference's, in 1/64: (N, C, h, w)."""
        return rounded(self._gain(trunk)[:, : self._count], 3).clamp_(-64, 64)


def doubled(x: Tensor, height: int, width: int) -> Tensor:
    """Repeat every sample twice in both directions and cut to size."""
    return F.interpolate(x, scale_factor=2, mode="nearest")[:, :, :height, :width]


def rounded(sums: Tensor, bits: int) -> Tensor:
    """floor(x / 2^bits + 1/2)."""
    return sums.mul(2.0**-bits).add_(0.5).floor_()

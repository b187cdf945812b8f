"""The context networks of mini `elic` in integers: from what is known to table rows.

Everything here maps whole numbers to whole numbers, the same on every machine; quotients and
products with constants are single correctly rounded operations on such numbers.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tec_numcodecs.models.mini.contextlayers import (
    LEVELS,
    LOW,
    Companding,
    Condition,
    Head,
    LevelNetwork,
    LowNetwork,
    rounded,
)
from tec_numcodecs.models.mini.integernet import FEATURE_MAX, Arrays
from tec_numcodecs.models.mini.mixture_rows import Choice, RowChooser

__all__ = ["LEVELS", "LOW", "Condition", "ContextNetwork", "low_context", "spectral_rows"]

#: Integers enter predictions no larger than this.
CLIP = 8191
#: Rows of spectral transforms are used in units of 2^-12.
SPECTRAL_BITS = 12


class ContextNetwork:
    """All networks for a number of bands, on one device.

    Parameters
    ----------
    arrays : mapping
        The frozen weights.
    count : int
        Number of bands, 1 to 13.
    device : torch.device
    """

    def __init__(self, arrays: Arrays, count: int, device: torch.device) -> None:
        self.count, self.device = count, device
        self.levels = [LevelNetwork(arrays, f"level{i}", count, device) for i in range(3)]
        self.low = LowNetwork(arrays, "low", count, device)
        self.companding = Companding(arrays, device)
        self._choose = RowChooser(device)

        def constant(name: str, dtype: torch.dtype) -> Tensor:
            array = np.asarray(arrays[f"rates.{name}"])
            return torch.as_tensor(array, dtype=dtype, device=device)

        single, double = torch.float32, torch.float64
        self._contrast = constant("contrast", single)  # (R, 5)
        self._inverse_step = constant("inverse_step", single)  # (R, 5, 3)
        self._bright = constant("bright", single)  # (5,)
        self._change = constant("change", single)  # (5,)
        self._low_step = constant("low", double)  # (R,)
        self._low_scale = constant("low_scale", single)  # (R,)
        self._low_unit = constant("low_unit", double)  # ()

    def level(self, level: int) -> LevelNetwork:
        """The network of a level; levels 2 to 4 share one."""
        return self.levels[min(level, 2)]

    def low_features(self, planes: Tensor, rows: Tensor, rate: Tensor, level: int) -> Tensor:
        """What the decoded low-pass says about a level.

        Parameters
        ----------
        planes : Tensor
            int32 (N, C, h, w), the low-pass under the level.
        rows : Tensor
            float64 whole numbers (N, C, C), the level's spectral transforms.
        rate : Tensor
            int64 (N,).

        Returns
        -------
        Tensor
            float32 (N, 3 C, h, w): local contrast in steps, its magnitude, brightness.
        """
        z = _spectrum(planes, rows)
        contrast = (z * 9.0 - _box_sum(z)).to(torch.float32)
        steps = contrast * self._contrast[rate, level].view(-1, 1, 1, 1)
        bright = (z.to(torch.float32) * self._bright[level]).add_(0.5).floor_()
        features = (self.companding.values(steps), bright.clamp_(-FEATURE_MAX, FEATURE_MAX))
        return torch.cat(features, 1).contiguous(memory_format=torch.channels_last)

    def old_detail(self, bands: Tensor, rows: Tensor, rate: Tensor, level: int) -> Tensor:
        """A reference's coefficients in steps: int32 (N, C, 3, h, w) -> float32 (N, 3 C, h, w)."""
        z = _spectrum(bands.flatten(2, 3), rows).unflatten(2, (3, -1)).to(torch.float32)
        return (z * self._inverse_step[rate, level].view(-1, 1, 3, 1, 1)).flatten(1, 2)

    def reference_features(
        self, old: Tensor, planes: Tensor, past: Tensor, rows: Tensor, level: int
    ) -> Tensor:
        """What a reference says about a level.

        Parameters
        ----------
        old : Tensor
            Its coefficients in steps (N, 3 C, h, w).
        planes, past : Tensor
            int32 (N, C, h, w): the low-pass under the level and the reference's.
        rows : Tensor
            As in :meth:`low_features`.

        Returns
        -------
        Tensor
            float32 (N, 8 C, h, w).
        """
        change = _spectrum(planes - past, rows).to(torch.float32) * self._change[level]
        features = (self.companding.values(old), self.companding.values(change))
        return torch.cat(features, 1).contiguous(memory_format=torch.channels_last)

    def prior(self, gain: Tensor, old: Tensor, condition: Condition) -> Tensor:
        """Part of the mean that comes from a reference, in 1/64 steps: (N, 3 C, h, w)."""
        sixteenths = (old * 16.0).add_(0.5).floor_().clamp_(-16 * 4095, 16 * 4095)
        return rounded(gain * sixteenths, 4) * condition.referenced.view(-1, 1, 1, 1)

    def old_low(self, planes: Tensor, rows: Tensor) -> Tensor:
        """A reference's low-pass in units of 1000 DN: int32 (N, C, h, w) -> float64."""
        return _spectrum(planes, rows) * self._low_unit

    def parent_features(self, q: Tensor) -> Tensor:
        """int32 (N, 3 C, h, w) -> float32 (N, 6 C, h, w)."""
        features = self.companding.integers(q)
        return features.contiguous(memory_format=torch.channels_last)

    def choose_detail(
        self, head: Head, trunk: Tensor, done: Tensor, prior: Tensor | None
    ) -> Choice:
        """Rows of a group of a detail level.

        Parameters
        ----------
        head : Head
        trunk : Tensor
            Activations (N, width, h, w).
        done : Tensor
            int32 (N, 3 * head.first, h, w), the components before the group.
        prior : Tensor, optional
            See :meth:`prior`, all components.
        """
        before = self.parent_features(done) if head.first else None
        mean, scale, shape, mixing = head.split(head(trunk, before))
        if head.first:
            n, _, h, w = done.shape
            earlier = done.clamp(-CLIP, CLIP).to(torch.float32).view(n, 1, head.first, 3, h, w)
            weights = mixing.view(n, -1, head.first, 1, h, w)
            mean = mean + (weights * earlier).sum(2).flatten(1, 2)
        if prior is not None:
            mean = mean + prior[:, 3 * head.first : 3 * head.last]
        return self._choose(rounded(mean, 2), scale, shape)

    def choose_low(
        self, head: Head, trunk: Tensor, done: Tensor, prior: Tensor | None, rate: Tensor
    ) -> Choice:
        """Rows of a group of the low-pass.

        Parameters
        ----------
        head : Head
        trunk : Tensor
            Activations (N, width, h, w).
        done : Tensor
            int32 (N, head.first, h, w), the components before the group.
        prior : Tensor, optional
            Part of the mean that comes from a reference, float64 (N, C, h, w), in 1/256 of a unit.
        rate : Tensor
            int64 (N,).
        """
        step = self._low_step[rate].view(-1, 1, 1, 1)  # steps in units of 1000 DN
        before = low_context(done.to(torch.float64) * step) if head.first else None
        sums = head(trunk, before)
        _, scale, shape, _ = head.split(sums)
        limit = 15.0 * 256
        mean = rounded(sums[:, : head.n], 1).clamp_(-limit, limit).to(torch.float64)
        if prior is not None:
            mean = mean + prior[:, head.first : head.last]
        sixteenths = torch.floor(mean / (step * 16.0) + 0.5).clamp_(-(2.0**22), 2.0**22)
        scale = scale + self._low_scale[rate].view(-1, 1, 1, 1)
        return self._choose(sixteenths.to(torch.float32), scale, shape)


def low_context(values: Tensor) -> Tensor:
    """Features of low-pass values: float64 (N, n, h, w), 1000 DN -> float32 (N, 2 n, h, w)."""
    wide, fine = (
        torch.floor(values * k + 0.5).clamp(-FEATURE_MAX, FEATURE_MAX) for k in (8.0, 64.0)
    )
    features = torch.cat((wide, fine), 1).to(torch.float32)
    return features.contiguous(memory_format=torch.channels_last)


def spectral_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal rows as whole numbers in units of 2^-12."""
    return np.rint(rows * (1 << SPECTRAL_BITS))


def _spectrum(planes: Tensor, rows: Tensor) -> Tensor:
    """Bands to components in units of 2^-12: int32 (N, C, h, w) -> float64.

    Whole numbers below 2^40: exact in float64 in any order.
    """
    flat = planes.to(torch.float64).flatten(2)
    return torch.bmm(rows, flat).view(planes.shape)


def _box_sum(z: Tensor) -> Tensor:
    """Sum over 3 x 3 places, edges repeated; whole numbers in float64."""
    padded = F.pad(z, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    return rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]

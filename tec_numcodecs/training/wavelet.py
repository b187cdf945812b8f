"""The transform in floating point, for training: batches, torch, no rounding.

Twin of :mod:`tec_numcodecs.models.mini.transform` with orthonormal scaling. The two differ by the
rounding of the lifting steps, a fraction of a digital number. No gradient goes through it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tec_numcodecs.models.mini import klt
from tec_numcodecs.models.mini.lifting import COEFFICIENTS, GAIN
from tec_numcodecs.models.mini.signs import component_signs
from tec_numcodecs.sensors import Sensor

LEVELS = 5
#: Component slots of the networks: the bands of the richest sensor.
SLOTS = 13

_STEPS = tuple(c / 4096 for c in COEFFICIENTS)


def _mirror_right(x: Tensor) -> Tensor:
    return torch.cat((x[..., 1:], x[..., -1:]), -1)


def _mirror_left(x: Tensor) -> Tensor:
    return torch.cat((x[..., :1], x[..., :-1]), -1)


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    low, high = x[..., 0::2], x[..., 1::2]
    high = high + _STEPS[0] * (low + _mirror_right(low))
    low = low + _STEPS[1] * (high + _mirror_left(high))
    high = high + _STEPS[2] * (low + _mirror_right(low))
    low = low + _STEPS[3] * (high + _mirror_left(high))
    return low * GAIN, high / GAIN


def _merge(low: Tensor, high: Tensor) -> Tensor:
    low, high = low / GAIN, high * GAIN
    low = low - _STEPS[3] * (high + _mirror_left(high))
    high = high - _STEPS[2] * (low + _mirror_right(low))
    low = low - _STEPS[1] * (high + _mirror_left(high))
    high = high - _STEPS[0] * (low + _mirror_right(low))
    return torch.stack((low, high), -1).flatten(-2)


def forward(planes: Tensor) -> tuple[Tensor, Tensor]:
    """One level: (..., H, W), even -> low (..., H/2, W/2), detail (..., 3, H/2, W/2)."""
    left, right = _split(planes)
    low, lh = (x.transpose(-1, -2) for x in _split(left.transpose(-1, -2)))
    hl, hh = (x.transpose(-1, -2) for x in _split(right.transpose(-1, -2)))
    return low, torch.stack((hl, lh, hh), -3)


def inverse(low: Tensor, detail: Tensor) -> Tensor:
    """Undo :func:`forward`."""
    hl, lh, hh = detail.unbind(-3)
    left = _merge(low.transpose(-1, -2), lh.transpose(-1, -2)).transpose(-1, -2)
    right = _merge(hl.transpose(-1, -2), hh.transpose(-1, -2)).transpose(-1, -2)
    return _merge(left, right)


class Spectra:
    """Spectral transforms of one sensor for any set of bands.

    Parameters
    ----------
    sensor : Sensor
    covariances : array (entries, 6, C, C)
        The codebook.
    first : int
        Number of the first entry in the embedding that all sensors share.
    """

    def __init__(self, sensor: Sensor, covariances: NDArray[np.floating], first: int) -> None:
        self.sensor = sensor
        self.first = first
        self._covariances = np.asarray(covariances, np.float64)
        self._cache: dict[tuple[int, ...], Tensor] = {}

    def rows(self, bands: Sequence[int]) -> Tensor:
        """Orthonormal rows of all entries, zero-padded: float32 (entries, 6, SLOTS, SLOTS)."""
        key = tuple(bands)
        if key not in self._cache:
            if len(self._cache) > 500:
                self._cache.clear()
            self._cache[key] = self._derive(key)
        return self._cache[key]

    def _derive(self, bands: tuple[int, ...]) -> Tensor:
        chosen = self._covariances[:, :, bands][:, :, :, bands]
        n = len(bands)
        rows = klt.eigenvectors(chosen.reshape(-1, n, n))
        rows = rows * component_signs(rows, self.sensor, bands)[:, :, None]
        padded = np.zeros((*chosen.shape[:2], SLOTS, SLOTS), np.float32)
        padded[:, :, :n, :n] = rows.reshape(chosen.shape)
        return torch.from_numpy(padded)


def choose(
    planes: Sequence[Tensor], rows: Tensor, noise: Tensor, wild: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose codebook entries as the encoder does.

    Parameters
    ----------
    planes : sequence of 6 tensors (B, SLOTS, P_l)
        Band-domain coefficients of levels 0 to 4 and the low-pass, flattened.
    rows : (B, entries, 6, SLOTS, SLOTS)
    noise : (B,)
        Distortion step^2 / 12.
    wild : bool (B,)
        Samples that get a random entry, so that no entry is useful for its own images only.

    Returns
    -------
    entries : int64 (B, 6)
    chosen : (B, 6, SLOTS, SLOTS)
    """
    picks = []
    for level, flat in enumerate(planes):
        some = flat[:, :, :: max(1, flat.shape[2] // 512)]
        x = torch.einsum("bekc,bcp->bekp", rows[:, :, level], some)
        cost = torch.log2(1 + x.square() / noise[:, None, None, None]).sum((2, 3))
        pick = cost.argmin(1)
        anything = torch.randint(0, rows.shape[1], pick.shape)
        picks.append(torch.where(wild, anything, pick))
    entries = torch.stack(picks, 1)
    every = torch.arange(entries.shape[0])
    chosen = torch.stack([rows[every, entries[:, i], i] for i in range(LEVELS + 1)], 1)
    return entries, chosen

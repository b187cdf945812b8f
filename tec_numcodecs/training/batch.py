"""Batches of crops as coefficients: transformed, sign-aligned, zero-padded to all components."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tec_numcodecs.models.mini.lifting import GAIN
from tec_numcodecs.training import wavelet
from tec_numcodecs.training.augment import Crop


@dataclass(frozen=True)
class Batch:
    """Coefficients of B crops, orthonormal, sign-aligned, zero-padded to SLOTS components.

    Attributes
    ----------
    detail : list of tensors (B, SLOTS, 3, h, w)
        Levels 0 to 4.
    low : (B, SLOTS, h, w)
    rows : (B, 6, SLOTS, SLOTS)
    entry : int64 (B, 6)
        Number in the embedding.
    count : int64 (B,)
        Bands present.
    rate : float (B,)
        Rate index, a whole number.
    """

    detail: list[Tensor]
    low: Tensor
    rows: Tensor
    entry: Tensor
    count: Tensor
    rate: Tensor

    @property
    def step(self) -> Tensor:
        """Common quantiser step in DN, (B, 1, 1, 1)."""
        return torch.exp2(self.rate / 16)[:, None, None, None]

    def steps(self, level: int) -> Tensor:
        """Step of every coefficient channel of a level (B, SLOTS * 3, 1, 1).

        Never below one digital number of the unscaled transform, see
        :mod:`tec_numcodecs.models.mini.quantiser`.
        """
        floor = torch.tensor([GAIN ** (2 * level - d) for d in (0, 0, 2)])[:, None, None]
        return torch.maximum(self.step, floor).repeat(1, wavelet.SLOTS, 1, 1)

    @property
    def low_step(self) -> Tensor:
        """Step of the low-pass (B, 1, 1, 1)."""
        return self.step.clamp(min=GAIN ** (2 * wavelet.LEVELS))


@dataclass(frozen=True)
class Reference:
    """A decoded date, in bands.

    Attributes
    ----------
    planes : list of tensors (B, SLOTS, h, w)
        Low-pass under levels 0 to 4.
    bands : list of tensors (B, SLOTS, 3, h, w)
        Detail of levels 0 to 4.
    """

    planes: list[Tensor]
    bands: list[Tensor]


def collate(
    crops: list[Crop],
    rates: list[int],
    spectra: dict[str, wavelet.Spectra],
    wild: float,
    date: int = -1,
) -> Batch:
    """Transform one date of each crop and choose their codebook entries."""
    size = crops[0].pixels.shape[-1]
    planes = torch.zeros(len(crops), wavelet.SLOTS, size, size)
    rows, first = [], []
    for i, crop in enumerate(crops):
        mean = torch.tensor([round(crop.scene.sensor.mean[b]) for b in crop.bands])
        planes[i, : len(crop.bands)] = torch.from_numpy(crop.pixels[date]) - mean[:, None, None]
        known = spectra[crop.scene.sensor.name]
        rows.append(known.rows(crop.bands))
        first.append(known.first)
    rate = torch.tensor(rates, dtype=torch.float32)
    low, bands = planes, []
    for _ in range(wavelet.LEVELS):
        low, detail = wavelet.forward(low)
        bands.append(detail)
    entry, chosen = _choose(bands, low, rows, rate, wild)
    details = [torch.einsum("bkc,bcohw->bkohw", chosen[:, i], d) for i, d in enumerate(bands)]
    low = torch.einsum("bkc,bchw->bkhw", chosen[:, wavelet.LEVELS], low)
    count = torch.tensor([len(crop.bands) for crop in crops])
    return Batch(details, low, chosen, entry + torch.tensor(first)[:, None], count, rate)


def _choose(
    bands: list[Tensor], low: Tensor, rows: list[Tensor], rate: Tensor, wild: float
) -> tuple[Tensor, Tensor]:
    """Codebook entries; books of different length are padded by repeating their first entry."""
    longest = max(r.shape[0] for r in rows)
    padded = torch.stack(
        [torch.cat((r, r[:1].expand(longest - r.shape[0], -1, -1, -1))) for r in rows]
    )
    noise = torch.exp2(rate / 8) / 12
    flat = [x.flatten(2) for x in (*bands, low)]
    entries, chosen = wavelet.choose(flat, padded, noise, torch.rand(len(rows)) < wild)
    lengths = torch.tensor([r.shape[0] for r in rows])[:, None]
    return torch.where(entries < lengths, entries, 0), chosen


def simulate(batch: Batch, offset: float) -> Reference:
    """Decode a batch as if it had been coded: quantised with a dead zone, no networks."""

    def quantised(x: Tensor, step: Tensor) -> Tensor:
        return x.sign() * torch.floor(x.abs() / step + offset) * step

    low = quantised(batch.low, batch.low_step)
    low = torch.einsum("bkc,bkhw->bchw", batch.rows[:, wavelet.LEVELS], low)
    planes, bands = [low], list[Tensor]()
    for level in reversed(range(wavelet.LEVELS)):
        detail = batch.detail[level]
        q = quantised(detail.flatten(1, 2), batch.steps(level)).view(detail.shape)
        bands.insert(0, torch.einsum("bkc,bkohw->bcohw", batch.rows[:, level], q))
        low = wavelet.inverse(low, bands[0])
        planes.insert(0, low)
    return Reference(planes[1:], bands)

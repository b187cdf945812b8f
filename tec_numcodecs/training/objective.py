"""Bits of a batch of crops, coded coarse to fine as the decoder will see them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from tec_numcodecs.training import network, wavelet
from tec_numcodecs.training.batch import Batch, Reference
from tec_numcodecs.training.likelihood import (
    MEANS_PER_UNIT,
    SCALE_MAX,
    SCALE_MIN,
    Mixture,
    clamp,
    snap,
)
from tec_numcodecs.training.network import ContextNet, companded, linear_feature, split_outputs

#: Low-pass values are seen in units of 1000 DN; the orthonormal low-pass is 32 times the pixels.
LOW_UNIT = 32_000.0
LOW_MEANS_PER_UNIT = 256
#: Brightness of the trunk's third feature, in DN per unit.
LEVEL_UNIT = 1500.0
#: Differences to a reference date, in DN per unit.
CHANGE_UNIT = 50.0


@dataclass(frozen=True)
class Quantiser:
    """How the coefficients become integers.

    Attributes
    ----------
    offset : float
        Rounding offset of the dead-zone quantiser, 1/2 is plain rounding.
    lagrangian : float
        When positive, greedy rate-distortion optimisation, in squared steps per bit.
    """

    offset: float
    lagrangian: float = 0.0


@dataclass
class Coded:
    """What coding a batch gave: bits (B,) a level (0 to 4, low-pass), squared error (B,)."""

    bits: list[Tensor]
    error: Tensor


class Coder:
    """Runs the networks over batches.

    Parameters
    ----------
    net : ContextNet
    mixture : Mixture
    fake : bool
        Round everything as the frozen networks do.
    """

    def __init__(self, net: ContextNet, mixture: Mixture, fake: bool = False) -> None:
        self.net, self.mixture, self.fake = net, mixture, fake
        net.set_fake(fake)

    def code(
        self,
        batch: Batch,
        quantiser: Quantiser,
        reference: Reference | None = None,
        part: bool = False,
    ) -> Coded:
        """Bits and distortion of a batch.

        Parameters
        ----------
        batch : Batch
        quantiser : Quantiser
        reference : Reference, optional
            A date decoded before.
        part : bool
            Code only a random quarter of the finest level, counted four times.
        """
        bits, q = self._low(batch, quantiser, reference)
        error = ((q * batch.low_step - batch.low) ** 2).sum((1, 2, 3))
        every = [bits]
        rows = batch.rows[:, wavelet.LEVELS]
        low = torch.einsum("bkc,bkhw->bchw", rows, q * batch.low_step)
        parent: Tensor | None = None
        above: Tensor | None = None
        for level in reversed(range(wavelet.LEVELS)):
            window = _quarter(batch.detail[0].shape[-1]) if part and level == 0 else None
            bits, error_here, q, above = self._detail(
                batch, level, quantiser, low, parent, above, reference, window
            )
            every.insert(0, bits)
            error = error + error_here
            parent = q
            if level:
                values = (q * batch.steps(level)).unflatten(1, (wavelet.SLOTS, 3))
                bands = torch.einsum("bkc,bkohw->bcohw", batch.rows[:, level], values)
                low = wavelet.inverse(low, bands)
        every.append(every.pop())  # levels 0 to 4, then the low-pass
        return Coded(every, error)

    def _detail(
        self,
        batch: Batch,
        level: int,
        quantiser: Quantiser,
        low: Tensor,
        parent: Tensor | None,
        above: Tensor | None,
        reference: Reference | None,
        window: tuple[tuple[slice, ...], tuple[slice, ...]] | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One level: bits, squared error, integers (B, SLOTS * 3, h, w), trunk."""
        net = self.net.level(level)
        values = batch.detail[level].flatten(1, 2)
        features = self.low_features(batch, level, low)
        parent_features = companded(parent) if parent is not None else None
        old, change = self._old(batch, level, low, reference)
        weight = 1.0
        if window is not None:
            whole, half = window
            values, features = values[whole], features[whole]
            old = old[whole] if old is not None else None
            change = change[whole] if change is not None else None
            parent_features = parent_features[half] if parent_features is not None else None
            above = above[half] if above is not None else None
            weight = 4.0
        bias = net.condition(batch.rate, level, batch.entry[:, level], batch.count)
        seen = None
        if old is not None and change is not None:
            seen = torch.cat((companded(old), change), 1)
        trunk = net.trunk(features, parent_features, above, seen, bias)
        prior = None
        if old is not None:
            prior = self._gain(net.gain, trunk) * old.clamp(-4095, 4095)
        step = batch.steps(level)
        bits, q = self._groups(net.heads, trunk, values / step, prior, batch, quantiser)
        error = ((q * step - values) ** 2).sum((1, 2, 3)) * weight
        return bits * weight, error, q, trunk

    def _old(
        self, batch: Batch, level: int, low: Tensor, reference: Reference | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """The reference's coefficients in steps, and features of how the low-pass changed."""
        if reference is None:
            return None, None
        rows = batch.rows[:, level]
        old = torch.einsum("bkc,bcohw->bkohw", rows, reference.bands[level]).flatten(1, 2)
        change = torch.einsum("bkc,bchw->bkhw", rows, low - reference.planes[level])
        return old / batch.steps(level), companded(change / (CHANGE_UNIT * 2.0 ** (level + 1)))

    def _gain(self, layer: network.Conv, trunk: Tensor) -> Tensor:
        gain = clamp(layer(trunk), -1.0, 1.0)
        return snap(gain, 64.0) if self.fake else gain

    def low_features(self, batch: Batch, level: int, low: Tensor) -> Tensor:
        """What the decoded low-pass says about a level: (B, 3 SLOTS, h, w)."""
        z = torch.einsum("bkc,bchw->bkhw", batch.rows[:, level], low)
        mean = F.avg_pool2d(F.pad(z, (1, 1, 1, 1), mode="replicate"), 3, 1)
        # The low-pass under level l is the orthonormal one of l + 1 steps: 2^(l + 1) the pixels.
        bright = linear_feature(z / (LEVEL_UNIT * 2.0 ** (level + 1)))
        return torch.cat((companded((z - mean) / batch.step), bright), 1)

    def _groups(
        self,
        heads: torch.nn.ModuleList,
        trunk: Tensor,
        target: Tensor,
        prior: Tensor | None,
        batch: Batch,
        quantiser: Quantiser,
    ) -> tuple[Tensor, Tensor]:
        """Groups of components one after another; target, prior in steps, (B, SLOTS * 3, h, w)."""
        b, _, h, w = target.shape
        total = torch.zeros(b)
        done = target.new_zeros(b, 0, h, w)
        for head in cast(Iterable[network.Head], heads):
            before = companded(done) if head.first else None
            mean, scale, shape, mixing = split_outputs(head, head(trunk, before), self.fake)
            if head.first:
                earlier = done.view(b, 1, head.first, 3, h, w)
                mean = mean + (mixing[:, :, :, None] * earlier).sum(2).flatten(1, 2)
            part = target[:, head.first * 3 : head.last * 3]
            if prior is not None:
                mean = mean + prior[:, head.first * 3 : head.last * 3]
            bits, q = self._decide(part, mean, scale, shape, quantiser)
            present = _present(batch.count, head, 3)
            total = total + (bits * present).sum((1, 2, 3))
            done = torch.cat((done, q), 1)
        return total, done

    def _low(
        self, batch: Batch, quantiser: Quantiser, reference: Reference | None
    ) -> tuple[Tensor, Tensor]:
        net = self.net.low
        unit = batch.low_step / LOW_UNIT
        target = batch.low / batch.low_step
        b, _, h, w = target.shape
        bias = net.condition(
            batch.rate, wavelet.LEVELS, batch.entry[:, wavelet.LEVELS], batch.count
        )
        old = None
        if reference is not None:
            rows = batch.rows[:, wavelet.LEVELS]
            old = torch.einsum("bkc,bchw->bkhw", rows, reference.planes[-1]) / LOW_UNIT
        trunk = net.trunk(bias, None if old is None else low_context(old), h, w)
        prior = None if old is None else self._gain(net.gain, trunk) * old
        total = torch.zeros(b)
        done = target.new_zeros(b, 0, h, w)
        gentle = Quantiser(max(quantiser.offset, 0.45), min(quantiser.lagrangian, 0.05))
        for head in cast(Iterable[network.Head], net.heads):
            before = low_context(done * unit) if head.first else None
            mean, scale, shape, _ = split_outputs(head, head(trunk, before), False)
            if self.fake:
                mean = snap(mean, LOW_MEANS_PER_UNIT)
            if prior is not None:
                mean = mean + prior[:, head.first : head.last]
            scale = clamp(scale - torch.log2(unit), SCALE_MIN, SCALE_MAX)
            part = target[:, head.first : head.last]
            bits, q = self._decide(part, mean / unit, scale, shape, gentle)
            total = total + (bits * _present(batch.count, head, 1)).sum((1, 2, 3))
            done = torch.cat((done, q), 1)
        return total, done

    def _decide(
        self, target: Tensor, mean: Tensor, scale: Tensor, shape: Tensor, quantiser: Quantiser
    ) -> tuple[Tensor, Tensor]:
        """Quantise and price one group."""
        if self.fake:
            mean = snap(mean, MEANS_PER_UNIT)
        with torch.no_grad():
            if quantiser.lagrangian > 0:
                q = self._optimise(target, mean, scale, shape, quantiser.lagrangian)
            else:
                q = target.sign() * torch.floor(target.abs() + quantiser.offset)
        return self.mixture.bits(q, mean, scale, shape), q

    def _optimise(
        self, target: Tensor, mean: Tensor, scale: Tensor, shape: Tensor, lagrangian: float
    ) -> Tensor:
        """Greedy choice among the nearest integer, the one below it in magnitude, and zero."""
        chosen = torch.round(target)
        where = chosen.nonzero(as_tuple=True)
        target, mean, scale, shape = (x[where] for x in (target, mean, scale, shape))
        best = nearest = chosen[where]
        cost = (target - best) ** 2 + lagrangian * self.mixture.bits(best, mean, scale, shape)
        for q in (nearest - nearest.sign(), torch.zeros_like(nearest)):
            other = (target - q) ** 2 + lagrangian * self.mixture.bits(q, mean, scale, shape)
            best = torch.where(other < cost, q, best)
            cost = torch.minimum(other, cost)
        chosen[where] = best
        return chosen


def low_context(values: Tensor) -> Tensor:
    """Features of low-pass values in units of 1000 DN: wide and fine, (B, n) -> (B, 2 n)."""
    return torch.cat((linear_feature(values * 0.5), linear_feature(values * 4.0)), 1)


def _present(count: Tensor, head: network.Head, per: int) -> Tensor:
    """1 for components that the sample has, 0 for padding: (B, n, 1, 1)."""
    component = torch.arange(head.first, head.last).repeat_interleave(per)
    return (component[None, :] < count[:, None]).float()[:, :, None, None]


def _quarter(size: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """A random window of half the edge length, and the same in the coarser level."""
    n = size // 2
    y, x = (2 * int(torch.randint(0, (size - n) // 2 + 1, ())) for _ in range(2))
    every = slice(None)
    whole = (every, every, slice(y, y + n), slice(x, x + n))
    half = (every, every, slice(y // 2, (y + n) // 2), slice(x // 2, (x + n) // 2))
    return whole, half


def rate_weight(rate: Tensor) -> Tensor:
    """Weight of a sample's bits so that every rate counts about equally."""
    result: Tensor = (torch.exp2(rate / 16) / 500.0) ** 0.95
    return result


def draw_rates(count: int, rng_value: Tensor) -> list[int]:
    """Rate indices: mostly steps of 50 to 6000 DN, some down to lossless.

    Parameters
    ----------
    count : int
    rng_value : Tensor
        Uniform numbers (count, 2).
    """
    fine = (0.0, 16 * math.log2(50.0))
    usual = (fine[1], 16 * math.log2(6000.0))
    chosen = []
    for i in range(count):
        low, high = usual if rng_value[i, 0] < 0.87 else fine
        chosen.append(round(low + (high - low) * float(rng_value[i, 1])))
    return chosen

"""The one order in which the context model visits coefficients, for encoder and decoder alike.

A few dates at a time: the low-pass first, then levels 4 (coarsest) to 0; in each the groups of
components one after another. Before every group the networks name a table row for each of its
coefficients, from integers that are known by then; a *coder* then says what the coefficients are:
by deciding (analysis), by looking them up (encoder) or by reading them (decoder).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tec_numcodecs.models.mini.contextnet import (
    LEVELS,
    LOW,
    Condition,
    ContextNetwork,
    low_context,
)
from tec_numcodecs.models.mini.levelwise import LevelTransform, merge_level, rescale
from tec_numcodecs.models.mini.mixture_rows import Choice
from tec_numcodecs.models.mini.quantiser import steps
from tec_numcodecs.models.mini.transform import level_sizes, subband_sizes

Int32Array = NDArray[np.int32]
#: Symbols this far from the mean and farther share a reconstruction offset.
OFFSETS = 3
_OLD_LIMIT = 1 << 20


@dataclass(frozen=True)
class Job:
    """Dates that are visited together, of one or more chunks of equal size and bands.

    Attributes
    ----------
    size : (height, width)
    rates : int64 array (N,)
    entries : int64 array (N, 6)
        Codebook entries of the levels and the low-pass.
    history : History, optional
        Dates decoded before.
    """

    size: tuple[int, int]
    rates: NDArray[np.int64]
    entries: NDArray[np.int64]
    history: History | None = None


@dataclass(frozen=True)
class Visited:
    """What the dates of a job look like after decoding, in bands.

    Attributes
    ----------
    pixels : int32 array (N, C, H, W)
        In DN.
    planes : list of int32 arrays (N, C, h, w)
        Low-pass under levels 0 to 4.
    bands : list of int32 arrays (N, C, 3, h, w)
        Detail of levels 0 to 4.
    """

    pixels: Int32Array
    planes: list[Int32Array]
    bands: list[Int32Array]

    def take(self, dates: slice) -> Visited:
        """Some of the dates."""
        planes, bands = ([x[dates] for x in y] for y in (self.planes, self.bands))
        return Visited(self.pixels[dates], planes, bands)


class History(Protocol):
    """Dates that later ones refer to."""

    @property
    def referenced(self) -> NDArray[np.float32]:
        """1 for dates of the job that have a reference, 0 for the others: (N,)."""

    def low(self) -> Int32Array:
        """The reference's low-pass, int32 (N, C, h, w)."""

    def detail(self, level: int, planes: Int32Array) -> tuple[Int32Array, Int32Array]:
        """What to refer to, given the low-pass under a level (N, C, h, w).

        Returns
        -------
        planes : int32 array (N, C, h, w)
        bands : int32 array (N, C, 3, h, w)
        """


@dataclass(frozen=True)
class Stage:
    """One group of one level: rows for int32 arrays (N, n, h, w).

    Attributes
    ----------
    level : int
        4 to 0, or LOW.
    first, last : int
        Components of the group.
    row, base, raw : int32 arrays (N, n, h, w)
        Table row; what is subtracted from a coefficient; low bits stored raw.
    old : int32 array (N, n, h, w), optional
        The reference's coefficients, rounded to this job's steps.
    """

    level: int
    first: int
    last: int
    row: Int32Array
    base: Int32Array
    raw: Int32Array
    old: Int32Array | None = None


class Coder(Protocol):
    """Says what the coefficients of a stage are."""

    def code(self, stage: Stage) -> Int32Array:
        """int32 array (N, n, h, w), signs of the common convention."""


class Walker:
    """Networks, transforms and tables for one set of bands.

    Parameters
    ----------
    net : ContextNetwork
    transform : LevelTransform
    first_entry : int
        Number of the sensor's first codebook entry among all sensors'.
    offsets : int8 array (rows, 2 * OFFSETS + 1)
        Reconstruction offsets in 64ths of a step.
    """

    def __init__(
        self,
        net: ContextNetwork,
        transform: LevelTransform,
        first_entry: int,
        offsets: NDArray[np.int8],
    ) -> None:
        self.net, self.transform = net, transform
        self._first_entry, self._offsets = first_entry, offsets

    def visit(self, job: Job, coder: Coder) -> Visited:
        """Visit all coefficients of a job."""
        device = self.net.device
        rates = torch.as_tensor(job.rates, device=device)
        entries = torch.as_tensor(job.entries + self._first_entry, device=device)
        none = np.zeros(len(job.rates), np.float32)
        referenced = torch.as_tensor(
            none if job.history is None else job.history.referenced, device=device
        )
        condition = Condition(rates, entries, self.net.count, referenced)
        visit = _Visit(self, job, coder, condition)
        planes, bands = [visit.low()], list[Int32Array]()
        for level in reversed(range(LEVELS)):
            bands.insert(0, visit.detail(level, planes[0]))
            size = level_sizes(*job.size)[level]
            planes.insert(0, merge_level(planes[0], bands[0], size))
        return Visited(planes[0] + self.transform.mean[:, None, None], planes[1:], bands)

    def offset(self, stage: Stage, q: Int32Array) -> Int32Array:
        """Where coefficients lie in their intervals on average, in 64ths of a step."""
        symbol = np.clip(q - stage.base, -OFFSETS, OFFSETS) + OFFSETS
        offset = self._offsets[stage.row, symbol].astype(np.int32)
        return np.where(stage.raw > 0, 0, offset)


class _Visit:
    """One visit: what is known so far of a job."""

    def __init__(self, walker: Walker, job: Job, coder: Coder, condition: Condition) -> None:
        self._net, self._transform, self._offset = walker.net, walker.transform, walker.offset
        self._job, self._coder, self._condition = job, coder, condition
        self._step = np.stack([steps(int(rate)) for rate in job.rates])  # (N, 6, 3)
        self._coarser: tuple[Tensor, Tensor] | None = None

    def low(self) -> Int32Array:
        """Decode the low-pass; returns it in bands, (N, C, h, w)."""
        net, job, condition = self._net, self._job, self._condition
        size = subband_sizes(*job.size)[LOW]
        old = prior = None
        if job.history is not None:
            old = net.old_low(self._tensor(job.history.low()), self._rows(LOW))
        context = None if old is None else low_context(old)
        trunk = net.low.trunk(condition, context, *size)
        if old is not None:
            gain = net.low.gain(trunk) * condition.referenced.view(-1, 1, 1, 1)
            prior = gain.to(torch.float64) * old * 4.0
        done = torch.zeros((len(job.rates), 0, *size), dtype=torch.int32, device=net.device)
        for head in net.low.heads:
            choice = net.choose_low(head, trunk, done, prior, condition.rate)
            q = self._coder.code(_stage(LOW, head.first, head.last, choice, None))
            done = torch.cat((done, self._tensor(q)), 1)
        values = rescale(done.cpu().numpy(), None, self._step[:, LOW, 0].reshape(-1, 1, 1, 1))
        return self._transform.to_bands(values, job.entries[:, LOW], LOW)

    def detail(self, level: int, planes: Int32Array) -> Int32Array:
        """Decode a level given the low-pass under it; returns it in bands, (N, C, 3, h, w)."""
        net, condition = self._net, self._condition
        rows, low = self._rows(level), self._tensor(planes)
        features = net.low_features(low, rows, condition.rate, level)
        old, seen = self._reference(level, planes, low, rows)
        trunk = net.level(level).trunk(features, self._coarser, seen, condition, level)
        prior = None if old is None else net.prior(net.level(level).gain(trunk), old, condition)
        n, c, h, w = planes.shape
        done = torch.zeros((n, 0, h, w), dtype=torch.int32, device=net.device)
        offsets = []
        for head in net.level(level).heads:
            choice = net.choose_detail(head, trunk, done, prior)
            stage = _stage(level, head.first, head.last, choice, old)
            q = self._coder.code(stage)
            offsets.append(self._offset(stage, q))
            done = torch.cat((done, self._tensor(q)), 1)
        if level:
            self._coarser = net.parent_features(done), trunk
        offset = np.concatenate(offsets, axis=1).reshape(n, c, 3, h, w)
        step = self._step[:, level].reshape(n, 1, 3, 1, 1)
        values = rescale(done.cpu().numpy().reshape(n, c, 3, h, w), offset, step)
        return self._transform.to_bands(values, self._job.entries[:, level], level)

    def _reference(
        self, level: int, planes: Int32Array, low: Tensor, rows: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """The reference's coefficients in steps, and its features."""
        history = self._job.history
        if history is None:
            return None, None
        past, bands = (self._tensor(x) for x in history.detail(level, planes))
        old = self._net.old_detail(bands, rows, self._condition.rate, level)
        return old, self._net.reference_features(old, low, past, rows, level)

    def _rows(self, level: int) -> Tensor:
        return self._tensor(self._transform.rows[self._job.entries[:, level], level])

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self._net.device)


def _stage(level: int, first: int, last: int, choice: Choice, old: Tensor | None) -> Stage:
    row, base, raw = (x.cpu().numpy() for x in (choice.row, choice.base, choice.raw))
    if old is None:
        return Stage(level, first, last, row, base, raw)
    own = torch.floor(old[:, 3 * first : 3 * last] + 0.5).clamp_(-_OLD_LIMIT, _OLD_LIMIT)
    return Stage(level, first, last, row, base, raw, own.to(torch.int32).cpu().numpy())

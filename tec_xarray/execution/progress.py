"""What has been written so far, as figures and as a bar for people."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from tec_numcodecs.chunk.batching import encoded_bytes
from tec_numcodecs.options import get_options
from tec_numcodecs.rate_control import psnr
from tec_xarray.store.journal import Done


class Meter:
    """Sums over blocks, shown as a bar where there is a terminal (or a notebook) to show it in.

    Parameters
    ----------
    label : str
    blocks : int
        How many there are in all.
    total_bytes : int
        Their samples in memory. With it the bar moves with bytes: a block takes seconds, and what
        this process has encoded of it counts at once. 0: it moves with blocks.
    show : bool or None
        None: as the option ``progress`` says. It is never shown where nobody looks.
    before : iterable of Done
        Blocks that were there at the start.
    """

    def __init__(
        self,
        label: str,
        blocks: int,
        show: bool | None = None,
        before: Iterable[Done] = (),
        total_bytes: int = 0,
    ) -> None:
        self.blocks, self.done, self.written = blocks, 0, 0
        self.bytes = self.raw_bytes = 0
        self.samples = self.square = 0.0
        self._label = label
        self._show = get_options().progress if show is None else show
        self._bar: _Bar | None = None
        self._start = time.perf_counter()
        self._new_bytes = self._told_bytes = 0
        self._total_bytes = total_bytes
        for block in before:
            self._add(block)

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        if self._show:
            self._bar = _Bar.open(self._label, self.blocks, self._total_bytes)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def tell(self, block: Done) -> None:
        """Hear of a block."""
        self._add(block)
        self._told_bytes += block.raw_bytes
        if not block.again:
            self.written += 1
            self._new_bytes += block.raw_bytes
        if self._bar is not None:
            self._bar.show(self.done, self.figures(), self._told_bytes)

    def count(self, number: int) -> None:
        """Count what has no figures."""
        self.done += number
        if self._bar is not None:
            self._bar.show(self.done, "")

    @property
    def speed(self) -> float:
        """Megabytes of raw data a second, since the start."""
        return self._new_bytes / 1e6 / max(time.perf_counter() - self._start, 1e-9)

    @property
    def ratio(self) -> float:
        """Raw bytes over stored bytes."""
        return self.raw_bytes / self.bytes if self.bytes else math.nan

    @property
    def psnr(self) -> float:
        """Over all samples so far, with the peak at 10,000 DN."""
        return psnr(self.square, self.samples)

    def figures(self) -> str:
        """Return them in a line."""
        quality = "" if math.isnan(self.psnr) else f"  {self.psnr:.1f} dB"
        return f"{self.speed:.1f} MB/s  {self.ratio:.1f}x{quality}"

    def _add(self, block: Done) -> None:
        self.done += 1
        self.bytes += block.stored_bytes
        self.raw_bytes += block.raw_bytes
        self.samples += float(block.errors[:, 0].sum())
        self.square += float(block.errors[:, 1].sum())


class _Bar:
    """A rich progress bar on standard error."""

    @classmethod
    def open(cls, label: str, blocks: int, total_bytes: int) -> _Bar | None:
        from rich.console import Console

        console = Console(file=sys.stderr)
        if not (console.is_terminal or console.is_jupyter):
            return None
        return cls(label, blocks, total_bytes, console)

    def __init__(self, label: str, blocks: int, total_bytes: int, console: Any) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        # The first block may take a while: the spinner and the clock say that work goes on.
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._blocks, self._total_bytes = blocks, total_bytes
        self._told, self._base = 0, encoded_bytes()
        self._end = threading.Event()
        self._task = self._progress.add_task(
            label, total=total_bytes or blocks, figures="", count=self._count(0)
        )
        self._progress.start()
        if total_bytes:
            threading.Thread(target=self._watch, name="tec-progress", daemon=True).start()

    def show(self, done: int, figures: str, new_bytes: int = 0) -> None:
        """Say that blocks are done, and of how many bytes."""
        if self._total_bytes:
            self._told, self._base = new_bytes, encoded_bytes()
        self._progress.update(
            self._task,
            completed=new_bytes if self._total_bytes else done,
            figures=figures,
            count=self._count(done),
        )

    def close(self) -> None:
        self._end.set()
        self._progress.stop()

    def look(self) -> None:
        """Count what was encoded since the last block was done; the block itself is not yet."""
        now = self._told + encoded_bytes() - self._base
        if now > self._told:
            self._progress.update(self._task, completed=min(now, 0.99 * self._total_bytes))

    def _watch(self) -> None:
        while not self._end.wait(0.2):
            self.look()

    def _count(self, done: int) -> str:
        return f"{done}/{self._blocks}"

"""What has been written so far, as figures and as a bar for people."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

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
    show : bool or None
        None: as the option ``progress`` says. It is never shown where nobody looks.
    before : iterable of Done
        Blocks that were there at the start.
    """

    def __init__(
        self, label: str, blocks: int, show: bool | None = None, before: Iterable[Done] = ()
    ) -> None:
        self.blocks, self.done, self.written = blocks, 0, 0
        self.bytes = self.raw_bytes = 0
        self.samples = self.square = 0.0
        self._label = label
        self._show = get_options().progress if show is None else show
        self._bar: _Bar | None = None
        self._start = time.perf_counter()
        self._new_bytes = 0
        for block in before:
            self._add(block)

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        if self._show:
            self._bar = _Bar.open(self._label, self.blocks)
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
        if not block.again:
            self.written += 1
            self._new_bytes += block.raw_bytes
        if self._bar is not None:
            self._bar.show(self.done, self.figures())

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
    def open(cls, label: str, total: int) -> _Bar | None:
        from rich.console import Console

        console = Console(file=sys.stderr)
        return cls(label, total, console) if console.is_terminal or console.is_jupyter else None

    def __init__(self, label: str, total: int, console: object) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
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
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,  # type: ignore[arg-type]
        )
        self._task = self._progress.add_task(label, total=total, figures="")
        self._progress.start()

    def show(self, done: int, figures: str) -> None:
        self._progress.update(self._task, completed=done, figures=figures)

    def close(self) -> None:
        self._progress.stop()

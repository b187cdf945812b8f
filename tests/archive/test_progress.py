"""The bar of a long run moves with bytes: a block of many chunks is not done at once."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from zarr.storage import MemoryStore

from archives import series
from tec_numcodecs.chunk import batching
from tec_xarray.execution import progress


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Bars that are made, on a terminal that nobody sees."""
    made: list[Any] = []

    def open_bar(label: str, blocks: int, total_bytes: int) -> Any:
        console = Console(file=io.StringIO(), force_terminal=True)
        made.append(progress._Bar(label, blocks, total_bytes, console))
        return made[-1]

    monkeypatch.setattr(progress._Bar, "open", open_bar)
    return made


def test_it_moves_inside_a_block(bars: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    count = batching._count

    def counted(size: int) -> None:
        count(size)
        bars[0].look()
        seen.append(bars[0]._progress.tasks[0].completed)

    monkeypatch.setattr(batching, "_count", counted)
    data = series(4, (64, 64))
    settings: dict[str, Any] = {"chunks": (4, 3, 32, 32), "shards": (4, 3, 64, 64)}
    data.tec.compress(lam=100, store=MemoryStore(), progress=True, **settings)
    (task,) = bars[0]._progress.tasks
    size = 4 * 3 * 64 * 64 * np.dtype("u2").itemsize
    assert task.total == task.completed == size
    assert sorted(set(seen)) == seen[: len(set(seen))]
    assert len({value for value in seen if 0 < value < size}) >= 3  # one block of four chunks
    assert task.fields["count"] == "1/1"


def test_without_bytes_it_counts(bars: list[Any]) -> None:
    with progress.Meter("copy", 3, show=True) as meter:
        meter.count(2)
        (task,) = bars[0]._progress.tasks
        assert (task.completed, task.total, task.fields["count"]) == (2, 3, "2/3")

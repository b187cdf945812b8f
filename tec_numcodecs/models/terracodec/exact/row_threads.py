"""Work on rows by several threads, for C code that lets go of the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import torch

_LEAST = 1 << 16  # numbers for one thread: less takes no longer than waking another
_pools: dict[int, ThreadPoolExecutor] = {}


def spread(rows: int, width: int, work: Callable[[int, int], object]) -> None:
    """Call ``work(first, last)`` on parts of `rows` rows that together are all of them.

    At most as many parts as torch's threads. `work` must not call `spread` itself.

    Parameters
    ----------
    rows, width : int
        How many rows, and how many numbers one row stands for.
    work : callable
        Its results are thrown away; an exception in any part is raised here.
    """
    parts = min(torch.get_num_threads(), rows, rows * width // _LEAST)
    if parts < 2:
        work(0, rows)
        return
    edges = [rows * i // parts for i in range(parts + 1)]
    others: list[Future[object]] = []
    with suppress(RuntimeError):  # no more threads: the interpreter ends, or the system has none
        for i in range(1, parts):
            others.append(_pool().submit(work, edges[i], edges[i + 1]))  # noqa: PERF401
    try:
        work(0, edges[1])
        if len(others) < parts - 1:
            work(edges[len(others) + 1], rows)
    finally:
        for other in others:
            other.result()


def _pool() -> ThreadPoolExecutor:
    """Return the threads of this process: none survive a fork."""
    process = os.getpid()
    pool = _pools.get(process)
    if pool is None:
        _pools.clear()
        pool = _pools[process] = ThreadPoolExecutor(os.cpu_count(), "tec-rows")
    return pool

"""One thread a process that runs models, and gathers the chunks that wait for it into batches.

Zarr calls a codec from as many threads as it likes, one chunk at a time. Here they meet: while
the thread works on a batch, further chunks queue up and become the next one. So a model runs
once at a time however many readers there are, and batches form without any setting of Zarr's.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from tec_numcodecs.chunk import decoding
from tec_numcodecs.chunk.samples import Samples
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.options import get_options


@dataclass(frozen=True)
class _Job:
    """A chunk that waits. Jobs with equal keys may share a batch."""

    key: tuple[object, ...]
    item: Any
    run: Callable[[Sequence[Any]], Sequence[Any]]
    future: Future[Any]


def encode(array: Samples, config: CodecConfig) -> Future[bytes]:
    """Queue a chunk for `tec_numcodecs.chunk.decoding.encode`."""
    return _submit(("encode", config), array, lambda arrays: decoding.encode(arrays, config))


def decode(data: bytes, config: CodecConfig, shape: decoding.Shape | None) -> Future[Samples]:
    """Queue a chunk for `tec_numcodecs.chunk.decoding.decode`."""
    return _submit(
        ("decode", config, shape), data, lambda items: decoding.decode(items, config, shape)
    )


def _submit(
    key: tuple[object, ...], item: object, run: Callable[[Sequence[Any]], Sequence[Any]]
) -> Future[Any]:
    job = _Job(key, item, run, Future())
    _worker().put(job)
    return job.future


_queues: dict[int, queue.SimpleQueue[_Job]] = {}
_lock = threading.Lock()


def _worker() -> queue.SimpleQueue[_Job]:
    """Queue of this process's thread; a forked child starts a thread of its own."""
    process = os.getpid()
    with _lock:
        if process not in _queues:
            jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(jobs,), name="tec-codec", daemon=True).start()
            _queues.clear()
            _queues[process] = jobs
        return _queues[process]


def _serve(jobs: queue.SimpleQueue[_Job]) -> None:
    while True:
        for batch in _batches(_drain(jobs)):
            _run(batch)


def _drain(jobs: queue.SimpleQueue[_Job]) -> list[_Job]:
    """Wait for a job, then take what else is there, up to a batch."""
    found = [jobs.get()]
    limit = get_options().batch_size
    while len(found) < limit:
        try:
            found.append(jobs.get_nowait())
        except queue.Empty:
            break
    return found


def _batches(jobs: Sequence[_Job]) -> list[list[_Job]]:
    groups: dict[tuple[object, ...], list[_Job]] = {}
    for job in jobs:
        groups.setdefault(job.key, []).append(job)
    return list(groups.values())


def _run(jobs: Sequence[_Job]) -> None:
    """Run a batch; if it fails, run its jobs one by one, so that only the culprits fail."""
    jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
    if not jobs:
        return
    try:
        results = jobs[0].run([job.item for job in jobs])
    except BaseException as error:  # noqa: BLE001 (it is handed to whoever waits)
        if len(jobs) == 1:
            jobs[0].future.set_exception(error)
            return
        for job in jobs:
            _run_one(job)
        return
    for job, result in zip(jobs, results, strict=True):
        job.future.set_result(result)


def _run_one(job: _Job) -> None:
    try:
        job.future.set_result(job.run([job.item])[0])
    except BaseException as error:  # noqa: BLE001 (it is handed to whoever waits)
        job.future.set_exception(error)


def _after_fork() -> None:
    """Threads and held locks do not survive a fork."""
    global _lock
    _lock = threading.Lock()
    _queues.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

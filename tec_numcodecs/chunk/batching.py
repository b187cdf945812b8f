"""One thread a process that runs models, and gathers the chunks that wait for it into batches.

Zarr calls a codec from as many threads as it likes, one chunk at a time. Here they meet: while
the thread works on a batch, further chunks queue up and become the next one. So a model runs
once at a time however many readers there are, and batches form without any setting of Zarr's.

Whoever waits gets a result or an error, whatever happens: an error of any kind ends the jobs that
it met and nothing else, a thread that is gone is started again, and where there can be no thread
(while the interpreter ends) a job runs in the thread of its caller.
"""

from __future__ import annotations

import contextvars
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any

from tec_numcodecs.chunk import decoding
from tec_numcodecs.chunk.samples import Samples
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import TecError
from tec_numcodecs.options import get_options


@dataclass(frozen=True)
class _Job:
    """A chunk that waits. Jobs with equal keys may share a batch of so many."""

    key: tuple[object, ...]
    item: Any
    run: Callable[[Sequence[Any]], Sequence[Any]]
    most: int
    future: Future[Any]


def encode(array: Samples, config: CodecConfig) -> Future[bytes]:
    """Queue a chunk for `tec_numcodecs.chunk.decoding.encode`.

    Raises
    ------
    InvalidInput
        An environment variable holds a value that its option cannot have.
    """
    future = _submit(("encode", config), array, lambda arrays: decoding.encode(arrays, config))
    future.add_done_callback(lambda _: _count(array.nbytes))
    return future


_encoded = 0


def encoded_bytes() -> int:
    """Return how many bytes of samples this process has encoded so far, for bars of progress."""
    return _encoded


def _count(size: int) -> None:
    global _encoded
    _encoded += size  # of one thread, and nothing depends on it


def decode(data: bytes, config: CodecConfig, shape: decoding.Shape | None) -> Future[Samples]:
    """Queue a chunk for `tec_numcodecs.chunk.decoding.decode`.

    Raises
    ------
    InvalidInput
        An environment variable holds a value that its option cannot have.
    """
    return _submit(
        ("decode", config, shape), data, lambda items: decoding.decode(items, config, shape)
    )


def _submit(
    key: tuple[object, ...], item: object, run: Callable[[Sequence[Any]], Sequence[Any]]
) -> Future[Any]:
    options = get_options()
    # Options may hold in the caller's context only, so the job runs in a copy of it; and jobs that
    # see other options are no batch.
    key = (*key, options.quality, options.max_chunk_bytes)
    hash(key)  # what fails here must fail in the caller's thread, not in the one that serves all
    context = contextvars.copy_context()
    job = _Job(key, item, lambda items: context.run(run, items), options.batch_size, Future())
    worker = _worker()
    if worker is None or worker.thread is threading.current_thread():
        _run([job])
    else:
        worker.jobs.put(job)
    return job.future


@dataclass(frozen=True)
class _Worker:
    """The thread of one process, and what it serves."""

    process: int
    jobs: queue.SimpleQueue[_Job]
    thread: threading.Thread


_current: _Worker | None = None
_lock = threading.Lock()


def _worker() -> _Worker | None:
    """Return this process's thread, started if need be; None where none can run."""
    global _current
    if sys.is_finalizing():  # threads stand still from now on
        return None
    with _lock:
        known = _current
        if known is None or known.process != os.getpid():
            known = _start(queue.SimpleQueue())
        elif not known.thread.is_alive():
            known = _start(known.jobs)  # somebody may wait for what is queued
        _current = known
        return known


def _start(jobs: queue.SimpleQueue[_Job]) -> _Worker | None:
    thread = threading.Thread(target=_serve, args=(jobs,), name="tec-codec", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter ends, or the system allows no more threads
        return None
    return _Worker(os.getpid(), jobs, thread)


def _serve(jobs: queue.SimpleQueue[_Job]) -> None:
    while True:
        try:
            _serve_once(jobs)
        except BaseException:  # noqa: BLE001, S112 (whoever waited has been told)
            continue


def _serve_once(jobs: queue.SimpleQueue[_Job]) -> None:
    """Wait for a job, and run it with what else is there; keep no chunk when it is done."""
    taken: list[_Job] = []
    try:
        _take(jobs, taken)
        for batch in _batches(taken):
            _run(batch)
    except BaseException as error:
        for job in taken:
            _fail(job, error)
        raise


def _take(jobs: queue.SimpleQueue[_Job], taken: list[_Job]) -> None:
    """Wait for a job, then take what else is there, up to a batch."""
    taken.append(jobs.get())
    while len(taken) < taken[0].most:
        try:
            taken.append(jobs.get_nowait())
        except queue.Empty:
            return


def _batches(jobs: Sequence[_Job]) -> list[list[_Job]]:
    groups: dict[tuple[object, ...], list[_Job]] = {}
    for job in jobs:
        groups.setdefault(job.key, []).append(job)
    return list(groups.values())


def _run(jobs: Sequence[_Job]) -> None:
    """Run a batch; if it fails, run its jobs one by one, so that only the culprits fail."""
    started = [job for job in jobs if job.future.set_running_or_notify_cancel()]
    if started:
        _answer(started)


def _answer(jobs: Sequence[_Job]) -> None:
    try:
        results = _results(jobs)
    except BaseException as error:  # noqa: BLE001 (it is handed to whoever waits)
        if len(jobs) == 1:
            _fail(jobs[0], error)
            return
        for job in jobs:
            _answer([job])
        return
    for job, result in zip(jobs, results, strict=True):
        job.future.set_result(result)


def _results(jobs: Sequence[_Job]) -> Sequence[Any]:
    results = jobs[0].run([job.item for job in jobs])
    if len(results) != len(jobs):
        raise RuntimeError(f"{len(results)} results for {len(jobs)} chunks")
    return results


def _fail(job: _Job, error: BaseException) -> None:
    """Hand an error to whoever waits, in a form that ends nothing but the call.

    What is no `Exception` (SystemExit, KeyboardInterrupt) would end the event loop of Zarr that
    awaits the future, and with it every later read; StopIteration cannot be awaited, and
    CancelledError would say that the caller gave up.
    """
    if not isinstance(error, Exception) or isinstance(
        error, StopIteration | StopAsyncIteration | CancelledError
    ):
        told = TecError(
            f"coding a chunk ended with {type(error).__name__}: {error}",
            fix="try again; this is a fault of tec, or somebody ended its thread",
        )
        told.__cause__ = error
        error = told
    if not job.future.done():
        job.future.set_exception(error)


def _after_fork() -> None:
    """Threads and held locks do not survive a fork."""
    global _lock, _current
    _lock = threading.Lock()
    _current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

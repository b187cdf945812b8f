"""What a Dask cluster must be able to do, asked before the first block and while nothing happens.

A worker that cannot import what a task needs drops it without a word, and the scheduler waits for
ever. So every worker is asked to load one block's task first; and if no block has arrived for a
while, workers are asked whether they have anything to do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tec_numcodecs.errors import InvalidInput, TecError
from tec_numcodecs.extras import require
from tec_xarray.store.location import is_in_memory, is_transaction, label_of

logger = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds without a block after which workers are asked
_LOOKS = 3  # how often in a row they must have nothing to do: a cluster may be growing
_POLL = 0.02  # seconds
_MOST_BYTES = 10_000_000  # of a task that every worker is asked to load
_IDLE = frozenset({"memory", "released", "forgotten", "error", "cancelled"})


@contextlib.contextmanager
def workers(count: int) -> Iterator[None]:
    """Start processes with a thread each on this machine, for the time of a context.

    It ends without a word on a busy machine, too: workers leave before their scheduler does, as
    one that finds it gone logs a traceback, and what this cluster logs below "critical" is dropped.
    Loggers of other clusters in this process are left alone.
    """
    require("distributed", "workers on this machine")
    import dask
    from distributed import Client, LocalCluster

    # Port 0: any that is free, where 8787 would be a warning for whoever comes second. Workers
    # get the level with their environment, as Dask's own setting ends when a worker closes.
    settings: dict[str, Any] = {"dashboard_address": ":0", "silence_logs": False}
    environment = dask.config.get("distributed.nanny.pre-spawn-environ", {})
    quiet = {**environment, "DASK_LOGGING__DISTRIBUTED": "critical"}
    with _drop_logs_of_new_threads("distributed"), _environment_as_before(quiet):
        with dask.config.set({"distributed.nanny.pre-spawn-environ": quiet}):
            local = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=count, threads_per_worker=1, **settings
            )
        with local, Client(local) as client:  # type: ignore[no-untyped-call]
            try:
                yield
            finally:
                # Whatever is gone already cannot leave; the cluster is closed all the same.
                with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                    client.retire_workers(close_workers=True)


@contextlib.contextmanager
def _environment_as_before(names: Mapping[str, object]) -> Iterator[None]:
    """Put variables back at the end: whoever starts workers sets theirs in this process, too."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _drop_logs_of_new_threads(name: str) -> Iterator[None]:
    """Drop what threads that begin meanwhile log below "critical": a cluster has one of its own."""
    old = {thread.ident for thread in threading.enumerate()}

    def keep(record: logging.LogRecord) -> bool:
        return record.thread in old or record.levelno >= logging.CRITICAL

    handlers = list(logging.getLogger(name).handlers)
    for handler in handlers:
        handler.addFilter(keep)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(keep)


def find_client() -> Any:
    """Return the distributed client that Dask would use now, if any."""
    from dask.base import get_scheduler

    get = get_scheduler()  # type: ignore[no-untyped-call]
    owner = getattr(get, "__self__", None)
    return owner if type(owner).__name__ == "Client" else None


def check_cluster(client: Any, store: Any, resources: Mapping[str, float], sample: Any) -> int:
    """Return the threads of a cluster; refuse what would hang or be lost.

    Parameters
    ----------
    client : distributed.Client
    store : path, URL or Zarr store
        Where blocks are to be written.
    resources : dict of float
        What a block needs of a worker.
    sample : object
        What one block's task is made of.

    Raises
    ------
    InvalidInput
        No worker offers a resource, the store is in this process's memory, or a worker cannot
        load the task.
    """
    there = client.scheduler_info(n_workers=-1)["workers"]
    for name, amount in resources.items():
        if there and all(w["resources"].get(name, 0) < amount for w in there.values()):
            raise InvalidInput(
                f"resources {name} = {amount}, which no worker has",
                fix=f"start workers with it: LocalCluster(resources={{{name!r}: {amount}}}), or "
                f"dask worker --resources '{name}={amount}'",
            )
    check_reach(store)
    _check_import(client, sample)
    return max(1, sum(w["nthreads"] for w in there.values()))


def check_reach(store: Any) -> None:
    """Refuse a store in this process's memory where other processes would write the blocks.

    Raises
    ------
    InvalidInput
        What they write would be lost.
    """
    if not (is_in_memory(store) or is_transaction(store)):
        return
    client = find_client()
    if client is None:
        elsewhere = _is_processes()
    else:
        elsewhere = bool(set(client.run(os.getpid).values()) - {os.getpid()})
    if elsewhere:
        what = "a session" if is_transaction(store) else "in the memory"
        raise InvalidInput(
            f"{label_of(store)} is {what} of this process, and other processes are to write to it",
            allowed="a store that every worker can reach",
            fix="write to a path or an object store, or work in this process: "
            "dask.config.set(scheduler='threads'), Client(processes=False)",
        )


def _is_processes() -> bool:
    """Whether Dask would run tasks in processes of a pool."""
    from concurrent.futures import ProcessPoolExecutor

    import dask
    from dask.base import get_scheduler

    get = get_scheduler()  # type: ignore[no-untyped-call]
    asked = [dask.config.get("scheduler", None), dask.config.get("pool", None)]
    return getattr(get, "__module__", "") == "dask.multiprocessing" or any(
        isinstance(one, ProcessPoolExecutor) for one in asked
    )


def _check_import(client: Any, sample: Any) -> None:
    """Ask every worker to load one block's task."""
    from distributed.protocol import pickle

    data = pickle.dumps(sample)  # type: ignore[no-untyped-call]
    if len(data) > _MOST_BYTES:
        return  # pixels are in the graph itself; they go to where they are needed only
    answers = client.run(load, data, on_error="return")
    wrong = {worker: answer for worker, answer in answers.items() if answer is not None}
    if wrong:
        worker, answer = next(iter(wrong.items()))
        raise InvalidInput(
            f"{len(wrong)} of {len(answers)} workers cannot load a block's task; {worker}: "
            f"{answer}",
            allowed="workers that have every package and module that this process uses",
            fix="install it there, or send it with client.upload_file(...); functions of a script "
            "or notebook itself are sent by themselves",
        )


def load(data: bytes) -> str | None:
    """Load a task on a worker; return what went wrong."""
    from distributed.protocol import pickle

    try:
        pickle.loads(data)  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
        return f"{type(error).__name__}: {error}"
    return None


class Watch:
    """Waits for blocks, and notices if there is nothing to wait for."""

    def __init__(self, client: Any, patience: float | None = None) -> None:
        self._client = client
        self._patience = PATIENCE if patience is None else patience
        self._had_workers = bool(client.scheduler_info(n_workers=-1)["workers"])

    def wait(self, arrivals: Any, running: int) -> Any:
        """Return the next future that is done.

        Parameters
        ----------
        arrivals : distributed.as_completed
        running : int
            How many blocks are waited for.

        Raises
        ------
        TecError
            The scheduler waits for blocks of which no worker knows.
        """
        asked, looks = time.monotonic(), 0
        while not arrivals.has_ready():
            time.sleep(_POLL)
            if time.monotonic() - asked > self._patience:
                looks = looks + 1 if self._is_idle() else 0
                asked = time.monotonic()
                if looks == _LOOKS:
                    raise TecError(
                        f"{running} blocks are waited for, but no worker has had anything to do "
                        f"for {_LOOKS * self._patience:.0f} s, or all are gone",
                        fix="look at the workers' logs: a task may need what they cannot import; "
                        "then call tec_xarray.resume (after an append: the same append again)",
                    )
        self._had_workers = True
        return next(arrivals)

    def _is_idle(self) -> bool:
        found = self._client.run(tasks, on_error="return")
        if not found and not self._had_workers:
            logger.warning("no workers yet; waiting for some")
            return False
        self._had_workers = True
        return all(answer == 0 for answer in found.values())


def tasks(dask_worker: Any) -> int:
    """Count what a worker has to do by its own account."""
    return sum(task.state not in _IDLE for task in dask_worker.state.tasks.values())

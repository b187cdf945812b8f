"""Run the blocks of an archive: without Dask, on its threads, or on a cluster.

Blocks go out in groups of neighbors, because neighbors read the same source files, and only a few
groups at once, so that neither the graph nor the workers hold more than that at any time.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tec_numcodecs.arguments import first_few, mapping, number, switch, whole
from tec_numcodecs.errors import TecError
from tec_numcodecs.options import check_settings
from tec_numcodecs.redaction import for_message
from tec_xarray.execution.block import Job
from tec_xarray.execution.cluster import Watch, check_cluster, find_client
from tec_xarray.execution.settings import (
    WithOptions,
    check_devices,
    family_in,
    settings_for_blocks,
)
from tec_xarray.store.codec_metadata import configuration
from tec_xarray.store.journal import Result
from tec_xarray.store.lease import WAIT, Patience

logger = logging.getLogger(__name__)

AT_ONCE = 4  # blocks at once in one process: the codec has one thread there
MOST_FAILURES = 20  # after which something is wrong with more than a few blocks
GROUP = 16  # blocks, at most
_MOST_RETRIES = 1000


@dataclass(frozen=True)
class How:
    """How to run.

    Attributes
    ----------
    retries : int
        How often to try a block again whose reading or writing failed.
    resources : dict or None
        What an encoding task needs of a worker, as in ``{"GPU": 1}``.
    progress : bool or None
        Whether to show a bar; None: as the option ``progress`` says.
    wait : float
        Seconds to wait for another writer of the archive.
    break_lease : bool
        Take the place of another writer, which is gone.
    device, batch_size : optional
        Where published models run that code the blocks, and with how many chunks at once; None: as
        the options say.
    """

    retries: int = 2
    resources: Mapping[str, float] | None = None
    progress: bool | None = None
    wait: float = WAIT
    break_lease: bool = False
    device: str | None = None
    batch_size: int | None = None

    def check_devices(self, codec: Mapping[str, Any]) -> None:
        """Refuse a device that is not where blocks of a configuration would be coded.

        Raises
        ------
        InvalidInput
            It is not there.
        """
        check_devices(self.settings, family_in(codec), self.resources or {})

    @property
    def settings(self) -> dict[str, Any]:
        """Options that blocks are coded with, wherever that is."""
        return settings_for_blocks(self.device, self.batch_size)

    @property
    def patience(self) -> Patience:
        """What to do about another writer."""
        return Patience(self.wait, self.break_lease)

    def __post_init__(self) -> None:
        """Refuse what a caller of `tec_xarray.compress` cannot have meant."""
        object.__setattr__(self, "retries", whole("retries", self.retries, 0, _MOST_RETRIES))
        if self.resources is not None:
            for name, amount in mapping("resources", self.resources, "{'GPU': 1}").items():
                number(f"resources[{name!r}]", amount)
        if self.progress is not None:
            switch("progress", self.progress)
        _ = self.patience
        check_settings(self.settings)


@dataclass
class Work:
    """Blocks to write or check, and the data that they come from.

    Attributes
    ----------
    jobs : list of Job
    block : tuple of int
        Of the array.
    data : array (T, C, H, W), NumPy or dask, or None
    beside : dict of arrays (T, H, W) or (H, W)
        As they are to be stored.
    task : callable
        What to do with a job, its values and what stands beside them; returns a `Result`.
    origin : tuple of int
        Where the first sample of the data is in the array: (time, y, x).
    sides : tuple of int
        How many blocks along (time, y, x) read the same source chunk.
    """

    jobs: list[Job]
    block: tuple[int, ...]
    data: Any
    beside: dict[str, Any]
    task: Callable[..., Result]
    origin: tuple[int, int, int] = (0, 0, 0)
    sides: tuple[int, int, int] = (1, 2, 2)
    _cut: dict[str, Any] = field(default_factory=dict)

    def parts(self, job: Job) -> tuple[Any, dict[str, Any]]:
        """Return a job's values and what stands beside them; Delayed where the data are lazy."""
        if self.data is None:
            return None, {}
        t, _, y, x = job.region(self.block)
        first = job.dates[1]
        rows = slice(y.start - self.origin[1], y.stop - self.origin[1])
        columns = slice(x.start - self.origin[2], x.stop - self.origin[2])
        dates = slice(first - self.origin[0], t.stop - self.origin[0])
        beside = {}
        for name, array in self.beside.items():
            if array.ndim == 3:
                beside[name] = self._part(name, array, (dates, rows, columns), job)
            elif job.index[0] == 0:
                beside[name] = self._part(name, array, (rows, columns), job)
        cube = self._part("", self.data, (dates, slice(None), rows, columns), job)
        return cube, beside

    def _part(self, name: str, array: Any, region: tuple[slice, ...], job: Job) -> Any:
        if isinstance(array, np.ndarray):
            return array[region]
        if name not in self._cut:
            self._cut[name] = array.rechunk(self._chunks(array)).to_delayed()
        steps = (self.block[0], *self.block[2:])
        corner = [o // b for o, b in zip(self.origin, steps, strict=True)]
        t, y, x = (i - c for i, c in zip(job.index, corner, strict=True))
        place = {2: (y, x), 3: (t, y, x), 4: (t, 0, y, x)}[array.ndim]
        return self._cut[name][place]

    def _chunks(self, array: Any) -> tuple[tuple[int, ...], ...]:
        """Cut new data where the blocks of the array begin."""
        steps = {2: self.block[2:], 3: (self.block[0], *self.block[2:]), 4: self.block}[array.ndim]
        origin = {2: self.origin[1:], 3: self.origin, 4: (self.origin[0], 0, *self.origin[1:])}
        chunks = []
        for size, step, start in zip(array.shape, steps, origin[array.ndim], strict=True):
            edges = [0, *range(step - start % step, size, step), size]
            chunks.append(tuple(int(n) for n in np.diff(edges)))
        return tuple(chunks)

    @property
    def lazy(self) -> bool:
        """Whether any of the data are on dask."""
        given = [a for a in (self.data, *self.beside.values()) if a is not None]
        return any(not isinstance(a, np.ndarray) for a in given)


def run(work: Work, how: How, tell: Callable[[Any], None]) -> None:
    """Do all blocks; `tell` hears of each.

    Raises
    ------
    TecError
        Blocks failed; all others are written.
    """
    if not work.jobs:
        return
    client = find_client()
    settings = how.settings
    if settings:
        job = work.jobs[0]
        how.check_devices(configuration(job.handles("r").array(job.variable)))
        work = replace(work, task=WithOptions(work.task, settings))
    here = client is None
    failed = _run_here(work, how, tell) if here else _run_there(work, how, tell, client)
    if failed:
        first = next(iter(failed))
        names = first_few([str(index) for index in failed])
        causes = list(dict.fromkeys(repr(error) for error in failed.values()))
        raise TecError(
            f"{len(failed)} of {len(work.jobs)} blocks failed: {names}; because of: "
            f"{first_few(causes)}",
            fix="all others are done; mend the cause, then call tec_xarray.resume (after an "
            "append: the same append again)",
        ) from failed[first]


def _run_here(work: Work, how: How, tell: Callable[[Any], None]) -> dict[Any, Exception]:
    """Run in this process (or wherever Dask's local schedulers run tasks)."""
    failed: dict[Any, Exception] = {}
    for batch in itertools.chain.from_iterable(map(_batches, groups(work.jobs, work.sides))):
        told: set[Any] = set()

        def hear(done: Result, told: set[Any] = told) -> None:
            told.add(done.index)
            tell(done)

        for attempt in range(how.retries + 1):
            left = [job for job in batch if job.index not in told]
            try:
                _compute(work, left if attempt == 0 else left[:1], hear)
                if attempt == 0:
                    break
                _compute(work, left[1:], hear)
                break
            except Exception as error:
                if not _passes(error):
                    raise
                if attempt == how.retries:
                    failed |= {job.index: error for job in batch if job.index not in told}
                    if len(failed) > MOST_FAILURES:
                        raise _gave_up(failed) from error
                else:
                    logger.warning("trying again: %s", for_message(str(error)))
    return failed


def _compute(work: Work, jobs: Sequence[Job], tell: Callable[[Any], None]) -> None:
    if not work.lazy:
        for job in jobs:
            tell(work.task(job, *work.parts(job)))
        return
    from dask.base import compute
    from dask.callbacks import Callback

    def posttask(key: Any, result: Any, *_: Any) -> None:  # noqa: ARG001 (dask's signature)
        if isinstance(result, Result):
            tell(result)

    with Callback(posttask=posttask):  # type: ignore[no-untyped-call]
        compute(*_tasks(work, jobs, None))  # type: ignore[no-untyped-call]


def _tasks(work: Work, jobs: Iterable[Job], resources: Mapping[str, float] | None) -> list[Any]:
    import dask
    from dask.delayed import delayed

    marks = {"resources": dict(resources)} if resources else {}
    task = delayed(work.task, pure=False, traverse=True)
    with dask.annotate(**marks):  # type: ignore[attr-defined]
        return [task(job, *work.parts(job)) for job in jobs]


def _run_there(
    work: Work, how: How, tell: Callable[[Any], None], client: Any
) -> dict[Any, Exception]:
    """Run on the workers of a cluster, a few groups at once."""
    from distributed import as_completed

    place = work.jobs[0].place
    threads = check_cluster(client, place.store, how.resources or {}, _sample(work))
    watch = Watch(client)
    waiting = groups(work.jobs, work.sides)
    running: dict[Any, Job] = {}
    failed: dict[Any, Exception] = {}
    arrivals: Any = as_completed()  # type: ignore[no-untyped-call]

    def send() -> bool:
        group = next(waiting, None)
        if group is None:
            return False
        for future, job in zip(_submit(client, work, group, how), group, strict=True):
            running[future] = job
            arrivals.add(future)
        return True

    try:
        while len(running) < 2 * threads and send():
            pass
        while running:
            future = watch.wait(arrivals, len(running))
            job = running.pop(future)
            try:
                tell(future.result())
            except Exception as error:
                if not _passes(error):
                    raise
                failed[job.index] = error
                logger.warning("block %s failed: %s", job.index, for_message(str(error)))
                if len(failed) > MOST_FAILURES:
                    raise _gave_up(failed) from error
            future.release()
            while len(running) < 2 * threads and send():
                pass
    finally:
        if running:
            client.cancel(list(running))
    return failed


def _submit(client: Any, work: Work, group: list[Job], how: How) -> list[Any]:
    if work.lazy:
        tasks = _tasks(work, group, how.resources)
        return list(client.compute(tasks, retries=how.retries))
    resources = dict(how.resources) if how.resources else None
    settings = {"retries": how.retries, "resources": resources, "pure": False}
    futures = []
    for job in group:
        values, beside = work.parts(job)
        # Scattered, not sent with the task: the scheduler would keep the pixels.
        data = [values, beside]
        if values is not None:
            data = client.scatter([np.ascontiguousarray(values), beside], hash=False)
        futures.append(client.submit(work.task, job, *data, **settings))
    return futures


def _sample(work: Work) -> Any:
    """Return what a worker must be able to load: the task of one block, without its pixels."""
    job = work.jobs[0]
    if not work.lazy:
        return work.task, job
    from dask.base import optimize

    # Of a whole tile's graph, only what this block needs.
    return work.task, job, optimize(*_tasks(work, [job], None))  # type: ignore[no-untyped-call]


def _passes(error: Exception) -> bool:
    """Tell whether a failure may be of one block alone: the network's, say, not our own refusal."""
    return not isinstance(error, TecError) or isinstance(error, OSError)


def _gave_up(failed: Mapping[Any, Exception]) -> TecError:
    last = list(failed.values())[-1]
    return TecError(
        f"{len(failed)} blocks failed, the last with {last!r}",
        fix="mend the cause, then call tec_xarray.resume (after an append: the same append again)",
    )


def groups(jobs: Iterable[Job], sides: tuple[int, int, int]) -> Iterator[list[Job]]:
    """Put neighbors together, `sides` blocks along (time, y, x), in the order of the cube."""

    def home(job: Job) -> tuple[int, ...]:
        return tuple(i // n for i, n in zip(job.index, sides, strict=True))

    for _, group in itertools.groupby(sorted(jobs, key=lambda j: (home(j), j.index)), home):
        members = list(group)
        for start in range(0, len(members), GROUP):
            yield members[start : start + GROUP]


def _batches(group: list[Job]) -> Iterator[list[Job]]:
    for start in range(0, len(group), AT_ONCE):
        yield group[start : start + AT_ONCE]

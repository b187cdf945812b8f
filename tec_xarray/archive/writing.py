"""Write the blocks of an archive.

The order of writing is what makes an archive safe to kill: metadata and coordinates first, then
the journal, then blocks, each followed by its entry in the journal. A block is encoded, written and
read back in one task; whatever has an entry is never encoded again.
"""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr

from tec_numcodecs.arguments import first_few
from tec_numcodecs.errors import TecError
from tec_numcodecs.weights.local_store import resolve
from tec_xarray.archive import template
from tec_xarray.archive.handle import Archive
from tec_xarray.archive.to_zarr import make_room
from tec_xarray.cube.layout import cube_of
from tec_xarray.encoding.provenance import note_achieved
from tec_xarray.execution.block import Job, write_block
from tec_xarray.execution.cluster import check_reach
from tec_xarray.execution.progress import Meter
from tec_xarray.execution.scheduler import How, Work, run
from tec_xarray.store import embedded_weights
from tec_xarray.store.codec_metadata import configuration
from tec_xarray.store.journal import WHOLE, Done, Journal, Result
from tec_xarray.store.lease import Lease, writing
from tec_xarray.store.location import WriteTarget
from tec_xarray.store.objects import block_shape
from tec_xarray.store.overlap import check_apart

MOST_SIDE = 4  # blocks along an axis that are thought to share a source chunk


def write(
    marked: xr.Dataset,
    target: WriteTarget,
    *,
    appendable: bool = False,
    how: How | None = None,
    source: tuple[tuple[int, ...], ...] | None = None,
    embed_weights: bool = False,
) -> None:
    """Write a marked dataset as an archive. This is ``compress(store=...)``.

    Parameters
    ----------
    marked : xarray.Dataset
        What `compress` returns without a store.
    target : WriteTarget
    appendable : bool
        Keep dates that do not fill a block without loss, until `append` brings more.
    how : How, optional
    source : tuple of tuple of int, optional
        The dask chunks of the cube before it was cut into blocks: neighbors that read the same
        ones are run together.
    embed_weights : bool
        Write a copy of the weights beside the cube.
    """
    place, how = target.location, how or How()
    check_reach(place.store)
    if target.exists():
        check_apart(marked, place, replaces=True)
    with writing(place, "compress", how.patience, replaces=target.mode == "w") as lease:
        make_room(target)
        _write(marked, target, lease, how, source, appendable, embed_weights)


def _write(
    marked: xr.Dataset,
    target: WriteTarget,
    lease: Lease,
    how: How,
    source: tuple[tuple[int, ...], ...] | None,
    appendable: bool,
    embed_weights: bool,
) -> None:
    place, cube = target.location, cube_of(marked)
    block = template.block_of(cube)
    template.write_template(marked, target)
    grid = [-(-cube.shape[i] // block[i]) for i in (0, 2, 3)]
    name = str(cube.name)
    notes = {
        "variable": name,
        "beside": template.beside(marked),
        "appendable": appendable,
        "dimensions": [str(dim) for dim in cube.dims],
        WHOLE: True,
        **({"embed_weights": True} if embed_weights else {}),
    }
    journal = Journal.create(place, (grid[0], grid[1], grid[2]), cube.shape[1], notes)
    array = place.array(name)
    archive = Archive(place, name, array, configuration(array), notes)
    bring_weights(archive)
    jobs = list(
        archive.jobs(cube.shape[0], 0, lossless_tail=appendable, tail=None, lease=lease.token)
    )
    go(archive, marked, jobs, journal, how, lease=lease, source=source)
    finish(archive, lease)


def bring_weights(archive: Archive) -> None:
    """Write the copy of the weights that was asked for when the archive was begun."""
    if archive.notes.get("embed_weights"):
        embedded_weights.embed(
            archive.place, resolve(archive.codec["weights"], archive.codec["model"])
        )


def finish(archive: Archive, lease: Lease) -> None:
    """Write down, where readers see it, what the archive has lost; nothing if it is not whole."""
    lease.check_now()
    note_achieved(archive.place.array(archive.variable, "r+"), Journal(archive.place))
    template.reconsolidate(archive.place)


def go(
    archive: Archive,
    marked: xr.Dataset,
    jobs: list[Job],
    journal: Journal,
    how: How,
    *,
    lease: Lease,
    origin: tuple[int, int, int] = (0, 0, 0),
    names: list[str] | None = None,
    source: tuple[tuple[int, ...], ...] | None = None,
    label: str = "compress",
) -> None:
    """Write blocks of a marked dataset."""
    work = work_of(archive, marked, jobs, write_block, origin=origin, names=names, source=source)
    before = journal.all() if len(jobs) < journal.states()[..., 0].size else []
    mine = {job.index for job in jobs}
    done = [d for d in before if d.index not in mine]
    total = sum(bytes_of_job(archive, job) for job in jobs)
    with Meter(label, len(jobs) + len(done), how.progress, done, total) as meter:

        def tell(done: Done) -> None:
            meter.tell(done)
            lease.check()

        run(work, how, tell)
    check_written(archive, jobs)
    lease.check_now()


def bytes_of_job(archive: Archive, job: Job) -> int:
    """Return what the samples of a block take in memory."""
    region = job.region(block_shape(archive.array))
    t, _, y, x = (part.stop - part.start if part.stop is not None else 0 for part in region)
    return int(t * archive.array.shape[1] * y * x * archive.array.dtype.itemsize)


def check_written(archive: Archive, jobs: list[Job]) -> None:
    """Read the journal again, from the store: whatever came back from workers, it has the word.

    Raises
    ------
    TecError
        Blocks are not there: tasks ran that wrote to something else.
    """
    states = Journal(archive.place).states()
    lacking = [
        job.index
        for job in jobs
        if tuple(states[job.index][:2]) != (job.dates[2] - job.dates[0], int(job.lossless))
    ]
    if lacking:
        raise TecError(
            f"{len(lacking)} of {len(jobs)} blocks were written, but not to "
            f"{archive.place.label}: its journal lacks {first_few([str(i) for i in lacking])}",
            fix="the processes that ran them have a copy of the store, not the store: write to a "
            "path or an object store, or use threads; then call tec_xarray.resume (after an "
            "append: the same append again)",
        )


def work_of(
    archive: Archive,
    marked: xr.Dataset,
    jobs: list[Job],
    task: Callable[..., Result],
    *,
    origin: tuple[int, int, int] = (0, 0, 0),
    names: list[str] | None = None,
    source: tuple[tuple[int, ...], ...] | None = None,
) -> Work:
    """Put together what to run."""
    cube = cube_of(marked)
    block = block_shape(archive.array)
    beside = {}
    for name in archive.notes["beside"] if names is None else names:
        variable = marked.variables[name]
        beside[name] = template.stored_values(variable, name, archive.place.array(name))
    sides = [1, 2, 2]
    if source is not None:
        for k, (axis, step) in enumerate(zip((0, 2, 3), (block[0], *block[2:]), strict=True)):
            sides[k] = min(-(-max(source[axis]) // step), MOST_SIDE)
    return Work(jobs, block, cube.data, beside, task, origin, (sides[0], sides[1], sides[2]))

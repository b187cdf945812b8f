"""Archives: written block by block on any Dask, resumed after a kill, grown by new dates.

>>> import tec_xarray, tec_xarray.tutorial, zarr
>>> scene = tec_xarray.tutorial.open_dataset("0173706")
>>> store = zarr.storage.MemoryStore()
>>> archive = scene.tec.compress(lam=20, store=store)
>>> tec_xarray.verify(store).ok
True

The order of writing is what makes an archive safe to kill: metadata and coordinates first, then
the journal, then blocks, each followed by its entry in the journal. A block is encoded, written and
read back in one task; whatever has an entry is never encoded again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr
import zarr
import zarr.storage

from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.weights.local_store import resolve
from tec_xarray.archive import template
from tec_xarray.archive.matching import mark_like
from tec_xarray.cube.layout import cube_of
from tec_xarray.encoding.provenance import note_achieved
from tec_xarray.execution.block import Job
from tec_xarray.execution.progress import Meter
from tec_xarray.execution.scheduler import How, Work, run
from tec_xarray.report.metrics import Scaling
from tec_xarray.store import embedded_weights
from tec_xarray.store.journal import ARRAYS, JOURNAL, Done, Journal
from tec_xarray.store.location import DAMAGED, AnyArray, Place, block_shape, damaged_metadata
from tec_xarray.store.reading import Target, configuration, open_store

MOST_SIDE = 4  # blocks along an axis that are thought to share a source chunk


@dataclass(frozen=True)
class Archive:
    """An archive that is there.

    Attributes
    ----------
    place : Place
    variable : str
        The name of the cube.
    array : zarr.Array
    codec : dict
        The configuration of the codec, as the metadata have it.
    notes : dict
        What the journal says about the whole: ``appendable``, ``beside``, an ``append`` that is
        under way.
    """

    place: Place
    variable: str
    array: AnyArray
    codec: dict[str, Any]
    notes: dict[str, Any]

    @classmethod
    def open(cls, place: Place, mode: str = "r") -> Archive:
        """Open it.

        Raises
        ------
        InvalidInput
            There is none, or none of ours.
        """
        journal = Journal(place)
        notes = journal.attrs
        array = place.array(str(notes["variable"]), mode)
        _check_cube(array, place)
        if journal.bands != array.shape[1]:
            found = ValueError(f"errors of {journal.bands} bands, for {array.shape[1]}")
            raise damaged_metadata(f"the journal in {place.label}", found)
        embedded_weights.ensure(place, configuration(array))
        return cls(place, str(notes["variable"]), array, configuration(array), notes)

    @property
    def pending(self) -> dict[str, Any] | None:
        """An append that was begun and not finished."""
        return self.notes.get("append")

    def dataset(self) -> xr.Dataset:
        """Open it with xarray, as readers do.

        Raises
        ------
        InvalidInput
            An append was interrupted at the one moment when variables differ in length, or
            metadata are damaged.
        """
        place = self.place
        target = Target(place.store, place.group, 3, "w-", None, place.storage_options)
        try:
            found = open_store(target)
        except DAMAGED as error:
            if self.pending and isinstance(error, ValueError):
                raise interrupted(self) from error
            raise damaged_metadata(place.label, error) from error
        nameless = [
            name
            for name, variable in found.variables.items()
            if not all(isinstance(dim, str) for dim in variable.dims)
        ]
        if nameless:
            raise damaged_metadata(place.label, ValueError(f"axes without names of {nameless}"))
        return found

    def jobs(self, dates: int, new: int, *, lossless_tail: bool, tail: str | None) -> Iterator[Job]:
        """List blocks from date `new` on, of a cube of `dates` dates."""
        block = block_shape(self.array)
        shape = (dates, *self.array.shape[1:])
        run = uuid.uuid4().hex
        for t in range(new // block[0], -(-dates // block[0])):
            first, stop = t * block[0], min((t + 1) * block[0], dates)
            for y in range(-(-shape[2] // block[2])):
                for x in range(-(-shape[3] // block[3])):
                    yield Job(
                        place=self.place,
                        variable=self.variable,
                        index=(t, y, x),
                        shape=shape,
                        dates=(first, max(first, new), stop),
                        lossless=lossless_tail and stop - first < block[0],
                        scaling=scaling(self.codec),
                        max_error=self.codec["max_error"],
                        tail=tail,
                        run=run,
                    )

    def check_complete(self) -> None:
        """Refuse to go on with an archive that was not finished."""
        shape, block = self.array.shape, block_shape(self.array)
        there = Journal(self.place).states()[: -(-shape[0] // block[0]), ..., 0] > 0
        if not there.all():
            raise InvalidInput(
                f"{self.place.label} lacks {int((~there).sum())} of {there.size} blocks",
                fix="finish it first: tec_xarray.resume(ds, store)",
            )


def _check_cube(array: AnyArray, place: Place) -> None:
    """Refuse what the journal calls the cube, and what is none of ours."""
    codec = configuration(array)
    if not codec or array.ndim != 4:
        raise InvalidInput(
            f"{array.path!r} with {array.ndim} axes, {'with' if codec else 'without'} our codec, "
            f"as the cube of {place.label}",
            allowed="(time, band, y, x), compressed by tec",
            fix="the metadata are damaged: restore them from a copy",
        )
    missing = set(CodecConfig.from_json(codec).to_json()) - set(codec)
    if missing:
        raise damaged_metadata(place.label, KeyError(", ".join(sorted(missing))))


def scaling(codec: Mapping[str, Any]) -> Scaling:
    """Read from a codec's configuration how values relate to DN."""
    nodata = codec["nodata"]
    return Scaling(codec["scale"], codec["offset"], None if nodata is None else float(nodata))


def write(
    marked: xr.Dataset,
    target: Target,
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
    target : Target
    appendable : bool
        Keep dates that do not fill a block without loss, until `append` brings more.
    how : How, optional
    source : tuple of tuple of int, optional
        The dask chunks of the cube before it was cut into blocks: neighbours that read the same
        ones are run together.
    embed_weights : bool
        Write a copy of the weights beside the cube.
    """
    place = Place.of(target.store, target.group, target.storage_options)
    cube = cube_of(marked)
    block = template.block_of(cube)
    template.write_template(marked, target)
    grid = [-(-cube.shape[i] // block[i]) for i in (0, 2, 3)]
    name = str(cube.name)
    notes = {
        "variable": name,
        "beside": template.beside(marked),
        "appendable": appendable,
        "dimensions": [str(dim) for dim in cube.dims],
        **({"embed_weights": True} if embed_weights else {}),
    }
    journal = Journal.create(place, (grid[0], grid[1], grid[2]), cube.shape[1], notes)
    archive = Archive(place, name, place.array(name), configuration(place.array(name)), notes)
    _bring_weights(archive)
    jobs = list(archive.jobs(cube.shape[0], 0, lossless_tail=appendable, tail=None))
    go(archive, marked, jobs, journal, how or How(), source=source)
    finish(archive)


def _bring_weights(archive: Archive) -> None:
    """Write the copy of the weights that was asked for when the archive was begun."""
    if archive.notes.get("embed_weights"):
        embedded_weights.embed(
            archive.place, resolve(archive.codec["weights"], archive.codec["model"])
        )


def finish(archive: Archive) -> None:
    """Write down, where readers see it, what the archive has lost; nothing if it is not whole."""
    note_achieved(archive.place.array(archive.variable, "r+"), Journal(archive.place))
    template.reconsolidate(archive.place)


def rewrite(marked: xr.Dataset, place: Place, region: Mapping[str, slice], how: How) -> list[str]:
    """Write blocks of an archive anew; return the variables that have been written.

    The region must consist of whole blocks; `write_region` has checked that.
    """
    archive, cube = Archive.open(place, "r+"), cube_of(marked)
    if archive.pending:
        raise interrupted(archive)
    shape, block = archive.array.shape, block_shape(archive.array)
    whole = [region.get(str(d), slice(None)).indices(n)[:2]
             for d, n in zip(cube.dims, shape, strict=True)]  # fmt: skip
    steps = (block[0], *block[2:])
    spans = [whole[0], *whole[2:]]

    def inside(index: tuple[int, ...]) -> bool:
        return all(a <= i * n < b for i, n, (a, b) in zip(index, steps, spans, strict=True))

    tail = bool(archive.notes["appendable"])
    jobs = [j for j in archive.jobs(shape[0], 0, lossless_tail=tail, tail=None) if inside(j.index)]
    journal = Journal(place, mode="r+")
    for job in jobs:
        journal.forget(job.index)
    origin = (spans[0][0], spans[1][0], spans[2][0])
    names = [n for n in archive.notes["beside"] if n in marked.variables]
    go(archive, marked, jobs, journal, how, origin=origin, names=names)
    finish(archive)
    return [archive.variable, *names]


def resume(
    data: xr.Dataset | xr.DataArray,
    store: Any,
    *,
    group: str | None = None,
    storage_options: dict[str, Any] | None = None,
    retries: int = 2,
    resources: Mapping[str, float] | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Finish an archive that was interrupted: write the blocks that its journal does not have.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        The same data from which the archive was begun, in any order of the bands; after an
        interrupted `append`, the same new dates.
    store, group, storage_options
        The archive.
    retries, resources, progress
        As of `tec_xarray.compress`.
    **settings
        Of `tec_xarray.compress`. They are taken from the archive and need not be given, but for
        `bands` and `variable`, where the data do not say these themselves.

    Returns
    -------
    xarray.Dataset
        The archive, opened.

    Raises
    ------
    InvalidInput
        There is no archive, or the data or settings are not its own.
    TecError
        Blocks failed; all others are written.
    """
    how = How(retries, resources, progress)
    place = Place.of(store, group, storage_options)
    archive = Archive.open(place, "r+")
    _sweep(place, archive)
    if archive.pending:
        from tec_xarray.archive.appending import append

        return append(
            data, store, group=group, storage_options=storage_options, retries=retries,
            resources=resources, progress=progress, **settings,
        )  # fmt: skip
    marked = mark_like(data, archive, settings)
    _check_dates(cube_of(marked), cube_of(archive.dataset()), place)
    journal = Journal(place, mode="r+")
    states = journal.states()
    tail = bool(archive.notes["appendable"])
    jobs = archive.jobs(archive.array.shape[0], 0, lossless_tail=tail, tail=None)
    missing = [job for job in jobs if not states[(*job.index, 0)]]
    _bring_weights(archive)
    go(archive, marked, missing, journal, how)
    finish(archive)
    return archive.dataset()


def begun(place: Place) -> str:
    """Tell how far writing an archive has come: to "nothing", a "template", or an "archive".

    A template is what a kill before the journal has left behind: `compress` made it, and it holds
    no object of a cube. Whatever else is there, is an archive, or is not ours to replace.
    """
    try:
        group = place.open()
    except InvalidInput:
        return "nothing"
    members = dict(group.members())
    journal = members.pop(JOURNAL, None)
    if isinstance(journal, zarr.Group) and set(journal.array_keys()) >= ARRAYS:
        return "archive"
    arrays = [array for array in members.values() if isinstance(array, zarr.Array)]
    cubes = [array for array in arrays if configuration(array)]
    ours = "tec_codec" in group.attrs and len(arrays) == len(members)
    if (ours or not (members or group.attrs)) and not any(a.nchunks_initialized for a in cubes):
        return "template"
    return "archive"


def go(
    archive: Archive,
    marked: xr.Dataset,
    jobs: list[Job],
    journal: Journal,
    how: How,
    *,
    origin: tuple[int, int, int] = (0, 0, 0),
    names: list[str] | None = None,
    source: tuple[tuple[int, ...], ...] | None = None,
    label: str = "compress",
) -> None:
    """Write blocks of a marked dataset."""
    work = work_of(archive, marked, jobs, origin=origin, names=names, source=source)
    before = journal.all() if len(jobs) < journal.states()[..., 0].size else []
    mine = {job.index for job in jobs}
    with Meter(label, len(jobs), how.progress, [d for d in before if d.index not in mine]) as meter:
        meter.blocks += meter.done

        def tell(done: Done) -> None:
            meter.tell(done)

        run(work, how, tell)


def work_of(
    archive: Archive,
    marked: xr.Dataset,
    jobs: list[Job],
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
    return Work(jobs, block, cube.data, beside, origin, (sides[0], sides[1], sides[2]))


def _check_dates(cube: xr.DataArray, there: xr.DataArray, place: Place) -> None:
    time = cube.dims[0]
    same = cube.shape[0] == there.shape[0]
    if same and time in cube.coords and time in there.coords:
        same = bool((cube[time].values == there[time].values).all())
    if not same:
        raise InvalidInput(
            f"{cube.shape[0]} dates that are not those of {place.label}",
            allowed=f"its {there.shape[0]} dates",
            fix="pass the data from which it was begun; to add dates, use tec_xarray.append",
        )


def interrupted(archive: Archive) -> InvalidInput:
    """Return the error that says that an append must be finished first."""
    pending = archive.pending or {}
    dates = pending.get("dates", [])
    return InvalidInput(
        f"an append to {archive.place.label} was interrupted",
        allowed=f"the same {len(dates)} dates once more: {', '.join(dates[:3])}"
        + (", ..." if len(dates) > 3 else ""),
        fix="call tec_xarray.append or tec_xarray.resume with these dates",
    )


def _sweep(place: Place, archive: Archive) -> None:
    """Remove the halves of files that a kill has left behind (local stores only)."""
    store = archive.array.store_path.store
    if isinstance(store, zarr.storage.LocalStore):
        for path in (store.root / place.path()).rglob("*.partial"):
            path.unlink(missing_ok=True)

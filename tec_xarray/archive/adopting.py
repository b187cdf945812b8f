"""Archives without a journal: what a plain ``to_zarr`` wrote, or what has lost its journal.

Before dates are added, every object is read once, its checksums are checked, and a journal is
written that says what is there. What the blocks lost when they were coded nobody knows any more:
their errors are NaN in the journal, and null in what `tec_xarray.info` says.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.sync import sync
from zarr.errors import ZarrUserWarning

from tec_numcodecs.chunk import decoding
from tec_numcodecs.chunk.container import Header, Mode
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import CorruptChunk, InvalidInput, TecError
from tec_xarray.archive.handle import Archive
from tec_xarray.execution.block import Job
from tec_xarray.execution.scheduler import How, Work, run
from tec_xarray.store import embedded_weights
from tec_xarray.store.codec_metadata import AnyArray, configuration
from tec_xarray.store.journal import ERRORS, JOURNAL, Done, Journal
from tec_xarray.store.location import DAMAGED, StoreLocation, member
from tec_xarray.store.objects import block_key, block_shape, digest, read_object
from tec_xarray.store.shard_index import chunks_of

METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")


def without_journal(place: StoreLocation, mode: str = "r") -> Archive:
    """Find the one compressed cube of a group that has no journal.

    Raises
    ------
    InvalidInput
        There is none, more than one, or nothing can be seen.
    """
    group = place.open(mode=mode)
    arrays = _arrays(group)
    if not arrays:  # it may be a store that cannot be listed
        arrays = list(consolidated(place).arrays())
    if not arrays:
        raise InvalidInput(
            f"nothing to be seen in {place.label}",
            allowed="a store that can be listed, or one with a journal or consolidated metadata",
            fix="zarr.consolidate_metadata(store), where it can be written",
        )
    found = [(name, array) for name, array in arrays if configuration(array)]
    if len(found) != 1:
        raise InvalidInput(
            f"{len(found)} compressed cubes in {place.label}",
            allowed="one",
            fix="pass group= if it lies in a group of the store",
        )
    name, array = found[0]
    embedded_weights.ensure(place, configuration(array))
    if mode != "r":
        array = place.array(name, mode)
    notes = {
        "variable": name,
        "beside": _beside(name, array, arrays),
        "appendable": False,
        "dimensions": dims_of(array),
    }
    return Archive(place, name, array, configuration(array), notes)


def _arrays(group: zarr.Group) -> list[tuple[str, AnyArray]]:
    """List the arrays of a group, but those whose metadata are damaged."""
    try:
        with warnings.catch_warnings():  # a lease lies where the journal will be
            warnings.filterwarnings("ignore", "Object at tec_journal", ZarrUserWarning)
            return list(group.arrays())
    except (*DAMAGED, OSError):
        found = []
        for name in sorted(sync(children(group.store_path)) - {JOURNAL}):
            with contextlib.suppress(InvalidInput):
                array = member(group, name)
                if isinstance(array, zarr.Array):
                    found.append((name, array))
        return found


async def children(path: Any) -> set[str]:
    """Name what is in a group, by the keys of the store."""
    found = {name.strip("/") async for name in path.store.list_dir(path.path)}
    return {name for name in found if name and name not in METADATA}


def consolidated(place: StoreLocation) -> zarr.Group:
    """Open the group with whatever consolidated metadata say is in it."""
    return zarr.open_group(
        place.store, path=place.path(), mode="r", storage_options=place.storage_options
    )


def dims_of(array: AnyArray) -> list[str]:
    """Return the names of an array's axes, in either format."""
    names: Any = getattr(array.metadata, "dimension_names", None)
    names = names or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    return [str(name) for name in names]


def _beside(name: str, cube: AnyArray, arrays: list[tuple[str, AnyArray]]) -> list[str]:
    """Name the variables that can be written block by block: no two blocks share a chunk of one."""
    dims, block = dims_of(cube), block_shape(cube)
    found = []
    for other, array in arrays:
        if other == name or dims_of(array) != [dims[i] for i in (0, 2, 3)]:
            continue
        steps = zip((block[0], *block[2:]), array.shards or array.chunks, strict=True)
        if array.dtype.kind in "iufbmM" and all(step % chunk == 0 for step, chunk in steps):
            found.append(other)
    return found


def adopt(archive: Archive, how: How) -> Journal:
    """Read all blocks of an archive, and write the journal that it lacks.

    Nothing is written before all has been read and found to be whole, and nothing at all if dates
    were to be added to a block that is coded with loss.

    Raises
    ------
    CorruptChunk
        An object is damaged.
    InvalidInput
        The last block is not full, and coded with loss.
    """
    array, place = archive.array, archive.place
    shape, block = array.shape, block_shape(array)
    jobs = list(archive.jobs(shape[0], 0, lossless_tail=False, tail=None))
    found: list[Done] = []
    run(Work(jobs, block, None, {}, look), how, found.append)
    tail = shape[0] % block[0]
    if tail and not all(d.lossless for d in found if d.dates == tail):
        raise coded_with_loss(place.label, shape[0], block[0])
    grid = tuple(-(-shape[i] // block[i]) for i in (0, 2, 3))
    journal = Journal.create(place, (grid[0], grid[1], grid[2]), shape[1], archive.notes)
    for done in found:
        journal.record(done)
    return journal


def coded_with_loss(label: str, dates: int, room: int) -> InvalidInput:
    """Return the error for dates that would be coded a second time, were others added to them."""
    return InvalidInput(
        f"the last {dates % room} of {dates} dates of {label} are coded with loss, in blocks for "
        f"{room}",
        allowed=f"whole blocks of {room} dates, or an appendable archive",
        fix="make it with compress(..., appendable=True), so that dates wait without loss until a "
        "block is full",
    )


def look(job: Job, values: NDArray[Any] | None, beside: Mapping[str, NDArray[Any]]) -> Done:  # noqa: ARG001
    """Say what is there of a block, without decoding it. Runs on a worker."""
    array = job.handles("r").array(job.variable)
    t, _, y, x = job.region(block_shape(array))
    size = (t.stop - t.start, array.shape[1], y.stop - y.start, x.stop - x.start)
    data = read_object(array, block_key(array, job.index))
    codec = CodecConfig.from_json(configuration(array))
    try:
        headers = [] if data is None else list(_headers(array, data))
    except TecError as error:
        raise CorruptChunk(
            f"block {job.index} of {job.place.label}: {error}",
            fix="restore it from a copy; `tec verify` shows what else is damaged",
        ) from error
    return Done(
        index=job.index,
        dates=size[0],
        lossless=size[0] < block_shape(array)[0] and all(_exact(h, codec) for h in headers),
        stored_bytes=len(data or b""),
        raw_bytes=math.prod(size) * array.dtype.itemsize,
        microseconds=0,
        digest=digest(data),
        errors=np.full((array.shape[1], len(ERRORS)), np.nan),
    )


def _headers(array: AnyArray, data: bytes) -> Iterator[Header]:
    for chunk in chunks_of(array, data):
        if chunk is not None:
            yield decoding.inspect(chunk).header


def _exact(header: Header, codec: CodecConfig) -> bool:
    """Tell whether a chunk has lost nothing; the rate with index 0 of our own models is that."""
    if codec.lossless or header.mode in (Mode.EMPTY, Mode.LOSSLESS):
        return True
    reversible = codec.spec.family.reversible
    return header.model is not None and reversible and header.model.rate_index == 0

"""Add dates to an archive, so that a kill at any moment loses nothing and codes nothing twice.

What is to be added is noted in the journal before anything else. Blocks are written behind the
dates that the metadata show, then the coordinates, then the metadata: readers see the old archive
until the very end. Dates that do not fill a block are kept in it without loss; when more arrive,
the block is coded once, from the exact values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from zarr.core.sync import sync

from tec_numcodecs.errors import InvalidInput
from tec_xarray.archive.adopting import adopt, coded_with_loss, without_journal
from tec_xarray.archive.handle import Archive, check_there, interrupted
from tec_xarray.archive.marking import mark_like
from tec_xarray.archive.template import stored_values
from tec_xarray.archive.writing import finish, go
from tec_xarray.cube.layout import cube_of
from tec_xarray.execution.block import make_tail, tail_of
from tec_xarray.execution.cluster import check_reach
from tec_xarray.execution.scheduler import How
from tec_xarray.store.codec_metadata import AnyArray
from tec_xarray.store.journal import Journal, has_journal
from tec_xarray.store.lease import WAIT, Lease, wait_for_writer, writing
from tec_xarray.store.location import StoreLocation, is_transaction
from tec_xarray.store.objects import block_shape, variant
from tec_xarray.store.overlap import check_apart


def append(
    data: xr.Dataset | xr.DataArray,
    store: Any,
    *,
    group: str | None = None,
    storage_options: dict[str, Any] | None = None,
    retries: int = 2,
    resources: Mapping[str, float] | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
    wait: float = WAIT,
    break_lease: bool = False,
    **settings: Any,
) -> xr.Dataset:
    """Add dates to an archive.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        New dates of the same pixels, bands (in any order) and variables; later than all that are
        there.
    store, group, storage_options
        The archive; best made with ``compress(..., appendable=True)``. What a plain ``to_zarr``
        wrote, or what has lost its journal, is read once and gets a journal first. What its blocks
        lost is not known then: their errors are NaN in the journal, None in `tec_xarray.info`.
    retries, resources, device, batch_size, progress, wait, break_lease
        As of `tec_xarray.compress`.
    **settings
        Of `tec_xarray.compress`: only what the data do not say themselves (`bands`, `variable`).

    Returns
    -------
    xarray.Dataset
        The archive, opened.

    Raises
    ------
    InvalidInput
        Dates that are there already or out of order, data that do not fit, or an archive whose
        last block is coded with loss and not full. Nothing has been written then.
    CorruptChunk
        Dates that wait, or a block of an archive without a journal, are damaged.
    TecError
        Blocks failed. The archive is as it was; the same call once more finishes the work.
    """
    how = How(retries, resources, progress, wait, break_lease, device, batch_size)
    place = StoreLocation.of(store, group, storage_options)
    check_reach(place.store)
    if not has_journal(place):
        wait_for_writer(place, how.patience)
    if has_journal(place):
        check_there(place, how.patience)
    else:
        without_journal(place)
    with writing(place, "append", how.patience) as lease:
        append_held(data, place, how, settings, lease)
    return Archive.open(place).dataset()


def append_held(
    data: xr.Dataset | xr.DataArray,
    place: StoreLocation,
    how: How,
    settings: Mapping[str, Any],
    lease: Lease,
) -> None:
    """Add dates to an archive whose lease is held."""
    known = has_journal(place)
    archive = Archive.open(place, "r+") if known else without_journal(place, "r+")
    if archive.pending is not None:
        _level(archive)
    marked = mark_like(data, archive, settings)
    check_apart(marked, place)
    cube = cube_of(marked)
    dates = _labels(cube)
    pending = archive.pending
    if pending is not None:
        if pending["dates"] != dates:
            raise interrupted(archive)
        first = int(pending["from"])
    else:
        first = archive.array.shape[0]
        _check_new(cube, archive, first)
        if known:
            archive.check_complete()
    stop = first + cube.shape[0]
    values = _beside_dates(marked, archive)
    block = block_shape(archive.array)
    journal = Journal(place, mode="r+") if known else adopt(archive, how)
    if pending is None:
        _check_tail(archive, journal, first, block[0])
        journal.note(append={"from": first, "to": stop, "dates": dates})
    journal.grow(-(-stop // block[0]))
    tail = f"tail_{first}"
    if first % block[0]:
        make_tail(archive.array, tail)
    if is_transaction(place.store):
        # It takes nothing behind the end, and shows nothing before the commit.
        list(_grow(archive, marked, values, stop))
    jobs = list(archive.jobs(stop, first, lossless_tail=True, tail=tail, lease=lease.token))
    go(archive, marked, jobs, journal, how, lease=lease, origin=(first, 0, 0), label="append")
    lease.check_now()
    _commit(archive, marked, values, first, stop)
    _remove(archive.array, tail)
    finish(archive, lease)
    journal.note(append=None, appendable=True)


def _labels(cube: xr.DataArray) -> list[str]:
    """Return dates as JSON can hold them."""
    time = cube.dims[0]
    if time not in cube.coords:
        return [f"#{i}" for i in range(cube.shape[0])]
    return [str(value) for value in cube[time].values]


def _check_new(cube: xr.DataArray, archive: Archive, first: int) -> None:
    """Refuse dates that are there, that are not in order, or that the stored units cannot hold."""
    time = str(cube.dims[0])
    if time not in cube.coords:
        return
    new = cube[time].values
    label = archive.place.label
    if not (new[1:] > new[:-1]).all():
        raise InvalidInput(
            f"dates that do not rise: {', '.join(_labels(cube)[:6])}",
            allowed="each date once, in order",
            fix="sort them with ds.sortby('time'), and merge duplicates (groupby solar day)",
        )
    there = _stored_times(archive, time)[:first]
    twice = np.isin(new, there)  # whatever their units: catalogs have ms, xarray reads ns
    if twice.any():
        names = [str(date) for date in new[twice]]
        raise InvalidInput(
            f"dates that {label} has already: {', '.join(names[:3])}"
            + (", ..." if len(names) > 3 else ""),
            allowed=f"dates after {there.max()}",
            fix="leave them out: ds.sel(time=~ds.time.isin(archive.time))",
        )
    if len(there) and new[0] <= there.max():
        raise InvalidInput(
            f"date {new[0]}, before the last one of {label}",
            allowed=f"dates after {there.max()}",
            fix="an archive grows at its end: write older dates to another one",
        )


def _stored_times(archive: Archive, time: str) -> Any:
    """Read the dates alone: in the middle of an append the rest may not fit together."""
    place = archive.place
    others = [name for name in place.open().array_keys() if name != time]
    stored = xr.open_zarr(
        place.store,
        group=place.group,
        chunks=None,
        consolidated=False,
        drop_variables=others,
        storage_options=place.storage_options,
    )
    return stored[time].values


def _check_tail(archive: Archive, journal: Journal, first: int, room: int) -> None:
    """Refuse to add to a block that is coded with loss: its dates would be coded once more."""
    if first % room == 0:
        return
    last = journal.states()[first // room]
    if not last[..., 1].all():
        raise coded_with_loss(archive.place.label, first, room)


def _level(archive: Archive) -> None:
    """Finish what a kill has interrupted between the first and the last change of a length."""
    time, pending = str(archive.notes["dimensions"][0]), archive.pending or {}
    found = []
    for _, array in archive.place.open(mode="r+").arrays():
        names: Any = getattr(array.metadata, "dimension_names", None)
        names = names or array.attrs.get("_ARRAY_DIMENSIONS") or ()
        if time in names:
            found.append((array, list(names).index(time)))
    if any(array.shape[axis] == pending["to"] for array, axis in found):
        for array, axis in found:
            shape = [pending["to"] if i == axis else n for i, n in enumerate(array.shape)]
            array.resize(tuple(shape))


def _beside_dates(marked: xr.Dataset, archive: Archive) -> dict[str, Any]:
    """Return the values, as they are stored, of what belongs to dates: coordinates and the like.

    Raises
    ------
    InvalidInput
        They cannot be stored as those that are there.
    """
    time = str(cube_of(marked).dims[0])
    found = {}
    for name, variable in marked.variables.items():
        if time in variable.dims and name != archive.variable:
            array = archive.place.array(str(name))
            values = stored_values(variable, str(name), array)
            if name not in archive.notes["beside"]:
                found[str(name)] = np.asarray(values)
    return found


def _commit(
    archive: Archive, marked: xr.Dataset, values: Mapping[str, Any], first: int, stop: int
) -> None:
    """Make new dates visible, the coordinates first and the cube last. Can be repeated."""
    for name, array, axis in _grow(archive, marked, values, stop):
        if name in values:
            variant(array)[(slice(None),) * axis + (slice(first, stop),)] = values[name]


def _grow(
    archive: Archive, marked: xr.Dataset, values: Mapping[str, Any], stop: int
) -> Iterator[tuple[str, AnyArray, int]]:
    """Change the length of everything that belongs to dates; yields each, and its axis of time."""
    time = str(cube_of(marked).dims[0])
    for name in [*values, *archive.notes["beside"], archive.variable]:
        if time not in marked[name].dims:
            continue
        axis = marked.variables[name].dims.index(time)
        array = archive.place.array(name, "r+")
        if array.shape[axis] < stop:
            array.resize(tuple(stop if i == axis else n for i, n in enumerate(array.shape)))
        yield name, array, axis


def _remove(array: AnyArray, tail: str) -> None:
    """Remove copies of a tail; the block that replaced it is written and noted."""
    place = tail_of(array, tail).store_path
    sync(place.store.delete_dir(place.path))

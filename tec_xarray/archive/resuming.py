"""Finish an archive that was interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr
import zarr
import zarr.storage

from tec_numcodecs.errors import InvalidInput
from tec_xarray.archive.appending import append_held
from tec_xarray.archive.handle import Archive, check_there
from tec_xarray.archive.marking import mark_like
from tec_xarray.archive.matching import check_dates
from tec_xarray.archive.writing import bring_weights, finish, go
from tec_xarray.cube.layout import cube_of
from tec_xarray.execution.cluster import check_reach
from tec_xarray.execution.scheduler import How
from tec_xarray.store.codec_metadata import configuration
from tec_xarray.store.journal import ARRAYS, JOURNAL, Journal
from tec_xarray.store.lease import WAIT, Lease, writing
from tec_xarray.store.location import StoreLocation
from tec_xarray.store.overlap import check_apart


def resume(
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
    """Finish an archive that was interrupted: write the blocks that its journal does not have.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        The same data from which the archive was begun, in any order of the bands; after an
        interrupted `append`, the same new dates.
    store, group, storage_options
        The archive.
    retries, resources, device, batch_size, progress, wait, break_lease
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
    how = How(retries, resources, progress, wait, break_lease, device, batch_size)
    place = StoreLocation.of(store, group, storage_options)
    check_reach(place.store)
    check_there(place, how.patience)
    with writing(place, "resume", how.patience) as lease:
        archive = Archive.open(place, "r+")
        _remove_partial_files(place, archive)
        if archive.pending:
            append_held(data, place, how, settings, lease)
        else:
            _resume(data, archive, how, settings, lease)
    return Archive.open(place).dataset()


def _resume(
    data: xr.Dataset | xr.DataArray,
    archive: Archive,
    how: How,
    settings: Mapping[str, Any],
    lease: Lease,
) -> None:
    place = archive.place
    marked = mark_like(data, archive, settings)
    check_apart(marked, place)
    check_dates(cube_of(marked), cube_of(archive.stored()), place.label)
    journal = Journal(place, mode="r+")
    states = journal.states()
    jobs = archive.jobs(
        archive.array.shape[0],
        0,
        lossless_tail=bool(archive.notes["appendable"]),
        tail=None,
        lease=lease.token,
    )
    missing = [job for job in jobs if not states[(*job.index, 0)]]
    bring_weights(archive)
    go(archive, marked, missing, journal, how, lease=lease)
    finish(archive, lease)


def begun(place: StoreLocation) -> str:
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


def _remove_partial_files(place: StoreLocation, archive: Archive) -> None:
    """Remove the halves of files that a kill has left behind (local stores only)."""
    store = archive.array.store_path.store
    if isinstance(store, zarr.storage.LocalStore):
        for path in (store.root / place.path()).rglob("*.partial"):
            path.unlink(missing_ok=True)

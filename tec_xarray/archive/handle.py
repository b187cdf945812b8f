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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import xarray as xr

from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.units import DNScaling
from tec_xarray.execution.block import Job
from tec_xarray.store import embedded_weights
from tec_xarray.store.codec_metadata import AnyArray, configuration
from tec_xarray.store.journal import Journal
from tec_xarray.store.lease import Patience, wait_for_writer
from tec_xarray.store.location import DAMAGED, StoreLocation, damaged_metadata
from tec_xarray.store.objects import block_shape
from tec_xarray.store.reading import open_store


@dataclass(frozen=True)
class Archive:
    """An archive that is there.

    Attributes
    ----------
    place : StoreLocation
    variable : str
        The name of the cube.
    array : zarr.Array
    codec : dict
        The configuration of the codec, as the metadata have it.
    notes : dict
        What the journal says about the whole: ``appendable``, ``beside``, an ``append`` that is
        under way.
    """

    place: StoreLocation
    variable: str
    array: AnyArray
    codec: dict[str, Any]
    notes: dict[str, Any]

    @classmethod
    def open(cls, place: StoreLocation, mode: str = "r") -> Archive:
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

    def dataset(self, *, mask_and_scale: bool = True) -> xr.Dataset:
        """Open it with xarray, as readers do.

        Raises
        ------
        InvalidInput
            An append was interrupted at the one moment when variables differ in length, or
            metadata are damaged.
        """
        place = self.place
        try:
            found = open_store(place, mask_and_scale=mask_and_scale)
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

    def stored(self) -> xr.Dataset:
        """Open it as it is stored: attributes that scale or mask values change none of them.

        Raises
        ------
        InvalidInput
            As `dataset`.
        """
        return self.dataset(mask_and_scale=False)

    def jobs(
        self, dates: int, new: int, *, lossless_tail: bool, tail: str | None, lease: str = ""
    ) -> Iterator[Job]:
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
                        scaling=DNScaling.of_codec(self.codec),
                        max_error=self.codec["max_error"],
                        tail=tail,
                        run=run,
                        lease=lease,
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


def _check_cube(array: AnyArray, place: StoreLocation) -> None:
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


def check_there(place: StoreLocation, patience: Patience) -> None:
    """Refuse what is no archive before a lease is written; somebody may just be replacing one.

    Raises
    ------
    InvalidInput
        There is none, or somebody writes and does not finish in time.
    """
    try:
        Archive.open(place, "r+")
    except InvalidInput:
        wait_for_writer(place, patience)
        Archive.open(place, "r+")


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

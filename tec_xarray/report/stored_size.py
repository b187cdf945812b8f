"""What a cube takes in its store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import zarr

from tec_numcodecs.errors import InvalidInput
from tec_xarray.store.codec_metadata import configuration
from tec_xarray.store.journal import JOURNAL, STATE, Journal, has_journal
from tec_xarray.store.location import StoreLocation, label_of


@dataclass(frozen=True)
class Stored:
    """One array as it is stored.

    Attributes
    ----------
    bytes, other_bytes : int
        Of the array's objects (chunks, or shards with their indices), and of all else in its group:
        metadata, coordinates, journal. Together they are what ``du`` would count.
    dtype : numpy.dtype
        Of the values stored; xarray may give others (mask_and_scale).
    chunks : tuple of int
        The shape of what is coded at once.
    codec : dict
        The configuration of our codec; empty if the array does not have it.
    dates_waiting : int
        How many dates are kept without loss until more arrive.
    """

    bytes: int
    other_bytes: int
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    codec: dict[str, Any]
    dates_waiting: int = 0


def find_stored(
    data: xr.Dataset,
    cube: xr.DataArray,
    *,
    store: Any,
    group: str | None,
    storage_options: dict[str, Any] | None,
) -> Stored:
    """Look up the array behind a variable that was opened from a store.

    Raises
    ------
    InvalidInput
        The store is not known, cannot be opened or does not have that array.
    """
    root, array = find_array(data, cube, store=store, group=group, storage_options=storage_options)
    own, other = bytes_of(root, array)
    if own <= 0:  # a static web server lists nothing: the journal knows what blocks take
        own, other = _journal_bytes(root), 0
    return Stored(
        bytes=own,
        other_bytes=other,
        dtype=np.dtype(array.dtype),
        chunks=tuple(array.chunks),
        codec=configuration(array),
        dates_waiting=_dates_waiting(root),
    )


def find_array(
    data: xr.Dataset,
    cube: xr.DataArray,
    *,
    store: Any,
    group: str | None,
    storage_options: dict[str, Any] | None,
) -> tuple[zarr.Group, zarr.Array[Any]]:
    """Open the group and the array behind a variable; as `find_stored`."""
    place = store if store is not None else data.encoding.get("tec_store")
    place = data.encoding.get("source") if place is None else place
    if place is None:
        raise InvalidInput(
            "the data do not say which store they come from",
            allowed="a dataset opened from a store",
            fix="write it first: ds.tec.compress(store=...), or pass store= with what you opened",
        )
    path = group if group is not None else data.encoding.get("tec_group")
    try:
        root = StoreLocation.of(place, path, storage_options).open()
        array = root[str(cube.name)]
    except KeyError as error:
        raise InvalidInput(
            f"no array {cube.name!r} in {label_of(place)}",
            allowed="the store that the data were opened from",
            fix="pass store= and group= as you opened it",
        ) from error
    if not isinstance(array, zarr.Array) or array.shape != cube.shape:
        raise InvalidInput(
            f"{cube.name!r} has shape {cube.shape}, but another in {label_of(place)}",
            allowed="the whole array, as it was opened",
            fix="report on the whole cube, or compress the part to a store of its own",
        )
    return root, array


def _journal_bytes(root: zarr.Group) -> int:
    """Return the size of all blocks that are written down.

    Raises
    ------
    InvalidInput
        There is no journal: nobody can tell.
    """
    location = StoreLocation(root.store, root.path or None)
    if not has_journal(location):
        raise InvalidInput(
            f"the size of what is in {label_of(root.store)} cannot be found out",
            allowed="a store that can be listed, or an archive with a journal",
            fix="copy the store to a disk, and open it there",
        )
    return sum(done.stored_bytes for done in Journal(location).all())


def bytes_of(group: zarr.Group, array: zarr.Array[Any]) -> tuple[int, int]:
    """Return the bytes of an array's objects, and of everything else in its group."""
    from zarr.core.sync import sync

    metadata = 0
    for name in ("zarr.json", ".zarray", ".zattrs"):
        try:
            place = array.store_path / name
            metadata += int(sync(place.store.getsize(place.path)))
        except FileNotFoundError:
            continue
    own = int(array.nbytes_stored()) - metadata
    return own, int(sync(group.store.getsize_prefix(group.path))) - own


def _dates_waiting(group: zarr.Group) -> int:
    """Return how many dates the journal has as kept without loss; 0 where there is none."""
    states = group.get(f"{JOURNAL}/state")
    if not isinstance(states, zarr.Array):
        return 0
    found = np.asarray(states[:])
    dates, lossless = (found[..., STATE.index(name)] for name in ("dates", "lossless"))
    return int(dates[lossless > 0].max(initial=0))

"""The journal of an archive: which blocks are there, what they cost and what they lost.

A group beside the cube, made of ordinary Zarr arrays over the grid of blocks (time, y, x), one
chunk for each block: object stores cannot append to a file, and writers must not race. Digest and
errors of a block are written after its data, and its state last of all, so that a block that has a
state is complete. Everybody can read it with Zarr alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from tec_numcodecs.arguments import shown
from tec_numcodecs.errors import InvalidInput
from tec_xarray.store.codec_metadata import AnyArray
from tec_xarray.store.location import DAMAGED, StoreLocation, damaged_metadata, member
from tec_xarray.store.objects import Index

JOURNAL = "tec_journal"
VERSION = 1

STATE = ("dates", "lossless", "stored_bytes", "raw_bytes", "microseconds")
ERRORS = ("samples", "square", "peak")  # for each band: valid, sum of squares in DN, largest in DN
ARRAYS = frozenset({"state", "digest", "errors"})
_NOTES = {"variable": str, "beside": list, "appendable": bool, "dimensions": list}
#: The note that every chunk of every variable beside the cube has an object, all zeros or not.
WHOLE = "every_chunk_stored"
_GRID = ("time_block", "y_block", "x_block")


class Result:
    """What a task on a block returns."""

    index: Index


@dataclass(frozen=True)
class Done(Result):
    """What is known of a block that is written.

    Attributes
    ----------
    index : tuple of int
        Of the block, along (time, y, x).
    dates : int
        How many it holds; fewer than it has room for at the end of the cube.
    lossless : bool
        Whether it waits, without loss, for more dates.
    stored_bytes, raw_bytes : int
        The object in the store, and the values in memory.
    microseconds : int
        That it took to encode, write and check.
    digest : bytes
        SHA-256 of the object as stored.
    errors : float64, shape (C, 3)
        For each band: valid samples, sum of squared errors, largest error; in DN.
    again : bool
        Whether it was there already when it was asked for.
    """

    index: Index
    dates: int
    lossless: bool
    stored_bytes: int
    raw_bytes: int
    microseconds: int
    digest: bytes
    errors: NDArray[np.float64]
    again: bool = False


class Journal:
    """The journal of the archive at a place."""

    def __init__(self, place: StoreLocation, *, mode: str = "r", group: Any = None) -> None:
        # `group` is that of the journal, where it is open already.
        found = member(place.open(mode=mode), JOURNAL) if group is None else group
        self._group = _checked(found, place)
        self.state: AnyArray = self._array("state")
        self.digests: AnyArray = self._array("digest")
        self.errors: AnyArray = self._array("errors")
        self._check_shapes(place)

    def _array(self, name: str) -> AnyArray:
        found = member(self._group, name)
        if not isinstance(found, zarr.Array):
            raise InvalidInput(
                f"a journal without {name!r}",
                allowed=", ".join(sorted(ARRAYS)),
                fix="compress was stopped before its first block: write it anew with mode='w'",
            )
        return found

    def _check_shapes(self, place: StoreLocation) -> None:
        """Of a block; how many blocks there are may differ while an append is under way."""
        for array, block in (
            (self.state, (len(STATE),)),
            (self.digests, (32,)),
            (self.errors, (*self.errors.shape[3:4], len(ERRORS))),
        ):
            if array.ndim != len(_GRID) + len(block) or array.shape[len(_GRID) :] != block:
                found = ValueError(f"{array.basename} of shape {array.shape}")
                raise damaged_metadata(f"{JOURNAL!r} in {place.label}", found)

    @classmethod
    def create(
        cls, place: StoreLocation, grid: Index, bands: int, attributes: Mapping[str, Any]
    ) -> Journal:
        """Begin the journal of a cube of `grid` blocks."""
        group = place.open(mode="r+")
        version = group.metadata.zarr_format
        made = group.create_group(JOURNAL, attributes={"version": VERSION, **attributes})
        for name, dtype, extra, dims, columns in (
            ("state", "int64", (len(STATE),), ("column",), STATE),
            ("digest", "uint8", (32,), ("byte",), None),
            ("errors", "float64", (bands, len(ERRORS)), ("band", "error"), ERRORS),
        ):
            labels = [*_GRID, *dims]
            named: dict[str, Any] = {"attributes": {"columns": list(columns)} if columns else {}}
            if version == 3:
                named["dimension_names"] = labels
                named["compressors"] = ZstdCodec(checksum=True)
            else:
                named["attributes"]["_ARRAY_DIMENSIONS"] = labels
            made.create_array(
                name,
                shape=(*grid, *extra),
                chunks=(1, 1, 1, *extra),
                dtype=dtype,
                fill_value=0,
                **named,
            )
        return cls(place, mode="r+")

    @property
    def attrs(self) -> dict[str, Any]:
        """What was written down about the whole archive."""
        return dict(self._group.attrs)

    def note(self, **attributes: Any) -> None:
        """Write something down about the whole archive; None removes it."""
        kept = {**self._group.attrs, **attributes}
        self._group.attrs.put({k: v for k, v in kept.items() if v is not None})

    @property
    def bands(self) -> int:
        """How many bands it has errors of."""
        return self.errors.shape[3]

    @property
    def grid(self) -> Index:
        """How many blocks there are along (time, y, x)."""
        t, y, x = self.state.shape[:3]
        return t, y, x

    def grow(self, blocks: int) -> None:
        """Make room for more blocks along time."""
        for array in (self.errors, self.digests, self.state):
            if array.shape[0] < blocks:
                array.resize((blocks, *array.shape[1:]))

    def record(self, done: Done) -> None:
        """Write down a block, its state last."""
        self.errors[done.index] = done.errors
        self.digests[done.index] = np.frombuffer(done.digest, np.uint8)
        self.state[done.index] = np.array([getattr(done, name) for name in STATE], np.int64)

    def forget(self, index: Index) -> None:
        """Take a block back, because it will be replaced."""
        self.state[index] = np.zeros(len(STATE), np.int64)

    def states(self) -> NDArray[np.int64]:
        """Return the states of all blocks, shape (t, y, x, columns); all 0: not there."""
        return _read(self.state).astype(np.int64)

    def find(self, index: Index) -> Done | None:
        """Return what is known of a block."""
        state = np.asarray(self.state[index], np.int64)
        if not state[0]:
            return None
        return _done(index, state, np.asarray(self.digests[index]), np.asarray(self.errors[index]))

    def all(self) -> list[Done]:
        """Return what is known of every block that is there, in order."""
        states = self.states()
        digests, errors = _read(self.digests), _read(self.errors)
        found = np.argwhere(states[..., 0] > 0).tolist()
        places: list[Index] = [(t, y, x) for t, y, x in found]
        return [_done(i, states[i], digests[i], errors[i]) for i in places]


def has_journal(place: StoreLocation) -> bool:
    """Tell whether there is one."""
    return member(place.open(), JOURNAL) is not None


def _read(array: AnyArray) -> NDArray[Any]:
    """Read an array of the journal whole."""
    try:
        return np.asarray(array[:])
    except DAMAGED as error:
        raise damaged_metadata(repr(array.path), error) from error


def _checked(group: Any, place: StoreLocation) -> zarr.Group:
    if not isinstance(group, zarr.Group):
        raise InvalidInput(
            f"{place.label} has no journal",
            allowed="an archive that compress(store=...) or `tec compress` wrote",
            fix="plain to_zarr writes none, neither does a compress that was stopped before its "
            "first block: write it anew with compress(store=..., mode='w')",
        )
    version = group.attrs.get("version")
    if version != VERSION:
        raise InvalidInput(
            f"a journal of version {version}",
            allowed=str(VERSION),
            fix="a newer tec-xarray wrote it: pip install -U tec-xarray",
        )
    for name, kind in _NOTES.items():
        if not isinstance(group.attrs.get(name), kind):
            found = KeyError(f"{name} = {shown(group.attrs.get(name))}")
            raise damaged_metadata(f"{JOURNAL!r} in {place.label}", found)
    return group


def _done(
    index: Index, state: NDArray[np.int64], digest: NDArray[Any], errors: NDArray[Any]
) -> Done:
    values = dict(zip(STATE, state.tolist(), strict=True))
    return Done(
        index=index,
        dates=values["dates"],
        lossless=bool(values["lossless"]),
        stored_bytes=values["stored_bytes"],
        raw_bytes=values["raw_bytes"],
        microseconds=values["microseconds"],
        digest=digest.astype(np.uint8).tobytes(),
        errors=errors.astype(np.float64),
    )

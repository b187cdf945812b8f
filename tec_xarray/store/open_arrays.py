"""The arrays of an archive, opened once for each run in each process.

Opening an array takes a dozen requests of an object store, and a block would open four of them.
What an array's metadata say does not change in a run, so they are read once.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Any

import zarr

from tec_numcodecs.errors import InvalidInput
from tec_xarray.store.codec_metadata import AnyArray, writable
from tec_xarray.store.journal import JOURNAL, Journal
from tec_xarray.store.lease import holds
from tec_xarray.store.location import StoreLocation, member

_MOST = 2  # runs that a process remembers

_lock = threading.Lock()
_known: OrderedDict[tuple[str, str], Handles] = OrderedDict()


def _after_fork() -> None:
    """A child must not wait for a lock of its parent, nor share connections with it."""
    global _lock
    _lock = threading.Lock()
    _known.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Handles:
    """A group, its journal and its arrays, open.

    Parameters
    ----------
    place : StoreLocation
    mode : str
        ``"r"`` or ``"r+"``.
    """

    def __init__(self, place: StoreLocation, mode: Any) -> None:
        self._place, self._group, self._mode = place, place.open(mode=mode), mode
        self._arrays: dict[str, AnyArray] = {}
        self.journal = self._journal()

    @classmethod
    def of(cls, place: StoreLocation, run: str, mode: Any) -> Handles:
        """Return those of a run, which has a name of its own; without one, new ones."""
        with _lock:
            found = _known.get((run, mode))
            if found is None:
                found = cls(place, mode)
                if run:
                    _known[run, mode] = found
                    while len(_known) > _MOST:
                        _known.popitem(last=False)
            return found

    def _journal(self) -> Journal | None:
        """Open the journal; who only reads goes on without one that cannot be read."""
        try:
            found = member(self._group, JOURNAL)
            return Journal(self._place, group=found) if found is not None else None
        except (InvalidInput, OSError):
            if self._mode != "r":
                raise
            return None

    def check_lease(self, token: str) -> None:
        """Refuse to write for a writer that has lost its lease, if it has one at all."""
        if token:
            holds(self._group.store_path, token)

    def array(self, name: str) -> AnyArray:
        """Return an array of the group."""
        if name not in self._arrays:
            found = self._group.get(name)
            if not isinstance(found, zarr.Array):
                raise InvalidInput(
                    f"no array {name!r} in {self._place.label}",
                    allowed=", ".join(sorted(self._group.array_keys())),
                )
            self._arrays[name] = found if self._mode == "r" else writable(found)
        return self._arrays[name]

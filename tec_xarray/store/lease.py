"""One writer of an archive at a time: a lease in the store that says who writes.

A lease is an object below the journal, created under the condition that there is none: by name on
a disk (a hard link), with If-None-Match in an object store. Its owner renews it; whoever waits sees
by its own clock whether that still happens, so clocks of machines need not agree. A lease of a
process that is known to be gone is taken over at once, one that is not renewed for `EXPIRY` seconds
after that time. Workers look at it before they write a block: a writer that lost its lease (its
machine slept, say) writes nothing more.

Where a store knows no condition, a writer waits a moment after writing its lease and looks whose it
has become; all see the same. Stores with transactions (icechunk) keep writers apart by themselves.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import zarr.storage
from zarr.abc.store import Store
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tec_numcodecs.arguments import number, switch
from tec_numcodecs.errors import InvalidInput, TecError
from tec_numcodecs.redaction import for_message
from tec_xarray.store.lease_note import Note, claim, is_gone, new_note, now, release, token_of
from tec_xarray.store.lease_object import LeaseObject
from tec_xarray.store.location import StoreLocation, is_transaction, joined

logger = logging.getLogger(__name__)

WAIT = 90.0  # seconds that a second writer waits; more than a lease lives
EXPIRY = 60.0  # seconds without renewal after which a writer is taken to be gone
RENEWAL = 10.0  # seconds between renewals
_POLL = 0.2
_GRACE = 10.0  # seconds for a store in which a lease neither stays nor is another's
#: Below the journal's first array, where no reader of Zarr looks for members of a group.
KEY = "tec_journal/state/.writer"
_METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")
_FIX = (
    "wait for it (wait=600 seconds; --wait 600), or, if that writer is gone for good, take its "
    "place: break_lease=True (--break-lease)"
)


class Busy(InvalidInput):
    """Somebody else writes, and did not finish in time."""


@dataclass(frozen=True)
class Patience:
    """What a writer does about another one.

    Attributes
    ----------
    wait : float
        Seconds to wait for it; 0: refuse at once.
    break_lease : bool
        Take its place without asking.
    """

    wait: float = WAIT
    break_lease: bool = False

    def __post_init__(self) -> None:
        """Refuse what a caller of `tec_xarray.compress` cannot have meant."""
        wait = number("wait", self.wait)
        if wait < 0:
            raise InvalidInput(f"wait={wait:g}", allowed="0 or more seconds")
        switch("break_lease", self.break_lease)


class Lease:
    """A lease that is held. Its token goes to workers; the empty one is that of no lease."""

    def __init__(self, objects: LeaseObject | None, note: Note | None) -> None:
        self._objects, self._note = objects, note
        self.token = note.token if note is not None else ""
        self._lost: str | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """Refuse to go on once somebody else has taken the lease.

        Raises
        ------
        TecError
            It is not ours any more.
        """
        if self._lost is not None:
            raise lost(self._lost)

    def check_now(self) -> None:
        """Look into the store, and refuse as `check` does."""
        if self._objects is not None:
            self._look()
        self.check()

    def start(self) -> None:
        """Renew it from a thread from now on."""
        self._thread = threading.Thread(target=self._renew, name="tec-lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give it back."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        if self._objects is None:
            return
        # What ended the work may end this, too: its error is not the one to tell.
        with contextlib.suppress(Exception):
            if token_of(self._objects.read()) == self.token:
                self._objects.remove()

    def _look(self) -> None:
        if self._objects is None:
            return
        data = self._objects.read()
        if token_of(data) != self.token:
            self._lost = str(Note.of(data or b"") or "nobody that can be named")

    def _renew(self) -> None:
        count = 0
        while not self._end.wait(RENEWAL):
            if self._objects is None or self._note is None:
                return
            try:
                self._look()
                if self._lost is not None:
                    return
                count += 1
                note = Note(**(self._note.__dict__ | {"renewed": now(), "count": count}))
                self._objects.write(note.to_bytes())
            except Exception as error:  # noqa: BLE001  the network; it is tried again
                logger.warning("the lease could not be renewed: %s", for_message(str(error)))


def lost(owner: str) -> TecError:
    """Return the error of a writer whose lease somebody else has."""
    return TecError(
        f"this writer has lost its lease to {owner}: it did not renew it for {EXPIRY:.0f} s, or it "
        "was broken on purpose",
        fix="what it has written is noted; when the other one is done, call tec_xarray.resume "
        "(after an append: the same append again)",
    )


@contextlib.contextmanager
def writing(
    place: StoreLocation, doing: str, patience: Patience | None = None, *, replaces: bool = False
) -> Iterator[Lease]:
    """Hold the lease of a group, for the length of a block.

    Parameters
    ----------
    place : StoreLocation
    doing : str
        What others are told, "append" for example.
    patience : Patience, optional
    replaces : bool
        Whether all below the group is to be replaced: writers of groups in it are waited for, too.

    Raises
    ------
    Busy
        Another writer has it.
    """
    if is_transaction(place.store) or _is_written_once(place.store):
        yield Lease(None, None)
        return
    patience = patience or Patience()
    lease = _acquire(place, doing, patience, replaces=replaces)
    try:
        lease.start()
        yield lease
    finally:
        release(lease.token)
        lease.stop()


def wait_for_writer(place: StoreLocation, patience: Patience | None = None) -> None:
    """Wait until nobody writes to a group, in it or around it, to read a whole of it.

    Raises
    ------
    Busy
        Somebody still does.
    """
    if is_transaction(place.store) or _is_written_once(place.store):
        return
    others = _Others(place.store_path(), place.group or "", below=True)
    with contextlib.suppress(PermissionError):  # then nobody can know, and reading goes on
        others.wait(patience or Patience(), place.label)


def holds(root: zarr.storage.StorePath, token: str) -> None:
    """Refuse to write for a writer that has lost its lease. Called on workers.

    Raises
    ------
    TecError
        The lease in the group is another one.
    """
    data = LeaseObject(root / KEY).read()
    if token_of(data) != token:
        raise lost(str(Note.of(data or b"") or "nobody that can be named"))


def is_lease(key: str) -> bool:
    """Tell whether a key is that of a lease, or a half of one."""
    return f"/{key}".rpartition("/tec_journal/state/")[2].startswith(KEY.rpartition("/")[2])


# -- taking it --------------------------------------------------------------------------------


def _acquire(place: StoreLocation, doing: str, patience: Patience, *, replaces: bool) -> Lease:
    root = place.store_path()
    objects = LeaseObject(root / place.path(KEY))
    others = _Others(root, place.group or "", below=replaces)
    end = time.monotonic() + patience.wait
    seen = _Seen()
    while True:
        data = objects.read()
        note = new_note(doing)
        if data is None or patience.break_lease or seen.is_dead(data):
            if data is not None:
                logger.warning("taking over from %s: %s", place.label, Note.of(data) or "no lease")
            claim(note)
            if _take(objects, note, data) and not others.living(seen, patience):
                return Lease(objects, note)
            release(note.token)
            if token_of(objects.read()) == note.token:
                objects.remove()  # somebody else is above or below; both step back
            data = objects.read() or others.living(seen, patience)
            patience = Patience(patience.wait)  # broken once; who comes now is alive
        if time.monotonic() >= end + (0 if data is not None else _GRACE):
            raise _busy(place.label, data or b"", patience.wait)
        seen.tell(place.label, data)
        time.sleep(_POLL * (0.5 + random.random()))  # noqa: S311 (so that two do not keep in step)


def _take(objects: LeaseObject, note: Note, dead: bytes | None) -> bool:
    """Create the lease, or replace a dead one; tell whether it has become ours."""
    if dead is None:
        sure = objects.create(note.to_bytes())
        if sure is not None:
            return sure
    elif objects.read() != dead:
        return False
    else:
        objects.write(note.to_bytes())
    time.sleep(objects.settle)
    return token_of(objects.read()) == note.token


class _Seen:
    """What a waiting writer has seen of leases, by its own clock."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[bytes, float]] = {}
        self._told: set[str] = set()

    def is_dead(self, data: bytes) -> bool:
        """Tell whether the owner of a lease is gone."""
        note = Note.of(data)
        if note is not None and is_gone(note):
            return True
        key, now = note.token if note else "", time.monotonic()
        known = self._since.get(key)
        if known is None or known[0] != data:
            self._since[key] = (data, now)
            return False
        return now - known[1] > EXPIRY

    def tell(self, label: str, data: bytes | None) -> None:
        """Say once for whom one waits."""
        note = Note.of(data or b"")
        if note is not None and note.token not in self._told:
            self._told.add(note.token)
            logger.warning("waiting for another writer of %s: %s", label, note)


class _Others:
    """Leases of groups above a group, and below it where that matters."""

    def __init__(self, root: zarr.storage.StorePath, group: str, *, below: bool) -> None:
        self._root, self._group, self._below = root, group.strip("/"), below

    def living(self, seen: _Seen, patience: Patience) -> bytes | None:
        """Return a lease whose owner is not known to be gone."""
        for path in self._paths():
            objects = LeaseObject(self._root / path)
            data = objects.read()
            if data is not None and not patience.break_lease and not seen.is_dead(data):
                return data
            if data is not None:
                objects.remove()
        return None

    def wait(self, patience: Patience, label: str) -> None:
        """Wait until there is none, that of the group itself included."""
        end, seen = time.monotonic() + patience.wait, _Seen()
        own = LeaseObject(self._root / joined(self._group, KEY))
        while True:
            data = own.read()
            if data is None or patience.break_lease or seen.is_dead(data):
                data = None if patience.break_lease else self._peek(seen)
            if data is None:
                return
            if time.monotonic() >= end:
                raise _busy(label, data, patience.wait)
            seen.tell(label, data)
            time.sleep(_POLL)

    def _peek(self, seen: _Seen) -> bytes | None:
        """As `living`, but nothing is removed: the store may be for reading only."""
        for path in self._paths():
            data = LeaseObject(self._root / path).read()
            if data is not None and not seen.is_dead(data):
                return data
        return None

    def _paths(self) -> Iterator[str]:
        parts = self._group.split("/") if self._group else []
        for end in range(len(parts)):
            yield "/".join([*parts[:end], KEY])
        if self._below:
            own = "/".join([*parts, KEY])
            for key in sync(_leases_in(self._root.store, joined(self._root.path, self._group))):
                inside = key.removeprefix(self._root.path).lstrip("/")
                if inside != own:
                    yield inside


def _busy(label: str, data: bytes, waited: float) -> Busy:
    note = Note.of(data) or "somebody who left no name"
    return Busy(
        f"{label} is being written: {note}",
        allowed=f"one writer at a time; it was waited for {waited:g} s",
        fix=_FIX,
    )


async def _leases_in(store: Store, path: str) -> list[str]:
    """Find leases below a path by walking groups: chunks are many, groups are few."""
    if not store.supports_listing:
        return []
    found, todo = [], [path]
    while todo:
        at = todo.pop()
        names = [name.strip("/") async for name in store.list_dir(at)]
        for name in names:
            inside = joined(at, name)
            if name == "tec_journal":
                key = joined(at, KEY)
                if await store.get(key, default_buffer_prototype()) is not None:
                    found.append(key)
            elif name and name not in _METADATA and await _is_group(store, inside):
                todo.append(inside)
    return found


async def _is_group(store: Store, path: str) -> bool:
    """Whether there may be groups below; arrays hold chunks only."""
    array = await store.get(joined(path, ".zarray"), default_buffer_prototype())
    if array is not None:
        return False
    metadata = await store.get(joined(path, "zarr.json"), default_buffer_prototype())
    return metadata is None or b'"array"' not in metadata.to_bytes()


def _is_written_once(store: Any) -> bool:
    return isinstance(store, zarr.storage.ZipStore)

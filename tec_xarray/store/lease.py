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
import datetime as dt
import getpass
import json
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr.storage
from zarr.abc.store import Store
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tec_numcodecs.arguments import number, switch
from tec_numcodecs.errors import InvalidInput, TecError
from tec_xarray.store.location import StoreLocation, innermost, is_transaction, joined

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


@dataclass(frozen=True)
class Note:
    """What a lease says: JSON in the store."""

    token: str
    doing: str
    user: str
    host: str
    pid: int
    machine: str
    started: str  # of the process, as the system counts it: numbers of processes come again
    since: str
    renewed: str
    count: int = 0

    def to_bytes(self) -> bytes:
        """Write it as JSON."""
        return json.dumps(self.__dict__).encode()

    @classmethod
    def of(cls, data: bytes) -> Note | None:
        """Read it; None if it is no lease (cut off, by somebody else)."""
        try:
            found = json.loads(data)
            return cls(**found)
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        return (
            f"{self.doing} by {self.user} on {self.host}, process {self.pid}, since {self.since}, "
            f"last sign of life at {self.renewed}"
        )


class Lease:
    """A lease that is held. Its token goes to workers; the empty one is that of no lease."""

    def __init__(self, objects: _Objects | None, note: Note | None) -> None:
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
            if _token(self._objects.read()) == self.token:
                self._objects.remove()

    def _look(self) -> None:
        if self._objects is None:
            return
        data = self._objects.read()
        if _token(data) != self.token:
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
                note = Note(**(self._note.__dict__ | {"renewed": _now(), "count": count}))
                self._objects.write(note.to_bytes())
            except Exception as error:  # noqa: BLE001  the network; it is tried again
                logger.warning("the lease could not be renewed: %s", error)


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
        with _lock:
            _own.discard(lease.token)
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
    data = _Objects(root / KEY).read()
    if _token(data) != token:
        raise lost(str(Note.of(data or b"") or "nobody that can be named"))


def is_lease(key: str) -> bool:
    """Tell whether a key is that of a lease, or a half of one."""
    return f"/{key}".rpartition("/tec_journal/state/")[2].startswith(KEY.rpartition("/")[2])


# -- taking it --------------------------------------------------------------------------------

_own: set[str] = set()  # tokens of the leases that this process holds
_lock = threading.Lock()


def _acquire(place: StoreLocation, doing: str, patience: Patience, *, replaces: bool) -> Lease:
    root = place.store_path()
    objects = _Objects(root / place.path(KEY))
    others = _Others(root, place.group or "", below=replaces)
    end = time.monotonic() + patience.wait
    seen = _Seen()
    while True:
        data = objects.read()
        note = _note(doing)
        if data is None or patience.break_lease or seen.is_dead(data):
            if data is not None:
                logger.warning("taking over from %s: %s", place.label, Note.of(data) or "no lease")
            with _lock:
                _own.add(note.token)
            if _take(objects, note, data) and not others.living(seen, patience):
                return Lease(objects, note)
            with _lock:
                _own.discard(note.token)
            if _token(objects.read()) == note.token:
                objects.remove()  # somebody else is above or below; both step back
            data = objects.read() or others.living(seen, patience)
            patience = Patience(patience.wait)  # broken once; who comes now is alive
        if time.monotonic() >= end + (0 if data is not None else _GRACE):
            raise _busy(place.label, data or b"", patience.wait)
        seen.tell(place.label, data)
        time.sleep(_POLL * (0.5 + random.random()))  # noqa: S311 (so that two do not keep in step)


def _take(objects: _Objects, note: Note, dead: bytes | None) -> bool:
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
    return _token(objects.read()) == note.token


class _Seen:
    """What a waiting writer has seen of leases, by its own clock."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[bytes, float]] = {}
        self._told: set[str] = set()

    def is_dead(self, data: bytes) -> bool:
        """Tell whether the owner of a lease is gone."""
        note = Note.of(data)
        if note is not None and _is_gone(note):
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
            objects = _Objects(self._root / path)
            data = objects.read()
            if data is not None and not patience.break_lease and not seen.is_dead(data):
                return data
            if data is not None:
                objects.remove()
        return None

    def wait(self, patience: Patience, label: str) -> None:
        """Wait until there is none, that of the group itself included."""
        end, seen = time.monotonic() + patience.wait, _Seen()
        own = _Objects(self._root / joined(self._group, KEY))
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
            data = _Objects(self._root / path).read()
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


# -- objects ----------------------------------------------------------------------------------


class _Objects:
    """The one object of a lease: read, created if it is not there, replaced, removed."""

    def __init__(self, path: zarr.storage.StorePath) -> None:
        self._path = path
        self._inner = innermost(path.store)
        self.settle = 1.0
        if isinstance(self._inner, zarr.storage.MemoryStore | zarr.storage.LocalStore):
            self.settle = 0.05

    def read(self) -> bytes | None:
        found = sync(self._path.get())
        return None if found is None else found.to_bytes()

    def create(self, data: bytes) -> bool | None:
        """Create it; None where nobody can say whether it was there already."""
        if isinstance(self._inner, zarr.storage.FsspecStore):
            return sync(_create(self._inner, self._path.path, data))
        if isinstance(self._inner, zarr.storage.LocalStore):
            # A wrapper may count, fail or log: it is asked first.
            if self.read() is not None:
                return False
            return _create_file(self._inner.root / self._path.path, data)
        buffer = default_buffer_prototype().buffer.from_bytes(data)
        sync(self._path.set_if_not_exists(buffer))
        if isinstance(self._inner, zarr.storage.MemoryStore | zarr.storage.ObjectStore):
            return self.read() == data
        return None

    def write(self, data: bytes) -> None:
        sync(self._path.set(default_buffer_prototype().buffer.from_bytes(data)))

    def remove(self) -> None:
        sync(self._path.delete())
        if isinstance(self._inner, zarr.storage.LocalStore):
            # Where nothing was written, nothing must stay: folders would be members of the group.
            folder = (self._inner.root / self._path.path).parent
            with contextlib.suppress(OSError):
                folder.rmdir()
                folder.parent.rmdir()
                folder.parent.parent.rmdir()


async def _create(store: zarr.storage.FsspecStore, path: str, data: bytes) -> bool | None:
    key = joined(store.path, path)
    if await store.exists(path):
        return False
    try:
        await store.fs._pipe_file(key, data, mode="create")  # noqa: SLF001 (async side of fsspec)
    except FileExistsError:
        return False
    except FileNotFoundError:
        # A file system with folders (local, SFTP); object stores need none.
        await store.fs._makedirs(key.rpartition("/")[0], exist_ok=True)  # noqa: SLF001
        return await _create(store, path, data)
    except (TypeError, NotImplementedError, ValueError):
        await store.fs._pipe_file(key, data)  # noqa: SLF001
        return None
    # S3 refuses with If-None-Match; a server that does not know it overwrites without a word, and
    # then the lease is that of the last writer.
    found = await store.get(path, default_buffer_prototype())
    return found is not None and found.to_bytes() == data


def _create_file(path: Path, data: bytes) -> bool | None:
    """Create a file with its content at once: a hard link fails where there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    half.write_bytes(data)
    try:
        os.link(half, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            return False
    finally:
        half.unlink(missing_ok=True)
    return True


def _is_written_once(store: Any) -> bool:
    return isinstance(store, zarr.storage.ZipStore)


def _token(data: bytes | None) -> str | None:
    note = Note.of(data) if data is not None else None
    return None if note is None else note.token


# -- processes --------------------------------------------------------------------------------


def _note(doing: str) -> Note:
    now = _now()
    return Note(
        token=uuid.uuid4().hex,
        doing=doing,
        user=_user(),
        host=socket.gethostname(),
        pid=os.getpid(),
        machine=_machine(),
        started=_started(os.getpid()) or "",
        since=now,
        renewed=now,
    )


def _is_gone(note: Note) -> bool:
    """Tell whether the process of a lease is known to have ended: on this machine only."""
    if note.machine != _machine() or note.host != socket.gethostname():
        return False
    if note.pid == os.getpid():
        with _lock:
            return note.token not in _own
    if os.name != "posix":
        return False
    try:
        os.kill(note.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    started = _started(note.pid)
    return bool(started and note.started and started != note.started)


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the machine did; None where /proc does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return "ended" if fields[:1] == ["Z"] else fields[19]


def _machine() -> str:
    """Name this boot of this machine, and the space of process numbers that is seen from here."""
    parts = []
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts) or socket.gethostname()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(getattr(os, "getuid", lambda: "?")())


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")

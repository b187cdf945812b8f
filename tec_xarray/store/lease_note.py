"""What a lease says, and whether the process that wrote it still lives.

A process is named by the boot of its machine, the space of process numbers that it is in, its
number, and when it began: numbers of processes come again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import json
import os
import socket
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

_own: set[str] = set()  # tokens of the leases that this process holds
_lock = threading.Lock()


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


def new_note(doing: str) -> Note:
    """Return a lease of this process that nobody has yet."""
    at = now()
    return Note(
        token=uuid.uuid4().hex,
        doing=doing,
        user=_user(),
        host=socket.gethostname(),
        pid=os.getpid(),
        machine=_machine(),
        started=_started(os.getpid()) or "",
        since=at,
        renewed=at,
    )


def is_gone(note: Note) -> bool:
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


def now() -> str:
    """Return the time as notes say it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def claim(note: Note) -> None:
    """Remember that a lease is this process's own."""
    with _lock:
        _own.add(note.token)


def release(token: str) -> None:
    """Forget a lease of this process."""
    with _lock:
        _own.discard(token)


def token_of(data: bytes | None) -> str | None:
    """Return the token of a lease, None if there is none that can be read."""
    note = Note.of(data) if data is not None else None
    return None if note is None else note.token

"""The one object of a lease in a store: created only where there is none, as far as stores can."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

import zarr.storage
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tec_xarray.store.location import innermost, joined


class LeaseObject:
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

"""What paths, URLs and stores are called, so that two names of one place can be told to be one.

Text is read as GDAL, fsspec and obstore would: URLs, paths, names of files inside of archives.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import zarr.storage

from tec_xarray.store.location import innermost, joined

_SAME = {"s3a": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs", "adl": "abfs", "local": "file"}
_VSI = {"vsis3": "s3", "vsigs": "gs", "vsiaz": "abfs"}
_BUCKET = re.compile(r"https?://([^/]+?)\.s3[.-][^/]*amazonaws\.com/(.*)")


@dataclass(frozen=True)
class Address:
    """Where something lies: the kind of store, the server if it is known, and a path there."""

    kind: str
    path: str
    host: str | None = None
    whole: bool = True  # whether all below it belongs to it; not so of a folder that holds things

    def __str__(self) -> str:
        return self.path if self.kind == "file" else f"{self.kind}://{self.path}"


def of_text(text: str) -> Iterator[Address]:
    """Return what text may name: a path, a URL, or either inside of what GDAL and fsspec take."""
    if not text or "\0" in text or "\n" in text:
        return
    for part in text.split("::"):
        match = _BUCKET.match(part)
        if match:
            yield Address("s3", _clean(f"{match[1]}/{unquote(match[2])}"))
        elif "://" in part:
            kind, _, rest = part.rpartition("://")
            kind = kind.rpartition('"')[2].rpartition(":")[2].rpartition("+")[2].lower()
            found = _SAME.get(kind, kind)
            split = urlsplit(f"x://{rest}")
            if found == "file":
                yield from _of_file(unquote(split.path or rest).partition("!")[0])
            else:
                yield Address(found, _clean(rest.partition("?")[0]))
        elif "/" in part or "\\" in part or os.path.exists(part):  # noqa: PTH110 (text, any)
            yield from _of_local(part)


def _of_local(text: str) -> Iterator[Address]:
    """Find paths in text: /vsizip//a/b.zip/c.tif, HDF5:"/a/b.h5"://x, NETCDF:/a/b.nc:x."""
    for prefix, kind in _VSI.items():
        if f"/{prefix}/" in text:
            yield Address(kind, _clean(text.partition(f"/{prefix}/")[2]))
            return
    for part in {text, *re.split(r'["\']', text), *re.split(r":", text)}:
        bare = re.sub(r"^(/vsi[a-z0-9]+/)+", "", part)
        for name in {part, bare}:
            yield from _of_file(name)


def _of_file(path: str) -> Iterator[Address]:
    """Return a path that is there; a path into a file (of a zip, say) is that file."""
    path = os.path.abspath(os.path.expanduser(path)) if path else ""  # noqa: PTH100, PTH111
    while path and not os.path.exists(path):  # noqa: PTH110
        parent = os.path.dirname(path)  # noqa: PTH120
        if os.path.isdir(parent) or parent == path:  # noqa: PTH112  (nothing of that name)
            return
        path = parent
    if path:
        real = os.path.realpath(path)
        yield Address("file", real, whole=not os.path.isdir(real) or _is_hierarchy(real))  # noqa: PTH112


def _is_hierarchy(path: str) -> bool:
    """Whether a folder is a Zarr group: what lies below it may be read through it."""
    return any(os.path.exists(os.path.join(path, name)) for name in ("zarr.json", ".zgroup"))  # noqa: PTH110, PTH118


def of_store_path(  # noqa: PLR0911 (one return for each kind)
    path: zarr.storage.StorePath, more: str
) -> Address | None:
    """Return the address of something in a Zarr store; None where there is no telling."""
    store, inside = innermost(path.store), joined(path.path, more)
    if isinstance(store, zarr.storage.LocalStore):
        path_there = os.path.join(str(store.root), inside)  # noqa: PTH118
        return Address("file", os.path.realpath(os.path.expanduser(path_there)))  # noqa: PTH111
    if isinstance(store, zarr.storage.ZipStore):
        return Address("file", os.path.realpath(store.path))
    if isinstance(store, zarr.storage.FsspecStore):
        return of_fsspec(store.fs, "/".join(p for p in (store.path, inside) if p))
    if isinstance(store, zarr.storage.MemoryStore):
        return Address(f"dict-{id(store._store_dict)}", _clean(inside))  # noqa: SLF001
    if isinstance(store, zarr.storage.ObjectStore):
        return _of_obstore(store.store, inside)
    session = getattr(store, "session", None)
    if session is not None and getattr(session, "read_only", False):
        return None  # a snapshot stays what it is, whatever is written
    return Address(f"object-{id(session if session is not None else store)}", _clean(inside))


def of_fsspec(fs: Any, path: str) -> Address | None:
    """Return the address of a path in a file system of fsspec."""
    while True:
        if hasattr(fs, "sync_fs"):
            fs = fs.sync_fs
        elif type(fs).__name__ == "DirFileSystem":
            fs, path = fs.fs, f"{fs.path}/{path}"
        elif "cache" in type(fs).__name__.lower() and hasattr(fs, "fs"):
            fs = fs.fs
        else:
            break
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    kind = _SAME.get(protocol, protocol)
    if kind == "zip":
        return next(of_text(str(getattr(fs.of, "path", fs.of))), None)
    if kind == "file":
        return Address("file", os.path.realpath(path.removeprefix("file://")))
    options = getattr(fs, "storage_options", {})
    client = options.get("client_kwargs") or {}
    host = getattr(fs, "endpoint_url", None) or options.get("endpoint_url")
    bare = path.partition("://")[2] or path
    return Address(kind, _clean(bare), host or client.get("endpoint_url"))


def of_references(fs: Any) -> Iterator[Address]:
    """Return the files that a store of references (kerchunk's) points to."""
    values = fs.references.values() if isinstance(fs.references, dict) else ()
    names = {value[0] for value in values if isinstance(value, list | tuple) and value}
    for name in [*sorted(str(n) for n in names), str(getattr(fs, "fo", ""))]:
        yield from of_text(name)


def _of_obstore(store: Any, inside: str) -> Address:
    """Return the address of a key in a store of obstore."""
    prefix = str(getattr(store, "prefix", None) or "")
    kind = type(store).__name__.removesuffix("Store").lower()
    if kind == "local":
        return Address("file", os.path.realpath(os.path.join(prefix or "/", inside)))  # noqa: PTH118
    config = getattr(store, "config", {})
    bucket = config.get("bucket") or config.get("container_name") or config.get("container")
    if bucket is None:
        return Address(f"object-{id(store)}", _clean(inside))
    kind = {"gcs": "gs", "azure": "abfs"}.get(kind, kind)
    return Address(kind, _clean(f"{bucket}/{prefix}/{inside}"), config.get("endpoint"))


def _clean(path: str) -> str:
    return "/".join(part for part in path.split("/") if part and part != ".")

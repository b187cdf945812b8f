"""Whether lazy data are read from the place that is about to be written.

Deleting or replacing what the input still reads from would lose it. So everything that the data
hold is walked (dask graphs, xarray's backends, arguments, closures), and every Zarr array, store,
file or URL in it is compared with the target: in it, above it or below it. What can't be told apart
counts as one place.
"""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
import zarr
import zarr.storage
from zarr.abc.store import Store

from tec_numcodecs.errors import InvalidInput
from tec_xarray.store.addresses import Address, of_fsspec, of_references, of_store_path, of_text
from tec_xarray.store.location import StoreLocation

MOST_OBJECTS = 3_000_000  # of a graph that are looked at
_LONGEST = 4096  # characters of text that can name a file
#: Packages whose functions name nothing of a user's by their global variables.
_LIBRARIES = frozenset(
    "builtins numpy dask distributed xarray zarr numcodecs fsspec s3fs toolz pandas rasterio odc "
    "rioxarray tec_xarray tec_numcodecs functools operator netCDF4 h5netcdf h5py asyncio".split()
)
_PLAIN = (
    int, float, complex, bool, bytes, bytearray, type(None), np.generic, np.dtype, slice, range,
    type, types.ModuleType, types.BuiltinFunctionType,
)  # fmt: skip


class Unknown(Exception):
    """There is more than can be looked at."""


def check_apart(data: xr.Dataset, place: StoreLocation, *, replaces: bool = False) -> None:
    """Refuse to write where lazy data are read from.

    Parameters
    ----------
    data : xarray.Dataset
        All that will be read.
    place : StoreLocation
        What will be written.
    replaces : bool
        Whether what is there is deleted first.

    Raises
    ------
    InvalidInput
        An input lies in the target, above it or below it; or that cannot be told, and what is
        there would be deleted.
    """
    target = of_store_path(place.store_path(), place.group or "")
    if target is None:
        return
    try:
        for source in _addresses(data):
            if _overlap(source, target):
                raise _refusal(place, str(source))
    except Unknown as error:
        if replaces:
            raise InvalidInput(
                f"data of more than {MOST_OBJECTS} tasks, too many to tell whether they are read "
                f"from {place.label}, which would be deleted first",
                allowed="mode='w' where that can be told",
                fix="write to another store, and replace the old one by it afterwards",
            ) from error


def _refusal(place: StoreLocation, source: str) -> InvalidInput:
    return InvalidInput(
        f"the data are read from {source}, and would be written to {place.label}: what is still to "
        "be read would be lost",
        allowed="data that lie elsewhere",
        fix="write to another store, and replace the old one by it afterwards; or load the data "
        "into memory first: ds.load()",
    )


# -- what data are read from ------------------------------------------------------------------


def _addresses(data: xr.Dataset) -> Iterator[Address]:
    """Name all places from which lazy variables are read; some of them are none."""
    walk = _Walk()
    for variable in data.variables.values():
        if isinstance(variable.encoding.get("source"), str) and not variable._in_memory:  # noqa: SLF001
            yield from of_text(variable.encoding["source"])
        value: Any = variable._data  # noqa: SLF001 (`data` would load what is lazy without dask)
        if hasattr(value, "__dask_graph__"):
            value = dict(value.__dask_graph__())
        yield from walk.visit(value)


class _Walk:
    """Goes through objects, each once."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}  # keeps them, or their numbers would come again
        self._texts: set[str] = set()

    def visit(self, root: Any) -> Iterator[Address]:
        todo = [root]
        while todo:
            item = todo.pop()
            if isinstance(item, _PLAIN) or type(item).__name__ in ("TaskRef", "Alias"):
                continue
            if isinstance(item, str | os.PathLike):
                yield from self._text(item)
                continue
            if id(item) in self._seen:
                continue
            self._seen[id(item)] = item
            if len(self._seen) > MOST_OBJECTS:
                raise Unknown
            known = _known(item)
            yield from known or ()
            if known is None or any(found.kind.startswith("object-") for found in known):
                todo.extend(_inside(item))  # a store of an unknown kind may say more

    def _text(self, item: Any) -> Iterator[Address]:
        text = os.fspath(item)
        if isinstance(text, str) and text not in self._texts and len(text) < _LONGEST:
            self._texts.add(text)
            yield from of_text(text)


def _known(  # noqa: PLR0911 (one return for each kind)
    item: Any,
) -> list[Address] | None:
    """Return the addresses of something that says where it lies; None for other things."""
    if isinstance(item, zarr.Array | zarr.AsyncArray | zarr.Group | zarr.AsyncGroup):
        return _listed(of_store_path(item.store_path, ""))
    if isinstance(item, zarr.storage.StorePath):
        return _listed(of_store_path(item, ""))
    if isinstance(item, zarr.storage.FsspecStore) and hasattr(item.fs, "references"):
        return list(of_references(item.fs))
    if isinstance(item, Store):
        return _listed(of_store_path(zarr.storage.StorePath(item, ""), ""))
    if isinstance(item, np.ndarray):
        return _of_memory(item)
    fs = getattr(item, "fs", None)
    path = getattr(item, "path", None) or getattr(item, "root", None)
    if isinstance(path, str) and hasattr(fs, "protocol"):  # files and mappings of fsspec
        return _listed(of_fsspec(fs, path))
    return None


def _listed(found: Address | None) -> list[Address]:
    return [] if found is None else [found]


def _of_memory(array: Any) -> list[Address] | None:
    """Find the file behind an array that is mapped into memory."""
    if array.dtype.kind in "OUT" and array.size:
        return None
    while isinstance(array, np.ndarray):
        name = getattr(array, "filename", None)
        if isinstance(array, np.memmap) and name is not None:
            return list(of_text(os.fspath(name)))
        array = array.base
    return []


def _inside(item: Any) -> Iterator[Any]:
    """Return what something is made of."""
    if isinstance(item, Mapping):
        yield from item.values()
    elif isinstance(item, list | tuple | set | frozenset):
        yield from item
    elif isinstance(item, np.ndarray):
        yield from item.ravel()
    elif isinstance(item, functools.partial):
        yield from (item.func, item.args, item.keywords)
    elif isinstance(item, types.MethodType):
        yield from (item.__self__, item.__func__)
    elif isinstance(item, types.FunctionType):
        yield from _of_function(item)
    else:
        yield from getattr(item, "__dict__", {}).values()
        for kind in type(item).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                value = getattr(item, name, None) if not name.startswith("__") else None
                if value is not None:
                    yield value


def _of_function(item: types.FunctionType) -> Iterator[Any]:
    """Return what a function brings along, and the global variables of a user's own."""
    yield from item.__defaults__ or ()
    yield from (item.__kwdefaults__ or {}).values()
    for cell in item.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # empty
            continue
    yield from item.__dict__.values()  # what it wraps, too
    if (item.__module__ or "").partition(".")[0] not in _LIBRARIES:
        for name in item.__code__.co_names:
            value = item.__globals__.get(name)
            if not isinstance(value, types.ModuleType | type):
                yield value


# -- comparing --------------------------------------------------------------------------------


def _overlap(source: Address, target: Address) -> bool:
    if source.kind != target.kind:
        return False
    if source.host and target.host and source.host.rstrip("/") != target.host.rstrip("/"):
        return False
    if _is_in(source.path, target.path):
        return True
    if source.whole and _is_in(target.path, source.path):
        return True
    return source.kind == "file" and _same_files(source, target)


def _is_in(path: str, folder: str) -> bool:
    return path == folder or not folder or path.startswith(folder.rstrip("/") + "/")


def _same_files(source: Address, target: Address) -> bool:
    """Compare by what the file system calls them: mounts, other spellings, links inside."""
    ours = _identity(target.path)
    if ours is not None and ours in _chain(source.path):
        return True
    theirs = _identity(source.path)
    if source.whole and theirs is not None and theirs in _chain(target.path):
        return True
    return ours is not None and any(_is_in(link, target.path) for link in _links(source.path))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _chain(path: str) -> set[tuple[int, int]]:
    found = set()
    while True:
        own = _identity(path)
        if own is not None:
            found.add(own)
        parent = os.path.dirname(path)  # noqa: PTH120
        if parent == path:
            return found
        path = parent


def _links(path: str) -> Iterator[str]:
    """Follow the links inside of a folder: chunks may lie elsewhere."""
    todo = [path]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        yield os.path.realpath(entry.path)
                    elif entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:
            continue

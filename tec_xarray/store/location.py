"""Where a store lies, or will lie: paths, URLs and Zarr stores, and a group in them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr
import zarr.errors
import zarr.storage
from zarr.abc.store import Store

from tec_numcodecs.arguments import choice, mapping, shown, switch, text
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.redaction import for_message
from tec_xarray.store.codec_metadata import AnyArray, writable


@dataclass(frozen=True)
class StoreLocation:
    """Where an archive is; goes to workers by pickle.

    Attributes
    ----------
    store : path, URL or Zarr store
    group : str or None
    storage_options : dict or None
        As of ``xr.open_zarr``.
    """

    store: Any
    group: str | None = None
    storage_options: dict[str, Any] | None = None

    @classmethod
    def of(
        cls, store: Any, group: str | None, storage_options: dict[str, Any] | None
    ) -> StoreLocation:
        """Check what a caller passed, and make paths absolute: a worker has its own directory."""
        check_store(store)
        check_group(group, storage_options)
        return cls(as_store(store), group, storage_options)

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return label_of(self.store) + (f", group {self.group!r}" if self.group else "")

    def store_path(self) -> zarr.storage.StorePath:
        """Open the store for its objects, without making a group in it."""
        try:
            return open_objects(self.store, self.storage_options)
        except NO_STORE as error:
            raise no_store(self.store, error) from error

    def path(self, *parts: str) -> str:
        """Return the path of something under the group."""
        return "/".join(part for part in (self.group, *parts) if part)

    def open(self, *parts: str, mode: Any = "r") -> zarr.Group:
        """Open the group, or one under it, as it is now (not as consolidated metadata have it).

        Raises
        ------
        InvalidInput
            There is none, or it is to be written and cannot.
        """
        if mode != "r" and getattr(self.store, "read_only", False):
            raise InvalidInput(
                f"{label_of(self.store)} is open for reading only", fix="open the store for writing"
            )
        try:
            return zarr.open_group(
                self.store,
                path=self.path(*parts),
                mode=mode,
                storage_options=self.storage_options,
                use_consolidated=False,
            )
        except (FileNotFoundError, zarr.errors.GroupNotFoundError) as error:
            raise InvalidInput(
                f"no Zarr group {self.path(*parts)!r} in {label_of(self.store)}".replace(" ''", ""),
                allowed="a store that holds one",
                fix="check the path, and group= if the archive lies in one",
            ) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise damaged_metadata(self.label, error) from error
        except NO_STORE as error:
            raise no_store(self.store, error) from error

    def array(self, name: str, mode: Any = "r") -> AnyArray:
        """Open an array of the group; for a writer of ours unless the mode is "r".

        Raises
        ------
        InvalidInput
            There is none, or its metadata are damaged.
        """
        group = self.open(mode=mode)
        found = member(group, name)
        if not isinstance(found, zarr.Array):
            raise InvalidInput(
                f"no array {name!r} in {self.label}", allowed=", ".join(sorted(group.array_keys()))
            )
        return found if mode == "r" else writable(found)


@dataclass(frozen=True)
class WriteTarget:
    """Where and how to write, in the words of ``Dataset.to_zarr``.

    Attributes
    ----------
    location : StoreLocation or None
        None: nothing is written now.
    zarr_format : {2, 3}
    mode : {"w-", "w"}
    consolidated : bool or None
    """

    location: StoreLocation
    zarr_format: int = 3
    mode: str = "w-"
    consolidated: bool | None = None

    def __post_init__(self) -> None:
        """Refuse modes that are none of ours."""
        fix = "'w-' is for a new store, 'w' replaces; to write part of an array, pass region="
        choice("mode", self.mode, ("w-", "w"), fix)
        if self.consolidated is not None:
            switch("consolidated", self.consolidated)

    def check(self, region: Mapping[str, slice] | None) -> None:
        """Refuse what cannot be written to, before anything else is done.

        Raises
        ------
        InvalidInput
            Something is there already, or there is nothing to write a region to.
        """
        store = self.location.store
        if region is not None and not mapping("region", region, "{'time': slice(0, 4)}"):
            raise InvalidInput(
                "region={}, which names no part of the array",
                allowed="a dict of slices",
                fix="pass region={'time': slice(0, 4)}, for example, or leave it out",
            )
        self._check_writable()
        if isinstance(store, zarr.storage.ZipStore):
            raise InvalidInput(
                "a zip file that is open for writing, which cannot be read back",
                allowed="stores that can be read while they are written",
                fix="leave store= away and write with .to_zarr(store, consolidated=False)",
            )
        if region is None:
            self.check_free()
        elif not self.exists():
            raise InvalidInput(
                f"no Zarr group in {self.location.label}",
                allowed="a store that compress wrote",
                fix="write the whole array once without region=",
            )

    def check_free(self) -> None:
        """Refuse to write a new group where there is one, but to replace it."""
        if self.mode == "w-" and self.exists():
            raise InvalidInput(
                f"{self.location.label} holds a Zarr group already",
                allowed="a new store",
                fix="pass mode='w' to replace it, or another store or group",
            )

    def _check_writable(self) -> None:
        """Refuse a store for reading, and a path at which no directory can be."""
        store = self.location.store
        if getattr(store, "read_only", False):
            raise InvalidInput(
                f"{label_of(store)} is open for reading only", fix="open the store for writing"
            )
        if isinstance(store, str) and "://" not in store and not store.endswith(".zip"):
            path = Path(store)
            for place in (path, *path.parents):
                if place.is_file():
                    raise InvalidInput(
                        f"store = {store!r}, and {place} is a file",
                        allowed="a path at which there is nothing yet, or a Zarr store",
                        fix="pass another path",
                    )

    def exists(self) -> bool:
        """Tell whether there is a group, or an array in its place."""
        try:
            self.open()
        except (FileNotFoundError, zarr.errors.GroupNotFoundError):
            return False
        except zarr.errors.ContainsArrayError:
            return True
        except NO_STORE as error:
            raise no_store(self.location.store, error) from error
        return True

    def open(self) -> zarr.Group:
        """Open the group for reading."""
        there = self.location
        return zarr.open_group(
            there.store, path=there.group, mode="r", storage_options=there.storage_options
        )


_LONGEST = 255  # characters of a name
#: What Zarr and fsspec raise where something is no store.
NO_STORE = (TypeError, ValueError, AttributeError, ImportError, NotADirectoryError)


#: What Zarr and xarray raise for metadata that contradict themselves or the format.
DAMAGED = (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError)


def damaged_metadata(what: str, error: Exception) -> InvalidInput:
    """Return the error for metadata that Zarr or xarray cannot read."""
    return InvalidInput(
        f"metadata of {what} that cannot be read: {error}",
        allowed="what Zarr itself has written",
        fix="restore zarr.json (.zarray, .zattrs) from a copy",
    )


def member(group: zarr.Group, name: str) -> Any:
    """Return what a group holds under a name, None if there is nothing.

    Raises
    ------
    InvalidInput
        Its metadata are damaged.
    """
    try:
        return group.get(name)
    except DAMAGED as error:
        path = "/".join(part for part in (group.path, name) if part)
        raise damaged_metadata(repr(path), error) from error


def no_store(store: Any, error: Exception) -> InvalidInput:
    """Return the error for something that cannot be opened as a store."""
    return InvalidInput(
        f"store = {shown(store)}: {error}",
        allowed="a path, a URL, or a Zarr store that can be read",
        fix="pass 'cube.zarr', for example",
    )


def as_store(store: Any) -> Any:
    """Return a path as absolute text, ``~`` expanded; a URL or a Zarr store as it is.

    Workers have directories of their own, and neither Zarr nor fsspec expands ``~``.
    """
    if isinstance(store, os.PathLike):
        store = os.fspath(store)
    if not isinstance(store, str) or "://" in store or "::" in store:
        return store
    return os.path.abspath(os.path.expanduser(store))  # noqa: PTH100, PTH111 (keeps links)


def open_objects(store: Any, options: dict[str, Any] | None = None) -> zarr.storage.StorePath:
    """Open whatever names a store, without making a group in it."""
    store = as_store(store)
    if isinstance(store, zarr.storage.StorePath):
        return store
    if isinstance(store, dict):
        store = zarr.storage.MemoryStore(store)
    elif isinstance(store, str) and ("://" in store or "::" in store):
        store = zarr.storage.FsspecStore.from_url(store, storage_options=options)
    elif isinstance(store, str):
        store = zarr.storage.LocalStore(store)
    elif not isinstance(store, Store):
        store = zarr.storage.FsspecStore.from_mapper(store)
    return zarr.storage.StorePath(store, "")


def label_of(store: Any) -> str:
    """What to call a store in a message: without secrets; a dict would be all that is in it."""
    return shown(store) if isinstance(store, dict) else for_message(str(store))


def check_store(store: Any) -> None:
    """Refuse a store that is nothing, or text that names none."""
    nameless = isinstance(store, str | os.PathLike) and not _is_name(str(store))
    keyless = isinstance(store, dict) and not all(isinstance(key, str) for key in store)
    if store is None or nameless or keyless:
        raise no_store(store, ValueError("names no place"))


def _is_name(store: str) -> bool:
    """Whether text can name a store: not empty, and no part longer than file systems take."""
    return bool(store) and "\0" not in store and max(map(len, store.split("/"))) <= _LONGEST


def check_group(group: Any, storage_options: Any) -> None:
    """Refuse a group that is no text, and options that are no dict."""
    if group is not None and not _is_name(text("group", group, "cubes/alps")):
        raise InvalidInput(
            f"group={shown(group)}",
            allowed=f"names of up to {_LONGEST} characters",
            fix="pass a shorter one",
        )
    if storage_options is not None:
        mapping("storage_options", storage_options, "{'anon': True}")


def innermost(store: Any) -> Any:
    """Return the store that wrappers of Zarr stand around, or what is none of its stores."""
    while isinstance(store, zarr.storage.WrapperStore):
        store = store._store  # noqa: SLF001 (Zarr has no other way to the store inside)
    return store


def joined(*parts: str) -> str:
    """Return the key of something in a store, without slashes at its ends."""
    return "/".join(part.strip("/") for part in parts if part.strip("/"))


def is_in_memory(store: Any) -> bool:
    """Tell whether a store is this process's own: a copy of it in another one is another store."""
    store = innermost(store)
    if isinstance(store, zarr.storage.StorePath):
        return is_in_memory(store.store)
    if isinstance(store, zarr.storage.ObjectStore):
        return type(store.store).__name__ == "MemoryStore"
    fs = getattr(store, "fs", None)
    if fs is not None:
        protocol = getattr(fs, "protocol", "")
        return "memory" in ([protocol] if isinstance(protocol, str) else protocol)
    if isinstance(store, str | os.PathLike):
        return str(store).startswith("memory:")
    return isinstance(store, zarr.storage.MemoryStore | dict)


def is_transaction(store: Any) -> bool:
    """Tell whether what is written shows after a commit only, all at once: icechunk's sessions."""
    return type(store).__module__.partition(".")[0] == "icechunk"

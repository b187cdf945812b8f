"""A group in a store, its arrays, and the objects behind them, from any process.

Blocks are written through arrays that differ from the stored ones in memory only: with a shape of
whole blocks (so that Zarr never reads what it is about to replace, which might be damaged), with
dates that the metadata do not show yet, or with a codec that loses nothing. What they write is
readable through the stored metadata, because every chunk says itself how it was coded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import zarr
import zarr.errors
import zarr.storage
from zarr.core.sync import sync

from tec_numcodecs.arguments import mapping, shown, text
from tec_numcodecs.config import CODEC_NAME
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.redaction import for_message

AnyArray: TypeAlias = "zarr.Array[Any]"
Index: TypeAlias = tuple[int, int, int]  # of a block, along (time, y, x)


@dataclass(frozen=True)
class Place:
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
    def of(cls, store: Any, group: str | None, storage_options: dict[str, Any] | None) -> Place:
        """Check what a caller passed, and make paths absolute: a worker has its own directory."""
        check_store(store)
        check_group(group, storage_options)
        if isinstance(store, Path) or (isinstance(store, str) and "://" not in store):
            store = str(Path(store).absolute())
        return cls(store, group, storage_options)

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return label_of(self.store) + (f", group {self.group!r}" if self.group else "")

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
        except NO_STORE as error:
            raise no_store(self.store, error) from error

    def array(self, name: str, mode: Any = "r") -> AnyArray:
        """Open an array of the group.

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
        return found


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
        fix="pass store='cube.zarr', for example",
    )


def label_of(store: Any) -> str:
    """What to call a store in a message: without secrets; a dict would be all that is in it."""
    return shown(store) if isinstance(store, dict) else for_message(str(store))


def check_store(store: Any) -> None:
    """Refuse a store that is nothing, or text that names none."""
    nameless = isinstance(store, str | Path) and not _is_name(str(store))
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


def block_shape(array: AnyArray) -> tuple[int, ...]:
    """Return the shape of what one object of the store holds."""
    return tuple(array.chunks if array.shards is None else array.shards)


def variant(array: AnyArray, shape: tuple[int, ...]) -> AnyArray:
    """Return an array over the same objects whose metadata say another shape; in memory only."""
    metadata: Any = array.metadata.to_dict() | {"shape": shape}
    return zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=array.store_path))


def scratch(
    array: AnyArray, data: Mapping[Index, bytes] | None = None, *, lossless: bool = False
) -> AnyArray:
    """Return an array like another one, in memory, with some of its objects.

    Writing goes through it because Zarr reads every shard that it is about to write, even a whole
    one, and could not replace a damaged one. Reading goes through it so that an object is fetched
    once.

    Parameters
    ----------
    array : zarr.Array
    data : dict of bytes, optional
        Objects, by the index of their block.
    lossless : bool
        Whether our codec is to code without loss.

    Returns
    -------
    zarr.Array
        With a shape of whole blocks, enough for the objects and more.
    """
    block = block_shape(array)
    metadata: Any = array.metadata.to_dict()
    counts = [-(-n // s) for n, s in zip(array.shape, block, strict=True)]
    # Dates that are being appended are not in the metadata yet.
    counts[0] = 1 << 20
    metadata["shape"] = tuple(n * s for n, s in zip(counts, block, strict=True))
    if lossless:
        metadata = _lossless(metadata)
    place = zarr.storage.StorePath(zarr.storage.MemoryStore(), "")
    made: AnyArray = zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=place))
    for index, item in (data or {}).items():
        write_object(made, block_key(made, index), item)
    return made


def _lossless(value: Any) -> Any:
    """Return metadata with our codec's settings, wherever they are, changed to lossless."""
    if isinstance(value, Mapping):
        if value.get("name") == CODEC_NAME:
            return {**value, "configuration": _exact(value["configuration"])}
        if value.get("id") == CODEC_NAME:
            return _exact(value)
        return {key: _lossless(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_lossless(item) for item in value]
    return value


def _exact(settings: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in settings.items() if key not in ("psnr", "bpppb")}
    return {**kept, "lam": None, "quality": None, "max_error": 0}


def block_key(array: AnyArray, index: Index) -> str:
    """Return the key of a block's object, relative to the array."""
    t, y, x = index
    return array.metadata.encode_chunk_key((t, 0, y, x))


def read_object(array: AnyArray, key: str) -> bytes | None:
    """Read an object of an array as bytes; None if it is not there."""
    found = sync((array.store_path / key).get())
    return None if found is None else found.to_bytes()


def write_object(array: AnyArray, key: str, data: bytes) -> None:
    """Write an object of an array."""
    from zarr.buffer import default_buffer_prototype

    buffer = default_buffer_prototype().buffer.from_bytes(data)
    sync((array.store_path / key).set(buffer))


def remove_object(array: AnyArray, key: str) -> None:
    """Remove an object of an array, if it is there."""
    sync((array.store_path / key).delete())


def is_transaction(store: Any) -> bool:
    """Tell whether what is written shows after a commit only, all at once: icechunk's sessions."""
    return type(store).__module__.partition(".")[0] == "icechunk"


def digest(data: bytes | None) -> bytes:
    """SHA-256 of an object; that of nothing if there is none."""
    return hashlib.sha256(data or b"").digest()

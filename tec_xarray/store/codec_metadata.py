"""Our codec in the metadata of arrays: found, read, and changed to lossless."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import xarray as xr
import zarr
import zarr.storage

from tec_numcodecs.chunk import seal
from tec_numcodecs.config import CODEC_NAME

AnyArray: TypeAlias = "zarr.Array[Any]"
CODEC = CODEC_NAME  # in both formats
#: Where an encoding of xarray has codecs, in either format.
ENCODING_KEYS = ("serializer", "compressors", "compressor", "filters")
_CODECS = ("codecs", "compressor", "filters")  # of an array's metadata, in either format


def configuration(array: AnyArray) -> dict[str, Any]:
    """Return the configuration of our codec in an array's metadata, {} if it does not have it.

    Only codecs are looked at: attributes are a user's own, whatever they look like.
    """
    metadata = array.metadata.to_dict()
    return next(configurations([metadata.get(key) for key in _CODECS]), {})


def configuration_in(encoding: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the configuration of our codec in an encoding of xarray, {} if it is not there."""
    return next(configurations([encoding.get(key) for key in ENCODING_KEYS]), {})


def configurations(value: Any) -> Iterator[dict[str, Any]]:
    """Find our codec anywhere in metadata (inside of shards, say); lists for tuples, as JSON."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    elif hasattr(value, "get_config"):
        value = value.get_config()
    if isinstance(value, Mapping):
        if value.get("name") == CODEC:
            yield _plain(value.get("configuration", {}))
        elif value.get("id") == CODEC:
            yield _plain({k: v for k, v in value.items() if k != "id"})
        else:
            for item in value.values():
                yield from configurations(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from configurations(item)


def _plain(value: Any) -> Any:
    """Return what JSON makes of a configuration: lists for tuples."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def changed(value: Any, change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Any:
    """Return metadata with the configuration of our codec changed, wherever it is.

    Parameters
    ----------
    value : dict, list or any other JSON value
        As of ``array.metadata.to_dict()``, in either format.
    change : callable
        From a configuration to another one. In format 2 it holds the codec's ``id``, too.

    Returns
    -------
    dict, list or any other JSON value
        The same object if the codec is not in it.
    """
    if isinstance(value, Mapping):
        if value.get("name") == CODEC and isinstance(value.get("configuration"), Mapping):
            return {**value, "configuration": change(value["configuration"])}
        if value.get("id") == CODEC:
            return change(value)
        found = {key: changed(item, change) for key, item in value.items()}
        return found if any(found[key] is not value[key] for key in value) else value
    if isinstance(value, (list, tuple)):
        items = [changed(item, change) for item in value]
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    return value


def lossless(value: Any) -> Any:
    """Return metadata with our codec's settings, wherever they are, changed to lossless."""
    return changed(value, _exact)


def _exact(settings: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in settings.items() if key not in ("psnr", "bpppb")}
    return {**kept, "lam": None, "quality": None, "max_error": 0}


def writable(array: AnyArray) -> AnyArray:
    """Return an array for which our codec encodes: the one of an array that was opened refuses.

    For writers of ours, which know where their samples come from; see `tec_numcodecs.chunk.seal`.
    """
    metadata: Any = array.metadata.to_dict()
    codecs = {key: metadata[key] for key in _CODECS if key in metadata}
    made = changed(codecs, functools.partial(seal.marked, sealed=False))
    if made is codecs:
        return array
    metadata |= made
    return zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=array.store_path))


def check_codec(cube: xr.DataArray, encoding: Mapping[str, Any], zarr_format: int) -> None:
    """Create the array in memory, so that the codec can refuse it before a store is touched."""
    codec = {"compressors": encoding["compressors"], "filters": None}
    if "serializer" in encoding:
        codec |= {"serializer": encoding["serializer"], "fill_value": encoding["fill_value"]}
    # Without shards: Zarr 3.1 does not show these to a codec inside them.
    zarr.create_array(
        store=zarr.storage.MemoryStore(),
        shape=cube.shape,
        dtype=cube.dtype,
        chunks=encoding["chunks"],
        zarr_format=zarr_format,  # type: ignore[arg-type]
        **codec,
    )

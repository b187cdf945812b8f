"""Copies of weights inside an archive: written once, found by readers that lack the file.

A group beside the cube holds the bytes of each safetensors file as an array named by its SHA-256,
so that Zarr alone can read them back. A codec inside Zarr never learns which store it decodes for,
so it cannot look there: whatever opens an archive through `tec_xarray` does, and puts what it finds
into the user's cache of weights, where every later reader on the machine finds it.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec

from tec_numcodecs.arguments import shown
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput, WeightsError
from tec_numcodecs.models.table import FAMILIES, family_of
from tec_numcodecs.models.weights_lookup import ensure_local
from tec_numcodecs.weights import local_store
from tec_numcodecs.weights.local_store import WeightsId
from tec_xarray.store.codec_metadata import AnyArray
from tec_xarray.store.location import DAMAGED, StoreLocation, damaged_metadata, member
from tec_xarray.store.objects import block_shape

EMBEDDED = "tec_weights"

_MOST = max(family.largest for family in FAMILIES)  # bytes of a copy of which nothing is known
_CHUNK = 1 << 24  # of a copy: what is in memory at a time
_MOST_CHUNKS = 1 << 12  # none of ours has more than 64
# What Zarr raises for an object that is not what its metadata say.
_DAMAGED = (*DAMAGED, RuntimeError, OSError, MemoryError)
_DIGEST = re.compile(r"[0-9a-f]{64}")


def embed(place: StoreLocation, weights: WeightsId) -> None:
    """Write a copy of a weights file into the archive at a place, if it is not there.

    Raises
    ------
    WeightsError
        The file is not to be had.
    """
    data = ensure_local(weights).read_bytes()
    parent = place.open(mode="r+")
    group = parent.require_group(EMBEDDED)
    there = member(group, weights.sha256)
    if isinstance(there, zarr.Array) and _why_damaged(there) is None:
        return
    settings: dict[str, Any] = {"attributes": {"id": weights.id, "format": "safetensors"}}
    if parent.metadata.zarr_format == 3:
        settings |= {"dimension_names": ["byte"], "compressors": ZstdCodec(checksum=True)}
    else:
        settings["attributes"]["_ARRAY_DIMENSIONS"] = ["byte"]
    array = group.create_array(
        weights.sha256,
        shape=(len(data),),
        chunks=(min(len(data), _CHUNK),),
        dtype="uint8",
        fill_value=0,
        overwrite=there is not None,
        **settings,
    )
    array[:] = np.frombuffer(data, np.uint8)


def ensure(place: StoreLocation, codec: Mapping[str, Any]) -> None:
    """Make the weights of an archive known to this machine, if it holds a copy and they are not.

    Parameters
    ----------
    place : StoreLocation
    codec : mapping
        The configuration of the codec in the array's metadata.

    Raises
    ------
    WeightsError
        The copy is damaged.
    """
    if not codec:
        return
    weights = CodecConfig.from_json(codec).weights
    try:
        local_store.locate(weights)
    except WeightsError:
        group = _group(place)
        array = None if group is None else member(group, weights.sha256)
        if not isinstance(array, zarr.Array):  # whoever decodes says what is missing
            return
        with tempfile.TemporaryDirectory() as scratch:
            path = _write(array, Path(scratch), _limit(weights))
            local_store.keep(path, weights.sha256)


def extract(
    store: Any,
    directory: str | Path,
    *,
    group: str | None = None,
    storage_options: dict[str, Any] | None = None,
) -> list[Path]:
    """Write the copies of weights that an archive holds to files, as ``TEC_WEIGHTS_DIR`` has them.

    Parameters
    ----------
    store, group, storage_options
        As of ``xr.open_zarr``.
    directory : path
        Made if it is not there.

    Returns
    -------
    list of Path
        ``<sha256>.safetensors`` each.

    Raises
    ------
    InvalidInput
        The archive holds none.
    WeightsError
        A copy is damaged.
    """
    place = StoreLocation.of(store, group, storage_options)
    found = _arrays(place)
    if not found:
        raise InvalidInput(
            f"no weights in {place.label}",
            allowed="archives made with compress(..., embed_weights=True)",
            fix="the attributes tec_weights_sha256 and tec_weights_source say what is needed, and "
            "where to get it",
        )
    target = Path(directory).expanduser()
    target.mkdir(parents=True, exist_ok=True)
    return [_write(array, target) for array in found.values()]


def open_zarr(
    store: Any,
    *,
    group: str | None = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> xr.Dataset:
    """Open an archive as ``xr.open_zarr`` does, with the weights that it may bring along.

    Only needed where the weights are not installed: else ``xr.open_zarr`` does.

    Parameters
    ----------
    store, group, storage_options, **options
        As of ``xr.open_zarr``.

    Raises
    ------
    InvalidInput
        There is no Zarr group.
    WeightsError
        A copy of weights is damaged.
    """
    from tec_xarray.store.codec_metadata import configuration

    place = StoreLocation.of(store, group, storage_options)
    for _, array in place.open().arrays():
        codec = configuration(array)
        if codec:
            ensure(place, codec)
    opened: xr.Dataset = xr.open_zarr(
        place.store, group=group, storage_options=storage_options, **options
    )
    return opened


def damaged(place: StoreLocation) -> list[tuple[str, str]]:
    """List copies that are not what their name says: where, and what is wrong."""
    reasons = {name: _why_damaged(array) for name, array in _arrays(place).items()}
    return [(f"{EMBEDDED}/{name}", reason) for name, reason in reasons.items() if reason]


def _group(place: StoreLocation) -> zarr.Group | None:
    found = member(place.open(), EMBEDDED)
    return found if isinstance(found, zarr.Group) else None


def _arrays(place: StoreLocation) -> dict[str, AnyArray]:
    group = _group(place)
    if group is None:
        return {}
    try:
        return {name: array for name, array in group.arrays() if _DIGEST.fullmatch(name)}
    except _DAMAGED as error:
        raise damaged_metadata(repr(group.path), error) from error


def _why_damaged(array: AnyArray) -> str | None:
    """Say what is wrong with a copy; None if it is whole."""
    try:
        for _ in _parts(array, _MOST):
            pass
    except WeightsError as error:
        return str(error)
    return None


def _limit(weights: WeightsId) -> int:
    """Bytes that a file may have: what is known about its digest, or what its family may take."""
    known = local_store.known_size(weights.sha256)
    family = family_of(weights.family)
    return known if known is not None else _MOST if family is None else family.largest


def _parts(array: AnyArray, limit: int) -> Iterator[bytes]:
    """Read a copy piece by piece; its name is the digest that it must have.

    Nothing is read before its size is known to be allowed, and no more than a chunk is in memory.

    Raises
    ------
    WeightsError
        It is too large, cut into pieces that none of ours has, cannot be read, or has another
        digest. The last is found out at the end: what came before must not be used.
    """
    name = array.store_path.path.rpartition("/")[2]
    if array.ndim != 1 or array.dtype != np.uint8 or array.shape[0] > limit:
        raise WeightsError(
            f"embedded weights of shape {shown(array.shape)}, {shown(array.dtype)}",
            allowed=f"up to {limit} bytes, uint8",
            fix="the archive is damaged, or made to harm: do not use it",
        )
    size, chunk = array.shape[0], block_shape(array)[0]
    if not 0 < chunk <= _CHUNK or -(-size // chunk) > _MOST_CHUNKS:
        raise WeightsError(
            f"embedded weights of {size} bytes in chunks of {chunk}",
            allowed=f"up to {_CHUNK} bytes in each, up to {_MOST_CHUNKS} of them",
            fix="the archive is damaged, or made to harm: do not use it",
        )
    digest = hashlib.sha256()
    for start in range(0, size, chunk):
        try:
            part = np.asarray(array[start : start + chunk]).tobytes()
        except _DAMAGED as error:
            raise WeightsError(
                f"embedded weights {name} that cannot be read: {type(error).__name__}: {error}",
                fix="the copy in the archive is damaged: get the file elsewhere (the attribute "
                "tec_weights_source says where) and put it into TEC_WEIGHTS_DIR",
            ) from error
        digest.update(part)
        yield part
    if digest.hexdigest() != name:
        raise WeightsError(
            f"embedded weights with SHA-256 {digest.hexdigest()}",
            allowed=f"{name}, their name",
            fix="the copy in the archive is damaged: get the file elsewhere (the attribute "
            "tec_weights_source says where) and put it into TEC_WEIGHTS_DIR",
        )


def _write(array: AnyArray, directory: Path, limit: int = _MOST) -> Path:
    """Write a copy to a file named by its digest, which no half a file ever is."""
    path = directory / f"{array.store_path.path.rpartition('/')[2]}.safetensors"
    half = path.with_suffix(".partial")
    try:
        with half.open("wb") as file:
            file.writelines(_parts(array, limit))
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    return path

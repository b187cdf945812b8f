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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec

from tec_numcodecs.errors import InvalidInput, WeightsError
from tec_numcodecs.models.weights_lookup import obtain
from tec_numcodecs.weights import local_store
from tec_numcodecs.weights.local_store import WeightsId
from tec_xarray.store.location import AnyArray, Place

EMBEDDED = "tec_weights"

_MOST = 1 << 32  # bytes; the largest published checkpoint is a tenth of it
_CHUNK = 1 << 24
_DIGEST = re.compile(r"[0-9a-f]{64}")


def embed(place: Place, weights: WeightsId) -> None:
    """Write a copy of a weights file into the archive at a place, if it is not there.

    Raises
    ------
    WeightsError
        The file is not to be had.
    """
    data = obtain(weights).read_bytes()
    parent = place.open(mode="r+")
    group = parent.require_group(EMBEDDED)
    there = group.get(weights.sha256)
    if isinstance(there, zarr.Array) and _is_whole(there):
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


def ensure(place: Place, codec: Mapping[str, Any]) -> None:
    """Make the weights of an archive known to this machine, if it holds a copy and they are not.

    Parameters
    ----------
    place : Place
    codec : mapping
        The configuration of the codec in the array's metadata.

    Raises
    ------
    WeightsError
        The copy is damaged.
    """
    named = codec.get("weights")
    if not isinstance(named, Mapping):
        return
    weights = local_store.resolve(named, str(codec.get("model")))
    try:
        local_store.locate(weights)
    except WeightsError:
        array = _arrays(place).get(weights.sha256)
        if array is None:  # whoever decodes says what is missing, and where it can be had
            return
        with tempfile.TemporaryDirectory() as scratch:
            local_store.keep(_write(array, Path(scratch)), weights.sha256)


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
    place = Place.of(store, group, storage_options)
    found = _arrays(place)
    if not found:
        raise InvalidInput(
            f"no weights in {place.label}",
            allowed="archives made with compress(..., embed_weights=True)",
            fix="the attributes tec_weights_sha256 and tec_weights_source say what is needed, and "
            "where to get it",
        )
    target = Path(directory)
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
    from tec_xarray.store.reading import configuration

    place = Place.of(store, group, storage_options)
    for _, array in place.open().arrays():
        codec = configuration(array)
        if codec:
            ensure(place, codec)
    opened: xr.Dataset = xr.open_zarr(
        store, group=group, storage_options=storage_options, **options
    )
    return opened


def damaged(place: Place) -> list[tuple[str, str]]:
    """List copies that are not what their name says: where, and what is wrong."""
    found = []
    for name, array in _arrays(place).items():
        try:
            _bytes(array)
        except (WeightsError, ValueError, RuntimeError) as error:
            found.append((f"{EMBEDDED}/{name}", str(error)))
    return found


def _arrays(place: Place) -> dict[str, AnyArray]:
    group = place.open().get(EMBEDDED)
    if not isinstance(group, zarr.Group):
        return {}
    return {name: array for name, array in group.arrays() if _DIGEST.fullmatch(name)}


def _is_whole(array: AnyArray) -> bool:
    try:
        _bytes(array)
    except (WeightsError, ValueError, RuntimeError):
        return False
    return True


def _bytes(array: AnyArray) -> bytes:
    """Read a copy; its name is the digest that it must have."""
    name = array.store_path.path.rpartition("/")[2]
    if array.ndim != 1 or array.dtype != np.uint8 or array.shape[0] > _MOST:
        raise WeightsError(
            f"embedded weights of shape {array.shape}, {array.dtype}",
            allowed=f"up to {_MOST} bytes, uint8",
        )
    data = np.asarray(array[:]).tobytes()
    found = hashlib.sha256(data).hexdigest()
    if found != name:
        raise WeightsError(
            f"embedded weights with SHA-256 {found}",
            allowed=f"{name}, their name",
            fix="the copy in the archive is damaged: get the file elsewhere (the attribute "
            "tec_weights_source says where) and put it into TEC_WEIGHTS_DIR",
        )
    return data


def _write(array: AnyArray, directory: Path) -> Path:
    data = _bytes(array)
    path = directory / f"{hashlib.sha256(data).hexdigest()}.safetensors"
    half = path.with_suffix(".partial")
    half.write_bytes(data)
    half.replace(path)
    return path

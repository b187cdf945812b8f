"""Data for an archive that is there get its settings and its order of bands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import xarray as xr

from tec_numcodecs.arguments import choice, known
from tec_xarray.archive.matching import check_like
from tec_xarray.cube.bands import find_source
from tec_xarray.cube.layout import as_dataset, cube_of
from tec_xarray.encoding.encode_dataset import EncodingSettings, by_band, encode_dataset
from tec_xarray.store.codec_metadata import configuration_in

if TYPE_CHECKING:
    from tec_xarray.archive.handle import Archive

#: What an array has for good: nobody may say otherwise of data that come later.
_OF_THE_ARRAY = ("chunks", "shards", "zarr_format")


def mark_like(
    data: xr.Dataset | xr.DataArray, archive: Archive, settings: Mapping[str, Any]
) -> xr.Dataset:
    """Mark data with the settings of an archive, and refuse what does not belong into it."""
    taken = [field.name for field in fields(EncodingSettings) if field.name not in _OF_THE_ARRAY]
    known(settings, taken, "data for an archive")
    array = archive.array
    own = {key: value for key, value in archive.codec.items() if key != "bands"}
    settings = dict(settings)
    per = choice("per", settings.pop("per", "chunk"), ("chunk", "cube"))
    if per == "cube":  # what came of it is the archive's lam
        settings = {k: v for k, v in settings.items() if k not in ("psnr", "bpppb")}
    if isinstance(settings.get("max_error"), (list, tuple)):  # as the data have the bands
        keys = ("bands", "sensor", "variable")
        found = find_source(as_dataset(data), **{key: settings.get(key) for key in keys})
        _, places = found.in_order(archive.codec["bands"])
        settings["max_error"] = by_band(settings["max_error"], places)
    own.update(settings)
    shards = array.shards if array.shards is not None else False
    marked = encode_dataset(
        data,
        EncodingSettings(
            **own,
            chunks=array.chunks,
            shards=None if array.metadata.zarr_format == 2 else shards,
            zarr_format=array.metadata.zarr_format,
        ),
        order=archive.codec["bands"],
    ).dataset
    codec = configuration_in(cube_of(marked).encoding)
    check_like(marked, archive.stored(), archive.codec, archive.place.label, codec)
    return marked

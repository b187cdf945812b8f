"""Data for an archive that is there get its settings and its order of bands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import xarray as xr

from tec_numcodecs.arguments import choice, known
from tec_xarray.archive.matching import check_like
from tec_xarray.cube.bands import find_axes, find_source
from tec_xarray.cube.layout import as_dataset, cube_of
from tec_xarray.encoding.encode_dataset import EncodingSettings, encode_dataset
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
    data, settings = in_order(data, archive.codec["bands"], settings)
    shards = array.shards if array.shards is not None else False
    marked = encode_dataset(
        data,
        EncodingSettings(
            **{**own, **settings},
            chunks=array.chunks,
            shards=None if array.metadata.zarr_format == 2 else shards,
            zarr_format=array.metadata.zarr_format,
        ),
    ).dataset
    found = configuration_in(cube_of(marked).encoding)
    check_like(marked, archive.stored(), archive.codec, archive.place.label, found)
    return marked


def in_order(
    data: xr.Dataset | xr.DataArray, wanted: list[str], settings: Mapping[str, Any]
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Bring the bands of data into an archive's order, where they are the same bands.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        In any layout of `tec_xarray.to_cube`.
    wanted : list of str
        Canonical names.
    settings : mapping
        Of `tec_xarray.compress`; those that follow the order of the bands are ordered with them.

    Returns
    -------
    xarray.Dataset, dict
        Data and settings; as they were, if the order is right or no order could be.
    """
    dataset, settings = as_dataset(data), dict(settings)
    keys = ("bands", "sensor", "variable")
    found = find_source(dataset, **{key: settings.get(key) for key in keys})
    if found.bands == wanted or sorted(found.bands) != sorted(wanted):
        return dataset, settings
    order = [found.bands.index(band) for band in wanted]
    if found.form == "variables":
        settings["bands"] = {found.variables[i]: found.bands[i] for i in order}
    else:
        places = order if found.positions is None else [found.positions[i] for i in order]
        dataset = dataset.isel({find_axes(dataset[found.variables[0]]).band: places})
        settings |= _reordered(settings, "bands", order)
    return dataset, settings | _reordered(settings, "max_error", order)


def _reordered(settings: Mapping[str, Any], key: str, order: list[int]) -> dict[str, Any]:
    """Return a setting that has one value a band in another order; {} if it is no such list."""
    value = settings.get(key)
    if not isinstance(value, (list, tuple)) or len(value) != len(order):
        return {}
    return {key: [value[i] for i in order]}

"""What is in each item: which file is which band, on which grid, with which offset.

Everything that can be wrong with an item without reading a pixel is found here, for all items at
once, so that an archive does not fail at four in the morning.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime as DateTime
from typing import Any

import pystac
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.sensors import Sensor
from tec_xarray.stac.errors import CatalogWarning, listed
from tec_xarray.stac.offset import Offset, decide, find_baseline, stated_offset
from tec_xarray.stac.search import when_taken

SCL = "SCL"
DTYPES = {SCL: "uint8"}
DTYPE = "uint16"  # of bands

# Not the data themselves: pictures of them, and the same in a format that is slow to read.
_NOT_DATA = {"thumbnail", "overview", "visual", "metadata"}


@dataclass(frozen=True)
class File:
    """One band of one item: where it is, and its grid if the item says."""

    href: str
    grid: GeoBox | None


@dataclass(frozen=True)
class Scene:
    """An item, understood.

    Attributes
    ----------
    id : str
        Of the item.
    taken : datetime
        UTC, without time zone.
    baseline : str
        Processing baseline, ``""`` if unknown.
    offset : Offset
        What its DN carry.
    files : dict of File
        By canonical name of the band, and ``SCL``.
    footprint : dict or None
        Its geometry, in longitude and latitude.
    """

    id: str
    taken: DateTime
    baseline: str
    offset: Offset
    files: Mapping[str, File]
    footprint: Mapping[str, Any] | None


def name_bands(
    items: Sequence[pystac.Item], sensor: Sensor, bands: Sequence[str] | None
) -> list[str]:
    """Return the bands to load, canonical, ``SCL`` last; by default every one that any item has."""
    if bands is not None and not bands:
        raise InvalidInput("no bands", allowed=f"{', '.join(sensor.bands)}, {SCL}")
    if bands is not None:
        wanted = [b for b in bands if b.upper() != SCL]
        places = sensor.indices(wanted) if wanted else ()
        classes = [SCL] if len(wanted) < len(bands) else []
        return [*(sensor.bands[i] for i in places), *classes]
    found = {name for item in items for name in _assets(item, sensor)}
    if not found - {SCL}:
        raise InvalidInput(
            f"no bands of {sensor.name} in items such as {items[0].id!r}, whose assets are "
            f"{listed(list(items[0].assets), 20)}",
            allowed=", ".join(sensor.bands),
            fix="pass another collection or sensor",
        )
    return [name for name in (*sensor.bands, SCL) if name in found]


def understand(
    items: Sequence[pystac.Item],
    sensor: Sensor,
    bands: Sequence[str],
    *,
    harmonize: str,
    skip: bool,
) -> list[Scene]:
    """Understand every item, or say what is wrong with all that are wrong.

    Parameters
    ----------
    items : sequence of pystac.Item
    sensor : Sensor
    bands : sequence of str
        From `name_bands`.
    harmonize : {"auto", "never", "force"}
    skip : bool
        Leave out items that are wrong, with a warning, instead of raising.

    Raises
    ------
    InvalidInput
        Files are missing, are not what they should be, or nothing tells an offset.
    """
    scenes, wrong = [], []
    for item in items:
        try:
            scenes.append(_scene(item, sensor, bands, harmonize))
        except InvalidInput as error:
            wrong.append(f"{item.id}: {error.found}")
    if wrong and (not skip or not scenes):
        raise InvalidInput(
            f"{len(wrong)} of {len(items)} items cannot be used: {'; '.join(wrong[:10])}"
            + (f"; and {len(wrong) - 10} more" if len(wrong) > 10 else ""),
            allowed=f"items with a file for each of {', '.join(bands)}, and a known offset",
            fix="leave these items out with on_bad_item='skip', or load fewer bands; where only "
            "the offset is unknown, harmonize='never' keeps DN as they are",
        )
    if wrong:
        warnings.warn(
            f"left out {len(wrong)} of {len(items)} items: {'; '.join(wrong)}",
            CatalogWarning,
            stacklevel=3,
        )
    odd = [f"{s.id} ({s.offset.because}, but {s.offset.conflict})" for s in scenes
           if s.offset.conflict]  # fmt: skip
    if odd and harmonize == "auto":
        warnings.warn(
            f"{len(odd)} of {len(scenes)} items contradict themselves about the offset of their "
            f"DN; the first of these was believed: {listed(odd, 3)}",
            CatalogWarning,
            stacklevel=3,
        )
    return scenes


def _scene(item: pystac.Item, sensor: Sensor, bands: Sequence[str], harmonize: str) -> Scene:
    assets = _assets(item, sensor)
    missing = [band for band in bands if band not in assets]
    if missing:
        raise InvalidInput(f"no file for {', '.join(missing)}")
    fields = {band: assets[band].to_dict() for band in bands}
    for band in bands:
        _check_type(band, fields[band])
    stated = {stated_offset(fields[band]) for band in bands if band != SCL}
    if len(stated) > 1:
        raise InvalidInput(f"bands with different offsets ({sorted(map(str, stated))})")
    offset = decide(item.properties, next(iter(stated), None), harmonize)
    if offset.value is None and harmonize != "never" and stated:
        raise InvalidInput("nothing tells whether its DN carry an offset")
    files = {}
    for band in bands:
        href = assets[band].get_absolute_href() or assets[band].href
        files[band] = File(href, _grid(item.properties, fields[band]))
    return Scene(
        id=item.id,
        taken=when_taken(item).replace(tzinfo=None),
        baseline=find_baseline(item.properties),
        offset=offset,
        files=files,
        footprint=item.geometry,
    )


def _assets(item: pystac.Item, sensor: Sensor) -> dict[str, pystac.Asset]:
    """Return the best asset for each band that an item has."""
    ranked: dict[str, list[tuple[tuple[int, float, str], pystac.Asset]]] = {}
    for key, asset in item.assets.items():
        band = _band(key, asset, sensor)
        if band and not _NOT_DATA & {key, *(asset.roles or [])}:
            # JPEG 2000 twins last; of several resolutions of one band, the finest.
            slow = int(key.endswith("-jp2"))
            ranked.setdefault(band, []).append(((slow, _size(asset), key), asset))
    return {band: min(found, key=lambda f: f[0])[1] for band, found in ranked.items()}


def _band(key: str, asset: pystac.Asset, sensor: Sensor) -> str:
    """Return which band an asset is: by its key, else by what it says it holds; else ``""``."""
    described = asset.extra_fields.get("eo:bands") or asset.extra_fields.get("bands") or []
    names = [key]
    if len(described) == 1:
        names += [str(described[0].get(k, "")) for k in ("name", "eo:common_name", "common_name")]
    for name in names:
        if name.lower().removesuffix("-jp2").removesuffix("_20m").removesuffix("_60m") == "scl":
            return SCL
        try:
            return sensor.canonical(name)
        except InvalidInput:
            continue
    return ""


def _size(asset: pystac.Asset) -> float:
    """Return the pixel size of an asset, as far as it says."""
    transform = asset.extra_fields.get("proj:transform")
    if transform:
        return abs(float(transform[0]))
    for band in (*asset.extra_fields.get("raster:bands", ()), asset.extra_fields):
        for key in ("spatial_resolution", "raster:spatial_resolution", "gsd"):
            if band.get(key):
                return float(band[key])
    return float("inf")


def _check_type(band: str, asset: Mapping[str, Any]) -> None:
    """Refuse files that say that they hold something else."""
    wanted = DTYPES.get(band, DTYPE)
    described = asset.get("raster:bands") or asset.get("bands") or [{}]
    stated = described[0].get("data_type") or asset.get("data_type")
    if stated not in (None, wanted):
        raise InvalidInput(f"{band} holds {stated}, not {wanted}")
    nodata = described[0].get("nodata", asset.get("nodata"))
    if nodata not in (None, 0):
        raise InvalidInput(f"{band} has nodata = {nodata}, not 0")


def _grid(properties: Mapping[str, Any], asset: Mapping[str, Any]) -> GeoBox | None:
    """Return the grid of a file, None if the item does not describe it completely."""
    shape, transform = asset.get("proj:shape"), asset.get("proj:transform")
    crs = _crs(asset) or _crs(properties)
    if not shape or not transform or crs is None:
        return None
    from affine import Affine

    return GeoBox(tuple(shape), Affine(*transform[:6]), crs)


def _crs(fields: Mapping[str, Any]) -> CRS | None:
    for key in ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson"):
        value = fields.get(key)
        if value is None:
            continue
        try:
            return CRS(f"EPSG:{value}" if key == "proj:epsg" else value)
        except (ValueError, RuntimeError) as error:
            raise InvalidInput(f"{key} = {value!r:.60} is no CRS") from error
    return None

"""What is in each item: which file is which band, on which grid, with which offset.

Everything that can be wrong with an item without reading a pixel is found here, for all items at
once, so that an archive does not fail at four in the morning.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime as DateTime
from typing import Any

import pystac
from odc.geo.geobox import GeoBox

from tec_numcodecs.arguments import first_few, shown
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.redaction import for_message
from tec_numcodecs.sensors import Sensor
from tec_xarray.stac.errors import CatalogWarning
from tec_xarray.stac.item_grid import check_place, finite, stated_grid
from tec_xarray.stac.links import LinkPolicy
from tec_xarray.stac.offset import Offset, decide, find_baseline, stated_offset
from tec_xarray.stac.parse import blame_item, when_taken
from tec_xarray.stac.search import Candidate, Found

SCL = "SCL"
DTYPES = {SCL: "uint8"}
DTYPE = "uint16"  # of bands

# Not the data themselves: pictures of them, and the same in a format that is slow to read.
_NOT_DATA = {"thumbnail", "overview", "visual", "metadata"}


@dataclass(frozen=True)
class File:
    """One band of one item: where it is, its grid if the item says, and what may read it."""

    href: str
    grid: GeoBox | None
    driver: str | None


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
    policy : LinkPolicy
        What its links may name.
    """

    id: str
    taken: DateTime
    baseline: str
    offset: Offset
    files: Mapping[str, File]
    footprint: Mapping[str, Any] | None
    policy: LinkPolicy


def name_bands(
    candidates: Sequence[Candidate], sensor: Sensor, bands: Sequence[str] | None
) -> list[str]:
    """Return the bands to load, canonical, ``SCL`` last; by default every one that any item has."""
    if bands is not None and not bands:
        raise InvalidInput("no bands", allowed=f"{', '.join(sensor.bands)}, {SCL}")
    if bands is not None:
        wanted = [b for b in bands if b.upper() != SCL]
        places = sensor.indices(wanted) if wanted else ()
        classes = [SCL] if len(wanted) < len(bands) else []
        return [*(sensor.bands[i] for i in places), *classes]
    found: set[str] = set()
    for candidate in candidates:
        # What is malformed is told with everything else that is wrong with this item.
        with contextlib.suppress(InvalidInput), blame_item():
            found |= set(_assets(candidate.item, sensor))
    if candidates and not found - {SCL}:
        item = candidates[0].item
        raise InvalidInput(
            f"no bands of {sensor.name} in items such as {item.id!r}, whose assets are "
            f"{first_few([str(key) for key in item.assets], 20)}",
            allowed=", ".join(sensor.bands),
            fix="pass another collection or sensor",
        )
    return [name for name in (*sensor.bands, SCL) if name in found]


def understand(
    found: Found,
    sensor: Sensor,
    bands: Sequence[str],
    *,
    harmonize: str,
    skip: bool,
    signed: bool,
) -> list[Scene]:
    """Understand every item, or say what is wrong with all that are wrong.

    Parameters
    ----------
    found : Found
    sensor : Sensor
    bands : sequence of str
        From `name_bands`.
    harmonize : {"auto", "never", "force"}
    skip : bool
        Leave out items that are wrong, with a warning, instead of raising.
    signed : bool
        Whether a function of the user makes other links before files are read.

    Raises
    ------
    InvalidInput
        Items are malformed, files are missing or not what they should be, or nothing tells an
        offset.
    """
    scenes, wrong = [], list(found.wrong)
    each = f"a file for each of {', '.join(bands)}" if bands else "files of bands"
    allowed = f"items that can be compared with the query, with {each} and a known offset"
    fix = (
        "leave these items out with on_bad_item='skip', or load fewer bands; where only the "
        "offset is unknown, harmonize='never' keeps DN as they are"
    )
    for candidate in found.candidates:
        try:
            with blame_item():
                scenes.append(_scene(candidate, sensor, bands, harmonize, signed=signed))
        except InvalidInput as error:
            wrong.append(f"{candidate.item.id}: {error.found}")
            if error.fix and "allow_" in error.fix:  # about all items of a catalog alike
                allowed, fix = error.allowed or allowed, error.fix
    total = len(scenes) + len(wrong)
    if wrong and (not skip or not scenes):
        raise InvalidInput(
            f"{len(wrong)} of {total} items cannot be used: {'; '.join(wrong[:10])}"
            + (f"; and {len(wrong) - 10} more" if len(wrong) > 10 else ""),
            allowed=allowed,
            fix=fix,
        )
    if wrong:
        warnings.warn(
            for_message(f"left out {len(wrong)} of {total} items: {'; '.join(wrong)}"),
            CatalogWarning,
            stacklevel=3,
        )
    odd = [f"{s.id} ({s.offset.because}, but {s.offset.conflict})" for s in scenes
           if s.offset.conflict]  # fmt: skip
    if odd and harmonize == "auto":
        warnings.warn(
            for_message(
                f"{len(odd)} of {len(scenes)} items contradict themselves about the offset of "
                f"their DN; the first of these was believed: {first_few(odd, 3)}"
            ),
            CatalogWarning,
            stacklevel=3,
        )
    return scenes


def _scene(
    candidate: Candidate, sensor: Sensor, bands: Sequence[str], harmonize: str, *, signed: bool
) -> Scene:
    item, policy = candidate.item, candidate.policy
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
        policy.check(href, signed=signed)
        driver = policy.driver(href, assets[band].media_type)
        files[band] = File(href, stated_grid(item.properties, fields[band]), driver)
    check_place(item, [file.grid for file in files.values() if file.grid is not None])
    return Scene(
        id=item.id,
        taken=when_taken(item).replace(tzinfo=None),
        baseline=find_baseline(item.properties),
        offset=offset,
        files=files,
        footprint=item.geometry,
        policy=policy,
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
    described = _bands(asset.extra_fields, "eo:bands")
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


def _bands(asset: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return what an asset says of its bands: under a key of STAC 1.0, or as in 1.1."""
    described = asset.get(key) or asset.get("bands") or []
    if not isinstance(described, list | tuple) or not all(
        isinstance(band, Mapping) for band in described
    ):
        raise InvalidInput(f"{key} = {shown(described)}", allowed="a list of objects")
    return list(described)


def _size(asset: pystac.Asset) -> float:
    """Return the pixel size of an asset, as far as it says."""
    transform = asset.extra_fields.get("proj:transform")
    if transform:
        return abs(finite("proj:transform", transform[0]))
    for band in (*_bands(asset.extra_fields, "raster:bands"), asset.extra_fields):
        for key in ("spatial_resolution", "raster:spatial_resolution", "gsd"):
            if band.get(key):
                return finite(key, band[key])
    return math.inf


def _check_type(band: str, asset: Mapping[str, Any]) -> None:
    """Refuse files that say that they hold something else."""
    wanted = DTYPES.get(band, DTYPE)
    described = _bands(asset, "raster:bands") or [{}]
    stated = described[0].get("data_type") or asset.get("data_type")
    if stated not in (None, wanted):
        raise InvalidInput(f"{band} holds {stated!s:.40}, not {wanted}")
    nodata = described[0].get("nodata", asset.get("nodata"))
    if nodata not in (None, 0):
        raise InvalidInput(f"{band} has nodata = {shown(nodata)}, not 0")

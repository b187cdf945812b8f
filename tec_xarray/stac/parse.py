"""One item, checked: every way in which it is malformed is one kind of error that names it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pystac
import pystac.utils
import shapely
import shapely.geometry

from tec_numcodecs.arguments import shown
from tec_numcodecs.errors import InvalidInput

_MOST_ID = 500  # characters
_YEARS = range(1700, 2200)  # what nanoseconds since 1970 can hold, and a bit less


@contextlib.contextmanager
def blame_item() -> Iterator[None]:
    """Turn whatever reading a foreign document raises into `InvalidInput`.

    pystac, shapely and pyproj raise what Python does for a type that they did not expect.
    """
    try:
        yield
    except InvalidInput:
        raise
    except RecursionError as error:
        raise InvalidInput("nested too deeply") from error
    except Exception as error:
        raise InvalidInput(f"malformed ({type(error).__name__}: {shown(str(error))})") from error


def parse_item(raw: Any) -> pystac.Item:
    """Return an item whose parts have the types that the STAC specification says.

    Parameters
    ----------
    raw : dict or pystac.Item
        What a catalog, or a caller, gave. It is not changed.

    Raises
    ------
    InvalidInput
        It is no item, or parts of it are something else.
    """
    with blame_item():
        if isinstance(raw, pystac.Item):
            item = raw
        else:
            _check_document(raw)
            # Old STAC versions are migrated; a copy, as the caller's must not change.
            item = pystac.Item.from_dict(dict(raw), preserve_dict=True)
        _check_item(item)
    return item


def name_of(raw: Any) -> str:
    """Return the id of an item for a message, whatever it is."""
    found = raw.get("id") if isinstance(raw, Mapping) else getattr(raw, "id", None)
    return found if isinstance(found, str) and 0 < len(found) <= _MOST_ID else shown(found)


def when_taken(item: pystac.Item) -> Any:
    """Return when an item was taken, with time zone."""
    taken = item.datetime or item.common_metadata.start_datetime
    if taken is None:
        raise InvalidInput(f"item {item.id!r} has no date", allowed="items with datetime")
    return pystac.utils.str_to_datetime(pystac.utils.datetime_to_str(taken))


def _check_document(raw: Any) -> None:
    """Refuse a document that pystac would take to pieces in surprising ways."""
    if not isinstance(raw, Mapping):
        raise InvalidInput(f"an item that is {shown(raw)}", allowed="an object")
    if raw.get("type") != "Feature":
        raise InvalidInput(f"type = {shown(raw.get('type'))}", allowed="'Feature'")
    for name, kind in (("properties", Mapping), ("assets", Mapping)):
        if not isinstance(raw.get(name), kind):
            raise InvalidInput(f"{name} = {shown(raw.get(name))}", allowed="an object")
    for key, asset in raw["assets"].items():
        if not isinstance(asset, Mapping) or not isinstance(asset.get("href"), str):
            raise InvalidInput(f"asset {shown(key)} = {shown(asset)}", allowed="an href")
    links = raw.get("links") or []
    if not isinstance(links, list) or not all(
        isinstance(link, Mapping) and isinstance(link.get("href"), str) for link in links
    ):
        raise InvalidInput(f"links = {shown(links)}", allowed="a list of links with href")


def _check_item(item: Any) -> None:
    if (
        not isinstance(item.id, str)
        or not 0 < len(item.id) <= _MOST_ID
        or not item.id.isprintable()
    ):
        raise InvalidInput(
            f"id = {shown(item.id)}", allowed=f"1 to {_MOST_ID} printable characters"
        )
    if not isinstance(item.properties, Mapping):
        raise InvalidInput(f"properties = {shown(item.properties)}", allowed="an object")
    if not isinstance(item.collection_id, str | None):
        raise InvalidInput(f"collection = {shown(item.collection_id)}", allowed="its id")
    taken = when_taken(item)
    if taken.year not in _YEARS:
        raise InvalidInput(f"datetime = {taken}", allowed=f"{_YEARS[0]} to {_YEARS[-1]}")
    if item.geometry is not None:
        footprint(item)


def footprint(item: pystac.Item) -> Any:
    """Return the geometry of an item in longitude and latitude, a shapely geometry, or None.

    Raises
    ------
    InvalidInput
        It is none, or lies off the Earth.
    """
    if item.geometry is None:
        return None
    found = shapely.geometry.shape(item.geometry)
    west, south, east, north = found.bounds or (math.nan,) * 4
    if not (-360 <= west <= east <= 360 and -90.001 <= south <= north <= 90.001):
        raise InvalidInput(
            f"geometry = {shown(item.geometry)}", allowed="GeoJSON in longitude and latitude"
        )
    return found if found.is_valid else shapely.make_valid(found)

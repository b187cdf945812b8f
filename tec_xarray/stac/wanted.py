"""What to search for, and whether an item is that."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import pystac
import pystac.utils
import pystac_client
import shapely.errors
import shapely.geometry

from tec_numcodecs.arguments import first_few, mapping, number, sequence, shown, text, whole
from tec_numcodecs.errors import InvalidInput
from tec_xarray.stac.parse import footprint, when_taken

Query: TypeAlias = Mapping[str, Mapping[str, Any]]

_EXAMPLE = "{'eo:cloud_cover': {'lt': 40}}"
_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": lambda value, allowed: value in allowed,
    "startsWith": lambda value, start: str(value).startswith(start),
    "endsWith": lambda value, end: str(value).endswith(end),
    "contains": lambda value, part: part in value,
}


@dataclass(frozen=True)
class Wanted:
    """What to search for; None means anything. See `tec_xarray.open_stac`."""

    collection: str | None
    bbox: tuple[float, float, float, float] | None
    geometry: Any
    datetime: Any
    query: Query | None
    max_items: int | None

    @classmethod
    def of(
        cls,
        collection: object,
        bbox: object,
        geometry: Any,
        datetime: Any,
        query: object,
        max_items: object,
    ) -> Self:
        """Check the types of what a caller passed.

        Raises
        ------
        InvalidInput
            One of them is something else.
        """
        if collection is not None:
            text("collection", collection, "sentinel-2-l2a")
        box = None
        if bbox is not None:
            corners = sequence("bbox", bbox, "four numbers", "(11.0, 46.4, 11.1, 46.5)")
            box = tuple(number("bbox", corner) for corner in corners)
        if query is not None:
            asked = mapping("query", query, _EXAMPLE)
            query = {k: mapping(f"query[{k!r}]", v, "{'lt': 40}") for k, v in asked.items()}
        most = None if max_items is None else whole("max_items", max_items, 1)
        return cls(collection, box, geometry, datetime, query, most)  # type: ignore[arg-type]

    def area(self) -> Any:
        """Return the area in longitude and latitude as a shape, None for anywhere."""
        if self.geometry is not None:
            return shapely.geometry.shape(self.geometry)
        return shapely.geometry.box(*self.bbox) if self.bbox is not None else None


def check_wanted(wanted: Wanted) -> None:
    """Refuse what no catalog could be asked.

    Raises
    ------
    InvalidInput
        Place, time or query make no sense.
    """
    if wanted.bbox is not None and wanted.geometry is not None:
        raise InvalidInput("bbox and geometry", allowed="one of them")
    box = wanted.bbox
    if box is not None and not _is_box(*box):
        raise InvalidInput(
            f"bbox = {box}",
            allowed="(west, south, east, north) in degrees, west < east, south < north",
            fix="a box across the antimeridian needs two calls",
        )
    try:
        wanted.area()
    except (shapely.errors.ShapelyError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise InvalidInput(
            f"geometry = {shown(wanted.geometry)}",
            allowed="GeoJSON or a shapely geometry, in longitude and latitude",
        ) from error
    try:
        if wanted.datetime is not None and _interval(wanted.datetime) in ("", ".."):
            raise ValueError("names no time")  # noqa: TRY301 (said in our words below)
    except Exception as error:  # pystac-client raises nothing more precise
        raise InvalidInput(
            f"datetime = {shown(wanted.datetime)}",
            allowed="'2023-06', '2023-03/2023-10', '2023-06-01/..', or datetime objects",
        ) from error
    tests = {test for tests in (wanted.query or {}).values() for test in tests}
    if tests - set(_TESTS):
        raise InvalidInput(
            f"query with {', '.join(sorted(tests - set(_TESTS)))}",
            allowed=", ".join(_TESTS),
            fix=f"for example query={_EXAMPLE}",
        )


def _is_box(*corners: float) -> bool:
    """Whether these are four numbers of degrees that enclose something."""
    if len(corners) != 4:  # the type says four, the caller may not have
        return False
    west, south, east, north = corners
    return -360 <= west < east <= 360 and -90 <= south < north <= 90


def matches(item: pystac.Item, wanted: Wanted) -> bool:
    """Tell whether an item is what was asked for, whoever has checked that before."""
    if wanted.collection is not None and item.collection_id not in (None, wanted.collection):
        return False
    area = wanted.area()
    here = footprint(item)
    if area is not None and here is not None and not area.intersects(here):
        return False
    for name, tests in (wanted.query or {}).items():
        value = item.properties.get(name)
        if value is None or not all(_holds(name, value, *test) for test in tests.items()):
            return False
    return _in_time(item, wanted.datetime)


def _holds(name: str, value: Any, test: str, wanted: Any) -> bool:
    """Tell whether a property of an item passes a test."""
    try:
        return bool(_TESTS[test](value, wanted))
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"query[{name!r}] = {{{test!r}: {shown(wanted)}}}, where items have {shown(value)}",
            allowed="what can be compared with it",
            fix=f"for example query={_EXAMPLE}",
        ) from error


def _in_time(item: pystac.Item, when: Any) -> bool:
    if when is None:
        return True
    start, _, end = _interval(when).partition("/")
    taken = when_taken(item)
    after = start in ("", "..") or pystac.utils.str_to_datetime(start) <= taken
    if not end:
        return taken == pystac.utils.str_to_datetime(start)
    return after and (end == ".." or taken <= pystac.utils.str_to_datetime(end))


def _interval(when: Any) -> str:
    """Return a time or an interval as it is sent to servers, ``""`` for None."""
    parameters = pystac_client.ItemSearch("", datetime=when).get_parameters()
    return str(parameters.get("datetime", ""))


def asked(wanted: Wanted) -> str:
    """Say what is searched for, in a message."""
    given = {k: v for k, v in vars(wanted).items() if v is not None}
    return first_few([f"{name} = {value!r:.80}" for name, value in given.items()]) or "anything"

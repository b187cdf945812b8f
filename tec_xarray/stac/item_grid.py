"""The grid of a file, as its item describes it: whether there can be such a one, and where."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pystac
import shapely.geometry
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from tec_numcodecs.arguments import as_number, shown
from tec_numcodecs.chunk.container import MAX_LENGTH
from tec_numcodecs.errors import InvalidInput
from tec_xarray.stac.parse import footprint

_FARTHEST = 1e8  # units of a CRS; what lies farther away is not on Earth
_WRAPPED = 175.0  # degrees of longitude
_DEGREES = CRS("EPSG:4326")
_BORDER = [(x, y) for x in range(3) for y in range(3)]  # halves of the sides, and the center
_NEAR = 0.1  # degrees; footprints in catalogs are sometimes too small


def finite(key: str, value: object) -> float:
    """Return a finite number of an item; numbers in quotes are none."""
    found = as_number(value)
    if found is None or not math.isfinite(found):
        raise InvalidInput(f"{key} with {shown(value)}", allowed="finite numbers")
    return found


def stated_grid(properties: Mapping[str, Any], asset: Mapping[str, Any]) -> GeoBox | None:
    """Return the grid of a file, None if the item does not describe it completely."""
    shape, transform = asset.get("proj:shape"), asset.get("proj:transform")
    crs = _crs(asset) or _crs(properties)
    if not shape or not transform or crs is None:
        return None
    sizes = [finite("proj:shape", size) for size in shape]
    numbers = [finite("proj:transform", value) for value in transform]
    if len(sizes) != 2 or not all(0 < n <= MAX_LENGTH and n == int(n) for n in sizes):
        raise InvalidInput(f"proj:shape = {shown(shape)}", allowed="two numbers of pixels")
    if len(numbers) not in (6, 9):
        raise InvalidInput(f"proj:transform = {shown(transform)}", allowed="six or nine numbers")
    return _checked_grid((int(sizes[0]), int(sizes[1])), tuple(numbers[:6]), crs)


@functools.lru_cache(maxsize=1024)
def _checked_grid(shape: tuple[int, int], transform: tuple[float, ...], crs: CRS) -> GeoBox:
    """Return a grid whose pixels have a size, a direction, and a place on Earth."""
    from affine import Affine

    a, b, _, d, e, _ = transform
    if b or d or not a or not e or max(abs(number) for number in transform) > _FARTHEST:
        raise InvalidInput(
            f"proj:transform = {shown(list(transform))}", allowed="a grid along the axes of its CRS"
        )
    grid = GeoBox(shape, Affine(*transform), crs)
    if not all(math.isfinite(value) for value in _degrees(grid)):
        raise InvalidInput(f"a grid that lies off the Earth: {shown(list(transform))} in {crs}")
    return grid


@functools.lru_cache(maxsize=1024)
def _degrees(grid: GeoBox) -> tuple[float, ...]:
    """Return west, south, east and north of a grid, in degrees, from points of its border."""
    (height, width), affine = grid.shape, grid.affine
    xs = [affine.a * width * x / 2 + affine.c for x, _ in _BORDER]
    ys = [affine.e * height * y / 2 + affine.f for _, y in _BORDER]
    x, y = CRS(grid.crs).transformer_to_crs(_DEGREES)(xs, ys)
    return (min(x), min(y), max(x), max(y))


def check_place(item: pystac.Item, grids: Iterable[GeoBox]) -> None:
    """Refuse an item whose grids lie elsewhere than its geometry: one of the two is wrong."""
    geometry = footprint(item)
    if geometry is None:
        return
    for grid in set(grids):
        west, south, east, north = _degrees(grid)
        if max(abs(west), abs(east)) > _WRAPPED and max(map(abs, geometry.bounds)) > _WRAPPED:
            continue  # across the antimeridian there are several ways to say the same
        box = shapely.geometry.box(west - _NEAR, south - _NEAR, east + _NEAR, north + _NEAR)
        if not box.intersects(geometry):
            raise InvalidInput(
                f"a grid at {west:.2f}, {south:.2f} degrees in {grid.crs}, but a geometry at "
                f"{geometry.bounds[0]:.2f}, {geometry.bounds[1]:.2f}"
            )


def _crs(fields: Mapping[str, Any]) -> CRS | None:
    for key in ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson"):
        value = fields.get(key)
        if value is None:
            continue
        try:
            return _known_crs(f"EPSG:{value}" if key == "proj:epsg" else value)
        except Exception as error:
            raise InvalidInput(f"{key} = {shown(value)} is no CRS") from error
    return None


def _known_crs(value: Any) -> CRS:
    if not isinstance(value, str | Mapping):
        raise TypeError(value)
    return CRS(value)

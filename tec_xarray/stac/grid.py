"""Where and when: the output grid, and which items go into which date."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from odc.geo import CRS, Geometry
from odc.geo.geobox import GeoBox, GeoboxTiles
from odc.geo.geom import bbox_union

from tec_numcodecs.arguments import first_few, shown
from tec_numcodecs.chunk.container import MAX_LENGTH
from tec_numcodecs.errors import InvalidInput
from tec_xarray.stac.items import Scene

Bins = dict[tuple[int, int, int], list[int]]

GROUPINGS = ("solar_day", "time", "id")


def output_grid(scenes: Sequence[Scene], area: Any, crs: Any, resolution: float | None) -> GeoBox:
    """Return the grid to load on.

    Parameters
    ----------
    scenes : sequence of Scene
    area : shapely geometry or None
        In longitude and latitude; None for all that the items cover.
    crs : anything that odc.geo takes, or None
        Default: the one that all items share.
    resolution : float or None
        In units of the CRS. Default: the finest of the files.

    Raises
    ------
    InvalidInput
        Items have different CRS, or none, and nothing was passed instead.
    """
    grids = [(s, file.grid) for s in scenes for file in s.files.values()]
    blank = list(dict.fromkeys(s.id for s, grid in grids if grid is None))
    if blank and (crs is None or resolution is None or area is None):
        raise InvalidInput(
            f"items without proj:shape, proj:transform and a CRS: {first_few(blank)}",
            allowed="items that describe their grids",
            fix="pass crs=, resolution= and bbox=",
        )
    known = [(s, grid) for s, grid in grids if grid is not None]
    if crs is None:
        crs = _shared_crs(known)
    elif not isinstance(crs, str) or crs != "utm":
        crs = _read_crs(crs)
    if resolution is None:
        same = [abs(g.resolution.x) for _, g in known if g.crs == crs]
        if not same:
            raise InvalidInput(
                f"no resolution for crs = {crs}",
                allowed="a number, in units of the CRS",
                fix="pass resolution=, for example 10 in meters",
            )
        resolution = min(same)
    if area is None and crs == "utm":
        raise InvalidInput("crs = 'utm' without an area", fix="pass bbox= or geometry=, too")
    try:
        grid = _grid([g for _, g in known], area, crs, resolution)
    except (OverflowError, TypeError, ValueError) as error:  # numbers that are no grid's
        raise _no_grid(resolution, crs, str(error)) from error
    if not 0 < min(grid.shape) <= max(grid.shape) <= MAX_LENGTH:
        raise _no_grid(resolution, crs, " x ".join(map(str, grid.shape)))
    return grid


def _grid(known: Sequence[GeoBox], area: Any, crs: Any, resolution: float) -> GeoBox:
    if area is not None:
        return GeoBox.from_geopolygon(Geometry(area, "EPSG:4326"), resolution, crs=crs)
    boxes = ((g.extent if g.crs == crs else g.footprint(crs)).boundingbox for g in known)
    return GeoBox.from_bbox(bbox_union(boxes), crs=crs, resolution=resolution)


def _no_grid(resolution: float, crs: Any, found: str) -> InvalidInput:
    return InvalidInput(
        f"resolution = {resolution:g} in units of {shown(crs)}, which gives {found} pixels",
        allowed=f"a grid of up to {MAX_LENGTH:,} pixels each way",
        fix="pass resolution=10 for meters, 0.0001 for degrees, for example",
    )


def group_scenes(scenes: Sequence[Scene], groupby: str, grid: GeoBox) -> list[list[Scene]]:
    """Return the items of each date, dates in order; what comes first in a date lies on top.

    That is the newest processing baseline, then what was taken first. `groupby` is one of
    `GROUPINGS`.
    """
    ((longitude, _),) = grid.extent.centroid.to_crs("EPSG:4326").points
    shift = timedelta(hours=longitude / 15)
    keys: dict[str, Callable[[Scene], Any]] = {
        "solar_day": lambda scene: (scene.taken + shift).date(),
        "time": lambda scene: scene.taken,
        "id": lambda scene: scene.id,
    }
    groups: dict[Any, list[Scene]] = {}
    for scene in sorted(scenes, key=lambda s: (s.taken, s.id)):
        groups.setdefault(keys[groupby](scene), []).append(scene)
    for group in groups.values():
        group.sort(key=lambda s: s.baseline, reverse=True)  # stable: time stays second
    return sorted(groups.values(), key=lambda group: min(s.taken for s in group))


def bin_scenes(groups: Iterable[Sequence[Scene]], tiles: GeoboxTiles) -> Bins:
    """Return which scenes, counted through all groups, each (time, y, x) block may need.

    Their files' grids decide, as footprints in catalogs are sometimes too small.
    """
    bins: Bins = {}
    index = 0
    for date, group in enumerate(groups):
        for scene in group:
            for y, x in tiles.tiles(_extent(scene, tiles.base.crs)):
                bins.setdefault((date, y, x), []).append(index)
            index += 1
    return bins


def _extent(scene: Scene, crs: Any) -> Geometry:
    grids = [file.grid for file in scene.files.values() if file.grid is not None]
    if grids and len(grids) == len(scene.files):
        grid = max(grids, key=lambda g: g.shape[0] * abs(g.resolution.y))
        return grid.extent if grid.crs == crs else grid.footprint(crs, buffer=1)
    if scene.footprint is None:
        raise InvalidInput(
            f"item {scene.id!r} has neither a grid nor a geometry", fix="leave it out"
        )
    try:
        return Geometry(scene.footprint, "EPSG:4326").to_crs(crs, resolution=0.01)
    except Exception as error:  # shapely and pyproj have many ways
        raise InvalidInput(
            f"item {scene.id!r}, whose geometry has no place in {crs}", fix="leave it out"
        ) from error


def _shared_crs(known: Sequence[tuple[Scene, GeoBox]]) -> CRS:
    owners: dict[str, list[str]] = {}
    for scene, grid in known:
        names = owners.setdefault(str(grid.crs), [])
        if scene.id not in names:
            names.append(scene.id)
    if len(owners) > 1:
        raise InvalidInput(
            "items of different CRS: "
            + "; ".join(f"{crs} ({first_few(ids, 3)})" for crs, ids in owners.items()),
            allowed="one CRS",
            fix="pass crs= (and resolution=) to bring them onto one grid, or load zone by zone",
        )
    crs = known[0][1].crs
    if crs is None:
        raise InvalidInput(f"item {known[0][0].id!r} has no CRS", fix="pass crs=")
    return crs


def _read_crs(crs: Any) -> CRS:
    try:
        return CRS(crs)
    except Exception as error:
        # pyproj's own class, which odc-geo passes on; whatever it is, the argument is at fault.
        raise InvalidInput(
            f"crs = {shown(crs)}", allowed="'EPSG:32632', WKT, 'utm'", fix="pass one of these"
        ) from error

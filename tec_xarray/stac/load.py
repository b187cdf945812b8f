"""From a STAC catalog to a lazy cube that can be compressed as it is.

`open_stac` finds items, checks each of them before a pixel is read, decides what offset its DN
carry, and returns a dataset with a variable for each band. What was decided is in the dataset.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoboxTiles
from odc.loader import (
    RasterBandMetadata,
    RasterGroupMetadata,
    RasterSource,
    chunked_load,
    resolve_chunk_shape,
    resolve_load_cfg,
)
from rasterio.enums import Resampling

from tec_numcodecs.arguments import choice, mapping, positive, sequence, text, whole
from tec_numcodecs.chunk.container import MAX_LENGTH
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.sensors import SENSORS, Sensor, get_sensor
from tec_xarray.cube.crs import with_geo
from tec_xarray.stac.grid import GROUPINGS, bin_scenes, group_scenes, output_grid
from tec_xarray.stac.items import DTYPE, DTYPES, SCL, Scene, name_bands, understand
from tec_xarray.stac.links import allowed_local, declared_hosts
from tec_xarray.stac.reader import Driver, Origin, Sign
from tec_xarray.stac.search import find_items, source_name
from tec_xarray.stac.wanted import Query, Wanted

__all__ = ["open_stac"]

BLOCK = 2048  # pixels, each way, that are read at once: whole shards of an archive
_MOST_BLOCKS = 100_000  # for a date and a band; Dask takes minutes for more
_MODES = ("auto", "never", "force")
_MOST_ATTEMPTS = 1000
_COARSEST = 1e7  # units of the CRS; what is larger than the Earth has no place on it
_LONGEST = 1e6  # seconds; sockets take no more than some 1e9
_SCL_MEANINGS = (
    "no_data saturated_or_defective dark_area_pixels cloud_shadows vegetation not_vegetated water "
    "unclassified cloud_medium_probability cloud_high_probability thin_cirrus snow"
)


def open_stac(
    source: Any,
    *,
    collection: str | None = None,
    bbox: Sequence[float] | None = None,
    geometry: Any = None,
    datetime: Any = None,
    query: Query | None = None,
    bands: str | Sequence[str] | None = None,
    sensor: str | Sensor | None = None,
    resolution: float | None = None,
    crs: Any = None,
    groupby: str = "solar_day",
    harmonize: str = "auto",
    resampling: str = "bilinear",
    sign: str | Sign | None = None,
    chunks: Mapping[str, int] | None = None,
    max_items: int | None = None,
    on_bad_item: str = "raise",
    allow_hosts: Sequence[str] | None = None,
    allow_local: bool | None = None,
    timeout: float = 30.0,
    attempts: int = 5,
) -> xr.Dataset:
    """Open what a catalog has of a place and a time, as a lazy dataset.

    Parameters
    ----------
    source : str, path, pystac_client.Client or items
        The URL of a STAC API, an open client, a search, or items: pystac's, dictionaries, a
        feature collection, the path of a file that holds one. Items are filtered by the arguments
        below just as a catalog is.
    collection : str, optional
        For example ``"sentinel-2-l2a"``.
    bbox : sequence of four float, optional
        West, south, east, north in degrees; also what is loaded. Default: all that items cover.
    geometry : GeoJSON or shapely geometry, optional
        Instead of `bbox`; the smallest box around it is loaded.
    datetime : str or sequence, optional
        As in pystac-client: ``"2023-03/2023-10"``.
    query : dict, optional
        ``{"eo:cloud_cover": {"lt": 40}}``. Sent to servers that know it, and applied here again.
    bands : list of str, optional
        Under any names (B04, red, b04_10m), and ``"SCL"``. Default: all that any item has.
    sensor : str, optional
        Default: what `collection`, or the items' collection, is called.
    resolution : float, optional
        In units of the CRS. Default: the finest of the files.
    crs : str, optional
        ``"EPSG:32632"``, WKT, or ``"utm"``. Default: the one that all items share.
    groupby : {"solar_day", "time", "id"}
        Which items make a date. Where they overlap, the newest processing baseline lies on top.
    harmonize : {"auto", "never", "force"}
        What to do about the offset of 1000 DN that processing baseline 04.00 and later ones add.
        "auto": take it off, item by item, where its metadata say that it is there, and warn where
        these contradict each other. "never": leave DN as they are. "force": believe the
        processing baseline alone. Valid samples stay valid: what would fall below 1 becomes 1.
    resampling : str
        For bands, where grids differ; SCL is always taken from the nearest pixel.
    sign : callable or "planetary-computer", optional
        Gets the link of a file and returns one that may be read. Called on the worker before
        each read, since signatures expire.
    chunks : dict, optional
        Blocks that are read at once, along time, y and x. Default: 1 date, 2048 x 2048 pixels.
    max_items : int, optional
        Stop after so many that match, in the order in which the catalog has them.
    on_bad_item : {"raise", "skip"}
        What to do if an item is malformed, lacks a file, has files of another type or links that
        are not allowed, or nothing tells its offset: an error that names all such items, or a
        warning that does.
    allow_hosts : list of str, optional
        Hosts that items from the network may name beside public ones and the catalog's own:
        ``["minio.lan"]``, ``["*.example.com"]``. Hosts on this machine, and in private and
        link-local networks, need to be named here, unless the catalog itself lies on this machine
        (then those of this machine and of private networks are allowed) or in a private network
        (then those of private networks).
    allow_local : bool, optional
        Whether items may name files of this machine, archives in archives, VRT, and whatever else
        GDAL can open. Default: not items that came over the network, which may name plain files
        (https, http, s3, gs, az) only, read as GeoTIFF or JPEG 2000. Items of a file on this
        machine, and items in memory without a link to a catalog on the network, are taken for
        the caller's own and may: pass False for dictionaries that you downloaded yourself.
    timeout : float
        Seconds without data after which a request is given up.
    attempts : int
        How often to try to read a file before `SourceError` is raised, naming the item.

    Returns
    -------
    xarray.Dataset
        (time, y, x) uint16 DN for each band under ESA's name, 0 where there are no data, and SCL
        as uint8. Along time: ``source_items`` (ids, the upper one first), ``processing_baseline``
        and ``source_offset`` (one for each item, if they differ: in the same order; what had to
        be added to the DN in the files), and ``boa_offset`` (what is still to be added to the DN
        here: 0 if harmonized, NaN if not known). CRS as CF grid mapping and as GeoZarr
        attributes.

    Raises
    ------
    InvalidInput
        An argument is wrong, nothing was found, or items cannot be used as they are. While pixels
        are computed: a file is not what its item promised.
    SourceError
        The catalog does not answer. While pixels are computed: a file cannot be read. Nothing
        is ever filled in for it.

    Warns
    -----
    CatalogWarning
        Metadata contradict each other, the server cannot filter, or items were left out.

    Examples
    --------
    >>> ds = open_stac(
    ...     "https://earth-search.aws.element84.com/v1",
    ...     collection="sentinel-2-l2a", bbox=(11.5, 48.1, 11.6, 48.2), datetime="2023-06",
    ...     query={"eo:cloud_cover": {"lt": 20}}, bands=["red", "nir", "SCL"],
    ... )  # doctest: +SKIP
    """
    choice("harmonize", harmonize, _MODES)
    choice("on_bad_item", on_bad_item, ("raise", "skip"))
    choice("resampling", resampling, [kind.name for kind in Resampling])
    choice("groupby", groupby, GROUPINGS)
    resolution = None if resolution is None else positive("resolution", resolution, _COARSEST)
    attempts = whole("attempts", attempts, 1, _MOST_ATTEMPTS)
    timeout = positive("timeout", timeout, _LONGEST)
    sizes = _sizes(chunks)
    signer = _signer(sign)
    wanted = Wanted.of(collection, bbox, geometry, datetime, query, max_items)
    bands = _band_list(bands)
    if sensor is not None and not isinstance(sensor, Sensor):
        text("sensor", sensor, SENSORS[0].name)
    found = find_items(
        source,
        wanted,
        timeout=timeout,
        allow_hosts=declared_hosts(allow_hosts),
        allow_local=allowed_local(allow_local),
    )
    named = [c.item.collection_id for c in found.candidates if c.item.collection_id]
    # Where every item is malformed, any sensor will do to say so.
    stated = [*named, "" if found.candidates else SENSORS[0].name]
    known = get_sensor(sensor or collection or stated[0])
    names = name_bands(found.candidates, known, bands)
    scenes = understand(
        found,
        known,
        names,
        harmonize=harmonize,
        skip=on_bad_item == "skip",
        signed=signer is not None,
    )
    grid = output_grid(scenes, wanted.area(), crs, resolution)
    groups = group_scenes(scenes, groupby, grid)
    origins = _origins(groups, names, harmonize)
    driver = Driver(signer, attempts, timeout, _tag(origins))
    loaded = _load(groups, origins, names, grid, resampling, sizes, driver)
    described = _describe(loaded, groups, known, harmonize)
    described.attrs |= {"sensor": known.name, "stac_source": source_name(source)}
    return with_geo(described)


def _load(
    groups: Sequence[Sequence[Scene]],
    origins: Sequence[Mapping[str, RasterSource]],
    names: Sequence[str],
    grid: Any,
    resampling: str,
    chunks: Mapping[str, int],
    driver: Driver,
) -> xr.Dataset:
    """Hand everything to odc-loader, which makes the dask graph."""
    bands = {name: RasterBandMetadata(DTYPES.get(name, DTYPE), 0) for name in names}
    settings = resolve_load_cfg(bands, {SCL: "nearest", "*": resampling}, fail_on_error=True)
    sizes = {"y": BLOCK, "x": BLOCK, **chunks}
    unknown = set(sizes) - {"time", *grid.dimensions, "y", "x"}
    if unknown:
        raise InvalidInput(f"chunks along {', '.join(unknown)}", allowed="time, y, x")
    _, height, width = resolve_chunk_shape(len(groups), grid, sizes, cfg=settings)[:3]
    tiles = GeoboxTiles(grid, (height, width))
    blocks = tiles.shape[0] * tiles.shape[1]
    if blocks > _MOST_BLOCKS:
        raise InvalidInput(
            f"{grid.shape[0]} x {grid.shape[1]} pixels, which are {blocks:,} blocks for each date",
            allowed=f"up to {_MOST_BLOCKS:,} blocks",
            fix="pass bbox=, or a coarser resolution=: items may lie far apart",
        )
    times = [min(scene.taken for scene in group) for group in groups]
    loaded: xr.Dataset = chunked_load(
        settings,
        RasterGroupMetadata({(name, 1): meta for name, meta in bands.items()}),
        origins,
        bin_scenes(groups, tiles),
        tiles,
        times,
        driver.capture_env(),
        driver,
        chunks=sizes,
    )
    return loaded


def _origins(
    groups: Sequence[Sequence[Scene]], names: Sequence[str], harmonize: str
) -> list[dict[str, RasterSource]]:
    """Return the files of all scenes, in the order of the groups, with what readers must know."""
    sources = []
    for scene in (scene for group in groups for scene in group):
        offset = 0 if harmonize == "never" else scene.offset.value or 0
        files = {}
        for name in names:
            file = scene.files[name]
            origin = Origin(
                scene.id,
                name,
                DTYPES.get(name, DTYPE),
                0 if name == SCL else offset,
                sure=harmonize == "force",
                policy=scene.policy,
                driver=file.driver,
            )
            files[name] = RasterSource(file.href, geobox=file.grid, driver_data=origin)
        sources.append(files)
    return sources


def _tag(origins: Sequence[Mapping[str, RasterSource]]) -> str:
    """Digest what dask must not mix up: the same files, read with other offsets."""
    text = json.dumps([[repr(s.driver_data) for s in files.values()] for files in origins])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe(
    loaded: xr.Dataset, groups: Sequence[Sequence[Scene]], sensor: Sensor, harmonize: str
) -> xr.Dataset:
    """Put onto each band what it is, and onto each date where it comes from."""
    kept = harmonize == "never"
    common = dict(zip(sensor.bands, sensor.common_names, strict=True))
    for name in loaded.data_vars:
        band = str(name)
        if band == SCL:
            loaded[band].attrs = {
                "nodata": 0,
                "long_name": "scene classification",
                "flag_values": list(range(12)),
                "flag_meanings": _SCL_MEANINGS,
            }
        else:
            plus = "plus boa_offset" if kept else "harmonized"
            loaded[band].attrs = {
                "nodata": 0,
                "units": "1e-4",
                "long_name": f"reflectance times 10,000 ({plus})",
                "common_name": common[band],
            }
    offsets = [sorted({s.offset.value for s in g}, key=str) for g in groups]
    if kept:
        pairs = zip(groups, offsets, strict=True)
        mixed = [", ".join(s.id for s in g) for g, o in pairs if len(o) > 1]
        if mixed:
            raise InvalidInput(
                f"items of different offsets on one date: {'; '.join(mixed)}",
                allowed="with harmonize='never', one offset for each date",
                fix="pass harmonize='auto', or groupby='id'",
            )
    left = [(np.nan if o[0] is None else o[0]) if kept else 0 for o in offsets]
    dates: dict[str, tuple[list[Any], str]] = {
        "source_items": (
            [" ".join(s.id for s in g) for g in groups],
            "items that a date was made of",
        ),
        "processing_baseline": (
            [_each(s.baseline for s in g) for g in groups],
            "processing baseline of the items",
        ),
        "source_offset": (
            [_each(_number(s.offset.value) for s in g) for g in groups],
            "what had to be added to the DN in the files",
        ),
    }
    result = loaded.assign_coords(
        {name: ("time", values, {"long_name": text}) for name, (values, text) in dates.items()}
    )
    result = result.assign_coords(
        boa_offset=(
            "time",
            np.array(left, np.float32),
            {"long_name": "what is still to be added to the DN, before dividing by 10,000"},
        )
    )
    result.attrs["harmonize"] = harmonize
    return result


def _each(values: Any) -> str:
    """Join one value for each item; a single one if they are all the same."""
    texts = list(values)
    return texts[0] if len(set(texts)) == 1 else " ".join(text or "?" for text in texts)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _signer(sign: str | Sign | None) -> Sign | None:
    if sign is None or callable(sign):
        return sign
    choice("sign", sign, ("planetary-computer",), "pass a function, or leave sign out")
    try:
        import planetary_computer
    except ImportError as error:
        raise InvalidInput(
            "planetary-computer is not installed", fix="pip install planetary-computer"
        ) from error
    signer: Callable[[str], str] = planetary_computer.sign_url
    return signer


def _band_list(bands: Any) -> list[str] | None:
    """Return names of bands as a list; what they mean is not asked."""
    if bands is None:
        return None
    names = [bands] if isinstance(bands, str) else sequence("bands", bands, "names", "['B04']")
    return [text("bands", name, "B04") for name in names]


def _sizes(chunks: object) -> dict[str, int]:
    """Return what is to be read at once along some dimensions; -1 is all."""
    if chunks is None:
        return {}
    given = mapping("chunks", chunks, "{'y': 2048, 'x': 2048}")
    return {name: whole(f"chunks[{name!r}]", size, -1, MAX_LENGTH) for name, size in given.items()}

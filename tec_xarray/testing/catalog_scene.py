"""The bundled scene as a catalog has it: a Cloud-Optimized GeoTIFF for each band, and STAC items.

Names, properties and files are laid out as in Earth Search (version 1). Dates, place and scene
classification are made up, because the scene has none; the pixels are real.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tec_numcodecs.sensors import get_sensor
from tec_xarray import tutorial

Json: TypeAlias = dict[str, Any]
Pixels: TypeAlias = NDArray[np.integer[Any]]

_L2A = get_sensor("sentinel-2-l2a")

_SCENE = tutorial.SCENES["0173706"]
EPSG, SIZE = _SCENE.epsg, tutorial.SIZE
LEFT, TOP = _SCENE.corner
OFFSET = 1000  # DN that baseline 04.00 and later ones add

COLLECTION: Json = {
    "type": "Collection",
    "id": "sentinel-2-l2a",
    "stac_version": "1.0.0",
    "description": "The scene that ships with tec-xarray, served from this machine. Dates, place "
    "and scene classification are made up.",
    "license": "CC-BY-4.0",
    "extent": {
        "spatial": {"bbox": [[11.6, 47.7, 11.8, 47.9]]},
        "temporal": {"interval": [["2021-01-01T00:00:00Z", "2022-12-31T00:00:00Z"]]},
    },
    "links": [],
}


@dataclass(frozen=True)
class Acquisition:
    """One item of the catalog.

    Attributes
    ----------
    season : int
        Which of the four acquisitions of the scene, 0 ... 3.
    when : str
        Date and time, UTC.
    baseline : str
        Processing baseline; from 04.00 on, DN carry an offset of 1000.
    harmonized : bool
        Whether that offset was taken off again, as in most files of Earth Search.
    contradicts : bool
        Whether its metadata state the offset although it was taken off, as Earth Search does.
    cloud : float
        Cloud cover in percent.
    east : float
        How far the item lies east of the others, in m.
    missing : int
        Pixels (10 m) without data at the upper left corner, each way; a multiple of 6.
    """

    season: int
    when: str
    baseline: str = "05.09"
    harmonized: bool = True
    contradicts: bool = False
    cloud: float = 10.0
    east: float = 0.0
    missing: int = 0

    @property
    def id(self) -> str:
        """What Earth Search would call it."""
        day = self.when[:10].replace("-", "")
        return f"S2A_32TPT_{day}_{int(self.east / SIZE)}_L2A"


_DATES = [f"{date}Z" for date in _SCENE.dates]
ACQUISITIONS = (
    Acquisition(0, _DATES[0], "03.01", harmonized=False, cloud=5.0),
    Acquisition(1, _DATES[1], "04.00", harmonized=False, cloud=20.0, missing=36),
    Acquisition(2, _DATES[2], "05.10", cloud=60.0),
    Acquisition(3, _DATES[3], "05.10", cloud=0.5),
)


def write_scene(
    directory: Path, files_url: str, acquisitions: Sequence[Acquisition] = ACQUISITIONS
) -> list[Json]:
    """Write the files and return the items that point at them.

    Parameters
    ----------
    directory : pathlib.Path
        Gets a folder for each acquisition.
    files_url : str
        Where `directory` is served.
    acquisitions : sequence of Acquisition
        What to write.

    Returns
    -------
    list of dict
        STAC items (GeoJSON features), with absolute links.
    """
    items = []
    scene = tutorial.open_dataset()
    for taken in acquisitions:
        folder = directory / taken.id
        folder.mkdir(parents=True, exist_ok=True)
        assets = {}
        for name, (pixels, size) in scene_bands(taken, scene).items():
            transform = (size, 0.0, LEFT + taken.east, 0.0, -size, TOP)
            path = folder / f"{name}.tif"
            write_cog(path, pixels, transform)
            label = _label(name)
            href = f"{files_url}/{taken.id}/{name}.tif"
            assets[label] = _asset(name, href, pixels, transform, taken)
        items.append(_item(taken, assets))
    return items


def scene_bands(
    taken: Acquisition, scene: xr.Dataset | None = None
) -> Mapping[str, tuple[Pixels, float]]:
    """Return what the files of an acquisition hold: DN and pixel size in m, by ESA's name."""
    scene = tutorial.open_dataset() if scene is None else scene
    bands: dict[str, tuple[Pixels, float]] = {}
    added = OFFSET if taken.baseline >= "04.00" and not taken.harmonized else 0
    for band, size in zip(_L2A.bands, _L2A.resolutions, strict=True):
        shrunk = _shrink(scene[band].values[taken.season], size // 10)
        bands[band] = shrunk + np.uint16(added), float(size)
    bands["SCL"] = _classes(bands, taken), 20.0
    for pixels, meters in bands.values():
        gap = round(taken.missing * SIZE / meters)
        pixels[:gap, :gap] = 0
    return bands


def write_cog(path: Path, pixels: Pixels, transform: Sequence[float], epsg: int = EPSG) -> None:
    """Write one band, (H, W), as a Cloud-Optimized GeoTIFF; 0 is no data."""
    import rasterio
    from affine import Affine

    profile = {
        "driver": "COG",
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "count": 1,
        "dtype": pixels.dtype,
        "crs": f"EPSG:{epsg}",
        "transform": Affine(*transform),
        "nodata": 0,
        "blocksize": 128,
        "compress": "deflate",
        "overview_resampling": "nearest" if pixels.dtype == np.uint8 else "average",
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels, 1)


def _shrink(pixels: Pixels, factor: int) -> NDArray[np.uint16]:
    """Average blocks of pixels, (H, W) to (H / factor, W / factor)."""
    height, width = (n // factor for n in pixels.shape)
    blocks = pixels.reshape(height, factor, width, factor).mean(axis=(1, 3))
    shrunk: NDArray[np.uint16] = np.rint(blocks).astype(np.uint16)
    return shrunk


def _classes(bands: Mapping[str, tuple[Pixels, float]], taken: Acquisition) -> NDArray[np.uint8]:
    """Make up a scene classification: vegetation (4), water (6), the rest bare (5)."""
    added = OFFSET if taken.baseline >= "04.00" and not taken.harmonized else 0
    red, near = (_shrink(bands[b][0], 2).astype(np.float64) - added for b in ("B04", "B08"))
    index = (near - red) / np.maximum(near + red, 1)
    classes: NDArray[np.uint8] = np.where(index > 0.3, 4, np.where(index < 0, 6, 5)).astype("u1")
    return classes


def _label(name: str) -> str:
    names = dict(zip(_L2A.bands, _L2A.common_names, strict=True))
    return names.get(name, name.lower())


def _asset(
    name: str, href: str, pixels: Pixels, transform: Sequence[float], taken: Acquisition
) -> Json:
    raster: Json = {"nodata": 0, "data_type": str(pixels.dtype), "spatial_resolution": transform[0]}
    if name != "SCL":
        # Earth Search states the offset of the product even where it was taken off the pixels.
        added = taken.baseline >= "04.00" and (taken.contradicts or not taken.harmonized)
        raster |= {"scale": 0.0001, "offset": -0.1 if added else 0}
    return {
        "href": href,
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "raster:bands": [raster],
        "proj:shape": list(pixels.shape),
        "proj:transform": list(transform),
    }


def _item(taken: Acquisition, assets: Json) -> Json:
    from rasterio.warp import transform_bounds

    span = 264 * SIZE
    left = LEFT + taken.east
    west, south, east, north = transform_bounds(
        f"EPSG:{EPSG}", "EPSG:4326", left, TOP - span, left + span, TOP
    )
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": taken.id,
        "collection": COLLECTION["id"],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {
            "datetime": taken.when,
            "platform": "sentinel-2a",
            "proj:epsg": EPSG,
            "eo:cloud_cover": taken.cloud,
            "s2:processing_baseline": taken.baseline,
            "earthsearch:boa_offset_applied": taken.harmonized and taken.baseline >= "04.00",
        },
        "assets": assets,
        "links": [],
    }

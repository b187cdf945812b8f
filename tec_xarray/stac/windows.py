"""Pixels of one file on a part of a grid, from one opening that was checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import rasterio
import rasterio.warp
import rasterio.windows
from numpy.typing import NDArray
from odc.geo.converters import rio_geobox
from odc.geo.overlap import compute_reproject_roi
from odc.geo.roi import roi_is_empty, roi_shape
from odc.geo.warp import resampling_s2rio
from odc.loader import RasterLoadParams
from rasterio.io import DatasetReader

Pixels: TypeAlias = NDArray[np.integer[Any]]
Window: TypeAlias = tuple[slice, slice]

# Of a pixel that grids may be apart, to be taken as they are: any shift is the nearest pixel's.
_NEAREST, _ALIGNED = 0.9, 0.05


def read_window(
    uri: str,
    geobox: Any,
    cfg: RasterLoadParams,
    *,
    dst: Any,
    driver: str | None,
    check: Callable[[DatasetReader], None],
) -> tuple[Window, Pixels]:
    """Read the first band of a file where it covers a part of a grid; 0 is no data.

    odc-loader's reader opens a file with any driver that takes it. This one opens it with one, and
    reads from the very dataset that was checked: a server may answer twice differently.

    Parameters
    ----------
    uri : str
        As rasterio opens it.
    geobox : odc.geo.geobox.GeoBox
        The part of the grid, (H, W).
    cfg : odc.loader.RasterLoadParams
        Type of the pixels, and how to resample.
    dst : numpy.ndarray or None
        (H, W), where to write.
    driver : str or None
        Of GDAL; None for any.
    check : callable
        Raises for a dataset that is not to be read.

    Returns
    -------
    tuple
        The window of the grid, and its pixels.
    """
    with rasterio.open(uri, sharing=False, driver=driver) as file:
        check(file)
        near = _NEAREST if cfg.nearest else _ALIGNED
        plan = compute_reproject_roi(rio_geobox(file), geobox, ttol=near)
        window: Any = plan.roi_dst
        shape = roi_shape(window)
        pixels: Pixels = np.zeros(shape, cfg.dtype) if dst is None else dst[window]
        if roi_is_empty(window) or roi_is_empty(plan.roi_src):
            pixels[...] = 0
            return window, pixels
        with rasterio.Env(VSI_CACHE=False):  # blocks of a pass over a file are not read again
            if plan.paste_ok and plan.read_shrink == 1:
                part = rasterio.windows.Window.from_slices(*plan.roi_src)
                file.read(1, out=pixels, window=part)
                return window, pixels
            level = _level(plan.read_shrink, file.overviews(1)) if cfg.use_overviews else None
            if level is None:
                _resample(file, pixels, geobox[window], cfg)
                return window, pixels
            with rasterio.open(uri, sharing=False, driver=driver, overview_level=level) as coarse:
                _resample(coarse, pixels, geobox[window], cfg)
            return window, pixels


def _level(shrink: int, factors: list[int]) -> int | None:
    """Return the coarsest overview that is at least as fine as what is wanted."""
    fine = [level for level, factor in enumerate(factors) if factor <= shrink]
    return max(fine, default=None)


def _resample(file: DatasetReader, pixels: Pixels, geobox: Any, cfg: RasterLoadParams) -> None:
    rasterio.warp.reproject(
        rasterio.band(file, 1),
        pixels,
        src_nodata=0,
        dst_crs=str(geobox.crs),
        dst_transform=geobox.transform,
        dst_nodata=0,
        resampling=resampling_s2rio(cfg.resampling),
    )

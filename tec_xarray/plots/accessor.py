"""Pictures of a cube before and after: what a person looks at before trusting a lossy format.

Each function stands for itself, and is a method of ``ds.tec.plot``, too. All of them return a
matplotlib figure, take ``theme="light"`` or ``"dark"``, and change no global state of matplotlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from tec_xarray.cube.bands import places_of_bands
from tec_xarray.cube.layout import as_dataset
from tec_xarray.plots.charts import chunk_bytes, histogram, rate_distortion, time_series
from tec_xarray.plots.data import COMPOSITES, before_and_after
from tec_xarray.plots.images import error_maps, rgb, side_by_side

if TYPE_CHECKING:
    from tec_xarray.plots.themes import Picture
    from tec_xarray.report.rate_sweep import Sweep
    from tec_xarray.report.report import Report

__all__ = [
    "COMPOSITES",
    "Plots",
    "chunk_bytes",
    "error_maps",
    "histogram",
    "rate_distortion",
    "rgb",
    "side_by_side",
    "time_series",
]


class Plots:
    """What is behind ``ds.tec.plot``: every method forwards to a function of `tec_xarray.plots`.

    Methods that compare take the original and show it beside this dataset.
    """

    def __init__(self, data: xr.Dataset | xr.DataArray) -> None:
        self._data = data

    def rgb(self, composite: Any = "true color", **settings: Any) -> Picture:
        """Draw one date in three bands; see `tec_xarray.plots.accessor.rgb`."""
        return rgb(self._data, composite, **settings)

    def compare(
        self,
        original: xr.Dataset | xr.DataArray,
        *,
        composite: Any = None,
        label: str = "decoded",
        **settings: Any,
    ) -> Picture:
        """Draw original, this, and the error; see `tec_xarray.plots.accessor.side_by_side`.

        Parameters
        ----------
        original : xarray.Dataset or xarray.DataArray
        composite : optional
            As there. Default: true and false color, as far as the bands are there.
        label : str
            What to call this dataset.
        **settings
            As there.
        """
        if composite is None:
            naming = {k: settings.get(k) for k in ("bands", "sensor", "variable")}
            cube, _ = before_and_after(original, self._data, **naming)
            composite = [
                n for n, bands in COMPOSITES.items() if min(places_of_bands(cube, bands)) >= 0
            ]
            composite = composite or "true color"  # whose error says what is missing
        return side_by_side(original, {label: self._data}, composite=composite, **settings)

    def error_maps(self, original: xr.Dataset | xr.DataArray, **settings: Any) -> Picture:
        """Draw the error of each band; see `tec_xarray.plots.accessor.error_maps`."""
        return error_maps(original, self._data, **settings)

    def time_series(self, original: xr.Dataset | xr.DataArray, **settings: Any) -> Picture:
        """Draw a pixel over time, before and after; see `tec_xarray.plots.accessor.time_series`."""
        return time_series(original, self._data, **settings)

    def chunk_bytes(self, **settings: Any) -> Picture:
        """Draw what each chunk costs; see `tec_xarray.plots.accessor.chunk_bytes`."""
        return chunk_bytes(as_dataset(self._data), **settings)

    def histogram(self, report: Report, **settings: Any) -> Picture:
        """Draw how large errors are; see `tec_xarray.plots.accessor.histogram`."""
        return histogram(report, **settings)

    def rate_distortion(self, sweep: Sweep, **settings: Any) -> Picture:
        """Draw quality against size; see `tec_xarray.plots.accessor.rate_distortion`."""
        return rate_distortion(sweep, **settings)

"""``ds.tec``: a shorter way to write what free functions do. It keeps no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from tec_numcodecs.extras import named_if_missing

if TYPE_CHECKING:
    from tec_xarray.plots.accessor import Plots
    from tec_xarray.report.rate_sweep import Sweep
    from tec_xarray.report.report import Report


class TecAccessor:
    """Learned compression of the bands of a dataset or array.

    Every method forwards to the function of the same name in `tec_xarray`, with the dataset as its
    first argument; see there for the parameters.
    """

    def __init__(self, data: xr.Dataset | xr.DataArray) -> None:
        self._data = data

    def compress(self, **settings: Any) -> xr.Dataset:
        """Compress, now or when it is written; see `tec_xarray.compress`."""
        from tec_xarray.encode import compress

        return compress(self._data, **settings)

    def reconstruct(self, **settings: Any) -> xr.Dataset:
        """Give back what would be read, storing nothing; see `tec_xarray.reconstruct`."""
        from tec_xarray.encoding.reconstruct import reconstruct

        return reconstruct(self._data, **settings)

    def inpaint(self, mask: Any = None, method: str = "spectral", **settings: Any) -> xr.Dataset:
        """Fill what clouds hide, lazily; see `tec_xarray.inpaint`."""
        with named_if_missing("inpaint"):
            from tec_xarray.gapfill.inpaint import inpaint

        return inpaint(self._data, mask, method, **settings)

    def to_cube(self, **settings: Any) -> xr.Dataset:
        """Gather the bands into one (time, band, y, x) variable; see `tec_xarray.to_cube`."""
        from tec_xarray.cube.layout import to_cube

        return to_cube(self._data, **settings)

    def from_cube(self) -> xr.Dataset:
        """Go back to the layout before `to_cube`; see `tec_xarray.from_cube`."""
        from tec_xarray.cube.layout import from_cube

        return from_cube(_dataset(self._data))

    def to_bands(self) -> xr.Dataset:
        """Return a variable for each band; see `tec_xarray.to_bands`."""
        from tec_xarray.cube.layout import to_bands

        return to_bands(_dataset(self._data))

    def drop_codec(self) -> xr.Dataset:
        """Forget our codec, so that ``to_zarr`` stores plainly; see `tec_xarray.drop_codec`."""
        from tec_xarray.encode import drop_codec

        return drop_codec(_dataset(self._data))

    def report(self, original: xr.Dataset | xr.DataArray, **settings: Any) -> Report:
        """Measure size and loss against the original; see `tec_xarray.compare`."""
        from tec_xarray.report.report import compare

        return compare(_dataset(self._data), original, **settings)

    def sweep(self, **settings: Any) -> Sweep:
        """Try several settings on one chunk, in memory; see `tec_xarray.sweep`."""
        from tec_xarray.report.rate_sweep import sweep

        return sweep(self._data, **settings)

    @property
    def plot(self) -> Plots:
        """Pictures, before and after compression; see `tec_xarray.plots`."""
        from tec_xarray.plots import Plots

        return Plots(self._data)


def _dataset(data: xr.Dataset | xr.DataArray) -> xr.Dataset:
    from tec_xarray.cube.layout import as_dataset

    return as_dataset(data)


def register() -> None:
    """Put ``.tec`` on datasets and arrays."""
    xr.register_dataset_accessor("tec")(TecAccessor)
    xr.register_dataarray_accessor("tec")(TecAccessor)

"""``ds.tec``: a shorter way to write what free functions do. It keeps no state.

Signatures for type checkers and editors stand in ``accessor.pyi``.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

import xarray as xr

from tec_numcodecs.extras import named_if_missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from tec_xarray.plots.accessor import Plots


class _Forward:
    """A method that calls a function of `tec_xarray`, imported on first use, with its signature."""

    def __init__(self, module: str, function: str, *, dataset: bool = False) -> None:
        self._module, self._function, self._dataset = module, function, dataset

    def __get__(self, instance: TecAccessor | None, owner: type) -> Callable[..., Any]:
        with named_if_missing(f"tec_xarray.{self._function}"):
            function = getattr(importlib.import_module(self._module), self._function)

        @functools.wraps(function)
        def method(accessor: TecAccessor, /, *args: Any, **settings: Any) -> Any:
            data = accessor._data  # noqa: SLF001  a method of it
            return function(_as_dataset(data) if self._dataset else data, *args, **settings)

        return method if instance is None else method.__get__(instance, owner)


class TecAccessor:
    """Learned compression of the bands of a dataset or array.

    Every method forwards to the function of the same name in `tec_xarray` (`report` to `compare`),
    with the dataset as its first argument. Shown in a notebook or terminal it says what the data
    are taken for, and what can be done with them.
    """

    compress = _Forward("tec_xarray.encode", "compress")
    reconstruct = _Forward("tec_xarray.encoding.reconstruct", "reconstruct")
    inpaint = _Forward("tec_xarray.gapfill.inpaint", "inpaint")
    to_cube = _Forward("tec_xarray.cube.layout", "to_cube")
    from_cube = _Forward("tec_xarray.cube.layout", "from_cube", dataset=True)
    to_bands = _Forward("tec_xarray.cube.layout", "to_bands", dataset=True)
    drop_codec = _Forward("tec_xarray.encode", "drop_codec", dataset=True)
    report = _Forward("tec_xarray.report.report", "compare", dataset=True)
    sweep = _Forward("tec_xarray.report.rate_sweep", "sweep")

    def __init__(self, data: xr.Dataset | xr.DataArray) -> None:
        self._data = data

    @property
    def plot(self) -> Plots:
        """Pictures, before and after compression; see `tec_xarray.plots`."""
        from tec_xarray.plots import Plots

        return Plots(self._data)

    def __repr__(self) -> str:
        from tec_xarray.report.overview import overview

        return str(overview(self._data))

    def _repr_html_(self) -> str:
        from tec_xarray.report.overview import overview

        return overview(self._data).html()


def _as_dataset(data: xr.Dataset | xr.DataArray) -> xr.Dataset:
    from tec_xarray.cube.layout import as_dataset

    return as_dataset(data)


def register() -> None:
    """Put ``.tec`` on datasets and arrays."""
    xr.register_dataset_accessor("tec")(TecAccessor)
    xr.register_dataarray_accessor("tec")(TecAccessor)

"""Bands of data called as those of a cube that was made of them."""

from __future__ import annotations

import xarray as xr

from tec_xarray.cube.layout import Bands, as_dataset, cube_of, to_cube
from tec_xarray.cube.layout_record import LAYOUT, read_memo


def cube_like(
    data: xr.Dataset | xr.DataArray,
    like: xr.DataArray | None = None,
    *,
    bands: Bands | None = None,
    sensor: str | None = None,
    variable: str | None = None,
) -> xr.DataArray:
    """Return data of any layout as (time, band, y, x) with canonical band labels.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
    like : xarray.DataArray, optional
        A cube that may have been made of the same data: its record of names counts where the data
        have these names.
    bands, sensor, variable : optional
        As of `tec_xarray.to_cube`; they count before any record.

    Raises
    ------
    InvalidInput
        See `tec_xarray.to_cube`.
    """
    dataset = as_dataset(data)
    ours = any(LAYOUT in array.attrs for array in dataset.data_vars.values())
    if bands is None and like is not None and not ours and LAYOUT in like.attrs:
        bands = _recorded(dataset, like, variable)
    return cube_of(to_cube(dataset, bands=bands, sensor=sensor, variable=variable))


def _recorded(dataset: xr.Dataset, like: xr.DataArray, variable: str | None) -> Bands | None:
    """Return which name is which band, as a cube's record has it; None where it does not fit."""
    record = read_memo(like)
    named = {str(label): band for band, label in record.labels.items()}
    if record.form == "variables":
        return named if named and named.keys() <= set(map(str, dataset.data_vars)) else None
    name = variable or record.name
    if name not in dataset.data_vars:
        return None
    if named:
        axis = [d for d in dataset[name].dims if d in dataset[name].coords]
        found = {str(v) for dim in axis for v in dataset[name][dim].values}
        return named if named.keys() <= found else None
    names = [str(band) for band in like[like.dims[1]].values]
    extra = [d for d in dataset[name].dims if d not in like.dims or d == like.dims[1]]
    count = dataset[name].sizes[extra[0]] if extra else 1
    bare = not extra or extra[0] not in dataset[name].coords
    return names if bare and count == len(names) else None

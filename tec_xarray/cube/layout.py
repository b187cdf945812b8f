"""Any dataset of bands as one (time, band, y, x) cube, and back.

A codec wants one array with its axes in one order. People have a variable for each band (odc-stac),
one variable with a band axis (stackstac, rioxarray), with or without dates, in any order of axes
and bands. `to_cube` makes the first out of all of these and writes down, in an attribute of the
cube, what it did; `from_cube` undoes it, before or after a trip through a store; `to_bands` gives a
variable for each band whatever the layout was before. Dimensions keep their names.

What is no band (a scene classification, masks, angles) stands beside the cube, untouched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from tec_numcodecs.arguments import shown
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.bands import Source, find_axes, find_source
from tec_xarray.cube.layout_record import LAYOUT, Memo, json_value, read_memo, split_attrs
from tec_xarray.cube.loss import ON_PURPOSE, without_achieved

Bands: TypeAlias = Sequence[str] | Mapping[str, str]


def to_cube(
    data: xr.Dataset | xr.DataArray,
    *,
    bands: Bands | None = None,
    sensor: str | None = None,
    variable: str | None = None,
    name: str | None = None,
) -> xr.Dataset:
    """Gather the bands of a dataset into one (time, band, y, x) variable.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A variable for each band, (y, x) or (time, y, x), or one variable for all, with the axes
        in any order. NumPy or dask; nothing is computed.
    bands : list or dict of str, optional
        Which bands there are. For a variable for each band: the variables that are bands, or the
        bands wanted, or ``{"my_name": "B04"}``. For one variable: the band of each position of
        its band axis, or those wanted, where labels say which they are; ``{"1": "B04"}`` takes the
        positions with these labels. Default: whatever the names of the variables, the labels of the
        band axis, or the descriptions of a raster (``long_name``, as rioxarray has them) say.
    sensor : str, optional
        ``"sentinel-2-l2a"`` or ``"sentinel-2-l1c"``; bands that it lacks are refused.
    variable : str, optional
        The variable to take, if several have a band axis.
    name : str, optional
        What to call the cube. Default: the name that it has, or ``"reflectance"``.

    Returns
    -------
    xarray.Dataset
        The cube, with canonical labels (B01 ... B12, B8A) on its band axis and the STAC names as
        the coordinate ``common_name``, and every other variable as it was. The bands are in the
        order in which they were found. The input is not changed.

    Raises
    ------
    InvalidInput
        No bands, unknown bands, the same band twice, bands of different shape or dtype, or
        dimensions that cannot be told apart.
    """
    check_name(name)
    dataset = as_dataset(data)
    return gather(
        dataset, find_source(dataset, bands=bands, sensor=sensor, variable=variable), name
    )


def gather(dataset: xr.Dataset, found: Source, name: str | None = None) -> xr.Dataset:
    """Make the cube of bands that were found; see `to_cube`."""
    check_name(name)
    if found.cube is not None:
        return _taken(dataset, found.cube, found) if found.as_found else dataset.copy(deep=False)
    take = _stack if found.form == "variables" else _take
    array, rest, memo = take(dataset, found)
    mapping = array.encoding.get("grid_mapping")
    array.encoding = {}
    if mapping is not None:
        # In the encoding it is lost as soon as anybody passes encoding= to to_zarr, and the CRS
        # with it; as an attribute it comes back as it is.
        array.attrs["grid_mapping"] = mapping
        memo = replace(memo, grid_mapping=True)
    array, added = _label(array, found)
    order = found.as_found if found.form == "variable" else []
    array.attrs[LAYOUT] = json.dumps(asdict(replace(memo, coords=added, order=order)))
    target = _unused(rest, name or found.name or "reflectance")
    # The new labels replace the old ones of the whole dataset: aligned, the old ones would win.
    return rest.drop_vars([array.dims[1], *added], errors="ignore").assign({target: array})


def _taken(dataset: xr.Dataset, name: str, found: Source) -> xr.Dataset:
    """Bring the bands of a cube into another order, and all that lies along them."""
    axis = dataset[name].dims[1]
    result = dataset.isel({axis: found.positions})
    said = result[name].attrs.get("long_name")
    if isinstance(said, (list, tuple)) and len(said) == len(found.bands):
        result[name].attrs["long_name"] = [said[i] for i in found.positions or []]
    return result


def check_name(name: object) -> None:
    """Refuse what cannot be the name of a cube; None is no name, and fine."""
    if name is not None and not _is_name(name):
        raise InvalidInput(
            f"name = {shown(name)}",
            allowed="a name without slashes for the cube",
            fix="pass name='reflectance', for example, or leave it out",
        )


def _is_name(name: object) -> bool:
    """Whether a group of a store can hold a variable of this name."""
    if not isinstance(name, str) or not name.isprintable():
        return False
    return 0 < len(name) <= 255 and "/" not in name


def cube_of(data: xr.Dataset) -> xr.DataArray:
    """Return the cube in a dataset that `to_cube` or a store written by us gave.

    Raises
    ------
    InvalidInput
        There is none, or more than one.
    """
    names = [name for name, array in data.data_vars.items() if LAYOUT in array.attrs]
    if len(names) != 1:
        what = f"{len(names)} cubes ({', '.join(map(str, names))})" if names else "no cube"
        raise InvalidInput(
            f"{what} of tec_xarray among {', '.join(map(str, data.data_vars)) or 'no variables'}",
            allowed=f"one variable with the attribute {LAYOUT!r}",
            fix="pass what compress(store=...), to_cube or xr.open_zarr of an archive gave; in a "
            "comparison that comes first: stored.tec.report(original)",
        )
    return data[names[0]]


def from_cube(data: xr.Dataset) -> xr.Dataset:
    """Undo `to_cube`: the layout, names, labels and attributes that the data had before.

    Works on what comes back from a store, and after dates, bands or windows were selected.

    Raises
    ------
    InvalidInput
        The dataset holds no cube.
    """
    cube = cube_of(data)
    memo = read_memo(cube)
    if memo.form == "variables":
        return to_bands(data)
    if sorted(memo.order) == sorted(_names(cube)):  # all of them are there: as they were
        places = [_names(cube).index(name) for name in memo.order]
        data = data.isel({str(find_axes(cube).band): places})
        cube = data[cube.name]
    rest = data.drop_vars(str(cube.name))
    axes = find_axes(cube)
    array = _plain(cube, memo)
    band = str(axes.band)
    labels = [memo.labels.get(name) for name in _names(cube)]
    ours = [n for n in memo.coords if n in array.coords]
    array, rest = array.drop_vars(ours), rest.drop_vars(ours, errors="ignore")
    if band in memo.added and array.sizes[band] == 1:
        array = array.isel({band: 0}, drop=True)
        rest = rest.drop_vars(band, errors="ignore")
    elif memo.labels:
        array, rest = array.assign_coords({band: labels}), rest.drop_vars(band, errors="ignore")
    else:
        array, rest = array.drop_vars(band), rest.drop_vars(band, errors="ignore")
    if memo.attrs:
        said = [memo.attrs.get(name, {}).get("long_name") for name in _names(cube)]
        array.attrs["long_name"] = tuple(said)  # as rioxarray reads and writes descriptions
    array, rest = _squeeze_time(array, rest, memo)
    array = array.transpose(*(d for d in memo.dims if d in array.dims), ...)
    return _with_scalars(rest.assign({memo.name or str(cube.name): array}), memo)


def to_bands(data: xr.Dataset) -> xr.Dataset:
    """Return a dataset with a variable for each band, whatever the layout was before.

    Variables have the names that they had; bands that were positions on an axis get their
    canonical names (B04). Axes that `to_cube` added are gone again, the attributes of each band
    are its own, and everything beside the cube is kept.

    Parameters
    ----------
    data : xarray.Dataset
        What `to_cube`, `compress` or ``xr.open_zarr`` of a compressed store returned.

    Raises
    ------
    InvalidInput
        The dataset holds no cube.
    """
    cube = cube_of(data)
    memo, axes = read_memo(cube), find_axes(cube)
    rest = data.drop_vars(str(cube.name))
    gone = [n for n, c in data.coords.items() if c.dims == (axes.band,)]
    extra = [str(n) for n in gone if n != axes.band and n not in memo.coords]
    users = [n for n, v in rest.data_vars.items() if axes.band in v.dims]
    rest = rest if users else rest.drop_vars(gone, errors="ignore")
    array = _plain(cube, memo)
    order = [d for d in memo.dims if d != axes.band]
    pieces: dict[str, xr.DataArray] = {}
    for position, band in enumerate(_names(cube)):
        piece = array.isel({axes.band: position}, drop=True)
        piece = piece.drop_vars([n for n in gone if n in piece.coords])
        piece, rest = _squeeze_time(piece, rest, memo)
        piece = piece.transpose(*(d for d in order if d in piece.dims), ...)
        own = {n: json_value(n, array[n].values[position]) for n in extra}
        piece.attrs = {**array.attrs, **own, **memo.attrs.get(band, {})}
        label = memo.labels.get(band, band) if memo.form == "variables" else band
        pieces[label] = piece
    return _with_scalars(rest.assign(pieces), memo)


def as_dataset(data: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """Return a dataset as it is, an array as the only variable of one."""
    if isinstance(data, xr.DataArray):
        name = "reflectance" if data.name is None else str(data.name)
        # A scalar coordinate of that name would clash with the variable.
        data = data.drop_vars(name) if name in data.coords else data
        return data.to_dataset(name=name)
    if isinstance(data, xr.Dataset):
        return data
    raise InvalidInput(
        f"data of type {type(data).__name__}",
        allowed="an xarray Dataset or DataArray",
        fix="name the axes: xr.DataArray(array, dims=('time', 'band', 'y', 'x'), "
        "coords={'band': ['B02', ...]})",
    )


def _stack(dataset: xr.Dataset, found: Source) -> tuple[xr.DataArray, xr.Dataset, Memo]:
    """Make one array of a variable for each band."""
    rest = dataset.drop_vars(found.variables)
    first = dataset[found.variables[0]]
    dims = [str(d) for d in first.dims]
    band = _unused_dim(dataset, "band")
    scalars = {}
    if band in dataset.coords:  # open_rasterio(...).squeeze() leaves the number of the band behind
        scalars[band] = json_value(band, dataset[band].values[()])
        rest = rest.drop_vars(band)
    arrays = [dataset[n].drop_vars(band, errors="ignore") for n in found.variables]
    bare = [a.drop_attrs(deep=False) for a in arrays]
    array = xr.concat(bare, dim=band, join="exact", coords="minimal", compat="override")
    common, different = split_attrs([a.attrs for a in arrays], found.bands)
    array.attrs = common
    mappings = {a.encoding.get("grid_mapping") for a in arrays} - {None}
    array.encoding = {"grid_mapping": mappings.pop()} if len(mappings) == 1 else {}
    array, rest, added = _add_time(array, rest, dataset)
    axes = find_axes(array)
    memo = Memo(
        form="variables",
        name=None,
        dims=dims,
        added=[band, *added],
        scalars=scalars,
        labels=dict(zip(found.bands, found.variables, strict=True)),
        attrs=different,
    )
    return array.transpose(*axes.order()), rest, memo


def _take(dataset: xr.Dataset, found: Source) -> tuple[xr.DataArray, xr.Dataset, Memo]:
    """Bring the axes of the one variable into order."""
    array = dataset[found.variables[0]].copy(deep=False)
    array.attrs, array.encoding = dict(array.attrs), dict(array.encoding)
    rest = dataset.drop_vars(found.variables)
    dims, labels, added = [str(d) for d in array.dims], {}, []
    scalars: dict[str, Any] = {}
    axes = find_axes(array)
    described: dict[str, dict[str, Any]] = {}
    if axes.band is not None:
        described = _descriptions(array, axes.band, found)
        if found.positions is not None:
            array = array.isel({axes.band: found.positions})
            users = [n for n, v in rest.data_vars.items() if axes.band in v.dims]
            rest = rest.isel({axes.band: found.positions}) if users else rest
    if described:  # in the order of the cube; each band has its own beside
        array.attrs["long_name"] = [own["long_name"] for own in described.values()]
    if axes.band is None:
        band = _unused_dim(dataset, "band")
        if band in array.coords:
            scalars[band] = json_value(band, array[band].values[()])
            array, rest = array.drop_vars(band), rest.drop_vars(band, errors="ignore")
        array = array.expand_dims(band)
        added.append(band)
    elif axes.band in array.coords:
        values = [json_value(axes.band, v) for v in array[axes.band].values]
        labels = dict(zip(found.bands, values, strict=True))
    array, rest, more = _add_time(array, rest, dataset)
    memo = Memo(
        form="variable",
        name=found.name,
        dims=dims,
        added=added + more,
        scalars=scalars,
        labels=labels,
        attrs=described,
    )
    return array.transpose(*find_axes(array).order()), rest, memo


def _descriptions(array: xr.DataArray, axis: str, found: Source) -> dict[str, dict[str, Any]]:
    """Return the description of each band of a raster, as rioxarray has them; {} without."""
    said = array.attrs.get("long_name")
    if not isinstance(said, (tuple, list)) or len(said) != array.sizes[axis]:
        return {}
    places = range(len(said)) if found.positions is None else found.positions
    return {
        band: {"long_name": json_value("long_name", said[place])}
        for band, place in zip(found.bands, places, strict=True)
    }


def _add_time(
    array: xr.DataArray, rest: xr.Dataset, dataset: xr.Dataset
) -> tuple[xr.DataArray, xr.Dataset, list[str]]:
    """Give an array without dates a time axis of one date, labeled if a scalar says which."""
    if find_axes(array).time is not None:
        return array, rest, []
    time = _unused_dim(dataset, "time")
    return array.expand_dims(time), rest.drop_vars(time, errors="ignore"), [time]


def _squeeze_time(
    array: xr.DataArray, rest: xr.Dataset, memo: Memo
) -> tuple[xr.DataArray, xr.Dataset]:
    """Take an added time axis away again; its label becomes a scalar coordinate."""
    for time in memo.added:
        if array.sizes.get(time) == 1:
            array = array.isel({time: 0})
            rest = rest.drop_vars(time, errors="ignore")
    return array, rest


def _label(array: xr.DataArray, found: Source) -> tuple[xr.DataArray, list[str]]:
    """Put canonical and common names on the band axis; return what was added, too."""
    band = str(find_axes(array).band)
    coords: dict[str, Any] = {band: list(found.bands)}
    if "common_name" not in array.coords:
        coords["common_name"] = (band, list(found.common_names))
    labeled = array.drop_vars(band, errors="ignore").assign_coords(coords)
    return labeled, [name for name in coords if name != band]


def _plain(cube: xr.DataArray, memo: Memo) -> xr.DataArray:
    """Return the cube without an encoding that would compress it, and with its marks of loss."""
    array = cube.copy(deep=False)
    said = without_achieved(cube.attrs)
    array.attrs = {k: v for k, v in said.items() if not str(k).startswith("tec_")}
    # xarray has it in the encoding where it was read with decode_coords="all".
    mapping = array.attrs.get("grid_mapping", cube.encoding.get("grid_mapping"))
    array.encoding = {k: v for k, v in cube.encoding.items() if k == ON_PURPOSE}
    if mapping is not None and (memo.grid_mapping or "grid_mapping" not in array.attrs):
        array.attrs.pop("grid_mapping", None)
        array.encoding["grid_mapping"] = mapping
    return array


def _names(cube: xr.DataArray) -> list[str]:
    return [str(name) for name in np.atleast_1d(cube[find_axes(cube).band].values)]


def _with_scalars(dataset: xr.Dataset, memo: Memo) -> xr.Dataset:
    free = {k: v for k, v in memo.scalars.items() if k not in dataset.variables}
    return dataset.assign_coords({k: v for k, v in free.items() if k not in dataset.dims})


def _unused_dim(dataset: xr.Dataset, name: str) -> str:
    """Return a name that no dimension has (a scalar coordinate may: it becomes the label)."""
    return name if name not in dataset.dims else _unused_dim(dataset, f"tec_{name}")


def _unused(dataset: xr.Dataset, name: str) -> str:
    """Return a name that no variable has."""
    return name if name not in dataset.variables else _unused(dataset, f"tec_{name}")

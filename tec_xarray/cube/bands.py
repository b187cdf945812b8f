"""Which variables of a dataset are bands, which axis is which, and which sensor took them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

from tec_numcodecs import sensors
from tec_numcodecs.arguments import mapping, sequence, shown, text
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.sensors import Sensor, band_name, get_sensor, sensors_with
from tec_xarray.cube.layout_record import LAYOUT
from tec_xarray.cube.water_vapor import level_of

ROLES = {
    "time": ("time", "t", "date", "datetime"),
    "band": ("band", "bands", "channel"),
    "y": ("y", "lat", "latitude", "northing"),
    "x": ("x", "lon", "longitude", "easting"),
}
_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}

# Grids of other resolutions have dimensions such as y20, x_60m.
_RESOLUTION = re.compile(r"_?\d{1,3}m?$")

# Names that several bands answer to. As any other unknown name they would pass for a mask.
_VAGUE = ("rededge", "swir")

# What rioxarray calls the bands of a file that it opens as variables: where they stand in it.
_POSITION = re.compile(r"band[ _-]?([1-9]\d?)", re.IGNORECASE)


@dataclass(frozen=True)
class Axes:
    """What the dimensions of one variable are called; None where it lacks one."""

    time: str | None
    band: str | None
    y: str
    x: str

    def order(self) -> list[str]:
        """Return the dimensions in the codec's order."""
        return [d for d in (self.time, self.band, self.y, self.x) if d is not None]


@dataclass(frozen=True)
class Source:
    """Where the bands of a dataset are.

    Attributes
    ----------
    form : str
        ``"variables"`` or ``"variable"``.
    variables : list of str
        The variables: one for each band, or the one for all.
    bands, common_names : list of str
        The canonical and the STAC name of each band.
    name : str or None
        The name of the one variable.
    cube : str or None
        The variable, if the dataset is a cube of ours already.
    positions : list of int or None
        Where the bands stand on the band axis of the one variable, if they are not all that it has
        in its order.
    as_found : list of str
        The order in which they were found, if `in_order` changed it.
    """

    form: str
    variables: list[str]
    bands: list[str]
    common_names: list[str]
    name: str | None = None
    cube: str | None = None
    positions: list[int] | None = None
    as_found: list[str] = field(default_factory=list)

    def in_order(self, wanted: Sequence[str]) -> tuple[Source, list[int]]:
        """Return the same bands in the order of a list, and where each was; others stay last."""
        rank = {band: i for i, band in enumerate(wanted)}
        places = sorted(range(len(self.bands)), key=lambda i: rank.get(self.bands[i], len(rank)))
        if places == list(range(len(places))):
            return self, places
        apart = self.form == "variables"
        stand = places if self.positions is None else [self.positions[i] for i in places]
        found = replace(
            self,
            variables=[self.variables[i] for i in places] if apart else self.variables,
            bands=[self.bands[i] for i in places],
            common_names=[self.common_names[i] for i in places],
            positions=None if apart else stand,
            as_found=self.bands,
        )
        return found, places


def sensor_order(bands: Sequence[str]) -> Sequence[str]:
    """Return the bands of the first sensor that has all of these, in its order."""
    return next((s.bands for s in sensors.SENSORS if set(bands) <= set(s.bands)), bands)


def role_of(dim: str) -> str | None:
    """Tell which axis a dimension is by its name: time, band, y or x; None if it says nothing."""
    name = dim.lower().removeprefix("tec_")
    return _ROLE_OF.get(name) or _ROLE_OF.get(_RESOLUTION.sub("", name))


def find_axes(array: xr.DataArray) -> Axes:
    """Tell which dimension is which, by name.

    Raises
    ------
    InvalidInput
        A dimension has an unknown name, two are the same, or there is no y or x.
    """
    found: dict[str, str] = {}
    for dim in map(str, array.dims):
        role = role_of(dim)
        if role is None or role in found:
            raise _bad_dims(array)
        found[role] = dim
    if "y" not in found or "x" not in found:
        raise _bad_dims(array)
    return Axes(found.get("time"), found.get("band"), found["y"], found["x"])


def find_source(
    dataset: xr.Dataset,
    *,
    bands: Sequence[str] | Mapping[str, str] | None,
    sensor: str | Sensor | None,
    variable: str | None,
) -> Source:
    """Find the bands of a dataset; see `tec_xarray.cube.layout.to_cube`."""
    if isinstance(bands, Mapping):
        bands = mapping("bands", bands, "{'my_red': 'B04'}")
    elif bands is not None:
        example = [bands] if isinstance(bands, str) else ["B04", "B03"]
        bands = sequence("bands", bands, "names, or a dict", shown(example))
        for name in bands:
            text("a name in bands", name, "B04")
    if sensor is not None and not isinstance(sensor, Sensor):
        text("sensor", sensor, sensors.SENSORS[0].name)
    if variable is not None:
        text("variable", variable, "reflectance")
    sensor = sensor or _other_instrument(dataset)
    cubes = [str(n) for n, a in dataset.data_vars.items() if LAYOUT in a.attrs]
    if len(cubes) == 1 and variable in (None, cubes[0]):
        axes = find_axes(dataset[cubes[0]])
        if list(dataset[cubes[0]].dims) == axes.order() and len(axes.order()) == 4:
            found = _from_axis(dataset[cubes[0]], bands, sensor)
            return replace(found, cube=cubes[0])
    one = _one_variable(dataset, variable)
    if one is not None:
        return _from_axis(dataset[one], bands, sensor)
    return _from_names(dataset, bands, sensor)


_MOST_BANDS = "sentinel-2-l1c"  # whose message lists what there is
_SCL = re.compile(r"(s2_)?scl(_(10|20|60)m)?")


def other_bands(dataset: xr.Dataset, bands: Sequence[str] | Mapping[str, str] | None) -> list[str]:
    """Return the variables that are bands, but not among those asked for; [] without a wish."""
    if bands is None or _one_variable(dataset, None) is not None:
        return []
    chosen = set(find_source(dataset, bands=bands, sensor=None, variable=None).variables)
    known = {str(n): a for n, a in dataset.data_vars.items() if band_name(_called(a))}
    return [n for n, a in known.items() if n not in chosen and _is_image(a)]


def places_of_bands(cube: xr.DataArray, names: Sequence[str]) -> list[int]:
    """Return where bands stand in a cube, -1 for those that it lacks.

    Parameters
    ----------
    cube : xarray.DataArray
        (time, band, y, x)
    names : sequence of str
        Labels of the cube, its common names, or any other names of bands.
    """
    axis = cube.dims[1]
    own = [str(name) for name in np.atleast_1d(cube[axis].values)]
    common = cube.coords.get("common_name")
    called = [] if common is None or common.dims != (axis,) else [str(n) for n in common.values]
    known = [{name: i for i, name in enumerate(each)} for each in (own, called)]
    return [
        next((each[n] for each in known for n in (name, band_name(name)) if n in each), -1)
        for name in map(str, names)
    ]


def find_sensor(
    bands: Sequence[str],
    dataset: xr.Dataset,
    sensor: str | Sensor | None,
    cube: xr.DataArray | None = None,
) -> Sensor:
    """Tell which sensor took canonical `bands`.

    Given by name, it is checked. Otherwise attributes decide (``sensor``, ``collection``,
    ``processing_level``), then a scene classification (L2A has one), then the bands: B10 is only
    in L1C. The other twelve decide nothing: many exports of L1C leave B10 out. Of a whole `cube` a
    sample of the water vapor band does, where it is plain (`tec_xarray.cube.water_vapor`).

    Raises
    ------
    InvalidInput
        It lacks one of the bands, or nothing decides.
    """
    if sensor is None:
        sensor = _stated_sensor(dataset)
    if sensor is None:
        sensor = _sensor_told(bands, dataset, cube)
        if sensor is None:
            names = " or ".join(repr(s.name) for s in sensors.SENSORS)
            raise InvalidInput(
                f"bands {', '.join(bands)} without a word on the sensor",
                allowed=names,
                fix="pass sensor= with one of these",
            )
    known = get_sensor(sensor)
    known.indices(bands)
    return known


def _sensor_told(
    bands: Sequence[str], dataset: xr.Dataset, cube: xr.DataArray | None
) -> Sensor | None:
    """Return the sensor that bands, a scene classification or values tell; None if they do not."""
    possible = sensors_with(bands)
    if len(possible) > 1 and any(_SCL.fullmatch(str(n).lower()) for n in dataset.variables):
        possible = tuple(s for s in possible if s.scene_classification) or possible
    if len(possible) > 1 and cube is not None:
        level = level_of(cube, list(bands))
        possible = tuple(s for s in possible if s.level == level)
    return possible[0] if len(possible) == 1 else None


def _stated_sensor(dataset: xr.Dataset) -> Sensor | None:
    """Return what the attributes say, if they say it and agree."""
    stated = _statements(dataset)
    if len(stated) > 1:
        raise InvalidInput(
            f"attributes contradict each other: {', '.join(t for t, _ in stated.values())}",
            allowed=", ".join(repr(s.name) for s in sensors.SENSORS),
            fix="pass sensor= with one of these",
        )
    return next(iter(stated.values()))[1] if stated else None


def _other_instrument(dataset: xr.Dataset) -> Sensor | None:
    """Return the sensor that attributes name, if its bands are not called as those of the first."""
    stated = [sensor for _, sensor in _statements(dataset).values()]
    first = sensors.SENSORS[0].instrument.name
    return stated[0] if len(stated) == 1 and stated[0].instrument.name != first else None


def _statements(dataset: xr.Dataset) -> dict[str, tuple[str, Sensor]]:
    """Return each sensor that attributes name, and which attribute does."""
    stated: dict[str, tuple[str, Sensor]] = {}
    keys = ("sensor", "collection", "product_type", "processing_level", "processing:level", "level")
    for attrs in (dataset.attrs, *(v.attrs for v in dataset.data_vars.values())):
        own = {str(key).lower(): value for key, value in attrs.items()}  # GDAL: PROCESSING_LEVEL
        for key in keys:
            value = own.get(key)
            known = _sensor_named(value) if isinstance(value, str) else None
            if known is not None:
                stated[known.name] = (f"{key} = {value!r}", known)
    return stated


def _sensor_named(value: str) -> Sensor | None:
    """Return the sensor that an attribute names, None if it names something else."""
    level = value.strip().upper().replace("LEVEL-", "L").removeprefix("S2MSI")
    of_level = [s for s in sensors.SENSORS if s.level.upper() in (level, f"L{level}")]
    if len(of_level) == 1:
        return of_level[0]
    try:
        return get_sensor(value)
    except InvalidInput:
        return None


def _one_variable(dataset: xr.Dataset, variable: str | None) -> str | None:
    """Return the variable that holds all bands, None if each band has its own."""
    if variable is not None:
        if variable not in dataset.data_vars:
            raise InvalidInput(
                f"variable = {shown(variable)}",
                allowed=", ".join(map(str, dataset.data_vars)),
                fix="pass variable= with one of these, or leave it out",
            )
        return variable
    images = [str(n) for n, a in dataset.data_vars.items() if _is_image(a)]
    cubes = [n for n in images if find_axes(dataset[n]).band is not None]
    if len(cubes) > 1:
        raise InvalidInput(
            f"several variables with a band axis: {', '.join(cubes)}",
            allowed="one",
            fix=f"pass variable={cubes[0]!r}",
        )
    if cubes:
        return cubes[0]
    if len(dataset.data_vars) == 1 and images and band_name(images[0]) == "":
        return images[0]  # a lone image: its band may stand in a coordinate, or in bands=
    return None


def _from_axis(
    array: xr.DataArray,
    bands: Sequence[str] | Mapping[str, str] | None,
    sensor: str | Sensor | None,
) -> Source:
    """Name the positions of a band axis."""
    axis = find_axes(array).band
    count = 1 if axis is None else array.sizes[axis]
    labels = _labels(array, axis)
    positions = list(range(count))
    if isinstance(bands, Mapping):
        positions, names = _mapped(array, axis, labels, bands)
    elif bands is not None:
        names = list(bands)
        selected = _selected(labels, names)
        if selected is not None:
            positions = selected
        elif len(names) != count:
            raise InvalidInput(
                f"{len(names)} bands for a band axis of {count} ({array.name!r}), whose labels "
                f"are {', '.join(map(shown, labels[:13])) or 'missing'}",
                allowed=f"{count} names, one for each position, or names that are labels",
                fix="to compress some of the bands, select them first with ds.sel or ds.isel",
            )
        else:
            _check_agreement(labels, names)
    elif labels:
        names = labels
        _check_positions(names, array)
    else:
        raise InvalidInput(
            f"{array.name!r} does not say which bands it holds",
            allowed="labels on its band axis, or descriptions in its attribute long_name",
            fix="pass bands=['B02', ...], one name for each position",
        )
    whole = positions == list(range(count))
    name = str(array.name)
    found = Source("variable", [name], *_canonical(names, sensor), name)
    return found if whole else replace(found, positions=positions)


def _labels(array: xr.DataArray, axis: str | None) -> list[str]:
    """Return what names the positions of the band axis; [] if nothing does.

    The coordinate of the axis, unless only the descriptions in ``long_name`` are names of bands: a
    GeoTIFF has both, and rioxarray numbers the positions. Without an axis, a scalar coordinate, the
    name of the variable, or its description.
    """
    if axis is not None:
        labels = [str(v) for v in array[axis].values] if axis in array.coords else []
        said = descriptions(array, array.sizes[axis])
        known = sum(1 for label in labels if band_name(label))
        return said if sum(1 for text in said if band_name(text)) > known else labels
    own = [str(array[n].values[()]) for n in ROLES["band"] if n in array.coords]
    own = [*own, str(array.name), *descriptions(array, 1)]
    return [label for label in own if band_name(label)][:1]


def descriptions(array: xr.DataArray, count: int) -> list[str]:
    """Return the band names that ``long_name`` has, as rioxarray reads descriptions of a raster.

    What is no name of a band stays as it is; [] if there is not one for each of `count` bands.
    """
    said = array.attrs.get("long_name")
    said = [said] if isinstance(said, str) else said
    if not isinstance(said, (tuple, list)) or len(said) != count:
        return []
    return [_described(str(text)) for text in said]


def _described(text: str) -> str:
    """Return the band that a description names: ``B4, central wavelength 665 nm`` is B4."""
    for part in (text, re.split(r"[,;:(]|\s[-\u2013]\s", text)[0]):
        if band_name(part):
            return part.strip()
    return text


def _mapped(
    array: xr.DataArray, axis: str | None, labels: list[str], bands: Mapping[str, str]
) -> tuple[list[int], list[str]]:
    """Return where the bands of a mapping stand, which may name labels or descriptions."""
    numbered = axis is not None and axis in array.coords
    own = [str(v) for v in array[axis].values] if numbered else [str(array.name), *labels]
    said = array.attrs.get("long_name")
    whole = [str(text) for text in said] if isinstance(said, (tuple, list)) else [str(said)]
    for known in (labels, own, whole):
        if bands and set(bands) <= set(known):
            places = [known.index(name) for name in bands] if axis is not None else [0] * len(bands)
            return places, list(bands.values())
    missing = [name for name in bands if name not in {*labels, *own, *whole}]
    raise InvalidInput(
        f"no band {', '.join(map(shown, missing or bands))} in {array.name!r}",
        allowed=", ".join(dict.fromkeys([*labels, *own])),
        fix="pass bands={'label': 'B04', ...} to say which label is which band",
    )


def _selected(labels: Sequence[str], names: Sequence[str]) -> list[int] | None:
    """Return where bands stand, if the labels name all of them."""
    known = [band_name(label) for label in labels]
    places = [
        labels.index(n) if n in labels else known.index(b) if (b := band_name(n)) in known else -1
        for n in names
    ]
    all_known = all(known[i] for i in places if i >= 0)
    return places if places and min(places) >= 0 and all_known else None


def _check_positions(names: Sequence[str], where: xr.DataArray | None = None) -> None:
    """Refuse band_1, band_2, ... up to the last: these may say where bands stand in a file."""
    found = [(name, hit[1]) for name in names if (hit := _POSITION.fullmatch(name))]
    if found and sorted(int(n) for _, n in found) == list(range(1, len(found) + 1)):
        what = "variables" if where is None else f"labels of {where.name!r}"
        raise InvalidInput(
            f"{what} {', '.join(name for name, _ in found)}, which may be positions in a file",
            allowed="names of bands (B02), or descriptions of them in the attribute long_name",
            fix=f"pass bands={{{found[0][0]!r}: 'B02', ...}} to say which is which",
        )


def _check_agreement(labels: Sequence[str], names: Sequence[str]) -> None:
    """Refuse to rename a band that already has a known name into another one."""
    for label, name in zip(labels, names, strict=False):
        known, wanted = band_name(label), band_name(name)
        if known and wanted and known != wanted:
            raise InvalidInput(
                f"bands says {name!r} where the data say {label!r}",
                allowed="names in the order of the data",
                fix="leave bands= away, or select and order the bands with ds.sel",
            )


def _from_names(
    dataset: xr.Dataset,
    bands: Sequence[str] | Mapping[str, str] | None,
    sensor: str | Sensor | None,
) -> Source:
    """Take the variables that are called like bands, or the ones asked for."""
    known = {str(n): band_name(_called(dataset[n])) for n in dataset.data_vars}
    if isinstance(bands, Mapping):
        chosen = dict(bands)
    elif bands is not None:
        by_band: dict[str, str] = {}
        for name, band in known.items():
            by_band.setdefault(band, name)
        chosen = {n if n in known else by_band.get(band_name(n) or n, n): n for n in bands}
        if len(chosen) != len(bands):
            raise InvalidInput(f"bands = {list(bands)}", allowed="each band once")
    else:
        vague = [n for n in known if n.lower() in _VAGUE]
        if vague:
            raise InvalidInput(
                f"variables that could be several bands: {', '.join(vague)}",
                allowed="names of one band (B05, rededge1, B11, swir16)",
                fix=f"pass bands={{{vague[0]!r}: 'B05', ...}} or rename the variables",
            )
        called = {n: _called(dataset[n]) for n, band in known.items() if band}
        chosen = {n: name for n, name in called.items() if _is_image(dataset[n])}
        _check_positions(list(chosen.values()))
        if called and not chosen:  # the names are right, the dimensions are not
            raise _bad_dims(dataset[next(iter(called))])
    missing = [n for n in chosen if n not in known]
    if missing or not chosen:
        what = f"no variable for {', '.join(map(repr, missing))}"
        raise InvalidInput(
            what if missing else "no variable is called like a band",
            allowed=", ".join(known) or "a dataset that is not empty",
            fix="pass bands={'variable': 'B04', ...} to say which variable is which band",
        )
    _check_alike(dataset, list(chosen))
    return Source("variables", list(chosen), *_canonical(list(chosen.values()), sensor))


def _called(array: xr.DataArray) -> str:
    """Return what a variable is called; a position in a file gives way to a description."""
    name = str(array.name)
    said = descriptions(array, 1) if _POSITION.fullmatch(name) else []
    return said[0] if said and band_name(said[0]) else name


def _check_grids(dataset: xr.Dataset, variables: Sequence[str]) -> None:
    """Refuse bands of several resolutions, and say which lie where."""
    grids: dict[tuple[str, str], list[str]] = {}
    for name in variables:
        axes = find_axes(dataset[name])
        grids.setdefault((axes.y, axes.x), []).append(name)
    if len(grids) < 2:
        return
    lines = [
        f"{', '.join(names)} on {y} ({dataset.sizes[y]}), {x} ({dataset.sizes[x]})"
        for (y, x), names in grids.items()
    ]
    finest = max(grids, key=lambda dims: dataset.sizes[dims[0]] * dataset.sizes[dims[1]])
    raise InvalidInput(
        f"bands on {len(grids)} grids: {'; '.join(lines)}",
        allowed="bands on one grid",
        fix=f"pass bands={grids[finest]} for the finest; drop the others with ds.drop_vars and "
        "compress each grid into a group of its own (group=), or resample them first",
    )


def _check_alike(dataset: xr.Dataset, variables: Sequence[str]) -> None:
    """Refuse bands that do not fit into one array."""
    for name in variables:
        if find_axes(dataset[name]).band is not None:
            raise _bad_dims(dataset[name])
    _check_grids(dataset, variables)
    first = dataset[variables[0]]
    for name in variables[1:]:
        other = dataset[name]
        if (other.dims, other.dtype) != (first.dims, first.dtype):
            raise InvalidInput(
                f"{first.name!r} is {first.dtype} {first.dims}, {name!r} is {other.dtype} "
                f"{other.dims}",
                allowed="bands of one dtype on one grid",
                fix="transpose or convert first: ds.transpose(...), ds.astype('uint16')",
            )


def _canonical(names: Sequence[str], sensor: str | Sensor | None) -> tuple[list[str], list[str]]:
    """Return canonical and common names; without a sensor, as the first that has them all."""
    known = get_sensor(sensor or next(iter(sensors_with(names)), _MOST_BANDS))
    try:
        places = known.indices(names)
    except InvalidInput as error:
        if sensor is not None:
            raise
        found = error.found.replace(f"{known.name} has no", "no sensor has")
        raise InvalidInput(found, allowed=error.allowed, fix=error.fix) from None
    return [known.bands[i] for i in places], [known.common_names[i] for i in places]


def _is_image(array: xr.DataArray) -> bool:
    try:
        find_axes(array)
    except InvalidInput:
        return False
    return True


def _bad_dims(array: xr.DataArray) -> InvalidInput:
    return InvalidInput(
        f"dimensions {tuple(map(str, array.dims))} of {array.name!r}",
        allowed="; ".join(f"{role}: {', '.join(names)}" for role, names in ROLES.items()),
        fix="rename them: ds.rename({'old': 'y', ...}); time and band may be missing",
    )

"""Which variables of a dataset are bands, which axis is which, and which sensor took them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import xarray as xr

from tec_numcodecs.arguments import mapping, sequence, shown, text
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.sensors import SENSORS, Sensor, get_sensor
from tec_xarray.cube.layout_record import LAYOUT

ROLES = {
    "time": ("time", "t", "date", "datetime"),
    "band": ("band", "bands", "channel"),
    "y": ("y", "lat", "latitude", "northing"),
    "x": ("x", "lon", "longitude", "easting"),
}
_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}

# Names that several bands answer to. As any other unknown name they would pass for a mask.
_VAGUE = ("rededge", "swir")


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
    """

    form: str
    variables: list[str]
    bands: list[str]
    common_names: list[str]
    name: str | None = None
    cube: str | None = None


def find_axes(array: xr.DataArray) -> Axes:
    """Tell which dimension is which, by name.

    Raises
    ------
    InvalidInput
        A dimension has an unknown name, two are the same, or there is no y or x.
    """
    found: dict[str, str] = {}
    for dim in map(str, array.dims):
        role = _ROLE_OF.get(dim.lower().removeprefix("tec_"))
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
        text("sensor", sensor, SENSORS[0].name)
    if variable is not None:
        text("variable", variable, "reflectance")
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


def find_sensor(bands: Sequence[str], dataset: xr.Dataset, sensor: str | Sensor | None) -> Sensor:
    """Tell which sensor took canonical `bands`.

    Given by name, it is checked. Otherwise attributes decide (``sensor``, ``collection``,
    ``processing_level``), then a scene classification (L2A has one), then the bands: B10 is only
    in L1C, and all twelve others without it are L2A.

    Raises
    ------
    InvalidInput
        It lacks one of the bands, or nothing decides.
    """
    if sensor is None:
        sensor = _stated_sensor(dataset)
    if sensor is None:
        l2a, l1c = get_sensor("sentinel-2-l2a"), get_sensor("sentinel-2-l1c")
        if "B10" in bands:
            sensor = l1c
        elif set(bands) == set(l2a.bands) or "scl" in {str(n).lower() for n in dataset.variables}:
            sensor = l2a
        else:
            names = " or ".join(repr(s.name) for s in SENSORS)
            raise InvalidInput(
                f"bands {', '.join(bands)} without a word on the sensor",
                allowed=names,
                fix="pass sensor= with one of these",
            )
    known = get_sensor(sensor)
    known.indices(bands)
    return known


def _stated_sensor(dataset: xr.Dataset) -> Sensor | None:
    """Return what the attributes say, if they say it and agree."""
    stated: dict[str, tuple[str, Sensor]] = {}
    keys = ("sensor", "collection", "product_type", "processing_level", "processing:level", "level")
    for attrs in (dataset.attrs, *(v.attrs for v in dataset.data_vars.values())):
        for key in keys:
            value = attrs.get(key)
            known = _sensor_named(value) if isinstance(value, str) else None
            if known is not None:
                stated[known.name] = (f"{key} = {value!r}", known)
    if len(stated) > 1:
        raise InvalidInput(
            f"attributes contradict each other: {', '.join(t for t, _ in stated.values())}",
            allowed=", ".join(repr(s.name) for s in SENSORS),
            fix="pass sensor= with one of these",
        )
    return next(iter(stated.values()))[1] if stated else None


def _sensor_named(value: str) -> Sensor | None:
    """Return the sensor that an attribute names, None if it names something else."""
    levels = {s.level: s for s in SENSORS}
    level = value.strip().upper().replace("LEVEL-", "L").removeprefix("S2MSI")
    level = level if level.startswith("L") else f"L{level}"
    if level in levels:
        return levels[level]
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
    if len(dataset.data_vars) == 1 and images and _band_names(images[0]) == "":
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
    if isinstance(bands, Mapping):
        names = [bands.get(label, label) for label in labels]
    elif bands is not None:
        names = list(bands)
        if len(names) != count:
            raise InvalidInput(
                f"{len(names)} bands for a band axis of {count} ({array.name!r})",
                allowed=f"{count} names, one for each position",
                fix="to compress some of the bands, select them first with ds.sel or ds.isel",
            )
        _check_agreement(labels, names)
    elif labels:
        names = labels
    else:
        raise InvalidInput(
            f"{array.name!r} does not say which bands it holds",
            allowed="labels on its band axis",
            fix="pass bands=['B02', ...], one name for each position",
        )
    return Source("variable", [str(array.name)], *_canonical(names, sensor), str(array.name))


def _labels(array: xr.DataArray, axis: str | None) -> list[str]:
    """Return what the coordinate of the band axis, a scalar one, or the variable's name says."""
    if axis is not None:
        return [str(v) for v in array[axis].values] if axis in array.coords else []
    said = [str(array[n].values[()]) for n in ROLES["band"] if n in array.coords]
    return [label for label in (*said, str(array.name)) if _band_names(label)][:1]


def _check_agreement(labels: Sequence[str], names: Sequence[str]) -> None:
    """Refuse to rename a band that already has a known name into another one."""
    for label, name in zip(labels, names, strict=False):
        known, wanted = _band_names(label), _band_names(name)
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
    known = {str(n): _band_names(str(n)) for n in dataset.data_vars}
    if isinstance(bands, Mapping):
        chosen = dict(bands)
    elif bands is not None:
        by_band: dict[str, str] = {}
        for name, band in known.items():
            by_band.setdefault(band, name)
        chosen = {n if n in known else by_band.get(_band_names(n) or n, n): n for n in bands}
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
        chosen = {n: n for n, band in known.items() if band and _is_image(dataset[n])}
        called = [n for n, band in known.items() if band]
        if called and not chosen:  # the names are right, the dimensions are not
            raise _bad_dims(dataset[called[0]])
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


def _check_alike(dataset: xr.Dataset, variables: Sequence[str]) -> None:
    """Refuse bands that do not fit into one array."""
    for name in variables:
        if find_axes(dataset[name]).band is not None:
            raise _bad_dims(dataset[name])
    first = dataset[variables[0]]
    for name in variables[1:]:
        other = dataset[name]
        if (other.dims, other.dtype) != (first.dims, first.dtype):
            raise InvalidInput(
                f"{first.name!r} is {first.dtype} {first.dims}, {name!r} is {other.dtype} "
                f"{other.dims}",
                allowed="bands of one dtype on one grid",
                fix="compress each resolution on its own, or resample and convert first",
            )


def _canonical(names: Sequence[str], sensor: str | Sensor | None) -> tuple[list[str], list[str]]:
    """Return canonical and common names; L1C stands in for "any", as it has all bands."""
    known = get_sensor(sensor or "sentinel-2-l1c")
    places = known.indices(names)
    return [known.bands[i] for i in places], [known.common_names[i] for i in places]


def _band_names(name: str) -> str:
    """Return the canonical name of a band of any sensor, ``""`` for anything else."""
    try:
        return get_sensor("sentinel-2-l1c").canonical(name)
    except InvalidInput:
        return ""


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

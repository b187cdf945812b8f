"""Values that a store gives back as they went in: times of every resolution and calendar, text."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tec_numcodecs.errors import InvalidInput

#: Units of times, from coarse to fine, with NumPy's code of each.
CODES = {"seconds": "s", "milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}
UNITS = list(CODES)
_LIKE_NUMPY = ("standard", "gregorian", "proleptic_gregorian")  # for the dates that ns can hold


def storable(variable: xr.Variable, name: str) -> xr.Variable:
    """Return a variable with the same values in a dtype that Zarr and CF have.

    Raises
    ------
    InvalidInput
        There is none. Nothing is changed silently: a time zone, for one, cannot be kept.
    """
    dtype = variable.dtype
    if not isinstance(dtype, np.dtype):
        zone = getattr(dtype, "tz", None)
        raise _time_zone(name) if zone is not None else _refused(name, f"values of dtype {dtype}")
    if dtype.kind == "O":
        return _of_objects(variable, name)
    if dtype.kind == "T":
        return _of_objects(variable.astype(object), name)
    if dtype.kind == "M":
        return _of_times(variable, name)
    if dtype.kind == "V" or dtype in (np.dtype("longdouble"), np.dtype("clongdouble")):
        raise _refused(name, f"values of dtype {dtype}")
    return variable


def _of_times(variable: xr.Variable, name: str) -> xr.Variable:
    """Return times in ns where these can hold them: years 1678 to 2262.

    xarray counts other resolutions in integers that overflow (its issue 10639), and reads ns.
    """
    # A NetCDF opened with mask_and_scale=False has the gap value of its numbers; times have NaT.
    gaps = ("_FillValue", "missing_value")
    if set(gaps) & set(variable.attrs):
        variable = variable.copy(deep=False)
        variable.attrs = {k: v for k, v in variable.attrs.items() if k not in gaps}
    if variable.dtype == "datetime64[ns]":
        return variable
    if variable.chunks is None:
        inside = _inside_ns(variable.values)
        return _with_values(variable, _in_ns(variable.values, name)) if inside else variable
    data = variable.data.map_blocks(_in_ns, name, dtype="datetime64[ns]")
    return _with_values(variable, data)


def _in_ns(times: NDArray[Any], name: str) -> NDArray[Any]:
    if not _inside_ns(times):
        raise _refused(name, "times outside of the years 1678 to 2262")
    return times.astype("datetime64[ns]")


def _inside_ns(times: NDArray[Any]) -> bool:
    years = times[~np.isnat(times)].astype("datetime64[Y]").astype(np.int64) + 1970
    return bool(((years > 1678) & (years < 2262)).all())


def _with_values(variable: xr.Variable, values: Any) -> xr.Variable:
    return xr.Variable(variable.dims, values, variable.attrs, variable.encoding)


def _of_objects(variable: xr.Variable, name: str) -> xr.Variable:
    values = variable.values
    items = list(values.flat)
    if all(isinstance(item, str) for item in items):
        if any(item.endswith("\0") for item in items):
            raise _refused(name, "text that ends in a zero byte")
        return _with_values(variable, values.astype(str))
    if any(getattr(item, "tzinfo", None) is not None for item in items):
        raise _time_zone(name)
    if all(hasattr(item, "calendar") for item in items):
        return _of_cftime(variable, items, name)
    if all(isinstance(item, dt.datetime) for item in items):
        return _with_values(variable, values.astype("datetime64[us]").astype("datetime64[ns]"))
    if any(isinstance(item, dt.date) for item in items):
        raise InvalidInput(
            f"{name!r} holds datetime.date objects",
            allowed="datetime64: a store gives back times, not dates",
            fix=f"ds[{name!r}] = ds[{name!r}].astype('datetime64[ns]')",
        )
    numbers = (bool, int, float, np.number, np.bool_)
    if all(isinstance(item, numbers) for item in items):
        plain = np.array(items)
        if plain.dtype.kind in "iufb" and all(
            a == b or (np.isnan(a) and np.isnan(b))
            for a, b in zip(plain.tolist(), items, strict=True)
        ):
            return _with_values(variable, plain.reshape(values.shape))
    odd = next((i for i in items if not isinstance(i, str)), items[0])
    raise _refused(name, f"objects such as {odd!r:.60} ({type(odd).__name__})")


def _of_cftime(variable: xr.Variable, items: list[Any], name: str) -> xr.Variable:
    """Keep dates of other calendars; those of ours come back as datetime64, so they go in so."""
    calendars = {item.calendar for item in items}
    if len(calendars) > 1 or "" in calendars:
        raise _refused(name, f"dates of calendars {sorted(calendars)}")
    inside = all(1678 < item.year < 2262 for item in items)
    if calendars <= set(_LIKE_NUMPY) and inside:
        stamps = [np.datetime64(item.isoformat(), "us") for item in items]
        times = np.array(stamps, "datetime64[ns]").reshape(variable.shape)
        return _with_values(variable, times)
    return variable


def _time_zone(name: str) -> InvalidInput:
    return InvalidInput(
        f"{name!r} holds times with a time zone",
        allowed="times without one, by convention in UTC: a store gives back no time zone",
        fix=f"ds[{name!r}] = pandas.DatetimeIndex(ds.indexes[{name!r}]).tz_convert(None), or for "
        "other coordinates the same with (dims, values)",
    )


def _refused(name: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"{name!r} holds {what}",
        allowed="numbers, text, datetime64, timedelta64 and cftime dates without gaps",
        fix=f"convert it, for example with .astype(str), or leave it out: ds.drop_vars({name!r})",
    )


def time_unit(variable: xr.Variable) -> str:
    """Return the coarsest of the units that hold these times exactly."""
    if variable.dtype.kind != "M":
        return "microseconds"  # cftime's resolution
    if variable.chunks is not None:  # not read only to be looked at
        own = np.datetime_data(variable.dtype)[0]
        return next((unit for unit, code in CODES.items() if code == own), "nanoseconds")
    stamps = variable.values[~np.isnat(variable.values)]
    for name, code in CODES.items():
        if (stamps == stamps.astype(f"datetime64[{code}]")).all():
            return name
    return "nanoseconds"


def check_round_trip(variable: xr.Variable, name: str) -> bool:
    """Encode and decode a variable in memory as xarray will; False if its packing loses values.

    Raises
    ------
    InvalidInput
        Its times do not come back.
    """
    kind = variable.dtype.kind
    packed = {"dtype", "scale_factor", "add_offset", "_FillValue", "missing_value"}
    times = kind in "mM" or (kind == "O" and bool(variable.encoding.get("calendar")))
    if variable.chunks is not None or not (
        times or (kind in "iuf" and packed & set(variable.encoding))
    ):
        return True
    try:
        encoded = xr.conventions.encode_cf_variable(variable.copy(deep=False), name=name)
        same = equal(decoded(encoded, name, cftime=kind == "O").values, variable.values)
    except (TypeError, ValueError, OverflowError, ImportError) as error:
        if times:
            raise _refused(name, f"times that cannot be stored: {error}") from error
        return False
    if times and not same:
        raise _refused(name, f"times that do not come back from {variable.encoding.get('units')!r}")
    return same


def decoded(encoded: xr.Variable, name: str, *, cftime: bool = False) -> xr.Variable:
    """Return a variable as xarray reads it."""
    if cftime:
        coder = xr.coders.CFDatetimeCoder(use_cftime=True)
        return xr.conventions.decode_cf_variable(name, encoded, decode_times=coder)
    return xr.conventions.decode_cf_variable(name, encoded)


def equal(a: Any, b: Any) -> bool:
    """Tell whether two arrays have the same values, whatever their dtypes; gaps are equal."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return False
    kinds = {a.dtype.kind, b.dtype.kind}
    if kinds in ({"M"}, {"m"}):
        gaps = np.isnat(a)
        return bool(np.array_equal(gaps, np.isnat(b)) and (a[~gaps] == b[~gaps]).all())
    if kinds <= set("iufbc"):
        same = a == b
        if kinds & set("fc"):
            same = same | (np.isnan(a) & np.isnan(b))
        return bool(np.all(same))
    if kinds & set("mM"):
        return False
    return bool(np.all(a.astype(object) == b.astype(object)))


def encode_like(
    variable: xr.Variable, name: str, attrs: Mapping[str, Any], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return times or text as an array has them that is there already.

    Raises
    ------
    InvalidInput
        They would not come back as they are.
    """
    values = variable.values
    if dtype.kind in "UT":
        text = values.astype(str)
        stored = text.astype(dtype)
        if not (stored.astype(object) == text.astype(object)).all():
            raise _unlike(name, f"longer than the {dtype.itemsize // 4} characters")
        return stored
    like = {key: attrs[key] for key in ("units", "calendar", "dtype") if key in attrs}
    if variable.dtype.kind == "m" and "dtype" in like:
        stored = values.astype(like["dtype"]).astype(dtype)
    else:
        bare = xr.Variable(variable.dims, values)
        bare.encoding = {k: v for k, v in like.items() if k != "dtype"} | {"dtype": dtype}
        if "_FillValue" in attrs:
            bare.encoding["_FillValue"] = attrs["_FillValue"]
        try:
            with warnings.catch_warnings():  # it takes other units then, which is refused below
                warnings.filterwarnings("ignore", message="Times can't be serialized faithfully")
                coded = xr.conventions.encode_cf_variable(bare, name=name)
        except (TypeError, ValueError, OverflowError) as error:
            raise _unlike(name, str(error)) from error
        taken = str(coded.attrs.get("units", "")).partition(" ")[0]
        wanted = str(like.get("units", taken)).partition(" ")[0]
        if taken != wanted:
            raise _unlike(name, f"not whole {wanted}")
        stored = np.asarray(coded.values).astype(dtype)
    keys = (*like, "_FillValue")
    raw = xr.Variable(variable.dims, stored, {k: attrs[k] for k in keys if k in attrs})
    if not equal(decoded(raw, name, cftime=values.dtype.kind == "O").values, values):
        raise _unlike(name, f"not whole {str(like.get('units', dtype)).partition(' ')[0]}")
    return stored


def _unlike(name: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"values of {name!r} that cannot be stored exactly in the array that is there: {what}",
        allowed="what the units and the width there can hold, as the archive was made",
        fix=f"round times, for example with ds.assign_coords({name}=ds.{name}.dt.round('s')); to "
        "keep them, write another archive",
    )

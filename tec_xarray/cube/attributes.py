"""Attributes that every file can hold: strict JSON in Zarr, flat values in NetCDF."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import xarray as xr

#: How Zarr spells numbers that JSON does not have.
_NO_NUMBERS = {math.inf: "Infinity", -math.inf: "-Infinity"}


def with_flat_attrs(data: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose attributes Zarr and NetCDF can hold alike.

    NumPy values become Python's, dicts, None and lists that are not plain become JSON text, truth
    values 0 and 1, and NaN and infinities the text that Zarr writes for them. What no JSON holds
    stays as it is, and is refused where it is written.
    """
    result = data.copy(deep=False)
    result.attrs = flat_attrs(data.attrs)
    for name, variable in data.variables.items():
        attrs = flat_attrs(variable.attrs)
        if not _same(attrs, variable.attrs):
            result[name].attrs = attrs
    return result


def flat_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as `with_flat_attrs` has them."""
    found = {str(key): value for key, value in attrs.items()}
    if _is_nan(found.get("missing_value")):
        del found["missing_value"]  # as text it would not be understood, and NaN needs no word
    # xarray has its own spelling of a fill value.
    return {key: v if key == "_FillValue" else _flat(v) for key, v in found.items()}


def _is_nan(value: Any) -> bool:
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def _same(ours: Mapping[str, Any], theirs: Mapping[Any, Any]) -> bool:
    return len(ours) == len(theirs) and all(ours.get(k) is v for k, v in theirs.items())


def _flat(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        if value.dtype.kind not in "biufUS":
            return value
        value = value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)  # stackstac's spec
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return _strict(value)
    if value is None or isinstance(value, Mapping):
        return _text(value)
    if isinstance(value, (list, tuple)) and not _is_plain(value):
        return _text(value)
    return list(value) if isinstance(value, tuple) else value


def _is_plain(values: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list holds text alone, or finite numbers alone."""
    if all(isinstance(v, str) for v in values):
        return True
    numbers = (int, float, np.number)
    return all(
        isinstance(v, numbers) and not isinstance(v, bool) and math.isfinite(v) for v in values
    )


def _strict(value: Any) -> Any:
    """Return a value without NaN and infinities, at any depth."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return _NO_NUMBERS.get(value, "NaN")
    if isinstance(value, Mapping):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(v) for v in value]
    return value


def _text(value: Any) -> Any:
    try:
        return json.dumps(_strict(value), allow_nan=False)
    except (TypeError, ValueError):
        return value

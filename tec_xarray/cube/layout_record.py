"""What a cube was before it was one: a note in its attributes, so that `from_cube` can go back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from tec_numcodecs.errors import InvalidInput

LAYOUT = "tec_layout"  # the attribute that holds it; JSON


@dataclass(frozen=True)
class Memo:
    """What a cube was before it was one; kept as JSON in its attributes.

    Attributes
    ----------
    form : str
        ``"variables"`` (one for each band) or ``"variable"`` (one for all).
    name : str or None
        The name of that one variable.
    dims : list of str
        The dimensions that a variable had, in its order.
    added : list of str
        The dimensions that it did not have, as they are called in the cube.
    scalars : dict
        Scalar coordinates that had to give way to a new dimension, by name.
    labels : dict
        What each band was called, by its canonical name; empty if nothing named them.
    attrs : dict of dict
        By canonical name, the attributes in which a band differed from the others.
    coords : list of str
        Coordinates that `to_cube` added.
    grid_mapping : bool
        Whether ``grid_mapping`` was in the encoding (where xarray and rioxarray put it).
    order : list of str
        The bands in the order of the band axis before, if the cube has them in another one.
    """

    form: str
    name: str | None
    dims: list[str]
    added: list[str]
    scalars: dict[str, Any]
    labels: dict[str, Any]
    attrs: dict[str, dict[str, Any]]
    coords: list[str] = field(default_factory=list)
    grid_mapping: bool = False
    order: list[str] = field(default_factory=list)


def read_memo(cube: xr.DataArray) -> Memo:
    """Return what `to_cube` wrote down."""
    try:
        return Memo(**json.loads(cube.attrs[LAYOUT]))
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"attribute {LAYOUT} of {cube.name!r} is {cube.attrs[LAYOUT]!r}",
            allowed="the JSON that to_cube wrote",
            fix="a newer tec-xarray may have written it: pip install -U tec-xarray",
        ) from error


def split_attrs(
    attrs: Sequence[Mapping[Any, Any]], bands: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Part attributes into those that all bands share and the rest of each band."""
    shared = {
        key: value
        for key, value in attrs[0].items()
        if all(key in a and _same(a[key], value) for a in attrs[1:])
    }
    different = {
        band: {str(k): json_value(k, v) for k, v in own.items() if k not in shared}
        for band, own in zip(bands, attrs, strict=True)
    }
    return shared, {band: own for band, own in different.items() if own}


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(np.array_equal(a, b, equal_nan=_is_float(a)))


def _is_float(value: Any) -> bool:
    return np.asarray(value).dtype.kind == "f"


def json_value(name: object, value: Any) -> Any:
    """Return an attribute or label as JSON has it, which is how Zarr would store it, too."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{name!r} is {value!r}",
            allowed="numbers, strings, lists and dicts of them",
            fix=f"change it to one of these, or drop it: del ds[...].attrs[{name!r}]",
        ) from error
    return value

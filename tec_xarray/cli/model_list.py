"""What can be chosen from: models, and what a STAC catalog has."""

from __future__ import annotations

import json
from typing import Any

import xarray as xr

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models import table as model_table
from tec_numcodecs.weights.local_store import bundled
from tec_numcodecs.weights.published import FAMILIES


def models() -> list[dict[str, Any]]:
    """List the models, and which families of weights have each."""
    found = []
    for name in model_table.names():
        families = [family for family, entries in bundled().items() if name in entries]
        if any(family.model == name for family in FAMILIES.values()):
            families.append("terracodec-1.0")
        found.append({"model": name, "about": model_table.about(name), "weights": families})
    return found


def search(url: str, *, bbox: str, query: str | None, **given: Any) -> xr.Dataset:
    """Open what a catalog has, from the words of a command line.

    Raises
    ------
    InvalidInput
        A bounding box or a query that cannot be read.
    """
    from tec_xarray.stac.load import open_stac

    try:
        corners = tuple(float(part) for part in bbox.split(","))
    except ValueError:
        corners = ()
    if len(corners) != 4:
        raise InvalidInput(f"--bbox {bbox}", allowed="four numbers: W,S,E,N in degrees")
    try:
        asked = None if query is None else json.loads(query)
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"--query {query}: {error}", allowed='JSON, such as {"eo:cloud_cover": {"lt": 40}}'
        ) from error
    found: xr.Dataset = open_stac(url, bbox=corners, query=asked, **given)
    return found

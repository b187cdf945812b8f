"""What can be chosen from: models, weights, and what a STAC catalog has."""

from __future__ import annotations

import json
from typing import Any

import xarray as xr

from tec_numcodecs.container import MODELS
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.weights.hub import FAMILIES
from tec_numcodecs.weights.registry import bundled, locate, resolve

_ABOUT = {
    "fp": "frozen tables, no network: fastest, decodes without torch",
    "elic": "context network over space and channels: smaller",
    "tt": "as elic, with the dates before as context: smallest where dates are alike",
    "flextec": "one stream from coarse to fine; a reader may stop after any of 16 tokens",
}


def models() -> list[dict[str, Any]]:
    """List the models, and which families of weights have each."""
    found = []
    for name in MODELS.values():
        families = [family for family, entries in bundled().items() if name in entries]
        if any(family.model == name for family in FAMILIES.values()):
            families.append("terracodec-1.0")
        found.append({"model": name, "about": _ABOUT.get(name, ""), "weights": families})
    return found


def weights() -> list[dict[str, Any]]:
    """List weights: identity, digest and place of what is here, the rest by its source."""
    found: list[dict[str, Any]] = []
    for family, entries in bundled().items():
        for model in entries:
            identity = resolve(family, model)
            found.append(
                {
                    "weights": family,
                    "model": model,
                    "id": identity.id,
                    "sha256": identity.sha256,
                    "where": str(locate(identity)),
                }
            )
    return found + [
        {
            "weights": "terracodec-1.0",
            "model": entry.model,
            "id": f"{entry.sensor}, lam {', '.join(f'{lam:g}' for lam in entry.lams)}",
            "sha256": None,
            "where": f"hub: {entry.repository}, fetched on first use",
        }
        for entry in FAMILIES.values()
    ]


def search(url: str, *, bbox: str, query: str | None, **given: Any) -> xr.Dataset:
    """Open what a catalog has, from the words of a command line.

    Raises
    ------
    InvalidInput
        A bounding box or a query that cannot be read.
    """
    from tec_xarray.stac import open_stac

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

"""Which offset the DN of an item carry: the one thing a catalog must not get wrong silently.

From processing baseline 04.00 (January 2022) on, ESA adds 1000 to every DN, so that reflectance is
``(DN - 1000) / 10,000``. Some providers take it off again. Three things in an item speak of it, and
they do not always agree; what was decided, and on whose word, is kept with the data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from tec_numcodecs.arguments import as_number, shown
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.units import DN_PER_REFLECTANCE

Json: TypeAlias = Mapping[str, Any]

BASELINE_OFFSET = -1000  # DN; to be added, from baseline 04.00 on
FIRST_BASELINE = (4, 0)

_FLAG = "earthsearch:boa_offset_applied"
_BASELINES = ("s2:processing_baseline", "processing:version", "s2:product_uri", "title")


@dataclass(frozen=True)
class Offset:
    """What must be added to the DN of an item to get reflectance times 10,000.

    Attributes
    ----------
    value : int or None
        0 or less, in DN; None if nothing tells.
    because : str
        On whose word.
    conflict : str
        What contradicts it; empty if nothing does.
    """

    value: int | None
    because: str
    conflict: str = ""


def find_baseline(properties: Json) -> str:
    """Return the processing baseline as ``"05.09"``, ``""`` if the item does not say."""
    for key in _BASELINES:
        text = str(properties.get(key, ""))
        found = re.fullmatch(r"N?(\d{2})\.?(\d{2})", text) or re.search(r"_N(\d{2})(\d{2})_", text)
        if found:
            return f"{found[1]}.{found[2]}"
    return ""


def stated_offset(asset: Json) -> int | None:
    """Return the offset in DN that the metadata of one asset state, None if they say nothing.

    Knows ``raster:bands`` (STAC 1.0) and ``bands`` with ``raster:`` fields (STAC 1.1).

    Raises
    ------
    InvalidInput
        A scale or offset that no Sentinel-2 product has.
    """
    bands = asset.get("raster:bands") or asset.get("bands") or [{}]
    band = bands[0] if isinstance(bands[0], Mapping) else {}
    stated = _first("offset", band, asset)
    if stated is None:
        return None
    stated_scale = _first("scale", band, asset)
    offset, scale = as_number(stated), as_number(1.0 if stated_scale is None else stated_scale)
    if offset is None or scale is None:
        raise InvalidInput(f"raster scale {shown(stated_scale)}, offset {shown(stated)}")
    value = offset / scale if scale else float("nan")
    # 0.0001 and -0.1 give -1000; without a scale, the offset is in DN already.
    whole = math.isfinite(value) and abs(value - round(value)) < 1e-3
    plain = abs(scale * DN_PER_REFLECTANCE - 1) < 1e-6 or scale == 1
    if not whole or not plain or not -DN_PER_REFLECTANCE < value <= 0:
        raise InvalidInput(
            f"raster scale {scale:g}, offset {offset}",
            allowed="scale 0.0001 and offset -0.1 or 0 (reflectance = DN * scale + offset)",
            fix="correct the item, or leave it out",
        )
    return round(value)


def decide(properties: Json, stated: int | None, mode: str) -> Offset:
    """Weigh what an item says about the offset of its DN.

    Parameters
    ----------
    properties : dict
        Of the item: the flag of Earth Search, the processing baseline.
    stated : int or None
        What `stated_offset` found in its assets.
    mode : {"auto", "never", "force"}
        ``"force"`` believes the processing baseline alone.

    Returns
    -------
    Offset
        The flag decides if it says that the offset is off already. Else the assets' own
        metadata, except that before baseline 04.00 there was nothing to take off, and that a flag
        which says "not yet" outweighs an offset of 0. Else the baseline.
    """
    baseline = find_baseline(properties)
    by_baseline: int | None = None
    if baseline:
        number = tuple(int(part) for part in baseline.split("."))
        by_baseline = BASELINE_OFFSET if number >= FIRST_BASELINE else 0
    if mode == "force":
        return Offset(by_baseline, f"baseline {baseline}" if baseline else "")
    flag = properties.get(_FLAG)
    words = {
        f"{_FLAG} = {str(flag).lower()}": 0 if flag is True else None,
        f"offset {stated} in raster:bands": stated,
        f"baseline {baseline}": by_baseline,
    }
    if flag is True:
        value, because = 0, f"{_FLAG} = true"
        # A baseline of 04.00 or later is what the flag is about, and no contradiction.
        conflict = f"offset {stated} in raster:bands" if stated else ""
        return Offset(value, because, conflict)
    if by_baseline == 0 or stated is None or (flag is False and by_baseline is not None):
        value_, because = by_baseline, f"baseline {baseline}"
        if by_baseline is None:
            return Offset(None, "")
    else:
        value_, because = stated, f"offset {stated} in raster:bands"
    against = [text for text, said in words.items() if said is not None and said != value_]
    return Offset(value_, because, ", ".join(against))


def _first(name: str, *places: Json) -> Any:
    """Return a raster field from the first place that has it, with or without its prefix."""
    for place in places:
        for key in (name, f"raster:{name}"):
            if place.get(key) is not None:
                return place[key]
    return None

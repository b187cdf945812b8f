"""Items as no catalog should have them: one good item, changed at random places to odd values."""

from __future__ import annotations

import copy
import math

ODD = (
    None, True, False, 0, -1, 1, 10**30, -(10**30), 10**400, 1e308, -1e308, 5e-324, math.nan,
    math.inf, -math.inf, "", " ", "0", "10", "1e9", "NaN", "\x00", "\ud800", "a" * 600,
    "EPSG:99999999", "32632", 32601, 4326, 3857, 0.5,
    [], [[]], {}, {"a": 1}, [None], [1, 2], ["1", "2"], [{}],
    [float("nan")] * 6, [0] * 6, [10, 0, 6e5, 0, -10, 5.1e6], [1e300] * 6, ["10"] * 6,
    [10, 5, 6e5, 5, -10, 5.1e6], [64.5, 64], [-64, 64], [2**24, 2**24], {"type": "Point"},
    {"type": "Point", "coordinates": [1e300, 0]}, {"type": "Polygon", "coordinates": []},
    {"type": "Polygon", "coordinates": [[[math.nan, 0], [1, 1], [0, 1], [math.nan, 0]]]},
    {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1], [1, 0], [0, 0]]]},
    {"type": "GeometryCollection", "geometries": [{"type": "GeometryCollection"}]},
    "2023-13-45T99:99:99Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2023-06-01",
    "file:///etc/hostname", "/etc/hostname", "../../B02.tif", "<VRTDataset/>", "/vsimem/a.tif",
    "http://[::1", "https://a b/c.tif", "http://10.0.0.1/a.tif", "s3://", "float32", "uint16",
)  # fmt: skip


def deep(levels):
    """Return lists in lists."""
    found = []
    for _ in range(levels):
        found = [found]
    return found


def mutate(item, rng):
    """Return a copy of an item with one to three of its parts changed, removed or added.

    Parameters
    ----------
    item : dict
    rng : random.Random
    """
    item = copy.deepcopy(item)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        holder, key = rng.choice(list(_places(item)))
        kind = rng.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            holder[key] = deep(rng.choice((2, 70, 3000)))
        elif kind == 2 and isinstance(holder, dict):
            holder[rng.choice(NAMES)] = copy.deepcopy(rng.choice(ODD))
        elif kind == 3:
            holder[key] = str(holder[key])
        else:
            holder[key] = copy.deepcopy(rng.choice(ODD))
    return item


NAMES = (
    "proj:code", "proj:epsg", "proj:wkt2", "proj:projjson", "proj:shape", "proj:transform",
    "raster:bands", "eo:bands", "bands", "gsd", "nodata", "data_type", "roles", "datetime",
    "start_datetime", "end_datetime", "geometry", "bbox", "collection", "stac_extensions",
    "earthsearch:boa_offset_applied", "s2:processing_baseline", "raster:scale", "raster:offset",
)  # fmt: skip


def _places(part, depth=0):
    """Yield every place of a document as its holder and key."""
    if depth > 12 or not isinstance(part, dict | list):
        return
    for key, value in list(part.items() if isinstance(part, dict) else enumerate(part)):
        yield part, key
        yield from _places(value, depth + 1)

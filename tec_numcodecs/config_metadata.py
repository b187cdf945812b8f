"""The configuration in an array's metadata: the table of FORMAT.md, section 3, and nothing else.

Metadata come from anybody. They name weights by id and digest and bands by ESA's names; nothing
in them is looked up, opened or fetched, and what the table does not have is refused. What a user
may type besides (families, paths, aliases) is the business of `CodecConfig.parse`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tec_numcodecs import config_parsers, sensors
from tec_numcodecs.arguments import NEWER, as_number, check_keys, choice, number, shown
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.sensors import Sensor
from tec_numcodecs.weights import local_store

#: Keys of a configuration.
KEYS = (
    "model", "lam", "quality", "weights", "sensor", "bands", "units", "scale", "offset", "nodata",
    "max_error", "psnr", "bpppb",
)  # fmt: skip

_BY_HAND = "the metadata of the array are damaged, or written by hand"


def parse(given: object) -> dict[str, Any]:
    """Check a configuration; return the fields of a `CodecConfig`.

    Parameters
    ----------
    given : mapping
        As JSON has it: text, numbers, lists (or tuples), null.

    Raises
    ------
    InvalidInput
        For a value that is not allowed.
    UnsupportedFormat
        For a key, or a family of weights, that this version does not know.
    """
    if not isinstance(given, Mapping):
        raise InvalidInput(
            f"a configuration that is {shown(given)}", allowed="a JSON object", fix=_BY_HAND
        )
    check_keys(given, KEYS, "setting")
    model = config_parsers.parse_model(given.get("model"))
    sensor = _parse_sensor(given.get("sensor"))
    bands = _parse_bands(given.get("bands"), sensor)
    lam = _or_null("lam", given.get("lam"))
    bound = _parse_max_error(given.get("max_error"), len(bands))
    scale = given.get("scale")
    units = given.get("units")
    return {
        "model": model,
        "lam": lam,
        "quality": config_parsers.parse_quality(given.get("quality"), model),
        "weights": local_store.from_json(given.get("weights")),
        "sensor": sensor,
        "bands": bands,
        "units": "dn" if units is None else config_parsers.parse_units(units),
        "scale": 1.0 if scale is None else config_parsers.parse_scale(scale, "dn"),
        "offset": _or_null("offset", given.get("offset")) or 0.0,
        "nodata": _parse_nodata(given.get("nodata")),
        "max_error": bound,
        "target": config_parsers.parse_target(given.get("psnr"), given.get("bpppb"), lam, bound),
    }


def _parse_sensor(given: object) -> Sensor:
    name = choice("sensor", given, [sensor.name for sensor in sensors.SENSORS], NEWER)
    return next(sensor for sensor in sensors.SENSORS if sensor.name == name)


def _parse_bands(given: object, sensor: Sensor) -> tuple[str, ...]:
    if (
        not isinstance(given, list | tuple)
        or not 0 < len(given) <= len(sensor.bands)
        or any(not isinstance(band, str) or band not in sensor.bands for band in given)
        or len(set(given)) < len(given)
    ):
        raise InvalidInput(
            f"bands={shown(given)} in metadata",
            allowed=f"a list of names out of {', '.join(sensor.bands)}, each once",
            fix=_BY_HAND,
        )
    return tuple(given)


def _parse_nodata(given: object) -> float | None:
    if given is None or given == "NaN":
        return None
    value = as_number(given)
    if value is None or value - value != 0:  # NaN and infinities are no numbers of JSON
        raise InvalidInput(
            f"nodata={shown(given)} in metadata",
            allowed="a finite number, 'NaN' or null",
            fix=_BY_HAND,
        )
    return value


def _parse_max_error(given: object, bands: int) -> config_parsers.Bound:
    if isinstance(given, list | tuple) and len(given) != bands:
        raise InvalidInput(
            f"max_error with {len(given)} numbers", allowed=f"one number, or {bands}", fix=_BY_HAND
        )
    return config_parsers.parse_max_error(given, bands)


def _or_null(name: str, given: object) -> float | None:
    return None if given is None else number(name, given)

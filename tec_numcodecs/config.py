"""The complete configuration of a codec: what an array's metadata says, and no more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from tec_numcodecs.container import MODELS
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.mini.quantiser import rate_index_of
from tec_numcodecs.sensors import Sensor, get_sensor
from tec_numcodecs.weights.registry import WeightsId, resolve

#: Name of the codec in both registries; also what a reader without the package has to install.
CODEC_NAME = "tec_xarray"

Units = Literal["dn", "reflectance"]
_DEFAULT_SCALE = {"dn": 1.0, "reflectance": 1e-4}
_DEFAULT_NODATA: dict[str, float | str] = {"dn": 0, "reflectance": "NaN"}


@dataclass(frozen=True)
class CodecConfig:
    """Settings of one array. Build it with :meth:`parse`, which checks everything.

    Attributes
    ----------
    model : str
        ``fp``, ``elic``, ``tt`` or ``flextec``.
    lam : float or None
        Weight of the mean squared error of standardised bands against the rate, as in TerraCodec:
        larger is better and bigger. None if the array is lossless.
    quality : int or None
        Tokens stored, for models that know the notion.
    weights : WeightsId
    sensor : Sensor
    bands : tuple of str
        Canonical names, in the order of the array's second axis.
    units : str
        ``dn`` or ``reflectance``: what the numbers are. For people; `scale` is what counts.
    scale, offset : float
        value = DN * scale + offset.
    nodata : float or None
        Value of invalid pixels; they come back exactly. NaN always does and is written as None
        here, as ``"NaN"`` in JSON.
    max_error : float or None
        Promised bound on the error of every valid pixel. 0 is lossless.
    """

    model: str
    lam: float | None
    quality: int | None
    weights: WeightsId
    sensor: Sensor
    bands: tuple[str, ...]
    units: Units
    scale: float
    offset: float
    nodata: float | None
    max_error: float | None

    @classmethod
    def parse(
        cls,
        model: str = "fp",
        lam: float | None = None,
        *,
        quality: int | None = None,
        weights: str | WeightsId | Mapping[str, Any] = "mini",
        sensor: str | Sensor = "sentinel-2-l2a",
        bands: Iterable[str] | None = None,
        units: str = "dn",
        scale: float | None = None,
        offset: float = 0.0,
        nodata: float | str | None = "default",
        max_error: float | None = None,
    ) -> Self:
        """Check arguments as a user or JSON metadata gives them.

        Raises
        ------
        InvalidInput
            For anything that is not allowed; the message says what is.
        """
        model = _parse_model(model)
        units = _parse_units(units)
        known = get_sensor(sensor)
        names = known.bands if bands is None else tuple(known.canonical(b) for b in bands)
        known.indices(names)
        if nodata == "default":
            nodata = _DEFAULT_NODATA[units]
        max_error = _parse_max_error(max_error)
        config = cls(
            model=model,
            lam=_parse_lam(lam, max_error),
            quality=_parse_quality(quality, model),
            weights=resolve(weights, model),
            sensor=known,
            bands=names,
            units=units,  # type: ignore[arg-type]
            scale=_parse_scale(_DEFAULT_SCALE[units] if scale is None else scale),
            offset=_parse_number("offset", offset),
            nodata=_parse_nodata(nodata),
            max_error=max_error,
        )
        config.rate()
        return config

    def to_json(self) -> dict[str, Any]:
        """Complete JSON form; ``parse(**to_json())`` gives an equal configuration."""
        return {
            "model": self.model,
            "lam": self.lam,
            "quality": self.quality,
            "weights": self.weights.to_json(),
            "sensor": self.sensor.name,
            "bands": list(self.bands),
            "units": self.units,
            "scale": self.scale,
            "offset": self.offset,
            "nodata": "NaN" if self.nodata is None else self.nodata,
            "max_error": self.max_error,
        }

    @property
    def lossless(self) -> bool:
        """Whether every pixel comes back exactly."""
        return self.max_error == 0

    def rate(self) -> Rate:
        """Rate at which chunks are coded."""
        if self.lam is None:
            return Rate(0)
        return Rate(rate_index_of(self.lam), self.quality or 0)

    def band_indices(self) -> tuple[int, ...]:
        """Index of each band in the sensor's order, in the array's order."""
        return self.sensor.indices(self.bands)

    def geometry(self, shape: tuple[int, int, int, int]) -> Geometry:
        """Geometry of a chunk as models see it: bands in the sensor's order."""
        return Geometry(shape, self.sensor, tuple(sorted(self.band_indices())))


def _parse_model(model: object) -> str:
    if model not in MODELS.values():
        raise InvalidInput(
            f"model={model!r}", allowed=", ".join(map(repr, MODELS.values())), fix="pass model='fp'"
        )
    return str(model)


def _parse_units(units: object) -> str:
    if units not in _DEFAULT_SCALE:
        raise InvalidInput(
            f"units={units!r}",
            allowed="'dn' (digital numbers, reflectance x 10,000) or 'reflectance'",
            fix="say what the numbers are; it is never guessed chunk by chunk",
        )
    return str(units)


def _parse_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        try:
            value = float(value)  # type: ignore[arg-type]  # NumPy scalars
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise InvalidInput(f"{name}={value!r}", allowed="a finite number")
    return float(value)


def _parse_lam(lam: object, max_error: float | None) -> float | None:
    if lam is None:
        if max_error == 0:
            return None
        raise InvalidInput(
            "neither lam nor max_error=0",
            allowed="lam > 0 (0.5 smallest files ... 700 best quality), or max_error=0 (lossless)",
            fix="pass lam=20 for a start",
        )
    if max_error == 0:
        raise InvalidInput(
            f"lam={lam!r} with max_error=0",
            allowed="one of them: a lossless array has no rate to choose",
            fix="leave lam out",
        )
    value = _parse_number("lam", lam)
    rate_index_of(value)
    return value


def _parse_quality(quality: object, model: str) -> int | None:
    if quality is None:
        return None
    if model != "flextec":
        raise InvalidInput(
            f"quality={quality!r} with model={model!r}",
            allowed="quality goes with model='flextec'",
            fix="choose the rate with lam",
        )
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 16:
        raise InvalidInput(f"quality={quality!r}", allowed="whole numbers from 1 to 16")
    return quality


def _parse_scale(scale: object) -> float:
    value = _parse_number("scale", scale)
    if value <= 0:
        raise InvalidInput(
            f"scale={value!r}", allowed="a number > 0", fix="value = DN * scale + offset"
        )
    return value


def _parse_nodata(nodata: object) -> float | None:
    if nodata is None or (isinstance(nodata, str) and nodata.lower() == "nan"):
        return None
    if isinstance(nodata, str):
        raise InvalidInput(f"nodata={nodata!r}", allowed="a number, 'NaN' or None")
    value = float(nodata)  # type: ignore[arg-type]
    if math.isnan(value):
        return None
    return _parse_number("nodata", value)


def _parse_max_error(max_error: object) -> float | None:
    if max_error is None:
        return None
    value = _parse_number("max_error", max_error)
    if value != 0:
        raise InvalidInput(
            f"max_error={value:g}",
            allowed="0 (lossless) or None in this version",
            fix="choose the rate with lam and look at the report's largest error",
        )
    return 0.0

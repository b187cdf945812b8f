"""The complete configuration of a codec: what an array's metadata says, and no more."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from tec_numcodecs.container import MODELS
from tec_numcodecs.errors import InvalidInput, TecError, UnsupportedFormat
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.mini.quantiser import rate_index_of, rate_index_of_step
from tec_numcodecs.sensors import Sensor, get_sensor
from tec_numcodecs.target import RANGES, Kind, Target
from tec_numcodecs.weights.obtain import Weights, choose
from tec_numcodecs.weights.registry import WeightsId

#: Name of the codec in both registries; also what a reader without the package has to install.
CODEC_NAME = "tec_xarray"

Units = Literal["dn", "reflectance"]
_DEFAULT_SCALE = {"dn": 1.0, "reflectance": 1e-4}
# Below this step in DN most of what a model stores is noise, which a residual stores in fewer
# bits: measured with mini fp for bounds of 1, 2, 5, 50 and 500 DN on scenes of the training set.
_NOISE_STEP = 28.0
_WIDEST_BOUND = 1e38  # more than any float32 can be off by, and room to calculate with
_WIDEST_STEP = float(1 << 20)  # beyond that of every rate, and finite whatever bound was given
_TOKENS = 16  # of flextec: the most that can be stored
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
        larger is better and bigger. None if the array is lossless, or the weights are a file that
        does not say what it was trained with.
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
    max_error : float, tuple of float, or None
        Promised bound on the error of every valid pixel, in the array's own units; one for each
        band if it is a tuple. 0 is lossless.
    target : Target or None
        What the rate of each chunk is chosen for, in the place of `lam`.
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
    max_error: float | tuple[float, ...] | None
    target: Target | None = None

    @classmethod
    def parse(
        cls,
        model: str = "fp",
        lam: float | None = None,
        *,
        quality: int | None = None,
        weights: Weights = "mini",
        nearest: bool = False,
        sensor: str | Sensor = "sentinel-2-l2a",
        bands: Iterable[str] | None = None,
        units: str = "dn",
        scale: float | None = None,
        offset: float = 0.0,
        nodata: float | str | None = "default",
        max_error: float | Iterable[float] | None = None,
        psnr: float | None = None,
        bpppb: float | None = None,
    ) -> Self:
        """Check arguments as a user or JSON metadata gives them.

        `weights` and `nearest` are those of :func:`tec_numcodecs.weights.obtain.choose`: published
        weights named by their family are fetched and frozen here, once; metadata name them by
        their digest and need no file. `psnr` and `bpppb` are targets, see
        :class:`tec_numcodecs.target.Target`.

        Raises
        ------
        InvalidInput
            For anything that is not allowed; the message says what is.
        WeightsError
            If published weights or a file of weights cannot be had, or are damaged.
        """
        model = _parse_model(model)
        units = _parse_units(units)
        known = get_sensor(sensor)
        names = known.bands if bands is None else tuple(known.canonical(b) for b in bands)
        known.indices(names)
        if nodata == "default":
            nodata = _DEFAULT_NODATA[units]
        bound = _parse_max_error(max_error, len(names))
        lam = None if lam is None else _parse_number("lam", lam)
        target = _parse_target(psnr, bpppb, lam, bound)
        tokens = _parse_quality(quality, model)
        choice = choose(weights, model, known, lam=lam, nearest=nearest)
        if choice.weights.family == "mini":
            lam = None if target is not None else _parse_lam(lam, bound)
        else:
            lam = choice.lam
            tokens = tokens or (_TOKENS if model == "flextec" else None)
            if not isinstance(weights, (WeightsId, Mapping)):
                _check_not_lossless(choice.weights, bound)
            _check_one_rate(choice.weights, target)
        config = cls(
            model=model,
            lam=lam,
            quality=tokens,
            weights=choice.weights,
            sensor=known,
            bands=names,
            units=units,  # type: ignore[arg-type]
            scale=_parse_scale(_DEFAULT_SCALE[units] if scale is None else scale),
            offset=_parse_number("offset", offset),
            nodata=_parse_nodata(nodata),
            max_error=bound,
            target=target,
        )
        if target is None:
            config.rate()
        return config

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Self:
        """Check settings whose names are not known to be ours, as those of an array's metadata.

        Raises
        ------
        InvalidInput
            For a value that is not allowed.
        UnsupportedFormat
            For a key that this version does not know.
        """
        known = inspect.signature(cls.parse).parameters
        unknown = sorted(map(str, set(settings) - set(known)))
        if unknown:
            close = difflib.get_close_matches(unknown[0], known, n=1)
            raise UnsupportedFormat(
                f"the setting {', '.join(map(repr, unknown))}",
                allowed=", ".join(known),
                fix=(f"did you mean {close[0]!r}? " if close else "")
                + "A newer tec-xarray may know it: pip install -U tec-xarray",
            )
        try:
            return cls.parse(**settings)
        except TecError:
            raise
        except (TypeError, ValueError, AttributeError) as error:
            raise InvalidInput(
                f"a setting of a wrong type: {error}",
                allowed="what tec_numcodecs.config.CodecConfig.parse takes",
                fix="the metadata of the array are damaged, or written by hand",
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Complete JSON form; ``parse(**to_json())`` gives an equal configuration."""
        target = {} if self.target is None else {self.target.kind: self.target.value}
        return target | {
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
            "max_error": list(self.max_error)
            if isinstance(self.max_error, tuple)
            else self.max_error,
        }

    @property
    def lossless(self) -> bool:
        """Whether every pixel comes back exactly."""
        return self.max_error == 0

    def bounds(self) -> tuple[float, ...] | None:
        """Promised bound of each band; None if there is no promise."""
        if self.max_error is None:
            return None
        if isinstance(self.max_error, tuple):
            return self.max_error
        return (self.max_error,) * len(self.bands)

    def rate(self) -> Rate:
        """Rate at which chunks are coded, where there is no target.

        Where only a bound is given, the rate that makes model and residual together smallest: a
        step as wide as what the bound allows, but not below the noise that scenes have anyway.
        """
        if self.weights.family != "mini":  # one network for each rate: the weights say which
            return Rate(0, self.quality or 0)
        if self.lam is not None:
            return Rate(rate_index_of(self.lam), self.quality or 0)
        bounds = self.bounds()
        if bounds is None or self.lossless:
            return Rate(0)
        step = max(2 * min(bounds) / self.scale + 1, _NOISE_STEP)
        return Rate(rate_index_of_step(min(step, _WIDEST_STEP)))

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
        try:  # NumPy scalars; a bool is no number, whatever Python thinks
            number = math.nan if isinstance(value, bool | np.bool_) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise InvalidInput(f"{name}={value!r}", allowed="a finite number")
        return number
    return float(value)


def _parse_lam(lam: float | None, max_error: float | tuple[float, ...] | None) -> float | None:
    if lam is None:
        if max_error is not None:
            return None
        raise InvalidInput(
            "neither lam nor max_error",
            allowed="lam > 0 (0.5 smallest files ... 700 best quality), or max_error >= 0",
            fix="pass lam=20 for a start, or max_error=0 for lossless",
        )
    if max_error == 0:
        raise InvalidInput(
            f"lam={lam!r} with max_error=0",
            allowed="one of them: a lossless array has no rate to choose",
            fix="leave lam out",
        )
    rate_index_of(lam)
    return lam


def _parse_target(
    psnr: object, bpppb: object, lam: object, max_error: float | tuple[float, ...] | None
) -> Target | None:
    given = {"psnr": psnr, "bpppb": bpppb, "lam": lam}
    names = [name for name, value in given.items() if value is not None]
    if names in ([], ["lam"]):
        return None
    if len(names) > 1:
        raise InvalidInput(
            " and ".join(names), allowed="one of psnr, bpppb and lam", fix="leave the others out"
        )
    kind: Kind = "psnr" if psnr is not None else "bpppb"
    if max_error == 0 or (max_error is not None and kind == "bpppb"):
        raise InvalidInput(
            f"{kind} with max_error",
            allowed="a bound goes with lam, with psnr (then both hold), or alone",
            fix="choose which of the two is to be promised",
        )
    value = _parse_number(kind, given[kind])
    low, high = RANGES[kind]
    if not low <= value <= high:
        raise InvalidInput(
            f"{kind}={value:g}",
            allowed=f"{low:g} to {high:g} " + {"psnr": "dB", "bpppb": "bits"}[kind],
            fix="pass psnr=45 or bpppb=0.2 for a start, max_error=0 for lossless",
        )
    return Target(kind, value)


def _parse_quality(quality: object, model: str) -> int | None:
    if quality is None:
        return None
    if model != "flextec":
        raise InvalidInput(
            f"quality={quality!r} with model={model!r}",
            allowed="quality goes with model='flextec'",
            fix="choose the rate with lam",
        )
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= _TOKENS:
        raise InvalidInput(f"quality={quality!r}", allowed="whole numbers from 1 to 16")
    return quality


def _check_one_rate(weights: WeightsId, target: Target | None) -> None:
    """Refuse a search where there is nothing to search: one network is one rate."""
    if target is not None:
        raise InvalidInput(
            f"{target.kind} with weights={weights.id!r}, which were trained for one rate",
            allowed="targets go with weights='mini', which have every rate",
            fix="choose a checkpoint by lam, or leave weights out",
        )


def _check_not_lossless(weights: WeightsId, max_error: float | tuple[float, ...] | None) -> None:
    """Refuse a lossless array of published weights, whose transform is not reversible.

    One that metadata describe (its chunks then need no model) is what the waiting tail of an
    archive is; nobody is meant to ask for one.
    """
    if max_error == 0:
        raise InvalidInput(
            f"max_error=0 with weights {weights.id!r}, whose transform is not reversible",
            allowed="max_error above 0, or the bundled weights",
            fix="leave weights out: the bundled models are lossless at max_error=0",
        )


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


def _parse_max_error(max_error: object, bands: int) -> float | tuple[float, ...] | None:
    if max_error is None:
        return None
    number = isinstance(max_error, str) or getattr(max_error, "ndim", 1) == 0
    if isinstance(max_error, Iterable) and not number:
        if isinstance(max_error, AbstractSet | Mapping | bytes):
            raise InvalidInput(
                f"max_error={max_error!r}, which is no list",
                allowed=f"one number, or a list of {bands}: one for each band",
            )
        values = tuple(_parse_bound(value) for value in max_error)
        if len(values) != bands:
            raise InvalidInput(
                f"max_error with {len(values)} numbers",
                allowed=f"one number, or {bands}: one for each band",
            )
        return values[0] if len(set(values)) == 1 else values
    return _parse_bound(max_error)


def _parse_bound(value: object) -> float:
    bound = _parse_number("max_error", value)
    if not 0 <= bound <= _WIDEST_BOUND:
        raise InvalidInput(
            f"max_error={bound:g}",
            allowed=f"0 (lossless) or more, up to {_WIDEST_BOUND:g}, in the units of the array",
            fix="pass max_error=50 for DN, 0.005 for reflectance",
        )
    return bound

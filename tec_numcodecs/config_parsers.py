"""Settings of a codec, one by one: from what a user or metadata say to what is kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

import numpy as np

from tec_numcodecs.arguments import as_number, choice, number, sequence, shown, whole
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models import table as model_table
from tec_numcodecs.rate_control import RANGES, Kind, Target
from tec_numcodecs.sensors import Sensor
from tec_numcodecs.weights.local_store import WeightsId

Units = Literal["dn", "reflectance"]
Bound = float | tuple[float, ...] | None

DEFAULT_SCALE: dict[Units, float] = {"dn": 1.0, "reflectance": 1e-4}
DEFAULT_NODATA: dict[Units, float | None] = {"dn": 0.0, "reflectance": None}

_WIDEST_BOUND = 1e38  # more than any float32 can be off by, and room to calculate with


def parse_model(model: object) -> str:
    """Check the name of a model."""
    return choice("model", model, model_table.names(), "pass model='fp'")


def parse_units(units: object) -> Units:
    """Check the units."""
    fix = (
        "pass units='dn' for digital numbers (reflectance x 10,000), 'reflectance' for fractions: "
        "it is never guessed chunk by chunk"
    )
    return cast("Units", choice("units", units, tuple(DEFAULT_SCALE), fix))


def parse_bands(bands: object, sensor: Sensor) -> tuple[str, ...]:
    """Return the canonical names of bands; all of the sensor's for None."""
    if bands is None:
        return sensor.bands
    names = sequence("bands", bands, "band names", str(list(sensor.bands[1:4])))
    return tuple(sensor.bands[i] for i in sensor.indices(names))


def parse_rate(lam: float | None, max_error: Bound) -> float | None:
    """Check that a rate and a bound go together."""
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
    return lam


def parse_target(psnr: object, bpppb: object, lam: float | None, max_error: Bound) -> Target | None:
    """Return what the rate is to be chosen for; None if nothing was asked for."""
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
    value = number(kind, given[kind])
    low, high = RANGES[kind]
    if not low <= value <= high:
        raise InvalidInput(
            f"{kind}={value:g}",
            allowed=f"{low:g} to {high:g} " + {"psnr": "dB", "bpppb": "bits"}[kind],
            fix="pass psnr=45 or bpppb=0.2 for a start, max_error=0 for lossless",
        )
    return Target(kind, value)


def parse_quality(quality: object, model: str) -> int | None:
    """Check how many tokens are to be stored; None for all, and for models without tokens."""
    if quality is None:
        return None
    tokens = model_table.tokens_of(model)
    if not tokens:
        having = [name for name in model_table.names() if model_table.tokens_of(name)]
        raise InvalidInput(
            f"quality={shown(quality)} with model={model!r}",
            allowed=f"quality goes with model={' or '.join(map(repr, having))}",
            fix="choose the rate with lam",
        )
    return whole("quality", quality, 1, tokens)


def check_one_rate(weights: WeightsId, target: Target | None) -> None:
    """Refuse a search where there is nothing to search: one network is one rate."""
    if target is not None:
        raise InvalidInput(
            f"{target.kind} with weights={weights.id!r}, which were trained for one rate",
            allowed="targets go with weights='mini', which have every rate",
            fix="choose a checkpoint by lam, or leave weights out",
        )


def check_not_lossless(weights: WeightsId, max_error: Bound) -> None:
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


def parse_scale(scale: object, units: Units) -> float:
    """Check the scale, by default that of the units."""
    if scale is None:
        return DEFAULT_SCALE[units]
    value = number("scale", scale)
    if value <= 0:
        raise InvalidInput(
            f"scale={value!r}", allowed="a number > 0", fix="value = DN * scale + offset"
        )
    return value


def parse_nodata(nodata: object, units: Units) -> float | None:
    """Check the value of invalid pixels; None is NaN, or no value."""
    if isinstance(nodata, str) and nodata == "default":
        return DEFAULT_NODATA[units]
    if nodata is None or (isinstance(nodata, str) and nodata.lower() == "nan"):
        return None
    value = as_number(nodata)
    if value is None or np.isinf(value):
        raise InvalidInput(
            f"nodata={shown(nodata)}",
            allowed="a finite number, 'NaN' or None",
            fix="pass nodata=0, for example, or leave it out",
        )
    return None if np.isnan(value) else value


def parse_max_error(max_error: object, bands: int) -> Bound:
    """Check the bound on errors: one for all bands, or one for each."""
    if max_error is None:
        return None
    if not is_list(max_error):
        return _parse_bound(max_error)
    allowed = f"one number, or a list of {bands}: one for each band"
    try:
        items = sequence("max_error", max_error, "numbers", "50")
    except InvalidInput as error:
        raise InvalidInput(
            f"{error.found}, which is no list", allowed=allowed, fix=error.fix
        ) from error
    values = tuple(_parse_bound(value) for value in items)
    if len(values) != bands:
        raise InvalidInput(
            f"max_error with {len(values)} numbers",
            allowed=f"one number, or {bands}: one for each band",
            fix="pass one number for all bands, or as many as there are",
        )
    return values[0] if len(set(values)) == 1 else values


def is_list(value: object) -> bool:
    """Tell whether a value holds several, if only by its looks; text is one."""
    return isinstance(value, Iterable) and not (
        isinstance(value, str) or getattr(value, "ndim", 1) == 0
    )


def _parse_bound(value: object) -> float:
    bound = number("max_error", value)
    if not 0 <= bound <= _WIDEST_BOUND:
        raise InvalidInput(
            f"max_error={bound:g}",
            allowed=f"0 (lossless) or more, up to {_WIDEST_BOUND:g}, in the units of the array",
            fix="pass max_error=50 for DN, 0.005 for reflectance",
        )
    return bound

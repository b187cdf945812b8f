"""The complete configuration of a codec: what an array's metadata says, and no more."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from tec_numcodecs import config_metadata, config_parsers
from tec_numcodecs.arguments import check_keys, number, switch
from tec_numcodecs.config_parsers import Units
from tec_numcodecs.models import table as model_table
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.table import ModelSpec
from tec_numcodecs.models.weights_lookup import Weights, check_contradiction, choose
from tec_numcodecs.rate_control import Target
from tec_numcodecs.sensors import Sensor, get_sensor
from tec_numcodecs.weights.local_store import WeightsId

#: Name of the codec in both registries; also what a reader without the package has to install.
CODEC_NAME = "tec_xarray"

# Below this step in DN most of what a model stores is noise, which a residual stores in fewer
# bits: measured with mini fp for bounds of 1, 2, 5, 50 and 500 DN on scenes of the training set.
_NOISE_STEP = 28.0
_WIDEST_STEP = float(1 << 20)  # beyond that of every rate, and finite whatever bound was given


@dataclass(frozen=True)
class CodecConfig:
    """Settings of one array. Build it with `parse`, which checks everything.

    Attributes
    ----------
    model : str
        ``fp``, ``elic``, ``tt`` or ``flextec``.
    lam : float or None
        Weight of the mean squared error of standardized bands against the rate, as in TerraCodec:
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
        """Check arguments as a user gives them; what metadata hold is `from_json`'s.

        `weights` and `nearest` are those of `models.weights_lookup.choose`: published weights
        named by their family are fetched and frozen here, once; those named by id and digest need
        no file. `psnr` and `bpppb` are targets, see `tec_numcodecs.rate_control.Target`.

        Raises
        ------
        InvalidInput
            For anything that is not allowed; the message says what is.
        WeightsError
            If published weights or a file of weights cannot be had, or are damaged.
        """
        model, meant = config_parsers.parse_model(model), config_parsers.parse_units(units)
        known = get_sensor(sensor)
        names = config_parsers.parse_bands(bands, known)
        bound = config_parsers.parse_max_error(max_error, len(names))
        lam = None if lam is None else number("lam", lam)
        target = config_parsers.parse_target(psnr, bpppb, lam, bound)
        tokens = config_parsers.parse_quality(quality, model)
        nearest = switch("nearest", nearest)
        choice = choose(weights, model, known, lam=lam, nearest=nearest)
        spec = model_table.spec_of(choice.weights.family, model)
        if not spec.family.reversible and not isinstance(weights, (WeightsId, Mapping)):
            config_parsers.check_not_lossless(choice.weights, bound)
        return cls._of(
            model=model,
            lam=choice.lam,
            quality=tokens,
            weights=choice.weights,
            sensor=known,
            bands=names,
            units=meant,
            scale=config_parsers.parse_scale(scale, meant),
            offset=number("offset", offset),
            nodata=config_parsers.parse_nodata(nodata, meant),
            max_error=bound,
            target=target,
        )

    @classmethod
    def _of(cls, **fields: Any) -> Self:
        """Build a configuration of checked fields, if they go together."""
        config = cls(**fields)
        if config.spec.family.rate_scale() is None:
            config_parsers.check_one_rate(config.weights, config.target)
            if config.quality is None:
                config = replace(config, quality=config.spec.tokens or None)
        elif config.target is None:
            config_parsers.parse_rate(config.lam, config.max_error)
        if config.target is None:
            config.rate()
        return config

    @classmethod
    def from_settings(cls, given: Mapping[str, Any]) -> Self:
        """Check settings of a user whose names are not known to be ours.

        Raises
        ------
        InvalidInput, WeightsError
            As of `parse`.
        UnsupportedFormat
            There is no setting of that name.
        """
        check_keys(given, SETTINGS, "setting")
        return cls.parse(**given)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Check a configuration that metadata hold: FORMAT.md, section 3, and nothing else.

        No file is opened, and nothing is fetched, whatever it names.

        Raises
        ------
        InvalidInput
            For a value that is not allowed.
        UnsupportedFormat
            For a key, or a family of weights, that this version does not know.
        """
        fields = config_metadata.parse(given)
        check_contradiction(fields["weights"], fields["model"], fields["sensor"], fields["lam"])
        return cls._of(**fields)

    def to_json(self) -> dict[str, Any]:
        """Complete JSON form; `from_json` gives an equal configuration."""
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
    def spec(self) -> ModelSpec:
        """What is known of the model without its weights."""
        return model_table.spec_of(self.weights.family, self.model)

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
        scale = self.spec.family.rate_scale()
        if scale is None:  # one network for each rate: the weights say which
            return Rate(0, self.quality or 0)
        if self.lam is not None:
            return Rate(scale.rate_index_of(self.lam), self.quality or 0)
        bounds = self.bounds()
        if bounds is None or self.lossless:
            return Rate(0)
        step = max(2 * min(bounds) / self.scale + 1, _NOISE_STEP)
        return Rate(scale.rate_index_of_step(min(step, _WIDEST_STEP)))

    def band_indices(self) -> tuple[int, ...]:
        """Index of each band in the sensor's order, in the array's order."""
        return self.sensor.indices(self.bands)

    def geometry(self, shape: tuple[int, int, int, int]) -> Geometry:
        """Geometry of a chunk as models see it: bands in the sensor's order."""
        return Geometry(shape, self.sensor, tuple(sorted(self.band_indices())))


#: What a user may set: the arguments of `CodecConfig.parse`.
SIGNATURE = inspect.signature(CodecConfig.parse).replace(return_annotation=inspect.Signature.empty)
SETTINGS = tuple(SIGNATURE.parameters)

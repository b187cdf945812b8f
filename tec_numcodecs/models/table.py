"""The models that there are, one row each, and what is known of them without loading them.

Whatever differs between models stands here or on the model itself; nothing else in the package asks
for one by its name. A new model is a module and a row, a new family of weights a reader and a row.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from tec_numcodecs.arguments import NEWER
from tec_numcodecs.errors import UnsupportedFormat


class RateScale(Protocol):
    """Between what a user chooses a rate by and the rate index in a chunk."""

    def rate_index_of(self, lam: float) -> int:
        """Return the rate index of a weight of the distortion."""

    def rate_index_of_step(self, step: float) -> int:
        """Return the rate index of a quantizer step in DN."""

    def lam_of(self, rate_index: int) -> float:
        """Undo `rate_index_of`."""


@functools.cache
def _scale(module: str) -> RateScale:
    """Import a `RateScale`, once: chunks are coded while the interpreter ends, too."""
    scale: RateScale = importlib.import_module(module)
    return scale


@dataclass(frozen=True)
class Family:
    """Weights that the same code reads.

    Attributes
    ----------
    name : str
        First word of the ids of its weights.
    reader : str
        ``module:function`` of ``(spec, path, weights) -> Model``.
    rates : str or None
        Module that is a `RateScale`; None if weights are trained for one rate each.
    reversible : bool
        Whether integer samples come back exactly at rate index 0.
    devices : str or None
        ``module:function`` that refuses a device that is not there; None if its models run on the
        CPU whatever the options say.
    metadata, tensors : str or None
        By what its files are told: a key of their metadata, how names of tensors begin.
    largest : int
        Bytes of its largest file, with room to grow.
    """

    name: str
    reader: str
    rates: str | None
    reversible: bool
    largest: int
    metadata: str | None = None
    tensors: str | None = None
    devices: str | None = None

    def rate_scale(self) -> RateScale | None:
        """Return how rates map to rate indices; None if the weights have one rate each."""
        if self.rates is None:
            return None
        return _scale(self.rates)

    def owns(self, metadata: Collection[str], tensors: Iterable[str]) -> bool:
        """Tell whether a file with such metadata and tensors is of this family."""
        if self.metadata is not None:
            return self.metadata in metadata
        return self.tensors is not None and any(key.startswith(self.tensors) for key in tensors)


@dataclass(frozen=True)
class ModelSpec:
    """One model of one family.

    Attributes
    ----------
    family : Family
    name : str
        In ``model=`` and in metadata. Several families may have a model of a name.
    number : int
        What chunks say to mean the name. Never reused, never changed (FORMAT.md, section 4).
    location : str
        ``module:Class``. Imported on first use: some need torch, and reading `fp` must not.
    about : str
        What it is, in a line.
    tokens : int
        Most tokens of a chunk that can be stored and read; 0 if the model does not know the notion.
    """

    family: Family
    name: str
    number: int
    location: str
    about: str = ""
    tokens: int = 0

    def load(self, *arguments: Any) -> Any:
        """Call what reads weights of the family, with this row first."""
        return located(self.family.reader)(self, *arguments)


#: The one key of the metadata of a frozen checkpoint: two would come in any order.
FROZEN_KEY = "tec"

MINI = Family(
    "mini",
    reader="tec_numcodecs.models.mini.reading:read",
    rates="tec_numcodecs.models.mini.transform.quantizer",
    reversible=True,
    tensors="codebook.",
    largest=1 << 26,
)
TERRACODEC = Family(
    "terracodec",
    reader="tec_numcodecs.models.terracodec.importing:read",
    rates=None,
    reversible=False,
    metadata=FROZEN_KEY,
    devices="tec_numcodecs.models.terracodec.devices:checked_device",
    largest=1 << 30,
)
FAMILIES: tuple[Family, ...] = (TERRACODEC, MINI)

_MINI, _TORCH = "tec_numcodecs.models.mini", "tec_numcodecs.models.terracodec"
_FP = "frozen tables, no network: fastest, decodes without torch"
_ELIC = "context network over space and channels: smaller"
_TT = "as elic, with the dates before as context: smallest where dates are alike"
_FLEX = "one stream from coarse to fine; a reader may stop after any of 16 tokens"
MODELS: tuple[ModelSpec, ...] = (
    ModelSpec(MINI, "fp", 1, f"{_MINI}.fp:MiniFP", _FP),
    ModelSpec(MINI, "elic", 2, f"{_MINI}.elic:MiniElic", _ELIC),
    ModelSpec(MINI, "tt", 3, f"{_MINI}.tt:MiniTT", _TT),
    ModelSpec(MINI, "flextec", 4, f"{_MINI}.flextec:MiniFlex", _FLEX, tokens=16),
    ModelSpec(TERRACODEC, "fp", 1, f"{_TORCH}.fp:FactorizedPrior", _FP),
    ModelSpec(TERRACODEC, "elic", 2, f"{_TORCH}.elic:Elic", _ELIC),
    ModelSpec(TERRACODEC, "tt", 3, f"{_TORCH}.tt:TemporalTransformer", _TT),
    ModelSpec(TERRACODEC, "flextec", 4, f"{_TORCH}.flextec:FlexTec", _FLEX, tokens=16),
)


def spec_of(family: str, name: str) -> ModelSpec:
    """Find a model of a family.

    Raises
    ------
    UnsupportedFormat
        This version does not know it.
    """
    for spec in MODELS:
        if (spec.family.name, spec.name) == (family, name):
            return spec
    raise UnsupportedFormat(
        f"model {name!r} of the family {family!r}",
        allowed=", ".join(f"{spec.name} ({spec.family.name})" for spec in MODELS),
        fix=NEWER,
    )


def family_of(name: str) -> Family | None:
    """Find a family by the first word of an id; None if there is none."""
    return next((family for family in FAMILIES if family.name == name), None)


def check_device(family: str, device: str) -> None:
    """Refuse a device on which models of a family cannot run here.

    Raises
    ------
    InvalidInput
        It is not there.
    MissingExtra
        What would reach it is not installed.
    """
    known = family_of(family)
    if known is not None and known.devices is not None:
        located(known.devices)(device)


def numbers() -> dict[int, str]:
    """Return the names of models by the number that chunks hold."""
    return {spec.number: spec.name for spec in MODELS}


def names() -> tuple[str, ...]:
    """Return the names of models, each once."""
    return tuple(dict.fromkeys(spec.name for spec in MODELS))


def about(name: str) -> str:
    """Say in a line what a model is."""
    return next((spec.about for spec in MODELS if spec.name == name), "")


def tokens_of(name: str) -> int:
    """Return the most tokens that a model of a name may store; 0 if none of that name has any."""
    return max((spec.tokens for spec in MODELS if spec.name == name), default=0)


def located(location: str) -> Any:
    """Import what ``module:name`` means."""
    module, _, name = location.partition(":")
    return getattr(importlib.import_module(module), name)

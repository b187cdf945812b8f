"""The published TerraCodec 1.0 checkpoints: which there are, and how to get them.

Files come from the Hugging Face hub (``HF_ENDPOINT`` names another one), into its own cache. A
directory of ``TEC_WEIGHTS_DIR`` that holds a file of the right name is taken first, so that
machines without a network can be served by hand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tec_numcodecs.errors import InvalidInput, WeightsError

_OWNER = "embed2scale"
_REVISION = "main"
_DEFAULT_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True)
class Family:
    """The checkpoints of one architecture for one product."""

    model: str  # as in model="tt"
    sensor: str
    repository: str
    pattern: str  # file name, with {lam}
    lams: tuple[float, ...]
    default: float


@dataclass(frozen=True)
class Published:
    """One published file."""

    family: Family
    lam: float
    repository: str  # owner/name
    file: str

    @property
    def id(self) -> str:
        """A name for people: ``terracodec-1.0-tt-s2l2a-lambda-5``."""
        level = self.family.sensor.rsplit("-", 1)[1]
        return f"terracodec-1.0-{self.family.model}-s2{level}-lambda-{_number(self.lam)}"

    @property
    def url(self) -> str:
        """Where the file is."""
        endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or _DEFAULT_ENDPOINT
        return f"{endpoint}/{self.repository}/resolve/{_REVISION}/{self.file}"


def _family(model: str, level: str, stem: str, lams: tuple[float, ...], default: float) -> Family:
    name = f"TerraCodec-1.0-{stem}-S2{level.upper()}"
    prefix = "FlexTEC_v1" if model == "flextec" else f"TerraCodec_v1_{stem}"
    pattern = f"{prefix}_S2{level.upper()}_lambda-{{lam}}.pt"
    return Family(model, f"sentinel-2-{level}", f"{_OWNER}/{name}", pattern, lams, default)


_IMAGE_LAMS = (0.5, 2.0, 10.0, 40.0, 200.0)
FAMILIES: Mapping[tuple[str, str], Family] = MappingProxyType(
    {
        (family.model, family.sensor): family
        for family in (
            _family("fp", "l2a", "FP", _IMAGE_LAMS, 10.0),
            _family("elic", "l2a", "ELIC", _IMAGE_LAMS, 10.0),
            _family("tt", "l2a", "TT", (0.4, 1.0, 5.0, 20.0, 100.0, 200.0, 700.0), 5.0),
            _family("tt", "l1c", "TT", (5.0, 20.0, 100.0), 20.0),
            _family("flextec", "l2a", "FlexTEC", (800.0,), 800.0),
        )
    }
)


def published(
    model: str, lam: float | None = None, *, sensor: str = "sentinel-2-l2a", nearest: bool = False
) -> Published:
    """Find the checkpoint of a model and a rate.

    Parameters
    ----------
    model : {"fp", "elic", "tt", "flextec"}
    lam : float, optional
        One of the published values; the default is the family's own.
    sensor : str
        Product, ``"sentinel-2-l2a"`` or ``"sentinel-2-l1c"`` (tt only).
    nearest : bool
        Take the nearest published value (in ratio) instead of refusing others.

    Raises
    ------
    InvalidInput
        There is no such model, sensor or value; the message lists those there are.
    """
    family = FAMILIES.get((model, sensor))
    if family is None:
        known = ", ".join(f"model={m!r} for {s}" for m, s in FAMILIES)
        raise InvalidInput(f"model={model!r} for {sensor} in terracodec-1.0", allowed=known)
    wanted = family.default if lam is None else float(lam)
    if not wanted > 0:
        raise InvalidInput(f"lam = {lam}", allowed="a number > 0", fix=f"pass lam={family.default}")
    if wanted not in family.lams:
        if not nearest:
            raise InvalidInput(
                f"lam = {lam} with weights='terracodec-1.0', model={model!r}",
                allowed=", ".join(map(_number, family.lams)),
                fix="pass one of these, or nearest=True",
            )
        wanted = min(family.lams, key=lambda known: max(known / wanted, wanted / known))
    file = family.pattern.format(lam=_number(wanted))
    return Published(family, wanted, family.repository, file)


def fetch(checkpoint: Published) -> Path:
    """Return the path of a published file, downloading it on first use.

    Raises
    ------
    WeightsError
        It is on this machine neither in ``TEC_WEIGHTS_DIR`` nor in the hub's cache, and cannot
        be downloaded. The message says what to fetch and where to put it.
    """
    for directory in filter(None, os.environ.get("TEC_WEIGHTS_DIR", "").split(os.pathsep)):
        path = Path(directory) / checkpoint.file
        if path.is_file():
            return path
    # Slow to import, and only this function needs it.
    from huggingface_hub import hf_hub_download

    try:
        found = hf_hub_download(
            checkpoint.repository,
            checkpoint.file,
            revision=_REVISION,
            endpoint=os.environ.get("HF_ENDPOINT") or None,
        )
    except Exception as error:  # its own errors, and those of whichever HTTP library it uses
        raise WeightsError(
            f"could not fetch {checkpoint.file}: {_reason(error)}",
            fix=f"download {checkpoint.url} on a machine with a network, put the file into a "
            f"directory and name that in TEC_WEIGHTS_DIR",
        ) from error
    return Path(found)


def _reason(error: Exception) -> str:
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0] if first else 'no further message'}"


def _number(lam: float) -> str:
    return f"{lam:g}"

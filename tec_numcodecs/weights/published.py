"""The published TerraCodec 1.0 checkpoints: which there are, and how to get them.

Files come from the Hugging Face hub (``HF_ENDPOINT`` names another one), into its own cache. A
directory of ``TEC_WEIGHTS_DIR`` that holds a file of the right name is taken first, so that
machines without a network can be served by hand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from tec_numcodecs.errors import InvalidInput, WeightsError
from tec_numcodecs.weights.local_store import search_path
from tec_numcodecs.weights.reachable import reason_unreachable

PUBLISHED = "terracodec-1.0"  # what a user calls the family

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
    lr_only: bool = False  # FlexTEC trained for low rates only


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
        stem = f"{self.family.model}-lronly" if self.family.lr_only else self.family.model
        return f"{PUBLISHED}-{stem}-s2{level}-lambda-{_number(self.lam)}"

    @property
    def url(self) -> str:
        """Where the file is."""
        endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or _DEFAULT_ENDPOINT
        return f"{endpoint}/{self.repository}/resolve/{_REVISION}/{self.file}"

    @property
    def command(self) -> str:
        """What to type to have it on this machine."""
        low = " --lr-only" if self.family.lr_only else ""
        return (
            f"tec weights fetch {self.family.model} --lam {_number(self.lam)} "
            f"--sensor {self.family.sensor}{low}"
        )


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


#: FlexTEC for low rates, in the same repository.
LR_ONLY = replace(
    FAMILIES["flextec", "sentinel-2-l2a"],
    pattern="FlexTEC_LRonly_v1_S2L2A_lambda-{lam}.pt",
    lr_only=True,
)


def published(
    model: str,
    lam: float | None = None,
    *,
    sensor: str = "sentinel-2-l2a",
    nearest: bool = False,
    lr_only: bool = False,
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
    lr_only : bool
        The FlexTEC that was trained for low rates only.

    Raises
    ------
    InvalidInput
        There is no such model, sensor or value; the message lists those there are.
    """
    family = FAMILIES.get((model, sensor))
    if family is None:
        known = ", ".join(f"model={m!r} for {s}" for m, s in FAMILIES)
        raise InvalidInput(f"model={model!r} for {sensor} in {PUBLISHED}", allowed=known)
    if lr_only:
        if model != LR_ONLY.model:
            raise InvalidInput(f"model={model!r} for low rates only", allowed="model='flextec'")
        family = LR_ONLY
    wanted = family.default if lam is None else float(lam)
    if not wanted > 0:
        raise InvalidInput(f"lam = {lam}", allowed="a number > 0", fix=f"pass lam={family.default}")
    if wanted not in family.lams:
        if not nearest:
            raise InvalidInput(
                f"lam = {lam} with weights={PUBLISHED!r}, model={model!r}, {sensor}",
                allowed=", ".join(map(_number, family.lams)),
                fix="pass one of these, or nearest=True",
            )
        wanted = min(family.lams, key=lambda known: max(known / wanted, wanted / known))
    return _checkpoint(family, wanted)


def by_id(name: str) -> Published | None:
    """Find the published file that an id names; None if it names none."""
    return next((found for found in everything() if found.id == name), None)


def by_file(name: str) -> Published | None:
    """Find what is published under a file name; None if nothing is."""
    return next((found for found in everything() if found.file == name), None)


def everything() -> list[Published]:
    """List all published files."""
    families = (*FAMILIES.values(), LR_ONLY)
    return [_checkpoint(family, lam) for family in families for lam in family.lams]


def _checkpoint(family: Family, lam: float) -> Published:
    return Published(family, lam, family.repository, family.pattern.format(lam=_number(lam)))


def fetch(checkpoint: Published) -> Path:
    """Return the path of a published file, downloading it on first use.

    Raises
    ------
    WeightsError
        It is on this machine neither in ``TEC_WEIGHTS_DIR`` nor in the hub's cache, and cannot
        be downloaded. The message says what to fetch and where to put it.
    """
    for directory in search_path():
        path = directory / checkpoint.file
        if path.is_file():
            return path
    # Slow to import, and only this function needs it.
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    unreachable = reason_unreachable(checkpoint.url)
    if unreachable is not None:
        kept = try_to_load_from_cache(checkpoint.repository, checkpoint.file, revision=_REVISION)
        if isinstance(kept, str):
            return Path(kept)
        raise WeightsError(
            f"could not fetch {checkpoint.file}: {unreachable}", fix=_by_hand(checkpoint)
        )
    try:
        found = hf_hub_download(
            checkpoint.repository,
            checkpoint.file,
            revision=_REVISION,
            endpoint=os.environ.get("HF_ENDPOINT") or None,
        )
    except Exception as error:  # its own errors, and those of whichever HTTP library it uses
        other = "name a cache that can be written in HF_HOME, or " if _is_disk(error) else ""
        raise WeightsError(
            f"could not fetch {checkpoint.file}: {_reason(error)}",
            fix=f"{other}{_by_hand(checkpoint)}",
        ) from error
    return Path(found)


def _by_hand(checkpoint: Published) -> str:
    return (
        f"download {checkpoint.url} on a machine with a network, put the file into a directory and "
        "name that in TEC_WEIGHTS_DIR"
    )


def _is_disk(error: Exception) -> bool:
    """Tell a cache that cannot be written from a network that is not there."""
    return isinstance(error, OSError) and error.filename is not None


def _reason(error: Exception) -> str:
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0] if first else 'no further message'}"


def _number(lam: float) -> str:
    return f"{lam:g}"

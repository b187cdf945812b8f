"""From what a user types as ``weights=`` to weights that are on this machine, and their rate.

``"mini"`` is in the package. ``"terracodec-1.0"`` (and ``"terracodec-1.0-lronly"``, FlexTEC for low
rates) is fetched from its hub on first use and frozen. A path names a checkpoint, a frozen file, or
a directory with published files. All that is for what a user types. What an array's metadata says,
id and digest, is a file of that digest on this machine or nothing (`ensure_local`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tec_numcodecs.arguments import shown
from tec_numcodecs.errors import InvalidInput, WeightsError
from tec_numcodecs.models.table import family_of
from tec_numcodecs.options import get_options
from tec_numcodecs.sensors import Sensor
from tec_numcodecs.weights import local_store, published
from tec_numcodecs.weights.local_store import WeightsId
from tec_numcodecs.weights.safetensors_io import digest_of

if TYPE_CHECKING:
    from tec_numcodecs.models.terracodec.importing import Imported

#: What a user may type, besides an id with its digest.
Weights = str | os.PathLike[str] | WeightsId | Mapping[str, Any]

LR_ONLY = f"{published.PUBLISHED}-lronly"
_SOURCES = (".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class Choice:
    """Weights, and the rate at which they are used.

    Attributes
    ----------
    weights : WeightsId
    lam : float or None
        As asked for, where any rate will do; the checkpoint's own, where it is known.
    """

    weights: WeightsId
    lam: float | None


def choose(
    weights: Weights,
    model: str,
    sensor: Sensor,
    *,
    lam: float | None = None,
    nearest: bool = False,
) -> Choice:
    """Find the weights for a model, a sensor and a rate; fetch and freeze them if need be.

    Parameters
    ----------
    weights : str, path, WeightsId or mapping
        ``"mini"``, ``"terracodec-1.0"``, a path, or id and digest as in an array's metadata, for
        which no file is touched.
    model : str
        ``fp``, ``elic``, ``tt`` or ``flextec``.
    sensor : Sensor
    lam : float, optional
    nearest : bool
        Whether the nearest published rate will do.

    Raises
    ------
    InvalidInput
        There is nothing of that name, for that sensor, or at that rate; the message lists what
        there is.
    WeightsError
        Files are missing and cannot be fetched, damaged, or of another architecture.
    """
    if isinstance(weights, (WeightsId, Mapping)):
        named = local_store.resolve(weights, model)
        check_contradiction(named, model, sensor, lam)
        return Choice(named, lam)
    name = _name(weights)
    if name in (published.PUBLISHED, LR_ONLY):
        place = published.published(
            model, lam, sensor=sensor.name, nearest=nearest, lr_only=name == LR_ONLY
        )
        return _frozen(place, sensor) or _published(place, published.fetch(place), sensor)
    if name in local_store.bundled():
        return Choice(local_store.resolve(name, model), lam)
    path, kind = _on_disk(name)
    if kind == "directory":
        place = published.published(model, lam, sensor=sensor.name, nearest=nearest)
        return _published(place, _inside(path, place), sensor)
    if kind == "file":
        return _from_file(path, model, sensor, lam)
    raise _unknown(name)


def _name(weights: object) -> str:
    """Return a name or a path as text, and refuse whatever is neither."""
    name = os.fspath(weights) if isinstance(weights, os.PathLike) else weights
    if not isinstance(name, str) or not name:
        raise _unknown(weights)
    return name


def _on_disk(name: str) -> tuple[Path, str]:
    """Return the path of a name, and whether it is a directory, a file, or nothing."""
    try:
        path = Path(name).expanduser()
        return path, "directory" if path.is_dir() else "file" if path.is_file() else ""
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, nobody's home
        return Path(), ""


def _unknown(weights: object) -> InvalidInput:
    return InvalidInput(
        f"weights={shown(weights)}",
        allowed=f"'mini', {published.PUBLISHED!r}, {LR_ONLY!r}, the path of a checkpoint, or of a "
        "directory with published ones",
        fix="leave weights out for the default, 'mini'",
    )


def any_rate(weights: Weights) -> bool:
    """Tell whether weights serve any rate, so that `lam` must be chosen; files decide their own."""
    if isinstance(weights, (WeightsId, Mapping)):
        return _has_any_rate(local_store.resolve(weights, ""))
    return _name(weights) in local_store.bundled()


def _has_any_rate(weights: WeightsId) -> bool:
    family = family_of(weights.family)
    return family is not None and family.rates is not None


def ensure_local(weights: WeightsId) -> Path:
    """Return the file of some weights, which must be on this machine.

    Whoever reads passes what metadata name. So nothing is looked for but a file named by the
    digest, and nothing is fetched, unless the user has said so: ``set_options(fetch_weights=True)``
    or ``TEC_FETCH_WEIGHTS=1`` fetch and freeze published checkpoints.

    Raises
    ------
    WeightsError
        It is not here. The message says which file it is, and the commands that get it.
    """
    try:
        return local_store.locate(weights)
    except WeightsError as error:
        place = published.by_id(weights.id)
        if place is None:
            raise
        missing = error
    if get_options().fetch_weights:
        return _fetch(weights, place, missing)
    others = [item for item in local_store.noted() if item.weights.id == weights.id]
    raise WeightsError(
        missing.found + ("" if not others else "; another file has that id: SHA-256 "
                         + ", ".join(item.weights.sha256 for item in others[:3])),
        fix=f"run `{place.command}` once, or download {place.url} elsewhere and run "
        f"`tec weights import {place.file}` here; or put the file {weights.sha256}.safetensors "
        "into a directory named by TEC_WEIGHTS_DIR; or let readers fetch what an archive names: "
        "set_options(fetch_weights=True), TEC_FETCH_WEIGHTS=1",
    ) from missing  # fmt: skip


def _fetch(weights: WeightsId, place: published.Published, missing: WeightsError) -> Path:
    """Fetch and freeze a published checkpoint, which must become the file that was named."""
    try:
        imported = _import(published.fetch(place), place.family.model, place.id)
    except WeightsError as error:
        raise WeightsError(f"{missing.found}; {error.found}", fix=error.fix) from error
    if imported.weights.sha256 != weights.sha256:
        raise WeightsError(
            f"{place.file} as it is published now freezes to SHA-256 {imported.weights.sha256}",
            allowed=f"{weights.sha256}, which wrote the archive",
            fix="the file has changed, or this version freezes otherwise: put the file "
            f"{weights.sha256}.safetensors of whoever wrote the archive into a directory named by "
            "TEC_WEIGHTS_DIR",
        )
    return imported.path


def _frozen(place: published.Published, sensor: Sensor) -> Choice | None:
    """Take what was frozen before: that needs neither the source nor a network."""
    named = (place.id, place.family.model)
    found = [item for item in local_store.noted() if (item.weights.id, item.model) == named]
    if len(found) != 1:  # several claim the name: the source decides
        return None
    _check_bands(_describe(found[0].path, found[0].weights), sensor)
    return Choice(found[0].weights, place.lam)


def _published(place: published.Published, path: Path, sensor: Sensor) -> Choice:
    imported = _import(path, place.family.model, place.id)
    _check_bands(imported, sensor)
    return Choice(imported.weights, place.lam)


def _inside(directory: Path, place: published.Published) -> Path:
    path = directory / place.file
    if not path.is_file():
        there = sorted(p.name for p in directory.iterdir() if p.suffix in _SOURCES)
        raise WeightsError(
            f"no {place.file} in {directory}",
            allowed=", ".join(there) or "a directory with published checkpoints; this has none",
            fix=f"download {place.url} into it",
        )
    return path


def _from_file(path: Path, model: str, sensor: Sensor, lam: float | None) -> Choice:
    """Use one file, which must fit the model and the sensor, and has the rate that it has."""
    if path.suffix not in _SOURCES and is_ours(path):
        found = local_store.identity(path, digest_of(path), local_store.local_name(path))
        kept = local_store.keep(path, found.sha256)
        if _has_any_rate(found):
            return Choice(found, lam)
        place, imported = None, _describe(kept, found)
    else:
        place = published.by_file(path.name)
        imported = _import(path, model, None if place is None else place.id)
    if imported.model != model:
        raise InvalidInput(
            f"model={model!r} with {path.name}, a checkpoint of {imported.model!r}",
            allowed=f"model={imported.model!r}",
        )
    _check_bands(imported, sensor)
    own = None if place is None else place.lam
    if lam is not None and lam != own:
        raise InvalidInput(
            f"lam={lam:g} with weights={str(path)!r}",
            allowed="nothing: the file has one rate" if own is None else f"{own:g}, as published",
            fix="leave lam out",
        )
    return Choice(imported.weights, own)


def _import(path: Path, model: str, name: str | None) -> Imported:
    from tec_numcodecs.models.terracodec.importing import import_checkpoint  # needs torch

    return import_checkpoint(path, model=model, name=name)


def _describe(path: Path, weights: WeightsId) -> Imported:
    from tec_numcodecs.models.terracodec.importing import describe

    return describe(path, weights)


def is_ours(path: Path) -> bool:
    """Tell a file that can be used as it is from a checkpoint that must be frozen."""
    try:
        local_store.identity(path, "")
    except WeightsError:
        return False
    return True


def _check_bands(imported: Imported, sensor: Sensor) -> None:
    if imported.bands != len(sensor.bands):
        raise InvalidInput(
            f"data of {sensor.name} ({len(sensor.bands)} bands) with a checkpoint of "
            f"{imported.bands} bands ({imported.weights.id})",
            allowed="weights that were trained for this sensor",
            fix="choose another model or file: `tec weights list` says what there is",
        )


def check_contradiction(weights: WeightsId, model: str, sensor: Sensor, lam: float | None) -> None:
    """Refuse metadata that contradict themselves; ids that we do not know are believed."""
    place = published.by_id(weights.id)
    if place is None:
        return
    wanted = (place.family.model, place.family.sensor, place.lam)
    if (model, sensor.name, lam if lam is not None else place.lam) != wanted:
        raise InvalidInput(
            f"model={model!r}, {sensor.name}, lam={lam} with weights {weights.id!r}",
            allowed=f"model={wanted[0]!r}, {wanted[1]}, lam={wanted[2]:g}",
            fix="the metadata of the array is damaged, or written by hand",
        )

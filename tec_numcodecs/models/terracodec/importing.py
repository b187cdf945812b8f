"""Importing published checkpoints: from a ``.pt`` file to frozen integers in safetensors.

The frozen file holds everything that decoding needs, tables included, and says what it was made
from: the SHA-256 of the source, and the version of the freezer. Freezing is a pure function, so
the same source gives the same file, with the same SHA-256, on every machine.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.models.base import Model
from tec_numcodecs.models.table import FROZEN_KEY, TERRACODEC, ModelSpec
from tec_numcodecs.models.terracodec import checkpoint, elic, flextec, fp, freezing, tt
from tec_numcodecs.weights import published
from tec_numcodecs.weights.local_store import (
    WeightsId,
    cache_directory,
    cannot_keep,
    local_name,
    search_path,
)
from tec_numcodecs.weights.safetensors_io import check_header, digest_of

FORMAT = "tec-frozen-1"

# SHA-256 of published files that this version was tried with. None could be reached when it was
# written; a digest that is not here is reported, so that two people can compare what they have.
KNOWN_SOURCES: Mapping[str, str] = {}

_ARCHITECTURES: Mapping[str, tuple[ModuleType, type[Model]]] = {
    "fp": (fp, fp.FactorizedPrior),
    "elic": (elic, elic.Elic),
    "tt": (tt, tt.TemporalTransformer),
    "flextec": (flextec, flextec.FlexTec),
}
_LAST = {"fp": "g_a.6.weight"} | dict.fromkeys(("elic", "tt", "flextec"), "g_a.13.weight")
_FAMILY = f"{TERRACODEC.name}-"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imported:
    """A frozen checkpoint on this machine.

    Attributes
    ----------
    weights : WeightsId
    path : Path
        Of the frozen file.
    model : str
        ``fp``, ``elic``, ``tt`` or ``flextec``.
    source_sha256 : str
        Of the file that was frozen.
    bands : int
        Of its sensor: 12 or 13.
    widths : tuple of int
        N and M: channels of the first layer of the analysis, and of the latents.
    """

    weights: WeightsId
    path: Path
    model: str
    source_sha256: str
    bands: int
    widths: tuple[int, int]


@dataclass(frozen=True)
class _Origin:
    """What a frozen file says about itself."""

    format: str
    model: str
    source_sha256: str
    freezer: int


def read_source(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint, ``.pt`` or ``.safetensors``, without running any code in it.

    Raises
    ------
    WeightsError
        The file cannot be read, is damaged, or holds anything but tensors.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}", fix="check the path") from error
    try:
        if path.suffix == ".safetensors":
            state: object = safetensors.torch.load_file(path)
            check_header(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path.name} holds more than tensors, or is no PyTorch file",
            allowed="a state dict saved by torch.save, or safetensors",
            fix="never load such a file otherwise: it can run code. Ask its author for a plain "
            "state dict",
        ) from error
    except WeightsError:
        raise
    except Exception as error:  # torch's unpickler raises whatever its stack machine runs into
        raise WeightsError(
            f"{path.name} is damaged, or no checkpoint: {first_line(error)}",
            allowed="a state dict saved by torch.save, or safetensors",
            fix="download it again",
        ) from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path.name} holds a {type(state).__name__}", allowed="a state dict")
    return checkpoint.normalized_names(state)


def identify(state: Mapping[str, Tensor]) -> str:
    """Tell which architecture a state dict with normalized names is of.

    Raises
    ------
    WeightsError
        None that we know.
    """
    if any(key.startswith("model.entropy_model.") for key in state):
        return "flextec" if flextec.MASK_TOKENS[0] in state else "tt"
    if any(key.startswith("latent_codec.") for key in state):
        return "elic"
    if any(key.startswith(f"{fp.PRIOR}.") for key in state):
        return "fp"
    raise WeightsError(
        f"a checkpoint with tensors such as {', '.join(sorted(state)[:3])}",
        allowed="TerraCodec 1.0 FP, ELIC, TT or FlexTEC",
    )


def checked(state: Mapping[str, Tensor]) -> str:
    """Tell which architecture a state dict is of, and that it is complete.

    Raises
    ------
    WeightsError
        Of none that we know, or with missing, extra or misshapen tensors: all are listed.
    """
    model = identify(state)
    module, _ = _ARCHITECTURES[model]
    checkpoint.check(state, module.layout(state), f"TerraCodec {model.upper()}")
    return model


def import_checkpoint(
    path: str | Path,
    *,
    model: str | None = None,
    name: str | None = None,
    directory: Path | None = None,
) -> Imported:
    """Freeze a checkpoint, or find it frozen already.

    Parameters
    ----------
    path : path
        The published file.
    model : str, optional
        What it must be: ``fp``, ``elic``, ``tt`` or ``flextec``.
    name : str, optional
        Id, after ``terracodec-``; that of the published file, or ``local-`` and the file's name
        otherwise.
    directory : Path, optional
        Where to keep the frozen file; `cache_directory` otherwise.

    Raises
    ------
    WeightsError
        The file is damaged, of another architecture or incomplete, or cannot be kept.
    """
    path = Path(path)
    kept_in = search_path() if directory is None else [directory]
    directory = cache_directory() if directory is None else directory
    source = digest_of(path)
    name = _id_of(path) if name is None else name
    name = name if name.startswith(_FAMILY) else _FAMILY + name
    recalled = (_recall(place, source, name) for place in kept_in)
    found = next((item for item in recalled if item is not None), None)
    if found is None:
        if source not in KNOWN_SOURCES:
            _log.warning("%s: SHA-256 %s is not one that this version knows", path.name, source)
        state = read_source(path)
        kind = identify(state)
        _check_model(path, kind, model)
        found = _freeze(state, kind, source, name, directory)
    _check_model(path, found.model, model)
    return found


def _check_model(path: Path, found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted:
        raise WeightsError(
            f"{path.name} is a checkpoint of {found!r}",
            allowed=repr(wanted),
            fix=f"pass model={found!r}, or another file",
        )


def _id_of(path: Path) -> str:
    place = published.by_file(path.name)
    return local_name(path) if place is None else place.id


def describe(path: Path, weights: WeightsId) -> Imported:
    """Say what a frozen file is, from its header alone.

    Raises
    ------
    WeightsError
        It is no frozen checkpoint.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            origin = _origin(path, file.metadata())
            first, last = (
                file.get_slice(key).get_shape() for key in ("g_a.0.weight", _LAST[origin.model])
            )
        bands, sizes = first[1], (first[0], last[0])
    except (OSError, safetensors.SafetensorError, IndexError) as error:
        raise WeightsError(f"weights file {path.name}: {error}") from error
    return Imported(weights, path, origin.model, origin.source_sha256, bands, sizes)


def load(path: Path, sha256: str) -> Model:
    """Load a frozen checkpoint.

    Raises
    ------
    WeightsError
        The file is not the one that was asked for, or no frozen checkpoint.
    """
    found = digest_of(path)
    if found != sha256:
        raise WeightsError(
            f"weights file {path.name} with SHA-256 {found}",
            allowed=sha256,
            fix="the file is damaged, or another one: import the checkpoint again",
        )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            origin = _origin(path, file.metadata())
            # Copies: what a carrier rearranges must not stay in memory as pages of the file too.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
        check_header(path)
        _, kind = _ARCHITECTURES[origin.model]
        return kind(tensors)  # type: ignore[call-arg]
    except WeightsError:
        raise
    except Exception as error:  # of safetensors, or of a network whose tensors do not fit together
        raise WeightsError(
            f"weights file {path.name}, which is no frozen checkpoint: {first_line(error)}",
            fix="import the checkpoint again",
        ) from error


def read(spec: ModelSpec, path: Path, weights: WeightsId) -> Model:
    """Load a frozen checkpoint, which says itself of what architecture it is.

    Raises
    ------
    WeightsError
        As of `load`, or it is of another architecture.
    """
    model = load(path, weights.sha256)
    if model.name != spec.name:
        raise WeightsError(
            f"weights {weights.id!r} of {model.name!r}",
            allowed=f"those of {spec.name!r}, as the array or the chunk says",
            fix="the metadata of the array is damaged, or written by hand",
        )
    return model


def _origin(path: Path, metadata: Mapping[str, str] | None) -> _Origin:
    try:
        origin = _Origin(**json.loads((metadata or {})[FROZEN_KEY]))
        known = origin.format == FORMAT and origin.model in _ARCHITECTURES
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path.name} is no frozen checkpoint", fix="import the published file first"
        ) from error
    if not known:
        raise WeightsError(
            f"{path.name} of format {origin.format!r}, model {origin.model!r}",
            allowed=f"{FORMAT!r} and {', '.join(_ARCHITECTURES)}",
            fix="install a newer tec-xarray",
        )
    return origin


def _freeze(
    state: Mapping[str, Tensor], model: str, source: str, name: str, directory: Path
) -> Imported:
    module, _ = _ARCHITECTURES[checked(state)]
    try:
        arrays = {key: value.numpy() for key, value in sorted(module.freeze(state).items())}
    except WeightsError:
        raise
    except Exception as error:  # numbers that no training gives, for which a table has no entry
        raise WeightsError(
            f"a checkpoint of {model!r} whose numbers cannot be frozen: {first_line(error)}",
            allowed="the numbers that training gave",
            fix="download it again",
        ) from error
    origin = _Origin(FORMAT, model, source, freezing.FREEZER)
    metadata = {FROZEN_KEY: json.dumps(asdict(origin), sort_keys=True)}
    path, digest = _keep(arrays, metadata, directory)
    note = {"id": name, "model": model, "sha256": digest}
    _write_atomically(_note(directory, source), json.dumps(note))
    return describe(path, WeightsId(name, digest))


def _keep(
    arrays: Mapping[str, np.ndarray[Any, Any]], metadata: dict[str, str], directory: Path
) -> tuple[Path, str]:
    """Write a file under the name of its own digest; a half-written one never has that name."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            temporary = Path(scratch) / "frozen.safetensors"
            safetensors.numpy.save_file(dict(arrays), temporary, metadata=metadata)
            digest = digest_of(temporary)
            path = directory / f"{digest}.safetensors"
            # A copy, because safetensors makes files that only their owner can read: in a directory
            # that a group shares, permissions are those that the umask leaves.
            half = Path(scratch) / path.name
            shutil.copyfile(temporary, half)
            half.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise cannot_keep(directory, error) from error
    return path, digest


def first_line(error: Exception) -> str:
    """Say in one line what went wrong."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".removesuffix(": ")


def _note(directory: Path, source: str) -> Path:
    """Path of the note that says what a source froze to."""
    return directory / f"{source}.freezer-{freezing.FREEZER}.json"


def _recall(directory: Path, source: str, name: str) -> Imported | None:
    try:
        note = json.loads(_note(directory, source).read_text())
        model, digest = note["model"], note["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no note, or none that can be read: freeze again
    try:
        found = describe(directory / f"{digest}.safetensors", WeightsId(name, digest))
    except WeightsError:
        return None
    return found if (found.model, found.source_sha256) == (model, source) else None


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as error:
        raise cannot_keep(path.parent, error) from error

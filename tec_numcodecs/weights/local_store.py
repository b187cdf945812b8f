"""Which weights there are, and where their files lie.

An archive names its weights by an id and the full SHA-256 of the file; each chunk repeats the
first 8 bytes of the digest. Files are looked for in the package, then in the directories of
``TEC_WEIGHTS_DIR`` and in the user's cache, where they are named by their digest
(``<sha256>.safetensors``). Fetching is the business of `models.weights_lookup`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors

from tec_numcodecs.arguments import NEWER, check_keys, shown
from tec_numcodecs.errors import InvalidInput, UnsupportedFormat, WeightsError
from tec_numcodecs.models import table as model_table

_HERE = Path(__file__).parent
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class WeightsId:
    """Name of frozen weights.

    Attributes
    ----------
    id : str
        Family, model and version, ``mini-fp-preview1``. For people, but for the first word.
    sha256 : str
        Of the safetensors file, in hexadecimal. This is what counts.
    """

    id: str
    sha256: str

    @property
    def family(self) -> str:
        """The first word of the id, which says what code reads the file: mini or terracodec."""
        return self.id.split("-")[0]

    @property
    def prefix(self) -> bytes:
        """The 8 bytes that each chunk carries."""
        return bytes.fromhex(self.sha256[:16])

    @property
    def preview(self) -> bool:
        """Whether a later version of the package may stop shipping these weights."""
        return "preview" in self.id

    def to_json(self) -> dict[str, str]:
        """For the metadata of an array."""
        return {"id": self.id, "sha256": self.sha256}


@lru_cache(maxsize=1)
def bundled() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Weights in this package: family -> model -> ``id``, ``file``, ``sha256``."""
    found: dict[str, dict[str, dict[str, str]]] = json.loads((_HERE / "bundled.json").read_text())
    return found


def resolve(weights: str | WeightsId | Mapping[str, Any], model: str) -> WeightsId:
    """Find the weights that a user or an array's metadata names.

    Parameters
    ----------
    weights : str, WeightsId or mapping
        A bundled family (``"mini"``), or id and digest as an array's metadata holds them.
    model : str
        ``fp``, ``elic``, ``tt`` or ``flextec``.

    Raises
    ------
    InvalidInput
        If there is no such family, or no such model in it.
    """
    if isinstance(weights, WeightsId):
        return from_json(weights.to_json())
    if isinstance(weights, Mapping):
        return from_json(weights)
    family = bundled().get(weights)
    if family is None:
        raise InvalidInput(
            f"weights={weights!r}",
            allowed=", ".join(map(repr, bundled())),
            fix="leave weights out for the default, 'mini'",
        )
    if model not in family:
        raise InvalidInput(
            f"model={model!r} with weights={weights!r}",
            allowed=", ".join(map(repr, family)),
            fix=f"pass model={next(iter(family))!r}",
        )
    entry = family[model]
    return WeightsId(entry["id"], entry["sha256"])


def known_size(sha256: str) -> int | None:
    """Bytes of the file that has a digest, where this package knows it; None otherwise."""
    for family in bundled().values():
        for entry in family.values():
            if entry["sha256"] == sha256:
                return (_HERE / entry["file"]).stat().st_size
    return None


def by_prefix(prefix: bytes) -> WeightsId:
    """Find weights by the 8 bytes of their digest that a chunk carries.

    Raises
    ------
    WeightsError
        If no file on this machine has a digest that begins like that.
    """
    start = prefix.hex()
    for family in bundled().values():
        for entry in family.values():
            if entry["sha256"].startswith(start):
                return WeightsId(entry["id"], entry["sha256"])
    for directory in search_path():
        for path in sorted(directory.glob(f"{start}*.safetensors")):
            if _DIGEST.fullmatch(path.stem):
                return identity(path, path.stem)
    raise WeightsError(
        f"no weights whose SHA-256 begins with {start}",
        fix="install the version of tec-xarray that wrote the chunk, read it through the array "
        "that it belongs to, or put the file into a directory named by TEC_WEIGHTS_DIR",
    )


def identity(path: Path, sha256: str, name: str | None = None) -> WeightsId:
    """Name a safetensors file of ours by what is in it.

    Parameters
    ----------
    path : Path
    sha256 : str
        Its digest.
    name : str, optional
        What to call it after its family; the beginning of the digest otherwise.

    Raises
    ------
    WeightsError
        It is none of ours.
    """
    name = name or sha256[:12]
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata, tensors = file.metadata() or {}, list(file.keys())
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"weights file {path.name}: {error}", fix="check the file") from error
    for family in model_table.FAMILIES:
        if family.owns(metadata, tensors):
            return WeightsId(f"{family.name}-{name}", sha256)
    raise WeightsError(
        f"weights file {path.name}, which holds neither a mini model nor a frozen checkpoint",
        fix="a published checkpoint must be imported first: tec weights import FILE",
    )


def from_json(weights: object) -> WeightsId:
    """Check what metadata say about weights: an id that begins with its family, and a digest.

    Raises
    ------
    InvalidInput
        It is anything else: a path, or a family without a digest.
    UnsupportedFormat
        For a key, or a family, that this version does not know.
    """
    if not isinstance(weights, Mapping):
        raise _no_weights(weights)
    check_keys(weights, ("id", "sha256"), "key of weights")
    name, digest = weights.get("id"), weights.get("sha256")
    if not isinstance(name, str) or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise _no_weights(dict(weights))
    found = WeightsId(name, digest)
    if model_table.family_of(found.family) is None or not name.startswith(f"{found.family}-"):
        raise UnsupportedFormat(
            f"weights with the id {shown(name)}",
            allowed=" or ".join(f"'{family.name}-...'" for family in model_table.FAMILIES),
            fix=NEWER,
        )
    return found


def _no_weights(found: object) -> InvalidInput:
    return InvalidInput(
        f"weights={shown(found)}, where id and digest are meant",
        allowed="{'id': name, 'sha256': 64 hexadecimal digits, in lower case}",
        fix="the metadata of the array are damaged, or written by hand; to make a codec of "
        "settings, call TecCodec or TecSerializer",
    )


def local_name(path: Path) -> str:
    """Make an id, less its family, of the name of somebody's own file."""
    stem = re.sub(r"[^A-Za-z0-9._]+", "-", path.stem)[:64].strip("-")
    return f"local-{stem or 'unnamed'}"


def cache_directory() -> Path:
    """Return where weights are kept: the first ``TEC_WEIGHTS_DIR``, or the user's cache."""
    return search_path()[0]


def search_path() -> list[Path]:
    """Return where weights files that are not in the package may lie."""
    listed = os.environ.get("TEC_WEIGHTS_DIR", "").split(os.pathsep)
    named = [Path(directory).expanduser() for directory in listed if directory]
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [*named, Path(base) / "tec_numcodecs" / "weights"]


@dataclass(frozen=True)
class Noted:
    """A frozen checkpoint on this machine, by the note that freezing left beside it."""

    model: str
    weights: WeightsId
    path: Path


def noted() -> list[Noted]:
    """List the frozen checkpoints on this machine. Digests are checked when they are loaded."""
    found: dict[str, Noted] = {}
    for directory in search_path():
        for note in sorted(directory.glob("*.freezer-*.json")):
            try:
                said = json.loads(note.read_text())
                weights = WeightsId(str(said["id"]), str(said["sha256"]))
                entry = Noted(
                    str(said["model"]), weights, directory / f"{weights.sha256}.safetensors"
                )
            except (OSError, ValueError, KeyError, TypeError):
                continue  # no note of ours; importing the source once more writes a good one
            if entry.path.is_file():
                found.setdefault(weights.sha256, entry)
    return list(found.values())


def keep(path: Path, sha256: str) -> Path:
    """Copy a file into the cache under its digest, so that readers find it; return the copy.

    Raises
    ------
    WeightsError
        The cache cannot be written.
    """
    directory = cache_directory()
    target = directory / f"{sha256}.safetensors"
    if not target.is_file():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                half = Path(shutil.copyfile(path, Path(scratch) / target.name))
                half.replace(target)
        except OSError as error:
            raise cannot_keep(directory, error) from error
    return target


def cannot_keep(directory: Path, error: Exception) -> WeightsError:
    """Return the error for a cache that cannot be written."""
    return WeightsError(
        f"cannot keep weights in {directory}: {error}",
        fix="name a directory that can be written in TEC_WEIGHTS_DIR",
    )


def locate(weights: WeightsId) -> Path:
    """Path of the file of some weights.

    Raises
    ------
    WeightsError
        If it is nowhere on this machine.
    """
    for family in bundled().values():
        for entry in family.values():
            if entry["sha256"] == weights.sha256:
                return _HERE / entry["file"]
    directories = search_path()
    for directory in directories:
        path = directory / f"{weights.sha256}.safetensors"
        if path.is_file():
            return path
    looked = ", ".join(["the package", *map(str, directories)])
    raise WeightsError(
        f"no weights {weights.id!r} with SHA-256 {weights.sha256} (looked in {looked})",
        fix="install the version of tec-xarray that wrote the archive, or put the file "
        f"{weights.sha256}.safetensors into a directory named by TEC_WEIGHTS_DIR; if the archive "
        "holds a copy (embed_weights=True), tec_xarray.open_zarr(store) or `tec weights extract "
        "STORE` gets it",
    )

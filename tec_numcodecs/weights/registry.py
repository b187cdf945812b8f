"""Which weights there are, and where their files lie.

An archive names its weights by an id and the full SHA-256 of the file; each chunk repeats the
first 8 bytes of the digest. Files are looked for in the package, then in the directories of
``TEC_WEIGHTS_DIR``, where they are named by their digest (``<sha256>.safetensors``).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tec_numcodecs.errors import InvalidInput, WeightsError

_HERE = Path(__file__).parent
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class WeightsId:
    """Name of frozen weights.

    Attributes
    ----------
    id : str
        For people: family, model and version, ``mini-fp-preview1``.
    sha256 : str
        Of the safetensors file, in hexadecimal. This is what counts.
    """

    id: str
    sha256: str

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
        A family (``"mini"``), or id and digest as an array's metadata holds them.
    model : str
        ``fp``, ``elic``, ``tt`` or ``flextec``.

    Raises
    ------
    InvalidInput
        If there is no such family, or no such model in it.
    """
    if isinstance(weights, WeightsId):
        return weights
    if isinstance(weights, Mapping):
        return _from_json(weights)
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
    raise WeightsError(
        f"no weights whose SHA-256 begins with {start}",
        fix="install the version of tec-xarray that wrote the chunk, or read it through the "
        "array that it belongs to",
    )


def _from_json(weights: Mapping[str, Any]) -> WeightsId:
    name, digest = weights.get("id"), weights.get("sha256")
    if not isinstance(name, str) or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InvalidInput(
            f"weights={dict(weights)!r}",
            allowed="{'id': name, 'sha256': 64 hexadecimal digits}",
            fix="the metadata of the array is damaged, or written by hand",
        )
    return WeightsId(name, digest)


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
    directories = [Path(d) for d in os.environ.get("TEC_WEIGHTS_DIR", "").split(os.pathsep) if d]
    for directory in directories:
        path = directory / f"{weights.sha256}.safetensors"
        if path.is_file():
            return path
    looked = ", ".join(["the package", *map(str, directories)])
    raise WeightsError(
        f"no weights {weights.id!r} with SHA-256 {weights.sha256} (looked in {looked})",
        fix="install the version of tec-xarray that wrote the archive, or put the file "
        f"{weights.sha256}.safetensors into a directory named by TEC_WEIGHTS_DIR",
    )

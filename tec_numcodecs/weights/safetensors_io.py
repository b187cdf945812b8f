"""Reading and writing weights files: safetensors only, checked by SHA-256."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from tec_numcodecs.errors import WeightsError

# What comes out of the library for a file that it does not read: its own error; KeyError for a
# dtype that NumPy lacks (BF16); NumPy's and torch's errors for shapes of nothing, as (0, 2^63).
UNREADABLE = (safetensors.SafetensorError, KeyError, ValueError, TypeError, OverflowError)


def save(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Write arrays to a safetensors file.

    Returns
    -------
    str
        SHA-256 of the file, in hexadecimal.
    """
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    data = safetensors.numpy.save(ordered)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal, without holding the file in memory.

    Raises
    ------
    WeightsError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}", fix="check the path") from error


def load_unchecked(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read a safetensors file that nobody has named by a digest yet: for training only."""
    return load(path, hashlib.sha256(path.read_bytes()).hexdigest())


def load(path: Path, sha256: str) -> dict[str, NDArray[np.generic]]:
    """Read a safetensors file whose digest is known.

    Parameters
    ----------
    path : Path
    sha256 : str
        In hexadecimal; a file that hashes to something else is refused.

    Raises
    ------
    WeightsError
        If the file cannot be read, or is not the one that was asked for.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"weights file {path.name}: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"weights file {path.name} with SHA-256 {found}",
            allowed=sha256,
            fix="the file is damaged or another version: install the version that wrote the "
            "archive, or put the right file into TEC_WEIGHTS_DIR",
        )
    try:
        arrays = safetensors.numpy.load(data)
    except UNREADABLE as error:
        raise WeightsError(
            f"weights file {path.name}: {type(error).__name__}, {error}",
            allowed="a safetensors file of numbers that NumPy has",
        ) from error
    check_names(data, path.name)
    return arrays


def check_header(path: Path) -> None:
    """Do what `check_names` does, without reading more of a file than its header."""
    with path.open("rb") as file:
        start = file.read(8)
        check_names(start + file.read(int.from_bytes(start, "little")), path.name)


def check_names(data: bytes, name: str) -> None:
    """Refuse a safetensors file that has a tensor twice: libraries differ in which one they take.

    Parameters
    ----------
    data : bytes
        The file, which safetensors has accepted already.
    name : str
        What to call it.

    Raises
    ------
    WeightsError
    """
    (length,) = struct.unpack_from("<Q", data)

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise WeightsError(
                f"weights file {name}, in which a name stands twice",
                allowed="each tensor once",
                fix="never use such a file: it was made by hand, to mean one thing to one program "
                "and another to the next",
            )
        return dict(pairs)

    json.loads(data[8 : 8 + length], object_pairs_hook=unique)

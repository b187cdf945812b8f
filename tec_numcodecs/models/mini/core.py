"""The C core of the mini family: latents of a chunk to and from digital numbers, in one call each.

``_csrc/core/tec.h`` is its interface. This module hands tensors and arrays over and turns error
codes into exceptions; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import CorruptChunk, InvalidInput, WeightsError
from tec_numcodecs.native import native
from tec_numcodecs.sensors import Sensor

Int32Array = NDArray[np.int32]

_KINDS = {"fp": 1, "elic": 2, "tt": 3, "flextec": 4}
_TYPES = {"int8": 0, "int16": 1, "uint16": 2, "int32": 3, "int64": 4, "float32": 5}
_BAD_ARGUMENT, _BAD_WEIGHTS, _CORRUPT = 2, 3, 4
_ROTATE = 1
#: Bytes that say how the bands of one date are replicated.
REPLICATION_BYTES = 13 + 4 + 4


@dataclass(frozen=True)
class Encoded:
    """Section 2 of a chunk.

    Attributes
    ----------
    data : bytes
    symbols : int
        Checksum for the model header.
    """

    data: bytes
    symbols: int


class Core:
    """One model with its weights.

    Parameters
    ----------
    name : {"fp", "elic", "tt", "flextec"}
    arrays : mapping of str to array
        Contents of the weights file.

    Raises
    ------
    WeightsError
        If tensors are missing or have another shape.
    """

    def __init__(self, name: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        self._native = _require_native()
        # Buffers and names are borrowed by the core: they live as long as this object.
        self._tensors = [
            (key, np.ascontiguousarray(value), _TYPES[value.dtype.name], _last(value))
            for key, value in arrays.items()
            if value.dtype.name in _TYPES
        ]
        self.model = _checked(self._native.core_model(_KINDS[name], self._tensors))
        self._coders: dict[tuple[int, tuple[int, ...]], Coder] = {}

    def coder(self, sensor: Sensor, bands: Sequence[int]) -> Coder:
        """Return the coder of some of a sensor's bands, rising."""
        key = (sensor.id, tuple(bands))
        if key not in self._coders:
            self._coders[key] = Coder(self._native, self, sensor, key[1])
        return self._coders[key]


class Coder:
    """A model for some bands. Safe to use from several threads."""

    def __init__(self, c: Any, core: Core, sensor: Sensor, bands: tuple[int, ...]) -> None:
        self._native, self._core, self._bands = c, core, bands
        mean = np.array([round(sensor.mean[b]) for b in bands], np.int32)
        waves = np.array([round(sensor.wavelengths[b]) for b in bands], np.int32)
        self._name = f"codebook.{sensor.name}"
        self._coder = _checked(
            c.core_coder(core.model, self._name, len(sensor.bands), bytes(bands), mean, waves)
        )

    def decode(
        self,
        data: bytes,
        shape: tuple[int, int, int],
        rate: int,
        symbols: int,
        *,
        tokens: int = 16,
        wanted: Sequence[bool] | None = None,
        level: int = 0,
        stop: int = 0,
    ) -> tuple[Int32Array, NDArray[np.bool_]]:
        """Decode section 2 of a chunk.

        Parameters
        ----------
        data : bytes
        shape : (T, H, W)
        rate : int
            Rate index.
        symbols : int
            Checksum in the model header.
        tokens : int
            Of flextec, as many as there are.
        wanted : sequence of bool (T,), optional
            Dates to decode; those left out are zeros.
        level : int
            0 to 5: overview at 1 / 2^level.
        stop : int
            Of flextec: use no more tokens; 0 for all.

        Returns
        -------
        dn : int32 array (T, C, ceil(H / 2^level), ceil(W / 2^level))
        has_data : bool array (T,)

        Raises
        ------
        CorruptChunk
            If no encoder wrote that.
        """
        t, h, w = shape
        size = (-(-h >> level), -(-w >> level))
        out = np.zeros((t, len(self._bands), *size), np.int32)
        dates = None if wanted is None else bytes(map(bool, wanted))
        found = _checked(
            self._native.core_decode(
                self._coder, shape, rate, tokens, data, symbols, dates, level, stop, out
            )
        )
        return out, np.frombuffer(found, np.uint8).astype(bool)

    def encode(
        self,
        samples: Int32Array,
        rate: int,
        *,
        tokens: int = 16,
        has_data: Sequence[bool] | None = None,
        replication: bytes | None = None,
        rotate: bool = True,
        decoded: Int32Array | None = None,
    ) -> Encoded:
        """Encode digital numbers.

        Parameters
        ----------
        samples : int32 array (T, C, H, W)
            Masked pixels filled.
        rate : int
        tokens : int
            Of flextec, as many as are to be written.
        has_data : sequence of bool (T,), optional
        replication : bytes, optional
            ``REPLICATION_BYTES`` for each date, see `replication_of`.
        rotate : bool
            Whether spectra may be refined by rotations.
        decoded : int32 array (T, C, H, W), optional
            Gets what decoding will give.
        """
        t, _, h, w = samples.shape
        dates = None if has_data is None else bytes(map(bool, has_data))
        data, symbols = _checked(
            self._native.core_encode(
                self._coder, (t, h, w), rate, tokens, np.ascontiguousarray(samples, np.int32),
                dates, replication, _ROTATE if rotate else 0, decoded,
            )
        )  # fmt: skip
        return Encoded(data, symbols)


def replication_of(samples: Int32Array, invalid: NDArray[np.bool_] | None = None) -> bytes:
    """Find exact replication of bands in each date.

    Parameters
    ----------
    samples : int32 array (T, C, H, W)
    invalid : bool array (T, C, H, W), optional
        Masked pixels, which count as equal to everything.
    """
    c = _require_native()
    found = []
    for t, date in enumerate(samples):
        masked = None if invalid is None else np.ascontiguousarray(invalid[t]).view(np.uint8)
        if masked is not None and not masked.any():
            masked = None
        values = np.ascontiguousarray(date, np.int32)
        found.append(c.core_replication(values, masked, date.shape))
    return b"".join(found)


def _last(value: NDArray[np.generic]) -> int:
    return value.shape[-1] if value.ndim else 1


def _require_native() -> Any:
    c = native()
    if c is None:
        raise InvalidInput(
            "no C extension",
            allowed="reading, by the reference reader",
            fix="install a C compiler and the Python headers, then reinstall tec-xarray",
        )
    return c


def _checked(found: Any) -> Any:
    """Pass a result on; raise an error of the core."""
    if not (isinstance(found, tuple) and len(found) == 6):
        return found
    status, what, allowed, number, date, level = found
    where = f" (date {date})" if date >= 0 else ""
    where += f" (level {level})" if level >= 0 else ""
    text = f"{what}: {number}{where}" if number else f"{what}{where}"
    if status == _BAD_WEIGHTS:
        raise WeightsError(text, fix="fetch the weights again")
    if status == _CORRUPT:
        raise CorruptChunk(text, allowed=allowed)
    raise InvalidInput(text, allowed=allowed)

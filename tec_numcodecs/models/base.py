"""What a model is: the contract between the container and every codec of the family.

A model turns cubes of digital numbers into integers and back, and integers into bytes and back::

    cubes --analysis--> latents --entropy_encode--> payloads
    cubes <--synthesis-- latents <--entropy_decode-- payloads

Only ``analysis`` may take decisions (quantization, rate-distortion optimization) and may use
floating point freely: its result is written down as integers. ``entropy_encode`` and
``entropy_decode`` must give the same integers on every machine. ``synthesis`` says in
`Model.synthesis_kind` whether its pixels do too.

All four take lists: a torch model runs a batch through one forward pass, a NumPy model loops.
Masked pixels, data types, scale and offset, checksums and the byte layout are not a model's
concern; `tec_numcodecs.chunk.decoding` deals with them.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import UnsupportedFormat
from tec_numcodecs.sensors import Sensor

SynthesisKind = Literal["exact", "float"]
Cube = NDArray[np.int32]  # (T, C, H, W) digital numbers


@dataclass(frozen=True)
class Geometry:
    """Shape of a chunk and the bands in it.

    Attributes
    ----------
    shape : (T, C, H, W)
        Dates, bands, rows, columns; each at least 1.
    sensor : Sensor
    bands : tuple of int
        Indices of the bands in ``sensor.bands``, strictly increasing.
    """

    shape: tuple[int, int, int, int]
    sensor: Sensor
    bands: tuple[int, ...]


@dataclass(frozen=True)
class Rate:
    """How coarsely a chunk is coded.

    Attributes
    ----------
    index : int
        Rate index, a sixteenth of an octave of the quantizer step each (variable-rate models),
        or the number of the checkpoint (models with one network per rate). 0 to 65535.
    quality : int
        Tokens stored, 1 to 16; 0 for models that do not know the notion.
    """

    index: int
    quality: int = 0


@dataclass(frozen=True)
class Latents:
    """Quantized latents of one chunk.

    Attributes
    ----------
    geometry : Geometry
    rate : Rate
    symbols : int32 array (n,)
        Every integer that the stream carries, in coding order. The stream holds the CRC-32C of
        its little-endian bytes, so ``entropy_decode`` must return exactly this array.
    state : Mapping
        Whatever the model needs besides for its synthesis, derived from ``symbols``.
    """

    geometry: Geometry
    rate: Rate
    symbols: NDArray[np.int32]
    state: Mapping[str, Any] = field(default_factory=dict)


class Model(abc.ABC):
    """A learned codec with loaded weights. Stateless between calls, safe to share by threads."""

    #: ``fp``, ``elic``, ``tt`` or ``flextec``.
    name: str
    #: Whether ``synthesis`` gives the same pixels on every machine.
    synthesis_kind: SynthesisKind

    @abc.abstractmethod
    def analysis(
        self, cubes: Sequence[Cube], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Transform and quantize cubes.

        Parameters
        ----------
        cubes : sequence of int32 arrays (T, C, H, W)
            Digital numbers, every pixel valid, bands in the order of the geometry.
        geometries, rates : sequences of the same length

        Returns
        -------
        list of Latents
        """

    @abc.abstractmethod
    def entropy_encode(self, latents: Sequence[Latents]) -> list[bytes]:
        """Code latents without loss; one payload for each."""

    @abc.abstractmethod
    def entropy_decode(
        self, payloads: Sequence[bytes], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Undo `entropy_encode`.

        Raises
        ------
        CorruptChunk
            If a payload is damaged, in time and memory bounded by its geometry.
        """

    @abc.abstractmethod
    def synthesis(self, latents: Sequence[Latents]) -> list[NDArray[Any]]:
        """Reconstruct cubes: int32 (exact) or float64 (float) arrays (T, C, H, W) in DN."""

    def running(self) -> AbstractContextManager[None]:
        """What calls of the model are made inside: its share of the machine."""
        return nullcontext()

    def exact(self) -> Model:
        """Return this model with pixels that are the same on every machine.

        Raises
        ------
        UnsupportedFormat
            It has none.
        """
        if self.synthesis_kind != "exact":
            raise UnsupportedFormat(
                f"model {self.name!r} without an exact synthesis", allowed="floating-point pixels"
            )
        return self

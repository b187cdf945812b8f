"""The bundled models on standardized tensors, as modules.

Streams are whole chunks, as in an archive: `tec_numcodecs.TecCodec` decodes them, to digital
numbers. Wavelets, tables and integer networks run on the CPU, wherever the tensors are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tec_numcodecs import chunk
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import CorruptChunk, InvalidInput

Payload = dict[str, Any]
_KEYS = ("strings", "shape", "weights")


class _MiniCodec(nn.Module):
    """What images and sequences share.

    In ``train()`` mode gradients pass through the codec as if it changed nothing (a
    straight-through estimator), so that networks before and after it can be trained. It has no
    parameters of its own.

    Parameters
    ----------
    model : {"fp", "elic", "tt", "flextec"}
    lam : float
        The weight of the distortion.
    sensor : str

    Raises
    ------
    InvalidInput
        No such model, rate or sensor.
    """

    axes: tuple[str, ...]
    mean: Tensor
    std: Tensor

    def __init__(self, model: str, lam: float, *, sensor: str = "sentinel-2-l2a") -> None:
        super().__init__()
        self._settings: dict[str, Any] = {"lam": lam, "sensor": sensor, "nodata": None}
        self.model, self.lam = model, lam
        self._config = CodecConfig.parse(model, **self._settings)
        self._sensor = self._config.sensor
        for name in ("mean", "std"):
            values = torch.tensor(getattr(self._sensor, name), dtype=torch.float64, device="cpu")
            self.register_buffer(name, values, persistent=False)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands, in the order of the channel axis."""
        return self._sensor.bands

    def extra_repr(self) -> str:
        return f"{self.model}, lam={self.lam:g}, {self._sensor.name}"

    def compress(self, x: Tensor, quality: int | None = None) -> Payload:
        """Encode a standardized tensor.

        Parameters
        ----------
        x : Tensor
            Float, [B, C, H, W] for images, [B, T, C, H, W] for sequences; any H and W.
        quality : int, optional
            Tokens stored, 1 to 16 (flextec only; 16 by default).

        Returns
        -------
        dict
            ``strings``: a chunk for each item of the batch. ``bits``: their size, all together.
            ``shape`` and ``weights`` are checked by `decompress`.

        Raises
        ------
        InvalidInput
            The tensor is not of that shape, or holds what is not finite.
        """
        strings = self._encoded(x, quality)
        return {
            "strings": strings,
            "bits": 8 * sum(map(len, strings)),
            "shape": list(x.shape),
            "weights": self._config.weights.sha256,
        }

    def decompress(self, payload: Mapping[str, Any] | None = None, /, **parts: Any) -> Tensor:
        """Decode what `compress` returned, passed as it is or as keywords.

        Returns
        -------
        Tensor
            float32, of the shape that was encoded.

        Raises
        ------
        CorruptChunk
            It is damaged, or was encoded with other weights.
        """
        parts = {**(payload or {}), **parts}
        missing = [key for key in _KEYS if key not in parts]
        if missing:
            raise InvalidInput(f"a payload without {', '.join(missing)}")
        if parts["weights"] != self._config.weights.sha256:
            raise CorruptChunk(
                f"a payload of weights {parts['weights']}", allowed=self._config.weights.sha256
            )
        sizes = self._sizes(parts["shape"])
        if len(parts["strings"]) != sizes[0]:
            raise CorruptChunk(f"{len(parts['strings'])} strings", allowed=f"{sizes[0]}")
        return self._decoded(parts["strings"], sizes).reshape(tuple(parts["shape"]))

    def _reconstructed(self, x: Tensor, quality: int | None) -> tuple[Tensor, list[float]]:
        """Return what a decoder gives, and the bits of each item of the batch."""
        strings = self._encoded(x, quality)
        found = self._decoded(strings, self._sizes(x.shape)).reshape(x.shape).to(x.device)
        if self.training and torch.is_grad_enabled() and x.requires_grad:
            found = x + (found - x).detach()
        return found, [8.0 * len(data) for data in strings]

    def _sizes(self, shape: Sequence[int]) -> tuple[int, int, int, int, int]:
        """Check a shape; return (B, T, C, H, W), T being 1 for images."""
        count = len(self.bands)
        sizes = dict(zip(self.axes, shape, strict=False))
        if len(shape) != len(self.axes) or sizes["C"] != count or min(shape) < 1:
            wanted = ", ".join(str(count) if axis == "C" else axis for axis in self.axes)
            raise InvalidInput(
                f"a tensor of shape {tuple(shape)}",
                allowed=f"[{wanted}], every axis at least 1 long",
            )
        return sizes["B"], sizes.get("T", 1), count, sizes["H"], sizes["W"]

    def _encoded(self, x: Tensor, quality: int | None) -> list[bytes]:
        config = self._config
        if quality is not None:
            config = CodecConfig.parse(self.model, **self._settings, quality=quality)
        sizes = self._sizes(x.shape)
        if not x.is_floating_point() or not bool(torch.isfinite(x).all()):
            raise InvalidInput(
                f"a tensor of {x.dtype} with NaN or infinite values"
                if x.is_floating_point() else f"a tensor of {x.dtype}",
                allowed="finite floating-point numbers",
                fix="standardize it, and fill what is not there",
            )  # fmt: skip
        numbers = x.detach().reshape(sizes).to("cpu", torch.float64)
        numbers = numbers * self._per_band(self.std) + self._per_band(self.mean)
        return chunk.encode(list(numbers.to(torch.float32).numpy()), config)

    def _decoded(self, strings: Sequence[bytes], sizes: tuple[int, int, int, int, int]) -> Tensor:
        found = np.stack(chunk.decode(list(strings), self._reading(), sizes[1:]))
        numbers = torch.from_numpy(found.astype(np.float64))
        return ((numbers - self._per_band(self.mean)) / self._per_band(self.std)).to(torch.float32)

    def _reading(self) -> CodecConfig:
        return self._config

    @staticmethod
    def _per_band(values: Tensor) -> Tensor:
        return values.to("cpu", torch.float64)[:, None, None]


class MiniImageCodec(_MiniCodec):
    """A bundled model on images [B, C, H, W].

    Parameters
    ----------
    model : {"fp", "elic"}
    lam : float
        The weight of the distortion.
    sensor : str

    Raises
    ------
    InvalidInput
        No such model, rate or sensor.
    """

    axes = ("B", "C", "H", "W")

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct: [B, C, H, W] to the same shape."""
        return self._reconstructed(x, None)[0]


class MiniSequenceCodec(_MiniCodec):
    """A bundled model on sequences [B, T, C, H, W].

    Parameters
    ----------
    model : {"tt", "flextec"}
    lam : float
        The weight of the distortion.
    sensor : str

    Raises
    ------
    InvalidInput
        No such model, rate or sensor.
    """

    axes = ("B", "T", "C", "H", "W")

    def forward(self, x: Tensor, quality: int | None = None) -> tuple[Tensor, list[float]]:
        """Reconstruct [B, T, C, H, W]; with the bits of each item of the batch.

        The dates of an item share a stream, so that there are no bits of a date.
        """
        return self._reconstructed(x, quality)

"""The published architectures on standardized tensors, for people who come from TerraCodec.

The codec of an archive takes digital numbers; networks are used to tensors with zero mean and unit
deviation. `ImageCodec` and `SequenceCodec` take those and give those back, with the same streams
and the same exact arithmetic as the archive.

In ``train()`` mode ``forward`` has gradients: rounding passes them on as they are (a
straight-through estimator), and the transforms learn. The entropy networks are integers and learn
nothing here.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_numcodecs.models.base import Geometry, Latents, Rate
from tec_numcodecs.models.terracodec import coders, layers
from tec_numcodecs.models.terracodec.devices import of_tensor, running_on
from tec_numcodecs.models.terracodec.exact_synthesis import Published
from tec_numcodecs.models.terracodec.standardize import Standardizer
from tec_numcodecs.weights.local_store import WeightsId

Payload = dict[str, Any]


class _Standardized(Standardizer):
    """Stands in for the standardizer where cubes are standardized already."""

    def forward(self, cube: NDArray[Any], geometry: Geometry) -> Tensor:
        self.check(geometry)
        return torch.from_numpy(np.ascontiguousarray(cube, np.float32))

    def inverse(self, normal: Tensor, geometry: Geometry) -> NDArray[Any]:
        height, width = geometry.shape[2:]
        return normal[:, :, :height, :width].numpy()


class _TensorCodec(nn.Module):
    """What both kinds share.

    The transforms are submodules, copied from the model, and go where the module is moved to. The
    entropy networks are shared with the model.

    Parameters
    ----------
    model : Published
        A published architecture with its weights.
    weights : WeightsId
    lam : float or None
        What it was trained with.
    """

    axes: tuple[str, ...]  # of inputs and outputs

    def __init__(self, model: Published, weights: WeightsId, lam: float | None) -> None:
        super().__init__()
        own = copy.copy(model)
        own.standardizer = _Standardized(model.standardizer.sensor)
        self.analysis_transform = own.g_a = copy.deepcopy(model.g_a).requires_grad_(True)
        self.synthesis_transform = own.g_s = copy.deepcopy(model.g_s).requires_grad_(True)
        self._model = own
        self._sensor = model.standardizer.sensor
        self.weights, self.lam = weights, lam

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands, in the order of the channel axis."""
        return self._sensor.bands

    def extra_repr(self) -> str:
        return f"{self._model.name}, weights={self.weights.id!r}"

    def _sizes(self, shape: Sequence[int]) -> tuple[int, int, int, int, int]:
        """Check a shape; return (B, T, C, H, W), T being 1 for images."""
        bands = len(self._sensor.bands)
        sizes = dict(zip(self.axes, shape, strict=False))
        if len(shape) != len(self.axes) or sizes["C"] != bands or min(shape) < 1:
            wanted = ", ".join(str(bands) if axis == "C" else axis for axis in self.axes)
            raise InvalidInput(
                f"a tensor of shape {tuple(shape)}",
                allowed=f"[{wanted}], every axis at least 1 long",
            )
        return sizes["B"], sizes.get("T", 1), bands, sizes["H"], sizes["W"]

    def _joined(self, cubes: list[Tensor]) -> Tensor:
        """Put reconstructions (T, C, H, W) of a batch together."""
        raise NotImplementedError

    def _latents(self, x: Tensor, quality: int | None) -> list[Latents]:
        sizes = self._sizes(x.shape)
        if not bool(torch.isfinite(x).all()):
            raise InvalidInput(
                "a tensor with NaN or infinite values",
                allowed="finite numbers",
                fix="fill what is not there; the codec of an archive does it for you",
            )
        numbers = x.detach().reshape(sizes).to("cpu", torch.float32)
        cubes = list(numbers.numpy())  # of (T, C, H, W)
        count, geometry = len(cubes), self._geometry(sizes)
        return self._model.analysis(cubes, [geometry] * count, [self._rate(quality)] * count)

    def _geometry(self, sizes: tuple[int, int, int, int, int]) -> Geometry:
        return Geometry(sizes[1:], self._sensor, tuple(range(sizes[2])))

    def _rate(self, quality: int | None) -> Rate:
        if self._model.name != "flextec":
            if quality is not None:
                raise InvalidInput(
                    f"quality={quality!r} with {self._model.name!r}",
                    allowed="no quality",
                    fix="use flextec_v1_s2l2a",
                )
            return Rate(0)
        if quality is None:
            return Rate(0, 16)
        if isinstance(quality, bool) or not isinstance(quality, int):
            raise InvalidInput(
                f"quality={quality!r}", allowed="one whole number from 1 to 16 for the sequence"
            )
        return Rate(0, quality)

    def _running(self) -> AbstractContextManager[None]:
        """Where calls run: on the module's device, or where the options say if that is the CPU."""
        return running_on(of_tensor(next(self.parameters())))

    def _differentiable(self, x: Tensor, latents: list[Latents]) -> Tensor:
        """Reconstruct with gradients; `latents` are those of `x`."""
        sizes = self._sizes(x.shape)
        frames = x.reshape(-1, *sizes[2:]).to(torch.float32)
        y = self.analysis_transform(layers.pad_to_multiple(frames, self._model.multiple))
        with torch.no_grad():
            decoded = torch.cat([self._model.decoded(item) for item in latents])
        y = y + (decoded.to(y) - y).detach()
        out: Tensor = self.synthesis_transform(y)[..., : sizes[3], : sizes[4]]
        return out.reshape(x.shape)

    def _pixels(self, latents: list[Latents], x: Tensor | None = None) -> Tensor:
        found = [torch.from_numpy(np.array(cube)) for cube in self._model.synthesis(latents)]
        joined = self._joined(found)
        return joined if x is None else joined.to(x.device)

    @torch.no_grad()
    def compress(self, x: Tensor, quality: int | None = None) -> Payload:
        """Encode a standardized tensor.

        Parameters
        ----------
        x : Tensor
            Float, [B, C, H, W] for image codecs, [B, T, C, H, W] for sequences; any H and W.
        quality : int, optional
            Tokens stored, 1 to 16 (FlexTEC only, 16 by default).

        Returns
        -------
        dict
            ``strings``: a byte string for each item of the batch. ``bits``: their size, all
            together. ``frame_bits``: what each frame costs under the entropy model, summed over
            the batch (float; the coder adds a few bytes an item). ``shape``, ``quality``,
            ``weights`` and ``checks`` (a CRC of the symbols of each item) are what decoding
            needs.

        Raises
        ------
        InvalidInput
            The tensor is not of that shape, or holds what is not finite.
        """
        with self._running():
            latents = self._latents(x, quality)
            strings = self._model.entropy_encode(latents)
        return {
            "strings": strings,
            "bits": 8 * sum(map(len, strings)),
            "frame_bits": self._frame_bits(latents),
            "shape": list(x.shape),
            "quality": latents[0].rate.quality or None,
            "weights": self.weights.sha256,
            "checks": [_check(item) for item in latents],
        }

    @torch.no_grad()
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
        missing = {"strings", "shape", "quality", "weights", "checks"} - parts.keys()
        if missing:
            raise InvalidInput(f"a payload without {', '.join(sorted(missing))}")
        if parts["weights"] != self.weights.sha256:
            raise CorruptChunk(
                f"a payload of weights {parts['weights']}", allowed=f"{self.weights.sha256}"
            )
        sizes = self._sizes(parts["shape"])
        count = sizes[0]
        if not count == len(parts["strings"]) == len(parts["checks"]):
            raise CorruptChunk(f"{len(parts['strings'])} strings", allowed=f"{count}")
        geometries = [self._geometry(sizes)] * count
        rates = [self._rate(parts["quality"])] * count
        with self._running():
            latents = self._model.entropy_decode(parts["strings"], geometries, rates)
        for item, check in zip(latents, parts["checks"], strict=True):
            if _check(item) != check:
                raise CorruptChunk(
                    f"checksum {_check(item):08x} over the decoded symbols",
                    allowed=f"{check:08x}, as stored",
                )
        with self._running():
            return self._pixels(latents)

    def _frame_bits(self, latents: list[Latents]) -> list[float]:
        """Bits of each frame by the tables, summed over the batch."""
        frames = latents[0].geometry.shape[0]
        total = np.zeros(frames)
        for item in latents:
            parts = self._stages(item)
            costs = [part.tables.cross_entropy_bits(part.symbols, part.rows) for part in parts]
            total += np.reshape(costs, (frames, -1)).sum(axis=1)
        return [float(bits) for bits in total]

    def _stages(self, item: Latents) -> list[coders.Stage]:
        raise NotImplementedError


class ImageCodec(_TensorCodec):
    """TEC-FP or TEC-ELIC on images [B, C, H, W]."""

    axes = ("B", "C", "H", "W")

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct: [B, C, H, W] to the same shape, through quantized latents."""
        trains = torch.is_grad_enabled()
        with self._running():
            with torch.no_grad():
                latents = self._latents(x, None)
                if not (self.training and trains):
                    return self._pixels(latents, x)
            return self._differentiable(x, latents)

    def _joined(self, cubes: list[Tensor]) -> Tensor:
        return torch.cat(cubes)

    def _stages(self, item: Latents) -> list[coders.Stage]:
        found: list[coders.Stage] | None = item.state.get("stages")
        if found is not None:
            return found
        channels = self._model.channels
        rows = np.repeat(np.arange(channels, dtype=np.int32), len(item.symbols) // channels)
        return [coders.Stage(item.symbols, rows, self._model.tables)]  # type: ignore[attr-defined]


class SequenceCodec(_TensorCodec):
    """TEC-TT or FlexTEC on sequences [B, T, C, H, W], any T."""

    axes = ("B", "T", "C", "H", "W")

    def forward(self, x: Tensor, quality: int | None = None) -> tuple[Tensor, list[float]]:
        """Reconstruct what a decoder would; with the bits of each frame.

        Parameters
        ----------
        x : Tensor
            [B, T, C, H, W].
        quality : int, optional
            Tokens stored, 1 to 16 (FlexTEC only). Others are forecast, as a decoder forecasts
            them; TerraCodec's `forward` puts training's mask tokens there instead.

        Returns
        -------
        tuple
            The reconstruction, and for each frame the bits under the entropy model, summed over
            the batch.
        """
        trains = torch.is_grad_enabled()
        with self._running():
            with torch.no_grad():
                latents = self._latents(x, quality)
                self._model.entropy_encode(latents)  # leaves the walk in the latents, for below
                bits = self._frame_bits(latents)
                if not (self.training and trains):
                    return self._pixels(latents, x), bits
            return self._differentiable(x, latents), bits

    def _joined(self, cubes: list[Tensor]) -> Tensor:
        return torch.stack(cubes)

    def _stages(self, item: Latents) -> list[coders.Stage]:
        found: list[coders.Stage] = item.state["pass"].stages
        return found


def _check(item: Latents) -> int:
    return zlib.crc32(np.ascontiguousarray(item.symbols, np.dtype("<i4")).data)

"""TEC-FP: convolutions with GDN and a factorized prior, frame by frame.

Balle et al., "Variational image compression with a scale hyperprior", 2018 (its baseline model),
with the sizes N and M of the published checkpoints read off the file. Its tables need no network,
so its streams are portable by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tec_numcodecs.entropy import rans
from tec_numcodecs.models.base import Cube, Geometry, Latents, Rate
from tec_numcodecs.models.terracodec import checkpoint, coders, freezing, layers
from tec_numcodecs.models.terracodec.exact_synthesis import Published
from tec_numcodecs.models.terracodec.standardize import Standardizer, to_symbols

STRIDE = 16
PRIOR = "entropy_bottleneck"


def analysis_transform(bands: int, n: int, m: int) -> nn.Sequential:
    """Return g_a: [B, bands, H, W] to [B, m, H / 16, W / 16]."""
    return nn.Sequential(
        layers.conv(bands, n), layers.GDN(n),
        layers.conv(n, n), layers.GDN(n),
        layers.conv(n, n), layers.GDN(n),
        layers.conv(n, m),
    )  # fmt: skip


def synthesis_transform(bands: int, n: int, m: int) -> nn.Sequential:
    """Return g_s, the mirror of g_a."""
    return nn.Sequential(
        layers.deconv(m, n), layers.GDN(n, inverse=True),
        layers.deconv(n, n), layers.GDN(n, inverse=True),
        layers.deconv(n, n), layers.GDN(n, inverse=True),
        layers.deconv(n, bands),
    )  # fmt: skip


def sizes(state: checkpoint.State) -> tuple[int, int, int]:
    """Read (bands, N, M) off a state dict."""
    first = checkpoint.require(state, "g_a.0.weight", 4)
    return first.shape[1], first.shape[0], checkpoint.require(state, "g_a.6.weight", 4).shape[0]


def layout(state: checkpoint.State) -> checkpoint.Layout:
    """Return the tensors of a checkpoint of the size of `state`."""
    bands, n, m = sizes(state)
    with torch.device("meta"):
        out = checkpoint.module_layout(analysis_transform(bands, n, m), "g_a")
        out |= checkpoint.module_layout(synthesis_transform(bands, n, m), "g_s")
    return out | checkpoint.factorized_layout(PRIOR, m)


def freeze(state: checkpoint.State) -> freezing.Store:
    """Freeze a checked state dict."""
    store: freezing.Store = {}
    freezing.put_floats(store, state, {"g_a": "g_a", "g_s": "g_s"})
    freezing.put_prior(store, state, PRIOR, PRIOR)
    return store


class FactorizedPrior(Published):
    """TEC-FP with loaded weights.

    Parameters
    ----------
    tensors : Mapping
        A frozen checkpoint, see `freeze`.
    """

    name = "fp"
    multiple = STRIDE

    def __init__(self, tensors: freezing.Tensors) -> None:
        bands, n, m = sizes(tensors)
        self.channels = m
        self.g_a = freezing.load_module(analysis_transform(bands, n, m), tensors, "g_a")
        self.g_s = freezing.load_module(synthesis_transform(bands, n, m), tensors, "g_s")
        self.tables = freezing.get_tables(tensors, PRIOR)
        self.median = freezing.get_double(tensors, f"{PRIOR}.median")[:, None, None]
        self.standardizer = Standardizer.for_channels(bands)

    def analysis(
        self, cubes: Sequence[Cube], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Transform frame by frame; symbols in the order T, M, h, w."""
        out = []
        for cube, geometry, rate in zip(cubes, geometries, rates, strict=True):
            x = self.standardizer.forward(cube, geometry)
            y = layers.run_frames(self.g_a, layers.pad_to_multiple(x, STRIDE))
            symbols = to_symbols(y.to(torch.float64) - self.median)
            out.append(Latents(geometry, rate, symbols.to(torch.int32).numpy().reshape(-1)))
        return out

    def entropy_encode(self, latents: Sequence[Latents]) -> list[bytes]:
        """Code each symbol with its channel's row."""
        return [
            rans.encode(item.symbols, self._rows(item.geometry), self.tables) for item in latents
        ]

    def entropy_decode(
        self, payloads: Sequence[bytes], geometries: Sequence[Geometry], rates: Sequence[Rate]
    ) -> list[Latents]:
        """Decode; the number of symbols follows from the geometry alone."""
        out = []
        for payload, geometry, rate in zip(payloads, geometries, rates, strict=True):
            self.standardizer.check(geometry)
            symbols = rans.decode(payload, self._rows(geometry), self.tables)
            coders.check_symbols(symbols)
            out.append(Latents(geometry, rate, symbols))
        return out

    def synthesis(self, latents: Sequence[Latents]) -> list[NDArray[Any]]:
        """Reconstruct digital numbers."""
        return [self._pixels(self.decoded(item), item.geometry) for item in latents]

    def decoded(self, item: Latents) -> Tensor:
        """Add the medians: float64 [T, M, h, w]."""
        return self.dequantized(torch.from_numpy(item.symbols).reshape(self._shape(item.geometry)))

    def dequantized(self, symbols: Tensor) -> Tensor:
        """Add the medians: int32 [T, M, h, w] to float64."""
        return symbols.to(torch.float64) + self.median

    def _shape(self, geometry: Geometry) -> tuple[int, int, int, int]:
        frames, _, height, width = geometry.shape
        return frames, self.channels, -(-height // STRIDE), -(-width // STRIDE)

    def _rows(self, geometry: Geometry) -> NDArray[np.int32]:
        frames, channels, height, width = self._shape(geometry)
        row = np.repeat(np.arange(channels, dtype=np.int32), height * width)
        return np.tile(row, frames)

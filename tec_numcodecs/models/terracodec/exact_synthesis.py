"""The synthesis transforms once more, from integer operations alone: pixels without a margin.

The floating-point synthesis may differ by 1 DN between machines. Error bounds, lossless residuals
and checksums of pixels need one that does not. `exact_twin` turns a transform of
`tec_numcodecs.models.terracodec.layers` into the same layers in exact arithmetic: its weights are
frozen to 14-bit integers on loading, a pure function of the published numbers, so that a frozen
checkpoint need not hold them twice.

All twins map float64 [B, C, H, W], channels-last in memory, and keep their inputs.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import singledispatch
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.models.base import Geometry, Latents, Model, SynthesisKind
from tec_numcodecs.models.terracodec import layers
from tec_numcodecs.models.terracodec.devices import chosen_device, chosen_name, limited_threads
from tec_numcodecs.models.terracodec.exact import backends
from tec_numcodecs.models.terracodec.exact import layers as exact
from tec_numcodecs.models.terracodec.standardize import Standardizer

Transform = Callable[[Tensor], Tensor]


class Published(Model):
    """What the published architectures share: a synthesis in floating point, or an exact one."""

    synthesis_kind: SynthesisKind = "float"
    multiple: int  # rows and columns of pixels are filled up to one of it
    channels: int  # of the latents
    standardizer: Standardizer
    g_a: nn.Module
    g_s: nn.Module
    _exact: Transform

    @abc.abstractmethod
    def decoded(self, item: Latents) -> Tensor:
        """Return what the synthesis sees of some latents, float [T, M, h, w]."""

    @contextmanager
    def computing(self) -> Iterator[backends.Backend]:
        """Exact arithmetic where the options say."""
        name = chosen_name()
        device = chosen_device()
        backend = backends.CPU if name == "cpu" else backends.through_torch(name, device)
        with torch.inference_mode(), backends.running(backend):
            yield backend

    def running(self) -> AbstractContextManager[None]:
        """Threads of torch, as the options say."""
        return limited_threads()

    def exact(self) -> Self:
        """Return this model with exact pixels; all weights are shared."""
        if self.synthesis_kind == "exact":
            return self
        twin = copy.copy(self)
        twin.synthesis_kind = "exact"
        twin._exact = exact_twin(self.g_s)  # noqa: SLF001 (its own class)
        return twin

    def _pixels(self, y: Tensor, geometry: Geometry) -> NDArray[Any]:
        """Turn latents, float64 [T, M, h, w], into digital numbers [T, C, H, W]."""
        if self.synthesis_kind == "exact":
            return self.standardizer.inverse_exact(run_exact(self._exact, y), geometry)
        x = layers.run_frames(self.g_s, y.to(torch.float32))
        return self.standardizer.inverse(x, geometry)


def alike(keys: Sequence[Hashable]) -> list[list[int]]:
    """Return the positions of equal keys together."""
    groups: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    return list(groups.values())


@singledispatch
def exact_twin(layer: nn.Module) -> Transform:
    """Return the exact form of a floating-point layer or transform.

    Raises
    ------
    WeightsError
        There is none for this kind of layer.
    """
    raise WeightsError(f"a layer of type {type(layer).__name__} without an exact form")


def run_exact(transform: Transform, frames: Tensor) -> Tensor:
    """Run a twin on [T, C, H, W] frame by frame, so that memory stays flat in T."""
    with torch.inference_mode():
        doubles = (frame[None].to(torch.float64) for frame in frames)
        return torch.cat([transform(frame) for frame in doubles])


@exact_twin.register
def _(layer: nn.Sequential) -> Transform:
    parts = [exact_twin(part) for part in layer]

    def run(x: Tensor) -> Tensor:
        for part in parts:
            x = part(x)
        return x

    return run


@exact_twin.register
def _(layer: nn.Conv2d) -> Transform:
    if layer.stride != (1, 1):
        raise WeightsError(f"a convolution of stride {layer.stride} without an exact form")
    return exact.Conv.frozen(layer.weight, _bias(layer))


@exact_twin.register
def _(layer: nn.ConvTranspose2d) -> Transform:
    return exact.ConvTranspose.frozen(layer.weight, _bias(layer))


@exact_twin.register
def _(layer: nn.ReLU) -> Transform:
    del layer
    return exact.relu


@exact_twin.register
def _(layer: nn.LeakyReLU) -> Transform:
    del layer
    return exact.leaky_relu


@exact_twin.register
def _(layer: layers.GDN) -> Transform:
    """Only the inverse occurs in a synthesis: x * sqrt(beta + gamma x^2)."""
    if not layer.inverse:
        raise WeightsError("a divisive normalization without an exact form")
    beta = layer.beta_reparam(layer.beta.to(torch.float64))
    gamma = layer.gamma_reparam(layer.gamma.to(torch.float64))
    norm = exact.Conv.frozen(gamma[:, :, None, None], beta)
    return lambda x: x * exact.sqrt(norm(x * x))


@exact_twin.register
def _(layer: layers.ResidualUnit) -> Transform:
    inner = exact_twin(layer.conv)
    return lambda x: exact.relu(inner(x) + x)


@exact_twin.register
def _(layer: layers.ResidualBottleneck) -> Transform:
    first, second, third = map(exact_twin, (layer.conv1, layer.conv2, layer.conv3))
    return lambda x: third(exact.relu(second(exact.relu(first(x))))) + x


@exact_twin.register
def _(layer: layers.Attention) -> Transform:
    features, mask = exact_twin(layer.conv_a), exact_twin(layer.conv_b)
    return lambda x: features(x) * exact.sigmoid(mask(x)) + x


@exact_twin.register
def _(layer: layers.DequantizerBlock) -> Transform:
    first, second = exact_twin(layer.conv1), exact_twin(layer.conv2)
    act = exact.leaky_relu
    return lambda x: x + act(second(act(first(x))))


@exact_twin.register
def _(layer: layers.Dequantizer) -> Transform:
    return exact_twin(layer.process_conv)


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    if layer.bias is None:
        raise WeightsError("a convolution without a bias", allowed="published checkpoints")
    return layer.bias

"""Small seeded checkpoints with the published tensor names, for tests that need no download."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from tec_numcodecs.models.base import Geometry
from tec_numcodecs.models.terracodec import checkpoint, elic, flextec, fp, tt
from tec_numcodecs.sensors import get_sensor

State = dict[str, torch.Tensor]
Shapes = Mapping[str, tuple[int, ...]]


class Hashed:
    """Numbers of about unit deviation that follow from a name for ever, by SHAKE-256."""

    def __init__(self, name: str) -> None:
        self._name, self._drawn = name, 0

    def standard_normal(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Flat, not normal: whole numbers times 2**-7."""
        self._drawn += 1
        data = hashlib.shake_256(f"{self._name}/{self._drawn}".encode()).digest(math.prod(shape))
        return (2.0 * np.frombuffer(data, np.uint8).reshape(shape) - 255.0) / 128.0


def filled(layout: checkpoint.Layout, seed: int | str) -> State:
    """Random tensors whose activations neither die nor explode through the layers.

    A number seeds NumPy's generator (torch's draws others under another instruction set), a name
    `Hashed`, for what must be the same in years.
    """
    rng = Hashed(seed) if isinstance(seed, str) else np.random.default_rng(seed)
    state: State = {}
    for key, shape in layout.items():
        if key.endswith("look_ahead_mask"):
            state[key] = torch.ones(shape, dtype=torch.bool).triu(1)
        elif key.endswith("context_prediction.mask"):
            odd = (torch.arange(5)[:, None] + torch.arange(5)) % 2
            state[key] = odd.to(torch.float32).expand(shape).contiguous()
        elif key.endswith("quantiles"):
            state[key] = torch.tensor([-6.0, 0.2, 7.0]).expand(shape).contiguous()
        elif ".norm" in key or "layernorm" in key or key.endswith("beta"):
            state[key] = torch.ones(shape) if not key.endswith("bias") else torch.zeros(shape)
        elif key.endswith("gamma"):
            state[key] = 0.1 * torch.eye(shape[0])
        elif key.endswith("pedestal"):
            state[key] = torch.full(shape, 2.0**-36)
        elif key.endswith("beta_reparam.lower_bound.bound"):
            state[key] = torch.full(shape, (1e-6 + 2.0**-36) ** 0.5)
        elif key.endswith(("bound", "target")):
            state[key] = torch.full(shape, 2.0**-18)
        else:
            inputs = max(1, int(np.prod(shape[1:])))
            spread = 1.1 / math.sqrt(inputs) if len(shape) > 1 else 0.1
            values = spread * rng.standard_normal(shape)
            state[key] = torch.from_numpy(values.astype(np.float32))
    return state


def fp_state(seed: int | str = 0, n: int = 8, m: int = 12, bands: int = 12) -> State:
    sizes = {"g_a.0.weight": (n, bands, 5, 5), "g_a.6.weight": (m, n, 5, 5)}
    state = filled(fp.layout(_empty(sizes)), seed)
    for key in ("g_a.6.weight", "g_a.6.bias"):
        state[key] *= 30.0
    return state


def elic_state(seed: int | str = 0, n: int = 8, groups: tuple[int, ...] = (2, 2, 4, 4, 6)) -> State:
    m = sum(groups)
    sizes = {"g_a.0.weight": (n, 12, 5, 5), "g_a.13.weight": (m, n, 5, 5)}
    for k, group in enumerate(groups):
        sizes[f"latent_codec.y.latent_codec.y{k}.context_prediction.weight"] = (2, group, 5, 5)
    sizes["latent_codec.y.latent_codec.y0.entropy_parameters.2.weight"] = (20, 1, 1, 1)
    sizes["latent_codec.y.channel_context.y1.0.weight"] = (14, 1, 1, 1)
    sizes["latent_codec.y.channel_context.y1.2.weight"] = (10, 1, 1, 1)
    state = filled(elic.layout(_empty(sizes)), seed)
    for key in ("g_a.13.weight", "g_a.13.bias", "latent_codec.hyper.h_a.4.weight"):
        state[key] *= 5.0
    for k, group in enumerate(groups):
        last = f"latent_codec.y.latent_codec.y{k}.entropy_parameters.4.bias"
        state[last][group:] += 2.0
    return state


def tt_state(
    seed: int | str = 0,
    *,
    bands: int = 12,
    width: int = 32,
    latent: int | None = None,
    flexible: bool = False,
) -> State:
    latent = latent or (64 if flexible else 16)  # repacking needs a multiple of 64
    entropy = "model.entropy_model"
    transform = "model.transform.analysis_transform.transforms"
    sizes = {
        f"{transform}.0.weight": (8, bands, 5, 5),
        f"{transform}.4.weight": (10, 8, 5, 5),
        f"{transform}.9.weight": (latent, 10, 5, 5),
        f"{transform}.13.weight": (latent, latent, 5, 5),
        "model._dequantizer.process_conv.0.weight": (latent, width, 1, 1),
        f"{entropy}.encoder_embedding.weight": (width, latent),
        f"{entropy}.enc_position_sep._pos": (1, 64, width),
        f"{entropy}.enc_position_joint._pos": (1, 128, width),
        f"{entropy}.dec_position._pos": (1, 16, width),
    }
    for stack, layers in (("encoder_sep", 2), ("encoder_joint", 1), ("decoder", 2)):
        for i in range(layers):
            key = f"{entropy}.{stack}.layers.encoder_layer_{i}.mlp1.fc1.weight"
            sizes[key] = (2 * width, width)
    layout = (flextec if flexible else tt).layout(_empty(sizes))
    state = filled(layout, seed)
    for key in (f"{transform}.13.weight", f"{transform}.13.bias"):
        state[key] *= 10.0
    for head, gain in (("mean_head", 4.0), ("scale_head", 2.0)):
        state[f"{entropy}.{head}.4.weight"] *= gain
    state[f"{entropy}.scale_head.4.bias"] += 1.5
    return state


def published_tt_state(seed: int = 0) -> State:
    """TEC-TT of the published size, 225 million numbers."""
    width, latent = 768, 192
    entropy = "model.entropy_model"
    transform = "model.transform.analysis_transform.transforms"
    sizes = {
        f"{transform}.0.weight": (128, 12, 5, 5),
        f"{transform}.4.weight": (160, 128, 5, 5),
        f"{transform}.9.weight": (192, 160, 5, 5),
        f"{transform}.13.weight": (latent, 192, 5, 5),
        "model._dequantizer.process_conv.0.weight": (latent, width, 1, 1),
        f"{entropy}.encoder_embedding.weight": (width, latent),
        f"{entropy}.enc_position_sep._pos": (1, 64, width),
        f"{entropy}.enc_position_joint._pos": (1, 128, width),
        f"{entropy}.dec_position._pos": (1, 16, width),
    }
    for stack, layers in (("encoder_sep", 6), ("encoder_joint", 4), ("decoder", 5)):
        for i in range(layers):
            key = f"{entropy}.{stack}.layers.encoder_layer_{i}.mlp1.fc1.weight"
            sizes[key] = (4 * width, width)
    return filled(tt.layout(_empty(sizes)), seed)


def _empty(sizes: Shapes) -> State:
    return {key: torch.empty(shape, device="meta") for key, shape in sizes.items()}


def scene(
    shape: tuple[int, int, int, int] = (2, 12, 64, 64),
    *,
    sensor: str = "sentinel-2-l2a",
    bands: tuple[int, ...] | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.int32], Geometry]:
    """A smooth textured cube with the brightness of the sensor's bands."""
    product = get_sensor(sensor)
    bands = tuple(range(shape[1])) if bands is None else bands
    rng = np.random.default_rng(seed)
    frames, _, height, width = shape
    y, x = np.mgrid[:height, :width]
    base = np.sin(y / 9.0) * np.cos(x / 7.0) + 0.3 * rng.standard_normal((frames, height, width))
    mean = np.asarray(product.mean)[list(bands)][None, :, None, None]
    std = np.asarray(product.std)[list(bands)][None, :, None, None]
    cube = np.maximum(mean + 0.5 * std * base[:, None], 0).astype(np.int32)
    return cube, Geometry(shape, product, bands)

"""Networks that nobody has trained yet: seeded weights in the layout of the published files.

They start a training, and stand in for checkpoints in tests. The same arguments give the same
weights, so that what one of them has compressed another one decompresses.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from tec_numcodecs.arguments import whole
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.terracodec import checkpoint, elic, flextec, fp, freezing, transformer, tt
from tec_numcodecs.models.terracodec.exact_synthesis import Published
from tec_numcodecs.weights.local_store import WeightsId

_HIDDEN = 4  # a perceptron's hidden layer, in widths
_LAYERS: Final = {"encoder_sep": 6, "encoder_joint": 4, "decoder": 5}
_TOKENS: Final = {"enc_position_sep": 64, "enc_position_joint": 128, "dec_position": 16}
_GROUPS = (16, 16, 32, 64)  # of ELIC's channels; the fifth group is what is left
_ARCHITECTURES: Final[dict[str, tuple[Any, Any]]] = {
    "fp": (fp, fp.FactorizedPrior),
    "elic": (elic, elic.Elic),
    "tt": (tt, tt.TemporalTransformer),
    "flextec": (flextec, flextec.FlexTec),
}
_TEMPORAL: Final = ("tt", "flextec")
_SIZES: Final = {"fp": (128, 192), "elic": (192, 320), "tt": (128, 192), "flextec": (128, 192)}
_ANALYSIS = "model.transform.analysis_transform.transforms"
_FIRST: Final = dict.fromkeys(_TEMPORAL, f"{_ANALYSIS}.0.weight")
_PEDESTAL = 2.0**-36
_CONSTANTS: Final = {  # by the end of a name; see `layers.GDN`
    "pedestal": _PEDESTAL,
    "beta_reparam.lower_bound.bound": (1e-6 + _PEDESTAL) ** 0.5,
    "gamma_reparam.lower_bound.bound": 2.0**-18,
    "scale_bound": 0.11,
    "bound": 1e-9,
    "target": 0.0,
}
_PRIOR_SCALE, _PRIOR_STEPS = 10.0, 5  # a factorized prior that is about so wide at first
_PRIOR_QUANTILES = torch.tensor([-_PRIOR_SCALE, 0.0, _PRIOR_SCALE], dtype=torch.float32)


def random_model(
    model: str, bands: int, *, n: int | None = None, m: int | None = None, width: int = 768,
    seed: int = 0,
) -> tuple[Published, WeightsId]:  # fmt: skip
    """Build an architecture with seeded weights.

    Parameters
    ----------
    model : {"fp", "elic", "tt", "flextec"}
    bands : int
        Channels of an image: 12 (Sentinel-2 L2A) or 13 (L1C).
    n, m : int, optional
        Channels of the first layer and of the latents; those of the published files by default.
    width : int
        Of the transformers of ``tt`` and ``flextec``.
    seed : int

    Returns
    -------
    model : Published
    weights : WeightsId
        Its digest is one of the sizes and the first weights, from which the others follow.

    Raises
    ------
    InvalidInput
        Sizes that the architecture cannot have.
    """
    n = whole("N", _SIZES[model][0] if n is None else n, 1)
    m = whole("M", _SIZES[model][1] if m is None else m, 1)
    seed = whole("seed", seed, 0)
    _check_sizes(model, m, whole("width", width, 1))
    state = random_state(model, bands, n, m, width, seed)
    module, kind = _ARCHITECTURES[model]
    built: Published = kind(module.freeze(state))
    digest = hashlib.sha256(f"{model} {bands} {n} {m} {width} {freezing.FREEZER}".encode())
    # A later NumPy may draw other numbers from a seed.
    digest.update(state[_FIRST.get(model, "g_a.0.weight")].numpy().tobytes())
    return built, WeightsId(f"terracodec-random-{model}-seed-{seed}", digest.hexdigest())


def _check_sizes(model: str, m: int, width: int) -> None:
    if model == "elic" and m <= sum(_GROUPS):
        raise InvalidInput(f"M = {m} with model='elic'", allowed=f"more than {sum(_GROUPS)}")
    if model == "flextec" and m % _TOKENS["enc_position_sep"]:
        raise InvalidInput(f"M = {m} with model='flextec'", allowed="a multiple of 64")
    if model in _TEMPORAL and width % (4 * transformer.HEADS):
        raise InvalidInput(f"width = {width}", allowed=f"a multiple of {4 * transformer.HEADS}")


def random_state(
    model: str, bands: int, n: int, m: int, width: int, seed: int
) -> dict[str, Tensor]:
    """Return a checkpoint: tensors by their published names."""
    shapes = _sizes(model, bands, n, m, width)
    empty = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    layout = _ARCHITECTURES[model][0].layout(empty)
    rng = np.random.default_rng(seed)
    return {name: _initial(name, shape, rng) for name, shape in layout.items()}


def _sizes(model: str, bands: int, n: int, m: int, width: int) -> checkpoint.Layout:
    """Return the tensors that `layout` reads sizes from."""
    if model == "fp":
        return {"g_a.0.weight": (n, bands, 5, 5), "g_a.6.weight": (m, n, 5, 5)}
    if model == "elic":
        out: checkpoint.Layout = {"g_a.0.weight": (n, bands, 5, 5), "g_a.13.weight": (m, n, 5, 5)}
        prefix = "latent_codec.y"
        for k, group in enumerate((*_GROUPS, m - sum(_GROUPS))):
            out[f"{prefix}.latent_codec.y{k}.context_prediction.weight"] = (2 * group, group, 5, 5)
        out[f"{prefix}.latent_codec.y0.entropy_parameters.2.weight"] = (512, 2 * m, 1, 1)
        out[f"{prefix}.channel_context.y1.0.weight"] = (224, _GROUPS[0], 5, 5)
        out[f"{prefix}.channel_context.y1.2.weight"] = (128, 224, 5, 5)
        return out
    entropy = "model.entropy_model"
    widths = (n, 5 * n // 4, m, m)
    out = {
        f"{_ANALYSIS}.{i}.weight": (outputs, inputs, 5, 5)
        for i, outputs, inputs in zip((0, 4, 9, 13), widths, (bands, *widths), strict=False)
    }
    out["model._dequantizer.process_conv.0.weight"] = (m, width, 1, 1)
    out[f"{entropy}.encoder_embedding.weight"] = (width, m)
    out |= {f"{entropy}.{name}._pos": (1, count, width) for name, count in _TOKENS.items()}
    for stack, count in _LAYERS.items():
        for i in range(count):
            key = f"{entropy}.{stack}.layers.encoder_layer_{i}.mlp1.fc1.weight"
            out[key] = (_HIDDEN * width, width)
    return out


def _initial(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Return one tensor of a network that trains well: activations keep their size."""
    for end, value in _CONSTANTS.items():
        if name.endswith(end):
            return torch.full(shape, value, dtype=torch.float32)
    for end, make in _RULES.items():
        if end in name:
            return make(shape, rng)
    if len(shape) < 2:  # gains of norms, and beta
        return torch.ones(shape, dtype=torch.float32)
    values = rng.standard_normal(shape, dtype=np.float32)
    values *= np.float32(1.0 / math.sqrt(math.prod(shape[1:])))
    return torch.from_numpy(values)


def _checkerboard(shape: tuple[int, ...], _: np.random.Generator) -> Tensor:
    side = torch.arange(shape[-1])
    return ((side[:, None] + side) % 2).to(torch.float32).expand(shape).contiguous()


def _prior_matrix(shape: tuple[int, ...], _: np.random.Generator) -> Tensor:
    step = 1.0 / _PRIOR_SCALE ** (1.0 / _PRIOR_STEPS) / shape[1]
    return torch.full(shape, math.log(math.expm1(step)), dtype=torch.float32)


def _prior_bias(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.uniform(-0.5, 0.5, shape).astype(np.float32))


#: Tensors with a rule of their own, by a part of their names.
_RULES: Mapping[str, Callable[[tuple[int, ...], np.random.Generator], Tensor]] = MappingProxyType(
    {
        "look_ahead_mask": lambda shape, _: torch.ones(shape, dtype=torch.bool).triu(1),
        "context_prediction.mask": _checkerboard,
        "quantiles": lambda shape, _: _PRIOR_QUANTILES.expand(shape).contiguous(),
        ".matrices.": _prior_matrix,
        ".biases.": _prior_bias,
        ".factors.": lambda shape, _: torch.zeros(shape, dtype=torch.float32),
        "gamma": lambda shape, _: (0.1**0.5 * torch.eye(shape[0])).to(torch.float32),
        "bias": lambda shape, _: torch.zeros(shape, dtype=torch.float32),
    }
)

"""Frozen networks: integer weights, their scales and entropy tables as a flat set of tensors.

Freezing is a pure function of the source tensors: what one machine freezes, any other freezes
alike, bit for bit. The flat form is what is stored (safetensors) and hashed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from tec_numcodecs.entropy import rans
from tec_numcodecs.errors import WeightsError
from tec_numcodecs.models.terracodec.exact import layers
from tec_numcodecs.models.terracodec.exact.integer_gemm import Matrix
from tec_numcodecs.models.terracodec.tables import RaggedTables, factorized_tables

FREEZER = 1  # raised whenever the same source would freeze to different numbers

Tensors = Mapping[str, Tensor]
Store = dict[str, Tensor]

_PRIOR_GROUPS = ("matrices", "biases", "factors")
_MANTISSA_BITS, _BIAS = 52, 1023


def put_linear(store: Store, name: str, weight: Tensor, bias: Tensor) -> None:
    """Freeze a linear layer or convolution: weight [N, ...], bias [N]."""
    _put_matrix(store, name, weight)
    store[f"{name}.bias"] = bias.to(torch.float32).contiguous()


def put_conv_transpose(store: Store, name: str, weight: Tensor, bias: Tensor) -> None:
    """Freeze a transposed 5 x 5 convolution, weight [C, N, 5, 5], as its four phases."""
    for phase, taps in enumerate(layers.ConvTranspose.taps(weight)):
        _put_matrix(store, f"{name}.{phase}", taps)
    store[f"{name}.bias"] = bias.to(torch.float32).contiguous()


def put_exact(store: Store, state: Tensors, names: Mapping[str, str]) -> None:
    """Freeze linear layers and convolutions under new names: ``{new: old}`` prefixes."""
    for new, old in names.items():
        put_linear(store, new, state[f"{old}.weight"], state[f"{old}.bias"])


def put_floats(store: Store, state: Tensors, prefixes: Mapping[str, str]) -> None:
    """Copy floating-point tensors under new prefixes: ``{new: old}``."""
    for new, old in prefixes.items():
        for key, value in state.items():
            if key == old or key.startswith(old + "."):
                store[new + key[len(old) :]] = value.to(torch.float32).contiguous()


def put_tables(store: Store, name: str, tables: RaggedTables) -> None:
    """Store entropy tables."""
    store[f"{name}.cdf"] = torch.from_numpy(tables.cdf.astype("<u2"))
    store[f"{name}.starts"] = torch.from_numpy(tables.starts.astype("<i8"))
    store[f"{name}.minimum"] = torch.from_numpy(tables.minimum.astype("<i4"))


def put_prior(store: Store, state: Tensors, name: str, old: str) -> None:
    """Freeze a factorized prior: one table row per channel, and the medians."""
    parameters = {
        key[len(old) + 1 :]: value.to(torch.float32).numpy()
        for key, value in state.items()
        if key.startswith(f"{old}.") and key.split(".")[-2] in _PRIOR_GROUPS
    }
    parameters["quantiles"] = state[f"{old}.quantiles"].to(torch.float32).numpy()
    put_tables(store, name, factorized_tables(parameters))
    store[f"{name}.median"] = state[f"{old}.quantiles"][:, 0, 1].to(torch.float32).contiguous()


def get_linear(tensors: Tensors, name: str) -> layers.Linear:
    """Read what `put_linear` wrote: a weight [N, K]."""
    return layers.Linear(
        _get_matrix(tensors, name), _get(tensors, f"{name}.bias").to(torch.float64)
    )


def get_conv(tensors: Tensors, name: str) -> layers.Conv:
    """Read a convolution."""
    kernel = _get(tensors, f"{name}.integers").shape[-1]
    bias = _get(tensors, f"{name}.bias").to(torch.float64)
    return layers.Conv(layers.Linear(_get_taps(tensors, name), bias), kernel)


def get_conv_transpose(tensors: Tensors, name: str) -> layers.ConvTranspose:
    """Read what `put_conv_transpose` wrote."""
    bias = _get(tensors, f"{name}.bias").to(torch.float64)
    a, b, c, d = (layers.Linear(_get_taps(tensors, f"{name}.{i}"), bias) for i in range(4))
    return layers.ConvTranspose((a, b, c, d))


def get_norm(tensors: Tensors, name: str) -> layers.LayerNorm:
    """Read a layer norm stored by `put_floats`."""
    return layers.LayerNorm(
        _get(tensors, f"{name}.weight").to(torch.float64),
        _get(tensors, f"{name}.bias").to(torch.float64),
    )


def get_double(tensors: Tensors, name: str) -> Tensor:
    """Read one tensor as float64."""
    return _get(tensors, name).to(torch.float64)


def get_tables(tensors: Tensors, name: str) -> rans.Tables:
    """Read entropy tables.

    Raises
    ------
    WeightsError
        They are not well formed.
    """
    arrays = [_get(tensors, f"{name}.{part}").numpy() for part in ("cdf", "starts", "minimum")]
    try:
        return rans.Tables(
            np.ascontiguousarray(arrays[0], np.uint16),
            np.ascontiguousarray(arrays[1], np.int64),
            np.ascontiguousarray(arrays[2], np.int32),
        )
    except ValueError as error:
        raise WeightsError(f"the table {name!r} of a frozen checkpoint: {error}") from error


def load_module(module: nn.Module, tensors: Tensors, prefix: str) -> nn.Module:
    """Fill a torch module from the tensors under a prefix, for inference in channels-last."""
    inside = {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}
    try:
        module.load_state_dict(inside, strict=True, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"the transform {prefix!r} of a frozen checkpoint: {error}") from error
    module.requires_grad_(False)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module.eval()


def _get(tensors: Tensors, name: str) -> Tensor:
    try:
        return tensors[name]
    except KeyError:
        raise WeightsError(
            f"a frozen checkpoint without {name!r}",
            fix="freeze the source file again",
        ) from None


def _put_matrix(store: Store, name: str, weight: Tensor) -> None:
    matrix = layers.freeze(weight.flatten(1))
    exponent = (matrix.scale.view(torch.int64) >> _MANTISSA_BITS) - _BIAS
    store[f"{name}.integers"] = matrix.integers().reshape(weight.shape).contiguous()
    store[f"{name}.exponent"] = exponent.to(torch.int16)


def _get_matrix(tensors: Tensors, name: str) -> Matrix:
    integers, exponent = _get(tensors, f"{name}.integers"), _get(tensors, f"{name}.exponent")
    if integers.dtype != torch.int16 or exponent.shape != integers.shape[:1]:
        raise WeightsError(f"the matrix {name!r} of a frozen checkpoint: wrong type or shape")
    return Matrix(integers.flatten(1), layers.power_of_two(exponent.to(torch.int64)))


def _get_taps(tensors: Tensors, name: str) -> Matrix:
    """Read a kernel [N, C, kh, kw] as a matrix whose rows are patches in channels-last order."""
    matrix = _get_matrix(tensors, name)
    shape = tensors[f"{name}.integers"].shape
    taps = matrix.integers().reshape(shape).permute(0, 2, 3, 1)
    return Matrix(taps.flatten(1).contiguous(), matrix.scale)

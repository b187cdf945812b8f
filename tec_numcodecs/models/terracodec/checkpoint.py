"""Published checkpoints: which tensors a file must hold, and what to say when it does not.

A layout is a mapping from every tensor name to its shape, derived from a few sizes that are read
off the file itself. Comparing the two finds missing, extra and misshapen tensors before anything
is computed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tec_numcodecs.errors import WeightsError

State = Mapping[str, Tensor]
Layout = dict[str, tuple[int, ...]]

_OLD_NAME = re.compile(r"(.*entropy_bottleneck\.)_(matrix|bias|factor)(\d)$")
_NEW_STEM = {"matrix": "matrices", "bias": "biases", "factor": "factors"}
_SHOWN = 8  # names listed in an error before "and n more"

# Entropy tables that upstream stores beside the parameters; ours are built from the parameters.
_TABLES = re.compile(
    r"(\.|^)(_offset|_quantized_cdf|_cdf_length|scale_table|_indexes_table|_prior_mean|_prior_scale)$"
)


def normalized_names(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Bring the spellings found in the wild to one form.

    A leading ``model.`` is dropped from image codecs (in temporal ones it is a real level), and
    the old CompressAI names of a factorized prior (``_matrix0``) become today's.

    Raises
    ------
    WeightsError
        The mapping is not a flat dictionary of tensors.
    """
    bad = [str(k) for k, v in state.items() if not (_is_name(k) and _is_dense(v))]
    if bad or not state:
        raise WeightsError(
            f"a checkpoint with entries that are no tensors: {_some(bad)}" if bad
            else "an empty checkpoint",
            allowed="a flat dictionary of named tensors",
            fix="pass the state dict itself, as published",
        )  # fmt: skip
    temporal = any(key.startswith("model.entropy_model.") for key in state)
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key if temporal else key.removeprefix("model.")
        old = _OLD_NAME.match(name)
        if old:
            name = f"{old[1]}{_NEW_STEM[old[2]]}.{old[3]}"
        out[name] = value.detach()  # parameters ask for gradients
    return out


def module_layout(module: nn.Module, prefix: str) -> Layout:
    """Return the tensor names and shapes of a torch module under a prefix."""
    return {f"{prefix}.{key}": tuple(value.shape) for key, value in module.state_dict().items()}


def linear_layout(prefix: str, *shape: int, outputs: int | None = None) -> Layout:
    """Return a weight of `shape` and its bias (of the first size unless `outputs` says else)."""
    return {
        f"{prefix}.weight": shape,
        f"{prefix}.bias": (shape[0] if outputs is None else outputs,),
    }


def factorized_layout(prefix: str, channels: int) -> Layout:
    """Return the tensors of a factorized prior with `channels` channels."""
    widths = (1, 3, 3, 3, 3, 1)
    out: Layout = {f"{prefix}.quantiles": (channels, 1, 3)}
    for i, (inner, outer) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        out[f"{prefix}.matrices.{i}"] = (channels, outer, inner)
        out[f"{prefix}.biases.{i}"] = (channels, outer, 1)
        if i < len(widths) - 2:
            out[f"{prefix}.factors.{i}"] = (channels, outer, 1)
    constants = {"target": (3,), "likelihood_lower_bound.bound": (1,)}
    return out | {f"{prefix}.{name}": shape for name, shape in constants.items()}


def check(state: State, layout: Layout, name: str) -> None:
    """Compare a checkpoint with its layout, strictly.

    Stored entropy tables are ignored whatever their size, since they are rebuilt.

    Parameters
    ----------
    state : Mapping
        Tensors by normalized name.
    layout : dict
        Shapes by name.
    name : str
        What the checkpoint is meant to be, for the message.

    Raises
    ------
    WeightsError
        Lists missing, unexpected and misshapen tensors, and tensors that are not finite floats.
    """
    present = {key for key in state if not _TABLES.search(key)}
    missing = sorted(layout.keys() - present)
    extra = sorted(present - layout.keys())
    shared = sorted(layout.keys() & present)
    misshapen = [
        f"{key} {list(state[key].shape)} instead of {list(layout[key])}"
        for key in shared
        if tuple(state[key].shape) != layout[key]
    ]
    broken = [key for key in shared if not _is_sound(state[key])]
    found = [
        f"{len(names)} {kind}: {_some(names)}"
        for kind, names in (
            ("missing", missing),
            ("unexpected", extra),
            ("misshapen", misshapen),
            ("not finite numbers", broken),
        )
        if names
    ]
    if found:
        raise WeightsError(
            f"a checkpoint that is no {name}: " + "; ".join(found),
            allowed=f"exactly the {len(layout)} tensors of {name}",
            fix="check that the file is complete and of this architecture",
        )


def require(state: State, key: str, dimensions: int) -> Tensor:
    """Return a tensor that the sizes of the network are read from.

    Raises
    ------
    WeightsError
        It is missing or has another number of dimensions.
    """
    if key not in state:
        raise WeightsError(
            f"a checkpoint without {key!r}",
            allowed="a TerraCodec FP, ELIC, TT or FlexTEC checkpoint",
            fix="check the file",
        )
    if state[key].dim() != dimensions:
        raise WeightsError(
            f"{key} of shape {list(state[key].shape)}", allowed=f"{dimensions} dimensions"
        )
    return state[key]


def _is_name(key: object) -> bool:
    return isinstance(key, str)  # whoever saved the file could have used anything


def _is_dense(value: object) -> bool:
    """Whether this is a tensor of plain numbers in memory: not sparse, quantized, complex."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_complex()
    )


def _is_sound(value: Tensor) -> bool:
    if not value.is_floating_point():
        return value.dtype in (torch.bool, torch.int32, torch.int64)
    return bool(torch.isfinite(value).all())


def _some(names: Iterable[str]) -> str:
    names = list(names)
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")

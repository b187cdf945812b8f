"""The published TerraCodec architectures, exact on every machine.

One file each: `fp`, `elic`, `tt`, `flextec`. Each has ``layout`` (the tensors that a published
file must hold), ``freeze`` (those to integers and entropy tables) and a `Model`. For tensors
instead of archives there are TerraCodec's own names, imported on first use.

Architectures and checkpoints: IBM TerraCodec 1.0 (Apache-2.0).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tec_numcodecs.extras import require

if TYPE_CHECKING:
    from tec_numcodecs.models.terracodec.builders import (
        flextec_v1_s2l2a,
        terracodec_v1_elic_s2l2a,
        terracodec_v1_fp_s2l2a,
        terracodec_v1_tt_s2l1c,
        terracodec_v1_tt_s2l2a,
    )

__all__ = [
    "flextec_v1_s2l2a",
    "terracodec_v1_elic_s2l2a",
    "terracodec_v1_fp_s2l2a",
    "terracodec_v1_tt_s2l1c",
    "terracodec_v1_tt_s2l2a",
]

require("torch", "TerraCodec's published architectures")


def __getattr__(name: str) -> Any:
    if name in __all__:
        builders = importlib.import_module("tec_numcodecs.models.terracodec.builders")
        return getattr(builders, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

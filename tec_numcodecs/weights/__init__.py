"""Weights: frozen tensors in safetensors files, named by their SHA-256."""

import importlib
from typing import Any

# Names of modules before they were moved by concept; scripts of users may hold them.
_MOVED = {
    "files": "tec_numcodecs.weights.safetensors_io",
    "hub": "tec_numcodecs.weights.published",
    "obtain": "tec_numcodecs.models.weights_lookup",
    "registry": "tec_numcodecs.weights.local_store",
    "terracodec": "tec_numcodecs.models.terracodec.importing",
}


def __getattr__(name: str) -> Any:
    if name in _MOVED:
        return importlib.import_module(_MOVED[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""From the name of a model to the model itself, loaded once a process."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Mapping
from types import MappingProxyType

from tec_numcodecs.errors import UnsupportedFormat
from tec_numcodecs.models.base import Model
from tec_numcodecs.weights.files import load as load_file
from tec_numcodecs.weights.registry import WeightsId, locate

#: Where the classes are. Imported on first use: some need torch, and reading `fp` must not.
_CLASSES: Mapping[tuple[str, str], tuple[str, str]] = MappingProxyType(
    {
        ("mini", "fp"): ("tec_numcodecs.models.mini.fp", "MiniFP"),
        ("mini", "elic"): ("tec_numcodecs.models.mini.context", "MiniElic"),
        ("mini", "tt"): ("tec_numcodecs.models.mini.temporal", "MiniTT"),
        ("mini", "flextec"): ("tec_numcodecs.models.mini.progressive", "MiniFlex"),
    }
)

_loaded: dict[tuple[str, str], Model] = {}
_lock = threading.Lock()


def load(name: str, weights: WeightsId) -> Model:
    """Get a model with its weights, from this process's cache if it is there.

    Parameters
    ----------
    name : str
        ``fp``, ``elic``, ``tt`` or ``flextec``.
    weights : WeightsId

    Raises
    ------
    WeightsError
        If the weights are missing or not what their digest says.
    UnsupportedFormat
        If this version does not know the model in that family.
    """
    key = (name, weights.sha256)
    with _lock:
        if key not in _loaded:
            _loaded[key] = _load(name, weights)
        return _loaded[key]


def _load(name: str, weights: WeightsId) -> Model:
    family = weights.id.split("-")[0]
    if (family, name) not in _CLASSES:
        raise UnsupportedFormat(
            f"model {name!r} of the family {family!r}",
            allowed=", ".join(f"{m} ({f})" for f, m in _CLASSES),
            fix="a newer tec-xarray may know it: pip install -U tec-xarray",
        )
    module, attribute = _CLASSES[family, name]
    model: Model = getattr(importlib.import_module(module), attribute)(
        load_file(locate(weights), weights.sha256)
    )
    return model


def _after_fork() -> None:
    """A child must not wait for a lock that a thread of its parent held."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

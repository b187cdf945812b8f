"""From the name of a model to the model itself, loaded once a process."""

from __future__ import annotations

import os
import threading

from tec_numcodecs.models import table as model_table
from tec_numcodecs.models.base import Model
from tec_numcodecs.models.weights_lookup import ensure_local
from tec_numcodecs.weights.local_store import WeightsId

_loaded: dict[tuple[str, str, bool], Model] = {}
_lock = threading.Lock()


def load(name: str, weights: WeightsId, *, exact: bool = False) -> Model:
    """Get a model with its weights, from this process's cache if it is there.

    Parameters
    ----------
    name : str
        ``fp``, ``elic``, ``tt`` or ``flextec``.
    weights : WeightsId
    exact : bool
        Whether its pixels must be the same on every machine; the weights are shared.

    Raises
    ------
    WeightsError
        If the weights are missing or not what their digest says.
    UnsupportedFormat
        If this version does not know the model in that family.
    """
    plain, key = (name, weights.sha256, False), (name, weights.sha256, exact)
    with _lock:
        if plain not in _loaded:
            _loaded[plain] = _load(name, weights)
        if key not in _loaded:
            _loaded[key] = _loaded[plain].exact()
        return _loaded[key]


def _load(name: str, weights: WeightsId) -> Model:
    spec = model_table.spec_of(weights.family, name)
    model: Model = spec.load(ensure_local(weights), weights)
    return model


def _after_fork() -> None:
    """A child must not wait for a lock that a thread of its parent held."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

"""From the name of a model to the model itself, loaded once a process."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Mapping
from types import MappingProxyType

from tec_numcodecs.errors import TecError, UnsupportedFormat, WeightsError
from tec_numcodecs.models.base import Model
from tec_numcodecs.models.weights_lookup import ensure_local
from tec_numcodecs.weights.local_store import WeightsId
from tec_numcodecs.weights.safetensors_io import load as load_file

#: Where the classes are. Imported on first use: some need torch, and reading `fp` must not.
_CLASSES: Mapping[tuple[str, str], tuple[str, str]] = MappingProxyType(
    {
        ("mini", "fp"): ("tec_numcodecs.models.mini.fp", "MiniFP"),
        ("mini", "elic"): ("tec_numcodecs.models.mini.elic", "MiniElic"),
        ("mini", "tt"): ("tec_numcodecs.models.mini.tt", "MiniTT"),
        ("mini", "flextec"): ("tec_numcodecs.models.mini.flextec", "MiniFlex"),
    }
)

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
    if weights.family == "terracodec":
        return _load_published(name, weights)
    if (weights.family, name) not in _CLASSES:
        raise UnsupportedFormat(
            f"model {name!r} of the family {weights.family!r}",
            allowed=", ".join(f"{m} ({f})" for f, m in _CLASSES) + " and terracodec",
            fix="a newer tec-xarray may know it: pip install -U tec-xarray",
        )
    module, attribute = _CLASSES[weights.family, name]
    arrays = load_file(ensure_local(weights), weights.sha256)
    try:
        importlib.import_module("tec_numcodecs.models.mini.validation").check(arrays)
        model: Model = getattr(importlib.import_module(module), attribute)(arrays)
    except TecError:
        raise
    except KeyError as error:
        raise WeightsError(
            f"weights {weights.id!r} without {error} for model={name!r}",
            fix="pass the model that they were trained for",
        ) from error
    except (IndexError, TypeError, ValueError, OverflowError) as error:
        raise WeightsError(
            f"weights {weights.id!r} with tensors of other shapes than model={name!r} has: {error}",
            fix="whoever made the file made it wrong: use another one",
        ) from error
    return model


def _load_published(name: str, weights: WeightsId) -> Model:
    """Load a frozen checkpoint, which says itself of what architecture it is."""
    from tec_numcodecs.models.terracodec import importing

    model = importing.load(ensure_local(weights), weights.sha256)
    if model.name != name:
        raise WeightsError(
            f"weights {weights.id!r} of {model.name!r}",
            allowed=f"those of {name!r}, as the array or the chunk says",
            fix="the metadata of the array is damaged, or written by hand",
        )
    return model


def _after_fork() -> None:
    """A child must not wait for a lock that a thread of its parent held."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

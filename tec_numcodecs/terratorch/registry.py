"""Putting builders into TerraTorch's registry, as often as anybody likes.

Nothing here imports torch or TerraTorch before something is to be registered.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from tec_numcodecs.errors import InvalidInput, MissingExtra
from tec_numcodecs.extras import EXTRAS

SOURCE = "tec"
_UPSTREAM = "terratorch.models.terracodec"


def register(*, replace: bool = False) -> None:
    """Register the source ``tec`` with TerraTorch's ``FULL_MODEL_REGISTRY``.

    Parameters
    ----------
    replace : bool
        Whether TerraTorch's own entries, ``terracodec_v1_fp_s2l2a`` and four more, become the exact
        implementations of this package, too.

    Raises
    ------
    MissingExtra
        TerraTorch is not installed.
    InvalidInput
        Somebody else has registered a source of that name.

    Notes
    -----
    Calling it again changes nothing, except that ``replace=True`` may follow a call without.
    """
    registry = _terratorch()
    if registry is None:
        raise MissingExtra(
            "registering with TerraTorch needs terratorch, which is not installed",
            fix=f"pip install 'tec-xarray[{EXTRAS['terratorch']}]'",
        )
    builders = importlib.import_module("tec_numcodecs.terratorch.builders")
    _add_source(registry, builders.BUILDERS)
    # Its module registers its entries when it is imported: later they would replace ours.
    upstream = _upstream()
    ours = registry.TERRATORCH_FULL_MODEL_REGISTRY
    for name, builder in builders.EXACT.items():
        if replace or _can_only_fail(upstream, ours, name):
            ours.register(builder)


def register_if_installed() -> None:
    """Do `register` where TerraTorch is installed, and nothing elsewhere."""
    if _terratorch() is not None:
        register()


def _terratorch() -> Any:
    """Return the module of TerraTorch that holds its registries; None if it is not installed."""
    try:
        return importlib.import_module("terratorch.registry.registry")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == "terratorch":
            return None
        raise  # it is there, and lacks something itself


def _add_source(registry: Any, builders: Any) -> None:
    full = registry.FULL_MODEL_REGISTRY
    if SOURCE not in full.keys():  # noqa: SIM118 (`in` asks for models, not for sources)
        full.register_source(SOURCE, registry.Registry(**builders))
        return
    found = full[SOURCE]
    there = {name: found[name] for name in found}
    if there != dict(builders):
        raise InvalidInput(
            f"a source {SOURCE!r} of {len(there)} other models in TerraTorch's registry",
            allowed="the one of this package",
            fix="find out what else registers a source of that name",
        )


def _upstream() -> Any:
    try:
        return importlib.import_module(_UPSTREAM)
    except ImportError:  # TerraTorch before 1.2.6, or a part of it
        return sys.modules.get(_UPSTREAM)


def _can_only_fail(upstream: Any, entries: Any, name: str) -> bool:
    """Whether an entry is TerraTorch's own, which found no package ``terracodec``."""
    if upstream is None or getattr(upstream, "terracodec_available", True) or name not in entries:
        return False
    return getattr(entries[name], "__module__", None) == _UPSTREAM

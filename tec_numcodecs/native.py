"""Where the optional C extension is found, and how it is switched off."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

_DISABLE = "TEC_DISABLE_NATIVE"
_unset = object()
_module: object = _unset


def native() -> ModuleType | None:
    """Return the compiled extension, or None where it was not built or is switched off.

    Everything it does has a NumPy twin with the same results bit for bit. Setting the
    environment variable ``TEC_DISABLE_NATIVE=1`` selects the twin at the next call.
    """
    global _module
    if os.environ.get(_DISABLE, "") not in ("", "0"):
        return None
    if _module is _unset:
        try:
            _module = importlib.import_module("tec_numcodecs._native")
        except ImportError:
            _module = None
    return _module if isinstance(_module, ModuleType) else None

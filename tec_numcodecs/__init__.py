"""A numcodecs codec and a Zarr serializer that store Sentinel-2 chunks as learned bitstreams.

>>> import tec_numcodecs
>>> codec = tec_numcodecs.TecCodec(model="fp", lam=20)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tec_numcodecs.errors import (
    CorruptChunk,
    InvalidInput,
    TecError,
    UnsupportedFormat,
    WeightsError,
)
from tec_numcodecs.options import get_options, set_options
from tec_numcodecs.sensors import get_sensor

if TYPE_CHECKING:
    from tec_numcodecs.chunk import ChunkInfo, inspect
    from tec_numcodecs.codec import TecCodec
    from tec_numcodecs.zarr3 import TecSerializer

__all__ = [
    "ChunkInfo",
    "CorruptChunk",
    "InvalidInput",
    "TecCodec",
    "TecError",
    "TecSerializer",
    "UnsupportedFormat",
    "WeightsError",
    "get_options",
    "get_sensor",
    "inspect",
    "set_options",
]

# Imported on first use: the two registries import one of these modules each and need not pay for
# the other, and numcodecs works where zarr is not installed.
_LAZY = {
    "ChunkInfo": "tec_numcodecs.chunk",
    "TecCodec": "tec_numcodecs.codec",
    "TecSerializer": "tec_numcodecs.zarr3",
    "inspect": "tec_numcodecs.chunk",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

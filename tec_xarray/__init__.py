"""Learned compression for xarray: satellite time series as small, ordinary Zarr arrays.

Importing this registers ``.tec`` on datasets and arrays. Reading needs no import at all:
``xr.open_zarr`` finds the codec by itself.

>>> import tec_xarray, tec_xarray.tutorial
>>> scene = tec_xarray.tutorial.open_dataset("0173706")
>>> small = scene.tec.compress(model="fp", lam=20)     # lazy; small.to_zarr(...) writes it
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tec_xarray.accessor import register as _register

if TYPE_CHECKING:
    from tec_numcodecs.errors import (
        CorruptChunk,
        InvalidInput,
        TecError,
        UnsupportedFormat,
        WeightsError,
    )
    from tec_xarray._append import append
    from tec_xarray._copy import copy
    from tec_xarray._embedded import open_zarr
    from tec_xarray._info import info
    from tec_xarray._reconstruct import reconstruct
    from tec_xarray._stac_errors import CatalogWarning, SourceError
    from tec_xarray._sweep import Sweep, sweep
    from tec_xarray._verify import Verification, verify
    from tec_xarray._versions import show_versions
    from tec_xarray.archive import resume
    from tec_xarray.encode import compress, drop_codec
    from tec_xarray.layout import from_cube, to_bands, to_cube
    from tec_xarray.report import Report, compare
    from tec_xarray.stac import open_stac

# Where each public name lives; imported when it is first used.
_HOMES = {
    "compress": "tec_xarray.encode",
    "append": "tec_xarray._append",
    "copy": "tec_xarray._copy",
    "info": "tec_xarray._info",
    "resume": "tec_xarray.archive",
    "open_zarr": "tec_xarray._embedded",
    "verify": "tec_xarray._verify",
    "Verification": "tec_xarray._verify",
    "drop_codec": "tec_xarray.encode",
    "sweep": "tec_xarray._sweep",
    "Sweep": "tec_xarray._sweep",
    "to_cube": "tec_xarray.layout",
    "from_cube": "tec_xarray.layout",
    "to_bands": "tec_xarray.layout",
    "reconstruct": "tec_xarray._reconstruct",
    "compare": "tec_xarray.report",
    "Report": "tec_xarray.report",
    "open_stac": "tec_xarray.stac",
    "SourceError": "tec_xarray._stac_errors",
    "CatalogWarning": "tec_xarray._stac_errors",
    "show_versions": "tec_xarray._versions",
    "TecError": "tec_numcodecs.errors",
    "InvalidInput": "tec_numcodecs.errors",
    "CorruptChunk": "tec_numcodecs.errors",
    "UnsupportedFormat": "tec_numcodecs.errors",
    "WeightsError": "tec_numcodecs.errors",
}

__all__ = [
    "CatalogWarning",
    "CorruptChunk",
    "InvalidInput",
    "Report",
    "SourceError",
    "Sweep",
    "TecError",
    "UnsupportedFormat",
    "Verification",
    "WeightsError",
    "append",
    "compare",
    "compress",
    "copy",
    "drop_codec",
    "from_cube",
    "info",
    "open_stac",
    "open_zarr",
    "reconstruct",
    "resume",
    "show_versions",
    "sweep",
    "to_bands",
    "to_cube",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tec_xarray' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_register()

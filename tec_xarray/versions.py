"""The versions that a bug report needs."""

from __future__ import annotations

import platform
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import TextIO

_PACKAGES = (
    "tec-xarray", "numpy", "zarr", "numcodecs", "xarray", "dask", "distributed", "torch",
    "safetensors", "rioxarray", "rasterio", "odc-stac", "pystac-client", "matplotlib",
)  # fmt: skip


def show_versions(file: TextIO | None = None) -> None:
    """Write the versions of Python, of this package and of what it builds on.

    Nothing heavy is imported: versions come from the packages' metadata.

    Parameters
    ----------
    file : text file, optional
        Default: standard output.
    """
    out = sys.stdout if file is None else file
    lines = [
        ("python", platform.python_version()),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("location", str(Path(__file__).parent)),
        ("C extension", _native()),
        *((name, _version(name)) for name in _PACKAGES),
    ]
    out.writelines(f"{name:>14}: {value}\n" for name, value in lines)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _native() -> str:
    try:
        import_module("tec_numcodecs._native")
    except ImportError:
        return "not built (slow, same results)"
    return "built"

"""Optional dependencies: which extra brings what, said in one line where it is missing."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import lazy_loader

from tec_numcodecs.errors import MissingExtra

#: Top-level module to the extra of the distribution that installs it.
EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "compressai": "train",
        "distributed": "cluster",
        "h5netcdf": "cli",
        "huggingface_hub": "terracodec",
        "matplotlib": "plot",
        "odc.loader": "stac",
        "pystac": "stac",
        "pystac_client": "stac",
        "rasterio": "stac",
        "requests": "stac",
        "rich": "cli",
        "rioxarray": "cli",
        "scipy": "clouds",
        "shapely": "stac",
        "stac_fastapi": "catalog",
        "starlette": "catalog",
        "terratorch": "terratorch",
        "torch": "terracodec",
        "typer": "cli",
        "uvicorn": "catalog",
    }
)


@contextlib.contextmanager
def named_if_missing(what: str) -> Iterator[None]:
    """Turn the import error of an optional dependency into one that names its extra.

    Parameters
    ----------
    what : str
        What was asked for, for the message: ``"open_stac"``.

    Raises
    ------
    MissingExtra
        A module of `EXTRAS` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = _optional(error.name or "")
        if module is None:
            raise
        require(module, what)
        raise  # it is there, and lacks something itself


def require(module: str, what: str) -> None:
    """Refuse to go on without an optional dependency, without importing it.

    Parameters
    ----------
    module : str
        A key of `EXTRAS`.
    what : str
        What needs it, for the message.

    Raises
    ------
    MissingExtra
        The module is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(
            f"{what} needs {module}, which is not installed",
            fix=f"pip install 'tec-xarray[{EXTRAS[module]}]'",
        )


def attach_stub(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make the names of ``__init__.pyi`` importable on first use.

    As `lazy_loader.attach_stub`, except that a missing optional dependency is an error that says
    which extra brings it.

    Parameters
    ----------
    package, file : str
        ``__name__`` and ``__file__`` of the package.

    Returns
    -------
    tuple
        ``__getattr__``, ``__dir__`` and ``__all__`` of the package.
    """
    attribute, names, exported = lazy_loader.attach_stub(package, file)

    def __getattr__(name: str) -> Any:  # noqa: N807  it becomes the package's
        with named_if_missing(f"{package}.{name}"):
            return attribute(name)

    return __getattr__, names, exported


def _optional(module: str) -> str | None:
    """Return the key of `EXTRAS` that a module belongs to, if any."""
    parts = module.split(".")
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in EXTRAS), None)

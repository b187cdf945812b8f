"""TerraTorch's registry of models without the 135 packages that importing TerraTorch needs.

Either a stand-in that behaves like it, or its own files.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class InvalidModelError(Exception):
    """What a name that is not there becomes."""

    def __init__(self, message: object = None, model_name: str | None = None) -> None:
        super().__init__(message or model_name)


class Registry:
    """Constructors by name."""

    def __init__(self, **elements: Any) -> None:
        self._registry = dict(elements)

    def register(self, constructor: Any) -> Any:
        self._registry[constructor.__name__] = constructor
        return constructor

    def build(self, name: str, *arguments: Any, **more: Any) -> Any:
        try:
            return self._registry[name](*arguments, **more)
        except KeyError as error:  # one from inside a constructor, too
            raise InvalidModelError(name) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry)

    def __contains__(self, name: object) -> bool:
        return name in self._registry

    def __getitem__(self, name: str) -> Any:
        return self._registry[name]


class MultiSourceRegistry:
    """Registries by prefix."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, Registry] = OrderedDict()

    def register_source(self, prefix: str, registry: Registry) -> None:
        if prefix in self._sources:
            raise KeyError(prefix)
        self._sources[prefix] = registry

    def build(self, name: str, *arguments: Any, **more: Any) -> Any:
        prefix, _, rest = name.partition("_")
        if rest and prefix in self._sources:
            return self._sources[prefix].build(rest, *arguments, **more)
        for source in self._sources.values():
            try:
                return source.build(name, *arguments, **more)
            except InvalidModelError:
                continue
        raise Exception(f"{name} from no source")  # noqa: TRY002 (it raises just that)

    def keys(self) -> Any:
        return self._sources.keys()

    def __getitem__(self, prefix: str) -> Registry:
        return self._sources[prefix]


def files() -> Path | None:
    """Return the folder of TerraTorch, installed as a whole or beside this environment's packages.

    The latter is ``pip install --no-deps --target ENVIRONMENT/terratorch terratorch``.
    """
    beside = Path(sys.prefix) / "terratorch" / "terratorch"
    if beside.is_dir():
        return beside
    spec = importlib.util.find_spec("terratorch")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return Path(places[0]) if places else None


def put(monkeypatch: Any, folder: Path | None) -> Any:
    """Put TerraTorch's registry into ``sys.modules`` for a test; return the registry module.

    Parameters
    ----------
    folder : Path or None
        Of TerraTorch's own files; None for the stand-in.
    """
    for name in [name for name in sys.modules if name.split(".")[0] == "terratorch"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("terratorch", "terratorch.registry", "terratorch.models", "terratorch.utils"):
        module = types.ModuleType(name)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["terratorch.utils"].InvalidModelError = InvalidModelError  # type: ignore[attr-defined]
    if folder is None:
        registry = _standin()
        monkeypatch.setitem(sys.modules, "terratorch.registry.registry", registry)
    else:
        registry = _load(monkeypatch, "terratorch.registry.registry", folder)
    for part in ("FULL_MODEL_REGISTRY", "TERRATORCH_FULL_MODEL_REGISTRY"):
        for name in ("terratorch", "terratorch.registry"):
            setattr(sys.modules[name], part, getattr(registry, part))
    if folder is not None:
        _load(monkeypatch, "terratorch.models.terracodec", folder)
    return registry


def _standin() -> Any:
    module: Any = types.ModuleType("terratorch.registry.registry")
    module.Registry, module.MultiSourceRegistry = Registry, MultiSourceRegistry
    module.TERRATORCH_FULL_MODEL_REGISTRY = Registry()
    module.FULL_MODEL_REGISTRY = MultiSourceRegistry()
    module.FULL_MODEL_REGISTRY.register_source("terratorch", module.TERRATORCH_FULL_MODEL_REGISTRY)
    return module


def _load(monkeypatch: Any, name: str, folder: Path) -> Any:
    path = folder.joinpath(*name.split(".")[1:]).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module

"""Rules of the architecture: who may import whom, and how large a folder may be."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import tec_numcodecs
import tec_xarray
from tec_numcodecs.extras import EXTRAS

ROOT = Path(__file__).parents[2]
PACKAGES = ("tec_numcodecs", "tec_xarray")

#: Folders and modules of tec_xarray from the ground up: each imports only what stands before it.
FLOORS = (
    "cube store encoding stac execution gapfill report plots archive encode "
    "accessor testing demo cli"
).split()
#: Modules of more than one floor: errors, faces under old paths, versions, the tutorial scene.
ANYWHERE = {"errors", "layout", "versions", "tutorial"}
#: Methods that hand their own object to a floor above, and take nothing from it.
FORWARDING = {"tec_xarray.report.rate_sweep imports tec_xarray.plots.accessor"}  # Sweep.plot
TORCH = ("tec_numcodecs/models/terracodec", "tec_numcodecs/terratorch", "tec_numcodecs/training")


def modules() -> dict[str, Path]:
    """Every module of both packages by its dotted name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


MODULES = modules()


def imports(path: Path, *, typing_too: bool = False) -> Iterator[str]:
    """Dotted names that a file imports, inside functions, too; not those for type checkers."""

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                if typing_too:
                    yield from visit(child)
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    yield whole if whole in MODULES else child.module
            yield from visit(child)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")))


def graph() -> dict[str, set[str]]:
    return {
        name: {found for found in imports(path) if found in MODULES and found != name}
        for name, path in MODULES.items()
    }


def test_no_circle_even_in_functions() -> None:
    edges, done = graph(), set[str]()

    def climb(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in sorted(edges[name]):
                climb(other, (*trail, name))
            done.add(name)

    for name in sorted(edges):
        climb(name, ())


def test_the_codec_knows_nothing_of_xarray() -> None:
    wrong = [
        name
        for name, path in MODULES.items()
        if name.startswith("tec_numcodecs")
        and any(i.startswith("tec_xarray") for i in imports(path))
    ]
    assert wrong == []


def test_rooms_import_only_what_stands_below_them() -> None:
    wrong = []
    for name, path in MODULES.items():
        parts = name.split(".")
        if parts[0] != "tec_xarray" or len(parts) == 1 or parts[1] in ANYWHERE:
            continue
        for found in imports(path):
            other = found.split(".")
            if other[0] != "tec_xarray" or len(other) == 1 or other[1] in ANYWHERE:
                continue
            if FLOORS.index(other[1]) > FLOORS.index(parts[1]):
                wrong.append(f"{name} imports {found}")
    assert set(wrong) - FORWARDING == set()


def test_torch_is_imported_by_published_models_and_training_only() -> None:
    wrong = [
        name
        for name, path in MODULES.items()
        if any(found.split(".")[0] == "torch" for found in imports(path))
        and not path.relative_to(ROOT).as_posix().startswith(TORCH)
    ]
    assert wrong == []


def test_no_folder_of_more_than_fourteen_modules() -> None:
    count = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    crowded = {str(k.relative_to(ROOT)): n for k, n in count.items() if n > 14}
    exempt = {"tec_numcodecs/models/terracodec"}  # one file a layer of four published networks
    assert {k: n for k, n in crowded.items() if k not in exempt} == {}


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    import sys
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    modules_of = {
        "google-crc32c": "google_crc32c",
        "lazy-loader": "lazy_loader",
        "pystac-client": "pystac_client",
        "odc-geo": "odc",
        "odc-loader": "odc",
    }

    def declared(requirements: list[str]) -> set[str]:
        names = {r.split(">")[0].split("[")[0].split(";")[0].strip() for r in requirements}
        return {modules_of.get(name, name.replace("-", "_")) for name in names}

    core = declared(project["dependencies"])
    used = {
        found.split(".")[0]
        for path in MODULES.values()
        for found in imports(path)
        if found.split(".")[0] not in {*sys.stdlib_module_names, *PACKAGES, "__future__"}
    }
    # Signs assets of one catalog where somebody has it; nothing needs it.
    optional = {name.split(".")[0] for name in EXTRAS} | {"planetary_computer"}
    assert used - core - optional == set()
    assert core - used == set()


@pytest.mark.parametrize("package", [tec_numcodecs, tec_xarray])
def test_public_names_stand_in_one_table_and_have_docstrings(package) -> None:
    stub = ast.parse((Path(package.__file__).with_name("__init__.pyi")).read_text())
    listed = [
        a.asname or a.name for n in stub.body if isinstance(n, ast.ImportFrom) for a in n.names
    ]
    assert sorted(listed) == sorted(package.__all__) == sorted(set(listed))
    for name in listed:
        assert len((getattr(package, name).__doc__ or "").split()) > 3, name

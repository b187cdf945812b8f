"""The distribution: what is declared, what is installed, what an import costs."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import tec_numcodecs
import tec_xarray

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# The first `xr.open_zarr` imports these two: whoever looks into an array must not wait for torch.
ENTRY_POINTS = {
    "numcodecs.codecs": "tec_numcodecs.codec:TecCodec",
    "zarr.codecs": "tec_numcodecs.zarr3:TecSerializer",
}
HEAVY = (
    "torch",
    "tec_xarray",
    "xarray",
    "dask",
    "distributed",
    "pandas",
    "scipy",
    "matplotlib",
    "rioxarray",
    "safetensors.torch",
    "huggingface_hub",
)


def _python(code: str) -> str:
    """Run code in a fresh interpreter, from elsewhere, so that only what is installed counts."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(sys.prefix),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("group", ENTRY_POINTS)
def test_entry_points_are_declared_installed_and_load(group: str) -> None:
    target = ENTRY_POINTS[group]
    assert PROJECT["project"]["entry-points"][group] == {"tec_xarray": target}
    (installed,) = importlib.metadata.entry_points(group=group, name="tec_xarray")
    assert installed.value == target
    assert installed.load().__name__ == target.partition(":")[2]


@pytest.mark.parametrize("target", ENTRY_POINTS.values())
def test_entry_points_import_nothing_heavy(target: str) -> None:
    module = target.partition(":")[0]
    loaded = json.loads(_python(f"import {module}, sys, json; print(json.dumps([*sys.modules]))"))
    assert module in loaded
    assert sorted(set(HEAVY) & set(loaded)) == []


def test_the_codec_alone_needs_no_xarray() -> None:
    # Every module of the package, not only the entry points: xarray is the other package's.
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "tec_numcodecs").rglob("*.py")
        if "training" not in path.parts
    )
    code = f"import importlib, sys\nfor m in {modules}: importlib.import_module(m)\n"
    out = _python(code + "print(sorted({'xarray', 'dask', 'tec_xarray'} & set(sys.modules)))")
    assert out.strip() == "[]"


def test_imports_print_nothing_and_change_no_global_state() -> None:
    code = """
import torch, numpy, warnings, os
def state():
    return (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(), numpy.geterr(), dict(os.environ))
before = state()
import tec_numcodecs, tec_xarray
assert state() == before
"""
    assert _python(code) == ""


def test_version_is_one() -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    assert tec_numcodecs.__version__ == tec_xarray.__version__
    assert importlib.metadata.version("tec-xarray") == tec_numcodecs.__version__


def test_a_build_needs_only_setuptools() -> None:
    # Anything more in here would be fetched into every isolated build, torch with its gigabytes.
    names = [requirement.split(">")[0] for requirement in PROJECT["build-system"]["requires"]]
    assert names == ["setuptools"]


def test_the_core_has_no_upper_bounds_and_no_training_stack() -> None:
    requirements = PROJECT["project"]["dependencies"]
    assert [r for r in requirements if "<" in r or "==" in r or "~=" in r] == []
    assert not any(r.startswith(("compressai", "torchvision", "terracodec")) for r in requirements)


def test_the_command_is_declared_once_it_exists() -> None:
    assert PROJECT["project"]["scripts"] == {"tec": "tec_xarray.cli:main"}
    (installed,) = importlib.metadata.entry_points(group="console_scripts", name="tec")
    assert callable(installed.load())


@pytest.mark.parametrize("package", ["tec_numcodecs", "tec_xarray"])
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def _tracked(*under: str) -> list[str]:
    """Paths under version control, as a fresh clone would have them."""
    listing = ["git", "ls-files", "-z", "--", *under]
    done = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).exists()]


def _build_wheel(folder: Path, compiler: str | None) -> Path:
    """Build from a copy of the tracked files, since a build leaves its products in the source."""
    for name in _tracked():
        copy = folder / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    environment = {k: v for k, v in os.environ.items() if k not in ("CC", "TEC_REQUIRE_NATIVE")}
    if compiler is not None:
        environment["CC"] = compiler
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "-w",
            folder / "wheel",
            folder / "source",
        ],
        check=True,
        env=environment,
        timeout=600,
    )
    (wheel,) = (folder / "wheel").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheels built with this machine's compiler and without any."""
    return {
        kind: _build_wheel(tmp_path_factory.mktemp(kind), compiler)
        for kind, compiler in (("native", None), ("plain", "/nonexistent/cc"))
    }


@pytest.mark.slow
def test_wheel_holds_everything_and_nothing_else(wheels: dict[str, Path]) -> None:
    names = zipfile.ZipFile(wheels["native"]).namelist()
    expected = {name for name in _tracked("tec_numcodecs", "tec_xarray") if "/_csrc/" not in name}
    packed = {name for name in names if ".dist-info/" not in name and "/_native." not in name}
    assert packed == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_wheel_is_one_for_every_python(wheels: dict[str, Path]) -> None:
    if not list((ROOT / "tec_numcodecs" / "_csrc").glob("*.c")):
        pytest.skip("the C sources are not there yet")
    assert "-cp311-abi3-" in wheels["native"].name
    natives = [n for n in zipfile.ZipFile(wheels["native"]).namelist() if "/_native." in n]
    assert len(natives) == 1
    assert ".abi3." in natives[0] or natives[0].endswith(".pyd")


@pytest.mark.slow
def test_without_a_compiler_the_install_goes_on(wheels: dict[str, Path]) -> None:
    names = zipfile.ZipFile(wheels["plain"]).namelist()
    assert not any("/_native." in name for name in names)
    assert "tec_numcodecs/errors.py" in names


def test_importing_is_light() -> None:
    """What xarray itself imports, and a few small modules of ours: no torch, no matplotlib."""
    code = "import xarray, sys; before = {*sys.modules}; import tec_xarray; import json\n"
    loaded = json.loads(_python(code + "print(json.dumps(sorted({*sys.modules} - before)))"))
    assert "tec_xarray.accessor" in loaded
    heavy = {"torch", "matplotlib", "scipy", "distributed", "rioxarray", "pystac_client", "zarr"}
    assert sorted(heavy & {name.partition(".")[0] for name in loaded}) == []
    assert len([name for name in loaded if name.startswith("tec_")]) < 10


def test_versions_are_shown_without_importing_what_is_shown() -> None:
    code = "import tec_xarray, sys; tec_xarray.show_versions(); print('torch' in sys.modules)"
    out = _python(code)
    lines = out.splitlines()
    assert lines[-1] == "False"
    for name in ("python", "C extension", "tec-xarray", "zarr", "torch"):
        assert any(line.strip().startswith(f"{name}:") for line in lines)

"""The C cores on their own, with hostile input, under the address and undefined-behaviour checks.

Each `tests/native/<name>_stress.c` is a program of its own that returns 0 and prints nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "tec_numcodecs" / "_csrc"
FLAGS = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# Stress programs, the sources of the core that they need, and their arguments.
PROGRAMS = {"rans_stress": (["rans.c", "rans_tables.c"], ["2000", "1"])}


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A C compiler that links the sanitizers."""
    named = (os.environ.get("CC", "cc"), "gcc", "clang")
    found = next(filter(None, map(shutil.which, named)), None)
    if not found:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.c").write_text("int main(void) { return 0; }\n")
    if _run(found, *FLAGS, folder / "probe.c", "-o", folder / "probe").returncode:
        pytest.skip(f"{found} has no address and undefined-behaviour sanitizers")
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_stress(compiler: str, tmp_path: Path, name: str) -> None:
    cores, arguments = PROGRAMS[name]
    sources = [ROOT / "tests" / "native" / f"{name}.c", *(CSRC / core for core in cores)]
    strict = ["-std=c11", "-Wall", "-Wextra", f"-I{CSRC}"]
    built = _run(compiler, *strict, *FLAGS, *sources, "-o", tmp_path / name)
    assert (built.returncode, built.stderr) == (0, "")  # not even a warning
    run = _run(tmp_path / name, *arguments)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")

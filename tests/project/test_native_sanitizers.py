"""The C cores on their own, with hostile input, under the address and undefined-behavior checks.

Each `tests/native/<name>_stress.c` is a program of its own that returns 0 and prints nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from core_dump import dump

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "tec_numcodecs" / "_csrc"
FLAGS = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
RANS = ["rans_tables.c", "rans_encode.c", "rans_decode.c"]
CONTEXT = [f"context_{part}.c" for part in ("features", "network", "prices", "rows")]
CORE = sorted(
    f"core/{path.name}" for path in (CSRC / "core").glob("*.c") if not path.stem.endswith("_py")
)
SPECTRUM = [
    f"core/{part}.c"
    for part in ("spectrum", "spectrum_apply", "spectrum_choose", "spectrum_cost", "rotations")
]
# Stress program, the sources of the core that it needs, its arguments, further compiler flags.
CASES = {
    "rans": ("rans_stress.c", RANS, ["2000", "1"], []),
    "exact": ("exact_stress.c", ["exact.c", "words.c"], ["500"], ["-ffp-contract=off", "-lm"]),
    # As on a processor without AVX2.
    "exact-portable": (
        "exact_stress.c",
        ["exact.c", "words.c"],
        ["100"],
        ["-ffp-contract=off", "-DTEC_WORDS_PORTABLE", "-lm"],
    ),
    "context": ("context_stress.c", CONTEXT, ["300"], ["-ffp-contract=off", "-lm"]),
    "context-portable": (
        "context_stress.c",
        CONTEXT,
        ["100"],
        ["-ffp-contract=off", "-DTEC_CONTEXT_PORTABLE", "-lm"],
    ),
    "spectrum": ("spectrum_stress.c", [*SPECTRUM, *RANS], ["200"], ["-ffp-contract=off", "-lm"]),
    "transform": ("transform_stress.c", ["lifting.c", "klt.c"], ["60"], []),
    # As on a compiler that has no product of 128 bits.
    "rans-portable": ("rans_stress.c", RANS, ["500", "2"], ["-DTEC_RANS_NO_WIDE"]),
}

# So that the stress program can refuse memory.
SHORT = [f"-D{name}=short_{name}" for name in ("malloc", "calloc", "realloc")]


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
        pytest.skip(f"{found} has no address and undefined-behavior sanitizers")
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_stress(
    compiler: str, tmp_path: Path, case: tuple[str, list[str], list[str], list[str]]
) -> None:
    program, cores, arguments, more = case
    sources = [ROOT / "tests" / "native" / program, *(CSRC / core for core in cores)]
    strict = ["-std=c11", "-Wall", "-Wextra", f"-I{CSRC}"]
    built = _run(compiler, *strict, *FLAGS, *more, *sources, "-o", tmp_path / "stress")
    assert (built.returncode, built.stderr) == (0, "")  # not even a warning
    run = _run(tmp_path / "stress", *arguments)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def sections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and sections of all models."""
    path = tmp_path_factory.mktemp("core") / "sections"
    dump(path, ["fp", "elic", "tt", "flextec"], each=2, most=20)
    return path


def test_core_survives_damage_and_lack_of_memory(
    compiler: str, tmp_path: Path, sections: Path
) -> None:
    sources = [ROOT / "tests" / "native" / "core_stress.c"]
    sources += [CSRC / name for name in [*CORE, *RANS, *CONTEXT]]
    flags = ["-std=c11", "-Wall", "-Wextra", f"-I{CSRC}", *FLAGS, "-ffp-contract=off", *SHORT]
    built = _run(compiler, *flags, *sources, "-lm", "-o", tmp_path / "stress")
    assert (built.returncode, built.stderr) == (0, "")
    run = _run(tmp_path / "stress", sections, "48", "7")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


# Twins of what a processor or compiler lacks, and no choice of vector units at run time.
PORTABLE = ["CRC_PORTABLE", "CONTEXT_PORTABLE", "RANS_NO_WIDE", "ONE_VERSION"]


@pytest.mark.slow
def test_core_gives_the_same_however_it_is_compiled(
    compiler: str, tmp_path: Path, sections: Path
) -> None:
    sources = [ROOT / "tests" / "native" / "core_same.c"]
    sources += [CSRC / name for name in [*CORE, *RANS, *CONTEXT]]
    found = set()
    for flags in (["-O0"], ["-O3", *(f"-DTEC_{name}" for name in PORTABLE)], ["-O2"]):
        strict = ["-std=c11", "-Wall", "-Wextra", f"-I{CSRC}", "-ffp-contract=off", "-pthread"]
        built = _run(compiler, *strict, *flags, *sources, "-lm", "-o", tmp_path / "same")
        assert (built.returncode, built.stderr) == (0, "")
        for threads in ("1", "3"):
            run = _run(tmp_path / "same", sections, threads)
            assert (run.returncode, run.stderr) == (0, "")
            found.add(run.stdout)
    assert len(found) == 1

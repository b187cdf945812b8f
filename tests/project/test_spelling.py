"""One spelling everywhere, the American one, as in the libraries around us."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "docs", "notebooks", "tec_numcodecs", "tec_xarray", "tests", ".ci")
TEXT = {".py", ".pyi", ".md", ".toml", ".c", ".h", ".yml", ".cff", ".json", ""}

#: Rooms of version 1 of the format, which give way to those of version 2.
EXEMPT = (
    "tec_numcodecs/chunk/",
    "tec_numcodecs/models/mini/",
    "tec_numcodecs/reference",
    "tec_numcodecs/_csrc/",
    "benchmarks/levers/",
    "benchmarks/results/",
    "tests/conformance/",
    "tests/core/",
    "tests/fuzz/corpus/",
    "tests/helpers/annex_a.py",
    "tests/helpers/oracle_",
    "tests/models/test_mini_flextec.py",
    "tests/models/test_transform.py",
    "tests/native/",
    "tests/reference2/",
    "tests/project/test_spelling.py",
)
#: Names of tensors in files of weights, and of a function in C, which is exempt above.
NAMES = re.compile(r"""["`.]dequantiser\b|exact_quantise""")

BRITISH = re.compile(
    r"""
    (quant|harmon|normal|optim|standard|factor|maxim|minim|special|vector|general|discret|initial
     |organ|recogn|serial|regular|summar|character|util|token|parallel|visual|local|synchron|custom
     |final|categor|random|linear|priorit|symbol|capital|stabil|raster|equal)is(e|ed|er|ers|es|ing
     |ation|ations)(?![a-z])
    | colour | behaviour | neighbour | favour | honour | flavour
    | (?<![a-z])cent(re|red|res|ring)(?![a-z]) | (?<![a-z])grey | catalogue | dialogue
    | (?<![a-z])(model|label|level|signal|channel|travel)l(ed|ing|er)(?![a-z])
    | (?<![a-z])(analys(e|ed|ing)|licence|defence|metres|kilometres|programme|judgement|artefact)
      (?![a-z])
    | (?<![a-z])(spelt|learnt|whilst|amongst|fulfils|fulfil|practise|ageing)(?![a-z])
    """,
    re.IGNORECASE | re.VERBOSE,
)


def british(text: str) -> list[str]:
    """Find British forms, in words and inside of names such as ``my_colour``."""
    return [found.group() for found in BRITISH.finditer(NAMES.sub("", text).replace("_", " "))]


def texts() -> dict[str, str]:
    """Every text of ours by its path; what tests and builds leave behind is none."""
    paths = [path for path in ROOT.iterdir() if path.suffix in {".md", ".toml", ".cff", ".yml"}]
    paths += [ROOT / "Makefile", ROOT / "setup.py"]
    for folder in FOLDERS:
        paths += [path for path in (ROOT / folder).rglob("*") if path.suffix in TEXT]
    found = {path.relative_to(ROOT).as_posix(): path for path in paths if path.is_file()}
    return {
        name: path.read_text(encoding="utf-8", errors="replace")
        for name, path in found.items()
        if not name.startswith((*EXEMPT, "FORMAT")) and path.stat().st_size < 1 << 20
    }


def test_spelling_is_american() -> None:
    wrong = {
        f"{name}:{number}": words
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if (words := british(line))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("quantise the colours", ["quantise", "colour"]),
        ("my_centre and _neighbours", ["centre", "neighbour"]),
        ("precise, promise, rise, likewise, centered, concentrated", []),
        ("modelled on labelled data", ["modelled", "labelled"]),
        ('tensors["dequantiser.weight"]', []),
    ],
)
def test_the_rule_knows_words_from_names(text: str, found: list[str]) -> None:
    assert british(text) == found

"""Notebooks: a script, and beside it what it shows. `make notebooks` executes them."""

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))


def code_cells(source):
    """Return the code of each cell of a percent script."""
    pieces = re.split(r"^# %%(.*)$", source, flags=re.MULTILINE)[1:]
    kinds, bodies = pieces[0::2], pieces[1::2]
    return [b.strip("\n") for k, b in zip(kinds, bodies, strict=True) if "[markdown]" not in k]


def test_there_is_one_for_each_subject():
    names = " ".join(path.stem for path in SOURCES)
    for word in ("quick", "fp", "elic", "tt", "flextec", "stac", "good", "reading"):
        assert word in names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_executed_and_small(path):
    notebook = path.with_suffix(".ipynb")
    assert notebook.stat().st_size <= 2_000_000
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    assert ["".join(cell["source"]) for cell in cells] == code_cells(path.read_text())
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    text = json.dumps(outputs)
    assert "/work/" not in text
    assert "/root/" not in text
    assert "/home/" not in text

"""The Python blocks of the documentation run, page by page, but those that need the internet."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = {
    page.name: re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    for page in sorted(DOCS.glob("*.md"))
    if page.name != "terracodec.md"  # needs published weights: test_readme runs it
}
PAGES = [name for name, blocks in BLOCKS.items() if blocks]


def test_pages_are_found():
    assert {"index.md", "guide.md", "choosing.md", "cluster.md"} <= set(PAGES)
    remote = [block for blocks in BLOCKS.values() for block in blocks if "https://" in block]
    assert len(remote) == 1


@pytest.mark.parametrize("page", PAGES)
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "docs"}
    for block in BLOCKS[page]:
        if "https://" not in block:
            exec(compile(block, page, "exec"), names)

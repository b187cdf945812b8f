"""README's Python blocks run as they stand, all but the one that needs the internet."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
LOCAL = [block for block in BLOCKS if "https://" not in block]


def test_the_blocks_are_found():
    assert len(BLOCKS) - len(LOCAL) == 1
    assert len(LOCAL) >= 2


@pytest.mark.parametrize("block", LOCAL)
def test_block(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})

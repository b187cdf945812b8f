"""Python blocks of README and of the page on TerraCodec run as they stand."""

import re
from pathlib import Path

import pytest
import torch

import published
import terracodec_seeds as seeds

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text() + (ROOT / "docs" / "terracodec.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
# TerraTorch has an environment of its own: see tests/models/test_terratorch.py.
ELSEWHERE = ("https://", "FULL_MODEL_REGISTRY")
LOCAL = [block for block in BLOCKS if not any(word in block for word in ELSEWHERE)]
# These want checkpoints that the internet has; small ones of the same names stand in.
WEIGHTS = [block for block in LOCAL if "terracodec" in block]


def test_the_blocks_are_found():
    assert len(BLOCKS) - len(LOCAL) == 3
    assert len(LOCAL) >= 2


@pytest.mark.parametrize("block", [block for block in LOCAL if block not in WEIGHTS])
def test_block(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("block", WEIGHTS)
def test_block_with_published_weights(block, tmp_path, monkeypatch):
    from tec_xarray.tutorial import open_dataset

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(published.fill(tmp_path / "weights")))
    torch.save(seeds.elic_state(), tmp_path / "my-elic.pt")
    given = {
        "ds": open_dataset("0173706").isel(time=slice(1), y=slice(64), x=slice(64)),
        "x": torch.randn((1, 2, 12, 48, 48), generator=torch.Generator().manual_seed(0)),
    }
    exec(compile(block, "README.md", "exec"), {"__name__": "readme", **given})

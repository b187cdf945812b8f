"""Small published-style checkpoints in a directory, under the names that the hub gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

import terracodec_seeds as seeds
from tec_numcodecs.weights import published

#: One published rate of each model.
LAMS: Mapping[str, float] = {"fp": 40.0, "elic": 10.0, "tt": 5.0, "flextec": 800.0}


def state(model: str, *, bands: int = 12) -> seeds.State:
    """Return seeded tensors of a model."""
    if model == "fp":
        return seeds.fp_state(bands=bands)
    if model == "elic":
        return seeds.elic_state()
    return seeds.tt_state(bands=bands, flexible=model == "flextec")


def fill(directory: Path, models: Mapping[str, float] = LAMS) -> Path:
    """Put a checkpoint of each model into a directory; return the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for model, lam in models.items():
        torch.save(state(model), directory / published.published(model, lam).file)
    return directory


def fill_l1c(directory: Path) -> Path:
    """Put the 13-band temporal model into a directory; return the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    place = published.published("tt", 20.0, sensor="sentinel-2-l1c")
    torch.save(state("tt", bands=13), directory / place.file)
    return directory

"""From checkpoints to a weights file, and a weights file to begin with.

One file holds the whole family but `fp`: transform and linear rule as `fp` has them, the networks
of `elic`, `tt` and `flextec` in whole numbers, tables, reconstruction offsets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tec_numcodecs.models.base import Cube, Geometry, Rate
from tec_numcodecs.models.mini.refining import PASSES
from tec_numcodecs.training import data
from tec_numcodecs.training.calibrate import fit_offsets
from tec_numcodecs.training.export import companding, tabulate
from tec_numcodecs.training.perceptrons import PHASES, Family
from tec_numcodecs.weights import files, registry

Arrays = dict[str, NDArray[np.generic]]
_BUNDLED = Path(files.__file__).parent
_SIZE = 192
#: Prefix of the networks of each model.
PREFIX = {"elic": "elic", "tt": "tt", "flextec": "flex"}


def make_family(model: str, width: int) -> Family:
    """Untrained networks of a model."""
    return Family(width, model != "elic", PHASES * PASSES if model == "flextec" else PHASES)


def untrained(width: int = 8) -> Arrays:
    """Weights whose networks know the linear rule of `fp` and nothing else."""
    base = files.load_unchecked(registry.locate(registry.resolve("mini", "fp")))
    torch.manual_seed(0)
    elic = make_family("elic", width)
    arrays: Arrays = dict(base) | companding() | elic.freeze("elic") | elic.mixture.freeze()
    for model in ("tt", "flextec"):
        family = make_family(model, width)
        family.start_from(elic)
        arrays |= family.freeze(PREFIX[model])
    arrays |= tables(elic)
    middle = [round(32 - 32 / (1 << (PASSES - 1 - number)) - 5) for number in range(PASSES)]
    return arrays | {"flex.offsets": np.repeat(np.array(middle, np.int8)[:, None], 3, axis=1)}


def tables(family: Family) -> Arrays:
    """Tables of a family's mixture, and the offsets that it implies."""
    rows, offsets = tabulate(family.mixture)
    named: Arrays = {f"tables.{name}": value for name, value in rows.to_arrays().items()}
    return named | {"offsets": offsets}


def read_family(model: str, path: Path) -> Family:
    """The best weights of a checkpoint."""
    state = torch.load(path, weights_only=True)["best"]
    family = make_family(model, state["networks.0_0.second.bias"].shape[0])
    family.load_state_dict(state)
    return family


def freeze(start: Mapping[str, NDArray[np.generic]], checkpoints: Mapping[str, Path]) -> Arrays:
    """Put the networks of checkpoints into the arrays of a weights file.

    With new networks of `elic` come new tables; networks of the others that were fitted to the old
    ones go on with them as well as they can.
    """
    arrays: Arrays = dict(start)
    for model, path in checkpoints.items():
        family = read_family(model, path)
        arrays |= family.freeze(PREFIX[model])
        if model == "elic":
            arrays |= tables(family) | family.mixture.freeze()
    return arrays


def calibrate(arrays: Arrays, scenes: list[data.Scene], crops: int, rounds: int = 2) -> Arrays:
    """Measure reconstruction offsets on training scenes."""
    family = Family(8, False)
    family.mixture.thaw(arrays)
    implied = tables(family)["offsets"]
    for turn in range(rounds):
        arrays = arrays | fit_offsets(arrays, implied, _samples(scenes, crops, turn))
    return arrays


def _samples(
    scenes: list[data.Scene], count: int, seed: int
) -> Iterator[tuple[Cube, Geometry, Rate]]:
    """Random crops of the scenes at random rates."""
    rng = np.random.default_rng(seed)
    large = [scene for scene in scenes if min(scene.data.shape[2:]) >= _SIZE // 2]
    odds = np.array([scene.weight for scene in large])
    for _ in range(count):
        scene = large[rng.choice(len(large), p=odds / odds.sum())]
        date = rng.integers(scene.data.shape[0])
        size = min(_SIZE, *scene.data.shape[2:])
        y, x = (rng.integers(n - size + 1) for n in scene.data.shape[2:])
        cube = scene.data[date : date + 1, :, y : y + size, x : x + size].astype(np.int32)
        rate = Rate(int(rng.integers(60, 205)))
        yield cube, Geometry(cube.shape, scene.sensor, scene.bands), rate


def register(name: str, path: Path, digest: str) -> None:
    """Name the file in the list of bundled weights."""
    listing = _BUNDLED / "bundled.json"
    bundled = json.loads(listing.read_text())
    for model in PREFIX:
        bundled["mini"][model] = {"id": name, "file": path.name, "sha256": digest}
    listing.write_text(json.dumps(bundled, indent=2) + "\n")

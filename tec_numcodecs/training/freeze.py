"""From checkpoints to a weights file, and a weights file to begin with.

A file holds transform and linear rule as `fp` has them, networks in whole numbers, tables,
reconstruction offsets: one file for `elic` and `tt`, another for `flextec`, whose encoder decides
as `elic` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tec_numcodecs.models.base import Cube, Geometry, Rate
from tec_numcodecs.training import data
from tec_numcodecs.training.calibrate import fit_offsets
from tec_numcodecs.training.calibrate_passes import fit_pass_offsets, untrained_offsets
from tec_numcodecs.training.export import companding, tabulate
from tec_numcodecs.training.perceptrons import Family, PassFamily
from tec_numcodecs.weights import local_store, safetensors_io

Arrays = dict[str, NDArray[np.generic]]
_BUNDLED = Path(safetensors_io.__file__).parent
_SIZE = 192
#: Prefix of the networks of each model.
PREFIX = {"elic": "elic", "tt": "tt", "flextec": "flex"}
#: Models whose weights share a file.
SHARING = {"elic": ("elic", "tt"), "tt": ("elic", "tt"), "flextec": ("flextec",)}


def make_family(model: str, width: int) -> Family:
    """Untrained networks of a model."""
    return PassFamily(width) if model == "flextec" else Family(width, model == "tt")


def untrained(width: int = 8) -> Arrays:
    """Weights whose networks know the linear rule of `fp` and nothing else."""
    base = safetensors_io.load_unchecked(local_store.locate(local_store.resolve("mini", "fp")))
    torch.manual_seed(0)
    elic = make_family("elic", width)
    arrays: Arrays = dict(base) | companding() | elic.freeze("elic") | elic.mixture.freeze()
    arrays |= tables(elic)
    for model in ("tt", "flextec"):
        arrays |= begin(model, arrays, width)
    return arrays


def begin(model: str, arrays: Arrays, width: int) -> Arrays:
    """Networks of `tt` or `flextec` that know what those of `elic` know."""
    elic = make_family("elic", width)
    elic.thaw("elic", arrays)
    family = make_family(model, width)
    family.start_from(elic)
    begun = family.freeze(PREFIX[model])
    return begun if model == "tt" else begun | untrained_offsets()


def tables(family: Family) -> Arrays:
    """Tables of a family's mixture, and the offsets that it implies."""
    rows, offsets = tabulate(family.mixture)
    named: Arrays = {f"tables.{name}": value for name, value in rows.to_arrays().items()}
    return named | {"offsets": offsets}


def read_family(model: str, path: Path) -> Family:
    """The best weights of a checkpoint."""
    state = torch.load(path, weights_only=True)["best"]
    name = "0_0_0" if model == "flextec" else "0_0"
    family = make_family(model, state[f"networks.{name}.second.bias"].shape[0])
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


def only(model: str, arrays: Arrays) -> Arrays:
    """What belongs into the file that has a model: not the networks of models in other files."""
    others = [prefix for name, prefix in PREFIX.items() if name not in (*SHARING[model], "elic")]
    left_out = tuple(f"{prefix}." for prefix in others)
    return {name: values for name, values in arrays.items() if not name.startswith(left_out)}


def calibrate(arrays: Arrays, scenes: list[data.Scene], crops: int, rounds: int = 2) -> Arrays:
    """Measure reconstruction offsets on training scenes."""
    family = Family(8, False)
    family.mixture.thaw(arrays)
    implied = tables(family)["offsets"]
    for turn in range(rounds):
        arrays = arrays | fit_offsets(arrays, implied, _samples(scenes, crops, turn))
    return arrays


def calibrate_passes(
    arrays: Arrays, scenes: list[data.Scene], crops: int, rounds: int = 2
) -> Arrays:
    """Measure the reconstruction offsets of flextec's passes on training scenes."""
    for turn in range(rounds):
        arrays = arrays | fit_pass_offsets(arrays, _samples(scenes, crops, turn))
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


def register(model: str, name: str, path: Path, digest: str) -> None:
    """Name the file in the list of bundled weights, for a model and those that share it."""
    listing = _BUNDLED / "bundled.json"
    bundled = json.loads(listing.read_text())
    for each in SHARING[model]:
        bundled["mini"][each] = {"id": name, "file": path.name, "sha256": digest}
    listing.write_text(json.dumps(bundled, indent=2) + "\n")

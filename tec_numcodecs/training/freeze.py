"""From a checkpoint to a weights file: ``python -m tec_numcodecs.training.freeze``.

Whole-number networks and tables, reconstruction offsets measured on the training scenes, and with
``--register`` the entry among the bundled weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tec_numcodecs.models.base import Cube, Geometry, Rate
from tec_numcodecs.options import set_options
from tec_numcodecs.training import data
from tec_numcodecs.training.calibrate import fit_offsets
from tec_numcodecs.training.codebooks import read_codebooks
from tec_numcodecs.training.export import freeze
from tec_numcodecs.training.likelihood import Mixture
from tec_numcodecs.training.loop import load_state
from tec_numcodecs.training.network import ContextNet
from tec_numcodecs.weights import files

_BUNDLED = Path(files.__file__).parent
_SIZE = 192
_ROUNDS = 2


def samples(
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
        yield (
            cube,
            Geometry(cube.shape, scene.sensor, scene.bands),
            Rate(int(rng.integers(60, 205))),
        )


def main() -> None:
    """Freeze a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="directory with MANIFEST.tsv")
    parser.add_argument("--codebooks", help="weights file to take them from; default: bundled")
    parser.add_argument("--crops", type=int, default=150, help="for the reconstruction offsets")
    parser.add_argument("--out", type=Path, default=_BUNDLED / "mini-context.safetensors")
    parser.add_argument("--register", metavar="ID", help="make it the bundled weights")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    net, mixture = ContextNet(), Mixture()
    load_state(net, mixture, torch.load(arguments.checkpoint, weights_only=True)["averaged"])
    arrays = freeze(net, mixture, read_codebooks(arguments.codebooks))
    scenes = data.read_directory(arguments.data, "train")
    implied = arrays["offsets"]
    with set_options(threads=1):
        for turn in range(_ROUNDS):
            measured = fit_offsets(arrays, implied, samples(scenes, arguments.crops, turn))
            arrays = arrays | {"offsets": measured}
    digest = files.save(arguments.out, arrays)
    if arguments.register:
        _register(arguments.register, arguments.out, digest)


def _register(name: str, path: Path, digest: str) -> None:
    """Name the file in the list of bundled weights."""
    listing = _BUNDLED / "bundled.json"
    bundled = json.loads(listing.read_text())
    for model in ("elic", "tt", "flextec"):
        bundled["mini"][model] = {"id": name, "file": path.name, "sha256": digest}
    listing.write_text(json.dumps(bundled, indent=2) + "\n")


if __name__ == "__main__":
    main()

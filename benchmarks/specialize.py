"""What networks are worth that were fitted to one's own region.

    python -m benchmarks.specialize --data DIR --out RUN

Parts of one tile become a Zarr cube; ``python -m tec_numcodecs.training elic --data cube.zarr``
goes on from the bundled weights with it, as a user would; what comes out codes a part of the tile
that no training has seen, beside the bundled weights. Results go to
benchmarks/results/specialize.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cache import RESULTS
from benchmarks.metrics import Curve, bd_rate, geometric_mean, measure
from tec_numcodecs import chunk
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.training import data
from tec_numcodecs.weights import safetensors_io

TRAIN = ("majortom_199U_1099R", "majortom_199U_1099R_sw")
JUDGED = "majortom_199U_1099R_se"
LAMS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
RANGE = (32, 44)
#: Edge length of the images that are coded.
_SIDE = 256


def write_cube(found: Sequence[data.Scene], path: Path) -> None:
    """Scenes of one size, as dates of a cube."""
    import xarray as xr

    side = min(min(scene.data.shape[2:]) for scene in found)
    pixels = np.concatenate([scene.data[:, :, :side, :side] for scene in found])
    names = [found[0].sensor.bands[index] for index in found[0].bands]
    bands = {name: (("time", "y", "x"), pixels[:, i]) for i, name in enumerate(names)}
    xr.Dataset(bands).to_zarr(path, mode="w")


def train(cube: Path, run: Path, minutes: float, rate: float) -> Path:
    """Go on from the bundled weights; returns the new ones."""
    command = [sys.executable, "-m", "tec_numcodecs.training", "elic", "--keep-mixture"]
    command += ["--data", str(cube), "--out", str(run), "--rate", str(rate)]
    command += ["--sample-minutes", str(minutes), "--minutes", str(minutes)]
    subprocess.run(command, check=True)
    return run / "weights.safetensors"


def images(scene: data.Scene) -> list[np.ndarray[Any, Any]]:
    """Dates and corners of a scene, (1, C, 256, 256) each."""
    _, _, height, width = scene.data.shape
    corners = {(y, x) for y in (0, height - _SIDE) for x in (0, width - _SIDE)}
    return [
        np.ascontiguousarray(scene.data[t : t + 1, :, y : y + _SIDE, x : x + _SIDE])
        for t in range(len(scene.data))
        for y, x in sorted(corners)
    ]


def curve(pixels: np.ndarray[Any, Any], weights: Any) -> Curve:
    """Rate and quality at each lam."""
    found = []
    for lam in LAMS:
        settings = {"weights": weights} if weights else {}
        config = CodecConfig.parse("elic", lam, **settings)
        (stored,) = chunk.encode([pixels], config)
        (decoded,) = chunk.decode([stored], config)
        found.append(measure(pixels, np.asarray(decoded), len(stored)))
    return Curve.of(found)


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5, help="of sampling, and of fitting")
    parser.add_argument("--rate", type=float, default=5e-4, help="peak learning rate")
    options = parser.parse_args()
    every = {scene.name: scene for split in ("train", "val")
             for scene in data.read_directory(options.data, split)}  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    cube = options.out / "cube.zarr"
    write_cube([every[name] for name in TRAIN], cube)
    path = train(cube, options.out / "run", options.minutes, options.rate)
    digest = safetensors_io.digest_of(path)
    path.rename(path.with_name(f"{digest}.safetensors"))
    os.environ["TEC_WEIGHTS_DIR"] = str(path.parent)
    own = {"id": "mini-own", "sha256": digest}
    rows = []
    for number, pixels in enumerate(images(every[JUDGED])):
        bundled, special = curve(pixels, None), curve(pixels, own)
        rows.append((number, bd_rate(bundled, special, *RANGE)))
    _write(rows, options)


def _write(rows: list[tuple[int, float]], options: argparse.Namespace) -> None:
    mean = geometric_mean([change for _, change in rows])
    lines = [
        "# Specialized weights",
        "",
        f"`python -m benchmarks.specialize --data DIR --out RUN --minutes {options.minutes:g}`:",
        f"mini `elic` after {options.minutes:g} minutes of sampling and as many of fitting on",
        f"{', '.join(TRAIN)}, against the bundled weights; BD-rate over",
        f"{RANGE[0]} to {RANGE[1]} dB on the corners of {JUDGED}, 256 x 256 pixels each.",
        "",
        "| corner | bits |",
        "|---|---:|",
        *(f"| {number} | {change:+.1%} |" for number, change in rows),
        f"| all | {mean:+.1%} |",
    ]
    (RESULTS / "specialize.md").write_text("\n".join(lines) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

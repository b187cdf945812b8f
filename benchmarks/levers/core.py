"""Version 2 as the core writes it against version 1: ``python -m benchmarks.levers.core --data D``.

Real encodes, decoded again. Prints BD-rate from 32 to 50 dB and the change of lossless bytes, for
each scene and model; headers of both are taken to be as long.
"""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.levers import measure
from benchmarks.levers.__main__ import SCENES
from benchmarks.levers.coder import HEADER, Coded, Levers, rate_of
from benchmarks.levers.coder import encode as encode_1
from benchmarks.levers.transform import Scene, arrays_of
from tec_numcodecs.models.mini.core import Core, replication_of


@cache
def core_of(model: str) -> Core:
    """The core with bundled weights."""
    return Core(model, arrays_of(model))


def encode(scene: Scene, model: str, rate_index: int) -> Coded:
    """Encode one scene as one chunk of version 2, decode the bytes, and measure both."""
    coder = core_of(model).coder(scene.sensor, scene.bands)
    found = coder.encode(scene.data, rate_index, replication=replication_of(scene.data))
    t, _, height, width = scene.data.shape
    pixels, _ = coder.decode(found.data, (t, height, width), rate_index, found.symbols)
    return Coded(len(found.data) + HEADER, np.clip(pixels, 0, 65535), {})


def line(scene: Scene, model: str) -> str:
    """Changes of one scene."""
    base = measure.points(scene, model, Levers())
    found = [measure.point(scene, encode(scene, model, rate_of(value))) for value in measure.LAMS]
    exact = encode(scene, model, 0)
    if not np.array_equal(exact.pixels, scene.data):
        raise RuntimeError(f"{scene.name}: not lossless")
    before = encode_1(scene, model, 0, Levers()).size
    cells = (measure.gain(base, found), exact.size / before - 1)
    return f"| {scene.name} | {model} | " + " | ".join(f"{100 * x:+.1f}" for x in cells) + " |"


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", default="fp,elic")
    parser.add_argument("names", nargs="*", help=", ".join(SCENES))
    args = parser.parse_args()
    for name in args.names or SCENES:
        scene = SCENES[name](args.data)
        for model in args.models.split(","):
            print(line(scene, model), flush=True)


if __name__ == "__main__":
    main()

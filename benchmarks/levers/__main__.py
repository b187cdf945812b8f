"""Measure the levers on real scenes: ``python -m benchmarks.levers --data DIR [names]``.

Prints a line for each scene and lever: BD-rate against today's format, 32 to 50 dB, and the change
of lossless bytes, everything counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.levers import edges, lam, measure
from benchmarks.levers.coder import Levers, encode, rate_of
from benchmarks.levers.transform import Scene

LEVERS: Mapping[str, Levers] = {
    "native": Levers(native="deep"),
    "rotations": Levers(rotate=True),
    "grid": Levers(odd=True, weights=True),
    "together": Levers(native="deep", rotate=True, odd=True, weights=True),
    "together, 60 m at level 1": Levers(native="coarse", rotate=True, odd=True, weights=True),
}
SCENES: Mapping[str, Callable[[Path], Scene]] = {
    "stolar": lambda d: measure.load(d, "stolar_PL_699"),
    "dsen2-0": lambda d: measure.own_grids(d, 256, 0),
    "dsen2-3": lambda d: measure.own_grids(d, 256, 3),
    "dsen2-20m": lambda d: measure.own_grids(d, 256, 0, base=20),
    "eolearn": lambda d: measure.load(d, "eolearn_refscenes", dates=[4]),
    "worldcereal": lambda d: measure.load(d, "worldcereal_BE_good", dates=[3]),
    "hydro_1": lambda d: measure.load(d, "hydro_1"),
    "637U": lambda d: measure.load(d, "terramind_S2L2A_637U_59R_1_3"),
    "0181476": lambda d: measure.load(d, "terracodec_0181476", dates=[2]),
    "demmin": lambda d: measure.load(d, "konstide_demmin", 224),
}


def table(scene: Scene, model: str) -> list[str]:
    """Lines of one scene: BD-rate over 32 to 50 dB, over 32 to 40 dB, and lossless."""
    base = measure.points(scene, model, Levers())
    exact = encode(scene, model, 0, Levers()).size
    lines = []
    for name, levers in LEVERS.items():
        found = measure.points(scene, model, levers)
        coded = encode(scene, model, 0, replace(levers, unit=True))
        if not np.array_equal(coded.pixels, scene.data):
            raise RuntimeError(f"{scene.name}, {name}: not lossless")
        wide, low = measure.gain(base, found), measure.gain(base, found, 32, 40)
        cells = [f"{100 * x:+.1f}" for x in (wide, low, coded.size / exact - 1)]
        lines.append(f"| {scene.name} | {model} | {name} | " + " | ".join(cells) + " |")
    return lines


def profiles(scene: Scene) -> list[str]:
    """Errors at distances 0 and 1 of all sides, today and with the grid of odd length."""
    lines = []
    for name in ("", "grid"):
        levers = LEVERS.get(name, Levers())
        for value in (20, 200):
            coded = encode(scene, "fp", rate_of(value), levers)
            sides = edges.profile((coded.pixels - scene.data).astype(np.float64))
            cells = [f"{side} {x[0]:.2f} {x[1]:.2f}" for side, x in sides.items()]
            lines.append(f"| {scene.name} | {name or 'today'} | {value} | " + ", ".join(cells))
    return lines


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="fp", choices=("fp", "elic"))
    parser.add_argument("names", nargs="*", help=f"{', '.join(SCENES)}, edges, lam")
    args = parser.parse_args()
    for name in args.names or SCENES:
        if name == "lam":
            scenes = [SCENES[key](args.data) for key in ("hydro_1", "637U")]
            for model, found in lam.compare(scenes).items():
                for value, at in found.items():
                    print(model, value, at)
        elif name == "edges":
            print("\n".join(profiles(SCENES["hydro_1"](args.data))))
        else:
            print("\n".join(table(SCENES[name](args.data), args.model)), flush=True)


if __name__ == "__main__":
    main()

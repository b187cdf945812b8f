"""A real scene there and back: ``python -m tec_xarray.demo``, or ``make demo``.

Compresses four seasons of one place at two rates, reads both stores in another process that
imports nothing but xarray, prints what was saved and what was lost, and draws a picture of it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from rich.console import Console

import tec_xarray
from tec_xarray import plots, tutorial
from tec_xarray.report import Report

Samples: TypeAlias = np.ndarray[Any, np.dtype[Any]]

SCENE = "0173706"
RATES = (20, 200)

# What a reader does who has installed tec-xarray and never heard of it.
READER = """
import sys
import time
import xarray
start = time.perf_counter()
cube = xarray.open_zarr(sys.argv[1]).reflectance.load()
print(time.perf_counter() - start)
cube.values.tofile(sys.argv[2])
if "tec_xarray" in sys.modules or "torch" in sys.modules:
    sys.exit("reading imported more than it should")
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tec_xarray.demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR")
    output: Path = parser.parse_args(arguments).output
    output.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False, soft_wrap=True)
    scene = tutorial.open_dataset(SCENE)
    cube = tec_xarray.to_cube(scene)["reflectance"]
    console.print(f"[bold]{scene.attrs['title']}[/]\n{scene.attrs['attribution']}\n")
    decoded: dict[str, xr.DataArray] = {}
    for lam in RATES:
        report, values = run(scene, lam, output, console)
        if not np.array_equal(values.shape, cube.shape):
            console.print("[red]the reader got another shape[/]")
            return 1
        label = f"lam {lam}: {report.ratio:.1f} times smaller, {report.total.psnr:.1f} dB"
        decoded[label] = cube.copy(data=values)
    picture = output / "demo.png"
    figure = plots.side_by_side(cube, decoded, title=scene.attrs["title"])
    figure.savefig(picture, dpi=130)
    console.print(f"picture: [bold]{picture}[/]")
    return 0


def run(
    scene: xr.Dataset, lam: float, output: Path, console: Console
) -> tuple[Report, Samples]:
    """Compress, read in another process, report; return the report and what the reader got."""
    store = output / f"lam-{lam}.zarr"
    with console.status(f"lam {lam}: compressing"):
        start = time.perf_counter()
        stored = scene.tec.compress(model="fp", lam=lam, store=store, mode="w")
        encoded = time.perf_counter() - start
    with console.status(f"lam {lam}: reading it in another process"):
        read, values = read_elsewhere(store, output / f"lam-{lam}.raw", stored["reflectance"])
    with console.status(f"lam {lam}: measuring"):
        report: Report = stored.tec.report(scene)
    console.rule(f"lam {lam}")
    console.print(str(report), markup=False)
    console.print(
        f"\nwritten in {encoded:.1f} s, read in {read:.1f} s by another process that imported only "
        "xarray\n"
    )
    if not np.array_equal(values, stored["reflectance"].values):
        raise RuntimeError("the reader's pixels differ from ours")
    return report, values


def read_elsewhere(store: Path, target: Path, like: xr.DataArray) -> tuple[float, Samples]:
    """Read a store in a process that imports only xarray; return its seconds and its pixels."""
    command = [sys.executable, "-c", READER, str(store), str(target)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    values = np.fromfile(target, like.dtype).reshape(like.shape)
    target.unlink()
    return float(done.stdout), values


if __name__ == "__main__":
    raise SystemExit(main())

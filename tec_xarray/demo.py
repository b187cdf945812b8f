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

import numpy as np
import xarray as xr
from rich.console import Console

import tec_xarray
from tec_xarray import plots, tutorial
from tec_xarray.report import Report

SCENE = "0173706"
RATES = (2, 20)

# What a reader does who has installed tec-xarray and never heard of it.
READER = """
import sys
import numpy
import xarray
cube = xarray.open_zarr(sys.argv[1]).reflectance
numpy.save(sys.argv[2], cube.values)
assert "tec_xarray" not in sys.modules and "torch" not in sys.modules
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
) -> tuple[Report, np.ndarray[tuple[int, ...], np.dtype[np.uint16]]]:
    """Compress, read in another process, report; return the report and what the reader got."""
    store = output / f"lam-{lam}.zarr"
    with console.status(f"lam {lam}: compressing"):
        start = time.perf_counter()
        stored = scene.tec.compress(model="fp", lam=lam, store=store, mode="w")
        encoded = time.perf_counter() - start
    with console.status(f"lam {lam}: reading it in another process"):
        values_file = output / f"lam-{lam}.npy"
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", READER, store, values_file], check=True)  # noqa: S603
        read = time.perf_counter() - start
        values = np.load(values_file)
    with console.status(f"lam {lam}: measuring"):
        report: Report = stored.tec.report(scene)
    console.rule(f"lam {lam}")
    console.print(str(report), markup=False)
    console.print(
        f"\nwritten in {encoded:.1f} s; read in {read:.1f} s by a new process that imports "
        f"only xarray (most of it is starting Python)\n"
    )
    if not np.array_equal(values, stored["reflectance"].values):
        raise RuntimeError("the reader's pixels differ from ours")
    return report, values


if __name__ == "__main__":
    raise SystemExit(main())

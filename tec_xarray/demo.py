"""From a catalog to a verified archive and back: ``tec demo``, or ``make demo``.

A STAC API and a file server on this machine offer the scene that ships with the package. It is
searched for, archived at two rates on a Dask cluster of this machine, verified, read by another
process that imports nothing but xarray, compared with the original, and drawn.

The servers are those of the extra ``catalog``: stac-fastapi with an application of our own over a
file of items, because its database-backed applications need a database, and uvicorn serving files
with range requests. Without that extra the demo takes the scene out of the package, and says so.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from rich.console import Console

import tec_xarray
from tec_numcodecs.errors import InvalidInput
from tec_xarray import tutorial
from tec_xarray.execution.cluster import workers
from tec_xarray.plots import accessor
from tec_xarray.report.report import Report

Samples: TypeAlias = np.ndarray[Any, np.dtype[Any]]

SCENE = "0173706"
RATES = (20, 200)
WORKERS = 2
TILES = {"y": 132, "x": 132}

# What a reader does who has installed tec-xarray and never heard of it.
READER = """
import sys
import time
import xarray
start = time.perf_counter()
data = xarray.open_zarr(sys.argv[1])
cube = data.reflectance.load()
print(time.perf_counter() - start)
cube.values.tofile(sys.argv[2])
if "tec_xarray" in sys.modules or "torch" in sys.modules:
    sys.exit("reading imported more than it should")
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the demo from a command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tec_xarray.demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR")
    parser.add_argument("--lam", type=float, action="append", help="a rate; may be given again")
    given = parser.parse_args(arguments)
    run(given.output, given.lam or RATES)
    return 0


def run(output: Path, rates: Sequence[float] = RATES) -> None:
    """Run the demo.

    Parameters
    ----------
    output : pathlib.Path
        Gets the archives, ``lam-20.zarr`` and ``lam-200.zarr``, and ``demo.png``.
    rates : sequence of float
        Values of lam, each for an archive of its own.
    """
    output.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False, soft_wrap=True)
    scene = tutorial.open_dataset(SCENE)
    console.print(f"[bold]{scene.attrs['title']}[/]\n{scene.attrs['attribution']}\n")
    with source(console) as found, cluster(console):
        with console.status("reading all of it, to compare with"):
            original = found.compute()
        decoded = {}
        for lam in rates:
            label, values = there_and_back(found, original, lam, output, console)
            decoded[label] = values
    picture = output / "demo.png"
    figure = accessor.side_by_side(original, decoded, title=scene.attrs["title"])
    figure.savefig(picture, dpi=130)
    console.print(f"picture: [bold]{picture}[/]")


@contextlib.contextmanager
def source(console: Console) -> Iterator[xr.Dataset]:
    """Search the catalog; yields a lazy dataset of what it has."""
    from tec_xarray.testing.catalog import serve_scene

    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        try:
            with console.status("starting a catalog on this machine"):
                catalog = stack.enter_context(serve_scene(directory))
        except InvalidInput as error:
            console.print(f"no catalog ({error}): the scene is taken from the package\n")
            yield tutorial.open_dataset(SCENE).chunk(time=1)
            return
        start = time.perf_counter()
        found = tec_xarray.open_stac(
            catalog.url, collection="sentinel-2-l2a", datetime="2021/2022",
            query={"eo:cloud_cover": {"lt": 70}}, resolution=10,
        )  # fmt: skip
        console.print(
            f"catalog: {catalog.url}, made up around the real pixels\n"
            f"found in {time.perf_counter() - start:.1f} s: {found.sizes['time']} dates, "
            f"{len(found.data_vars) - 1} bands and SCL, {found.attrs['proj:code']}"
        )
        console.print()
        yield found


@contextlib.contextmanager
def cluster(console: Console) -> Iterator[None]:
    """Start workers; the archive finds them by itself."""
    with contextlib.ExitStack() as stack:
        with console.status("starting Dask workers"):
            stack.enter_context(workers(WORKERS))
        yield


def there_and_back(
    found: xr.Dataset, original: xr.Dataset, lam: float, output: Path, console: Console
) -> tuple[str, xr.DataArray]:
    """Archive, verify, read elsewhere, report; return a label and what the reader got."""
    name = f"lam-{lam:g}"
    store = output / f"{name}.zarr"
    with console.status(f"lam {lam:g}: archiving on {WORKERS} workers"):
        start = time.perf_counter()
        # In small chunks, so that a scene as small as this has more than one block to hand out.
        stored = found.tec.compress(model="fp", lam=lam, store=store, mode="w", chunks=TILES)
        encoded = time.perf_counter() - start
    with console.status(f"lam {lam:g}: verifying it"):
        checked = tec_xarray.verify(store)
    if not checked.ok:
        raise RuntimeError(str(checked))
    cube = stored["reflectance"]
    with console.status(f"lam {lam:g}: reading it in another process"):
        read, values = read_elsewhere(store, output / f"{name}.raw", cube)
    if not np.array_equal(values, cube.values):
        raise RuntimeError("the reader's pixels differ from ours")
    with console.status(f"lam {lam:g}: measuring"):
        report: Report = stored.tec.report(original)
    console.rule(f"lam {lam:g}")
    console.print(str(report), markup=False)
    console.print(
        f"\n{checked.blocks} blocks, archived in {encoded:.1f} s and verified: {checked.bytes:,} "
        f"bytes; read in {read:.1f} s by another process that imported only xarray\n"
    )
    label = f"lam {lam:g}: {report.ratio:.1f} times smaller, {report.total.psnr:.1f} dB"
    return label, cube.copy(data=values)


def read_elsewhere(store: Path, target: Path, like: xr.DataArray) -> tuple[float, Samples]:
    """Read a store in a process that imports only xarray; return its seconds and its pixels."""
    command = [sys.executable, "-c", READER, str(store), str(target)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    values = np.fromfile(target, like.dtype).reshape(like.shape)
    target.unlink()
    return float(done.stdout), values


if __name__ == "__main__":
    raise SystemExit(main())

"""Peak memory of a report on a cube that is larger than memory.

    python -m benchmarks.report_memory [--gigabytes 10] [--no-ssim]

The cube is made of shards of 4 x 12 x 1024 x 1024, all of them the bundled scene, repeated. One is
compressed, and its bytes stand for all: writing them does not count here, reading them does, as
each is read, decoded and compared on its own. The original is generated block by block on dask.
"""

from __future__ import annotations

import argparse
import math
import resource
import shutil
import tempfile
import time
from pathlib import Path

import dask.array
import numpy as np
import xarray as xr

from tec_xarray import tutorial

SIZE, DATES = 1024, 4
ACROSS = 5  # shards each way


def block() -> np.ndarray:
    """Return one shard's worth of pixels, (4, 12, 1024, 1024)."""
    scene = tutorial.open_dataset(layout="cube")["reflectance"].values[..., :256, :256]
    return np.tile(scene, (1, 1, SIZE // 256, SIZE // 256))


def cube(dates: int) -> xr.DataArray:
    """Return the lazy original: every block is made when it is asked for."""
    chunks = ((DATES,) * (dates // DATES), (12,), (SIZE,) * ACROSS, (SIZE,) * ACROSS)
    data = dask.array.map_blocks(lambda block_id: block(), chunks=chunks, dtype=np.uint16)  # noqa: ARG005
    bands = tutorial.open_dataset(layout="cube")["band"].values
    return xr.DataArray(
        data,
        dims=("time", "band", "y", "x"),
        coords={"time": np.arange(dates), "band": bands},
        name="reflectance",
        attrs={"nodata": 0},
    )


def write(original: xr.DataArray, store: Path) -> None:
    """Lay out the store, compress one shard, and copy it to every place."""
    original.tec.compress(lam=20).to_zarr(store, compute=False)
    one = store.parent / "one.zarr"
    original[:DATES, :, :SIZE, :SIZE].tec.compress(lam=20, store=one, progress=False)
    shard = one / "reflectance" / "c" / "0" / "0" / "0" / "0"
    for t in range(original.shape[0] // DATES):
        for y in range(ACROSS):
            for x in range(ACROSS):
                target = store / "reflectance" / "c" / str(t) / "0" / str(y) / str(x)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(shard, target)


def peak() -> float:
    """Return the largest resident set of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Write, report, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--no-ssim", action="store_true")
    arguments = parser.parse_args()
    per_step = DATES * 12 * (ACROSS * SIZE) ** 2 * 2 / 1e9
    original = cube(DATES * math.ceil(arguments.gigabytes / per_step))
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "cube.zarr"
        write(original, store)
        before, start = peak(), time.perf_counter()
        report = xr.open_zarr(store).tec.report(original, ssim=not arguments.no_ssim)
        seconds = time.perf_counter() - start
    print(report)
    print(
        f"\n{report.raw_bytes / 1e9:.2f} GB in {seconds:.0f} s; peak memory {peak():.2f} GB "
        f"({before:.2f} GB before the report)"
    )


if __name__ == "__main__":
    main()

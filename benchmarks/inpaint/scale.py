"""Time and memory of filling cubes that are larger than memory.

    python -m benchmarks.inpaint.scale [--dates 4] [--size 10980] [--blocks 4] [--cover 0.3]

The cube is the bundled scene, repeated, every date a little brighter or darker, under blobs of
cloud; all of it is made block by block on dask. Some blocks in the middle are filled, one after
the other, on one thread: what one worker needs.
"""

from __future__ import annotations

import argparse
import resource
import time

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tec_xarray import tutorial
from tec_xarray.gapfill.inpaint import inpaint

CHUNK = 1024


def cube(dates: int, size: int) -> xr.DataArray:
    """Return a lazy cube (T, 12, size, size), uint16."""
    scene = tutorial.open_dataset(layout="cube")["reflectance"]
    pixels = scene.to_numpy()[..., :256, :256]

    def block(block_info: dict[object, dict[str, list[tuple[int, int]]]]) -> NDArray[np.uint16]:
        (t, end), _, y, x = block_info[None]["array-location"]
        tile = np.tile(pixels[t % 4 : t % 4 + 1], (1, 1, 4, 4))[..., : y[1] - y[0], : x[1] - x[0]]
        random = np.random.default_rng(t)
        gain = random.uniform(0.9, 1.1, (end - t, 1, 1, 1))
        return (tile * gain + random.normal(0, 20, tile.shape)).clip(1, 20_000).astype(np.uint16)

    chunks = ((1,) * dates, (12,), *[tuple(_lengths(size))] * 2)
    data = da.map_blocks(block, chunks=chunks, dtype=np.uint16, meta=np.empty((0,) * 4, np.uint16))
    return xr.DataArray(
        data,
        dims=("time", "band", "y", "x"),
        coords={
            "time": np.datetime64("2021-01-01", "ns") + np.arange(dates) * np.timedelta64(12, "D"),
            "band": scene["band"].values,
        },
        name="reflectance",
        attrs={"nodata": 0},
    )


def clouds(dates: int, size: int, cover: float) -> xr.DataArray:
    """Return a lazy mask (T, size, size) of blobs."""

    def block(block_info: dict[object, dict[str, list[tuple[int, int]]]]) -> NDArray[np.bool_]:
        (t, _), y, x = block_info[None]["array-location"]
        random = np.random.default_rng((t, y[0], x[0]))
        smooth = gaussian_filter(random.normal(size=(y[1] - y[0], x[1] - x[0])), 30, mode="wrap")
        return (smooth > np.quantile(smooth, 1 - cover))[None]

    chunks = ((1,) * dates, *[tuple(_lengths(size))] * 2)
    data = da.map_blocks(block, chunks=chunks, dtype=np.bool_, meta=np.empty((0,) * 3, np.bool_))
    return xr.DataArray(data, dims=("time", "y", "x"))


def _lengths(size: int) -> list[int]:
    return [min(CHUNK, size - k) for k in range(0, size, CHUNK)]


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dates", type=int, default=4)
    parser.add_argument("--size", type=int, default=10_980)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--cover", type=float, default=0.3)
    given = parser.parse_args()
    start = time.perf_counter()
    found = inpaint(cube(given.dates, given.size), clouds(given.dates, given.size, given.cover))
    graph = time.perf_counter() - start
    down, across = found["reflectance"].data.numblocks[2:]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    places = [divmod(k, across) for k in range(down * across // 2, down * across)][: given.blocks]
    start, cpu, pixels = time.perf_counter(), time.process_time(), 0
    with dask.config.set(scheduler="synchronous"):
        for i, j in places or [(0, 0)]:
            names = ("reflectance", "error", "filled")
            values, error, filled = dask.compute(*(
                found[n].data.blocks[(..., i, j)] for n in names
            ))  # fmt: skip
            pixels += int(filled.sum())
            print(f"block {i}, {j}: {values.shape}, {pixels:,} pixels so far", flush=True)
            del values, error
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rate = 1e6 * cpu / max(pixels, 1)
    print(
        f"{given.dates} x 12 x {given.size} x {given.size} in {down} x {across} blocks, graph in "
        f"{graph:.1f} s; {len(places) or 1} filled: {pixels:,} pixels in {cpu:.0f} s of CPU "
        f"({wall:.0f} s), {rate:.0f} us a pixel; peak {peak / 1e6:.2f} GB, "
        f"{before / 1e6:.2f} GB before"
    )


if __name__ == "__main__":
    main()

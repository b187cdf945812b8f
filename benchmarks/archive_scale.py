"""What archiving a whole Sentinel-2 tile takes: tasks, graph, memory, throughput.

Lays out 10980 x 10980 pixels, 12 bands, 8 dates (23 GB of uint16, made up lazily, so that nothing
but our own work is measured), plans the whole, and encodes a part of it with 1 and 2 workers.

    python benchmarks/archive_scale.py [--side 2048] [--workers 1 2] [--json]

States the machine's load and the CPU seconds of tasks beside every time: on a machine that does
other work, throughput says little and their ratio less.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.distributed import Client, LocalCluster

import tec_xarray
from tec_numcodecs.sensors import get_sensor
from tec_xarray._journal import Journal
from tec_xarray._place import Place
from tec_xarray._run import groups
from tec_xarray.archive import Archive, work_of

TILE, DATES, SOURCE = 10980, 8, 2048


def tile(side: int = TILE) -> xr.Dataset:
    """A tile as odc-stac loads it: a variable for each band, a block for each file and 2048 px."""
    sensor = get_sensor("sentinel-2-l2a")
    shape, chunks = (DATES, side, side), (1, SOURCE, SOURCE)
    bands = {
        band: (("time", "y", "x"), da.map_blocks(_pixels, seed=i, shape=shape, dtype=np.uint16,
               chunks=da.core.normalize_chunks(chunks, shape)))
        for i, band in enumerate(sensor.bands)
    }  # fmt: skip
    times = np.datetime64("2024-03-01T10:20:30", "ns") + np.arange(DATES) * np.timedelta64(5, "D")
    return xr.Dataset(bands, {"time": times}, {"sensor": "sentinel-2-l2a"})


def _pixels(block_info: Any, seed: int, **_: Any) -> np.ndarray[Any, Any]:
    """Something with the spectrum of a landscape: relief at several scales, and noise."""
    place = block_info[None]
    random = np.random.default_rng([seed, *place["chunk-location"]])
    size = place["chunk-shape"][1:]
    out = np.full(size, 1200.0 + 150 * seed, np.float32)
    for step in (256, 64, 16, 4):
        coarse = random.normal(0, 2.2 * step**0.8, [-(-n // step) for n in size])
        out += np.kron(coarse, np.ones((step, step), np.float32))[: size[0], : size[1]]
    out += random.normal(0, 12, size)
    return np.clip(out, 1, 12000).astype(np.uint16)[None]


def plan() -> dict[str, Any]:
    """Time what the client does for a whole tile before the first block runs."""
    whole = tile()
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory) / "plan.zarr"
        start = time.perf_counter()
        marked = whole.tec.compress(lam=20)
        marking = time.perf_counter() - start
        # A small archive stands in for the large one: only its settings are used.
        tile(256).tec.compress(lam=20, store=store, shards=(4, 12, 1024, 1024))
        archive = Archive.open(Place.of(store, None, None))
        cube = marked["reflectance"]
        object.__setattr__(archive, "array", _like(archive.array, cube.shape))
        start = time.perf_counter()
        jobs = list(archive.jobs(DATES, 0, lossless_tail=False, tail=None))
        work = work_of(archive, marked, jobs)
        first = next(groups(jobs, work.sides))
        work.parts(first[0])
        graph = time.perf_counter() - start
        tasks = len(dict(cube.data.__dask_graph__())) + len(jobs)
    return {
        "raw_gigabytes": cube.nbytes / 1e9, "blocks": len(jobs), "tasks": tasks,
        "mark_seconds": marking, "graph_seconds": graph, "blocks_in_a_group": len(first),
    }  # fmt: skip


def _like(array: Any, shape: tuple[int, ...]) -> Any:
    from tec_xarray._place import variant

    return variant(array, shape)


def encode(side: int, workers: int) -> dict[str, Any]:
    """Encode a square of a tile on a local cluster, one thread a worker."""
    part = tile(side)
    raw = side * side * len(part.data_vars) * DATES * 2
    with (
        tempfile.TemporaryDirectory() as directory,
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        store = Path(directory) / "part.zarr"
        pids = list(client.run(os.getpid).values())
        client.run(_warm)
        peak, stop = [0], threading.Event()
        watcher = threading.Thread(target=_watch, args=(pids, peak, stop))
        watcher.start()
        before, load = client.run(time.process_time), os.getloadavg()[0]
        start = time.perf_counter()
        part.tec.compress(lam=20, store=store)
        seconds = time.perf_counter() - start
        cpu = sum(client.run(time.process_time).values()) - sum(before.values())
        stop.set()
        watcher.join()
        done = Journal(Place(str(store))).all()
        found = tec_xarray.info(store)
    return {
        "workers": workers, "raw_megabytes": raw / 1e6, "blocks": len(done), "seconds": seconds,
        "megabytes_a_second": raw / 1e6 / seconds, "cpu_seconds": cpu,
        "megabytes_a_cpu_second": raw / 1e6 / cpu,
        "task_seconds": sum(d.microseconds for d in done) / 1e6,
        "worker_peak_megabytes": peak[0] / 1e6, "load_before": load, "cores": os.cpu_count(),
        "ratio": found["ratio"], "psnr": found["psnr"],
    }  # fmt: skip


def _warm() -> None:
    from tec_numcodecs import TecCodec

    TecCodec(lam=20, bands=["B02"]).encode(np.full((1, 1, 64, 64), 1000, np.uint16))


def _watch(pids: list[int], peak: list[int], stop: threading.Event) -> None:
    """Follow the largest resident set of any worker."""
    import psutil

    processes = [psutil.Process(pid) for pid in pids]
    while not stop.wait(0.1):
        peak[0] = max([peak[0], *(p.memory_info().rss for p in processes if p.is_running())])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=2048, help="pixels of the part, each way")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {"plan": plan(), "runs": [encode(given.side, n) for n in given.workers]}
    if given.json:
        print(json.dumps(found))
        return
    for title, row in [
        ("plan of a whole tile", found["plan"]),
        *(("run", r) for r in found["runs"]),
    ]:
        print(title)
        for key, value in row.items():
            print(f"  {key:<24}{value:,.2f}" if isinstance(value, float) else f"  {key:<24}{value}")


if __name__ == "__main__":
    main()

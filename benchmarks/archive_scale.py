"""What archiving a whole Sentinel-2 tile takes: tasks, graph, memory, throughput.

Lays out 10980 x 10980 pixels, 12 bands, 8 dates (23 GB of uint16, made up lazily, so that nothing
but our own work is measured), plans the whole, and encodes a part of it with 1 and 2 workers.

    python benchmarks/archive_scale.py [--side 2048] [--workers 1 2] [--json] [--page FILE]

States the machine's load and the CPU seconds of workers beside every time: on a machine that does
other work, throughput says little and their ratio less. Ends with what a continent and a year would
take, as arithmetic from these figures.
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

import dask
import dask.array as da
import numpy as np
import xarray as xr
import zarr.storage
from dask.distributed import Client, LocalCluster

import tec_xarray
import tec_xarray.tutorial
from tec_numcodecs.sensors import get_sensor
from tec_xarray.archive import Archive, work_of
from tec_xarray.execution.scheduler import groups
from tec_xarray.store.journal import Journal
from tec_xarray.store.location import StoreLocation

TILE, DATES, SOURCE = 10980, 8, 2048

EUROPE = 10.2e6  # km2
TILE_STEP = 100  # km; tiles overlap by 9.8
DATES_A_YEAR = 73  # every fifth day
GPU_RATES = (100, 500, 2000)  # MB/s of a worker with a GPU: assumed


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
    whole, before = tile(), _resident()
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory) / "plan.zarr"
        start = time.perf_counter()
        marked = whole.tec.compress(lam=20)
        marking = time.perf_counter() - start
        # A small archive stands in for the large one: only its settings are used.
        tile(256).tec.compress(lam=20, store=store, shards=(4, 12, 1024, 1024))
        archive = Archive.open(StoreLocation.of(store, None, None))
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
        "client_megabytes": (_resident() - before) / 1e6,
    }  # fmt: skip


def _like(array: Any, shape: tuple[int, ...]) -> Any:
    from tec_xarray.store.objects import variant

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
        own, stop = _resident(), threading.Event()
        # The scheduler runs in this process.
        peak, here = [0], [0]
        watchers = [
            threading.Thread(target=_watch, args=(pids, peak, stop)),
            threading.Thread(target=_watch, args=([os.getpid()], here, stop)),
        ]
        for watcher in watchers:
            watcher.start()
        before, load = client.run(time.process_time), os.getloadavg()[0]
        start = time.perf_counter()
        part.tec.compress(lam=20, store=store)
        seconds = time.perf_counter() - start
        cpu = sum(client.run(time.process_time).values()) - sum(before.values())
        load = (load + os.getloadavg()[0]) / 2
        stop.set()
        for watcher in watchers:
            watcher.join()
        done = Journal(StoreLocation(str(store))).all()
        found = tec_xarray.info(store)
    return {
        "workers": workers, "raw_megabytes": raw / 1e6, "blocks": len(done), "seconds": seconds,
        "megabytes_a_second": raw / 1e6 / seconds, "cpu_seconds": cpu,
        "megabytes_a_cpu_second": raw / 1e6 / cpu,
        "task_seconds": sum(d.microseconds for d in done) / 1e6,
        "worker_peak_megabytes": peak[0] / 1e6,
        "client_and_scheduler_megabytes": (here[0] - own) / 1e6,
        "load": load, "cores": os.cpu_count(),
        "ratio": found["ratio"], "psnr": found["psnr"],
    }  # fmt: skip


def encode_here(side: int) -> dict[str, Any]:
    """Encode a square of a tile in this process, without a cluster: CPU seconds and memory."""
    part, store = tile(side), zarr.storage.MemoryStore()
    raw = side * side * len(part.data_vars) * DATES * 2
    _warm()
    peak, stop = [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=([os.getpid()], peak, stop))
    watcher.start()
    start, cpu = time.perf_counter(), time.process_time()
    with dask.config.set(scheduler="synchronous"):
        part.tec.compress(lam=20, store=store)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    stop.set()
    watcher.join()
    found = tec_xarray.info(store)
    return {
        "workers": 0, "raw_megabytes": raw / 1e6, "blocks": found["blocks"], "seconds": seconds,
        "megabytes_a_second": raw / 1e6 / seconds, "cpu_seconds": cpu,
        "megabytes_a_cpu_second": raw / 1e6 / cpu, "worker_peak_megabytes": peak[0] / 1e6,
        "load": os.getloadavg()[0], "cores": os.cpu_count(),
        "ratio": found["ratio"], "psnr": found["psnr"],
    }  # fmt: skip


def _warm() -> None:
    from tec_numcodecs import TecCodec

    TecCodec(lam=20, bands=["B02"]).encode(np.full((1, 1, 64, 64), 1000, np.uint16))


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _watch(pids: list[int], peak: list[int], stop: threading.Event) -> None:
    """Follow the largest resident set of any worker."""
    import psutil

    processes = [psutil.Process(pid) for pid in pids]
    while not stop.wait(0.1):
        peak[0] = max([peak[0], *(p.memory_info().rss for p in processes if p.is_running())])


def scene() -> dict[str, float]:
    """Code the bundled scene, whose pixels are real, as an archive does: what is stored of it."""
    data = tec_xarray.tutorial.open_dataset().isel(y=slice(0, 256), x=slice(0, 256))
    store = zarr.storage.MemoryStore()
    data.tec.compress(lam=20, store=store)
    found = tec_xarray.info(store)
    return {"ratio": found["ratio"], "psnr": found["psnr"]}


def continent(tile_plan: dict[str, Any], speed: float, ratio: float) -> list[tuple[str, str]]:
    """Work out what a continent and a year take, from MB of raw data per CPU second and a ratio."""
    tiles = EUROPE / TILE_STEP**2
    per_date = tile_plan["raw_gigabytes"] / DATES
    raw = tiles * per_date * DATES_A_YEAR / 1000  # TB
    blocks = tiles * tile_plan["blocks"] / DATES * DATES_A_YEAR
    core_hours = raw * 1e6 / speed / 3600
    rows = {
        "Europe": f"{EUROPE / 1e6:.1f} million km2, a tile for {TILE_STEP} km: {tiles:,.0f} tiles",
        "a year": f"{DATES_A_YEAR} dates of each, 12 bands at 10 m: {raw:,.0f} TB of uint16",
        "stored": f"{raw / ratio:,.1f} TB, {ratio:.0f} times smaller (lam 20, bundled scene)",
        "blocks": f"{blocks / 1e6:,.1f} million",
        "writes": f"{5 * blocks / 1e6:,.1f} million (block, SCL, three entries of the journal)",
        "coding": f"{core_hours:,.0f} core hours at {speed:.1f} MB per CPU second, reading back "
        "and checking every block included",
        "1,000 cores": f"{core_hours / 1000:,.1f} hours, if sources give {speed:.0f} GB/s",
    }
    for rate in GPU_RATES:
        hours = raw * 1e6 / rate / 100 / 3600
        rows[f"100 workers with GPUs, {rate} MB/s each"] = (
            f"{hours:,.1f} hours, if sources give {rate / 10:.0f} GB/s; the rate is an assumption: "
            "no GPU was here to measure, and `fp` has no use for one"
        )
    return list(rows.items())


def report(found: dict[str, Any]) -> str:
    """Write everything as a page of Markdown."""
    lines = ["# What archiving takes", "", "Printed by `python benchmarks/archive_scale.py`.", ""]
    tables = [("A whole tile: 10980 x 10980 pixels, 12 bands, 8 dates", found["plan"])]
    tables += [(f"A part of it, {run['workers']} workers", run) for run in found["runs"]]
    tables += [("Workers compared", found["compared"])] if found["compared"] else []
    for title, row in tables:
        lines += [f"## {title}", "", "| | |", "|---|---:|"]
        lines += [f"| {k.replace('_', ' ')} | {_number(v)} |" for k, v in row.items()]
        lines.append("")
    lines += ["## A continent and a year", "", "Arithmetic from the figures above.", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in found["continent"])]
    return "\n".join(lines) + "\n"


def compared(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare the last run with the first."""
    if len(runs) < 2:
        return {}
    one, many = runs[0], runs[-1]
    return {
        "workers": f"{many['workers']} : {one['workers']}",
        "throughput_ratio": many["megabytes_a_second"] / one["megabytes_a_second"],
        "cpu_seconds_ratio": many["cpu_seconds"] / one["cpu_seconds"],
        "cpu_of_wall_first": one["cpu_seconds"] / one["seconds"],
        "cpu_of_wall_last": many["cpu_seconds"] / many["seconds"],
        "load_first": one["load"],
        "load_last": many["load"],
    }


def _number(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=2048, help="pixels of the part, each way")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2], help="0: this process, no cluster"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--page", type=Path, help="write the page there, too")
    given = parser.parse_args()
    found: dict[str, Any] = {"plan": plan(), "runs": []}
    for workers in given.workers:
        found["runs"].append(encode(given.side, workers) if workers else encode_here(given.side))
    found["compared"] = compared(found["runs"])
    found["scene"] = scene()
    speed = max(run["megabytes_a_cpu_second"] for run in found["runs"])
    found["continent"] = continent(found["plan"], speed, found["scene"]["ratio"])
    if given.page:
        given.page.write_text(report(found), encoding="utf-8")
    print(json.dumps(found) if given.json else report(found))


if __name__ == "__main__":
    main()

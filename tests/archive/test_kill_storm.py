"""Kill -9 of workers and of the client at random moments, again and again, in one archive."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import xarray as xr

import tec_xarray
from archives import objects, series
from tec_numcodecs.errors import InvalidInput
from tec_xarray.store.journal import Journal
from tec_xarray.store.location import StoreLocation

CLIENT = Path(__file__).parents[1] / "helpers" / "storm_client.py"
LIMIT = 900  # seconds after which something hangs, on the slowest of machines


def states(store: Path) -> Any:
    """What the journal says of each block; None before there is one."""
    try:
        return Journal(StoreLocation(store)).states()
    except InvalidInput:
        return None


def entries(store: Path) -> int:
    """How many blocks are in the journal, without opening it."""
    return sum(p.is_file() for p in (store / "tec_journal/state/c").rglob("*"))


def children(client: psutil.Process) -> list[psutil.Process]:
    """The workers of a client that are alive."""
    found = client.children(recursive=True)
    return [p for p in found if "spawn_main" in " ".join(p.cmdline()) and p.is_running()]


def end(client: psutil.Popen) -> None:
    """Kill a client; its workers see that it is gone, and follow."""
    orphans = client.children(recursive=True)
    client.kill()
    client.wait(60)
    psutil.wait_procs(orphans, timeout=120)


def survives(journal: Any, before: Any) -> None:
    """No block that was there has been encoded again: microseconds would tell."""
    if before is not None:
        done = before[..., 0] > 0
        assert (journal[done] == before[done]).all()


def storm(kills: int, source: Path, store: Path, blocks: int, seed: int) -> None:
    """Start clients until the archive is whole; kill something of each of the first ones."""
    chance, seen, start = random.Random(seed), None, time.monotonic()
    command = [sys.executable, str(CLIENT), str(source), str(store)]
    client = psutil.Popen(command, stderr=subprocess.DEVNULL)
    for number in range(kills):
        aim = min(entries(store) + chance.randrange(1 + blocks // kills), blocks - 1)
        while client.poll() is None and entries(store) < aim:
            time.sleep(0.03)
            assert time.monotonic() - start < LIMIT
        time.sleep(chance.random() * 0.3)
        if client.poll() is not None:
            break
        alive = children(client)
        if number % 2 and alive:
            chance.choice(alive).kill()  # its nanny starts another; the client goes on
            continue
        end(client)
        now = states(store)
        if now is not None:
            survives(now, seen)
            seen = now
        client = psutil.Popen(command, stderr=subprocess.DEVNULL)
    assert client.wait(LIMIT) == 0
    survives(states(store), seen)


def check(tmp_path: Path, size: int, kills: int) -> None:
    whole, source, store = series(6, (size, size)), tmp_path / "in.zarr", tmp_path / "a.zarr"
    whole = whole.drop_vars("platform").chunk(time=2, y=128, x=128)
    whole.to_zarr(source, consolidated=False)
    blocks = 2 * (size // 64) ** 2
    storm(kills, source, store, blocks, seed=kills)
    calm = tmp_path / "calm.zarr"
    settings: dict[str, Any] = {"lam": 50, "chunks": (4, 3, 64, 64), "shards": False}
    original = xr.open_zarr(source)[["B02", "B04", "B8A", "SCL"]]
    original.tec.compress(**settings, store=calm, appendable=True)
    assert objects(store) == objects(calm)
    a, b = xr.open_zarr(store), xr.open_zarr(calm)
    np.testing.assert_array_equal(a["reflectance"], b["reflectance"])
    xr.testing.assert_identical(a.load().drop_attrs(), b.load().drop_attrs())
    assert tec_xarray.verify(store, original).ok
    assert not list(store.rglob("*.partial"))


def test_two_kills(tmp_path: Path) -> None:
    check(tmp_path, 192, 2)


@pytest.mark.slow
def test_ten_kills(tmp_path: Path) -> None:
    check(tmp_path, 384, 10)

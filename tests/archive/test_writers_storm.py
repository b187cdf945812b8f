"""Pairs of writers in processes of their own, at random delays: no date lost, no foreign pixel."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import tec_xarray
from archives import BANDS, series
from loopback import no_proxy
from s3server import BUCKET, KEYS, serve_s3
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_xarray.store.journal import Journal
from tec_xarray.store.location import StoreLocation

SIZE = (64, 64)
BOUND = 8  # DN; dates differ by 50
SETTINGS: dict[str, Any] = {"max_error": BOUND, "chunks": (2, 3, 32, 32), "shards": False}
KINDS = ("append", "later", "resume", "region", "compress", "copy to", "copy from")
PAIRS = 20


def write(kind: str, store: str, options: Any, delay: float, other: str) -> str:
    """What a writer does; runs in a process of its own. Returns what became of it."""
    where = {"storage_options": options}
    base = series(2, SIZE)
    time.sleep(delay)
    try:
        if kind in ("append", "later"):
            tec_xarray.append(series(2, SIZE, first=2 if kind == "append" else 6), store, **where)
        elif kind == "resume":
            tec_xarray.resume(base, store, **where)
        elif kind == "region":
            base.tec.compress(**SETTINGS, store=store, region={"time": slice(0, 2)}, **where)
        elif kind == "compress":
            base.tec.compress(**SETTINGS, store=store, mode="w", appendable=True, **where)
        elif kind == "copy from":
            tec_xarray.copy(store, other, target_storage_options=options, **where)
        else:
            tec_xarray.copy(other, store, target_storage_options=options, **where)
    except InvalidInput as error:
        return f"refused: {error}"
    except CorruptChunk as error:
        assert kind == "copy from"  # a writer came in the middle: the copy says so, and is none
        return f"refused: {error}"
    return "done"


def dates_of(store: str, options: Any) -> list[int]:
    """Which dates of the series are there; every pixel must be its own."""
    found = xr.open_zarr(store, storage_options=options).load()
    start = series(1, SIZE).time.values[0]
    steps = ((found.time.values - start) / np.timedelta64(5, "D")).astype(int).tolist()
    for position, step in enumerate(steps):
        want = series(1, SIZE, first=step)
        cube = found.reflectance.isel(time=position)
        for band in BANDS:
            error = np.abs(
                cube.sel(band=band).values.astype(int) - want[band].values[0].astype(int)
            )
            assert error.max() <= BOUND, (step, band)
        assert (found.SCL.values[position] == want.SCL.values[0]).all()
    return steps


def possible(kinds: tuple[str, str], said: tuple[str, str]) -> list[list[int]]:
    """What may be there after both, in either order."""
    done = [kind for kind, word in zip(kinds, said, strict=True) if word == "done"]
    ends = []
    for order in (done, done[::-1]):
        dates = [0, 1]
        for kind in order:
            if kind == "compress":
                dates = [0, 1]
            elif kind in ("append", "later"):
                dates = dates + ([2, 3] if kind == "append" else [6, 7])
        if dates == sorted(dates):
            ends.append(dates)
    return ends


def pair(number: int, pool: ProcessPoolExecutor, root: str, options: Any) -> str:
    dice = random.Random(number)
    kinds = (dice.choice(KINDS), dice.choice([k for k in KINDS if k != "copy to"]))
    delays = (dice.random() * 0.6, dice.random() * 0.6)
    store, other = f"{root}/{number}.zarr", f"{root}/{number}-other.zarr"
    if kinds[0] == "copy to":  # both copy to one place that is empty
        kinds = ("copy to", "copy to")
        series(2, SIZE).tec.compress(
            **SETTINGS, store=other, storage_options=options, appendable=True
        )
    else:
        series(2, SIZE).tec.compress(
            **SETTINGS, store=store, storage_options=options, appendable=True
        )
    if "resume" in kinds:
        Journal(StoreLocation(store, None, options), mode="r+").forget((0, 0, 1))
    others = (other, other if kinds[0] == "copy to" else other + "2")
    futures = [pool.submit(write, kind, store, options, delay, other)
               for kind, delay, other in zip(kinds, delays, others, strict=True)]  # fmt: skip
    said = (futures[0].result(300), futures[1].result(300))
    if tec_xarray.info(store, storage_options=options)["blocks_missing"]:
        # The resume came too late for a copy or a region, or was refused: it is called again.
        tec_xarray.resume(series(2, SIZE), store, storage_options=options)
    assert tec_xarray.verify(store, storage_options=options).ok, (number, kinds, said)
    assert dates_of(store, options) in possible(kinds, said), (number, kinds, said)
    for kind, word, copied in zip(kinds, said, others, strict=True):
        if kind == "copy from" and word == "done":
            assert tec_xarray.verify(copied, storage_options=options).ok
            dates_of(copied, options)
    return f"{number}: {kinds}, {[word[:60] for word in said]}"


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with no_proxy():
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=spawn) as found:
            yield found


@pytest.fixture(scope="module")
def s3(pool: ProcessPoolExecutor) -> Iterator[dict[str, Any]]:
    with serve_s3() as url:
        yield {"endpoint_url": url, **KEYS}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(PAIRS))
def test_a_pair_on_a_disk(number: int, pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    print(pair(number, pool, str(tmp_path), None))  # noqa: T201


@pytest.mark.slow
@pytest.mark.parametrize("number", range(PAIRS))
def test_a_pair_on_s3(number: int, pool: ProcessPoolExecutor, s3: dict[str, Any]) -> None:
    print(pair(number, pool, f"s3://{BUCKET}", s3))  # noqa: T201

"""Chunk and shard sizes follow the cube: small ones are one chunk, and no chunk is a sliver."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
import zarr

import tec_xarray
from archives import series
from tec_xarray.cube.chunking import BLOCKS, SHARD, dates_of_a_chunk, grid_of, side_of_a_chunk


def last(size: int, step: int) -> int:
    return (size - 1) % step + 1


def empty(dates: int, height: int, width: int) -> xr.DataArray:
    values = np.broadcast_to(np.uint16(0), (dates, 12, height, width))
    return xr.DataArray(values, dims=("time", "band", "y", "x"))


def test_a_side_below_384_is_one_chunk() -> None:
    assert [side_of_a_chunk(n) for n in range(1, 384)] == list(range(1, 384))


def test_longer_sides_are_cut_into_multiples_of_32_without_slivers() -> None:
    for size in range(384, 12_000):
        step = side_of_a_chunk(size)
        assert step % 32 == 0
        assert 192 <= step <= 352
        if size < 2900:
            assert 2 * last(size, step) >= step, size
        # Never does padding make the side much longer than plain 256 would.
        assert -(-size // step) * step <= max(1.2 * size, -(-size // 256) * 256)


@pytest.mark.parametrize("size", [512, 768, 1024, 2048, 10_240])
def test_multiples_of_256_stay_256(size: int) -> None:
    assert side_of_a_chunk(size) == 256


def test_a_sentinel_tile_keeps_256() -> None:
    assert side_of_a_chunk(10_980) == 256


def test_dates_are_cut_evenly() -> None:
    assert [dates_of_a_chunk(n) for n in range(1, 13)] == [1, 2, 3, 4, 5, 3, 4, 4, 3, 5, 4, 4]
    for count in range(6, 500):
        step = dates_of_a_chunk(count)
        assert 3 <= step <= 5
        # One more than a multiple of 3, 4 and 5 leaves one date over whatever the step.
        assert count % 60 == 1 or 2 * last(count, step) >= min(step, 4), count


def test_an_appendable_cube_has_room_for_four_dates() -> None:
    for dates in (1, 2, 5, 9):
        assert grid_of(empty(dates, 64, 64), None, None, 3, appendable=True).chunks[0] == 4


def test_shards_are_whole_chunks_and_many_enough_to_share() -> None:
    for dates, height, width in (
        (1, 1, 1), (4, 264, 264), (4, 512, 700), (4, 1024, 1024), (4, 2048, 2048), (4, 1098, 1830),
        (100, 512, 512), (8, 10_980, 10_980), (3, 300, 5000),
    ):  # fmt: skip
        grid = grid_of(empty(dates, height, width), None, None, 3, appendable=False)
        assert grid.shards is not None
        inside = [s / c for s, c in zip(grid.shards, grid.chunks, strict=True)]
        assert all(n == int(n) for n in inside)
        assert max(grid.shards[2:]) <= SHARD
        counts = [-(-n // s) for n, s in zip((dates, 12, height, width), grid.shards, strict=True)]
        assert math.prod(counts) >= BLOCKS or inside == [1, 1, 1, 1]


def test_a_large_area_keeps_shards_of_1024() -> None:
    assert grid_of(empty(4, 10_980, 10_980), None, None, 3, appendable=False).shards == (
        4, 12, 1024, 1024,
    )  # fmt: skip


def test_chips_cost_as_little_as_with_fitting_chunks() -> None:
    chips = series(6, (16, 20))
    default, fitting = zarr.storage.MemoryStore(), zarr.storage.MemoryStore()
    chips.tec.compress(lam=20, store=default)
    chips.tec.compress(lam=20, store=fitting, chunks=(3, 3, 16, 20))
    found = [tec_xarray.info(store)["stored_bytes"] for store in (default, fitting)]
    assert found[0] <= found[1]


@pytest.mark.parametrize("dates", [1, 3, 5, 8])
def test_append_fits_what_the_default_wrote(dates: int) -> None:
    store = zarr.storage.MemoryStore()
    series(dates, (20, 24)).tec.compress(lam=20, store=store, appendable=True)
    grown = tec_xarray.append(series(3, (20, 24), first=dates), store)
    assert grown.sizes["time"] == dates + 3
    assert tec_xarray.verify(store).ok

"""How an array is cut into chunks and shards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import xarray as xr

from tec_numcodecs.arguments import sequence, shown, whole
from tec_numcodecs.chunk.container import MAX_LENGTH
from tec_numcodecs.errors import InvalidInput

Shape: TypeAlias = "Sequence[int] | Mapping[str, int]"

TILE = 256  # pixels of a chunk, each way: what models are made for
DATES = 4  # of a chunk: what temporal models see at once
SHARD = 1024  # pixels of a shard, at most: an object of a megabyte or so, not of 50 kB
BLOCKS = 16  # that are handed out one by one: with fewer, the cores of a laptop stand idle

_WHOLE = TILE * 3 // 2  # below this, one chunk holds the whole side
_SIDES = (192, 224, 256, 288, 320, 352)  # multiples of 32, so that levels of a pyramid line up
_MOST_DATES = 5  # that are one chunk on their own
_LENGTHS = (3, 4, 5)


@dataclass(frozen=True)
class Grid:
    """How an array is cut: chunk and shard shape (None: no shards), four numbers each."""

    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None

    @property
    def block(self) -> tuple[int, ...]:
        """What must be written at once: two writers in one object would race."""
        return self.shards or self.chunks


def grid_of(
    cube: xr.DataArray,
    chunks: Shape | None,
    shards: Shape | bool | None,
    zarr_format: int,
    *,
    appendable: bool,
) -> Grid:
    """Decide how to cut an array, and check what was asked for.

    Parameters
    ----------
    cube : xarray.DataArray
        (time, band, y, x)
    chunks, shards, zarr_format
        As of `tec_xarray.compress`.
    appendable : bool
        Whether chunks have room for four dates, however many there are now.

    Raises
    ------
    InvalidInput
        Shapes that do not fit the array, one another or the format.
    """
    T, C, H, W = cube.shape
    dates = DATES if appendable else dates_of_a_chunk(T)
    default = (dates, C, side_of_a_chunk(H), side_of_a_chunk(W))
    chunk = default if chunks is None else _shape("chunks", chunks, cube, default)
    if chunk[1] != C:
        raise InvalidInput(
            f"chunks = {chunk}", allowed=f"all {C} bands in a chunk", fix=f"pass {C} for the bands"
        )
    if zarr_format == 2:
        if not (shards is None or shards is False):
            raise InvalidInput(
                f"shards = {shown(shards)}", allowed="None in format 2", fix="leave shards out"
            )
        return Grid(chunk, None)
    if shards is False:
        return Grid(chunk, None)
    room = _shard(cube.shape, chunk)
    shard = room if shards is None or shards is True else _shape("shards", shards, cube, room)
    if any(s % c for s, c in zip(shard, chunk, strict=True)):
        raise InvalidInput(
            f"shards = {shard} over chunks = {chunk}", allowed="whole multiples of the chunks"
        )
    return Grid(chunk, shard)


def side_of_a_chunk(size: int) -> int:
    """Return how many pixels of a side of `size` pixels one chunk takes.

    All below 384, else a multiple of 32 from 192 to 352 that fills the last chunk at least by half:
    what a chunk has too much is coded, too, and a chunk of 8 rows costs as much time as a whole
    one.
    """
    return size if size < _WHOLE else _even(size, _SIDES, TILE)


def dates_of_a_chunk(count: int) -> int:
    """Return how many of `count` dates one chunk takes: all up to 5, else 3 to 5, as for pixels."""
    return count if count <= _MOST_DATES else _even(count, _LENGTHS, DATES)


def _even(size: int, steps: Sequence[int], best: int) -> int:
    """Return the step that wastes least on `size` among those that leave no sliver at the end."""

    def last(step: int) -> int:
        return (size - 1) % step + 1

    def cost(step: int) -> float:
        # An octave away from the best size is as bad as a tenth of padding.
        return (step - last(step)) / size + 0.1 * abs(math.log2(step / best))

    whole_enough = [step for step in steps if 2 * last(step) >= step]
    if not whole_enough:  # of thousands of pixels, or one date too many for each
        return max(steps, key=lambda step: last(step) / step)
    return min(whole_enough, key=cost)


def _shard(shape: Sequence[int], chunk: Sequence[int]) -> tuple[int, ...]:
    """Return shards of whole chunks: as large as may be, but enough of them to share the work.

    Never larger than the data: a reader of one pixel reads the index of a whole shard.
    """
    counts = [-(-n // c) for n, c in zip(shape, chunk, strict=True)]
    most = [max(SHARD // c, 1) for c in chunk[2:]]
    while True:
        blocks = [-(-n // m) for n, m in zip(counts[2:], most, strict=True)]
        if counts[0] * math.prod(blocks) >= BLOCKS or most == [1, 1]:
            break
        most = [max(m // 2, 1) for m in most]
    inside = [-(-n // b) for n, b in zip(counts[2:], blocks, strict=True)]
    return (*chunk[:2], *(n * c for n, c in zip(inside, chunk[2:], strict=True)))


def _shape(label: str, given: Any, cube: xr.DataArray, default: tuple[int, ...]) -> tuple[int, ...]:
    dims = [str(dim) for dim in cube.dims]
    if isinstance(given, Mapping):
        unknown = [str(key) for key in given if key not in dims]
        if unknown:
            raise InvalidInput(f"{label} along {', '.join(unknown)}", allowed=", ".join(dims))
        values = [given.get(dim, size) for dim, size in zip(dims, default, strict=True)]
    else:
        values = given
    try:
        items = sequence(label, values, "four numbers", str(default))
        sizes = [whole(label, item, -1, MAX_LENGTH) for item in items]
    except InvalidInput:
        sizes = []
    if len(sizes) != 4 or 0 in sizes:
        raise InvalidInput(
            f"{label} = {shown(given)}",
            allowed=f"four numbers > 0, for {', '.join(dims)}, or a dict of some",
            fix=f"for example {label}={default}",
        )
    return tuple(n if v == -1 else v for n, v in zip(cube.shape, sizes, strict=True))

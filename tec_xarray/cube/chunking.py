"""How an array is cut into chunks and shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import xarray as xr

from tec_numcodecs.arguments import sequence, shown, whole
from tec_numcodecs.chunk.container import MAX_LENGTH
from tec_numcodecs.errors import InvalidInput

Shape: TypeAlias = "Sequence[int] | Mapping[str, int]"

TILE = 256  # pixels of a chunk, each way: what models are made for
SHARD = 1024  # pixels of a shard: an object of a megabyte or so, not of 50 kB
DATES = 4  # of a chunk: what temporal models see at once


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

    Raises
    ------
    InvalidInput
        Shapes that do not fit the array, one another or the format.
    """
    T, C, H, W = cube.shape
    default = (DATES if appendable else min(T, DATES), C, TILE, TILE)
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
    # No larger than the data: a reader of one pixel reads the index of a whole shard.
    room = (chunk[0], C, *(min(-(-n // c), max(SHARD // c, 1)) * c
                           for n, c in zip((H, W), chunk[2:], strict=True)))  # fmt: skip
    shard = room if shards is None or shards is True else _shape("shards", shards, cube, room)
    if any(s % c for s, c in zip(shard, chunk, strict=True)):
        raise InvalidInput(
            f"shards = {shard} over chunks = {chunk}", allowed="whole multiples of the chunks"
        )
    return Grid(chunk, shard)


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

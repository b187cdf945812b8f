"""One rate for a whole cube: found on a few of its chunks, so that the cube reaches a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tec_numcodecs.arithmetic import ieee754
from tec_numcodecs.chunk import decoding
from tec_numcodecs.chunk.samples import Masks
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.options import reading_as_stored
from tec_numcodecs.rate_control import Search, Target, psnr

MOST_CHUNKS = 24  # that are looked at; and never more than half of the cube's

Samples = NDArray[Any]


@ieee754
def lam_for_cube(cube: xr.DataArray, chunks: Sequence[int], config: CodecConfig) -> float | None:
    """Find the lam at which a cube reaches its target.

    Chunks spread evenly over the cube are coded whole, so that every byte and every pixel of them
    counts; the others are taken to be like them. One rate for all is what spends bits best: chunks
    that are easy come out better, those that are hard worse than the target.

    Parameters
    ----------
    cube : xarray.DataArray
        (time, band, y, x)
    chunks : sequence of int
        Shape of a chunk.
    config : CodecConfig
        With a target.

    Returns
    -------
    float or None
        None if the cube is a single chunk, whose own search does it.

    Raises
    ------
    InvalidInput
        No rate keeps the target on the chunks looked at.
    """
    scale = config.spec.family.rate_scale()
    if config.target is None or scale is None:
        raise InvalidInput("per = 'cube' without psnr or bpppb", allowed="one of them")
    places = _places(cube.shape, chunks)
    if len(places) == 1:
        return None
    wanted = min(MOST_CHUNKS, len(places) // 2)
    samples = _read(cube, chunks, places, wanted, config.nodata)
    if not samples:  # nothing but missing data: any rate will do
        return None
    search = Search(config.target)
    values = {}
    while True:
        index = max(search.index, 1)
        values[search.index] = _measure(samples, config, scale.lam_of(index))
        if search.tell(values[search.index]):
            break
    best = max(search.best, 1)
    _check_kept(values[search.best], config.target)
    return scale.lam_of(best)


def _places(shape: Sequence[int], chunks: Sequence[int]) -> list[tuple[int, ...]]:
    counts = [-(-n // c) for n, c in zip(shape, chunks, strict=True)]
    return list(np.ndindex(*counts))


def _read(
    cube: xr.DataArray,
    chunks: Sequence[int],
    places: Sequence[tuple[int, ...]],
    wanted: int,
    nodata: float | None,
) -> list[Samples]:
    """Read chunks that hold anything, evenly spread; look at twice as many at most."""
    found: list[Samples] = []
    count = min(2 * wanted, len(places))
    spread = [places[(2 * i + 1) * len(places) // (2 * count)] for i in range(count)]
    for place in [*spread[::2], *spread[1::2]]:
        region = tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, chunks, strict=True))
        values = np.asarray(cube[region].values)
        if not Masks.of(values, nodata).union(values.shape).all():
            found.append(values)
        if len(found) == wanted:
            break
    return found


def _measure(samples: Sequence[Samples], config: CodecConfig, lam: float) -> float:
    """PSNR or bits of chunks coded at a lam."""
    settings = {k: v for k, v in config.to_json().items() if k not in ("psnr", "bpppb")}
    fixed = CodecConfig.from_json(settings | {"lam": lam})
    squares = valid = size = 0.0
    for values in samples:  # one at a time: memory stays that of a chunk
        (data,) = decoding.encode([values], fixed)
        seen = ~Masks.of(values, config.nodata).union(values.shape)
        size += len(data)
        valid += int(seen.sum())
        if config.target is not None and config.target.kind == "psnr":
            with reading_as_stored(1 << 62):
                (decoded,) = decoding.decode([data], fixed)
            error = decoded[seen].astype(np.float64) - values[seen]
            squares += float(np.square(error / config.scale).sum())
    if config.target is not None and config.target.kind == "psnr":
        return psnr(squares, int(valid))
    return 8 * size / valid


def _check_kept(value: float, target: Target) -> None:
    kept = value >= target.value if target.kind == "psnr" else value <= target.value
    if not kept:
        end = "best" if target.kind == "psnr" else "least"
        raise InvalidInput(
            f"{target.kind}={target.value:g}, but the {end} is {value:.4g}",
            allowed="what the model reaches on this cube",
            fix="choose another target, or max_error=0 for lossless",
        )

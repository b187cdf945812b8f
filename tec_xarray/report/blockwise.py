"""Walk through two cubes in blocks, so that memory is bounded whatever their size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tec_xarray.cube.bands import places_of_bands
from tec_xarray.cube.units import DN_PER_REFLECTANCE, DNScaling
from tec_xarray.report.metrics import INDICES, Plan, Tally, tally

Region: TypeAlias = tuple[slice, slice, slice, slice]

BLOCK = 1024  # pixels each way. SSIM windows stay inside of a block: fixed, or figures would vary
MOST_DATES = 8  # of a block
AT_ONCE = 4  # blocks that may be in flight on dask


def scaling_of(codec: Mapping[str, Any], dtype: np.dtype[Any], cube: xr.DataArray) -> DNScaling:
    """Read from a codec's configuration what values mean, or judge by the dtype without one.

    Integers that xarray made floats of (`mask_and_scale`) have been scaled by CF attributes
    already, which are in the encoding then; NaN marks what is missing in them.
    """
    reflectance = dtype.kind == "f"
    scale = float(codec.get("scale", 1 / DN_PER_REFLECTANCE if reflectance else 1.0))
    offset = float(codec.get("offset", 0.0))
    nodata = codec.get("nodata", cube.attrs.get("nodata"))
    if dtype.kind in "iu" and cube.dtype.kind == "f":
        factor = float(cube.encoding.get("scale_factor", 1.0))
        shift = float(cube.encoding.get("add_offset", 0.0))
        return DNScaling(scale * factor, offset * factor + shift)
    return DNScaling(scale, offset, None if nodata is None else float(nodata))


def measure(
    cube: xr.DataArray,
    reference: xr.DataArray,
    scalings: tuple[DNScaling, DNScaling],
    *,
    dates: int,
    plan: Plan,
) -> Tally:
    """Compare two cubes of one shape (T, C, H, W), `dates` dates at a time.

    Cubes on dask are compared on its workers, a few blocks at once, and only sums come back.
    """
    T, C, H, W = cube.shape
    down, across = (-(-n // size) for n, size in zip((H, W), plan.tile, strict=True))
    total = Tally.zeros(T, C, (down, across), len(plan.indices))
    regions = list(_regions(T, H, W, max(1, min(dates, MOST_DATES))))
    lazy = cube.chunks is not None or reference.chunks is not None
    for batch in _batches(regions):
        if lazy:
            blocks = _on_dask(cube, reference, batch, scalings, plan)
        else:
            blocks = [
                _block(cube[r].values, reference[r].values, scalings, plan, _corner(r, plan))
                for r in batch
            ]
        for region, block in zip(batch, blocks, strict=True):
            t, _, y, x = (part.start or 0 for part in region)
            total.add(block, (t, y, x), (y // plan.tile[0], x // plan.tile[1]))
    return total


def _on_dask(
    cube: xr.DataArray,
    reference: xr.DataArray,
    batch: list[Region],
    scalings: tuple[DNScaling, DNScaling],
    plan: Plan,
) -> list[Tally]:
    from dask.base import compute
    from dask.delayed import delayed

    task = delayed(_block, pure=False)
    tasks = [task(cube[r].data, reference[r].data, scalings, plan, _corner(r, plan)) for r in batch]
    return list(compute(*tasks))  # type: ignore[no-untyped-call]


def _block(
    decoded: NDArray[Any],
    original: NDArray[Any],
    scalings: tuple[DNScaling, DNScaling],
    plan: Plan,
    corner: tuple[int, int],
) -> Tally:
    ours, theirs = scalings
    return tally(np.asarray(original), np.asarray(decoded), (theirs, ours), plan, corner)


def _corner(region: Region, plan: Plan) -> tuple[int, int]:
    """Return where in its tile the first pixel of a region is."""
    return region[2].start % plan.tile[0], region[3].start % plan.tile[1]


def _regions(T: int, H: int, W: int, dates: int) -> Iterator[Region]:
    for t, y, x in itertools.product(range(0, T, dates), range(0, H, BLOCK), range(0, W, BLOCK)):
        yield (
            slice(t, min(t + dates, T)),
            slice(None),
            slice(y, min(y + BLOCK, H)),
            slice(x, min(x + BLOCK, W)),
        )


def _batches(regions: list[Region]) -> Iterator[list[Region]]:
    for start in range(0, len(regions), AT_ONCE):
        yield regions[start : start + AT_ONCE]


def places_of_indices(cube: xr.DataArray) -> dict[str, tuple[int, int]]:
    """Return where the two bands of each index stand in a cube (time, band, y, x) that has both."""
    found = {name: places_of_bands(cube, pair) for name, pair in INDICES.items()}
    return {name: (a, b) for name, (a, b) in found.items() if min(a, b) >= 0}

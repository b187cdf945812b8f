"""Write part of an archive anew: whole blocks only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from tec_numcodecs.arguments import as_number, shown
from tec_numcodecs.errors import InvalidInput
from tec_xarray.archive.handle import Archive, interrupted
from tec_xarray.archive.matching import check_region
from tec_xarray.archive.template import stored_values
from tec_xarray.archive.to_zarr import settings
from tec_xarray.archive.writing import finish, go
from tec_xarray.cube.layout import cube_of
from tec_xarray.execution.cluster import check_reach
from tec_xarray.execution.scheduler import How
from tec_xarray.store.codec_metadata import AnyArray, configuration, configuration_in
from tec_xarray.store.journal import Journal, has_journal
from tec_xarray.store.lease import Lease, writing
from tec_xarray.store.location import StoreLocation, WriteTarget
from tec_xarray.store.objects import block_shape
from tec_xarray.store.overlap import check_apart
from tec_xarray.store.reading import open_store


def write_region(
    marked: xr.Dataset, target: WriteTarget, region: Mapping[str, slice], how: How | None = None
) -> None:
    """Write into part of an array that exists, if that touches whole blocks of it only."""
    place, how = target.location, how or How()
    check_reach(place.store)
    check_apart(marked, place)
    with writing(place, "write of a region", how.patience) as lease:
        _write_region(marked, target, region, how, lease)


def _write_region(
    marked: xr.Dataset, target: WriteTarget, region: Mapping[str, slice], how: How, lease: Lease
) -> None:
    place, group = target.location, target.open()
    cube = cube_of(marked)
    name = str(cube.name)
    if name not in group:
        raise InvalidInput(f"no {name!r} in {place.label}", allowed=", ".join(group.array_keys()))
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise InvalidInput(f"{name!r} in {place.label} is a group", allowed="an array")
    _check_region(cube, array, region)
    _check_same(marked, array, place)
    check_region(marked, open_store(place, mask_and_scale=False), region, place.label)
    # What lies outside of the region (coordinates along other dimensions) stays as it is.
    outside = [n for n, v in marked.variables.items() if not set(v.dims) & set(region)]
    part = marked.drop_vars(outside).drop_encoding()
    if has_journal(place):
        part = part.drop_vars(rewrite(marked, place, region, how, lease))
    else:
        _write_cube(cube, place, region)
        part = part.drop_vars(name)
    lease.check_now()
    with settings():
        part.to_zarr(
            place.store,
            group=place.group,
            mode="r+",
            region=dict(region),
            consolidated=target.consolidated,
            storage_options=place.storage_options,
        )


def _write_cube(cube: xr.DataArray, place: StoreLocation, region: Mapping[str, slice]) -> None:
    """Write whole blocks of a cube into an array that has no journal."""
    array: Any = place.array(str(cube.name), "r+")
    values = stored_values(cube.variable, str(cube.name), array)
    where = tuple(region.get(str(dim), slice(None)) for dim in cube.dims)
    with settings():
        if cube.chunks is None:
            array[where] = values
        else:
            da.store(values, array, regions=where, lock=False)


def rewrite(
    marked: xr.Dataset, place: StoreLocation, region: Mapping[str, slice], how: How, lease: Lease
) -> list[str]:
    """Write blocks of an archive anew; return the variables that have been written.

    The region must consist of whole blocks; `write_region` has checked that.
    """
    archive, cube = Archive.open(place, "r+"), cube_of(marked)
    if archive.pending:
        raise interrupted(archive)
    shape, block = archive.array.shape, block_shape(archive.array)
    whole = [region.get(str(d), slice(None)).indices(n)[:2]
             for d, n in zip(cube.dims, shape, strict=True)]  # fmt: skip
    steps = (block[0], *block[2:])
    spans = [whole[0], *whole[2:]]

    def inside(index: tuple[int, ...]) -> bool:
        return all(a <= i * n < b for i, n, (a, b) in zip(index, steps, spans, strict=True))

    tail = bool(archive.notes["appendable"])
    every = archive.jobs(shape[0], 0, lossless_tail=tail, tail=None, lease=lease.token)
    jobs = [job for job in every if inside(job.index)]
    journal = Journal(place, mode="r+")
    for job in jobs:
        journal.forget(job.index)
    origin = (spans[0][0], spans[1][0], spans[2][0])
    names = [n for n in archive.notes["beside"] if n in marked.variables]
    go(archive, marked, jobs, journal, how, lease=lease, origin=origin, names=names)
    finish(archive, lease)
    return [archive.variable, *names]


def _check_region(cube: xr.DataArray, array: AnyArray, region: Mapping[str, slice]) -> None:
    """Refuse a region that cuts through a block: the rest of it would be coded a second time."""
    block, dims = block_shape(array), [str(dim) for dim in cube.dims]
    unknown = [str(dim) for dim in region if dim not in dims]
    if unknown:
        raise InvalidInput(f"region along {', '.join(unknown)}", allowed=", ".join(dims))
    for dim, size, whole, step in zip(dims, cube.shape, array.shape, block, strict=True):
        part: Any = region.get(dim, slice(0, whole))
        if not _is_plain(part):
            raise InvalidInput(
                f"region[{dim!r}] = {shown(part)}",
                allowed="a slice of step 1",
                fix=f"pass region={{{dim!r}: slice(0, {step})}}, for example",
            )
        start, stop, _ = part.indices(whole)
        if stop - start != size:
            raise InvalidInput(
                f"{size} samples for a region of {stop - start} along {dim}",
                allowed="data of the size of the region",
            )
        if start % step or (stop % step and stop != whole):
            raise InvalidInput(
                f"region {start}:{stop} along {dim} cuts through blocks of {step}",
                allowed=f"multiples of {step}, or up to the end at {whole}",
                fix="a partial write would compress the rest of the block a second time: write "
                "whole blocks",
            )


def _is_plain(part: Any) -> bool:
    """Whether this is a slice between whole numbers, of step 1."""
    if not isinstance(part, slice):
        return False
    ends = all(end is None or isinstance(end, int | np.integer) for end in (part.start, part.stop))
    return ends and (part.step is None or as_number(part.step) == 1)


def _check_same(marked: xr.Dataset, array: AnyArray, place: StoreLocation) -> None:
    """Refuse a region that means something else than the array around it."""
    wanted, there = configuration_in(cube_of(marked).encoding), configuration(array)
    if wanted != there:
        keys = sorted(k for k in {*wanted, *there} if wanted.get(k) != there.get(k))
        raise InvalidInput(
            f"other settings than those of {place.label}: {', '.join(keys)}",
            allowed=", ".join(f"{k} = {there.get(k)!r}" for k in keys) or "an array of this codec",
            fix="pass the settings with which the array was created",
        )

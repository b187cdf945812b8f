"""Ways in which people copy what came out of an archive, and what becomes of each."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import dask
import numcodecs
import numpy as np
import xarray as xr
import zarr

import tec_xarray
from archives import series
from tec_numcodecs import TecSerializer
from tec_numcodecs.errors import InvalidInput

KINDS: dict[str, dict[str, Any]] = {
    "lossy": {"lam": 20},
    "bounded": {"max_error": 50},
    "psnr": {"psnr": 40},
    "lossless": {"max_error": 0},
    "flextec": {"model": "flextec", "lam": 20},
}
CHUNKS = (2, 3, 16, 16)
FORMATS: dict[str, dict[str, Any]] = {
    "2": {"zarr_format": 2},
    "3": {"shards": False},
    "3 sharded": {"shards": (2, 3, 32, 16)},
}
NAME = "reflectance"
DIMS = ("time", "band", "y", "x")


def original() -> xr.Dataset:
    """Two dates of three bands, 32 x 32, of which one corner has no data."""
    return series(2, size=(32, 32)).drop_vars(["SCL", "platform", "cloud_cover", "boa_offset"])


class Case:
    """An archive, where its copy goes, and what is in it."""

    def __init__(self, source: str, target: str, fmt: str) -> None:
        self.source, self.target = source, target
        self.zarr_format = 2 if fmt == "2" else 3
        self.block = FORMATS[fmt].get("shards") or CHUNKS
        self.values = self.load()[NAME].values.copy()

    def open(self) -> xr.Dataset:
        return xr.open_zarr(self.source)

    def load(self) -> xr.Dataset:
        return _loaded(self.source).copy(deep=True)

    def array(self, mode: Any) -> Any:
        return zarr.open_group(self.source, mode=mode)[NAME]

    def write(self, data: xr.Dataset, **options: Any) -> None:
        data.to_zarr(self.target, zarr_format=self.zarr_format, **options)

    def create(self, **codec: Any) -> Any:
        src, group = self.array("r"), zarr.create_group(self.target, zarr_format=self.zarr_format)
        return group.create_array(
            NAME, shape=src.shape, dtype=src.dtype, chunks=src.chunks, **codec
        )


@cache
def _loaded(source: str) -> xr.Dataset:
    """An archive as `open_zarr(source).load()` gives it, encodings and all, read once."""
    return xr.open_zarr(source).load()


def _like(case: Case) -> dict[str, Any]:
    """The codec of the archive's array, as `zarr.create_array` takes it."""
    src = case.array("r")
    if case.zarr_format == 2:
        return {"compressors": src.compressors, "filters": None}
    return {"serializer": src.serializer, "shards": src.shards, "compressors": None}


def _rebuilt(case: Case) -> dict[str, Any]:
    """The same, by way of its metadata."""
    src = case.array("r")
    if case.zarr_format == 2:
        codec = numcodecs.get_codec(src.compressors[0].get_config())
        return {"compressors": codec, "filters": None}
    codec = src.serializer.to_dict()
    return {"serializer": TecSerializer.from_dict(codec), "shards": src.shards, "compressors": None}


def _assign(case: Case, codec: dict[str, Any]) -> xr.Dataset:
    made = case.create(**codec)
    made[:] = case.array("r")[:]
    return xr.Dataset({NAME: (DIMS, made[:])})


def _from_array(case: Case) -> xr.Dataset:
    made = zarr.from_array(case.target, data=case.array("r"), name=NAME)
    return xr.Dataset({NAME: (DIMS, made[:])})


def _scheduled(case: Case, scheduler: str) -> None:
    data = case.open().chunk(dict(zip(DIMS, case.block, strict=True)))
    with dask.config.set(scheduler=scheduler):
        case.write(data)


def _in_place(case: Case) -> xr.Dataset:
    """Write part of a copy of the archive, by plain Zarr."""
    tec_xarray.copy(case.source, case.target)
    zarr.open_group(case.target, mode="r+")[NAME][0, 0, :4] = 1234
    case.values[0, 0, :4] = 1234
    return xr.open_zarr(case.target)


def _grow(case: Case) -> None:
    """Append decoded dates to a copy of the archive, by plain xarray."""
    tec_xarray.copy(case.source, case.target)
    later = case.load().assign_coords(time=case.load().time + np.timedelta64(99, "D"))
    later.drop_vars(["band", "common_name", "y", "x"]).to_zarr(case.target, append_dim="time")
    case.values = np.concatenate([case.values, case.values])


def _region(case: Case) -> None:
    """Make a template of what is decoded, then write it region by region."""
    data = case.load()
    case.write(data.chunk(dict(zip(DIMS, case.block, strict=True))), compute=False)
    part = data[[NAME]].drop_vars(list(data.coords))
    part.to_zarr(case.target, region={dim: slice(0, part.sizes[dim]) for dim in DIMS})


def _concat(case: Case) -> None:
    later = case.load().assign_coords(time=case.load().time + np.timedelta64(99, "D"))
    case.write(xr.concat([case.load(), later], "time"))
    case.values = np.concatenate([case.values, case.values])


def _subset(case: Case, *, drop: bool = False) -> None:
    data = case.load().tec.drop_codec() if drop else case.load()
    case.write(data.isel(x=slice(3, 20)))
    case.values = case.values[..., 3:20]


def _masked(case: Case) -> xr.Dataset:
    data = case.load()
    return data.where(data.x > data.x[3], 0).astype(data[NAME].dtype)


def _where(case: Case) -> None:
    case.write(_masked(case))
    case.values[..., :4] = 0


def _cube(case: Case) -> xr.Dataset:
    """The copy as a cube again; a store gives variables back in the order of their names."""
    cubes = xr.open_zarr(case.target, mask_and_scale=False).tec.to_cube()
    return cubes.sel(band=case.load().band.values)


def _bands(case: Case) -> xr.Dataset:
    case.write(case.load().tec.to_bands())
    return _cube(case)


def _from_cube(case: Case) -> xr.Dataset:
    case.write(case.load().tec.from_cube())
    return _cube(case)


def _again(data: xr.Dataset) -> None:
    """Compress what has been decoded: without a store, nothing else is done."""
    data.tec.compress(lam=5)


Way = Callable[[Case], Any]
IDIOMS: dict[str, Way] = {
    "`open_zarr(a).load().to_zarr(b)`": lambda c: c.write(c.load()),
    "`open_zarr(a).chunk(...).to_zarr(b)`": lambda c: _scheduled(c, "threads"),
    "`open_zarr(a).to_zarr(b)`": lambda c: c.write(c.open()),
    "`open_zarr(a).to_zarr(b, align_chunks=True)`": lambda c: c.write(c.open(), align_chunks=True),
    "`open_zarr(a, chunks=None).to_zarr(b)`": lambda c: c.write(
        xr.open_zarr(c.source, chunks=None)
    ),
    "`.to_zarr(b, mode='a')`": lambda c: c.write(c.load(), mode="a"),
    "`.to_zarr(b, compute=False).compute()`": lambda c: (
        c.load()
        .chunk(dict(zip(DIMS, c.block, strict=True)))
        .to_zarr(c.target, zarr_format=c.zarr_format, compute=False)
        .compute()
    ),
    "`.isel(x=...)`": _subset,
    "`concat` of two": _concat,
    "`.rename(...)`": lambda c: c.write(c.load().rename(y="north").rename(north="y")),
    "`.copy(deep=True)`": lambda c: c.write(c.load().copy(deep=True)),
    "`copy.deepcopy`": lambda c: c.write(copy.deepcopy(c.load())),
    "pickled, as workers get it": lambda c: c.write(pickle.loads(pickle.dumps(c.open().load()))),
    "`.assign_coords(...)`, `.assign_attrs(...)`": lambda c: c.write(
        c.load().assign_coords(run=7).assign_attrs(note="mine")
    ),
    "`.where(...)`": _where,
    "`.astype('int32')`": lambda c: c.write(c.load().astype("int32")),
    "`.fillna(0)`": lambda c: c.write(c.load().fillna(0)),
    "`.to_zarr(b, append_dim='time')`": _grow,
    "`.to_zarr(b, region=...)`": _region,
    "`.tec.to_bands().to_zarr(b)`": _bands,
    "`.tec.from_cube().to_zarr(b)`": _from_cube,
    "`create_array(..., <codec of a>)[:] = a[:]`": lambda c: _assign(c, _like(c)),
    "the same, codec by `get_config`, `to_dict`": lambda c: _assign(c, _rebuilt(c)),
    "`zarr.from_array(b, data=a)`": _from_array,
    "`zarr.open(b, 'r+')[...] = x`": _in_place,
    "`tec_xarray.copy(a, b)`": lambda c: tec_xarray.copy(c.source, c.target),
    "`.tec.drop_codec().to_zarr(b)`": lambda c: c.write(c.open().tec.drop_codec()),
    "`.tec.drop_codec().isel(x=...).to_zarr(b)`": lambda c: _subset(c, drop=True),
    "`.tec.compress(lam=5)`": lambda c: _again(c.open()),
    "`.tec.to_bands().tec.compress(lam=5)`": lambda c: _again(c.open().tec.to_bands()),
    "`.tec.from_cube().tec.compress(lam=5)`": lambda c: _again(c.open().tec.from_cube()),
    "`.where(...).tec.compress(lam=5)`": lambda c: _again(_masked(c)),
}


@cache
def outcomes(root: Path, kind: str, fmt: str) -> dict[str, str]:
    """Try every idiom on an archive of a kind in a format; what became of each."""
    source = root / f"{kind} {fmt}.zarr"
    original().tec.compress(store=source, chunks=CHUNKS, **FORMATS[fmt], **KINDS[kind])
    found = {}
    for number, (idiom, way) in enumerate(IDIOMS.items()):
        target = root / f"{kind} {fmt} {number}.zarr"
        case = Case(str(source), str(target), fmt)
        found[idiom] = _try(case, way)
    return found


def _try(case: Case, way: Way) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = way(case)
        except InvalidInput as error:
            lines = ("tec_xarray.copy(", "drop_codec().to_zarr(")
            return "refused" if all(line in str(error) for line in lines) else f"? {error}"
        except ValueError as error:
            return (
                "refused (xarray)" if "would overlap multiple Dask" in str(error) else f"? {error}"
            )
    if not Path(case.target).exists():
        return "allowed"  # nothing was written, nothing lost
    data = data if data is not None else xr.open_zarr(case.target, mask_and_scale=False)
    array = data[NAME].transpose(*DIMS)
    if array.shape != case.values.shape or not (array.values == case.values).all():
        return "LOSS"
    return "exact"

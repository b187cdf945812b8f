"""How small a compressed cube is, and how far it is from the original.

`compare` is everything behind ``ds.tec.report(original)``. It reads both cubes once, in blocks
that do not depend on how either is chunked, so that memory is bounded and the figures are the same
for NumPy, dask and any store.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tec_numcodecs.arguments import switch
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.layout import Bands, as_dataset, cube_of
from tec_xarray.cube.naming import cube_like
from tec_xarray.report.blockwise import measure, places_of_indices, scaling_of
from tec_xarray.report.figures import (
    Chunk,
    Errors,
    Histogram,
    IndexErrors,
    errors_of,
    histogram_of,
    indices_of,
    worst_chunk,
)
from tec_xarray.report.formatting import decimal, html_of, text_of
from tec_xarray.report.metrics import Plan, Tally
from tec_xarray.report.stored_size import Stored, find_stored

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Chunk", "Errors", "Histogram", "IndexErrors", "Report", "compare"]

_TABLES = ("band", "date", "index", "histogram")


@dataclass(frozen=True)
class Report:
    """What a compressed cube costs and what it lost. Immutable; `str` and notebooks show it.

    Attributes
    ----------
    variable : str
        The name of the cube.
    shape : tuple of int
        (time, band, y, x).
    dtype : str
        Of the values stored.
    codec : dict
        The configuration of the codec, as the store has it; empty if it is not ours.
    raw_bytes, stored_bytes, other_bytes : int
        The cube in memory, its objects in the store (shard indices included), and everything else
        in the store; `total_bytes` is what ``du`` would count.
    total : Errors
        Over all bands and dates.
    bands, dates : tuple of Errors
        For each band over all dates, for each date over all bands.
    indices : tuple of IndexErrors
        Of NDVI and NDWI, where their bands are there: over all dates, then for each.
    histogram : Histogram
        How many samples of each band are off by how much.
    worst : dict
        Where the largest error is: time, band, y, x (positions; the band by its name).
    worst_chunk : Chunk or None
        The chunk with the largest RMSE; None if no sample is valid.
    dates_waiting : int
        How many of the dates are kept without loss until `tec_xarray.append` brings more: they
        count in the size, and are smaller once they are coded.
    """

    variable: str
    shape: tuple[int, int, int, int]
    dtype: str
    codec: dict[str, Any]
    raw_bytes: int
    stored_bytes: int
    other_bytes: int
    total: Errors
    bands: tuple[Errors, ...]
    dates: tuple[Errors, ...]
    indices: tuple[IndexErrors, ...]
    histogram: Histogram
    worst: dict[str, Any]
    worst_chunk: Chunk | None
    dates_waiting: int = 0

    @property
    def spectral_angle(self) -> float:
        """Mean angle between original and decoded spectra, in degrees; NaN for a single band."""
        return self.total.spectral_angle

    @property
    def ratio(self) -> float:
        """Bytes in memory over bytes stored."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else math.inf

    @property
    def total_bytes(self) -> int:
        """Bytes of everything in the store."""
        return self.stored_bytes + self.other_bytes

    @property
    def bits_per_sample(self) -> float:
        """Bits per pixel per band, missing ones included."""
        return 8 * self.stored_bytes / math.prod(self.shape)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers, strings, lists and dicts.

        NaN becomes None, what is infinite ``"inf"`` or ``"-inf"``.
        """
        extra = {
            "ratio": self.ratio,
            "total_bytes": self.total_bytes,
            "bits_per_sample": self.bits_per_sample,
            "spectral_angle": self.spectral_angle,
        }
        plain = _plain(asdict(self) | extra)
        if not isinstance(plain, dict):  # for the type checker: a dict stays one
            raise TypeError
        return plain

    def to_json(self, **options: Any) -> str:
        """Return `to_dict` as JSON text; options as of ``json.dumps``."""
        return json.dumps(self.to_dict(), **{"allow_nan": False, **options})

    def to_dataframe(self, by: str = "band") -> pd.DataFrame:
        """Return a pandas table.

        Parameters
        ----------
        by : {"band", "date", "index", "histogram"}
            A row for each band and a last one for all; for each date; for each index and date; or
            for each bin of errors, with a column for each band.

        Raises
        ------
        InvalidInput
            There is no such table.
        """
        import pandas as pd

        if by not in _TABLES:
            raise InvalidInput(f"by = {by!r}", allowed=", ".join(map(repr, _TABLES)))
        if by == "histogram":
            edges = self.histogram.edges
            bins = pd.IntervalIndex.from_breaks(edges, name="error (DN)")
            return pd.DataFrame(self.histogram.counts, index=bins)
        if by == "index":
            table = pd.DataFrame([asdict(row) for row in self.indices])
            return table if table.empty else table.set_index(["label", "date"])
        rows = (*self.bands, self.total) if by == "band" else self.dates
        return pd.DataFrame([asdict(r) for r in rows]).set_index("label").rename_axis(by)

    def __str__(self) -> str:
        return text_of(self)

    def __repr__(self) -> str:
        return (
            f"<Report of {self.variable!r}: {self.ratio:.1f}x smaller, "
            f"{self.bits_per_sample:.3f} bits per sample, {decimal(self.total.psnr, 2)} dB>"
        )

    def _repr_html_(self) -> str:
        return html_of(self)


def compare(
    data: xr.Dataset,
    original: xr.Dataset | xr.DataArray,
    *,
    store: Any = None,
    group: str | None = None,
    storage_options: dict[str, Any] | None = None,
    bands: Bands | None = None,
    sensor: str | None = None,
    variable: str | None = None,
    ssim: bool = True,
) -> Report:
    """Measure a stored cube against the original.

    Parameters
    ----------
    data : xarray.Dataset
        What ``compress(store=...)`` or ``xr.open_zarr`` of a compressed store returned.
    original : xarray.Dataset or xarray.DataArray
        The values before, in any layout, with the same bands (in any order), dates and pixels.
    store : path, URL or Zarr store, optional
        Where `data` come from, if xarray does not know (it remembers paths and URLs).
    group, storage_options : optional
        As in ``xr.open_zarr``.
    bands, sensor, variable : optional
        How the bands of the original are called, as of `tec_xarray.to_cube`. Default: as the
        stored cube remembers it, or as the names say.
    ssim : bool
        Whether to compute SSIM, most of the time that a report takes.

    Returns
    -------
    Report

    Raises
    ------
    InvalidInput
        The two do not fit, `data` hold no cube, or the store is not known.
    """
    ssim = switch("ssim", ssim)
    data = as_dataset(data)
    cube = cube_of(data)
    stored = find_stored(data, cube, store=store, group=group, storage_options=storage_options)
    names = [str(band) for band in np.atleast_1d(cube[cube.dims[1]].values)]
    given = cube_like(original, cube, bands=bands, sensor=sensor, variable=variable)
    reference = _match(cube, names, given)
    if (reference.dtype.kind == "f") != (stored.dtype.kind == "f"):
        raise InvalidInput(
            f"the original is {reference.dtype}",
            allowed=f"{stored.dtype}, as stored",
            fix="pass the values that were compressed, in the same units",
        )
    scalings = (
        scaling_of(stored.codec, stored.dtype, cube),
        scaling_of(stored.codec, stored.dtype, reference),
    )
    known = places_of_indices(cube)
    plan = Plan(tuple(known.values()), (stored.chunks[2], stored.chunks[3]), ssim)
    tally = measure(cube, reference, scalings, dates=stored.chunks[0], plan=plan)
    return _report(cube, names, list(known), stored, tally)


def _match(cube: xr.DataArray, names: list[str], reference: xr.DataArray) -> xr.DataArray:
    """Return the original as a cube with the bands in the same order."""
    if len(cube.dims) != 4:
        raise InvalidInput(
            f"dimensions {cube.dims} of {cube.name!r}",
            allowed="the whole cube: time, band, y, x",
            fix="select with slices or lists, so that every dimension stays",
        )
    axis = str(reference.dims[1])
    there = [str(band) for band in reference[axis].values]
    missing = [name for name in names if name not in there]
    if missing:
        raise InvalidInput(
            f"the original has no {', '.join(missing)}", allowed=f"the bands {', '.join(names)}"
        )
    reference = reference.isel({axis: [there.index(name) for name in names]})
    if reference.shape != cube.shape:
        raise InvalidInput(
            f"the original has shape {reference.shape}",
            allowed=f"{cube.shape} (time, band, y, x), as stored",
            fix="select the same dates and pixels from both",
        )
    for ours, theirs in zip(cube.dims, reference.dims, strict=True):
        if ours == cube.dims[1] or ours not in cube.coords or theirs not in reference.coords:
            continue
        if not np.array_equal(cube[ours].values, reference[theirs].values):
            raise InvalidInput(
                f"the {ours} coordinates of the original differ from those stored",
                allowed="the same dates and pixels",
                fix="select the same dates and pixels from both, in the same order",
            )
    return reference


def _report(
    cube: xr.DataArray, names: list[str], indices: list[str], stored: Stored, tally: Tally
) -> Report:
    dates = [str(t)[:19] for t in _dates(cube)]
    t, c, y, x = tally.worst
    T, C, H, W = cube.shape
    return Report(
        variable=str(cube.name),
        shape=(T, C, H, W),
        dtype=str(stored.dtype),
        codec=stored.codec,
        raw_bytes=math.prod(cube.shape) * stored.dtype.itemsize,
        stored_bytes=stored.bytes,
        other_bytes=stored.other_bytes,
        total=errors_of("all", tally, (slice(None), slice(None))),
        bands=tuple(errors_of(name, tally, (slice(None), i)) for i, name in enumerate(names)),
        dates=tuple(errors_of(name, tally, (i, slice(None))) for i, name in enumerate(dates)),
        indices=indices_of(indices, dates, tally),
        histogram=histogram_of(names, tally),
        worst={"time": t, "band": names[c], "y": y, "x": x},
        worst_chunk=worst_chunk(tally, cube.shape, stored.chunks),
        dates_waiting=stored.dates_waiting,
    )


def _dates(cube: xr.DataArray) -> list[Any]:
    time = cube.dims[0]
    return list(cube[time].values) if time in cube.coords else list(range(cube.shape[0]))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value

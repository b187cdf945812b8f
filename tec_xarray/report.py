"""How small a compressed cube is, and how far it is from the original.

`compare` is everything behind ``ds.tec.report(original)``. It reads both cubes once, in blocks
that do not depend on how either is chunked, so that memory is bounded and the figures are the same
for NumPy, dask and any store.
"""

from __future__ import annotations

import html
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tec_numcodecs.errors import InvalidInput
from tec_xarray._blocks import measure, scaling_of
from tec_xarray._stored import Stored, find_stored
from tec_xarray.layout import cube_of, to_cube
from tec_xarray.metrics import PEAK, Tally

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Errors:
    """Errors of one band, one date, or all: decoded minus original, in DN.

    Attributes
    ----------
    label : str
        The band or date, or ``"all"``.
    samples : int
        Valid in both cubes; the other figures are about these. NaN if there are none.
    rmse, bias, max_error : float
        In DN (reflectance times 10,000).
    psnr : float
        In dB, with the peak at 10,000 DN; infinite where nothing differs.
    ssim : float
        Mean over 11 x 11 windows without missing pixels (Gaussian, sigma 1.5, range 10,000).
    mask_errors : int
        Samples that are missing in one cube only. 0 unless something is wrong.
    """

    label: str
    samples: int
    rmse: float
    psnr: float
    max_error: float
    bias: float
    ssim: float
    mask_errors: int


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
        The cube in memory, the cube as stored (with its metadata and shard indices), and
        everything else in the store.
    total : Errors
        Over all bands and dates.
    bands, dates : tuple of Errors
        For each band over all dates, for each date over all bands.
    spectral_angle : float
        Mean angle between original and decoded spectra, in degrees; NaN for a single band.
    worst : dict
        Where the largest error is: time, band, y, x (positions; the band by its name).
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
    spectral_angle: float
    worst: dict[str, Any]

    @property
    def ratio(self) -> float:
        """Bytes in memory over bytes stored."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else math.inf

    @property
    def bits_per_sample(self) -> float:
        """Bits per pixel per band, missing ones included."""
        return 8 * self.stored_bytes / math.prod(self.shape)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers, strings, lists and dicts; None for NaN."""
        content = asdict(self) | {"ratio": self.ratio, "bits_per_sample": self.bits_per_sample}
        plain = _plain(content)
        if not isinstance(plain, dict):  # for the type checker: a dict stays one
            raise TypeError
        return plain

    def to_json(self, **options: Any) -> str:
        """Return `to_dict` as JSON text; options as of ``json.dumps``."""
        return json.dumps(self.to_dict(), **{"allow_nan": False, **options})

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas table, one row for each band and a last one for all."""
        import pandas as pd

        table = pd.DataFrame([asdict(row) for row in (*self.bands, self.total)])
        return table.set_index("label").rename_axis("band")

    def __str__(self) -> str:
        widths = [max(len(c) for c in column) for column in zip(*self._table(), strict=True)]
        rows = [
            "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(cells))
            for cells in (list(zip(row, widths, strict=True)) for row in self._table())
        ]
        lines = [f"{name:<15}{text}" for name, text in self._summary()]
        return "\n".join([*lines, "", *rows])

    def __repr__(self) -> str:
        return (
            f"<Report of {self.variable!r}: {self.ratio:.1f}x smaller, "
            f"{self.bits_per_sample:.3f} bits per sample, {_decimal(self.total.psnr, 2)} dB>"
        )

    def _repr_html_(self) -> str:
        # Only inherited colours: light and dark notebooks both stay readable.
        right, left = "text-align:right;padding:1px 8px", "text-align:left;padding:1px 8px"
        summary = "".join(
            f"<tr><th style='{left}'>{html.escape(k)}</th><td style='{left}'>{html.escape(v)}</td>"
            "</tr>"
            for k, v in self._summary()
        )
        head, *body = self._table()
        cells = "".join(f"<th style='{right}'>{html.escape(c)}</th>" for c in head)
        rows = "".join(
            "<tr>" + "".join(f"<td style='{right}'>{html.escape(c)}</td>" for c in row) + "</tr>"
            for row in body
        )
        return (
            f"<div><table>{summary}</table><table style='margin-top:8px'>"
            f"<thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>"
        )

    def _summary(self) -> list[tuple[str, str]]:
        T, C, H, W = self.shape
        stored = (
            f"{_size(self.stored_bytes)} of {_size(self.raw_bytes)}: {self.ratio:.1f} times "
            f"smaller, {self.bits_per_sample:.3f} bits per pixel and band"
        )
        place = "date {time}, {band}, y {y}, x {x}".format(**self.worst)
        wrong = self.total.mask_errors
        return [
            ("cube", f"{self.variable}, {T} dates x {C} bands x {H} x {W}, {self.dtype}"),
            ("codec", _describe(self.codec)),
            ("stored", stored),
            ("beside it", f"{_size(self.other_bytes)} (coordinates, metadata, everything else)"),
            ("PSNR", f"{_decimal(self.total.psnr, 2)} dB (peak 10,000 DN)"),
            ("spectral angle", f"{_decimal(self.spectral_angle, 3)} degrees"),
            ("largest error", f"{_decimal(self.total.max_error, 1)} DN at {place}"),
            ("missing data", f"{wrong:,} samples differ" if wrong else "exact"),
        ]

    def _table(self) -> list[list[str]]:
        head = ["band", "RMSE (DN)", "PSNR (dB)", "max (DN)", "bias (DN)", "SSIM"]
        rows = [
            [
                row.label,
                _decimal(row.rmse, 2),
                _decimal(row.psnr, 2),
                _decimal(row.max_error, 1),
                _decimal(row.bias, 2),
                _decimal(row.ssim, 4),
            ]
            for row in (*self.bands, self.total)
        ]
        return [head, *rows]


def compare(
    data: xr.Dataset,
    original: xr.Dataset | xr.DataArray,
    *,
    store: Any = None,
    group: str | None = None,
    storage_options: dict[str, Any] | None = None,
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
    cube = cube_of(data)
    stored = find_stored(data, cube, store=store, group=group, storage_options=storage_options)
    names = [str(band) for band in np.atleast_1d(cube[cube.dims[1]].values)]
    reference = _match(cube, names, original)
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
    tally = measure(cube, reference, scalings, dates=stored.chunks[0], ssim=ssim)
    return _report(cube, names, stored, tally)


def _match(
    cube: xr.DataArray, names: list[str], original: xr.Dataset | xr.DataArray
) -> xr.DataArray:
    """Return the original as a cube with the bands in the same order."""
    if len(cube.dims) != 4:
        raise InvalidInput(
            f"dimensions {cube.dims} of {cube.name!r}",
            allowed="the whole cube: time, band, y, x",
            fix="select with slices or lists, so that every dimension stays",
        )
    reference = cube_of(to_cube(original))
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


def _report(cube: xr.DataArray, names: list[str], stored: Stored, tally: Tally) -> Report:
    dates = [str(t)[:19] for t in _dates(cube)]
    t, c, y, x = tally.worst
    vectors = tally.spectra.sum()
    T, C, H, W = cube.shape
    return Report(
        variable=str(cube.name),
        shape=(T, C, H, W),
        dtype=str(stored.dtype),
        codec=stored.codec,
        raw_bytes=math.prod(cube.shape) * stored.dtype.itemsize,
        stored_bytes=stored.bytes,
        other_bytes=stored.other_bytes,
        total=_errors("all", tally, (slice(None), slice(None))),
        bands=tuple(_errors(name, tally, (slice(None), i)) for i, name in enumerate(names)),
        dates=tuple(_errors(name, tally, (i, slice(None))) for i, name in enumerate(dates)),
        spectral_angle=math.degrees(tally.angle.sum() / vectors) if vectors else math.nan,
        worst={"time": t, "band": names[c], "y": y, "x": x},
    )


def _dates(cube: xr.DataArray) -> list[Any]:
    time = cube.dims[0]
    return list(cube[time].values) if time in cube.coords else list(range(cube.shape[0]))


def _errors(label: str, tally: Tally, part: tuple[Any, Any]) -> Errors:
    """Turn the sums over part of (time, band) into figures."""
    count, windows = float(tally.count[part].sum()), float(tally.windows[part].sum())
    mean_square = float(tally.square[part].sum()) / count if count else math.nan
    psnr = math.inf if mean_square == 0 else 10 * math.log10(PEAK**2 / mean_square)
    return Errors(
        label=label,
        samples=int(count),
        rmse=math.sqrt(mean_square),
        psnr=psnr,
        max_error=float(tally.peak[part].max()) if count else math.nan,
        bias=float(tally.error[part].sum()) / count if count else math.nan,
        ssim=float(tally.ssim[part].sum()) / windows if windows else math.nan,
        mask_errors=int(tally.mask_errors[part].sum()),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _decimal(value: float, digits: int) -> str:
    if math.isnan(value):
        return "-"
    # + 0.0: no "-0.00" for what rounds to nothing.
    return "inf" if math.isinf(value) else f"{round(value, digits) + 0.0:,.{digits}f}"


def _size(count: int) -> str:
    """Write bytes as people read them."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.2f} {unit}"
        size /= 1000
    return f"{size:.2f} TB"


def _describe(codec: dict[str, Any]) -> str:
    """Write a codec's configuration in a line."""
    keys = ("model", "lam", "quality", "max_error", "weights", "sensor")
    known = {key: codec[key] for key in keys if codec.get(key) is not None}
    if isinstance(known.get("weights"), dict):
        known["weights"] = known["weights"].get("id")
    words = (f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
             for key, value in known.items())  # fmt: skip
    return ", ".join(words) or "not ours"

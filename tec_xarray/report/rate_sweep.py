"""Try several settings on one chunk of your own data, and choose.

What a setting costs and what it loses depends on the surface. `sweep` encodes and decodes one chunk
of the cube with each setting, in memory, and measures both as `tec_xarray.compare` does.
"""

from __future__ import annotations

import html
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tec_numcodecs.arguments import choice, known, number, sequence, shown, switch, whole
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models import table as model_table
from tec_xarray.cube.chunking import TILE, dates_of_a_chunk, side_of_a_chunk
from tec_xarray.cube.layout import cube_of, to_cube
from tec_xarray.encoding.encode_dataset import DEFAULT_LAM, EncodingSettings, encode_dataset
from tec_xarray.report.blockwise import places_of_indices, scaling_of
from tec_xarray.report.figures import errors_of, indices_of
from tec_xarray.report.formatting import decimal
from tec_xarray.report.metrics import Plan, tally
from tec_xarray.store.codec_metadata import configuration_in

if TYPE_CHECKING:
    import pandas as pd

    from tec_xarray.plots.themes import Picture

_OTHERS = ("weights", "nearest", "sensor", "units", "scale", "offset", "nodata")
_AT_LEAST = ("psnr", "ssim")
_AT_MOST = ("rmse", "p95", "max_error", "spectral_angle", "ndvi_rmse", "ndwi_rmse",
            "bits_per_sample")  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One setting: what it costs and what it loses on the chunk.

    Attributes
    ----------
    model, lam, quality, bound, weights
        What to pass to `tec_xarray.compress`; `bound` is its ``max_error``.
    bytes : int
        Of the chunk, as it is stored.
    ratio, bits_per_sample : float
        Bytes in memory over bytes stored; bits per pixel and band.
    psnr, rmse, p95, max_error, ssim, spectral_angle
        As of `Errors`: dB, DN, DN, DN, no unit, degrees.
    ndvi_rmse, ndwi_rmse : float
        NaN where the bands are not there.
    encode_seconds, decode_seconds : float
        Wall time of one run on this machine, without loading weights.
    """

    model: str
    lam: float | None
    quality: int | None
    bound: float | None
    weights: str
    bytes: int
    ratio: float
    bits_per_sample: float
    psnr: float
    rmse: float
    p95: float
    max_error: float
    ssim: float
    spectral_angle: float
    ndvi_rmse: float
    ndwi_rmse: float
    encode_seconds: float
    decode_seconds: float

    @property
    def label(self) -> str:
        """The setting in a few letters."""
        if self.bound is not None:
            return "lossless" if self.bound == 0 else f"max_error {self.bound:g}"
        return f"lam {self.lam:g}" if self.quality is None else f"quality {self.quality}"

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments for `tec_xarray.compress`."""
        known = {"lam": self.lam, "quality": self.quality, "max_error": self.bound}
        given = {key: value for key, value in known.items() if value is not None}
        return {"model": self.model, "weights": self.weights, **given}


@dataclass(frozen=True, repr=False)
class Sweep:
    """Results of several settings on one chunk; notebooks show it as a table.

    Attributes
    ----------
    where : str
        The chunk: dates and pixels.
    shape : tuple of int
        (time, band, y, x) of it.
    points : tuple of Point
        In the order in which they were asked for.
    """

    where: str
    shape: tuple[int, ...]
    points: tuple[Point, ...]

    def curves(self) -> dict[str, list[Point]]:
        """Return the points of each model."""
        found: dict[str, list[Point]] = {}
        for point in self.points:
            found.setdefault(point.model, []).append(point)
        return found

    def choose(self, **wanted: float) -> dict[str, Any]:
        """Return the settings of the smallest point that is good enough, for ``compress``.

        Parameters
        ----------
        **wanted
            Lower limits ``psnr``, ``ssim``; upper limits ``rmse``, ``p95``, ``max_error``,
            ``spectral_angle``, ``ndvi_rmse``, ``ndwi_rmse``, ``bits_per_sample``. With
            ``bits_per_sample`` the best PSNR within it counts instead of the size.

        Raises
        ------
        InvalidInput
            An unknown criterion, or no point fulfills all.
        """
        unknown = [name for name in wanted if name not in (*_AT_LEAST, *_AT_MOST)]
        if unknown or not wanted:
            raise InvalidInput(
                f"criteria {', '.join(unknown) or '(none)'}",
                allowed=", ".join((*_AT_LEAST, *_AT_MOST)),
            )
        wanted = {name: number(name, limit) for name, limit in wanted.items()}
        good = [point for point in self.points if all(_meets(point, *w) for w in wanted.items())]
        if not good:
            asked = ", ".join(f"{name} {limit:g}" for name, limit in wanted.items())
            reached = ", ".join(f"{name} {self._span(name)}" for name in wanted)
            raise InvalidInput(
                f"no setting of this sweep reaches {asked}",
                allowed=f"what it reached: {reached}",
                fix="sweep over other lams, or ask for less",
            )
        best = (
            max(good, key=lambda p: p.psnr)
            if "bits_per_sample" in wanted
            else min(good, key=lambda p: p.bytes)
        )
        return best.settings

    def plot(self, metric: str = "psnr", **settings: Any) -> Picture:
        """Draw quality against size; see `tec_xarray.plots.accessor.rate_distortion`."""
        from tec_xarray.plots.accessor import rate_distortion

        return rate_distortion(self, metric=metric, **settings)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas table, a row for each point."""
        import pandas as pd

        return pd.DataFrame([asdict(point) for point in self.points])

    def to_json(self, **options: Any) -> str:
        """Return everything as JSON text; None for what is not finite."""
        rows = [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v
             for k, v in asdict(point).items()}
            for point in self.points
        ]  # fmt: skip
        return json.dumps({"where": self.where, "shape": list(self.shape), "points": rows},
                          **options)  # fmt: skip

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([self.where, "", *lines])

    def __repr__(self) -> str:
        return f"<Sweep of {len(self.points)} settings over {self.where}>"

    def _repr_html_(self) -> str:
        style = "text-align:right;padding:1px 8px"
        head, *body = self._rows()
        top = "".join(f"<th style='{style}'>{html.escape(cell)}</th>" for cell in head)
        rows = "".join(
            "<tr>" + "".join(f"<td style='{style}'>{html.escape(c)}</td>" for c in row) + "</tr>"
            for row in body
        )
        return (
            f"<div><p>{html.escape(self.where)}</p><table><thead><tr>{top}</tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )

    def _rows(self) -> list[list[str]]:
        head = ["model", "setting", "kB", "times smaller", "bits/pixel/band", "PSNR (dB)",
                "RMSE (DN)", "95 % within (DN)", "max (DN)", "SSIM", "angle (degrees)",
                "NDVI RMSE", "encode (s)", "decode (s)"]  # fmt: skip
        rows = [
            [
                p.model, p.label, decimal(p.bytes / 1e3, 1), decimal(p.ratio, 1),
                decimal(p.bits_per_sample, 3), decimal(p.psnr, 2), decimal(p.rmse, 1),
                decimal(p.p95, 0), decimal(p.max_error, 0), decimal(p.ssim, 4),
                decimal(p.spectral_angle, 3), decimal(p.ndvi_rmse, 4),
                decimal(p.encode_seconds, 2), decimal(p.decode_seconds, 2),
            ]
            for p in self.points
        ]  # fmt: skip
        return [head, *rows]

    def _span(self, name: str) -> str:
        values = [getattr(point, name) for point in self.points]
        known = [v for v in values if not math.isnan(v)]
        return f"{min(known):.4g} ... {max(known):.4g}" if known else "unknown"


def sweep(
    data: xr.Dataset | xr.DataArray,
    *,
    models: str | Sequence[str] = ("fp",),
    lams: Sequence[float] = (5.0, 20.0, 100.0, 400.0),
    qualities: Sequence[int] | None = None,
    max_errors: Sequence[float] | None = None,
    at: tuple[int, int, int] | None = None,
    bands: Any = None,
    variable: str | None = None,
    ssim: bool = True,
    **settings: Any,
) -> Sweep:
    """Encode and decode one chunk with several settings, in memory.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        Bands in any layout of `tec_xarray.to_cube`; of lazy ones, only the chunk is computed.
    models : str or list of str
        ``"fp"``, ``"elic"``, ``"tt"``, ``"flextec"``.
    lams : list of float
        Rates to try with each model.
    qualities : list of int, optional
        Tokens to keep, for models that know the notion (flextec), instead of `lams`: the largest
        of these holds.
    max_errors : list of float, optional
        Bounds to try with each model besides `lams`, in the units of the data; 0 is lossless.
    at : tuple of int, optional
        Position (time, y, x) of a sample in the chunk to try. Default: the middle of the cube.
    bands, variable
        What is what: see `tec_xarray.to_cube`.
    ssim : bool
        Whether to compute SSIM.
    **settings
        Others of `tec_xarray.compress`: ``weights``, ``sensor``, ``units``, ``scale``,
        ``offset``, ``nodata``.

    Returns
    -------
    Sweep

    Raises
    ------
    InvalidInput
        A setting cannot be used, or the chunk holds no valid sample.
    WeightsError
        The weights are not to be had.
    """
    known(settings, _OTHERS, "sweep")
    names = [models] if isinstance(models, str) else sequence("models", models, "names", "['fp']")
    tries = list(_tries(names, lams, qualities, max_errors))
    ssim = switch("ssim", ssim)
    cubes = to_cube(data, bands=bands, variable=variable, sensor=settings.get("sensor"))
    window, where = _window(cubes, at)
    weights = settings.get("weights", "mini")
    points: list[Point] = []
    warm: set[str] = set()
    for one in tries:
        marked = encode_dataset(window, EncodingSettings(**one, **settings)).dataset
        cube = cube_of(marked)
        config = configuration_in(cube.encoding)
        if one["model"] not in warm:
            _run(config, cube.values[..., : TILE // 2, : TILE // 2])
            warm.add(one["model"])
        points.append(_measure(cube, config, {**one, "weights": weights}, ssim=ssim))
    return Sweep(where, tuple(cube_of(window).shape), tuple(points))


def _window(cubes: xr.Dataset, at: tuple[int, int, int] | None) -> tuple[xr.Dataset, str]:
    """Return one chunk of the default layout, loaded, and what to call it."""
    cube = cube_of(cubes)
    axes = (0, 2, 3)
    sizes = [cube.shape[i] for i in axes]
    where = [n // 2 for n in sizes] if at is None else _position(at, sizes)
    spans = []
    steps = [dates_of_a_chunk(sizes[0]), *map(side_of_a_chunk, sizes[1:])]
    for i, size, step in zip(where, sizes, steps, strict=True):
        # A sliver at the edge says little: then the last whole chunk's worth is taken.
        start = min(i // step * step, max(size - step, 0))
        spans.append(slice(start, min(start + step, size)))
    dims = [str(cube.dims[i]) for i in axes]
    part = cubes[[cube.name]].isel(dict(zip(dims, spans, strict=True))).load()
    named = ", ".join(f"{d} {s.start}:{s.stop}" for d, s in zip(dims, spans, strict=True))
    return part, f"one chunk: {named}, {cube.shape[1]} bands"


def _position(at: object, sizes: Sequence[int]) -> list[int]:
    try:
        found = [whole("at", i, 0) for i in sequence("at", at, "three numbers", "(0, 0, 0)")]
    except InvalidInput:
        found = []
    if len(found) != 3 or any(i >= n for i, n in zip(found, sizes, strict=True)):
        raise InvalidInput(
            f"at = {shown(at)}",
            allowed=f"(time, y, x) below ({', '.join(map(str, sizes))})",
            fix="pass at=(0, 0, 0), for example, or leave it out for the middle",
        )
    return found


def _tries(
    models: Sequence[str],
    lams: Sequence[float],
    qualities: Sequence[int] | None,
    bounds: Sequence[float] | None,
) -> Iterator[dict[str, Any]]:
    """Return the settings to try, model by model."""
    models = [choice("models", model, model_table.names()) for model in models]
    lams = [number("lams", lam) for lam in sequence("lams", lams, "numbers", "[20, 100]")]
    progressive = [model for model in models if model_table.tokens_of(model)]
    most = min(map(model_table.tokens_of, progressive), default=0)
    if qualities is not None and not progressive:
        raise InvalidInput(
            f"qualities with {', '.join(models)}",
            allowed="a model that has them: "
            + ", ".join(name for name in model_table.names() if model_table.tokens_of(name)),
        )
    if qualities is not None:
        qualities = sequence("qualities", qualities, "whole numbers", "[4, 16]")
        qualities = [whole("qualities", quality, 1, most) for quality in qualities]
    if bounds is not None:
        bounds = sequence("max_errors", bounds, "numbers", "[0, 50]")
        bounds = [number("max_errors", bound) for bound in bounds]
    if not models or not (lams or bounds):
        raise InvalidInput("nothing to try", allowed="at least one model, and a lam or max_error")
    for model in models:
        if model in progressive and qualities is not None:
            top = max(lams, default=DEFAULT_LAM)
            for quality in qualities:
                yield {"model": model, "lam": top, "quality": quality}
        else:
            for lam in lams:
                yield {"model": model, "lam": lam}
        for bound in bounds or ():
            yield {"model": model, "max_error": bound}


def _run(config: dict[str, Any], values: Any) -> tuple[bytes, Any, float, float]:
    """Encode and decode; return bytes, pixels, and the seconds of each."""
    from tec_numcodecs import TecCodec

    codec = TecCodec(**config)
    start = time.perf_counter()
    data = codec.encode(np.ascontiguousarray(values))
    middle = time.perf_counter()
    decoded = codec.decode(data)
    return data, decoded, middle - start, time.perf_counter() - middle


def _measure(
    cube: xr.DataArray, config: dict[str, Any], one: dict[str, Any], *, ssim: bool
) -> Point:
    values = cube.values
    data, decoded, encoding, decoding = _run(config, values)
    pairs = places_of_indices(cube)
    scaling = scaling_of(config, values.dtype, cube)
    found = tally(values, decoded, (scaling, scaling), Plan(tuple(pairs.values()), ssim=ssim))
    total = errors_of("all", found, (slice(None), slice(None)))
    if not total.samples:
        raise InvalidInput(
            "the chunk holds no valid sample", fix="pass at=(time, y, x) of a place with data"
        )
    index = {row.label: row.rmse for row in indices_of(list(pairs), [], found)}
    return Point(
        model=one["model"],
        lam=one.get("lam"),
        quality=one.get("quality"),
        bound=one.get("max_error"),
        weights=one["weights"],
        bytes=len(data),
        ratio=values.nbytes / len(data),
        bits_per_sample=8 * len(data) / values.size,
        psnr=total.psnr,
        rmse=total.rmse,
        p95=total.p95,
        max_error=total.max_error,
        ssim=total.ssim,
        spectral_angle=total.spectral_angle,
        ndvi_rmse=index.get("NDVI", math.nan),
        ndwi_rmse=index.get("NDWI", math.nan),
        encode_seconds=encoding,
        decode_seconds=decoding,
    )


def _meets(point: Point, name: str, limit: float) -> bool:
    value = getattr(point, name)
    return bool(value >= limit if name in _AT_LEAST else value <= limit)

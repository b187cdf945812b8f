"""From a dataset and settings to one that says how it is stored: all of `compress` but writing.

Archives mark later data with it as well, so that there is one way from bands to an encoding.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, cast

import xarray as xr

from tec_numcodecs.arguments import choice, switch, whole
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.weights_lookup import Weights, any_rate
from tec_xarray.cube.attributes import with_flat_attrs
from tec_xarray.cube.bands import find_axes, find_sensor, find_source, sensor_order
from tec_xarray.cube.chunking import Grid, Shape, grid_of
from tec_xarray.cube.crs import with_geo
from tec_xarray.cube.layout import Bands, as_dataset, cube_of, gather
from tec_xarray.cube.units import DNScaling, infer_units
from tec_xarray.encoding.auxiliary import check_indexes
from tec_xarray.encoding.mark import mark
from tec_xarray.encoding.rate_search import lam_for_cube
from tec_xarray.encoding.second_loss import check_fresh
from tec_xarray.store.codec_metadata import check_codec

DEFAULT_LAM = 20.0
F = TypeVar("F", bound="Callable[..., Any]")


@dataclass(frozen=True, kw_only=True)
class EncodingSettings:
    """What may be said about how a dataset is stored; `tec_xarray.compress` explains each."""

    model: str = "fp"
    lam: float | None = None
    quality: int | None = None
    weights: Weights = "mini"
    nearest: bool = False
    max_error: float | Sequence[float] | None = None
    psnr: float | None = None
    bpppb: float | None = None
    per: Literal["chunk", "cube"] = "chunk"
    bands: Bands | None = None
    sensor: str | None = None
    variable: str | None = None
    name: str | None = None
    units: str | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: int | float | str | None = "auto"
    cf: bool = False
    chunks: Shape | None = None
    shards: Shape | bool | None = None
    zarr_format: int = 3
    appendable: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "zarr_format", whole("zarr_format", self.zarr_format, 2, 3))
        switch("cf", self.cf)
        switch("appendable", self.appendable)
        choice("per", self.per, ("chunk", "cube"))


def shows_settings(*hidden: str) -> Callable[[F], F]:
    """Give a function that takes ``**settings`` the signature that it has for a reader.

    Parameters
    ----------
    *hidden : str
        Settings that it does not take.
    """

    def decorate(function: F) -> F:
        own = inspect.signature(function)
        given = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        known = inspect.signature(EncodingSettings).parameters.values()
        more = [p for p in known if p.name not in (*own.parameters, *hidden)]
        cast("Any", function).__signature__ = own.replace(parameters=[*given, *more])
        return function

    return decorate


@dataclass(frozen=True)
class EncodedDataset:
    """A dataset that says how it is stored.

    Attributes
    ----------
    dataset : xarray.Dataset
        The cube (time, band, y, x) with its encoding, and everything beside it with its own.
    source_chunks : tuple of tuple of int, or None
        The dask chunks that the cube had before it was cut into blocks.
    """

    dataset: xr.Dataset
    source_chunks: tuple[tuple[int, ...], ...] | None


def encode_dataset(
    data: xr.Dataset | xr.DataArray,
    settings: EncodingSettings,
    *,
    sample: bool = False,
    order: Sequence[str] | None = None,
) -> EncodedDataset:
    """Gather the bands of a dataset into a cube, and set the encodings that compress it.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        As of `tec_xarray.compress`. It is not changed.
    settings : EncodingSettings
    sample : bool
        Whether values may be read to tell units, where attributes do not.
    order : sequence of str, optional
        The order of the bands. Default: that of `settings.bands`, or of a cube that `to_cube` made;
        else the sensor's, whatever the order in which a listing or a file has them, and bounds for
        each band go with the bands. With `order`, bounds are in that order already.

    Raises
    ------
    InvalidInput, WeightsError
        As of `tec_xarray.compress`.
    """
    source = with_flat_attrs(as_dataset(data))
    check_indexes(source)
    found = find_source(
        source, bands=settings.bands, sensor=settings.sensor, variable=settings.variable
    )
    if order is not None:
        found, _ = found.in_order(order)
    elif settings.bands is None and found.cube is None:
        found, places = found.in_order(sensor_order(found.bands))
        settings = replace(settings, max_error=by_band(settings.max_error, places))
    cubes = with_geo(gather(source, found, settings.name))
    cube = cube_of(cubes)
    check_fresh(cubes, cube, source)
    _check_size(cube)
    scaling = infer_units(
        cube,
        source,
        units=settings.units,
        scale=settings.scale,
        offset=settings.offset,
        nodata=settings.nodata,
        read=sample,
    )
    config = _codec_config(settings, source, cube, scaling)
    grid = grid_of(
        cube,
        settings.chunks,
        settings.shards,
        settings.zarr_format,
        appendable=settings.appendable,
    )
    config, asked = _with_rate_for_cube(config, settings, cube, grid)
    marked = mark(
        cubes,
        config,
        grid,
        meaning=scaling,
        zarr_format=settings.zarr_format,
        cf=settings.cf,
        asked=asked,
    )
    check_codec(cube, cube_of(marked).encoding, settings.zarr_format)
    return EncodedDataset(marked, cube.chunks)


def by_band(value: Any, places: Sequence[int]) -> Any:
    """Return one value for each band in the order of the places; what is no such list, as it is."""
    if isinstance(value, (list, tuple)) and len(value) == len(places):
        return [value[i] for i in places]
    return value


def _codec_config(
    settings: EncodingSettings, source: xr.Dataset, cube: xr.DataArray, scaling: DNScaling
) -> CodecConfig:
    """Put together what the user says and what the data say."""
    names = [str(band) for band in cube[find_axes(cube).band].values]
    lam, targets = settings.lam, (settings.max_error, settings.psnr, settings.bpppb)
    if lam is None and all(each is None for each in targets) and any_rate(settings.weights):
        lam = DEFAULT_LAM
    return CodecConfig.from_settings(
        {
            "model": settings.model,
            "lam": lam,
            "quality": settings.quality,
            "weights": settings.weights,
            "nearest": settings.nearest,
            "sensor": find_sensor(names, source, settings.sensor, cube).name,
            "bands": names,
            "units": scaling.units,
            "scale": scaling.scale,
            "offset": scaling.offset,
            "nodata": scaling.nodata,
            "max_error": settings.max_error,
            "psnr": settings.psnr,
            "bpppb": settings.bpppb,
        }
    )


def _with_rate_for_cube(
    config: CodecConfig, settings: EncodingSettings, cube: xr.DataArray, grid: Grid
) -> tuple[CodecConfig, Mapping[str, Any]]:
    """Replace a target for the whole cube by the rate that reaches it; say what was asked for."""
    if settings.per == "chunk":
        return config, {}
    lam = lam_for_cube(cube, grid.chunks, config)
    if lam is None:
        return config, {}
    asked = {"psnr": settings.psnr, "bpppb": settings.bpppb, "per": settings.per}
    return replace(config, lam=lam, target=None), asked


def _check_size(cube: xr.DataArray) -> None:
    empty = [str(dim) for dim, size in cube.sizes.items() if size == 0]
    if empty:
        raise InvalidInput(
            f"{cube.name!r} has no samples: {', '.join(empty)} of length 0",
            allowed="at least one along every dimension",
            fix="check the query or selection that the data come from",
        )

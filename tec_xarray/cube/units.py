"""What the numbers of a cube mean: DN or reflectance, which scale and offset, what is no data.

Decided once, when an array is created, and never per chunk: a chunk of dark water must not change
its units. Attributes decide before values do, values are only ever a sample, and what is not plain
is asked for.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tec_numcodecs.arguments import as_number, choice, number, shown
from tec_numcodecs.arithmetic import ieee754
from tec_numcodecs.chunk.samples import DN_LIMIT
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.layout_record import LAYOUT, read_memo

logger = logging.getLogger(__name__)

DN_PER_REFLECTANCE = 10_000.0
DTYPES = ("uint16", "int16", "float32")

# The 99th percentile of reflectance stays below 2 even over clouds, that of DN stays above 30 even
# over water at night's edge. Between the two nothing is decided.
_REFLECTANCE_TOP = 3.0
_DN_BOTTOM = 30.0
FILL_KEYS = ("nodata", "_FillValue", "missing_value")
_WINDOW = 128  # pixels; what a sample of a lazy cube reads

# A fill value that nobody mentioned: so many samples of one value, so far from all others (DN).
_MOST_SAMPLES = 1 << 24  # that are looked at
_FEWEST, _LEAST_SHARE = 8, 0.0005
_GAP, _GAP_ZERO = 1000, 10


class FillValueWarning(UserWarning):
    """Integers hold what looks like a fill value, and nothing says that it is one."""


@dataclass(frozen=True)
class DNScaling:
    """How stored values relate to digital numbers: value = DN * scale + offset.

    Attributes
    ----------
    scale, offset : float
        In the units of the data.
    nodata : int, float, str or None
        The value of samples without data; ``"NaN"`` or None: NaN alone marks them.
    units : str
        ``"dn"`` or ``"reflectance"``.
    """

    scale: float = 1.0
    offset: float = 0.0
    nodata: int | float | str | None = None
    units: str = "dn"

    @classmethod
    def of_codec(cls, codec: Mapping[str, Any]) -> DNScaling:
        """Read it from the configuration of a codec."""
        nodata = codec["nodata"]
        return cls(
            float(codec["scale"]), float(codec["offset"]), None if nodata is None else float(nodata)
        )

    @property
    def fill_value(self) -> int | float:
        """What Zarr is to put where nothing was written."""
        if self.nodata is None:
            return 0
        return float("nan") if isinstance(self.nodata, str) else self.nodata

    def valid(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell which samples are there; same shape."""
        valid = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, np.bool_)
        if not (self.nodata is None or isinstance(self.nodata, str) or np.isnan(self.nodata)):
            valid &= values != self.nodata
        return valid

    @ieee754
    def apply(self, values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return DN as float64, and which samples are valid."""
        dn = values.astype(np.float64)
        if self.offset:
            dn -= self.offset
        if self.scale != 1.0:
            dn /= self.scale
        return dn, self.valid(values)


@ieee754
def infer_units(
    cube: xr.DataArray,
    source: xr.Dataset,
    *,
    units: str | None = None,
    scale: float | None = None,
    offset: float | None = None,
    nodata: int | float | str | None = "auto",
    read: bool = False,
) -> DNScaling:
    """Decide what the numbers of a cube mean.

    Parameters
    ----------
    cube : xarray.DataArray
        (time, band, y, x), uint16, int16 or float32.
    source : xarray.Dataset
        What the cube was made of, for the attributes and encodings of its variables.
    units, scale, offset, nodata
        See `tec_xarray.compress`. None, or "auto" for `nodata`: decide.
    read : bool
        Whether a few windows of lazy integers may be read, to look for a fill value that no
        attribute states. Values in memory are looked at in any case.

    Warns
    -----
    FillValueWarning
        Integers look as if they had one.

    Raises
    ------
    InvalidInput
        The dtype is not stored, the values contradict what was stated, or nothing decides.
    """
    _check_dtype(cube)
    scale = None if scale is None else number("scale", scale)
    offset = None if offset is None else number("offset", offset)
    if units is not None:
        choice("units", units, ("dn", "reflectance"))
    fill = _nodata(cube, source, nodata)
    integer = cube.dtype.kind in "iu"
    sample = np.zeros(0, np.float32) if integer else _sample(cube, fill)
    if integer and units == "reflectance" and scale is None:
        raise InvalidInput(
            f"units = 'reflectance' for {cube.dtype} data",
            allowed="floats as reflectance, integers as DN",
            fix="pass units='dn', or scale= if the integers are reflectance times something",
        )
    if integer:
        stated = _cf_scale(cube)
        found_scale, found_offset = (1.0, 0.0) if units == "reflectance" else stated
        units = units or "dn"
    else:
        if scale is None:
            units = _float_units(sample, units, offset or 0.0)
        elif units is None:
            units = "reflectance" if scale < 0.01 else "dn"
        found_scale, found_offset = (1.0 if units == "dn" else 1 / DN_PER_REFLECTANCE), 0.0
    meaning = DNScaling(
        units=units,
        scale=found_scale if scale is None else scale,
        offset=found_offset if offset is None else offset,
        nodata=fill,
    )
    if meaning.scale <= 0:
        raise InvalidInput(f"scale = {scale}", allowed="a number > 0", fix="value = DN * scale")
    if not integer:
        _check_range(sample, meaning)
    elif isinstance(nodata, str):
        _point_out_fill(cube, fill, read=read and _stated_nodata(cube, source) is None)
    return meaning


def nodata_of(
    cube: xr.DataArray, source: xr.Dataset, nodata: int | float | str | None = "auto"
) -> int | float | str | None:
    """Return what marks missing samples of a cube, ``"NaN"`` where NaN alone does, None if nothing.

    Parameters are those of `infer_units`.

    Raises
    ------
    InvalidInput
        The dtype cannot hold it, or attributes contradict each other.
    """
    return _nodata(cube, source, nodata)


def plain_attrs(cube: xr.DataArray) -> dict[str, Any]:
    """Return attributes with which ``xr.open_zarr`` gives integers as they are stored.

    A scale of 1 and an offset of 0, which GDAL states of every file, would make floats of them,
    and so would ``_FillValue``, which becomes ``nodata``. Where values are scaled, all stay.
    """
    attrs = dict(cube.attrs)
    if cube.dtype.kind not in "iu":
        return attrs
    factor, shift = attrs.get("scale_factor", 1.0), attrs.get("add_offset", 0.0)
    if as_number(factor) != 1.0 or as_number(shift) != 0.0:
        return attrs
    for key in ("scale_factor", "add_offset"):
        attrs.pop(key, None)
    for key in ("_FillValue", "missing_value"):
        value = attrs.pop(key, None)
        if value is not None:
            attrs.setdefault("nodata", value)
    return attrs


def _check_dtype(cube: xr.DataArray) -> None:
    name = cube.dtype.newbyteorder("=").name
    if name in DTYPES:
        return
    fix = "convert it first: .astype('uint16') or .astype('float32')"
    if name == "float64":
        fix = (
            "convert it first with .astype('float32'), or open the source with "
            "mask_and_scale=False to keep its integers"
        )
    raise InvalidInput(f"{cube.name!r} has dtype {cube.dtype}", allowed=", ".join(DTYPES), fix=fix)


def _nodata(
    cube: xr.DataArray, source: xr.Dataset, nodata: int | float | str | None
) -> int | float | str | None:
    """Return what marks missing samples, checked against the dtype."""
    integer = cube.dtype.kind in "iu"
    if nodata is None:
        return None
    if isinstance(nodata, str) and nodata == "auto":
        nodata = _stated_nodata(cube, source)
        if nodata is None:  # Sentinel-2 says 0 everywhere; nothing is lost where 0 is data
            nodata = 0 if integer else "NaN"
    spelled = isinstance(nodata, str) and nodata.lower() == "nan"
    value = np.nan if spelled else as_number(nodata)
    if integer:
        limits = np.iinfo(cube.dtype)
        if value is None or not value.is_integer() or not limits.min <= value <= limits.max:
            raise InvalidInput(
                f"nodata = {shown(nodata)} for {cube.dtype} data",
                allowed=f"an integer from {limits.min} to {limits.max}, 'auto' or None",
                fix="pass nodata= with the value that marks missing samples",
            )
        return int(value)
    if value is None or np.isinf(value):
        raise InvalidInput(
            f"nodata = {shown(nodata)}",
            allowed="a finite number, 'NaN', 'auto' or None",
            fix="pass nodata= with the value that marks missing samples",
        )
    return "NaN" if np.isnan(value) else value


def _stated_nodata(cube: xr.DataArray, source: xr.Dataset) -> float | None:
    """Return what attributes and encodings say, None if nothing."""
    said: dict[str, float] = {}
    own = [cube.attrs, *read_memo(cube).attrs.values()] if LAYOUT in cube.attrs else [cube.attrs]
    names = set(read_memo(cube).labels.values()) if LAYOUT in cube.attrs else set()
    # Floats with a fill value in the encoding were masked when they were read: NaN marks them.
    encodings = (
        [v.encoding for n, v in source.data_vars.items() if n in names or n == cube.name]
        if cube.dtype.kind in "iu"
        else []
    )
    for attrs in (*own, *encodings):
        for key in FILL_KEYS:
            value = attrs.get(key)
            if isinstance(value, str) and value.lower() == "nan":
                value = np.nan
            if (found := as_number(value)) is not None:
                said[repr(found)] = found
    if len(said) > 1:
        raise InvalidInput(
            f"several nodata values in the attributes: {', '.join(said)}",
            allowed="one for all bands",
            fix="pass nodata= with the right one, and recode the others",
        )
    return next(iter(said.values()), None)


def _cf_scale(cube: xr.DataArray) -> tuple[float, float]:
    """Return scale and offset of integers from CF attributes, where these are set.

    CF says reflectance = value * scale_factor + add_offset, and DN = reflectance * 10,000.
    """
    own = read_memo(cube).attrs if LAYOUT in cube.attrs else {}
    uneven = [b for b, a in own.items() if "scale_factor" in a or "add_offset" in a]
    if uneven:
        raise InvalidInput(
            f"scale_factor or add_offset differ between bands ({', '.join(uneven)})",
            allowed="one for all bands",
            fix="pass scale= and offset= (value = DN * scale + offset)",
        )
    if "scale_factor" not in cube.attrs:
        return 1.0, 0.0
    factor = number("scale_factor", cube.attrs["scale_factor"])
    shift = number("add_offset", cube.attrs.get("add_offset", 0.0))
    if factor <= 0:
        raise InvalidInput(f"scale_factor = {factor}", allowed="a number > 0")
    if (factor, shift) == (1.0, 0.0):
        return 1.0, 0.0  # GDAL, and rioxarray with it, says so of every file that says nothing
    # Decimal fractions have no exact floats: 1e-4 / 1e-4 must come out as 1, 0.1 / 1e-4 as 1000.
    return round(1 / DN_PER_REFLECTANCE / factor, 9), round(-shift / factor, 6) + 0.0


def _float_units(sample: NDArray[np.floating], stated: str | None, offset: float) -> str:
    """Tell DN from reflectance by their size."""
    # Of the bright side: fill values are mostly below.
    top = float(np.percentile(sample - offset, 99)) if sample.size else 0.0
    looks = "reflectance" if 0 < top <= _REFLECTANCE_TOP else "dn" if top >= _DN_BOTTOM else None
    if stated is None and looks == "reflectance":
        return looks
    if stated is None and looks == "dn":
        raise InvalidInput(
            f"floats up to {top:.4g} (99th percentile), which look like DN",
            allowed="reflectance (0 ... 1), or units stated",
            fix="pass units='dn' if they are DN, or divide by 10,000",
        )
    if stated is None:
        what = f"floats up to {top:.4g} (99th percentile)" if sample.size else "no valid values"
        raise InvalidInput(
            f"{what} in a sample: neither plainly DN nor reflectance",
            allowed="'dn' or 'reflectance'",
            fix="pass units= to say which",
        )
    if looks is not None and looks != stated:
        raise InvalidInput(
            f"units = {stated!r} but values up to {top:.4g} (99th percentile) look like {looks}",
            allowed="reflectance of about 0 ... 1, DN of about 0 ... 10,000",
            fix=f"pass units={looks!r}, or scale= if you are sure (value = DN * scale + offset)",
        )
    return stated


def _check_range(sample: NDArray[np.floating], meaning: DNScaling) -> None:
    """Refuse values that no reflectance has: a fill value that nobody mentioned, mostly."""
    if not sample.size:
        return
    extremes = np.array([sample.min(), sample.max()], np.float64)
    outside = np.abs((extremes - meaning.offset) / meaning.scale) >= DN_LIMIT
    if outside.any():
        value = float(extremes[outside][0])
        raise InvalidInput(
            f"a value of {value:.6g} as {meaning.units}, scale {meaning.scale:g}",
            allowed=f"magnitudes below {DN_LIMIT:,} DN, and nodata",
            fix=f"pass nodata={value:.6g} if it marks missing samples",
        )


def _sample(cube: xr.DataArray, nodata: int | float | str | None) -> NDArray[np.floating]:
    """Return valid values: of everything if it is in memory, else of windows, middle first."""
    if cube.chunks is None and isinstance(cube.variable._data, np.ndarray):  # noqa: SLF001
        if np.isinf(cube.values).any():
            raise InvalidInput(
                f"{cube.name!r} holds infinite values",
                allowed="finite numbers, and NaN where there are no data",
                fix="replace them: .where(numpy.isfinite(...))",
            )
        return _valid(cube.values, nodata)
    T = cube.shape[0]
    for t in dict.fromkeys((T // 2, 0, T - 1)):
        for window in _windows(cube[t]):
            values = _valid(_read(window), nodata)
            if values.size:
                return values
    return np.zeros(0, np.float32)


def _read(window: xr.DataArray) -> NDArray[Any]:
    """Compute a window in this process: workers of a cluster have not been asked yet.

    Those that cannot import what it takes would never answer. What they hold already (``persist``)
    is theirs to compute.
    """
    if window.chunks is None:
        return window.values
    try:
        found = window.compute(scheduler="threads").values
        if found.dtype == window.dtype:
            return found
    except Exception as error:  # noqa: BLE001  the same error comes again, if it is not the place
        logger.debug("a window could not be computed here: %r", error)
    return window.values


def _windows(date: xr.DataArray) -> Iterator[xr.DataArray]:
    """Yield windows of one date (band, y, x): the middle, then the corners."""
    _, H, W = date.shape
    half = _WINDOW // 2
    for y, x in ((H // 2, W // 2), (0, 0), (H - 1, W - 1), (0, W - 1), (H - 1, 0)):
        top, left = max(0, y - half), max(0, x - half)
        yield date[:, top : top + _WINDOW, left : left + _WINDOW]


def _point_out_fill(cube: xr.DataArray, nodata: Any, *, read: bool) -> None:
    """Warn of a value that many samples share, at one end of the range and far from all others."""
    if cube.chunks is None and isinstance(cube.variable._data, np.ndarray):  # noqa: SLF001
        step = max(1, math.isqrt(cube.size // _MOST_SAMPLES))
        samples = cube.values[..., ::step, ::step].ravel()
    elif read:
        try:
            # In this process: whether workers of a cluster can do it has not been asked yet, and
            # those that cannot import what it takes would never answer.
            windows = [
                window.compute(scheduler="threads").values.ravel()
                for window in _windows(cube[cube.shape[0] // 2])
            ]
        except Exception:  # noqa: BLE001  a source that fails now is tried again, and told, later
            return
        samples = np.concatenate(windows)
        if samples.dtype.kind not in "iu":
            return  # a graph whose blocks are not of the dtype that it states
    else:
        return
    found = _unstated_fill(samples if nodata is None else samples[samples != nodata])
    if found is None:
        return
    value, share = found
    warnings.warn(
        f"{share:.1%} of the samples of {cube.name!r} are {value}, far from all others, and no "
        "attribute says what that means: as data, it is blurred, and what lies beside it. Pass "
        f"nodata={value} if it marks missing samples, or nodata={nodata} if it is data.",
        FillValueWarning,
        stacklevel=5,
    )


def _unstated_fill(samples: NDArray[Any]) -> tuple[int, float] | None:
    """Return what looks like a fill value among integers, and its share; None if nothing does."""
    if not samples.size:
        return None
    limits = np.iinfo(samples.dtype)
    for value in (int(samples.min()), int(samples.max())):
        at = samples == value
        count = int(np.count_nonzero(at))
        if count < max(_FEWEST, _LEAST_SHARE * samples.size):
            continue
        others = samples[~at]
        end = value in (-9999, limits.max) or value == limits.min < 0
        if not others.size:
            alone = end
        else:
            nearest = int(others.min() if value < int(others.min()) else others.max())
            # Where values were clipped, others are near; below zero, noise has many values.
            gap = abs(nearest - value)
            alone = end or gap >= _GAP or value < 0 <= nearest or (value == 0 and gap >= _GAP_ZERO)
        if alone:
            return value, count / samples.size
    return None


def _valid(values: NDArray[np.floating], nodata: int | float | str | None) -> NDArray[np.floating]:
    keep = np.isfinite(values)
    if nodata is not None and not isinstance(nodata, str):
        keep &= values != nodata
    valid: NDArray[np.floating] = values[keep]
    return valid

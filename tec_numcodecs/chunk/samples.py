"""Between the samples of an array and the digital numbers that models see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.chunk.inpainting import fill_masked
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput

#: Digital numbers stay below this in magnitude: 16 bits, and room for an offset.
DN_LIMIT = 1 << 17

Samples = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Masks:
    """Invalid pixels of a chunk, (T, C, H, W) each; None where there are none."""

    nodata: Mask | None
    nan: Mask | None

    @classmethod
    def of(cls, samples: Samples, nodata: float | None) -> Masks:
        """Find the invalid pixels."""
        marked = nodata_of(samples.dtype, nodata)
        by_value = samples == marked if marked is not None else np.zeros((), np.bool_)
        by_nan = np.isnan(samples) if samples.dtype.kind == "f" else np.zeros((), np.bool_)
        return cls(by_value if by_value.any() else None, by_nan if by_nan.any() else None)

    def union(self, shape: tuple[int, ...]) -> Mask:
        """Every invalid pixel."""
        out = np.zeros(shape, np.bool_)
        for mask in (self.nodata, self.nan):
            if mask is not None:
                out |= mask
        return out


def is_integer(dtype: np.dtype[Any], scale: float, offset: float) -> bool:
    """Whether samples and digital numbers differ by an integer only, so that nothing is rounded."""
    whole = float(offset).is_integer() and abs(offset) < 1 << 30
    return dtype.kind in "iu" and scale == 1.0 and whole


def to_dn(samples: Samples, invalid: Mask, config: CodecConfig) -> NDArray[np.int32]:
    """Samples to digital numbers, masked pixels filled.

    Parameters
    ----------
    samples : array (T, C, H, W)
    invalid : bool array (T, C, H, W)
    config : CodecConfig

    Returns
    -------
    int32 array (T, C, H, W)

    Raises
    ------
    InvalidInput
        If a valid pixel is infinite or out of range.
    """
    if is_integer(samples.dtype, config.scale, config.offset):
        dn = samples.astype(np.int32) - int(config.offset)
    else:
        values = np.where(invalid, config.offset, samples).astype(np.float64)
        scaled = (values - config.offset) / config.scale
        _check_range(scaled, values, config)
        dn = np.rint(scaled).astype(np.int32)
    dn = np.where(invalid, 0, dn)
    _check_range(dn, samples, config)
    return fill_masked(dn, invalid)


def from_dn(
    dn: NDArray[Any],
    dtype: np.dtype[Any],
    scale: float,
    offset: float,
    nodata: float | None,
) -> Samples:
    """Digital numbers back to samples of a dtype; none of them becomes nodata.

    Parameters
    ----------
    dn : int32 or float64 array
    dtype : numpy.dtype
        In either byte order.
    scale, offset : float
    nodata : float or None

    Returns
    -------
    array of the native byte order
    """
    native = dtype.newbyteorder("=")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            samples = (dn.astype(np.float64) * scale + offset).astype(native)
        return avoid_nodata(samples, nodata)
    info = np.iinfo(native)
    if dn.dtype.kind in "iu" and is_integer(dtype, scale, offset):
        values = dn + np.int32(offset)  # |dn| < 2^23, |offset| < 2^30
    else:
        values = np.rint(np.clip(dn.astype(np.float64) * scale + offset, info.min, info.max))
    return avoid_nodata(np.clip(values, info.min, info.max, out=values).astype(native), nodata)


def avoid_nodata(samples: Samples, nodata: float | None) -> Samples:
    """Move samples that equal nodata to the next value, in place.

    That is the one above, or the one below where nodata is the largest (finite) value.
    """
    marked = nodata_of(samples.dtype, nodata)
    if marked is None:
        return samples
    if samples.dtype.kind == "f":
        up = marked < np.finfo(samples.dtype).max
        samples[samples == marked] = np.nextafter(marked, marked.dtype.type(np.inf if up else 0))
    else:
        up = marked < np.iinfo(samples.dtype).max
        samples[samples == marked] = int(marked) + (1 if up else -1)
    return samples


def nodata_of(dtype: np.dtype[Any], nodata: float | None) -> Any:
    """Nodata as a scalar of a dtype; None if there is none, or the dtype cannot hold it."""
    if nodata is None:
        return None
    kind = dtype.newbyteorder("=").type
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            marked = np.float64(nodata).astype(kind)
        return marked if np.isfinite(marked) else None
    info = np.iinfo(dtype)
    holds = float(nodata).is_integer() and info.min <= nodata <= info.max
    return kind(int(nodata)) if holds else None


def _check_range(dn: NDArray[np.generic], samples: Samples, config: CodecConfig) -> None:
    with np.errstate(invalid="ignore"):
        outside = ~(np.abs(dn) < DN_LIMIT)
    if outside.any():
        worst = np.asarray(samples)[outside].ravel()[0]
        low = (1 - DN_LIMIT) * config.scale + config.offset
        high = (DN_LIMIT - 1) * config.scale + config.offset
        raise InvalidInput(
            f"a pixel of {worst!s} in {config.units}, scale={config.scale:g}",
            allowed=f"finite values from {low:.6g} to {high:.6g}",
            fix="mask it (NaN or nodata), state units and scale as they are, or store the array "
            "without loss (max_error=0)",
        )

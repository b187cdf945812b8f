"""How good a decoded cube is, and how curves of rate and quality compare.

Peak of PSNR is 10,000 DN (reflectance 1), errors are taken over all bands of an image together.
The Bjontegaard difference (BD-rate) is the mean, over a range of quality, of the difference of two
curves of log rate; curves are interpolated monotonically (PCHIP), as in ITU-T HSTP-VID-WPOM (2020).
Curves of single images are compared, then the geometric mean of their ratios is taken: averaging
decibels over images first would flatter codecs whose quality varies from image to image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from tec_numcodecs.sensors import get_sensor

Floats = NDArray[np.float64]
Point = dict[str, Any]  # of one image at one setting; what `measure` returns

PEAK = 10_000.0
TILE = 32
BANDS = get_sensor("sentinel-2-l2a").bands
#: Curves that share fewer decibels than this are not compared.
LEAST_OVERLAP = 3.0


def measure(original: NDArray[Any], decoded: NDArray[Any], stored: int) -> Point:
    """Measure one decoded cube.

    Parameters
    ----------
    original, decoded : uint16 arrays (T, C, H, W)
        DN, all 12 bands.
    stored : int
        Bytes from which it was decoded.

    Returns
    -------
    dict
        ``bytes``; ``bpppb``, bits per pixel per band; ``psnr`` in dB (None if lossless); ``rmse``
        of each band in DN; ``angle``, mean spectral angle in degrees; ``ndvi`` and ``ndwi``, mean
        absolute errors of the two indices; ``tile``, RMSE of the worst 32 x 32 pixels in DN.

    Raises
    ------
    ValueError
        If the shapes or dtypes differ.
    """
    if original.shape != decoded.shape or original.dtype != decoded.dtype:
        raise ValueError(
            f"decoded {decoded.dtype} {decoded.shape}, not {original.dtype} {original.shape}"
        )
    x, y = original.astype(np.float64), decoded.astype(np.float64)
    square = (y - x) ** 2
    mse = float(square.mean())
    return {
        "bytes": stored,
        "bpppb": 8 * stored / original.size,
        "psnr": psnr(mse) if mse else None,
        "rmse": np.sqrt(square.mean((0, 2, 3))).tolist(),
        "angle": spectral_angle(x, y),
        "ndvi": index_error(x, y, "B08", "B04"),
        "ndwi": index_error(x, y, "B03", "B08"),
        "tile": worst_tile(square),
    }


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error in DN^2."""
    return float(10 * np.log10(PEAK**2 / mse))


def mse_of(decibels: float) -> float:
    """Inverse of :func:`psnr`."""
    return float(PEAK**2 / 10 ** (decibels / 10))


def spectral_angle(x: Floats, y: Floats) -> float:
    """Mean angle in degrees between the spectra of pixels (T, C, H, W) that are not all zero."""
    norm = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    cosine = (x * y).sum(1)[norm > 0] / norm[norm > 0]
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def index_error(x: Floats, y: Floats, plus: str, minus: str) -> float:
    """Mean absolute error of the normalized difference of two bands.

    NDVI is B08 and B04; NDWI is B03 and B08 (McFeeters, 1996). Pixels that are zero in both bands
    of the original have no index and are left out; a decoded pixel of this kind has index 0.
    """
    a, b = BANDS.index(plus), BANDS.index(minus)
    valid = (x[:, a] + x[:, b]) > 0
    values = [(cube[:, a] - cube[:, b]) / np.maximum(cube[:, a] + cube[:, b], 1) for cube in (x, y)]
    return float(np.abs(values[0] - values[1])[valid].mean())


def worst_tile(square: Floats) -> float:
    """Largest RMSE of any 32 x 32 tile, all bands together; an incomplete tile does not count."""
    t, c, h, w = square.shape
    rows, columns = h // TILE, w // TILE
    cut = square[..., : rows * TILE, : columns * TILE]
    tiles = cut.reshape(t, c, rows, TILE, columns, TILE).mean((1, 3, 5))
    return float(np.sqrt(tiles.max()))


@dataclass(frozen=True)
class Curve:
    """Rate against quality of one image: PSNR rising strictly, and the log of bits per sample."""

    decibels: Floats
    log_rate: Floats

    @classmethod
    def of(cls, points: Sequence[Point]) -> Curve:
        """Sort points by rate; those that cost more and are no better are left out."""
        kept: list[tuple[float, float]] = []
        lossy = [(p["bpppb"], p["psnr"]) for p in points if p["psnr"] is not None]
        for rate, decibels in sorted(lossy):
            if not kept or decibels > kept[-1][0] + 1e-6:
                kept.append((decibels, float(np.log(rate))))
        array = np.array(kept).reshape(-1, 2)
        return cls(array[:, 0], array[:, 1])

    def at(self, decibels: Floats | float) -> Floats:
        """Log rate at a quality; NaN outside of the curve."""
        if len(self.decibels) < 2:
            return np.full(np.shape(decibels), np.nan)
        spline = PchipInterpolator(self.decibels, self.log_rate, extrapolate=False)
        return np.asarray(spline(decibels), np.float64)


def bd_rate(anchor: Curve, curve: Curve, low: float, high: float) -> float:
    """Mean ratio of rates, less one: -0.5 is half of the anchor's bits at the same quality.

    The range is what `low` ... `high` and both curves have in common; NaN if that is too little.
    """
    if min(len(anchor.decibels), len(curve.decibels)) < 3:
        return float("nan")
    low = max(low, anchor.decibels[0], curve.decibels[0])
    high = min(high, anchor.decibels[-1], curve.decibels[-1])
    if high - low < LEAST_OVERLAP:
        return float("nan")
    grid = np.linspace(low, high, 400)
    return float(np.expm1(np.mean(curve.at(grid) - anchor.at(grid))))


def geometric_mean(differences: Sequence[float]) -> float:
    """Mean of relative differences as the ratios that they are; NaN are left out."""
    ratios = np.log1p([d for d in differences if not math.isnan(d)])
    return float(np.expm1(ratios.mean())) if len(ratios) else float("nan")


def pooled(dates: Sequence[Point]) -> Point:
    """One point for a series whose dates were coded one by one at the same setting."""
    mse = float(np.mean([mse_of(p["psnr"]) if p["psnr"] is not None else 0.0 for p in dates]))
    stored = sum(p["bytes"] for p in dates)
    rate = float(np.mean([p["bpppb"] for p in dates]))
    return {"bytes": stored, "bpppb": rate, "psnr": psnr(mse) if mse else None}


def value_at_rate(points: Sequence[Point], key: str, rate: float) -> Any:
    """Metric `key` at a rate in bits per pixel per band, linear in log rate; NaN outside."""
    lossy = sorted((p for p in points if p["psnr"] is not None), key=lambda p: p["bpppb"])
    rates = np.log([p["bpppb"] for p in lossy])
    values = np.array([p[key] for p in lossy], np.float64)  # (n,) or (n, C)
    wanted = np.log(rate)
    if not len(rates) or not rates[0] <= wanted <= rates[-1]:
        return np.full(values.shape[1:], np.nan)
    flat = values.reshape(len(values), -1)
    found = np.array([np.interp(wanted, rates, column) for column in flat.T])
    return found.reshape(values.shape[1:])


def curves(points: Mapping[str, Sequence[Point]]) -> dict[str, Curve]:
    """Curve of each image."""
    return {image: Curve.of(found) for image, found in points.items()}

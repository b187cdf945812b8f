"""Figures of one fill: errors at hidden pixels, over all bands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.inpaint.cases import Case
from benchmarks.inpaint.rows import Fill
from benchmarks.metrics import PEAK
from tec_xarray.report.ssim import ssim_sum

Figures = dict[str, float]
SURFACES = ("water", "vegetation", "sparse")


def measure(case: Case, fill: Fill) -> Figures:
    """Return PSNR (dB), MAE (DN), SSIM, spectral angle (degrees), NDVI, coverage, microseconds.

    PSNR and MAE are over the hidden pixels of all bands; SSIM is the mean over windows that a
    hidden pixel lies in; pixels that could not be filled count with the mean color of the date.
    """
    truth = case.values[case.date][:, case.hidden].astype(np.float64)  # (C, n)
    color = case.values[case.date][:, case.clear[case.date]].mean(axis=1, keepdims=True)
    values = np.where(np.isfinite(fill.values), fill.values, color).astype(np.float64)
    error = np.abs(values - truth)
    found = {
        "psnr": decibels(np.square(error).mean()),
        "mae": float(error.mean()),
        "ssim": _ssim(case, values),
        "angle": _angle(values, truth),
        "ndvi": float(np.abs(ndvi(case, values) - ndvi(case, truth)).mean()),
        "microseconds": 1e6 * fill.seconds / truth.shape[1],
    }
    kinds = surfaces(case, truth)
    for k, surface in enumerate(SURFACES):
        if (kinds == k).sum() >= 50:
            found[surface] = float(np.square(error[:, kinds == k]).mean())
    if fill.error is not None:
        there = np.isfinite(fill.values)
        found["inside"] = float((error <= fill.error)[there].mean())
        found["width"] = float(fill.error[there].mean())
    return found


def decibels(square: Any) -> float:
    """Return the PSNR of a mean squared error in DN^2."""
    return float(10 * np.log10(PEAK**2 / max(float(square), 1e-9)))


def ndvi(case: Case, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the index of pixels (C, n)."""
    names = case.bands
    near = values[names.index("B08" if "B08" in names else "B8A")]
    red = values[names.index("B04")]
    return (near - red) / np.maximum(near + red, 1)


def surfaces(case: Case, truth: NDArray[np.float64]) -> NDArray[np.intp]:
    """Tell water (NDWI > 0), vegetation (NDVI > 0.5) and the rest by the truth."""
    names = case.bands
    near = truth[names.index("B08" if "B08" in names else "B8A")]
    green = truth[names.index("B03")]
    return np.where(green > near, 0, np.where(ndvi(case, truth) > 0.5, 1, 2))


def _angle(values: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Return the mean angle between spectra in degrees."""
    u, v = (a / np.maximum(np.linalg.norm(a, axis=0), 1e-9) for a in (values, truth))
    apart, along = (np.linalg.norm(a, axis=0) for a in (u - v, u + v))
    return float(np.degrees(2 * np.arctan2(apart, along)).mean())


def _ssim(case: Case, values: NDArray[np.float64]) -> float:
    """Return the mean SSIM over windows with a hidden pixel, all bands."""
    truth = case.values[case.date].astype(np.float64)
    valid = case.clear[case.date] | case.hidden
    total, count = 0.0, 0
    for c, band in enumerate(truth):
        filled = band.copy()
        filled[case.hidden] = values[c]
        every, windows = ssim_sum(band, filled, valid)
        _, untouched = ssim_sum(band, band, case.clear[case.date])
        total, count = total + every - untouched, count + windows - untouched
    return total / count if count else float("nan")

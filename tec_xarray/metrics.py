"""How far one cube is from another: sums over a block, which add up over blocks.

Everything is counted in digital numbers (DN, reflectance = DN / 10,000) and in float64, for the
samples that are valid in both cubes. A `Tally` of a whole cube is the sum of the tallies of its
blocks, so that a cube larger than memory needs one block at a time.

SSIM is that of Wang et al., "Image quality assessment: from error visibility to structural
similarity", IEEE TIP 13(4), 2004, equation 13, with its Gaussian window of 11 x 11 and sigma 1.5.
The spectral angle is that of Kruse et al., "The spectral image processing system (SIPS)", Remote
Sensing of Environment 44, 1993.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

PEAK = 10_000.0  # DN of reflectance 1: the peak of PSNR and the range of SSIM
WINDOW = 11  # of SSIM, in pixels

_OFFSETS = np.arange(WINDOW) - WINDOW // 2
_KERNEL = np.exp(-(_OFFSETS**2) / (2 * 1.5**2))
_KERNEL /= _KERNEL.sum()
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


@dataclass
class Tally:
    """Sums from which every figure of a report follows.

    Attributes
    ----------
    count, error, square, peak : float64, shape (T, C)
        Valid samples; sum of the errors, of their squares, and the largest magnitude, in DN.
    ssim, windows : float64, shape (T, C)
        Sum of SSIM over windows without an invalid pixel, and how many those are.
    angle, spectra : float64, shape (T,)
        Sum of spectral angles in radians over pixels valid in all bands, and how many those are.
    mask_errors : float64, shape (T, C)
        Samples that are valid in one cube only.
    worst : tuple of int
        Where the largest error is: (time, band, y, x).
    """

    count: Floats
    error: Floats
    square: Floats
    peak: Floats
    ssim: Floats
    windows: Floats
    angle: Floats
    spectra: Floats
    mask_errors: Floats
    worst: tuple[int, int, int, int] = (0, 0, 0, 0)

    @classmethod
    def zeros(cls, dates: int, bands: int) -> Tally:
        """Return the tally of nothing, for T dates and C bands."""
        per_date = {"angle", "spectra"}
        names = [field.name for field in fields(cls) if field.name != "worst"]
        shapes = {name: (dates,) if name in per_date else (dates, bands) for name in names}
        sums: dict[str, Any] = {name: np.zeros(shape) for name, shape in shapes.items()}
        return cls(**sums)

    def add(self, block: Tally, origin: tuple[int, int, int]) -> None:
        """Add the tally of a block whose first sample is at (time, y, x) = `origin`."""
        dates = slice(origin[0], origin[0] + len(block.angle))
        if block.peak.max(initial=0.0) > self.peak.max(initial=0.0):
            t, c, y, x = block.worst
            self.worst = (t + origin[0], c, y + origin[1], x + origin[2])
        for name in ("count", "error", "square", "ssim", "windows", "angle", "spectra"):
            getattr(self, name)[dates] += getattr(block, name)
        self.mask_errors[dates] += block.mask_errors
        self.peak[dates] = np.maximum(self.peak[dates], block.peak)


@dataclass(frozen=True)
class Scaling:
    """How to turn stored values into DN: DN = (value - offset) / scale.

    Attributes
    ----------
    scale, offset : float
        As in the codec's configuration.
    nodata : float or None
        The value of missing samples; NaN is missing in any case.
    """

    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None

    def apply(self, values: NDArray[Any]) -> tuple[Floats, Mask]:
        """Return DN as float64, and which samples are valid."""
        valid = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, np.bool_)
        if self.nodata is not None and not np.isnan(self.nodata):
            valid &= values != self.nodata
        dn = values.astype(np.float64)
        if self.offset:
            dn -= self.offset
        if self.scale != 1.0:
            dn /= self.scale
        return dn, valid


def tally(
    original: NDArray[Any],
    decoded: NDArray[Any],
    scalings: tuple[Scaling, Scaling] = (Scaling(), Scaling()),
    *,
    ssim: bool = True,
) -> Tally:
    """Compare two blocks, plane by plane: little more memory than they take themselves.

    Parameters
    ----------
    original, decoded : array, shape (T, C, H, W)
        As stored.
    scalings : tuple of Scaling
        What their values mean.
    ssim : bool
        Whether to compute SSIM, nearly all of the time that this takes.

    Returns
    -------
    Tally
        Of shape (T, C).
    """
    T, C = original.shape[:2]
    found = Tally.zeros(T, C)
    for t in range(T):
        for c in range(C):
            a, valid = scalings[0].apply(original[t, c])  # (H, W)
            b, decoded_valid = scalings[1].apply(decoded[t, c])
            both = valid & decoded_valid
            found.mask_errors[t, c] = np.count_nonzero(valid != decoded_valid)
            _count_errors(found, (t, c), np.where(both, b - a, 0.0), both)
            if ssim:
                found.ssim[t, c], found.windows[t, c] = _ssim(a, b, both)
        found.angle[t], found.spectra[t] = _spectral_angle(original[t], decoded[t], scalings)
    return found


def _count_errors(found: Tally, place: tuple[int, int], error: Floats, both: Mask) -> None:
    """Enter the errors of one plane (H, W), 0 where a sample is invalid."""
    size = np.abs(error)
    peak = size.max(initial=0.0)
    if peak > found.peak.max():
        y, x = np.unravel_index(int(size.argmax()), size.shape)
        found.worst = (*place, int(y), int(x))
    found.peak[place] = peak
    found.count[place] = np.count_nonzero(both)
    found.error[place] = error.sum()
    found.square[place] = np.square(error).sum()


def _ssim(a: Floats, b: Floats, valid: Mask) -> tuple[float, int]:
    """Sum SSIM over the windows of one plane (H, W) that hold valid pixels only; count them."""
    if min(a.shape) < WINDOW:
        return 0.0, 0
    whole = None
    if not valid.all():
        whole = _whole_windows(valid)
        if not whole.any():
            return 0.0, 0
        a, b = np.where(valid, a, 0.0), np.where(valid, b, 0.0)
    mean_a, mean_b = _blur(a), _blur(b)  # (H - 10, W - 10)
    product = mean_a * mean_b
    means = mean_a * mean_a + mean_b * mean_b
    covariance = _blur(a * b) - product
    variances = _blur(a * a + b * b) - means
    index = (2 * product + _C1) * (2 * covariance + _C2)
    index /= (means + _C1) * (variances + _C2)
    if whole is None:
        return float(index.sum()), index.size
    return float(index[whole].sum()), int(whole.sum())


def _blur(plane: Floats) -> Floats:
    """Correlate with the Gaussian window, where it fits: (H, W) -> (H - 10, W - 10)."""
    height, width = plane.shape[0] - WINDOW + 1, plane.shape[1] - WINDOW + 1
    rows: Floats = _KERNEL[0] * plane[:height]
    for k in range(1, WINDOW):
        rows += _KERNEL[k] * plane[k : k + height]
    blurred: Floats = _KERNEL[0] * rows[:, :width]
    for k in range(1, WINDOW):
        blurred += _KERNEL[k] * rows[:, k : k + width]
    return blurred


def _whole_windows(valid: Mask) -> Mask:
    """Tell which 11 x 11 windows have no invalid pixel: (H, W) -> (H - 10, W - 10)."""
    height, width = valid.shape[0] - WINDOW + 1, valid.shape[1] - WINDOW + 1
    rows = valid[:height].copy()
    for k in range(1, WINDOW):
        rows &= valid[k : k + height]
    whole = rows[:, :width].copy()
    for k in range(1, WINDOW):
        whole &= rows[:, k : k + width]
    return whole


def _spectral_angle(
    original: NDArray[Any], decoded: NDArray[Any], scalings: tuple[Scaling, Scaling]
) -> tuple[float, int]:
    """Sum the angles between spectra of one date (C, H, W), in radians; count them."""
    if len(original) < 2:
        return 0.0, 0
    pixels = np.ones(original.shape[1:], np.bool_)
    squares = np.zeros((2, *pixels.shape))
    for planes in zip(original, decoded, strict=True):
        for i in (0, 1):
            dn, valid = scalings[i].apply(planes[i])
            squares[i] += dn * dn
            pixels &= valid
    pixels &= (squares > 0).all(axis=0)  # darkness has no direction
    length_u, length_v = np.sqrt(squares[:, pixels])  # (n,) each
    # Kahan's form: the arc cosine of a dot product near 1 would lose half of the digits.
    apart, along = np.zeros_like(length_u), np.zeros_like(length_u)
    for planes in zip(original, decoded, strict=True):
        u = scalings[0].apply(planes[0][pixels])[0] / length_u
        v = scalings[1].apply(planes[1][pixels])[0] / length_v
        apart += (u - v) ** 2
        along += (u + v) ** 2
    return float((2 * np.arctan2(np.sqrt(apart), np.sqrt(along))).sum()), len(apart)

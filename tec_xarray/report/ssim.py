"""SSIM over the windows of one plane that hold valid pixels only.

The index is that of Wang et al., "Image quality assessment: from error visibility to structural
similarity", IEEE TIP 13(4), 2004, equation 13, with its Gaussian window of 11 x 11 and sigma 1.5,
over a range of 10,000 DN.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.arithmetic import ieee754
from tec_numcodecs.rate_control import PEAK

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

WINDOW = 11  # pixels

_OFFSETS = np.arange(WINDOW) - WINDOW // 2
_KERNEL = np.exp(-(_OFFSETS**2) / (2 * 1.5**2))
_KERNEL /= _KERNEL.sum()
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


@ieee754
def ssim_sum(a: Floats, b: Floats, valid: Mask) -> tuple[float, int]:
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

"""Surface or top of atmosphere, from two bands: what water vapor takes away and L2A gives back.

B09 (945 nm) lies in an absorption band of water vapor, B8A (865 nm) beside it, and the ground
reflects much the same in both. At the top of the atmosphere B09 is a third of B8A on average; once
the atmosphere is corrected for, they are equal. Only plain cases are decided: high clouds have
little vapor above them, and over water there is little to compare.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

_WINDOW = 256  # pixels, of what is looked at
_FEWEST = 100  # samples
_L1C_BELOW = 0.6
_L2A = (0.85, 1.2)
_PLAIN_LAND = (800.0, 5000.0)  # DN of B8A: neither water nor clouds and snow


def level_of(cube: xr.DataArray, bands: list[str]) -> str | None:
    """Tell ``"L2A"`` from ``"L1C"`` by a sample of a cube; None where it is not plain.

    Parameters
    ----------
    cube : xarray.DataArray
        (time, band, y, x), DN or reflectance; a window of one date is read.
    bands : list of str
        Canonical names of its bands.
    """
    if not {"B8A", "B09"} <= set(bands):
        return None
    pair = [bands.index("B8A"), bands.index("B09")]
    top, left = (max(0, (n - _WINDOW) // 2) for n in cube.shape[2:])
    window = cube[cube.shape[0] // 2, pair, top : top + _WINDOW, left : left + _WINDOW]
    reference, vapor = window.values.astype(np.float64)
    valid = (reference > 0) & (vapor > 0) & np.isfinite(reference) & np.isfinite(vapor)
    if valid.sum() < _FEWEST:
        return None
    ratio = float(np.median(vapor[valid] / reference[valid]))
    bright = float(np.median(reference[valid])) * (1 if cube.dtype.kind in "iu" else 10_000)
    if ratio < _L1C_BELOW:
        return "L1C"
    plain = _L2A[0] <= ratio <= _L2A[1] and _PLAIN_LAND[0] <= bright <= _PLAIN_LAND[1]
    return "L2A" if plain else None

"""One sign convention for spectral components.

An eigenvector is as good as its negative. The context networks learn how components go together
(vegetation is dark in red and bright in infrared), so they see every component with the sign that
makes it grow with wavelength, whatever codebook entry or set of bands it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.sensors import Sensor


def component_signs(
    rows: NDArray[np.float64], sensor: Sensor, bands: Sequence[int]
) -> NDArray[np.float64]:
    """Signs that make components grow with wavelength.

    Parameters
    ----------
    rows : float64 array (K, n, n)
        Orthonormal rows.
    sensor : Sensor
    bands : sequence of int
        Indices of the n bands.

    Returns
    -------
    float64 array (K, n)
        +1 or -1. Equal on all machines: the products are rounded to 2^-20 before the exact sum.
    """
    wavelengths = np.array([round(sensor.wavelengths[b]) for b in bands], np.float64)
    slope = np.rint(rows * (1 << 20)) @ wavelengths  # whole numbers below 2^37: any order is exact
    return np.where(slope < 0, -1.0, 1.0)

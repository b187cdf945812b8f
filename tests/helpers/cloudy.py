"""Cloudy series made of the bundled scene, whose truth under the clouds is known."""

from __future__ import annotations

import numpy as np

from tec_xarray.tutorial import open_dataset


def blobs(shape, cover, seed=0, size=9.0):
    """Masks (..., H, W) of cloud-like shapes over a share of each image."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    noise = random.normal(size=shape)
    smooth = gaussian_filter(noise, (0,) * (len(shape) - 2) + (size, size), mode="wrap")
    edge = np.quantile(smooth, 1 - cover, axis=(-2, -1), keepdims=True)
    return smooth > edge


def seasons(size=128, bands=("B02", "B04", "B08", "B11")):
    """Four real acquisitions (4, C, size, size) of one place, uint16 DN."""
    cube = open_dataset("0173706", layout="cube")["reflectance"]
    return cube.sel(band=list(bands)).to_numpy()[..., :size, :size]

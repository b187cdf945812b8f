"""Small cubes that look like Sentinel-2: smooth, correlated between bands, noisy."""

from __future__ import annotations

import numpy as np


def scene(shape, seed=0, dtype=np.uint16):
    """A cube (T, C, H, W) of plausible digital numbers (or reflectance for floats)."""
    random = np.random.default_rng(seed)
    t, c, h, w = shape
    y, x = np.mgrid[:h, :w] / max(h, w, 2)
    waves = sum(
        random.normal()
        * np.sin(2 * np.pi * (random.normal() * 3 * x + random.normal() * 3 * y + k))
        for k in range(5)
    )
    relief = 1 + 0.25 * waves + 0.05 * random.normal(size=(h, w))
    bands = random.uniform(300, 3500, (1, c, 1, 1))
    dates = random.uniform(0.8, 1.2, (t, 1, 1, 1))
    dn = np.clip(bands * dates * relief + random.normal(0, 15, shape), 1, 12000)
    if np.dtype(dtype).kind == "f":
        return (dn / 10_000).astype(dtype)
    return np.rint(dn).astype(dtype)

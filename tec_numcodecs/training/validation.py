"""Validation: bits of whole images at fixed rates, in floating point and with rounding."""

from __future__ import annotations

from typing import Any

import torch

from tec_numcodecs.training.augment import Crop
from tec_numcodecs.training.batch import collate
from tec_numcodecs.training.data import Scene
from tec_numcodecs.training.objective import Coder, Quantiser
from tec_numcodecs.training.wavelet import Spectra

#: Rate indices at which the curve is logged: steps of 3200, 1250 and 450 DN.
RATES = (186, 165, 141)


def tiles(scenes: list[Scene]) -> list[Crop]:
    """Up to two squares of at most 256 pixels of each scene."""
    found = []
    for scene in scenes:
        height, width = scene.data.shape[2:]
        size = min(256, height // 32 * 32, width // 32 * 32)
        places = [(0, 0)] if min(height, width) < 512 else [(0, 0), (256, 256)]
        for y, x in places:
            pixels = scene.data[:1, :, y : y + size, x : x + size].astype("float32")
            found.append(Crop(scene, scene.bands, pixels))
    return found


def validate(coder: Coder, crops: list[Crop], spectra: dict[str, Spectra]) -> dict[str, Any]:
    """Bits per pixel and band at dead-zone offset 0.4, mean over crops, a number a rate."""
    rounded: list[float] = []
    with torch.no_grad():
        for rate in RATES:
            total = 0.0
            for crop in crops:
                batch = collate([crop], [rate], spectra, 0.0)
                bits = float(torch.stack(coder.code(batch, Quantiser(0.4)).bits).sum())
                total += bits / crop.pixels[-1].size
            rounded.append(round(total / len(crops), 5))
    return {"val": rounded, "rates": list(RATES)}

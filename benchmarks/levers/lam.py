"""What equal lam gives in the models, and the shift of the rate index that gives equal PSNR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.levers.transform import Scene
from benchmarks.metrics import psnr
from tec_numcodecs.chunk import decoding
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.models.mini.transform.quantizer import rate_index_of

MODELS = ("fp", "elic", "tt", "flextec")
LAMS = (0.5, 2, 8, 32, 128, 512)


@dataclass(frozen=True)
class At:
    """A model at one lam: means over scenes.

    Attributes
    ----------
    decibels : float
        PSNR less that of `fp`.
    bits : float
        Bytes relative to those of `fp`, less one.
    shift : float
        Sixteenths of an octave by which the step must grow for the PSNR of `fp`.
    """

    decibels: float
    bits: float
    shift: float


def stored(scene: Scene, model: str, lam: float) -> tuple[int, float]:
    """Bytes of a chunk of today's format, and PSNR."""
    names = [scene.sensor.bands[b] for b in scene.bands]
    config = CodecConfig.parse(model, lam, bands=names, sensor=scene.sensor.name)
    samples = scene.data.astype(np.uint16)
    (data,) = decoding.encode([samples], config)
    (found,) = decoding.decode([data], config)
    return len(data), psnr(float(np.square(found.astype(np.float64) - samples).mean()))


def compare(
    scenes: Sequence[Scene], models: Sequence[str] = MODELS, lams: Sequence[float] = LAMS
) -> dict[str, dict[float, At]]:
    """All models at all lams, against the first model."""
    curves = {
        m: np.array([[stored(s, m, lam) for lam in lams] for s in scenes]) for m in models
    }  # (scenes, lams, 2)
    index = np.array([rate_index_of(lam) for lam in lams], np.float64)
    base = curves[models[0]]
    out: dict[str, dict[float, At]] = {}
    for m in models[1:]:
        found = curves[m]
        decibels = (found[..., 1] - base[..., 1]).mean(0)
        bits = np.exp(np.log(found[..., 0] / base[..., 0]).mean(0)) - 1
        slope = -np.gradient(found[..., 1].mean(0), index)  # dB a sixteenth, positive
        out[m] = {
            lam: At(float(d), float(b), float(d / s))
            for lam, d, b, s in zip(lams, decibels, bits, slope, strict=True)
        }
    return out

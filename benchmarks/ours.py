"""Our models as the benchmark sees them: whole chunks as they are stored, checksums and all."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.metrics import Point, measure
from benchmarks.scenes import Scene
from tec_numcodecs import chunk
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import TecError
from tec_numcodecs.models import loading
from tec_numcodecs.weights.local_store import bundled

FAMILY = "mini"
#: The stream that is read in part reaches about 46 dB.
PART_LAM = 260
#: From the smallest files to nearly lossless, about 2 dB apart.
LAMS = (0.12, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 130, 260, 700, 2000, 6000, 20_000, 70_000, 300_000)


def available() -> list[str]:
    """Names of the models in the package; of one that does not load, say why and go on."""
    found = []
    for name in bundled().get(FAMILY, {}):
        try:
            check([name])
        except TecError as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
        else:
            found.append(name)
    return found


def points(model: str, scene: Scene, lams: Iterable[float]) -> list[Point]:
    """Measure a model on one scene as one chunk, at each lam."""
    return [_point(scene, CodecConfig.parse(model, lam)) | {"setting": lam} for lam in lams]


def in_part(scene: Scene) -> list[Point]:
    """Measure one `flextec` stream read up to each of its tokens."""
    configs = [CodecConfig.parse("flextec", PART_LAM, quality=k) for k in range(1, 17)]
    return [_point(scene, config) | {"setting": config.quality} for config in configs]


def lossless(model: str, scene: Scene) -> Point:
    """Measure the lossless mode, and check that it is."""
    point = _point(scene, CodecConfig.parse(model, max_error=0))
    if point["psnr"] is not None:
        raise RuntimeError(f"{model}, {scene.name}: not lossless, {point['psnr']:.1f} dB")
    return point


def weights(models: Sequence[str]) -> dict[str, dict[str, str]]:
    """Id and digest of the weights of models."""
    return {name: CodecConfig.parse(name, 20).weights.to_json() for name in models}


def check(models: Sequence[str]) -> None:
    """Load models, so that one that is not there stops the run before anything is measured.

    Raises
    ------
    TecError
    """
    for name in models:
        loading.load(name, CodecConfig.parse(name, 20).weights)


def _point(scene: Scene, config: CodecConfig) -> Point:
    (data,) = chunk.encode([scene.data], config)
    # The decoder is given the bytes and nothing else.
    (decoded,) = chunk.decode([data])
    return measure(scene.data, np.asarray(decoded), len(data))

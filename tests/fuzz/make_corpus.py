"""Write the committed corpus: what encoders make of small arrays, so that fuzzing starts deep.

    python tests/fuzz/make_corpus.py

Files are named by what they hold. Those that fuzzing found (found-..., crash-...) stay.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]

from harness import _model, _rows, _tables

from cubes import scene
from tec_numcodecs.chunk import (
    encode,
    lossless,
    residual,
)
from tec_numcodecs.chunk import masks as mask
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.entropy import rans
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.sensors import get_sensor


def container() -> Iterator[tuple[str, bytes]]:
    """Whole chunks without magic, version and checksum."""
    image = scene((1, 2, 9, 11))
    image[0, :, :3, :5] = 0
    floats = (image / 10_000).astype(np.float32)
    floats[0, 1, 4:, 2] = np.nan
    two = {"bands": ("B08", "B02")}
    reflectance = {**two, "units": "reflectance"}
    cases = {
        "latents": (image, {**two, "lam": 50}),
        "bound": (image, {**two, "max_error": 40}),
        "nan": (floats, {**reflectance, "lam": 50, "nodata": 0}),
        "samples": (image[..., :3].astype(">i2"), {**two, "max_error": 0}),
        "floats": (floats, {**reflectance, "max_error": 0}),
        "empty": (np.zeros((2, 2, 7, 5), np.uint16), {**two, "lam": 50}),
        "empty-twice": (np.where(floats > 0.1, np.nan, 0).astype(np.float32),
                        {**reflectance, "lam": 5, "nodata": 0}),
    }  # fmt: skip
    for name, (array, settings) in cases.items():
        yield name, encode([array], CodecConfig.parse(**settings))[0][5:-4]


def masks() -> Iterator[tuple[str, bytes]]:
    """Masks of each kind, and lossless samples."""
    random = np.random.default_rng(0)
    shape = (2, 3, 9, 11)
    head = bytes((1, 2, 8, 10))
    edge = np.broadcast_to(np.add.outer(np.arange(9), np.arange(11)) > 8, shape)
    kinds = {"all": np.ones(shape, bool), "edge": edge, "noise": random.random(shape) < 0.3}
    for name, masked in kinds.items():
        yield name, head + mask.encode(masked)
    yield "samples", head + lossless.encode(scene(shape))
    noise = random.integers(0, 65536, shape).astype(np.uint16)
    yield "noise-samples", head + lossless.encode(noise)


def residuals() -> Iterator[tuple[str, bytes]]:
    """Small, large and sparse ones; one step and several."""
    random = np.random.default_rng(0)
    shape, head = (1, 2, 13, 17), bytes((0, 1, 12, 16))
    for name, spread in (("zero", 0), ("small", 0.6), ("large", 400)):
        q = np.rint(random.laplace(0, max(spread, 1e-9), shape)).astype(np.int32)
        yield name, head + residual.pack(np.array([3.0, 3.0]), q)
        yield f"{name}-by-band", head + residual.pack(np.array([3.0, 5.0]), q)


def streams() -> Iterator[tuple[str, bytes]]:
    """One state, two lanes, escapes."""
    for count, seed in ((0, 0), (1, 1), (7, 2), (40, 3), (255, 4)):
        rows = _rows(count, seed)
        symbols = np.random.default_rng(seed).integers(-2, 4, count).astype(np.int32)
        symbols[::17] *= 70_000
        yield f"{count}", bytes((count, seed)) + rans.encode(symbols, rows, _tables())


def payloads() -> Iterator[tuple[str, bytes]]:
    """Latents of fp at several rates."""
    model, _ = _model()
    for rate, c, h, w in ((0, 1, 8, 8), (90, 2, 12, 11), (150, 2, 13, 20), (223, 3, 1, 20)):
        cube = scene((1, c, h, w), rate).astype(np.int32)
        geometry = Geometry((1, c, h, w), get_sensor("sentinel-2-l2a"), tuple(range(c)))
        latents = model.analysis([cube], [geometry], [Rate(rate)])
        yield f"{rate}", bytes((rate, c - 1, h - 1, w - 1)) + model.entropy_encode(latents)[0]


def tokens() -> Iterator[tuple[str, bytes]]:
    """Payloads of flextec with all tokens and with few, and sizes that lie."""
    model, _ = _model("flextec")
    for rate, stored, t, c, h, w in (
        (0, 16, 1, 1, 3, 4),
        (60, 9, 1, 2, 8, 8),
        (120, 5, 2, 1, 7, 8),
        (140, 16, 1, 2, 8, 8),
        (170, 7, 1, 2, 8, 8),
    ):
        cube = scene((t, c, h, w), rate).astype(np.int32)
        geometry = Geometry((t, c, h, w), get_sensor("sentinel-2-l2a"), tuple(range(c)))
        latents = model.analysis([cube], [geometry], [Rate(rate, stored)])
        head = bytes((rate, c - 1 + 2 * (t - 1), h - 1, w - 1))
        payload = model.entropy_encode(latents)[0]
        yield f"{rate}", head + bytes([stored - 1]) + payload
        yield f"{rate}-first", head + b"\2" + payload
    yield "long-size", bytes(5) + b"\2\x81\0\1ab"
    yield "empty", bytes(5) + b"\x10" + bytes(16)


SOURCES = {
    "container": container, "mask": masks, "residual": residuals, "rans": streams,
    "latents": payloads, "tokens": tokens,
}  # fmt: skip


def main() -> None:
    """Write what is not there yet."""
    for target, source in SOURCES.items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in source():
            if not (folder / name).exists():
                (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()

"""Bytes for a promised largest error: mini fp with its residual against SZ3 and JPEG-LS.

    python -m benchmarks.bounds --split test
    python -m benchmarks.bounds --split val --data DIR

Every codec is given the same bound on the same image in the same run, every decoded image is
checked against the original, and every stored byte counts. A bound of 0 is lossless, where JPEG
2000 with the reversible 5/3 wavelet and JPEG XL take part. Results go to benchmarks/results:
bounds_<split>.json and .md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from benchmarks import scenes
from benchmarks.cache import RESULTS
from benchmarks.rivals import LOSSLESS, jpegls, sz3
from benchmarks.rivals.base import Image
from tec_numcodecs import chunk
from tec_numcodecs.config import CodecConfig

BOUNDS = (0, 1, 5, 50, 500)

Codec = Callable[[Image, int], tuple[int, NDArray[Any]] | None]  # bytes and pixels; None: it can't


def _ours(image: Image, bound: int) -> tuple[int, NDArray[Any]]:
    config = CodecConfig.parse(max_error=bound)
    (data,) = chunk.encode([image[None]], config)
    (decoded,) = chunk.decode([data])  # the decoder is given the bytes and nothing else
    return len(data), np.asarray(decoded)[0]


def _sz3_band(image: Image, bound: int) -> tuple[int, NDArray[Any]] | None:
    return None if bound == 0 else _rival(sz3.BAND, image, bound)


def _sz3_cube(image: Image, bound: int) -> tuple[int, NDArray[Any]] | None:
    """All bands as one volume: SZ3 may predict along the spectrum, too."""
    if bound == 0:
        return None
    data = bytes(imagecodecs.sz3_encode(image.astype(np.float32), mode="abs", abs=float(bound)))
    decoded = imagecodecs.sz3_decode(data, image.shape, np.float32)
    return len(data), np.rint(decoded).clip(0, 65535).astype(np.uint16)


def _jpegls(image: Image, bound: int) -> tuple[int, NDArray[Any]] | None:
    return None if bound > jpegls.MOST else _rival(jpegls.BAND, image, bound)


def _lossless(name: str) -> Codec:
    return lambda image, bound: _rival(LOSSLESS[name], image, 0) if bound == 0 else None


def _rival(rival: Any, image: Image, setting: float) -> tuple[int, NDArray[Any]]:
    data = rival.encode(image, setting)
    return len(data), rival.decode(data, image.shape)


CODECS: Mapping[str, Codec] = {
    "**tec `fp`**": _ours,
    "sz3-band": _sz3_band,
    "sz3-cube": _sz3_cube,
    "jpegls-band": _jpegls,
    **{name: _lossless(name) for name in LOSSLESS},
}


def run(split: str, data: Path | None) -> dict[str, dict[str, list[float | None]]]:
    """Bits per pixel and band: codec -> image -> one for each bound."""
    images = [image for scene in scenes.load(split, data) for image in scene.images()]
    return {
        name: {image.name: [_bits(codec, image.data[0], b) for b in BOUNDS] for image in images}
        for name, codec in CODECS.items()
    }


def _bits(codec: Codec, image: Image, bound: int) -> float | None:
    found = codec(image, bound)
    if found is None:
        return None
    size, decoded = found
    worst = int(np.abs(decoded.astype(np.int64) - image).max())
    if worst > bound:
        raise RuntimeError(f"off by {worst} where {bound} was promised")
    return 8 * size / image.size


def markdown(results: Mapping[str, Mapping[str, list[float | None]]], split: str) -> str:
    """Table of means over the images."""
    head = "| codec | " + " | ".join("lossless" if b == 0 else f"{b} DN" for b in BOUNDS) + " |"
    images = len(next(iter(results.values())))
    title = f"Bits per pixel and band for a bound on every pixel's error, mean of {images} images"
    lines = [
        f"{title}; `python -m benchmarks.bounds --split {split}`",
        "",
        head,
        "|---|" + "---:|" * len(BOUNDS),
    ]
    for name, found in results.items():
        columns = zip(*found.values(), strict=True)
        means = [None if None in column else float(np.mean(column)) for column in columns]
        cells = " | ".join("-" if mean is None else f"{mean:.3f}" for mean in means)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=["test", "val"], default="test")
    parser.add_argument("--data", type=Path, help="directory of the val scenes")
    options = parser.parse_args()
    results = run(options.split, options.data)
    stem = RESULTS / f"bounds_{options.split}"
    text = json.dumps({"bounds": BOUNDS, "bpppb": results}, indent=1)
    stem.with_suffix(".json").write_text(text + "\n")
    stem.with_suffix(".md").write_text(markdown(results, options.split))
    print(markdown(results, options.split))


if __name__ == "__main__":
    main()

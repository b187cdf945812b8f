"""Rate and distortion of our models and of other codecs on the same images.

    python -m benchmarks.rd --split test
    python -m benchmarks.rd --split val --data DIR --models fp

Every date of a scene is coded on its own, by us and by the others, and every byte that is stored
counts. Where a scene has several dates, our models also code all of them as one chunk. Results go
to benchmarks/results: rd_<split>.json, .md and .png. What the other codecs reach is kept in
rivals_<split>.json, so that only new settings or scenes take time.

Models are chosen on `val`. `test` is for the numbers that are quoted; don't tune to it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import figure, ours, scenes, tables
from benchmarks.cache import RESULTS, Cache, shortened
from benchmarks.metrics import Point, measure
from benchmarks.rivals import LOSSLESS, RIVALS, Rival
from benchmarks.scenes import Scene
from tec_numcodecs.errors import TecError

PACKAGES = ("tec-xarray", "imagecodecs", "av", "numcodecs", "numpy")


@dataclass
class Results:
    """Everything that was measured.

    Attributes
    ----------
    split : str
    images, series : list of Scene
        Single dates; scenes of several dates.
    models : list of str
        Ours, in the order of the tables.
    points : dict
        codec -> image -> points.
    chunks : dict
        model -> series -> points of all dates in one chunk.
    lossless : dict
        codec -> image -> bits per pixel per band.
    in_part : dict
        image -> points of one flextec stream, token by token.
    """

    split: str
    images: list[Scene]
    series: list[Scene]
    models: list[str]
    points: dict[str, dict[str, list[Point]]] = field(default_factory=dict)
    chunks: dict[str, dict[str, list[Point]]] = field(default_factory=dict)
    lossless: dict[str, dict[str, float]] = field(default_factory=dict)
    in_part: dict[str, list[Point]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What goes into the results file."""
        return {
            "split": self.split,
            "versions": {name: _version(name) for name in PACKAGES},
            "weights": ours.weights(self.models),
            "images": {scene.name: [scene.digest, *scene.data.shape] for scene in self.images},
            "bd_rate": tables.differences(self),
            "lossless_bpppb": self.lossless,
            "points": self.points,
            "chunks_of_all_dates": self.chunks,
            "flextec_in_part": self.in_part,
        }


def run(split: str, data: Path | None, models: Sequence[str], lams: Sequence[float]) -> Results:
    """Measure everything; other codecs only where the cache has nothing."""
    found = scenes.load(split, data)
    images = [image for scene in found for image in scene.images()]
    results = Results(split, images, [s for s in found if len(s.data) > 1], list(models))
    for model in models:
        begin = time.perf_counter()
        results.points[model] = {image.name: ours.points(model, image, lams) for image in images}
        results.lossless[model] = {s.name: ours.lossless(model, s)["bpppb"] for s in images}
        if results.series:
            results.chunks[model] = {s.name: ours.points(model, s, lams) for s in results.series}
        _say(f"{model}: {time.perf_counter() - begin:.0f} s")
    if "flextec" in models:
        results.in_part = {image.name: ours.in_part(image) for image in images}
    cache = Cache(RESULTS / f"rivals_{split}.json")
    for name, rival in RIVALS.items():
        results.points[name] = {image.name: _curve(rival, image, cache) for image in images}
        cache.save()
        _say(name)
    for name, rival in LOSSLESS.items():
        measured = {image.name: _cached(rival, 0, image, cache) for image in images}
        if any(point["psnr"] is not None for point in measured.values()):
            raise RuntimeError(f"{name} is not lossless")
        results.lossless[name] = {image: point["bpppb"] for image, point in measured.items()}
    cache.save()
    return results


def write(results: Results, directory: Path) -> None:
    """Write JSON, Markdown and PNG."""
    directory.mkdir(exist_ok=True)
    stem = directory / f"rd_{results.split}"
    content = shortened(results.to_json())
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    stem.with_suffix(".json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    stem.with_suffix(".md").write_text(tables.markdown(results))
    figure.draw(results, stem.with_suffix(".png"))


def _curve(rival: Rival, image: Scene, cache: Cache) -> list[Point]:
    return [_cached(rival, s, image, cache) | {"setting": s} for s in rival.settings]


def _cached(rival: Rival, setting: float, image: Scene, cache: Cache) -> Point:
    point = cache.get(rival, setting, image)
    if point is None:
        (pixels,) = image.data
        data = rival.encode(pixels, setting)
        decoded = rival.decode(data, pixels.shape)
        cache.put(rival, setting, image, measure(pixels[None], decoded[None], len(data)))
        point = cache.get(rival, setting, image)
    if point is None:
        raise RuntimeError("the cache lost a point")
    return point


def _models(names: str) -> list[str]:
    if names == "all":
        return ours.available()
    return [] if names == "none" else names.split(",")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    """Parse arguments, measure, write, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=["test", "val"], default="test")
    parser.add_argument("--data", type=Path, help="directory of the val scenes")
    parser.add_argument("--models", default="all", help="comma-separated; 'none': only the others")
    parser.add_argument("--lams", type=float, nargs="+", default=ours.LAMS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    try:
        models = _models(options.models)
        ours.check(models)
        results = run(options.split, options.data, models, sorted(options.lams))
    except (TecError, ValueError) as error:
        sys.exit(str(error))
    write(results, options.out)
    print(tables.markdown(results))


if __name__ == "__main__":
    main()

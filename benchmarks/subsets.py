"""Rate and distortion on fewer bands and on level 1C, against the two best of the other codecs.

    python -m benchmarks.subsets --data DIR

Four and six bands of the images of `test` and `val`, and the L1C scenes with all 13 bands that no
training run has seen. Every byte that is stored counts; PSNR over all bands, peak 10,000 DN.
Results go to benchmarks/results/subsets.md and .json.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import scenes
from benchmarks.cache import RESULTS
from benchmarks.metrics import Curve, Point, bd_rate, geometric_mean
from benchmarks.rivals import RIVALS
from tec_numcodecs import chunk
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.sensors import get_sensor

Pixels = NDArray[np.uint16]
L2A, L1C = "sentinel-2-l2a", "sentinel-2-l1c"
SUBSETS = {
    "4 bands": ("B02", "B03", "B04", "B08"),
    "6 bands": ("B02", "B03", "B04", "B08", "B11", "B12"),
}
RIVAL_NAMES = ("wklt-j2k", "wklt-hevc")
LAMS = (0.25, 1, 4, 16, 64, 260, 1000)
RANGE = (32, 44)
_PEAK = 10_000.0


@dataclass(frozen=True)
class Image:
    """Some bands of one date: (1, C, H, W)."""

    group: str
    name: str
    sensor: str
    bands: tuple[str, ...]
    data: Pixels


def images(data: Path) -> Iterator[Image]:
    """All images of the comparison."""
    sensor = get_sensor(L2A)
    for split in ("test", "val"):
        for scene in scenes.load(split, data):
            for image in scene.images():
                for group, bands in SUBSETS.items():
                    pixels = np.ascontiguousarray(image.data[:, list(sensor.indices(bands))])
                    yield Image(f"{group}, {split}", image.name, L2A, bands, pixels)
    yield from _level_1c(data)


def _level_1c(directory: Path) -> Iterator[Image]:
    bands = get_sensor(L1C).bands
    with (directory / "MANIFEST.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        whole = tuple(row["bands"].split(",")) == bands
        if row["level"] == "L1C" and row["split"] != "train" and whole:
            with np.load(directory / row["file"]) as archive:
                cube = archive["data"][:1, :, :256, :256].astype(np.uint16)
            name = row["file"].removesuffix(".npz")
            yield Image("13 bands, L1C", name, L1C, bands, np.ascontiguousarray(cube))


def ours(model: str, image: Image) -> list[Point]:
    """Points of one of our models."""
    found = []
    for lam in LAMS:
        config = CodecConfig.parse(model, lam, sensor=image.sensor, bands=list(image.bands))
        (data,) = chunk.encode([image.data], config)
        found.append(_point(image.data, np.asarray(chunk.decode([data])[0]), len(data)))
    return found


def theirs(name: str, image: Image) -> list[Point]:
    """Points of another codec."""
    rival, (pixels,) = RIVALS[name], image.data
    found = []
    for setting in rival.settings:
        data = rival.encode(pixels, setting)
        found.append(_point(pixels, rival.decode(data, pixels.shape), len(data)))
    return found


def _point(original: Pixels, decoded: NDArray[np.generic], stored: int) -> Point:
    mse = float(np.square(decoded.astype(np.float64) - original).mean())
    psnr = 10 * math.log10(_PEAK**2 / mse) if mse else None
    return {"bytes": stored, "bpppb": 8 * stored / original.size, "psnr": psnr}


def run(data: Path, models: Sequence[str]) -> list[dict[str, object]]:
    """Measure: a row for each image, with BD-rates of our models against the others."""
    rows: list[dict[str, object]] = []
    for image in images(data):
        anchors = {name: Curve.of(theirs(name, image)) for name in RIVAL_NAMES}
        row: dict[str, object] = {"group": image.group, "image": image.name}
        for model in models:
            curve = Curve.of(ours(model, image))
            row[model] = {name: bd_rate(anchor, curve, *RANGE) for name, anchor in anchors.items()}
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def markdown(rows: Sequence[dict[str, object]], models: Sequence[str]) -> str:
    """Write the table: geometric means of each group, and the worst image."""
    text = (
        f"BD-rate over {RANGE[0]}-{RANGE[1]} dB against codecs whose KLT is fitted to the image, "
        "on images that no training run has seen; negative: fewer bits. In brackets the image on "
        "which we do worst."
    )
    lines = [
        "# Fewer bands, and level 1C",
        "",
        text,
        "",
        "| images | model | " + " | ".join(RIVAL_NAMES) + " |",
        "| --- | --- | ---: | ---: |",
    ]
    for group in dict.fromkeys(str(row["group"]) for row in rows):
        own = [row for row in rows if row["group"] == group]
        for model in models:
            cells = []
            for name in RIVAL_NAMES:
                values = [row[model][name] for row in own]  # type: ignore[index]
                known = [v for v in values if not math.isnan(v)]
                mean, worst = 100 * geometric_mean(values), 100 * max(known, default=math.nan)
                cells.append(f"{mean:+.1f} % ({worst:+.1f} %)")
            lines.append(f"| {group} ({len(own)}) | **{model}** | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory with MANIFEST.tsv")
    parser.add_argument("--models", default="fp,elic", help="comma-separated")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    models = options.models.split(",")
    rows = run(options.data, models)
    options.out.mkdir(exist_ok=True)
    (options.out / "subsets.json").write_text(json.dumps(rows, indent=1) + "\n")
    text = markdown(rows, models)
    (options.out / "subsets.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

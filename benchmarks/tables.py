"""Tables of the rate-distortion benchmark, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.metrics import (
    BANDS,
    Curve,
    Point,
    bd_rate,
    curves,
    geometric_mean,
    pooled,
    value_at_rate,
)
from benchmarks.ours import PART_LAM, weights
from benchmarks.rivals import ANCHOR, LOSSLESS, RIVALS
from benchmarks.scenes import NOTES

if TYPE_CHECKING:
    from benchmarks.rd import Results

#: Ranges of PSNR in dB over which curves are compared.
RANGES = ((32, 44), (32, 50))
REFERENCES = (ANCHOR, "wklt-j2k", "wklt-hevc")
DECIBELS = (32, 36, 40, 44, 50, 56, 60)
RATES = (0.1, 0.5)


def differences(results: Results) -> dict[str, Any]:
    """BD-rates: reference -> range -> codec -> mean (None if undefined) and by image."""
    table: dict[str, Any] = {}
    for reference in REFERENCES:
        anchor = curves(results.points[reference])
        for low, high in RANGES:
            row = table.setdefault(reference, {}).setdefault(f"{low}-{high}", {})
            for codec, points in results.points.items():
                by_image = {
                    image: bd_rate(anchor[image], curve, low, high)
                    for image, curve in curves(points).items()
                }
                row[codec] = {
                    "mean": _or_none(geometric_mean(list(by_image.values()))),
                    "images": {image: _or_none(value) for image, value in by_image.items()},
                }
    return table


def markdown(results: Results) -> str:
    """Write the whole report."""
    parts = [
        f"# Rate and distortion, `{results.split}`",
        _introduction(results),
        "## Bits at equal quality",
        _bd_table(results),
        *_lines_of_models(results),
        "## Errors at equal bits",
        *(_errors(results, rate) for rate in RATES),
        "## Lossless",
        _lossless(results),
        "## Codecs",
        _notes(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _lines_of_models(results: Results) -> list[str]:
    """Sections that are about our models only."""
    if not results.models:
        return []
    parts = ["## Against the best of the others", _against_best(results)]
    parts += ["## Image by image", _by_image(results)]
    if results.chunks:
        parts += ["## All dates in one chunk", _series(results)]
    if results.in_part:
        parts += ["## flextec, read in part", _in_part(results)]
    return parts


def _introduction(results: Results) -> str:
    sizes = sorted({scene.data.shape[-1] for scene in results.images})
    return (
        f"{len(results.images)} images of 12 bands, {' or '.join(map(str, sizes))} pixels wide, "
        "each date coded on its own. bpppb: stored bits per pixel per band, headers and checksums "
        "included. PSNR: peak 10,000 DN, all bands of an image together. BD-rate: mean difference "
        "of bits at equal PSNR, by image, then the geometric mean; negative is better. It covers "
        "what both curves reach of the range. A dash: not reached on every image. Our models are "
        f"in **bold**. {NOTES[results.split]}\n\n{_weights(results)}"
        f"![Rate and distortion](rd_{results.split}.png)"
    )


def _weights(results: Results) -> str:
    found = weights(results.models).items()
    named = ", ".join(f"{name} `{w['id']}` ({w['sha256'][:16]}...)" for name, w in found)
    return f"Weights: {named}.\n\n" if named else ""


def _bd_table(results: Results) -> str:
    table = differences(results)
    columns = [(ref, f"{low}-{high}") for ref in REFERENCES for low, high in RANGES]
    header = ["codec", *(f"{ref}, {span} dB" for ref, span in columns)]
    header += [f"bpppb at {decibels} dB" for decibels in DECIBELS]

    def rank(codec: str) -> float:
        mean = table[ANCHOR]["32-44"][codec]["mean"]
        return np.inf if mean is None else float(mean)

    rows = []
    for codec in sorted(results.points, key=rank):
        cells = [_percent(table[ref][span][codec]["mean"]) for ref, span in columns]
        found = curves(results.points[codec]).values()
        rates = [_mean_rate(found, decibels) for decibels in DECIBELS]
        rows.append([_name(codec, results), *cells, *map(_rate, rates)])
    return _table(header, rows)


def _against_best(results: Results) -> str:
    """Bits of each model relative to the rival that needs fewest at that quality."""
    rivals = {name: curves(results.points[name]) for name in RIVALS}
    rows = []
    for model in results.models:
        own = curves(results.points[model])
        cells = []
        for decibels in DECIBELS:
            rates = {name: _mean_log_rate(r.values(), decibels) for name, r in rivals.items()}
            known = {name: rate for name, rate in rates.items() if not math.isnan(rate)}
            mine = _mean_log_rate(own.values(), decibels)
            if not known or math.isnan(mine):
                cells.append("-")
                continue
            best = min(known, key=known.__getitem__)
            cells.append(f"{_percent(float(np.expm1(mine - known[best])))} ({best})")
        rows.append([_name(model, results), *cells])
    text = (
        "Bits relative to the codec that needs fewest of all others at this PSNR (geometric mean "
        "over the images); above zero it beats us."
    )
    return f"{text}\n\n{_table(['model', *(f'{d} dB' for d in DECIBELS)], rows)}"


def _by_image(results: Results) -> str:
    table = differences(results)
    references = (ANCHOR, "wklt-hevc")
    header = ["image", *(f"{m} against {ref}" for m in results.models for ref in references)]
    rows = []
    for scene in results.images:
        cells = [
            _percent(table[ref]["32-44"][model]["images"][scene.name])
            for model in results.models
            for ref in references
        ]
        rows.append([scene.name, *cells])
    return f"BD-rate over 32-44 dB.\n\n{_table(header, rows)}"


def _series(results: Results) -> str:
    """Our chunks of all dates against dates one by one; quality is that of the whole series."""
    rows = []
    for model in results.models:
        for scene in results.series:
            names = [image.name for image in scene.images()]
            chunk = Curve.of(results.chunks[model][scene.name])
            single = {
                codec: Curve.of(_pool([results.points[codec][name] for name in names]))
                for codec in (model, *REFERENCES)
            }
            cells = [_percent(_or_none(bd_rate(c, chunk, 32, 44))) for c in single.values()]
            rows.append([_name(model, results), scene.name, *cells])
    header = ["model", "series", "against the same, date by date", *REFERENCES]
    text = (
        "The dates of a series as one chunk, against other codecs date by date. BD-rate over "
        "32-44 dB of the PSNR of the whole series. That favors codecs which give all dates the "
        "same quality: ours and those with an MSE target, not HEVC at a constant QP."
    )
    return f"{text}\n\n{_table(header, rows)}"


def _in_part(results: Results) -> str:
    """One stream, a reader that stops early, against streams made for each quality."""
    part = curves(results.in_part)
    rows = []
    for model in results.models:
        own = curves(results.points[model])
        cells = []
        for low, high in ((32, 40), *RANGES[:1]):
            found = [bd_rate(own[image], curve, low, high) for image, curve in part.items()]
            cells.append(_percent(_or_none(geometric_mean(found))))
        whole = [
            math.log(points[-1]["bpppb"]) - float(own[image].at(points[-1]["psnr"]))
            for image, points in results.in_part.items()
        ]
        cells.append(_percent(_or_none(float(np.expm1(np.mean(whole))))))
        rows.append([_name(model, results), *cells])
    text = (
        f"One stream of lam = {PART_LAM} read up to each of its 16 tokens, against streams made "
        "for each quality: BD-rate over two ranges, and bits of all tokens at their quality."
    )
    header = ["against", "32-40 dB", "32-44 dB", "all tokens"]
    return f"{text}\n\n{_table(header, rows)}"


def _pool(dates: Sequence[Sequence[Point]]) -> list[Point]:
    return [pooled(points) for points in zip(*dates, strict=True)]


def _errors(results: Results, rate: float) -> str:
    """What users of the data ask: indices, spectra, single bands, the worst place."""
    core = [*results.models, *REFERENCES, "hevc-bands"]
    names = [
        scene.name
        for scene in results.images
        if all(_reaches(results.points[codec][scene.name], rate) for codec in core)
    ]
    if not names:
        return ""
    keys = ("psnr", "ndvi", "ndwi", "angle", "tile")
    rows = []
    for codec, points in results.points.items():
        means = [np.mean([value_at_rate(points[n], k, rate) for n in names]) for k in keys]
        bands = np.mean([value_at_rate(points[n], "rmse", rate) for n in names], axis=0)
        if np.isnan(means[0]):
            continue
        psnr, ndvi, ndwi, angle, tile = means
        cells = [f"{psnr:.2f}", f"{ndvi:.4f}", f"{ndwi:.4f}", f"{angle:.2f}", f"{tile:.0f}"]
        rows.append([_name(codec, results), *cells, *(f"{value:.0f}" for value in bands)])
    text = (
        f"At {rate:g} bpppb, mean over the {len(names)} images on which our models and the KLT and "
        "HEVC codecs all reach this rate: PSNR in dB, mean absolute error of NDVI and NDWI, "
        "spectral angle in degrees, RMSE in DN of the worst 32 x 32 pixels and of each band."
    )
    header = ["codec", "PSNR", "NDVI", "NDWI", "angle", "worst tile", *BANDS]
    return f"{text}\n\n{_table(header, rows)}"


def _reaches(points: Sequence[Point], rate: float) -> bool:
    return not np.isnan(value_at_rate(points, "psnr", rate))


def _lossless(results: Results) -> str:
    means = {codec: float(np.mean(list(v.values()))) for codec, v in results.lossless.items()}
    rows = [
        [_name(codec, results), f"{means[codec]:.3f}", f"{16 / means[codec]:.2f}"]
        for codec in sorted(means, key=means.__getitem__)
    ]
    return _table(["codec", "bpppb", "ratio to uint16"], rows)


def _notes() -> str:
    return "\n".join(f"- `{r.name}`: {r.note}." for r in (*RIVALS.values(), *LOSSLESS.values()))


# -- cells ------------------------------------------------------------------------------------


def _mean_rate(found: Iterable[Curve], decibels: float) -> float:
    """Mean over images of the rate at equal quality; NaN if an image does not reach it."""
    return float(np.mean([np.exp(curve.at(decibels)) for curve in found]))


def _mean_log_rate(found: Iterable[Curve], decibels: float) -> float:
    return float(np.mean([curve.at(decibels) for curve in found]))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(header), ["---"] + ["---:"] * (len(header) - 1), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _name(codec: str, results: Results) -> str:
    return f"**{codec}**" if codec in results.models else codec


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:+.1f} %"


def _rate(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value

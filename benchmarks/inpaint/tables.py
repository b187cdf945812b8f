"""Tables of records: one for each data set, then strata, then where `spectral` is not first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.inpaint.cases import COVERS
from benchmarks.inpaint.figures import SURFACES, decibels
from benchmarks.inpaint.rows import NAIVE
from tec_xarray.gapfill.temporal import METHODS

Record = dict[str, Any]

_FIGURES = ("mae", "ssim", "angle", "ndvi", "inside", "width", "microseconds")
_HEAD = """# Gaps under clouds, filled

Written by `python -m benchmarks.inpaint --data DIR`. Images whose truth is known are hidden under
clouds that were really seen on other dates or at other places, grown by three pixels; the other
dates keep their own clouds. Errors at hidden pixels only, over all bands; PSNR with a peak of
10,000 DN, the mean over images; SSIM over windows that touch a gap; NDVI is the mean error of the
index; *inside* is the share of truths within the stated 90 % interval, *width* the mean half width
of it in DN; time is CPU time for a hidden pixel, one thread.

The clouds of GreenEarthNet and SEN12MS-CR are found by a rule (blue more than 350 DN off what is
usual there), as no masks come along; errors there are errors against images with haze and thin
cloud in them, too.
"""


def tables(records: Sequence[Record], every: int = 1) -> str:
    """Return the whole page; `every` n-th date was taken."""
    parts = [_HEAD]
    if every > 1:
        parts.append(f"\nTo save time, one date in {every} was taken (`--every {every}`).\n")
    for data in dict.fromkeys(r["data"] for r in records):
        own = [r for r in records if r["data"] == data]
        count = len({(r["case"], round(r["cover"], 6)) for r in own})
        parts += [f"\n## {data} ({count} cases)\n\n", _overall(own), "\n", _strata(own)]
    return "".join(parts) + "\n" + _verdict(records)


def summary(records: Sequence[Record]) -> str:
    """Return one table: of each data set the engine, the best in time, the best naive row."""
    head = "data | cases | spectral | best in time | best naive row | inside | 10-30 % hidden"
    lines = [f"| {head} | over 50 % hidden |", "|---|---|---|---|---|---|---|---|"]
    for data in dict.fromkeys(r["data"] for r in records):
        own = [r for r in records if r["data"] == data]
        best = [max((n for n in _rows(own) if n in some), key=lambda n: _mean(own, n, "psnr"))
                for some in (METHODS, NAIVE)]  # fmt: skip
        count = sum(r["row"] == "spectral" for r in own)
        _, few, _, most = (_mean(part, "spectral", "psnr") for part in _by_cover(own))
        shown = [
            f"{_mean(own, n, 'psnr'):.1f} dB, {_mean(own, n, 'mae'):.0f} DN"
            for n in ("spectral", *best)
        ]
        inside = f"{_mean(own, 'spectral', 'inside'):.1%}"
        lines.append(
            f"| {data} | {count} | **{shown[0]}** | {shown[1]} ({best[0]}) | "
            f"{shown[2]} ({best[1]}) | {inside} | {few:.1f} dB | {most:.1f} dB |"
        )
    return "\n".join(lines) + "\n"


def _rows(records: Sequence[Record]) -> list[str]:
    """Return the names of the rows, worst first."""
    names = list(dict.fromkeys(r["row"] for r in records))
    return sorted(names, key=lambda name: _mean(records, name, "psnr"))


def _mean(records: Sequence[Record], row: str, key: str) -> float:
    found = [r[key] for r in records if r["row"] == row and key in r and np.isfinite(r[key])]
    return float(np.mean(found)) if found else float("nan")


def _overall(records: Sequence[Record]) -> str:
    lines = [
        "| row | PSNR | median | MAE | SSIM | angle | NDVI | inside | width | µs a pixel |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in _rows(records):
        own = [r["psnr"] for r in records if r["row"] == row]
        mae, ssim, angle, ndvi, inside, width, time = (_mean(records, row, k) for k in _FIGURES)
        known = f"{inside:.1%} | {width:.0f}" if np.isfinite(inside) else "| "
        lines.append(
            f"| {row} | {np.mean(own):.2f} | {np.median(own):.2f} | {mae:.0f} | {ssim:.3f} | "
            f"{angle:.2f}° | {ndvi:.3f} | {known} | {time:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _strata(records: Sequence[Record]) -> str:
    covers = [f"{a:.0%}-{b:.0%}" for a, b in COVERS]
    head = [*covers, *SURFACES]
    lines = [f"| PSNR by cover, and by surface | {' | '.join(head)} |"]
    lines.append("|---" * (1 + len(head)) + "|")
    for row in _rows(records):
        found = [_mean(part, row, "psnr") for part in _by_cover(records)]
        for surface in SURFACES:
            square = _mean(records, row, surface)
            found.append(decibels(square) if np.isfinite(square) else float("nan"))
        cells = " | ".join(f"{v:.2f}" if np.isfinite(v) else "" for v in found)
        lines.append(f"| {row} | {cells} |")
    return "\n".join(lines) + "\n"


def _by_cover(records: Sequence[Record]) -> list[list[Record]]:
    edges = [0.0, *(b for _, b in COVERS[:-1]), 1.0]
    return [[r for r in records if a <= r["cover"] < b] for a, b in pairwise(edges)]


def _verdict(records: Sequence[Record]) -> str:
    """Return where another row is ahead of `spectral`, and where intervals are off."""
    lines = []
    for data in dict.fromkeys(r["data"] for r in records):
        own = [r for r in records if r["data"] == data]
        parts = [*zip([f"{a:.0%}-{b:.0%}" for a, b in COVERS], _by_cover(own), strict=True)]
        for name, part in parts:
            ours = _mean(part, "spectral", "psnr")
            ahead = [row for row in _rows(part) if _mean(part, row, "psnr") > ours]
            lines += [f"* {data}, {name}: {row} is ahead of spectral." for row in ahead]
        ours = {s: _mean(own, "spectral", s) for s in SURFACES}
        for row in _rows(own):
            lines += [f"* {data}, {s}: {row} is ahead of spectral." for s in SURFACES
                      if _mean(own, row, s) < ours[s]]  # fmt: skip
        inside = _mean(own, "spectral", "inside")
        if abs(inside - 0.9) > 0.05:
            lines.append(f"* {data}: {inside:.1%} of truths lie within the 90 % interval.")
    text = "\n".join(lines) or "`spectral` is ahead in every stratum, and its intervals hold."
    return f"## Where it falls short\n\n{text}\n"

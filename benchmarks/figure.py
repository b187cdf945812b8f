"""The figure of the rate-distortion benchmark.

It has no background of its own and its grays stand out from white and from near-black alike, so it
serves pages in light and in dark. Colors are those of Okabe and Ito, which people with any of the
common forms of color blindness tell apart; shapes of the markers say the same again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.metrics import Floats, curves
from benchmarks.rivals import ANCHOR, RIVALS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.rd import Results

_GRAY = "#7d7d7d"
_OURS = (("#d55e00", "o"), ("#cc79a7", "D"), ("#e69f00", "P"), ("#0072b2", "X"))
_OTHERS = {
    "j2k-band": ("#7d7d7d", "s"),
    "wklt-j2k": ("#56b4e9", "^"),
    "wklt-hevc": ("#009e73", "v"),
    "hevc-bands": ("#0080c8", "<"),
    "jxl-band": ("#b08a3e", ">"),
    "sz3-band": ("#9a7fb8", "h"),
    "quant-blosc": ("#a0a0a0", "x"),
}
_GRID = np.arange(30, 64.01, 0.25)
_MARKS = slice(0, None, 16)  # a marker every 4 dB


def draw(results: Results, path: Path) -> None:
    """Draw mean rates against PSNR, and rates relative to the anchor; write a PNG."""
    figure = Figure(figsize=(11.5, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    anchor = _log_rates(results, ANCHOR)
    names = [*results.models, *RIVALS]
    for name in reversed(names):
        rates = _log_rates(results, name)
        mean = _mean(rates)
        relative = _mean(rates - anchor)
        _line(left, np.exp(mean), _GRID, name, results)
        _line(right, _GRID, 100 * np.exp(relative), name, results)
    left.set(
        xscale="log",
        xlim=(0.004, 8),
        ylim=(_GRID[0], _GRID[-1]),
        xlabel="stored bits per pixel per band (geometric mean)",
        ylabel="PSNR in dB (peak 10,000 DN), the same in every image",
        title="Rate and distortion",
    )
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    right.set(
        xlim=(_GRID[0], 60),
        ylim=(0, 130),
        xlabel="PSNR in dB (peak 10,000 DN)",
        ylabel=f"bits, % of {ANCHOR} at the same PSNR",
        title="Lower is better",
    )
    right.xaxis.set_minor_formatter(NullFormatter())
    for axes in (left, right):
        _style(axes)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles[::-1],
        labels[::-1],
        loc="outside lower center",
        ncols=len(names) if len(names) <= 8 else -(-len(names) // 2),
        fontsize="small",
        frameon=False,
        labelcolor=_GRAY,
    )
    figure.suptitle(
        f"Sentinel-2 L2A, 12 bands, {len(results.images)} {results.split} images", color=_GRAY
    )
    figure.savefig(path, dpi=130, transparent=True)


def _log_rates(results: Results, name: str) -> Floats:
    """Log rates of a codec on the grid of PSNR, (images, grid); NaN where it does not reach."""
    found = curves(results.points[name])
    return np.stack([found[image.name].at(_GRID) for image in results.images])


def _mean(values: Floats) -> Floats:
    """Mean over images where all of them have a value."""
    return np.asarray(values.mean(0))


def _line(axes: Axes, x: Floats, y: Floats, name: str, results: Results) -> None:
    own = name in results.models
    if own:
        color, marker = _OURS[results.models.index(name) % len(_OURS)]
    else:
        color, marker = _OTHERS.get(name, (_GRAY, "."))
    axes.plot(
        x,
        y,
        color=color,
        marker=marker,
        markevery=_MARKS,
        markersize=7 if own else 5,
        linewidth=2.6 if own else 1.4,
        label=f"tec {name}" if own else name,
    )


def _style(axes: Axes) -> None:
    axes.grid(which="major", color=_GRAY, alpha=0.25, linewidth=0.7)
    axes.tick_params(which="both", colors=_GRAY)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_color(_GRAY)
    for side, spine in axes.spines.items():
        spine.set_color(_GRAY)
        spine.set_visible(side in ("left", "bottom"))

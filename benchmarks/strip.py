"""Draw README's strip of pictures: one scene as it was and at three sizes, with the error of NDVI.

    python -m benchmarks.strip --out docs/images

The scene is the one in the package, which no training run has seen. Sizes are those of the chunks
in the store; ``bpppb=`` sets the rate of the whole cube.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tec_xarray import tutorial
from tec_xarray.plots.data import limits_of, stretched
from tec_xarray.plots.themes import find_theme, new_figure, paint

Floats: TypeAlias = NDArray[np.float64]

RATIOS = (20, 50, 150)
_TRUE_COLOR = ("B04", "B03", "B02")
_DATE, _WINDOW = 2, slice(40, 240)  # of y and of x


@dataclass(frozen=True)
class Panel:
    """One picture: a (3, y, x) composite in DN, and what stands above and below it."""

    composite: Floats
    title: str
    text: str


def panels(model: str) -> list[Panel]:
    """Compress the scene to each ratio; return the original and what comes back."""
    original = tutorial.open_dataset()
    found = [Panel(_composite(original), "original", "16 bits a sample")]
    for ratio in RATIOS:
        with tempfile.TemporaryDirectory() as folder:
            decoded = original.tec.compress(
                model=model, bpppb=16 / ratio, per="cube", store=f"{folder}/a.zarr", progress=False
            )
            report = decoded.tec.report(original)
            bands = decoded.tec.to_bands().load()
        error = float(np.sqrt(np.mean((_ndvi(bands) - _ndvi(original)) ** 2)))
        text = f"{report.total.psnr:.1f} dB, NDVI error {error:.3f}"
        found.append(Panel(_composite(bands), f"{report.ratio:.0f} times smaller", text))
    return found


def draw(found: list[Panel], path: Path, theme: str) -> None:
    """Write the panels side by side, all with the stretch of the first."""
    limits = limits_of(found[0].composite, "shared")
    style = find_theme(theme)
    figure = new_figure(11.0, 3.3)
    for place, panel in enumerate(found):
        axes = figure.add_subplot(1, len(found), place + 1)
        axes.imshow(stretched(panel.composite, limits, (0.5, 0.5, 0.5)), interpolation="nearest")
        axes.set_title(panel.title, fontsize=11)
        axes.set_xlabel(panel.text, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    paint(figure, style)
    figure.savefig(path, dpi=110)


def _composite(bands: xr.Dataset) -> Floats:
    window = bands.isel(time=_DATE, y=_WINDOW, x=_WINDOW)
    return np.stack([window[name].values.astype(float) for name in _TRUE_COLOR])


def _ndvi(bands: xr.Dataset) -> Floats:
    red, nir = (bands[name].values.astype(float) for name in ("B04", "B08"))
    return (nir - red) / np.maximum(nir + red, 1)


def main() -> None:
    """Read the arguments, draw for light and dark pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--model", default="elic")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found = panels(given.model)
    for theme in ("light", "dark"):
        draw(found, given.out / f"strip_{theme}.png", theme)
    for panel in found:
        print(f"{panel.title}: {panel.text}")


if __name__ == "__main__":
    main()

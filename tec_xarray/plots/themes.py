"""Colors of pictures on light and on dark pages, and a figure that knows how to show itself.

Line colors are those of Okabe and Ito ("Color Universal Design", 2008), which people with any
color vision tell apart; maps are cividis (magnitudes) and blue to orange or red (signed errors).
No global state of matplotlib is read into a figure or changed by one.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib import colormaps
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from tec_numcodecs.errors import InvalidInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SCREEN_DPI = 90  # of what a notebook shows: sharp enough, and a few hundred kB


@dataclass(frozen=True)
class Theme:
    """The colors of a figure.

    Attributes
    ----------
    background, text, grid : str
    lines : tuple of str
        In the order in which they are used.
    magnitude, signed : matplotlib.colors.Colormap
        For what is at least 0, and for what is around 0. `signed` is the background's color at 0.
    missing : str
        Of pixels without data.
    """

    background: str
    text: str
    grid: str
    lines: tuple[str, ...]
    magnitude: Colormap
    signed: Colormap
    missing: str


def _signed(name: str, *colors: str) -> Colormap:
    return LinearSegmentedColormap.from_list(name, list(colors))


LIGHT = Theme(
    background="#ffffff",
    text="#1c1c1c",
    grid="#d8d8d8",
    lines=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#7a5c00"),
    magnitude=colormaps["cividis"],
    signed=_signed("tec_light", "#08306b", "#2f7fbc", "#a6cbe3", "#ffffff", "#f8b48a", "#d55e00",
                   "#7a2300"),
    missing="#bdbdbd",
)  # fmt: skip
DARK = Theme(
    background="#14171c",
    text="#e6e6e6",
    grid="#3a3f47",
    lines=("#56b4e9", "#e69f00", "#2ad1a0", "#f0a3cf", "#f0e442", "#ff7f50"),
    magnitude=colormaps["cividis"],
    signed=_signed("tec_dark", "#b7e3ff", "#56b4e9", "#1f5f86", "#14171c", "#86500f", "#e69f00",
                   "#ffe3a3"),
    missing="#6b7078",
)  # fmt: skip
THEMES = {"light": LIGHT, "dark": DARK}


def find_theme(name: str | None) -> Theme:
    """Return a theme by name; None: dark where matplotlib's own style is dark.

    Raises
    ------
    InvalidInput
        There is no such theme.
    """
    if name is None:
        from matplotlib import rcParams

        face = rcParams["figure.facecolor"]
        return DARK if face not in ("none", None) and sum(to_rgb(face)) < 1.5 else LIGHT
    if name not in THEMES:
        raise InvalidInput(f"theme = {name!r}", allowed="'light', 'dark' or None")
    return THEMES[name]


class Picture(Figure):
    """A matplotlib figure that notebooks show, whether or not anybody has imported pyplot."""

    def _repr_png_(self) -> bytes | None:
        return None if self._has_pixels() else self._draw(format="png")

    def _repr_jpeg_(self) -> bytes | None:
        # Pixels of the ground are as good as noise to PNG: megabytes in every notebook.
        options = {"quality": 88, "subsampling": 0}
        return self._draw(format="jpeg", pil_kwargs=options) if self._has_pixels() else None

    def _has_pixels(self) -> bool:
        return any(axes.images for axes in self.axes)

    def _draw(self, **options: Any) -> bytes:
        with io.BytesIO() as file:
            self.savefig(file, dpi=_SCREEN_DPI, **options)
            return file.getvalue()


def new_figure(width: float, height: float) -> Picture:
    """Return an empty figure of a size in inches, whose layout keeps labels inside."""
    return Picture(figsize=(width, height), layout="constrained")


def paint(figure: Figure, theme: Theme) -> None:
    """Give everything but data the colors of a theme. Call it last."""
    figure.set_facecolor(theme.background)
    for axes in figure.axes:
        axes.set_facecolor(theme.background)
        axes.tick_params(which="both", color=theme.text, labelcolor=theme.text)
        for spine in axes.spines.values():
            spine.set_color(theme.text)
        legend = axes.get_legend()
        if legend is not None:
            legend.get_frame().set(facecolor=theme.background, edgecolor=theme.grid, alpha=0.85)
    texts: list[Any] = figure.findobj(Text)
    for text in texts:
        if text.get_gid() != "own color":
            text.set_color(theme.text)


def grid(axes: Axes, theme: Theme) -> None:
    """Draw grid lines behind the data, and no frame on the open sides."""
    axes.grid(visible=True, which="major", color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)

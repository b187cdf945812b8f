"""What ``ds.tec`` shows: what the data are taken for, and what can be done with them."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import xarray as xr

from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.bands import find_axes, find_sensor
from tec_xarray.cube.layout import as_dataset, cube_of, to_cube
from tec_xarray.cube.layout_record import LAYOUT
from tec_xarray.encoding.second_loss import was_opened
from tec_xarray.report.formatting import describe, size
from tec_xarray.store.codec_metadata import configuration_in

_FRESH = (
    ("compress(lam=20, store='a.zarr')", "write an archive; without store=, mark it for to_zarr"),
    ("reconstruct(lam=20)", "what a reader would get, storing nothing"),
    ("sweep(lams=[5, 20, 100])", "size and loss of several rates on one chunk"),
    ("inpaint()", "fill what clouds hide"),
    ("plot.rgb()", "a picture"),
)
_MARKED = (("drop_codec()", "let go of the codec, to mark it otherwise"),)
_DECODED = (
    ("report(original)", "size and loss, against the original"),
    ("plot.compare(original)", "pictures before and after"),
    ("to_bands()", "a variable for each band"),
    ("from_cube()", "the layout from before"),
    ("drop_codec()", "let go of the codec, to store the values plainly"),
)


@dataclass(frozen=True)
class Overview:
    """Lines about a dataset: pairs of name and text, and calls with what they do."""

    lines: tuple[tuple[str, str], ...]
    calls: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        text = ["<tec>", *(f"  {name:<9}{text}" for name, text in self.lines)]
        wide = max((len(call) for call, _ in self.calls), default=0)
        return "\n".join([*text, *(f"  .{call:<{wide}}  {what}" for call, what in self.calls)])

    def html(self) -> str:
        """Write it for a notebook, with inherited colors only: any theme stays readable."""
        cell = "text-align:left;padding:1px 8px"
        rows = [(f"<b>{html.escape(k)}</b>", html.escape(v)) for k, v in self.lines]
        rows += [(f"<code>.{html.escape(k)}</code>", html.escape(v)) for k, v in self.calls]
        cells = (f"<td style='{cell}'>{k}</td><td style='{cell}'>{v}</td>" for k, v in rows)
        return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def overview(data: xr.Dataset | xr.DataArray) -> Overview:
    """Say what data are taken for and what can be done with them; reads no pixel.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        Anything: what cannot be compressed says why, and what to do about it.
    """
    dataset = as_dataset(data)
    ours = [array for array in dataset.data_vars.values() if LAYOUT in array.attrs]
    encoding = ours[0].encoding if len(ours) == 1 else {}
    codec = configuration_in(encoding)
    try:
        cube = cube_of(to_cube(dataset))
    except InvalidInput as error:
        return Overview((("refused", error.found), *_help(error)), ())
    names = [str(name) for name in np.atleast_1d(cube[find_axes(cube).band].values)]
    lines = [
        ("cube", f"{_counts(cube)}, {cube.dtype}, {size(cube.nbytes)} in memory"),
        ("bands", ", ".join(names)),
    ]
    if codec and was_opened(encoding):
        return Overview((*lines, ("codec", describe(codec))), _DECODED)
    if codec:
        marked = ("marked", f"{describe(codec)}; ds.to_zarr('a.zarr') writes it")
        return Overview((*lines, marked), _MARKED)
    try:
        lines.append(("sensor", find_sensor(names, dataset, None).name))
    except InvalidInput as error:
        lines += [("sensor", f"not known: {error.fix or error.allowed}")]
    return Overview(tuple(lines), _FRESH)


def _counts(cube: xr.DataArray) -> str:
    return " x ".join(f"{count} {dim}" for dim, count in cube.sizes.items())


def _help(error: InvalidInput) -> tuple[tuple[str, str], ...]:
    said = (("allowed", error.allowed), ("do this", error.fix))
    return tuple((name, text) for name, text in said if text)

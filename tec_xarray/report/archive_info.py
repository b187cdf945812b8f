"""What `tec_xarray.info` returns: a dict that a terminal and a notebook show as a table."""

from __future__ import annotations

import html
import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

RESUME = "tec_xarray.resume(ds, store)"


class ArchiveInfo(dict[str, Any]):
    """What an archive says about itself: plain numbers, strings, lists and dicts by name.

    ``print(info)`` and notebooks show a table; ``info["psnr"]`` is one of the figures;
    `to_dict` gives all of them as a plain dict, for JSON.
    """

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict of the same values."""
        return dict(self)

    def __str__(self) -> str:
        return info_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return info_html(self)


def rows_of(found: Mapping[str, Any], resume: str = RESUME) -> list[tuple[str, str]]:
    """Return what is known of an archive as pairs of name and text; `resume` is how to go on."""
    codec = found["codec"]
    weights = codec.get("weights", {})
    keys = ("lam", "psnr", "bpppb", "quality", "max_error")
    rate = "  ".join(f"{k} {_plain(codec[k])}" for k in keys if codec.get(k) is not None)
    dates = found["dates"]
    span = f": {dates[0]} ... {dates[-1]}" if dates else ""
    rows = [
        ("cube", f"{found['variable']} {tuple(found['shape'])} {found['dtype']}"),
        ("bands", ", ".join(found["bands"])),
        ("dates", f"{found['shape'][0]}{span}"),
        ("beside", ", ".join(found["beside"]) or "-"),
        ("codec", f"{codec.get('model')}  {rate}  {codec.get('sensor')}"),
        ("weights", f"{weights.get('id')}  sha256 {weights.get('sha256')}"),
        ("chunks", f"{tuple(found['chunks'])}, shards {_shape(found['shards'])}"),
        ("format", f"Zarr {found['zarr_format']}"),
        *_rows_of_size(found),
    ]  # fmt: skip
    if found["journal"]:
        rows += _rows_of_journal(found, resume)
    return [("store", found["store"]), *rows]


def info_text(found: Mapping[str, Any], resume: str = RESUME) -> str:
    """Write what is known of an archive as lines for a terminal."""
    lines = [_row(name, text) for name, text in rows_of(found, resume)]
    lines += ["".join([f"{band:<9}", *(f"{v:>9}" for v in v)]) for band, *v in _bands(found)]
    return "\n".join(lines)


def info_html(found: Mapping[str, Any]) -> str:
    """Write it for a notebook, with inherited colors only: any theme stays readable."""
    cell = "text-align:left;padding:1px 8px"
    rows = "".join(
        f"<tr><th style='{cell}'>{html.escape(name)}</th><td style='{cell}'>{html.escape(text)}"
        "</td></tr>"
        for name, text in rows_of(found)
    )
    bands = "".join(
        "<tr>" + "".join(f"<td style='{cell}'>{html.escape(v)}</td>" for v in row) + "</tr>"
        for row in _bands(found)
    )
    table = f"<details><summary>by band</summary><table>{bands}</table></details>" if bands else ""
    return f"<div><table>{rows}</table>{table}</div>"


def _bands(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the errors of each band below their names; [] where nobody measured any."""
    if not found["journal"]:
        return []
    head = ("band", "RMSE DN", "PSNR dB", "max DN")
    return [head] + [
        (band, _number(e["rmse"], 2), _number(e["psnr"], 2), _number(e["max_error"], 1))
        for band, e in found["errors"].items()
    ]


def _rows_of_size(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write what the cube takes, what all else takes, and both: as `du` would."""
    ratio = _number(found["ratio"], 1)
    raw = f"of {found['raw_bytes']:,} in memory"
    rows = [("size", f"{found['stored_bytes']:,} bytes {raw}: {ratio} times smaller")]
    if found.get("total_bytes") is not None:
        all_else = f"{found['other_bytes']:,} bytes of all else (coordinates, metadata, journal)"
        rows.append(("", f"and {all_else}: {found['total_bytes']:,} in all"))
    return rows


def _quality(found: Mapping[str, Any]) -> str:
    """Write the PSNR; without errors there is none."""
    if found["psnr"] is not None:
        return f"{found['psnr']:,.2f} dB over all bands and dates"
    counts = [e["samples"] for e in found["errors"].values()]
    if None in counts:
        return "not known: blocks were written without a journal"
    samples = sum(counts)
    return "exact: no sample differs" if samples else "- (no valid samples)"


def _row(name: str, text: str) -> str:
    """Write a row; one that is too long for a terminal goes on below its beginning."""
    width = max(40, shutil.get_terminal_size().columns - 1)
    return textwrap.fill(
        text, width, initial_indent=f"{name:<9}", subsequent_indent=" " * 9,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _rows_of_journal(found: Mapping[str, Any], resume: str) -> list[tuple[str, str]]:
    missing, waiting = found["blocks_missing"], found["dates_waiting"]
    state = "complete" if not missing else f"{missing} MISSING: finish it with {resume}"
    rows = [
        ("blocks", f"{found['blocks']}, {state}"),
        ("quality", _quality(found)),
    ]
    if waiting:
        rows.append(("waiting", f"the last {waiting} dates, without loss, for more of them"))
    if found["interrupted_append"]:
        rows.append(("append", f"INTERRUPTED, of {', '.join(found['interrupted_append'])}"))
    return rows


def _plain(value: Any) -> str:
    """Write a setting: a number, or one for each band."""
    return ", ".join(f"{v:g}" for v in value) if isinstance(value, list) else f"{value:g}"


def _shape(shape: list[int] | None) -> str:
    return "none" if shape is None else str(tuple(shape))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"

"""A report as text and as HTML. Both say the same; neither computes anything."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tec_xarray.report.figures import Errors, Histogram
    from tec_xarray.report.report import Report

_HEAD = ["RMSE (DN)", "95 % within (DN)", "max (DN)", "bias (DN)", "PSNR (dB)", "SSIM"]
_MOST_DATES = 12  # that are shown; more are in to_dataframe("date")


def text_of(report: Report) -> str:
    """Write a report as lines of equal meaning for a terminal."""
    lines = [f"{name:<15}{text}" for name, text in summary(report)]
    for rows in (_bands(report), _dates(report)):
        widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
        lines.append("")
        lines += [
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
    if len(report.dates) > _MOST_DATES:
        lines.append(_more(report))
    return "\n".join(lines)


def html_of(report: Report) -> str:
    """Write a report for a notebook, with inherited colors only: any theme stays readable."""
    left = "text-align:left;padding:1px 8px"
    rows = "".join(
        f"<tr><th style='{left}'>{html.escape(k)}</th><td style='{left}'>{html.escape(v)}</td></tr>"
        for k, v in summary(report)
    )
    more = f"<p>{html.escape(_more(report))}</p>" if len(report.dates) > _MOST_DATES else ""
    return (
        f"<div><table>{rows}</table>{_table(_bands(report))}"
        f"<details><summary>by date</summary>{_table(_dates(report))}{more}</details>"
        f"<details><summary>error histogram</summary>{_bars(report.histogram)}</details></div>"
    )


def summary(report: Report) -> list[tuple[str, str]]:
    """Return what is said before the tables, as pairs of name and text."""
    T, C, H, W = report.shape
    total = report.total
    stored = (
        f"{size(report.stored_bytes)} of {size(report.raw_bytes)}: {report.ratio:.1f} times "
        f"smaller, {report.bits_per_sample:.3f} bits per pixel and band"
    )
    place = "date {time}, {band}, y {y}, x {x}".format(**report.worst)
    wrong = total.mask_errors
    lines = [
        ("cube", f"{report.variable}, {T} dates x {C} bands x {H} x {W}, {report.dtype}"),
        ("codec", describe(report.codec)),
        ("stored", stored),
        ("beside it", f"{size(report.other_bytes)} (coordinates, metadata, journal, all else)"),
        ("in all", size(report.stored_bytes + report.other_bytes)),
        ("PSNR", f"{decimal(total.psnr, 2)} dB (peak 10,000 DN)"),
        ("spectral angle", f"{decimal(total.spectral_angle, 3)} degrees"),
    ]
    if report.dates_waiting:
        text = f"{report.dates_waiting} of {T} dates, without loss, until append brings more"
        lines.insert(3, ("waiting", text))
    for index in report.indices:
        if index.date == "all":
            figures = (
                f"RMSE {decimal(index.rmse, 4)}, 95 % within {decimal(index.p95, 3)}, "
                f"bias {decimal(index.bias, 4)}, largest {decimal(index.max_error, 3)}"
            )
            lines.append((f"{index.label} error", figures))
    lines.append(("largest error", f"{decimal(total.max_error, 1)} DN at {place}"))
    worst = report.worst_chunk
    if worst is not None:
        where = ", ".join(
            f"{name} {start}:{stop}"
            for name, (start, stop) in (("dates", worst.time), ("y", worst.y), ("x", worst.x))
        )
        figures = f"RMSE {decimal(worst.rmse, 2)} DN, {decimal(worst.psnr, 2)} dB"
        lines.append(("worst chunk", f"{figures} at {where}"))
    lines.append(("missing data", f"{wrong:,} samples differ" if wrong else "exact"))
    return lines


def decimal(value: float, digits: int) -> str:
    """Write a figure: a dash for NaN, never an exponent, never "-0.00"."""
    if math.isnan(value):
        return "-"
    return "inf" if math.isinf(value) else f"{round(value, digits) + 0.0:,.{digits}f}"


def size(count: int) -> str:
    """Write bytes as people read them."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.2f} {unit}"
        amount /= 1000
    return f"{amount:.2f} TB"


def describe(codec: dict[str, Any]) -> str:
    """Write a codec's configuration in a line."""
    keys = ("model", "lam", "psnr", "bpppb", "quality", "max_error", "weights", "sensor")
    known = {key: codec[key] for key in keys if codec.get(key) is not None}
    if isinstance(known.get("weights"), dict):
        known["weights"] = known["weights"].get("id")
    words = (f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
             for key, value in known.items())  # fmt: skip
    return ", ".join(words) or "not ours"


def _row(row: Errors) -> list[str]:
    return [
        row.label,
        decimal(row.rmse, 2),
        decimal(row.p95, 0),
        decimal(row.max_error, 1),
        decimal(row.bias, 2),
        decimal(row.psnr, 2),
        decimal(row.ssim, 4),
    ]


def _bands(report: Report) -> list[list[str]]:
    return [["band", *_HEAD], *(_row(row) for row in (*report.bands, report.total))]


def _dates(report: Report) -> list[list[str]]:
    """Return a row for each date, with its spectral angle and index errors; the worst of many."""
    names = list(dict.fromkeys(index.label for index in report.indices))
    known = {(index.label, index.date): index for index in report.indices}
    head = ["date", "RMSE (DN)", "max (DN)", "bias (DN)", "PSNR (dB)", "SSIM", "angle (degrees)"]
    rows = [[*head, *(f"{name} RMSE" for name in names)]]
    shown: Sequence[Errors] = report.dates
    if len(shown) > _MOST_DATES:
        rank = sorted(shown, key=lambda d: -1 if math.isnan(d.rmse) else d.rmse)
        kept = {date.label for date in rank[-_MOST_DATES:]}
        shown = [date for date in shown if date.label in kept]
    for date in shown:
        cells = _row(date)
        own = [decimal(known[name, date.label].rmse, 4) for name in names]
        rows.append([cells[0], cells[1], *cells[3:], decimal(date.spectral_angle, 3), *own])
    return rows


def _more(report: Report) -> str:
    return f"the worst {_MOST_DATES} of {len(report.dates)} dates; all: .to_dataframe('date')"


def _table(rows: list[list[str]]) -> str:
    right = "text-align:right;padding:1px 8px"
    head, *body = rows
    top = "".join(f"<th style='{right}'>{html.escape(cell)}</th>" for cell in head)
    cells = "".join(
        "<tr>" + "".join(f"<td style='{right}'>{html.escape(c)}</td>" for c in row) + "</tr>"
        for row in body
    )
    return (
        f"<table style='margin-top:8px'><thead><tr>{top}</tr></thead><tbody>{cells}</tbody></table>"
    )


def _bars(histogram: Histogram) -> str:
    """Draw the histogram of all bands as a table with bars, which needs no script and no image."""
    counts = histogram.counts["all"]
    total, most = max(sum(counts), 1), max(*counts, 1)
    rows = []
    for low, high, count in zip(histogram.edges[:-1], histogram.edges[1:], counts, strict=True):
        bar = (
            f"<div style='width:{240 * count / most:.0f}px;height:0.8em;"
            "background:currentColor;opacity:0.5'></div>"
        )
        rows.append(
            f"<tr><td style='text-align:right;padding:0 8px'>{html.escape(span(low, high))}</td>"
            f"<td style='text-align:left'>{bar}</td>"
            f"<td style='text-align:right;padding:0 8px'>{100 * count / total:.2f} %</td></tr>"
        )
    return f"<table><thead></thead><tbody>{''.join(rows)}</tbody></table>"


def span(low: float, high: float) -> str:
    """Name a bin of errors in DN by the whole numbers in it."""
    if math.isinf(low):
        return f"{math.floor(high)} DN or less"
    if math.isinf(high):
        return f"{math.ceil(low)} DN or more"
    first, last = math.ceil(low), math.floor(high)
    return f"{first} DN" if first == last else f"{first} ... {last} DN"

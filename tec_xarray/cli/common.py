"""What the commands share: opening data, a cluster for the time of a command, errors, tables."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from tec_numcodecs.errors import InvalidInput, TecError
from tec_numcodecs.extras import require
from tec_xarray.cli.flags import message_of

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def echo_err(text: str) -> None:
    """Say something to a person: on standard error, so that standard output is for results."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def show(found: Any, *, as_json: bool, text: str | Table) -> None:
    """Print a result on standard output."""
    if as_json:
        print(json.dumps(found, allow_nan=False))
    else:
        Console(highlight=False, soft_wrap=True).print(text, markup=False)


@contextlib.contextmanager
def error_exit(resume: str | None = None) -> Iterator[None]:
    """Turn what goes wrong into a sentence and an exit code.

    1: something failed; 2: what was asked for cannot be done; 130: interrupted.
    """
    try:
        yield
    except InvalidInput as error:
        echo_err(f"tec: {message_of(error)}")
        raise typer.Exit(EXIT_USAGE) from error
    except (TecError, OSError, ImportError) as error:
        echo_err(f"tec: {message_of(error)}")
        raise typer.Exit(EXIT_FAILED) from error
    except KeyboardInterrupt as error:
        hint = f"; what is written stays, finish it with: {resume}" if resume else ""
        echo_err(f"tec: interrupted{hint}")
        raise typer.Exit(EXIT_INTERRUPTED) from error


@contextlib.contextmanager
def cluster(workers: int | None, scheduler: str | None) -> Iterator[None]:
    """Start a local cluster, or go to one that is there, for the time of a command."""
    if workers is None and scheduler is None:
        yield
        return
    if scheduler is None:
        from tec_xarray.execution.cluster import workers as start

        with start(workers or 1):
            yield
        return
    if workers is not None:
        raise InvalidInput("both --workers and --scheduler", allowed="one of them")
    require("distributed", "--scheduler")
    from distributed import Client

    with Client(scheduler):  # type: ignore[no-untyped-call]
        yield


def local_path(text: str) -> str:
    """Expand ``~`` in a path (after ``--option=`` no shell does); a URL stays as it is."""
    # As it is, if it can be: Path makes one slash of two, and /vsizip//path needs both.
    return str(Path(text).expanduser()) if text.startswith("~") else text


@contextlib.contextmanager
def new_file(path: str) -> Iterator[None]:
    """Refuse a file that is there; remove a new one that was not finished."""
    if Path(path).exists():
        raise InvalidInput(f"{path} is there already", allowed="a new file")
    try:
        yield
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise


def drop_none(**settings: Any) -> dict[str, Any]:
    """Return the settings that were given."""
    return {key: value for key, value in settings.items() if value is not None}


def band_list(bands: str | None) -> list[str] | dict[str, str] | None:
    """Split B02,B03,B04, or s2_B02=B02,s2_B03=B03."""
    if bands is None:
        return None
    words = [band.strip() for band in bands.split(",") if band.strip()]
    if not any("=" in word for word in words):
        return words
    pairs = [word.rpartition("=") if "=" in word else (word, "", word) for word in words]
    return {name.strip(): band.strip() for name, _, band in pairs}


def table_of(found: Mapping[str, Any]) -> str:
    """Write what `tec_xarray.info` found as lines for people."""
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
        rows += _rows_of_journal(found)
    lines = [_row(name, text) for name, text in [("store", found["store"]), *rows]]
    if found["journal"]:
        lines.append(f"{'band':<9}{'RMSE DN':>9}{'PSNR dB':>9}{'max DN':>9}")
        for band, e in found["errors"].items():
            values = (_number(e["rmse"], 2), _number(e["psnr"], 2), _number(e["max_error"], 1))
            lines.append(f"{band:<9}" + "".join(f"{v:>9}" for v in values))
    return "\n".join(lines)


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


def _rows_of_journal(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    missing, waiting = found["blocks_missing"], found["dates_waiting"]
    state = "complete" if not missing else f"{missing} MISSING: finish it with --resume"
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


def terminal() -> bool:
    """Tell whether a person is looking."""
    return sys.stderr.isatty()

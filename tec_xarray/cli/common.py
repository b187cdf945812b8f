"""What the commands share: opening data, a cluster for the time of a command, errors, tables."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
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


def terminal() -> bool:
    """Tell whether a person is looking."""
    return sys.stderr.isatty()

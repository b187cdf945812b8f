"""The ``tec`` command: archives from a shell.

Results go to standard output, as text or with ``--json`` as one JSON object; everything else goes
to standard error. Exit codes: 0 done, 1 failed (or `verify` found damage), 2 what was asked for
cannot be done, 130 interrupted (the store can be resumed).
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tec_numcodecs.errors import InvalidInput
from tec_xarray.cli.common import (
    EXIT_FAILED,
    error_exit,
    local_path,
    new_file,
    show,
)
from tec_xarray.cli.inpaint import inpaint
from tec_xarray.cli.options import (
    WAIT,
    Appendable,
    BreakLease,
    Chunking,
    Cluster,
    Coding,
    Data,
    Group,
    Json,
    Running,
    Search,
    Wait,
    Writing,
    grouped,
)
from tec_xarray.cli.weights import app as weights

app = typer.Typer(
    name="tec",
    help=__doc__.partition("\n")[0] if __doc__ else None,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
app.add_typer(weights, name="weights")
app.command()(inpaint)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"tec {version('tec-xarray')}")
        raise typer.Exit


@app.callback()
def tec(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Learned compression of Sentinel-2 datacubes: archives from a shell."""


@app.command()
@grouped
def compress(
    source: Annotated[str, typer.Argument(metavar="IN", help="Zarr, NetCDF or GDAL raster.")],
    store: Annotated[str, typer.Argument(metavar="OUT", help="Zarr store to write.")],
    given: Data,
    coding: Coding,
    chunking: Chunking,
    writing: Writing,
    running: Running,
    zarr_format: Annotated[int, typer.Option(min=2, max=3)] = 3,
    cf: Annotated[bool, typer.Option("--cf", help="Attributes for float reflectance.")] = False,
    appendable: Appendable = False,
    as_json: Json = False,
) -> None:
    """Compress a dataset into a store."""
    with error_exit(resume=resume_command()), running.connect():
        store = local_path(store)
        create = {"zarr_format": zarr_format, "cf": cf, "appendable": appendable}
        create |= chunking.settings()
        settings = coding.settings() | given.settings()
        _write(given.open(source), store, settings, create, writing, running)
        _report(store, writing.group, as_json=as_json)


@app.command()
@grouped
def append(
    source: Annotated[str, typer.Argument(metavar="IN", help="The new dates.")],
    store: Annotated[str, typer.Argument(metavar="STORE", help="The archive.")],
    given: Data,
    running: Running,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Add dates to an archive. After an interruption, the same command finishes it."""
    with error_exit(resume=resume_command(flag="")), running.connect():
        from tec_xarray import append as add

        store = local_path(store)
        add(given.open(source), store, group=group, **running.settings(), **given.settings())
        _report(store, group, as_json=as_json)


@app.command()
@grouped
def verify(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    given: Data,
    where: Cluster,
    original: Annotated[str | None, typer.Option(help="What it was made of.")] = None,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Read an archive from end to end and check all that can be checked."""
    with error_exit(), where.connect():
        from tec_xarray import verify as check

        settings = given.settings()
        if original is None and (settings or given.grid):
            raise InvalidInput("options of the original without --original FILE")
        data = None if original is None else given.open(original)
        found = check(_reading(store), data, group=group, progress=True, **settings)
        show(found.to_dict(), as_json=as_json, text=str(found))
    if not found.ok:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def info(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Say what is inside: model, weights, rate, bytes, errors, dates."""
    with error_exit():
        from tec_xarray.archive.describing import info as describe
        from tec_xarray.report.archive_info import info_text

        found = describe(_reading(store), group=group)
        show(found, as_json=as_json, text=info_text(found, "--resume"))


@app.command()
@grouped
def report(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    original: Annotated[str, typer.Argument(metavar="ORIGINAL", help="What it was made of.")],
    given: Data,
    ssim: Annotated[bool, typer.Option(help="Compute SSIM, too; it takes longest.")] = True,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Measure size and loss: decoded values against the original."""
    with error_exit():
        from tec_xarray import to_cube
        from tec_xarray.report.report import compare
        from tec_xarray.store.embedded_weights import open_zarr

        settings = given.settings()
        names = {k: settings[k] for k in ("bands", "sensor", "variable") if k in settings}
        data = to_cube(given.open(original), **names)
        place = _reading(store)
        options: dict[str, Any] = {"chunks": {}, "mask_and_scale": False}
        found = compare(
            open_zarr(place, group=group, **options), data, store=place, group=group, ssim=ssim
        )
        show(found.to_dict(), as_json=as_json, text=str(found))


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM")],
    target: Annotated[str, typer.Argument(metavar="TO")],
    group: Group = None,
    wait: Wait = WAIT,
    break_lease: BreakLease = False,
    as_json: Json = False,
) -> None:
    """Copy an archive byte for byte, checking its digests on the way. TO may end in .zip."""
    with error_exit():
        from tec_xarray import copy as duplicate

        lease: dict[str, Any] = {"wait": wait, "break_lease": break_lease}
        target = local_path(target)
        if target.endswith(".zip"):
            import zarr.storage

            with new_file(target), zarr.storage.ZipStore(target, mode="w") as zipped:
                duplicate(_reading(source), zipped, group=group, progress=True, **lease)
        else:
            duplicate(_reading(source), target, group=group, progress=True, **lease)
        _report(target, group, as_json=as_json)


@app.command()
def models(as_json: Json = False) -> None:
    """List models, and which weights there are for each."""
    with error_exit():
        from tec_numcodecs.weights.inventory import models as listed

        found = listed()
        lines = [f"{m['model']:<9}{m['about']}\n{'':<9}weights: {', '.join(m['weights'])}"
                 for m in found]  # fmt: skip
        show(found, as_json=as_json, text="\n".join(lines))


@app.command()
def demo(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Gets stores and a picture.")] = Path(
        "demo-output"
    ),
    lam: Annotated[
        list[float] | None,
        typer.Option(help="A rate; may be given more than once. Default: 20 and 200."),
    ] = None,
) -> None:
    """Archive a real scene from a catalog on this machine, read it back, draw a picture."""
    with error_exit():
        from tec_xarray.demo import RATES, run

        run(output, lam or RATES)


@app.command()
@grouped
def archive(
    search: Search,
    store: Annotated[str, typer.Option(help="Zarr store to write.")],
    coding: Coding,
    chunking: Chunking,
    writing: Writing,
    running: Running,
    appendable: Appendable = True,
    add: Annotated[bool, typer.Option("--append", help="Add the dates to an archive.")] = False,
    as_json: Json = False,
) -> None:
    """Search a catalog and compress what it has into an archive."""
    with error_exit(resume=resume_command()), running.connect():
        from tec_xarray import append as grow

        store = local_path(store)
        data = search.open()
        if add:
            grow(data, store, group=writing.group, **running.settings())
        else:
            create = {"appendable": appendable, **chunking.settings()}
            _write(data, store, coding.settings(), create, writing, running)
        _report(store, writing.group, as_json=as_json)


def _write(
    data: Any,
    store: str,
    settings: dict[str, Any],
    create: dict[str, Any],
    writing: Writing,
    running: Running,
) -> None:
    import tec_xarray
    from tec_xarray.archive.resuming import begun
    from tec_xarray.store.location import StoreLocation

    how = {"group": writing.group, **running.settings()}
    state = begun(StoreLocation.of(store, writing.group, None)) if writing.resume else "nothing"
    if state == "archive":
        tec_xarray.resume(data, store, **how, **settings)
    else:
        mode = "w" if writing.overwrite or state == "template" else "w-"
        create |= {"mode": mode, "embed_weights": writing.embed_weights}
        tec_xarray.compress(data, store=store, **how, **settings, **create)


def _report(store: str, group: str | None, *, as_json: bool) -> None:
    from tec_xarray.archive.describing import info as describe
    from tec_xarray.report.archive_info import info_text

    found = describe(_reading(store), group=group)
    show(found, as_json=as_json, text=info_text(found, "--resume"))


def _reading(store: str) -> Any:
    """Return what to open for reading; a zip file needs a store of its own."""
    store = local_path(store)
    if not store.endswith(".zip"):
        return store
    import zarr.storage

    return zarr.storage.ZipStore(store, mode="r")


def resume_command(flag: str = " --resume") -> str:
    """Return the command line that would finish this one."""
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    return f"tec {shlex.join(words)}{flag}"

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

from tec_xarray.cli.common import (
    EXIT_FAILED,
    band_list,
    given,
    local_path,
    manners,
    new_file,
    open_input,
    show,
    table_of,
)
from tec_xarray.cli.options import (
    WAIT,
    Appendable,
    Bands,
    BreakLease,
    Cluster,
    Coding,
    Group,
    Json,
    Running,
    Search,
    Variable,
    Wait,
    Writing,
    grouped,
)
from tec_xarray.cli.weights import app as weights

app = typer.Typer(
    name="tec",
    help=__doc__.partition("\n")[0] if __doc__ else None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(weights, name="weights")


@app.command()
@grouped
def compress(
    source: Annotated[str, typer.Argument(metavar="IN", help="Zarr, NetCDF or GDAL raster.")],
    store: Annotated[str, typer.Argument(metavar="OUT", help="Zarr store to write.")],
    coding: Coding,
    writing: Writing,
    running: Running,
    sensor: Annotated[str | None, typer.Option(help="sentinel-2-l2a or sentinel-2-l1c.")] = None,
    bands: Bands = None,
    variable: Variable = None,
    zarr_format: Annotated[int, typer.Option(min=2, max=3)] = 3,
    cf: Annotated[bool, typer.Option("--cf", help="Attributes for float reflectance.")] = False,
    appendable: Appendable = False,
    as_json: Json = False,
) -> None:
    """Compress a dataset into a store."""
    with manners(resume=again()), running.there():
        names = given(sensor=sensor, bands=band_list(bands), variable=variable)
        create = {"zarr_format": zarr_format, "cf": cf, "appendable": appendable}
        _write(open_input(source), store, coding.settings() | names, create, writing, running)
        _report(store, writing.group, as_json=as_json)


@app.command()
@grouped
def append(
    source: Annotated[str, typer.Argument(metavar="IN", help="The new dates.")],
    store: Annotated[str, typer.Argument(metavar="STORE", help="The archive.")],
    running: Running,
    bands: Bands = None,
    variable: Variable = None,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Add dates to an archive. After an interruption, the same command finishes it."""
    with manners(resume=again(flag="")), running.there():
        from tec_xarray import append as add

        names = given(bands=band_list(bands), variable=variable)
        add(open_input(source), store, group=group, **running.settings(), **names)
        _report(store, group, as_json=as_json)


@app.command()
@grouped
def verify(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    where: Cluster,
    original: Annotated[str | None, typer.Option(help="What it was made of.")] = None,
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Read an archive from end to end and check all that can be checked."""
    with manners(), where.there():
        from tec_xarray import verify as check

        data = None if original is None else open_input(original)
        found = check(_reading(store), data, group=group, progress=True)
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
    with manners():
        from tec_xarray.archive.describing import info as describe

        found = describe(_reading(store), group=group)
        show(found, as_json=as_json, text=table_of(found))


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
    with manners():
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
    with manners():
        from tec_xarray.cli.model_list import models as listed

        found = listed()
        lines = [f"{m['model']:<9}{m['about']}\n{'':<9}weights: {', '.join(m['weights'])}"
                 for m in found]  # fmt: skip
        show(found, as_json=as_json, text="\n".join(lines))


@app.command()
def demo(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Gets stores and a picture.")] = Path(
        "demo-output"
    ),
) -> None:
    """Archive a real scene from a catalog on this machine, read it back, draw a picture."""
    with manners():
        from tec_xarray.demo import run

        run(output)


@app.command()
@grouped
def archive(
    search: Search,
    store: Annotated[str, typer.Option(help="Zarr store to write.")],
    coding: Coding,
    writing: Writing,
    running: Running,
    appendable: Appendable = True,
    add: Annotated[bool, typer.Option("--append", help="Add the dates to an archive.")] = False,
    as_json: Json = False,
) -> None:
    """Search a catalog and compress what it has into an archive."""
    with manners(resume=again()), running.there():
        from tec_xarray import append as grow

        data = search.open()
        if add:
            grow(data, store, group=writing.group, **running.settings())
        else:
            _write(data, store, coding.settings(), {"appendable": appendable}, writing, running)
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

    found = describe(_reading(store), group=group)
    show(found, as_json=as_json, text=table_of(found))


def _reading(store: str) -> Any:
    """Return what to open for reading; a zip file needs a store of its own."""
    store = local_path(store)
    if not store.endswith(".zip"):
        return store
    import zarr.storage

    return zarr.storage.ZipStore(store, mode="r")


def again(flag: str = " --resume") -> str:
    """Return the command line that would finish this one."""
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    return f"tec {shlex.join(words)}{flag}"

"""The ``tec`` command: archives from a shell.

Results go to standard output, as text or with ``--json`` as one JSON object; everything else goes
to standard error. Exit codes: 0 done, 1 failed (or `verify` found damage), 2 what was asked for
cannot be done, 130 interrupted (the store can be resumed).
"""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Any

import typer

from tec_xarray._cli import (
    EXIT_FAILED,
    band_list,
    cluster,
    given,
    manners,
    new_file,
    open_input,
    show,
    table_of,
)

app = typer.Typer(
    name="tec",
    help=__doc__.partition("\n")[0] if __doc__ else None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Group = Annotated[str | None, typer.Option(help="Group of the store.")]
Model = Annotated[str | None, typer.Option(help="fp, elic, tt or flextec [fp].")]
Lam = Annotated[float | None, typer.Option(help="Rate: larger is better and bigger [20].")]
Quality = Annotated[int | None, typer.Option(help="Tokens to store (flextec), 1 to 16.")]
Weights = Annotated[str | None, typer.Option(help="mini, terracodec-1.0, or a path.")]
MaxError = Annotated[float | None, typer.Option(help="Promise in DN; 0 is lossless.")]
Sensor = Annotated[str | None, typer.Option(help="sentinel-2-l2a or sentinel-2-l1c.")]
Bands = Annotated[str | None, typer.Option(help="Names, with commas: B02,B03,B04.")]
Variable = Annotated[str | None, typer.Option(help="The variable with the bands.")]
Appendable = Annotated[bool, typer.Option(help="Keep dates that fill no chunk without loss.")]
Resume = Annotated[bool, typer.Option("--resume", help="Finish what was interrupted.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes [none but this one].")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a Dask scheduler.")]
Retries = Annotated[int, typer.Option(min=0, help="Tries after a failed one, for each block.")]


@app.command()
def compress(
    source: Annotated[str, typer.Argument(metavar="IN", help="Zarr, NetCDF or GDAL raster.")],
    store: Annotated[str, typer.Argument(metavar="OUT", help="Zarr store to write.")],
    model: Model = None,
    lam: Lam = None,
    quality: Quality = None,
    weights: Weights = None,
    max_error: MaxError = None,
    sensor: Sensor = None,
    bands: Bands = None,
    variable: Variable = None,
    group: Group = None,
    zarr_format: Annotated[int, typer.Option(min=2, max=3)] = 3,
    cf: Annotated[bool, typer.Option("--cf", help="Attributes for float reflectance.")] = False,
    appendable: Appendable = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    workers: Workers = None,
    scheduler: Scheduler = None,
    retries: Retries = 2,
    as_json: Json = False,
) -> None:
    """Compress a dataset into a store."""
    with manners(resume=again()), cluster(workers, scheduler):
        settings = given(
            model=model, lam=lam, quality=quality, weights=weights, max_error=max_error,
            sensor=sensor, bands=band_list(bands), variable=variable,
        )  # fmt: skip
        create = {
            "zarr_format": zarr_format, "cf": cf, "appendable": appendable,
            "mode": "w" if overwrite else "w-",
        }  # fmt: skip
        _write(open_input(source), store, settings, create, group, retries, resume=resume)
        _report(store, group, as_json=as_json)


@app.command()
def append(
    source: Annotated[str, typer.Argument(metavar="IN", help="The new dates.")],
    store: Annotated[str, typer.Argument(metavar="STORE", help="The archive.")],
    bands: Bands = None,
    variable: Variable = None,
    group: Group = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    retries: Retries = 2,
    as_json: Json = False,
) -> None:
    """Add dates to an archive. After an interruption, the same command finishes it."""
    with manners(resume=again(flag="")), cluster(workers, scheduler):
        from tec_xarray import append as add

        settings = given(bands=band_list(bands), variable=variable)
        add(open_input(source), store, group=group, retries=retries, progress=True, **settings)
        _report(store, group, as_json=as_json)


@app.command()
def verify(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    original: Annotated[str | None, typer.Option(help="What it was made of.")] = None,
    group: Group = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Read an archive from end to end and check all that can be checked."""
    with manners(), cluster(workers, scheduler):
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
        from tec_xarray._info import info as describe

        found = describe(_reading(store), group=group)
        show(found, as_json=as_json, text=table_of(found))


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM")],
    target: Annotated[str, typer.Argument(metavar="TO")],
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Copy an archive byte for byte, checking its digests on the way. TO may end in .zip."""
    with manners():
        from tec_xarray import copy as duplicate

        if target.endswith(".zip"):
            import zarr.storage

            with new_file(target), zarr.storage.ZipStore(target, mode="w") as zipped:
                duplicate(source, zipped, group=group, progress=True)
        else:
            duplicate(_reading(source), target, group=group, progress=True)
        _report(target, group, as_json=as_json)


@app.command()
def models(as_json: Json = False) -> None:
    """List models, and which weights there are for each."""
    with manners():
        from tec_xarray._catalogue import models as listed

        found = listed()
        lines = [f"{m['model']:<9}{m['about']}\n{'':<9}weights: {', '.join(m['weights'])}"
                 for m in found]  # fmt: skip
        show(found, as_json=as_json, text="\n".join(lines))


@app.command()
def weights(as_json: Json = False) -> None:
    """List weights: what comes with the package, what can be fetched, where files are."""
    with manners():
        from tec_xarray._catalogue import weights as listed

        found = listed()
        lines = [f"{w['weights']:<16}{w['model']:<9}{w['id']}\n{'':<16}{w['where']}"
                 for w in found]  # fmt: skip
        show(found, as_json=as_json, text="\n".join(lines))


@app.command()
def archive(
    stac: Annotated[str, typer.Option(help="URL of a STAC API.")],
    store: Annotated[str, typer.Option(help="Zarr store to write.")],
    bbox: Annotated[str, typer.Option(help="W,S,E,N in degrees.")],
    datetime: Annotated[str, typer.Option(help="2023-03/2023-10, or one date.")],
    collection: Annotated[str, typer.Option()] = "sentinel-2-l2a",
    query: Annotated[str | None, typer.Option(help='JSON: {"eo:cloud_cover": {"lt": 40}}')] = None,
    resolution: Annotated[float, typer.Option(help="Of a pixel, in units of the CRS.")] = 10,
    model: Model = None,
    lam: Lam = None,
    quality: Quality = None,
    weights: Weights = None,
    max_error: MaxError = None,
    bands: Bands = None,
    group: Group = None,
    appendable: Appendable = True,
    resume: Resume = False,
    add: Annotated[bool, typer.Option("--append", help="Add the dates to an archive.")] = False,
    overwrite: Overwrite = False,
    workers: Workers = None,
    scheduler: Scheduler = None,
    retries: Retries = 2,
    as_json: Json = False,
) -> None:
    """Search a catalog and compress what it has into an archive."""
    with manners(resume=again()), cluster(workers, scheduler):
        from tec_xarray import append as grow
        from tec_xarray._catalogue import search

        data = search(stac, collection, bbox, datetime, query, resolution, band_list(bands))
        if add:
            grow(data, store, group=group, retries=retries, progress=True)
        else:
            settings = given(
                model=model, lam=lam, quality=quality, weights=weights, max_error=max_error
            )
            create = {"appendable": appendable, "mode": "w" if overwrite else "w-"}
            _write(data, store, settings, create, group, retries, resume=resume)
        _report(store, group, as_json=as_json)


def _write(
    data: Any,
    store: str,
    settings: dict[str, Any],
    create: dict[str, Any],
    group: str | None,
    retries: int,
    *,
    resume: bool,
) -> None:
    import tec_xarray
    from tec_xarray._store import Target

    how: dict[str, Any] = {"group": group, "retries": retries, "progress": True}
    if resume and Target(store, group, 3, "w-", None, None).exists():
        tec_xarray.resume(data, store, **how, **settings)
    else:
        tec_xarray.compress(data, store=store, **how, **settings, **create)


def _report(store: str, group: str | None, *, as_json: bool) -> None:
    from tec_xarray._info import info as describe

    found = describe(_reading(store), group=group)
    show(found, as_json=as_json, text=table_of(found))


def _reading(store: str) -> Any:
    """Return what to open for reading; a zip file needs a store of its own."""
    if not store.endswith(".zip"):
        return store
    import zarr.storage

    return zarr.storage.ZipStore(store, mode="r")


def again(flag: str = " --resume") -> str:
    """Return the command line that would finish this one."""
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    return f"tec {shlex.join(words)}{flag}"


def main() -> None:
    """Run the command; this is what ``tec`` calls."""
    app()


if __name__ == "__main__":
    main()

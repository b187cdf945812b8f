"""``tec inpaint``: gaps under clouds, filled from a shell."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tec_xarray.cli.common import error_exit, local_path, show
from tec_xarray.cli.options import Json, Names, grouped


@grouped
def inpaint(
    source: Annotated[str, typer.Argument(metavar="IN", help="Zarr, NetCDF or GDAL raster.")],
    store: Annotated[str, typer.Argument(metavar="OUT", help="Zarr store to write, plainly.")],
    given: Names,
    mask: Annotated[
        str | None, typer.Option(help="Variable of booleans, True where hidden; or nodata.")
    ] = None,
    clouds: Annotated[
        str | None, typer.Option(help="Scene classification: scl, or the variable's name.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Its classes that hide: snow,cirrus.")] = None,
    dilate: Annotated[int | None, typer.Option(help="Pixels by which they grow [3].")] = None,
    method: Annotated[str, typer.Option(help="spectral, or linear, median, ...")] = "spectral",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the store.")] = False,
    as_json: Json = False,
) -> None:
    """Fill what clouds hide, and write the cube with the errors of what was filled."""
    with error_exit():
        from dask.base import compute

        from tec_xarray import inpaint as fill
        from tec_xarray.store.location import StoreLocation, WriteTarget
        from tec_xarray.store.overlap import check_apart

        listed = None if classes is None else classes.split(",")
        found = fill(given.open(source), mask, method, clouds=clouds, classes=listed,
                     dilate=dilate, **given.settings())  # fmt: skip
        counts = {n: found[n].sum() for n in ("filled", "unfilled")}
        where = local_path(store)
        mode: Literal["w", "w-"] = "w" if overwrite else "w-"
        target = WriteTarget(StoreLocation.of(where, None, None), mode=mode)
        target.check(region=None)
        check_apart(found, target.location, replaces=overwrite)
        written = found.to_zarr(where, mode=mode, compute=False)
        _, counts = compute(written, counts)  # type: ignore[no-untyped-call]
        pixels = {name: int(count) for name, count in counts.items()}
        text = f"{pixels['filled']:,} pixels filled, {pixels['unfilled']:,} clear on no other date"
        show({"store": where, "method": method, **pixels}, as_json=as_json, text=text)

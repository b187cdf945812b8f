"""The options of the ``tec`` command, in groups that several commands share.

A command takes a group as one parameter; `grouped` turns its fields into options. So an option is
written once, and means the same wherever it is.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

import typer
from rich.markup import escape

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.sensors import SENSORS
from tec_xarray.cli.common import band_list, cluster

SENSOR_NAMES = " or ".join(sensor.name for sensor in SENSORS)

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Group = Annotated[str | None, typer.Option(help="Group of the store.")]
Bands = Annotated[
    str | None, typer.Option(help="The bands to take: B02,B03, or name=band: s2_B02=B02,...")
]
Variable = Annotated[str | None, typer.Option(help="The variable with the bands.")]
WAIT = 90.0  # seconds; that of `tec_xarray.compress`, which is not imported for ``--help``
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for another writer.")]
BreakLease = Annotated[
    bool, typer.Option("--break-lease", help="Take the place of a writer that is gone for good.")
]
Appendable = Annotated[bool, typer.Option(help="Keep dates that fill no chunk without loss.")]


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How values are coded."""

    PANEL: ClassVar = "Coding"

    model: Annotated[str | None, typer.Option(help="fp, elic, tt or flextec [fp].")] = None
    lam: Annotated[float | None, typer.Option(help="Rate: larger, better, bigger [20].")] = None
    quality: Annotated[int | None, typer.Option(help="Tokens to store (flextec), 1 to 16.")] = None
    weights: Annotated[str | None, typer.Option(help="mini, terracodec-1.0, or a path.")] = None
    nearest: Annotated[
        bool | None, typer.Option("--nearest", help="Take the published rate nearest to lam.")
    ] = None
    max_error: Annotated[float | None, typer.Option(help="Promise in DN; 0: lossless.")] = None
    psnr: Annotated[float | None, typer.Option(help="Rate for at least so many dB.")] = None
    bpppb: Annotated[
        float | None, typer.Option(help="Rate for at most so many bits per pixel and band.")
    ] = None
    per: Annotated[str | None, typer.Option(help="What keeps psnr, bpppb: chunk, cube [chunk]")] = (
        None
    )

    def settings(self) -> dict[str, Any]:
        """Return what was given, as arguments of `tec_xarray.compress`."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Names:
    """Which variables and bands of the input count."""

    PANEL: ClassVar = "Input"

    bands: Bands = None
    variable: Variable = None
    nodata: Annotated[
        str | None, typer.Option(help="Value of missing samples: a number, nan, none [auto].")
    ] = None
    grid: Annotated[
        str | None, typer.Option(help="Resolution of a Sentinel-2 product: 10m, 20m, 60m.")
    ] = None

    def open(self, source: str) -> Any:
        """Open the input, with the bands that were asked for."""
        from tec_xarray.cli.input import open_input

        return open_input(source, band_list(self.bands), self.grid)

    def settings(self) -> dict[str, Any]:
        """Return what was given, as arguments of `tec_xarray.compress`."""
        found: dict[str, Any] = {}
        if self.variable is not None:
            found["variable"] = self.variable
        if self.bands is not None:
            found["bands"] = band_list(self.bands)
        if self.nodata is not None:
            found["nodata"] = _nodata(self.nodata)
        return found


@dataclass(frozen=True, kw_only=True)
class Data(Names):
    """What the numbers of the input are."""

    sensor: Annotated[str | None, typer.Option(help=f"{SENSOR_NAMES}.")] = None
    units: Annotated[str | None, typer.Option(help="dn or reflectance.")] = None
    scale: Annotated[float | None, typer.Option(help="value = DN * scale + offset.")] = None
    offset: Annotated[float | None, typer.Option(help="value = DN * scale + offset.")] = None

    def settings(self) -> dict[str, Any]:
        """Return what was given, as arguments of `tec_xarray.compress`."""
        own = {name: getattr(self, name) for name in ("sensor", "units", "scale", "offset")}
        return super().settings() | {k: v for k, v in own.items() if v is not None}


@dataclass(frozen=True, kw_only=True)
class Chunking:
    """How the store is cut."""

    PANEL: ClassVar = "Store"

    chunks: Annotated[str | None, typer.Option(help="T,C,Y,X: 4,12,256,256; or y=512,x=512.")] = (
        None
    )
    shards: Annotated[str | None, typer.Option(help="As --chunks, or none.")] = None

    def settings(self) -> dict[str, Any]:
        """Return what was given, as arguments of `tec_xarray.compress`."""
        found: dict[str, Any] = {}
        if self.chunks is not None:
            found["chunks"] = _sizes("--chunks", self.chunks)
        if self.shards is not None:
            none = self.shards.lower() in ("none", "no", "false")
            found["shards"] = False if none else _sizes("--shards", self.shards)
        return found


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where to run."""

    PANEL: ClassVar = "Running"

    workers: Annotated[int | None, typer.Option(min=1, help="Processes [none but this one].")] = (
        None
    )
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler.")] = None

    def connect(self) -> contextlib.AbstractContextManager[None]:
        """Connect for the time of a command."""
        return cluster(self.workers, self.scheduler)


@dataclass(frozen=True, kw_only=True)
class Running(Cluster):
    """Where and how to write blocks."""

    retries: Annotated[int, typer.Option(min=0, help="Tries after a failed one, a block.")] = 2
    resource: Annotated[
        list[str] | None, typer.Option(help="What a block needs of a worker: GPU=1.")
    ] = None
    device: Annotated[
        str | None, typer.Option(help="Where published models code blocks: cuda, cpu.")
    ] = None
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Chunks that go through a network together.")
    ] = None

    wait: Wait = WAIT
    break_lease: BreakLease = False

    def settings(self) -> dict[str, Any]:
        """Return arguments of `compress`, `resume` and `append`."""
        needs = dict(_resource(text) for text in self.resource or [])
        lease = {"wait": self.wait, "break_lease": self.break_lease}
        where = {"device": self.device, "batch_size": self.batch_size}
        run = {"retries": self.retries, "resources": needs or None, "progress": True}
        return {**run, **where, **lease}


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What to do about a store that may be there."""

    PANEL: ClassVar = "Store"

    group: Group = None
    resume: Annotated[bool, typer.Option("--resume", help="Finish what was interrupted.")] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False
    embed_weights: Annotated[
        bool, typer.Option("--embed-weights", help="Keep a copy of the weights in the store.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Search:
    """What to ask a catalog for."""

    PANEL: ClassVar = "Search"

    stac: Annotated[str, typer.Option(help="URL of a STAC API.")]
    bbox: Annotated[str, typer.Option(help="W,S,E,N in degrees.")]
    datetime: Annotated[str, typer.Option(help="2023-03/2023-10, or one date.")]
    collection: Annotated[str, typer.Option()] = "sentinel-2-l2a"
    query: Annotated[str | None, typer.Option(help='JSON: {"eo:cloud_cover": {"lt": 40}}')] = None
    bands: Bands = None
    resolution: Annotated[float, typer.Option(help="Of a pixel, in units of the CRS.")] = 10
    crs: Annotated[str | None, typer.Option(help="EPSG:32632, or utm [that of the items].")] = None
    harmonize: Annotated[str, typer.Option(help="auto, never or force.")] = "auto"
    sign: Annotated[str | None, typer.Option(help="planetary-computer")] = None
    on_bad_item: Annotated[str, typer.Option(help="raise, or skip (and say so).")] = "raise"
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A private host that items may name; repeatable.")
    ] = None
    allow_local: Annotated[
        bool, typer.Option("--allow-local", help="Let items of a catalog name local files.")
    ] = False

    def open(self) -> Any:
        """Ask; returns a lazy dataset."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        given |= {"bands": band_list(self.bands), "allow_hosts": given.pop("allow_host")}
        given["allow_local"] = given["allow_local"] or None
        return search(given.pop("stac"), **given)


def search(url: str, *, bbox: str, query: str | None, **given: Any) -> Any:
    """Open what a catalog has, from the words of a command line.

    Raises
    ------
    InvalidInput
        A bounding box or a query that cannot be read.
    """
    from tec_xarray.stac.load import open_stac

    try:
        corners = tuple(float(part) for part in bbox.split(","))
    except ValueError:
        corners = ()
    if len(corners) != 4:
        raise InvalidInput(f"--bbox {bbox}", allowed="four numbers: W,S,E,N in degrees")
    try:
        asked = None if query is None else json.loads(query)
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"--query {query}: {error}", allowed='JSON, such as {"eo:cloud_cover": {"lt": 40}}'
        ) from error
    return open_stac(url, bbox=corners, query=asked, **given)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Turn parameters that are groups into the options that they have as fields."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name in groups:
            parameters += _options(groups[parameter.name])
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hints[parameter.name], kind=kind))

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, kind in groups.items():
            own = {f.name: given.pop(f.name) for f in dataclasses.fields(kind)}
            given[name] = kind(**own)  # type: ignore[operator]
        command(**given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _options(kind: Any) -> Iterator[inspect.Parameter]:
    """Return the fields of a group as parameters, each with its place in ``--help``."""
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        value, option = get_args(hints[field.name])
        option = copy.copy(option)  # Group is an option of commands without groups, too
        option.rich_help_panel = kind.PANEL
        option.help = escape(option.help or "")  # defaults stand in brackets
        none = field.default is dataclasses.MISSING
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if none else field.default,
            annotation=Annotated[value, option],
        )


def _resource(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    try:
        return name, float(amount or 1)
    except ValueError as error:
        raise InvalidInput(f"--resource {text}", allowed="a name and a number: GPU=1") from error


def _nodata(text: str) -> float | int | str | None:
    """Read --nodata: a number, nan, auto or none."""
    if text.lower() in ("none", "nan", "auto"):
        return {"none": None, "nan": "NaN", "auto": "auto"}[text.lower()]
    try:
        value = float(text)
    except ValueError as error:
        raise InvalidInput(f"--nodata {text}", allowed="a number, nan, none or auto") from error
    return int(value) if value.is_integer() else value


def _sizes(flag: str, text: str) -> tuple[int, ...] | dict[str, int]:
    """Read four sizes, or some by the name of their dimension."""
    words = [word.strip() for word in text.split(",")]
    try:
        if "=" in text:
            return {name: int(size) for name, _, size in (w.partition("=") for w in words)}
        return tuple(int(word) for word in words)
    except ValueError as error:
        raise InvalidInput(
            f"{flag} {text}",
            allowed="whole numbers: T,C,Y,X (4,12,256,256), or by name (y=512,x=512)",
        ) from error

"""``tec weights``: which there are, fetch and import them, say what one is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tec_xarray.cli.common import error_exit, show
from tec_xarray.cli.options import SENSOR_NAMES, Group, Json

app = typer.Typer(help="List, fetch, import, describe and extract weights.", add_completion=False)

Lam = Annotated[float | None, typer.Option(help="One of the published rates (default: its own).")]
Sensor = Annotated[str, typer.Option(help=f"{SENSOR_NAMES}.")]
Nearest = Annotated[bool, typer.Option("--nearest", help="Take the nearest published rate.")]
LrOnly = Annotated[bool, typer.Option("--lr-only", help="FlexTEC for low rates only.")]
Every = Annotated[bool, typer.Option("--all", help="Every published rate.")]


@app.callback(invoke_without_command=True)
def weights(context: typer.Context, as_json: Json = False) -> None:
    """List, fetch, import and describe weights; without a command, list them."""
    if context.invoked_subcommand is None:
        everything(as_json)


@app.command("list")
def everything(as_json: Json = False) -> None:
    """List weights: what comes with the package, what is on this machine, what can be fetched."""
    with error_exit():
        from tec_numcodecs.weights.inventory import listed

        found = listed()
        lines = [f"{w['weights']:<22}{w['model']:<9}{w['id']}\n{'':<22}{w['where']}"
                 for w in found]  # fmt: skip
        show(found, as_json=as_json, text="\n".join(lines))


@app.command()
def fetch(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="fp, elic, tt or flextec.")],
    lam: Lam = None,
    sensor: Sensor = "sentinel-2-l2a",
    nearest: Nearest = False,
    lr_only: LrOnly = False,
    every: Every = False,
    as_json: Json = False,
) -> None:
    """Download a published checkpoint and freeze it, so that it can be used without a network."""
    with error_exit():
        from tec_numcodecs.weights.inventory import fetch as get

        found = get(model, lam, sensor=sensor, nearest=nearest, lr_only=lr_only, every=every)
        show(found, as_json=as_json, text="\n\n".join(_text(item) for item in found))


@app.command("import")
def take_in(
    path: Annotated[str, typer.Argument(metavar="FILE", help=".pt, .safetensors or frozen.")],
    model: Annotated[str | None, typer.Option(help="What it must be: fp, elic, ...")] = None,
    name: Annotated[str | None, typer.Option(help="How to call it (default: as the file).")] = None,
    as_json: Json = False,
) -> None:
    """Check a checkpoint that is here, freeze it and keep it where codecs find it."""
    with error_exit():
        from tec_numcodecs.weights.inventory import take_in as keep

        found = keep(path, model, name)
        show(found, as_json=as_json, text=_text(found))


@app.command()
def info(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="A file, an id, or a SHA-256.")],
    as_json: Json = False,
) -> None:
    """Say what weights are: architecture, sizes, digests."""
    with error_exit():
        from tec_numcodecs.weights.inventory import describe

        found = describe(what)
        show(found, as_json=as_json, text=_text(found))


@app.command()
def extract(
    store: Annotated[str, typer.Argument(metavar="STORE", help="An archive that holds a copy.")],
    directory: Annotated[str, typer.Option("--to", help="Where to write files [.].")] = ".",
    group: Group = None,
    as_json: Json = False,
) -> None:
    """Write the weights that an archive brings along to files, for TEC_WEIGHTS_DIR."""
    with error_exit():
        from tec_xarray.store.embedded_weights import extract as write

        found = [str(path) for path in write(store, directory, group=group)]
        show(found, as_json=as_json, text="\n".join(found))


def _text(found: Mapping[str, Any]) -> str:
    rows = [(key.replace("_", " "), value) for key, value in found.items() if value is not None]
    return "\n".join(f"{name:<15}{_value(value)}" for name, value in rows)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)

"""A STAC API and a file server on this machine, with the bundled scene behind them.

For demos, tests and first steps without a network: `serve_scene` writes the scene as
Cloud-Optimized GeoTIFFs and serves it the way catalogs on the internet do. Both servers are real
ones (stac-fastapi, Starlette; range requests, paging, conformance), on ports of their own choosing,
reachable from this machine only. They need the extra ``catalog``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tec_numcodecs.errors import InvalidInput
from tec_xarray.testing.catalog_scene import ACQUISITIONS, Acquisition, write_scene
from tec_xarray.testing.catalog_server import ITEMS

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Catalog:
    """A running catalog.

    Attributes
    ----------
    url : str
        The root of the STAC API.
    files_url : str
        Where the files are served.
    directory : pathlib.Path
        What the file server serves.
    """

    url: str
    files_url: str
    directory: Path

    @property
    def items(self) -> list[Json]:
        """What the API finds, as GeoJSON features."""
        items: list[Json] = json.loads((self.directory / ITEMS).read_text(encoding="utf-8"))
        return items

    def publish(self, items: Sequence[Json]) -> None:
        """Replace what the API finds."""
        fresh = self.directory / f"{ITEMS}.new"
        fresh.write_text(json.dumps(list(items)), encoding="utf-8")
        fresh.replace(self.directory / ITEMS)


@contextlib.contextmanager
def serve_scene(
    directory: str | Path,
    *,
    acquisitions: Sequence[Acquisition] = ACQUISITIONS,
    query: bool = True,
    page: int = 10,
    wrap: str = "",
) -> Iterator[Catalog]:
    """Serve the bundled scene as a STAC catalog while the context lasts.

    Parameters
    ----------
    directory : path
        Where the files are written; about 6 MB.
    acquisitions : sequence of Acquisition
        What the catalog holds. The scene itself has neither dates nor a place; both are made up.
    query : bool
        Whether the API has the query extension.
    page : int
        Items in a page, if the client does not say.
    wrap : str
        ``"module:function"`` that takes the file server's application and its directory and
        returns the application to run: tests make it fail there.

    Yields
    ------
    Catalog
        Its `url` is what ``tec_xarray.open_stac`` takes, with ``collection="sentinel-2-l2a"``.

    Raises
    ------
    InvalidInput
        The servers are not installed, or do not start.
    """
    directory = Path(directory)
    with serve(directory, query=query, page=page, wrap=wrap) as catalog:
        catalog.publish(write_scene(directory, catalog.files_url, acquisitions))
        yield catalog


@contextlib.contextmanager
def serve(
    directory: Path, *, query: bool = True, page: int = 10, wrap: str = ""
) -> Iterator[Catalog]:
    """Serve a directory and an empty catalog while the context lasts; see `serve_scene`."""
    missing = [m for m in ("stac_fastapi", "uvicorn") if importlib.util.find_spec(m) is None]
    if missing:
        raise InvalidInput(
            f"not installed: {', '.join(missing)}",
            allowed="stac-fastapi-api, stac-fastapi-extensions, uvicorn",
            fix="pip install 'tec-xarray[catalog]'",
        )
    directory.mkdir(parents=True, exist_ok=True)
    options = ["--page", str(page), *(["--wrap", wrap] if wrap else [])]
    command = [sys.executable, "-m", "tec_xarray.testing.catalog_server", str(directory), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(  # noqa: S603
        command if query else [*command, "--no-query"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise InvalidInput("the loopback servers did not start", fix="see their output")
            api, files = json.loads(line)
            yield Catalog(api, files, directory)
        finally:
            if process.stdin is not None:
                process.stdin.close()  # what they stop at
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

"""The servers behind `catalog`: ``python -m tec_xarray.testing.catalog_server DIRECTORY``.

They run in a process of their own, because GDAL opens a file without letting go of the
interpreter: a server in a thread of the same process could never answer it. The process says
where it listens in a line of JSON, and ends when its standard input does, so it cannot be left
behind.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import operator
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tec_xarray.testing.catalog_scene import COLLECTION

if TYPE_CHECKING:
    from datetime import datetime as DateTime

Json: TypeAlias = dict[str, Any]
App: TypeAlias = Callable[..., Any]  # an ASGI application

ITEMS = "items.json"  # in the served directory: what the API finds

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": lambda value, allowed: value in allowed,
}


def main(arguments: list[str] | None = None) -> int:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m tec_xarray.testing.catalog_server")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--page", type=int, default=10)
    parser.add_argument("--no-query", action="store_true")
    parser.add_argument("--wrap", default="", metavar="MODULE:FUNCTION")
    given = parser.parse_args(arguments)
    logging.getLogger("stac_fastapi").setLevel(logging.ERROR)
    files = file_app(given.directory)
    if given.wrap:
        module, name = given.wrap.split(":")
        files = getattr(importlib.import_module(module), name)(files, given.directory)
    api = stac_app(given.directory / ITEMS, query=not given.no_query, page=given.page)
    asyncio.run(_serve(api, files))
    return 0


async def _serve(*apps: App) -> None:
    """Run each application on a free port of the loopback interface."""
    import uvicorn

    servers, listeners = [], []
    for app in apps:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        settings = uvicorn.Config(
            app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1
        )
        listeners.append(listener)
        servers.append(uvicorn.Server(settings))

    def stop() -> None:
        sys.stdin.read()
        for server in servers:
            server.should_exit = True

    threading.Thread(target=stop, daemon=True).start()
    running = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, listener in zip(servers, listeners, strict=True)
    ]
    while not all(server.started for server in servers):  # noqa: ASYNC110  no event to wait for
        await asyncio.sleep(0.01)
    urls = [f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
    sys.stdout.write(json.dumps(urls) + "\n")
    sys.stdout.flush()
    await asyncio.gather(*running)


def file_app(directory: Path) -> App:
    """Return an application that serves a directory, with range requests."""
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    return Starlette(routes=[Mount("/", StaticFiles(directory=directory))])


def stac_app(items: Path, *, query: bool = True, page: int = 10) -> App:
    """Return a STAC API over a file of items, which may change while it runs."""
    from stac_fastapi.api.app import StacApi
    from stac_fastapi.api.models import create_get_request_model, create_post_request_model
    from stac_fastapi.extensions.pagination import TokenPaginationExtension
    from stac_fastapi.types.config import ApiSettings

    extensions: list[Any] = [TokenPaginationExtension()]
    if query:
        from stac_fastapi.extensions.query import QueryExtension

        extensions.append(QueryExtension())
    post = create_post_request_model(extensions)
    api = StacApi(
        settings=ApiSettings(
            stac_fastapi_title="tec-xarray on loopback",
            stac_fastapi_description=COLLECTION["description"],
            stac_fastapi_landing_id="tec-loopback",
            stac_fastapi_version="1",
        ),
        client=_client(items, page, query=query),
        extensions=extensions,
        search_get_request_model=create_get_request_model(extensions),
        search_post_request_model=post,
    )
    app: App = api.app
    return app


def _client(file: Path, page: int, *, query: bool) -> Any:
    """Return what answers the API's requests from a file."""
    from stac_fastapi.types.core import BaseCoreClient
    from stac_fastapi.types.errors import NotFoundError

    def find(asked: Json) -> Any:
        wanted = asked if query else {**asked, "query": None}
        return _page([item for item in _read(file) if _matches(item, wanted)], asked, page)

    class Client(BaseCoreClient):
        def all_collections(self, **_: Any) -> Any:
            return {"collections": [COLLECTION], "links": []}

        def get_collection(self, collection_id: str, **_: Any) -> Any:
            if collection_id != COLLECTION["id"]:
                raise NotFoundError(f"no collection {collection_id}")
            return COLLECTION

        def get_item(self, item_id: str, collection_id: str, **_: Any) -> Any:
            for item in _read(file):
                if (item["id"], item["collection"]) == (item_id, collection_id):
                    return item
            raise NotFoundError(f"no item {item_id}")

        def item_collection(  # type: ignore[override]
            self, collection_id: str, **given: Any
        ) -> Any:
            return find({**given, "collections": [collection_id]})

        def get_search(self, **given: Any) -> Any:  # type: ignore[override]
            return find(given)

        def post_search(self, search_request: Any, **given: Any) -> Any:
            asked = search_request.model_dump()
            asked["datetime"] = _interval(search_request)
            return find({**asked, "request": given.get("request")})

    return Client()


def _page(found: list[Json], asked: Json, page: int) -> Json:
    """Return one page of what was found, and a link to the next."""
    start, size = int(asked.get("token") or 0), int(asked.get("limit") or page)
    links = []
    if start + size < len(found):
        url = str(asked["request"].url).split("?")[0]
        body = {"token": str(start + size)}
        link = {"rel": "next", "href": url, "method": "POST", "merge": True, "body": body}
        links.append(link)
    return {
        "type": "FeatureCollection",
        "features": found[start : start + size],
        "links": links,
        "numberMatched": len(found),
        "numberReturned": len(found[start : start + size]),
    }


def _interval(request: Any) -> tuple[DateTime | None, DateTime | None] | None:
    if request.datetime is None:
        return None
    start, end = request.start_date, request.end_date
    return None if start is None and end is None else (start, end or start)


def _matches(item: Json, asked: Json) -> bool:
    """Tell whether an item is what a search asks for."""
    if asked.get("collections") and item["collection"] not in asked["collections"]:
        return False
    if asked.get("ids") and item["id"] not in asked["ids"]:
        return False
    if not (_is_there(item, asked) and _is_then(item, asked.get("datetime"))):
        return False
    for name, tests in (asked.get("query") or {}).items():
        value = item["properties"].get(name)
        if value is None or not all(_OPERATORS[op](value, arg) for op, arg in tests.items()):
            return False
    return True


def _is_there(item: Json, asked: Json) -> bool:
    from shapely.geometry import box, shape

    here = shape(item["geometry"])
    if asked.get("bbox") and not box(*asked["bbox"]).intersects(here):
        return False
    area = asked.get("intersects")
    return area is None or bool(shape(area).intersects(here))


def _is_then(item: Json, interval: tuple[DateTime | None, DateTime | None] | None) -> bool:
    from datetime import datetime

    start, end = interval or (None, None)
    when = datetime.fromisoformat(item["properties"]["datetime"])
    return (start is None or when >= start) and (end is None or when <= end)


def _read(file: Path) -> list[Json]:
    items: list[Json] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return items


if __name__ == "__main__":
    raise SystemExit(main())

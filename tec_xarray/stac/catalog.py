"""Page by page through a STAC API, to an end: servers repeat pages, and name other servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pystac
import pystac_client
import requests
from pystac_client.stac_api_io import StacApiIO

from tec_numcodecs.arguments import shown
from tec_numcodecs.errors import InvalidInput, TecError
from tec_xarray.stac.errors import SourceError
from tec_xarray.stac.links import LinkPolicy, is_web

MOST_PAGES = 1000
PAGE = 100  # items that are asked for at once


def read_features(
    search: pystac_client.ItemSearch, policy: LinkPolicy, *, most_pages: int = MOST_PAGES
) -> Iterator[Any]:
    """Yield the items of a search as the server gave them, whatever they are.

    Parameters
    ----------
    search : pystac_client.ItemSearch
    policy : LinkPolicy
        Which servers the catalog may send its readers to.
    most_pages : int
        How many pages are read at most.

    Raises
    ------
    SourceError
        The server answers with something else, with the same items again, or without end.
    InvalidInput
        It sends its readers to a server that is not allowed.
    """
    # pystac-client's own loop follows any link, into local files, too, and for ever.
    connection = search._stac_io  # noqa: SLF001
    modifier = search.modifier
    most = search._max_items  # noqa: SLF001
    parameters = search.get_parameters()
    _check_link(connection, search.url, search.url, policy)
    page = connection.read_json(search.url, method=search.method, parameters=parameters)
    seen: set[str] = set()
    count = 0
    for number in range(1, most_pages + 1):
        features = _features_of(page)
        if not features:
            return
        names = {_name(item) for item in features}
        if not names - seen:
            if _is_all(page, len(seen)):
                return
            raise SourceError(
                f"page {number} of {shown(search.url)} has no item that earlier pages had not",
                allowed="a catalog whose pages go on",
                fix="pass max_items=, or a narrower search that fits on one page",
            )
        seen |= names
        if modifier is not None:
            modifier(page)
        for item in features:
            yield item
            count += 1
            if count == most:
                return
        following = _next_link(page)
        if following is None:
            return
        if number < most_pages:
            _check_link(connection, following.href, search.url, policy)
            page = connection.read_json(following, parameters=parameters)
    raise SourceError(
        f"{shown(search.url)} has more than {most_pages} pages",
        allowed=f"up to {most_pages} pages",
        fix="pass max_items=, or search for a smaller place or a shorter time",
    )


def _features_of(page: Any) -> list[Any]:
    features = page.get("features") if isinstance(page, dict) else None
    if not isinstance(features, list):
        raise SourceError(
            f"a page of items with features = {shown(features)}", allowed="a feature collection"
        )
    return features


def _name(item: Any) -> str:
    if isinstance(item, dict) and isinstance(item.get("id"), str):
        return f"{shown(item.get('collection'))} {item['id']}"
    return shown(item)


def _is_all(page: dict[str, Any], count: int) -> bool:
    """Tell whether the server says that there are no more items than these."""
    context = page.get("context")
    matched = page.get("numberMatched")
    if matched is None and isinstance(context, dict):
        matched = context.get("matched")
    return isinstance(matched, int) and count >= matched


def _next_link(page: dict[str, Any]) -> pystac.Link | None:
    links = page.get("links") or []
    if not isinstance(links, list):
        raise SourceError(f"a page of items with links = {shown(links)}", allowed="a list")
    for link in links:
        if isinstance(link, dict) and link.get("rel") == "next":
            if not isinstance(link.get("href"), str):
                raise SourceError(f"a next page at {shown(link.get('href'))}", allowed="a URL")
            return pystac.Link.from_dict(link)
    return None


def _check_link(connection: StacApiIO, url: str, catalog: str, policy: LinkPolicy) -> None:
    """Refuse to go on to a file, to a server that is not allowed, or there with credentials."""
    if not is_web(url):
        raise InvalidInput(
            f"a catalog that goes on at {shown(url)}", allowed="pages on web servers"
        )
    policy.check_address(_without_user(url))
    there, here = (urlsplit(link).hostname for link in (url, catalog))
    declared = there is not None and there in policy.hosts
    if there != here and not declared and _has_credentials(connection.session):
        raise InvalidInput(
            f"a catalog that goes on at {shown(there)}, which would get the client's headers",
            allowed="pages on the catalog's own host",
            fix=f"if it is meant, pass allow_hosts=[{shown(there)}]",
        )


def _without_user(url: str) -> str:
    """Return a URL without the user info that its user may have passed."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _has_credentials(session: requests.Session) -> bool:
    own = {name.lower() for name in session.headers}
    return bool(
        own - {name.lower() for name in requests.utils.default_headers()}
        or session.auth
        or session.cookies
        or session.params
    )


def read_file(path: str) -> Any:
    """Read a STAC item or a feature collection from a file of this machine.

    Raises
    ------
    InvalidInput
        There is no such file, or it is none.
    """
    try:
        read = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(
            f"{shown(path)}: {error.strerror}",
            allowed="the URL of a STAC API, a file of items, or items",
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{shown(path)} is no JSON: {shown(error)}", allowed="a STAC feature collection"
        ) from error
    if not isinstance(read, dict) or read.get("type") not in ("Feature", "FeatureCollection"):
        raise InvalidInput(
            f"{shown(path)} is neither an item nor a feature collection",
            allowed="items",
            fix="pass the items of a catalog: "
            "open_stac(list(pystac.Catalog.from_file(path).get_items(recursive=True)))",
        )
    return read


def as_source_error(error: Exception, source: object) -> TecError:
    """Return what a client raised as our error: it raises anything for odd answers."""
    if isinstance(error, TecError):
        return error
    return SourceError(
        f"{source!s:.200}: {type(error).__name__}: {error!s:.500}",
        allowed="a STAC API that answers",
        fix="check the address and the search, or try again later",
    )

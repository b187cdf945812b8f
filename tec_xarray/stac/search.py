"""From a catalog, or whatever holds items, to a list of items that are what was asked for.

Servers are not trusted to filter: some ignore what they do not know, and answer with everything.
What was asked is asked of the items once more.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pystac
import pystac_client

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.redaction import for_message, redact, shorten
from tec_xarray.stac.catalog import PAGE, as_source_error, read_features, read_file
from tec_xarray.stac.errors import CatalogWarning
from tec_xarray.stac.links import LinkPolicy, is_web
from tec_xarray.stac.parse import blame_item, name_of, parse_item, when_taken
from tec_xarray.stac.wanted import Wanted, asked, check_wanted, matches

# Links of an item that lead to where it came from.
_ORIGINS = ("self", "root", "parent", "collection", "canonical")


@dataclass(frozen=True)
class Candidate:
    """An item that was found, and what its links may name."""

    item: pystac.Item
    policy: LinkPolicy


@dataclass
class Found:
    """What a search gave.

    Attributes
    ----------
    candidates : list of Candidate
        In order of time and name, each item once.
    wrong : list of str
        What is wrong with items that are malformed, by name.
    """

    candidates: list[Candidate] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def find_items(
    source: Any,
    wanted: Wanted,
    *,
    timeout: float,
    allow_hosts: tuple[str, ...] = (),
    allow_local: bool | None = None,
) -> Found:
    """Find items, and tell malformed ones apart.

    Raises
    ------
    InvalidInput
        Nothing was found, or `source` holds no items.
    SourceError
        The catalog cannot be reached, answers with an error, or without end.
    """
    check_wanted(wanted)
    found, where = _open(source, wanted, timeout, allow_hosts, allow_local)
    kept: dict[tuple[str | None, str], Candidate] = {}
    wrong: dict[str, None] = {}
    seen = 0
    # Page by page: a catalog may have millions of items, and max_items be 5.
    for raw, policy in found:
        seen += 1
        try:
            item = parse_item(raw)
            with blame_item():
                fits = matches(item, wanted)
        except InvalidInput as error:
            wrong[f"{name_of(raw)}: {error.found}"] = None
            continue
        if fits:
            kept.setdefault((item.collection_id, item.id), Candidate(item, policy))
            if len(kept) == wanted.max_items:
                break
    candidates = sorted(kept.values(), key=lambda c: (when_taken(c.item), c.item.id))
    if not candidates and not wrong:
        raise InvalidInput(
            f"no items in {where} for {asked(wanted)} ({seen} before filtering)",
            allowed="a search that finds something",
            fix="widen it; see the catalog's collections and dates",
        )
    return Found(candidates, list(wrong))


def _open(
    source: Any,
    wanted: Wanted,
    timeout: float,
    hosts: tuple[str, ...],
    local: bool | None,
) -> tuple[Iterator[tuple[Any, LinkPolicy]], str]:
    """Return items as they are, each with what its links may name, and what to call the source."""
    if isinstance(source, str | pystac_client.Client | pystac_client.ItemSearch) and not (
        isinstance(source, str) and not is_web(source)
    ):
        return _search(source, wanted, timeout, hosts, local=bool(local)), source_name(source)
    if isinstance(source, str | os.PathLike):
        # Whoever keeps a file of items on this machine may keep the files there, too.
        path = os.fspath(source)
        policy = LinkPolicy.of_own(hosts, local=local is not False)
        items = (_beside(path, raw) for raw in _items(read_file(path)))
        return ((raw, policy) for raw in items), str(path)
    own = ((raw, _policy_of(raw, hosts, local)) for raw in _items(source))
    return own, f"{type(source).__name__} of items"


def _policy_of(raw: Any, hosts: tuple[str, ...], local: bool | None) -> LinkPolicy:
    """Return what the links of an item may name that a caller holds in memory.

    An item that came over the network says so in its links, as far as it is honest; its servers
    are known only if the client is there that read it. Without such links it is the caller's own.
    """
    if isinstance(raw, pystac.Item):
        root = raw.get_root()
        if isinstance(root, pystac_client.Client) and is_web(root.get_self_href()):
            return LinkPolicy.of_catalog(str(root.get_self_href()), hosts, local=bool(local))
        links: Iterable[Any] = [(link.rel, _href(link)) for link in raw.links]
    else:
        given = raw.get("links") if isinstance(raw, Mapping) else None
        links = [
            (link.get("rel"), link.get("href"))
            for link in (given if isinstance(given, list) else ())
            if isinstance(link, Mapping)
        ]
    remote = any(rel in _ORIGINS and is_web(href) for rel, href in links)
    if remote:
        return LinkPolicy(bool(local), hosts)
    return LinkPolicy.of_own(hosts, local=local is not False)


def _href(link: pystac.Link) -> Any:
    target = link.target
    return target if isinstance(target, str) else getattr(target, "self_href", None)


def _beside(path: str, raw: Any) -> Any:
    """Let relative links of an item begin in the folder of the file that holds it."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("links") or [], list):
        return raw
    links = [
        link for link in raw.get("links") or []
        if not (isinstance(link, Mapping) and link.get("rel") == "self")
    ]  # fmt: skip
    here = {"rel": "self", "href": os.path.abspath(os.path.expanduser(path))}  # noqa: PTH100, PTH111
    return {**raw, "links": [*links, here]}


def _search(
    source: str | pystac_client.Client | pystac_client.ItemSearch,
    wanted: Wanted,
    timeout: float,
    hosts: tuple[str, ...],
    *,
    local: bool,
) -> Iterator[tuple[Any, LinkPolicy]]:
    """Ask a STAC API, and go on asking for pages while items are taken."""
    try:
        if isinstance(source, pystac_client.ItemSearch):
            search, url = source, _catalog_url(source)
        else:
            client = (
                pystac_client.Client.open(source, timeout=timeout)
                if isinstance(source, str)
                else source
            )
            url = source if isinstance(source, str) else str(client.get_self_href())
            search = _search_of(client, source, wanted)
        policy = LinkPolicy.of_catalog(url, hosts, local=local)
        # Only we know how many are left after our own filter: no max_items here.
        for raw in read_features(search, policy):
            yield raw, policy
    except Exception as error:  # clients raise anything for what they did not expect
        raise as_source_error(error, source_name(source)) from error


def _search_of(client: pystac_client.Client, source: Any, wanted: Wanted) -> Any:
    """Make the search, with as much of what is wanted as the server knows."""
    if not client.conforms_to("ITEM_SEARCH"):
        raise InvalidInput(
            f"{source_name(source)} is a catalog without search",
            allowed="a STAC API, or items",
            fix="pass the items: open_stac(list(catalog.get_items(recursive=True)), ...)",
        )
    query = dict(wanted.query) if wanted.query else None
    if query and not client.conforms_to("QUERY"):
        warnings.warn(
            for_message(
                f"{source_name(source)} does not know `query`: it is asked for all items, which "
                "are filtered here"
            ),
            CatalogWarning,
            stacklevel=6,
        )
        query = None
    return client.search(
        collections=None if wanted.collection is None else [wanted.collection],
        bbox=wanted.bbox,
        intersects=wanted.geometry,
        datetime=wanted.datetime,
        query=query,
        limit=PAGE,
    )


def _catalog_url(search: pystac_client.ItemSearch) -> str:
    """Return which catalog a search asks: the one that the user named, if that is known."""
    url = None if search.client is None else search.client.get_self_href()
    return str(url) if is_web(url) else search.url


def source_name(source: Any) -> str:
    """Return what a source is called in messages and attributes: without secrets."""
    if isinstance(source, str | os.PathLike):
        return shorten(redact(os.fspath(source)), 200)
    link = getattr(source, "self_href", None) or getattr(source, "url", None)
    return shorten(redact(str(link)), 200) if link else f"{type(source).__name__} of items"


def _items(source: Any) -> Iterator[Any]:
    """Yield what may be items out of what may hold them."""
    if isinstance(source, pystac.Item):
        yield source
        return
    if isinstance(source, Mapping):
        whole_collection = source.get("type") == "FeatureCollection"
        source = source.get("features") if whole_collection else [source]
    if not isinstance(source, Iterable) or getattr(source, "ndim", 1) == 0:
        raise InvalidInput(
            f"{type(source).__name__}", allowed="the URL of a STAC API, or items", fix="pass a list"
        )
    yield from source

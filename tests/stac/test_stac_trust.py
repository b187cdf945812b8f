"""Catalogs that mean harm, or are broken: what their items may name, and where their pages end."""

from __future__ import annotations

import copy
import json
import math
import random
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pystac
import pystac_client
import pytest
import rasterio
from rasterio.transform import from_origin

import tec_xarray
from loopback import no_proxy
from stac_mutations import mutate
from tec_numcodecs.errors import InvalidInput, TecError
from tec_xarray.stac import catalog as pages
from tec_xarray.stac import links, open_stac
from tec_xarray.stac.errors import CatalogWarning, SourceError
from tec_xarray.stac.links import LinkPolicy
from tec_xarray.testing.catalog import serve

SECRET = 4242
GIVEN = {
    "sensor": "sentinel-2-l2a", "resolution": 10, "crs": "EPSG:32632", "bands": ["B02"],
    "attempts": 1, "timeout": 3,
}  # fmt: skip
SQUARE = [[10.3, 46.0], [10.32, 46.0], [10.32, 46.06], [10.3, 46.06], [10.3, 46.0]]


@pytest.fixture(scope="module", autouse=True)
def _no_proxy():
    with no_proxy():
        yield


def write(path, value, size=64, **tags):
    with rasterio.open(
        path, "w", driver="GTiff", height=size, width=size, count=1, dtype="uint16",
        crs="EPSG:32632", transform=from_origin(600000, 5100000, 640 / size, 640 / size), nodata=0,
    ) as file:  # fmt: skip
        file.write(np.full((1, size, size), value, "uint16"))
        for name, values in tags.items():
            file.update_tags(ns=name, **values)
    return str(path)


def make_item(href, name="S2A_1", **asset):
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "sentinel-2-l2a",
        "links": [], "geometry": {"type": "Polygon", "coordinates": [SQUARE]},
        "bbox": [10.3, 46.0, 10.32, 46.06],
        "properties": {"datetime": "2023-06-01T10:00:00Z", "proj:code": "EPSG:32632",
                       "s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True},
        "assets": {"B02": {"href": str(href), "type": "image/tiff", "proj:shape": [64, 64],
                           "proj:transform": [10, 0, 600000, 0, -10, 5100000], **asset}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A catalog and its files, in a process of its own."""
    with serve(tmp_path_factory.mktemp("served")) as running:
        write(running.directory / "good.tif", 1200)
        yield running


@pytest.fixture
def secret(tmp_path):
    return write(tmp_path / "secret.tif", SECRET)


class Api:
    """A STAC API in a thread: pages are what a function makes of the number of the request."""

    def __init__(self, page, **landing):
        outer = self
        self.requests = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.rfile.read(int(self.headers.get("content-length") or 0))
                if "/search" in self.path:
                    outer.requests.append(self.path)
                    answer = page(len(outer.requests), outer.url)
                else:
                    answer = outer.landing(landing)
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.named = f"http://localhost:{self.server.server_port}"

    def landing(self, more):
        rels = {"self": f"{self.url}/", "root": f"{self.url}/", "search": f"{self.url}/search"}
        return {
            "type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "d",
            "conformsTo": ["https://api.stacspec.org/v1.0.0/core",
                           "https://api.stacspec.org/v1.0.0/item-search"],
            "links": [{"rel": rel, "href": href} for rel, href in {**rels, **more}.items()],
        }  # fmt: skip

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def page_of(items, following=None, **more):
    links_ = [{"rel": "next", "href": following}] if following else []
    return {"type": "FeatureCollection", "features": items, "links": links_, **more}


def load(dataset):
    return dataset.compute(scheduler="synchronous")


# -- what an item of a catalog may name -------------------------------------------------------


def vrt_of(path):
    return (
        '<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32632</SRS>'
        "<GeoTransform>600000,10,0,5100000,0,-10</GeoTransform>"
        '<VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f"<SourceFilename>{path}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )


INDIRECT = {
    "path": "{0}", "file": "file://{0}", "file of localhost": "file://localhost{0}",
    "FILE": "FILE://{0}", "file+": "file+http://{0}", "vrt scheme": "vrt://{0}",
    "raw": "GTIFF_RAW:{0}", "directory": "GTIFF_DIR:1:{0}",
    "derived": "DERIVED_SUBDATASET:AMPLITUDE:{0}", "subfile": "/vsisubfile/0_100000,{0}",
    "cache": "/vsicached?file={0}", "curl": "/vsicurl/file://{0}", "curl?": "/vsicurl?url={0}",
    "zip": "zip://{0}!a.tif", "zip over http": "zip+https://example.com/a.zip!b.tif",
    "tar": "/vsitar/{0}", "memory": "/vsimem/a.tif", "netcdf": 'NETCDF:"{0}":B02',
    "service": "WMS:http://example.com/", "xml": "<GDAL_WMS></GDAL_WMS>",
    "relative": "../secret.tif",
    "ftp": "ftp://example.com/a.tif", "empty": "", "space": " {0}", "json": '{{"type": "gdal"}}',
}  # fmt: skip


@pytest.mark.parametrize("kind", INDIRECT)
def test_an_item_of_a_catalog_cannot_name_files_of_this_machine(served, secret, kind):
    bad = make_item(INDIRECT[kind].format(secret))
    served.publish([bad, make_item(f"{served.files_url}/good.tif", "S2A_2")])
    client = pystac_client.Client.open(served.url)
    search = client.search(limit=10)
    for source in (served.url, client, search, list(search.items()), search.item_collection()):
        with pytest.raises(InvalidInput, match="1 of 2 items cannot be used: S2A_1: a link to"):
            open_stac(source, **GIVEN)
    with pytest.warns(CatalogWarning, match="left out 1 of 2 items: S2A_1"):
        rest = open_stac(served.url, on_bad_item="skip", **GIVEN)
    assert np.unique(load(rest).B02).tolist() == [1200]


def test_a_vrt_is_never_opened_for_a_catalog(served, secret):
    """As text, and as a file of the catalog, whatever its name and type say."""
    served.publish([make_item(vrt_of(secret))])
    with pytest.raises(InvalidInput, match=r"a link to"):
        open_stac(served.url, **GIVEN)
    for name in ("a.vrt", "a.tif", "a.jp2"):
        (served.directory / name).write_text(vrt_of(secret))
        served.publish([make_item(f"{served.files_url}/{name}", type="application/x-vrt")])
        with pytest.raises(SourceError, match="cannot read"):
            load(open_stac(served.url, **GIVEN))
        (served.directory / name).unlink()


def test_a_geotiff_cannot_name_other_files_as_its_overviews(served, tmp_path):
    """Its metadata can, and GDAL opens them: pixels of this machine at half the resolution."""
    overview = write(tmp_path / "overview.tif", SECRET, size=32)
    path = served.directory / "overviews.tif"
    write(path, 1200, OVERVIEWS={"OVERVIEW_FILE": overview})
    with rasterio.open(path) as file:
        assert file.read(1, out_shape=(32, 32)).max() == SECRET  # what it is about
    served.publish([make_item(f"{served.files_url}/overviews.tif")])
    coarse = open_stac(served.url, **{**GIVEN, "resolution": 20})
    with pytest.raises(InvalidInput, match=r"S2A_1.*names other files"):
        load(coarse)


def test_files_of_this_machine_are_read_where_they_are_the_callers_own(served, secret, tmp_path):
    item = make_item(secret)
    collection = tmp_path / "items.json"
    collection.write_text(json.dumps(page_of([make_item("secret.tif")])))
    local = pystac.Item.from_dict(make_item("secret.tif"))
    local.set_self_href(str(tmp_path / "item.json"))
    for source in (item, [item], page_of([item]), str(collection), collection, [local]):
        assert load(open_stac(source, **GIVEN)).B02.values.max() == SECRET
        with pytest.raises(InvalidInput, match="allow_local=True"):
            open_stac(source, allow_local=False, **GIVEN)
    served.publish([item])
    assert load(open_stac(served.url, allow_local=True, **GIVEN)).B02.values.max() == SECRET


def test_items_that_say_that_they_came_over_the_network_are_treated_so(secret):
    item = make_item(f"file://{secret}")
    item["links"] = [{"rel": "self", "href": "https://example.com/items/1"}]
    for source in (item, pystac.Item.from_dict(item)):
        with pytest.raises(InvalidInput, match="allow_local=True"):
            open_stac([source], **GIVEN)


PUBLIC = LinkPolicy.of_catalog("https://93.184.216.34/stac", (), local=False)
NEAR = LinkPolicy.of_catalog("http://10.1.2.3/stac", ("minio.lan", "*.example.org"), local=False)
HERE = LinkPolicy.of_catalog("http://127.0.0.1:8080/", (), local=False)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("sentinel-cogs.s3.us-west-2.amazonaws.com", (True, True, True)),
        ("8.8.8.8", (True, True, True)),
        ("127.0.0.1", (False, False, True)),
        ("127.1", (False, False, True)),
        ("0x7f.1", (False, False, True)),
        ("2130706433", (False, False, True)),
        ("0.0.0.0", (False, False, True)),
        ("[::1]", (False, False, True)),
        ("[::ffff:127.0.0.1]", (False, False, True)),
        ("localhost", (False, False, True)),
        ("LOCALHOST.", (False, False, True)),
        ("a.localhost", (False, False, True)),
        ("10.0.0.1", (False, True, True)),
        ("10.0.0.1:9000", (False, True, True)),
        ("192.168.1.1", (False, True, True)),
        ("[fd00::1]", (False, True, True)),
        ("100.64.0.1", (False, True, True)),
        ("minio", (False, True, True)),
        ("metadata.google.internal", (False, True, True)),
        ("169.254.169.254", (False, False, False)),
        ("[fe80::1]", (False, False, False)),
        ("[64:ff9b::a9fe:a9fe]", (False, False, False)),
        ("user:pw@8.8.8.8", (False, False, False)),
        ("8.8.8.8:99999", (False, False, False)),
        ("8.8.8.8\\@127.0.0.1", (False, False, False)),
        ("%31%32%37.0.0.1", (False, False, False)),
        ("", (False, False, False)),
    ],
)
def test_hosts_of_this_machine_and_network_need_a_catalog_there(host, allowed):
    for policy, fine in zip((PUBLIC, NEAR, HERE), allowed, strict=True):
        try:
            policy.check(f"https://{host}/a.tif")
        except InvalidInput:
            assert not fine
        else:
            assert fine


def test_hosts_may_be_named(monkeypatch):
    NEAR.check("https://minio.lan:9000/a.tif")
    NEAR.check("https://deep.example.org/a.tif")
    for policy in (PUBLIC, NEAR):
        policy.check("s3://bucket/a.tif")
    named = links.declared_hosts(["http://169.254.169.254:80", "Minio.lan"])
    assert named == ("169.254.169.254", "minio.lan")
    LinkPolicy.of_catalog("https://8.8.8.8", named, local=False).check("http://169.254.169.254/a")
    for wrong in (5, [5], ["a/b"], [""], ["http://[::1"]):
        with pytest.raises(InvalidInput):
            links.declared_hosts(wrong)


def test_a_public_name_of_a_private_address_is_seen_through(monkeypatch):
    monkeypatch.setattr(links.urllib.request, "getproxies", dict)
    answers = [(2, 1, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(links.socket, "getaddrinfo", lambda *_, **__: answers)
    links._looked_up.cache_clear()
    PUBLIC.check("https://rebound.example.com/a.tif")
    with pytest.raises(InvalidInput, match="a loopback address"):
        PUBLIC.check_address("https://rebound.example.com/a.tif")
    links._looked_up.cache_clear()


def test_what_a_signature_makes_of_a_link_is_checked_too(served, secret):
    served.publish([make_item("private://good.tif")])
    with pytest.raises(InvalidInput, match=r"a link to"):
        open_stac(served.url, **GIVEN)
    with pytest.raises(InvalidInput, match=r"S2A_1.*a link to.*allow_local"):
        load(open_stac(served.url, sign=lambda _: secret, **GIVEN))
    url = f"{served.files_url}/good.tif?sig=1"
    assert load(open_stac(served.url, sign=lambda _: url, **GIVEN)).B02.values.max() == 1200


# -- pages ------------------------------------------------------------------------------------


def numbered(number):
    return make_item("https://example.com/a.tif", f"S2A_{number}")


def test_the_same_page_again_is_an_end(tmp_path):
    with Api(lambda k, url: page_of([numbered(1)], f"{url}/search?page={k}")) as api:
        with pytest.raises(SourceError, match=r"page 2 .*no item that earlier pages had not"):
            open_stac(api.url, **GIVEN)
        assert len(api.requests) == 2
        assert open_stac(api.url, max_items=1, **GIVEN).sizes["time"] == 1
    full = lambda k, url: page_of([numbered(1)], f"{url}/search?page={k}", numberMatched=1)  # noqa: E731
    with Api(full) as api:
        assert open_stac(api.url, **GIVEN).sizes["time"] == 1


def test_pages_without_end_have_one(monkeypatch):
    monkeypatch.setattr(pages, "MOST_PAGES", 7)
    monkeypatch.setattr(pages.read_features, "__kwdefaults__", {"most_pages": 7})
    with Api(lambda k, url: page_of([numbered(k)], f"{url}/search?page={k}")) as api:
        with pytest.raises(SourceError, match="more than 7 pages"):
            open_stac(api.url, **GIVEN)
        assert len(api.requests) == 7
        assert open_stac(api.url, max_items=5, **GIVEN).sizes["time"] == 1


def test_a_catalog_cannot_go_on_in_a_file_or_elsewhere(tmp_path):
    held = tmp_path / "page.json"
    held.write_text(json.dumps(page_of([numbered(2)])))
    for following in (str(held), f"file://{held}", "http://169.254.169.254/latest", 5, "https://"):
        with (
            Api(lambda *_, f=following: page_of([numbered(1)], f)) as api,
            pytest.raises(TecError),
        ):
            open_stac(api.url, **GIVEN)
    for target in (str(held), "http://169.254.169.254/search"):
        with Api(lambda *_: page_of([]), search=target) as api, pytest.raises(TecError):
            open_stac(api.url, **GIVEN)


def test_headers_of_a_client_stay_with_its_catalog():
    with (
        Api(lambda *_: page_of([numbered(2)])) as other,
        Api(lambda *_: page_of([numbered(1)], f"{other.named}/search")) as api,
    ):
        client = pystac_client.Client.open(api.url, headers={"Authorization": "Bearer abc"})
        with pytest.raises(InvalidInput, match="would get the client's headers"):
            open_stac(client, **GIVEN)
        assert not other.requests


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"null", b"{", b"[" * 100_000, b'{"features": 5}', b'{"features": {"a": 1}}',
     b'{"features": [5]}', b'{"features": [null], "links": [{"rel": "next"}]}',
     b'{"features": [{}], "links": 7}', b'{"features": [' + b"1" * 6000 + b"]}"],
)  # fmt: skip
def test_answers_that_are_no_pages_are_errors_of_ours(answer):
    with Api(lambda *_: answer) as api, pytest.raises(TecError):
        open_stac(api.url, **GIVEN)


# -- secrets ----------------------------------------------------------------------------------


def test_secrets_in_urls_are_kept_out_of_datasets_and_messages(served):
    served.publish([make_item(f"{served.files_url}/gone.tif?sig=hidden&X-Token=hidden")])
    url = served.url.replace("://", "://ann:hidden@") + "?api_key=hidden"
    client = pystac_client.Client.open(served.url)
    client.set_self_href(url)
    for source in (url, client):
        ds = open_stac(source, **GIVEN)
        assert "hidden" not in repr(ds.attrs)
        assert served.url.partition("://")[2] in ds.attrs["stac_source"]
        with pytest.raises(SourceError) as told:
            load(ds)
        assert "hidden" not in str(told.value)
    with pytest.raises(SourceError) as told:
        open_stac("http://ann:hidden@127.0.0.1:9/?token=hidden", timeout=1)
    assert "hidden" not in str(told.value)


# -- malformed items --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_malformed_items_are_errors_of_ours_and_can_be_left_out(tmp_path, count):
    """Whatever is odd with one item, it is one kind of error, or the good one beside it is read."""
    rng = random.Random(f"malformed {count}")
    good = make_item(write(tmp_path / "good.tif", 1200), "GOOD")
    base = make_item(write(tmp_path / "base.tif", 1300), "BASE")
    base["properties"]["datetime"] = "2023-06-11T10:00:00Z"
    base["assets"]["B02"]["raster:bands"] = [
        {"data_type": "uint16", "nodata": 0, "scale": 0.0001, "offset": 0, "spatial_resolution": 10}
    ]
    messages, used = [], 0
    for number in range(count):
        odd = mutate(base, rng)
        skip = number % 2 == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ds = open_stac(
                    [odd, good] if skip else [odd],
                    on_bad_item="skip" if skip else "raise",
                    **GIVEN,
                )
                used += 1
                if number % 10 == 0:
                    load(ds)
            except TecError as error:
                messages.append(str(error))
    assert used > count / 4
    assert len(messages) > count / 10
    assert max(map(len, messages)) < 4000


def test_a_malformed_item_is_named_and_left_out(tmp_path):
    good = make_item(write(tmp_path / "good.tif", 1200), "GOOD")
    changes = {
        "geometry of text": lambda i: i.update(geometry="here"),
        "geometry off the Earth": lambda i: i["geometry"].update(coordinates=[[[900, 0]] * 4]),
        "no date": lambda i: i["properties"].pop("datetime"),
        "a date of numbers": lambda i: i["properties"].update(datetime=5),
        "year 1": lambda i: i["properties"].update(datetime="0001-01-01T00:00:00Z"),
        "no assets": lambda i: i.update(assets={}),
        "assets in a list": lambda i: i.update(assets=[]),
        "numbers as text": lambda i: i["assets"]["B02"].update({"proj:shape": ["64", "64"]}),
        "no number": lambda i: i["assets"]["B02"].update({"proj:transform": [math.nan] * 6}),
        "huge": lambda i: i["assets"]["B02"].update({"proj:transform": [10, 0, 1e300, 0, -10, 0]}),
        "another place": lambda i: i["properties"].update({"proj:code": "EPSG:32601"}),
        "no such CRS": lambda i: i["properties"].update({"proj:code": "EPSG:1"}),
        "an id of numbers": lambda i: i.update(id=7),
    }
    for what, change in changes.items():
        odd = copy.deepcopy({**good, "id": "ODD"})
        change(odd)
        with pytest.raises(InvalidInput, match=r"1 of 2 items cannot be used: (ODD|7)"):
            open_stac([odd, good], **GIVEN)
        with pytest.warns(CatalogWarning, match="left out 1 of 2 items"):
            ds = open_stac([odd, good], on_bad_item="skip", **GIVEN)
        assert ds.source_items.values.tolist() == ["GOOD"], what


def test_a_property_that_cannot_be_compared_makes_a_bad_item(tmp_path):
    good = make_item(write(tmp_path / "good.tif", 1200), "GOOD")
    good["properties"]["eo:cloud_cover"] = 5
    odd = copy.deepcopy({**good, "id": "ODD"})
    odd["properties"]["eo:cloud_cover"] = "5"
    query = {"eo:cloud_cover": {"lt": 10}}
    with pytest.raises(InvalidInput, match=r"ODD: query\['eo:cloud_cover'\]"):
        open_stac([odd, good], query=query, **GIVEN)
    with pytest.warns(CatalogWarning, match="left out 1 of 2"):
        ds = tec_xarray.open_stac([odd, good], query=query, on_bad_item="skip", **GIVEN)
    assert ds.sizes["time"] == 1
    assert Path(good["assets"]["B02"]["href"]).exists()

"""From a catalog to a cube: real servers on loopback, real files, real failures."""

from __future__ import annotations

import copy
import functools
import pickle
import warnings
from dataclasses import replace

import cloudpickle
import dask
import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
from odc.geo.geobox import GeoBox

import tec_xarray
from loopback import no_proxy
from stacserver import faults
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube import crs
from tec_xarray.stac import open_stac
from tec_xarray.stac.errors import CatalogWarning, SourceError
from tec_xarray.testing.catalog import serve, serve_scene
from tec_xarray.testing.catalog_scene import (
    ACQUISITIONS,
    EPSG,
    LEFT,
    OFFSET,
    TOP,
    Acquisition,
    scene_bands,
    write_cog,
    write_scene,
)

COLLECTION = "sentinel-2-l2a"
FLAG = "earthsearch:boa_offset_applied"


@pytest.fixture(scope="module", autouse=True)
def _no_proxy():
    """What a machine uses for the internet must not see requests to itself."""
    with no_proxy():
        yield


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Four acquisitions behind servers that may be told to fail; pages of two items.

    Two of them contradict themselves about their offset, as items of Earth Search do.
    """
    directory = tmp_path_factory.mktemp("catalog")
    contradicting = [replace(a, contradicts=a.harmonized) for a in ACQUISITIONS]
    with serve_scene(
        directory, acquisitions=contradicting, page=2, wrap="stacserver.faults:Faults"
    ) as running:
        yield running


@pytest.fixture
def items(catalog):
    return catalog.items


@pytest.fixture
def quiet():
    """Leave out the warning that half of the items contradict themselves, as in Earth Search."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CatalogWarning)
        yield


@functools.cache
def in_files(taken):
    return scene_bands(taken)


def truth(band, harmonized=True):
    """What the files of all acquisitions hold, without their offset: (T, H, W)."""
    layers = []
    for taken in ACQUISITIONS:
        pixels = in_files(taken)[band][0].astype(np.int64)
        carries = taken.baseline >= "04.00" and not taken.harmonized
        if carries and harmonized and band != "SCL":
            pixels = np.where(pixels == 0, 0, pixels - OFFSET)
        layers.append(pixels)
    return np.array(layers)


def load(dataset):
    return dataset.compute(scheduler="synchronous")


def edited(item, **properties):
    """A copy of an item with other properties; None removes one."""
    item = copy.deepcopy(item)
    for name, value in properties.items():
        item["properties"].pop(name, None)
        if value is not None:
            item["properties"][name] = value
    return item


def moved(item, catalog, band, pixels, name, **profile):
    """A copy of an item one file of which is another."""
    item = copy.deepcopy(item)
    path = catalog.directory / item["id"] / f"{name}.tif"
    if pixels is None:
        path.write_bytes((path.parent / f"{band}.tif").read_bytes())
    else:
        write_cog(path, pixels, (10.0, 0.0, LEFT, 0.0, -10.0, TOP), **profile)
    asset = next(a for a in item["assets"].values() if a["href"].endswith(f"/{band}.tif"))
    asset["href"] = f"{catalog.files_url}/{item['id']}/{name}.tif"
    return item


# -- what comes out ---------------------------------------------------------------------------


def test_pixels_are_those_of_the_files_without_offsets(catalog, quiet):
    ds = open_stac(catalog.url, collection=COLLECTION)
    assert list(ds.data_vars) == list(in_files(ACQUISITIONS[0]))  # ESA's names, in order
    assert ds.B04.dims == ("time", "y", "x")
    assert ds.odc.geobox == GeoBox((264, 264), rasterio.Affine(10, 0, LEFT, 0, -10, TOP), EPSG)
    assert all(a.chunks is not None for a in ds.data_vars.values())
    got = load(ds[["B02", "B08", "SCL", "B05"]])
    for band in ("B02", "B08"):
        assert got[band].dtype == np.uint16
        np.testing.assert_array_equal(got[band], truth(band))
    assert got.SCL.dtype == np.uint8
    np.testing.assert_array_equal(got.SCL, truth("SCL").repeat(2, axis=1).repeat(2, axis=2))
    # Bilinear between files of 20 m: no pixel without data is made up, no valid one lost.
    gap = truth("B05").repeat(2, axis=1).repeat(2, axis=2) == 0
    np.testing.assert_array_equal(got.B05 == 0, gap)
    assert gap.any()


def test_files_of_twenty_meters_are_read_as_they_are(catalog, quiet):
    got = load(open_stac(catalog.url, bands=["B05"]))
    assert got.odc.geobox.resolution.x == 20
    np.testing.assert_array_equal(got.B05, truth("B05"))


def test_dates_say_where_they_come_from(catalog, quiet):
    ds = open_stac(catalog.url, bands=["red"])
    assert list(ds.processing_baseline.values) == ["03.01", "04.00", "05.10", "05.10"]
    assert list(ds.source_offset.values) == ["0", "-1000", "0", "0"]
    assert list(ds.boa_offset.values) == [0, 0, 0, 0]
    assert list(ds.source_items.values) == [taken.id for taken in ACQUISITIONS]
    assert [str(t)[:19] for t in ds.time.values] == [a.when[:19] for a in ACQUISITIONS]
    assert ds.B04.attrs["common_name"] == "red"
    assert (ds.attrs["sensor"], ds.attrs["harmonize"]) == (COLLECTION, "auto")


def test_opening_reads_no_file(catalog, quiet):
    log = catalog.directory / faults.LOG
    before = log.read_text() if log.exists() else ""
    open_stac(catalog.url)
    assert (log.read_text() if log.exists() else "") == before


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["red", "b8a", "SCL", "swir16"], ["B04", "B8A", "B11", "SCL"]),
        (["scl", "B02_10m"], ["B02", "SCL"]),
        ("nir", ["B08"]),
    ],
)
def test_bands_have_any_name_and_come_out_under_one(catalog, quiet, given, found):
    assert list(open_stac(catalog.url, bands=given).data_vars) == found


def test_unknown_bands_are_refused(catalog):
    with pytest.raises(InvalidInput, match="rededge9"):
        open_stac(catalog.url, bands=["red", "rededge9"])


def test_other_catalogs_name_assets_otherwise(items):
    """Planetary Computer, CDSE with several resolutions, eo:bands, STAC 1.1."""
    item = items[0]
    red, green, blue, near = (item["assets"][k] for k in ("red", "green", "blue", "nir"))
    coarse = {**copy.deepcopy(red), "href": "http://127.0.0.1:9/coarse.tif"}
    coarse |= {"proj:transform": [20.0, 0, LEFT, 0, -20.0, TOP], "proj:shape": [132, 132]}
    new = copy.deepcopy(near)
    new["bands"] = [{"name": "B08", "eo:common_name": "nir"}]
    new |= {"data_type": "uint16", "raster:scale": 0.0001, "raster:offset": 0}
    del new["raster:bands"]
    item["properties"]["proj:code"] = f"EPSG:{item['properties'].pop('proj:epsg')}"
    item["assets"] = {
        "B04_20m": coarse,
        "B04_10m": red,
        "g": {**green, "eo:bands": [{"name": "B03", "common_name": "green"}]},
        "blue-jp2": coarse,
        "blue": blue,
        "n": new,
        "visual": {**red, "eo:bands": [{"name": "B04"}], "roles": ["visual"]},
    }
    got = load(open_stac([item]))
    assert list(got.data_vars) == ["B02", "B03", "B04", "B08"]
    for band in got.data_vars:
        np.testing.assert_array_equal(got[band][0], truth(band)[0])


# -- search -----------------------------------------------------------------------------------


def test_search_and_filter(catalog, items, quiet):
    clear = {"eo:cloud_cover": {"lt": 45}}
    days = lambda ds: [str(t)[:10] for t in ds.time.values]  # noqa: E731
    for source in (catalog.url, items):  # a list is filtered here, a catalog by itself, too
        ds = open_stac(source, bands=["red"], datetime="2022", query=clear)
        assert days(ds) == ["2022-02-11", "2022-10-19"]
        ds = open_stac(source, bands=["red"], query=clear, max_items=2)
        assert days(ds) == ["2021-08-15", "2022-02-11"]
        with pytest.raises(InvalidInput, match="no items"):
            open_stac(source, bands=["red"], bbox=(0, 0, 1, 1))


def test_a_server_that_cannot_filter_is_filtered_here(catalog, items, tmp_path):
    with serve(tmp_path, query=False) as other:
        other.publish(items)
        with pytest.warns(CatalogWarning, match="does not know `query`"):
            ds = open_stac(
                other.url, bands=["red"], query={"eo:cloud_cover": {"gt": 45}}, max_items=1
            )
    assert list(ds.source_items.values) == [ACQUISITIONS[2].id]


def test_a_window_is_loaded_on_the_same_grid(catalog, quiet):
    whole = open_stac(catalog.url, bands=["red", "B05"])
    west, south, east, north = rasterio.warp.transform_bounds(
        f"EPSG:{EPSG}", "EPSG:4326", LEFT + 500, TOP - 900, LEFT + 1200, TOP - 300
    )
    box = (west, south, east, north)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    part = open_stac(catalog.url, bands=["red", "B05"], bbox=box)
    same = open_stac(
        catalog.url, bands=["red", "B05"], geometry={"type": "Polygon", "coordinates": [ring]}
    )
    assert part.odc.geobox == same.odc.geobox
    assert 60 <= part.sizes["y"] < 80
    xr.testing.assert_equal(load(part.B04), load(whole.B04.sel(y=part.y, x=part.x)))


def test_what_cannot_be_searched_is_an_error(catalog, quiet):
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:9"):
        open_stac("http://127.0.0.1:9/", timeout=2)
    with pytest.raises(InvalidInput, match="nowhere"):
        open_stac(catalog.url, collection="nowhere")
    with pytest.raises(InvalidInput, match="like"):
        open_stac(catalog.url, query={"eo:cloud_cover": {"like": 4}})
    for wrong in ({"bbox": (2, 0, 1, 1)}, {"harmonize": "perhaps"}, {"groupby": "moon"},
                  {"sign": "here"}, {"on_bad_item": "ignore"}, {"chunks": {"z": 4}},
                  {"crs": "EPSG:0"}, {"datetime": "soon"}, {"geometry": {"type": "Blob"}},
                  {"bands": []}, {"resolution": -10}, {"attempts": 0}, {"max_items": 0},
                  {"timeout": 0}, {"resampling": "guess"}, {"bbox": (1, 2, 3)},
                  {"bbox": (0, 0, 1, 1), "geometry": {"type": "Point", "coordinates": [0, 0]}},
                  {"sensor": "landsat"}):  # fmt: skip
        with pytest.raises(InvalidInput):
            open_stac(catalog.items, **{"bands": ["red"], **wrong})
    for source in (5, [5], [{"type": "Feature", "id": "x"}], []):
        with pytest.raises(InvalidInput):
            open_stac(source)


# -- offsets ----------------------------------------------------------------------------------


def test_the_catalog_of_the_demo_does_not_contradict_itself(tmp_path):
    scenes = write_scene(tmp_path, "http://127.0.0.1:9")
    with warnings.catch_warnings():
        warnings.simplefilter("error", CatalogWarning)
        ds = open_stac(scenes, bands=["red"])
    assert list(ds.source_offset.values) == ["0", "-1000", "0", "0"]


def test_contradictions_are_told_once(catalog):
    with pytest.warns(CatalogWarning, match=r"2 of 4 items .*boa_offset_applied = true") as told:
        open_stac(catalog.url, bands=["red"])
    assert [w.category for w in told].count(CatalogWarning) == 1


def test_never_keeps_dn_and_says_what_they_carry(catalog, quiet):
    got = load(open_stac(catalog.url, bands=["red"], harmonize="never"))
    np.testing.assert_array_equal(got.B04, truth("B04", harmonized=False))
    assert list(got.boa_offset.values) == [0, -1000, 0, 0]


def test_nothing_is_guessed(items):
    bare = edited(items[1], **{FLAG: None, "s2:processing_baseline": None})
    for asset in bare["assets"].values():
        asset["raster:bands"] = [{}]
    with pytest.raises(InvalidInput, match=f"{bare['id']}: nothing tells"):
        open_stac([items[0], bare], bands=["red"])
    with pytest.warns(CatalogWarning, match=f"left out 1 of 2 items: {bare['id']}"):
        ds = open_stac([items[0], bare], bands=["red"], on_bad_item="skip")
    assert list(ds.source_items.values) == [items[0]["id"]]
    ds = open_stac([bare], bands=["red"], harmonize="never")
    assert np.isnan(ds.boa_offset.values).all()
    assert list(ds.source_offset.values) == [""]


def test_an_item_without_the_flag_is_judged_by_the_rest(items):
    """Planetary Computer: a baseline, and nothing else."""
    plain = edited(items[1], **{FLAG: None})
    for asset in plain["assets"].values():
        asset["raster:bands"] = [{}]
    with warnings.catch_warnings():
        warnings.simplefilter("error", CatalogWarning)
        got = open_stac([plain], bands=["red"])
    np.testing.assert_array_equal(load(got).B04[0], truth("B04")[1])


def test_an_offset_that_was_taken_off_already_is_not_taken_off_twice(items):
    """A flag that lies: the pixels are harmonized, the metadata promise the offset."""
    lying = edited(items[3], **{FLAG: False})
    ds = open_stac([lying], bands=["red"])
    with pytest.raises(InvalidInput, match=f"{lying['id']}.*B04.*below -0.02"):
        load(ds)
    forced = load(open_stac([lying], bands=["red"], harmonize="force")).B04.values[0]
    expected = truth("B04")[3]
    # Only because it was forced; and what was valid stays valid.
    np.testing.assert_array_equal(forced, np.maximum(expected - OFFSET, 1))
    assert (forced == 1).any()


def test_items_of_one_day_keep_their_own_offsets(catalog, quiet):
    """Two tiles that overlap, of different baselines: the newer lies on top, both harmonized."""
    old = Acquisition(0, "2022-03-01T10:16:01Z", "04.00", harmonized=False)
    new = Acquisition(0, "2022-03-01T10:16:15Z", "05.10", harmonized=True, east=1320.0)
    folder = catalog.directory / "pair"
    pair = write_scene(folder, f"{catalog.files_url}/pair", [old, new])
    ds = open_stac(pair, bands=["red"])
    assert dict(ds.sizes) == {"time": 1, "y": 264, "x": 264 + 132}
    assert list(ds.source_items.values) == [f"{new.id} {old.id}"]
    assert list(ds.source_offset.values) == ["0 -1000"]
    assert list(ds.processing_baseline.values) == ["05.10 04.00"]
    red = truth("B04")[0]
    expected = np.concatenate([red[:, :132], red], axis=1)
    np.testing.assert_array_equal(load(ds).B04[0], expected)
    with pytest.raises(InvalidInput, match="one offset for each date"):
        open_stac(pair, bands=["red"], harmonize="never")
    apart = open_stac(pair, bands=["red"], harmonize="never", groupby="id")
    assert list(apart.boa_offset.values) == [-1000, 0]


def test_dask_does_not_mix_up_what_was_decided(items, quiet):
    """odc-loader names tasks by files alone: together, one of the two would get the other's."""
    a = open_stac(items, bands=["red"])
    b = open_stac(items, bands=["red"], harmonize="never")
    a, b = dask.compute(a, b, scheduler="synchronous")
    assert (a.B04[1] != b.B04[1]).any()


# -- catalogs that lie ------------------------------------------------------------------------


def test_a_missing_file_is_an_error_and_not_zeros(items):
    broken = copy.deepcopy(items[1])
    del broken["assets"]["red"]
    both = [items[0], broken]
    with pytest.raises(InvalidInput, match=f"{broken['id']}: no file for B04"):
        open_stac(both, bands=["red", "nir"])
    # Why this is checked here: the loader beneath, even told to fail on errors, fills in zeros.
    parsed = [pystac.Item.from_dict(i) for i in both]
    zeros = odc.stac.load(parsed, ["red", "nir"], chunks={}, fail_on_error=True)
    assert not zeros.red[1].compute(scheduler="synchronous").any()


def test_items_of_different_zones_are_told_apart(items, quiet):
    other = edited(items[1], **{"proj:epsg": 32633})
    with pytest.raises(InvalidInput, match=r"a grid at 17\.\d+, 47.* but a geometry at 11\."):
        open_stac([items[0], other], bands=["red"])
    other["geometry"] = None
    with pytest.raises(InvalidInput, match=rf"EPSG:32632 \({items[0]['id']}\).*EPSG:32633"):
        open_stac([items[0], other], bands=["red"])
    one = open_stac([items[0]], bands=["red"], crs="EPSG:32633", resolution=10)
    assert one.rio.crs == "EPSG:32633"
    assert load(one).B04.max() > 0


def test_stated_types_are_believed_only_if_they_are_right(catalog, items):
    said = copy.deepcopy(items[0])
    said["assets"]["red"]["raster:bands"][0]["data_type"] = "float32"
    with pytest.raises(InvalidInput, match=f"{said['id']}: B04 holds float32"):
        open_stac([said], bands=["red"])
    pixels = np.full((264, 264), 0.25, np.float32)
    unsaid = moved(items[0], catalog, "B04", pixels, "B04-float")
    with pytest.raises(InvalidInput, match=f"{unsaid['id']}.*B04: float32"):
        load(open_stac([unsaid], bands=["red"]))


def test_a_file_that_lies_elsewhere_is_refused(catalog, items):
    """Only what overlaps by chance would be read, the rest be zeros."""
    item = moved(items[0], catalog, "B04", in_files(ACQUISITIONS[0])["B04"][0], "B04-here")
    item["assets"]["red"]["proj:transform"] = [10.0, 0.0, LEFT - 500, 0.0, -10.0, TOP]
    with pytest.raises(InvalidInput, match=rf"{item['id']}.*B04: 264 x 264 .*699960.*allowed"):
        load(open_stac([item], bands=["red"]))


def test_degrees_are_an_output_grid_like_any_other(items):
    ds = open_stac(items[:1], bands=["red", "SCL"], crs="EPSG:4326", resolution=1e-4)
    assert ds.B04.dims == ("time", "latitude", "longitude")
    assert ds.attrs["proj:code"] == "EPSG:4326"
    got = load(ds)
    assert abs(got.B04.where(got.B04 > 0).mean() / truth("B04")[0].mean() - 1) < 0.01
    assert set(np.unique(got.SCL)) <= {0, 4, 5, 6}


def test_a_grid_that_is_not_described_must_be_given(items):
    bare = copy.deepcopy(items[0])
    for asset in bare["assets"].values():
        del asset["proj:transform"]
    with pytest.raises(InvalidInput, match=bare["id"]):
        open_stac([bare], bands=["red"])
    west, south, east, north = bare["bbox"]
    ds = open_stac(
        [bare], bands=["red"], bbox=(west, south, east, north), crs=f"EPSG:{EPSG}", resolution=10
    )
    inside = load(ds).B04.sel(x=slice(LEFT, LEFT + 2640), y=slice(TOP, TOP - 2640))
    np.testing.assert_array_equal(inside[0], truth("B04")[0])


@pytest.mark.parametrize("band", ["B04", "B05"])  # read as it is; resampled
@pytest.mark.parametrize(
    "steps",
    [["404", "ok"], ["503", "ok"], ["stall", "ok"], ["later-404", "ok"],
     ["later-stall", "ok"]],
    ids=" ".join,
)  # fmt: skip
def test_reads_that_fail_are_tried_again(catalog, items, band, steps):
    name = f"{band}-again-{'-'.join(steps)}"
    item = moved(items[0], catalog, band, None, name)
    faults.plan(catalog.directory, **{f"{item['id']}/{name}.tif": steps})
    got = load(open_stac([item], bands=[band], timeout=1, attempts=4))
    np.testing.assert_array_equal(got[band][0], truth(band)[0])
    log = (catalog.directory / faults.LOG).read_text()
    assert f"{name}.tif {steps[0].removeprefix('later-')}\n" in log  # it did fail


@pytest.mark.parametrize("band", ["B04", "B05"])
@pytest.mark.parametrize("step", ["404", "stall", "later-404", "later-500"])
def test_reads_that_keep_failing_name_the_item(catalog, items, band, step):
    name = f"{band}-never-{step}"
    item = moved(items[0], catalog, band, None, name)
    faults.plan(catalog.directory, **{f"{item['id']}/{name}.tif": [step]})
    ds = open_stac([items[1], item], bands=[band, "B08"], timeout=1, attempts=2)
    with pytest.raises(SourceError, match=f"item '{item['id']}', band {band}: cannot read") as told:
        load(ds[band])
    assert "2 attempts" in str(told.value)
    again = pickle.loads(pickle.dumps(told.value))
    assert (type(again), str(again)) == (SourceError, str(told.value))


def test_links_are_signed_on_the_way_to_each_read(items, quiet):
    private = copy.deepcopy(items[0])
    for asset in private["assets"].values():
        asset["href"] = asset["href"].replace("http://", "private://")
    ds = open_stac(
        [private], bands=["red"], sign=lambda href: href.replace("private://", "http://") + "?k=1"
    )
    ds = cloudpickle.loads(cloudpickle.dumps(ds))  # as workers get it
    np.testing.assert_array_equal(load(ds).B04[0], truth("B04")[0])
    asset = private["assets"]["red"]
    asset["href"] += ".gone"
    ds = open_stac(
        [private],
        bands=["red"],
        attempts=1,
        sign=lambda href: href.replace("private://", "http://") + "?secret=1",
    )
    with pytest.raises(SourceError) as told:
        load(ds)
    assert "secret" not in str(told.value)


# -- into stores ------------------------------------------------------------------------------


def test_everything_survives_an_archive(catalog, tmp_path, quiet):
    ds = open_stac(catalog.url, bands=["red", "nir", "SCL"])
    store = tmp_path / "cube.zarr"
    ds.tec.compress(model="fp", max_error=0).to_zarr(store)
    back = xr.open_zarr(store)
    assert back.rio.crs == f"EPSG:{EPSG}"
    assert back.reflectance.rio.crs == f"EPSG:{EPSG}"
    assert back.SCL.rio.transform() == ds.odc.geobox.affine
    np.testing.assert_array_equal(back.SCL, truth("SCL").repeat(2, axis=1).repeat(2, axis=2))
    assert back.SCL.dtype == np.uint8
    for number, band in enumerate(("B04", "B08")):
        np.testing.assert_array_equal(back.reflectance[:, number], truth(band))
    for name in ("source_items", "processing_baseline", "source_offset", "boa_offset", "time"):
        np.testing.assert_array_equal(back[name].values, ds[name].values)
    assert list(back.common_name.values) == ["red", "nir"]
    assert back.attrs["proj:code"] == ds.attrs["proj:code"] == f"EPSG:{EPSG}"
    bands = tec_xarray.to_bands(back)
    assert bands.B04.attrs["common_name"] == "red"


def test_a_plain_store_keeps_the_crs(catalog, tmp_path, quiet):
    ds = open_stac(catalog.url, bands=["red"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Zarr's on strings
        ds.to_zarr(tmp_path / "plain.zarr", encoding={"B04": {"compressors": None}})
    assert xr.open_zarr(tmp_path / "plain.zarr").rio.crs == f"EPSG:{EPSG}"


def test_blocks_are_whole_shards(catalog, quiet):
    """A tile is read in blocks of 2048 pixels, which the codec's shards divide."""
    ds = open_stac(catalog.url, bands=["red"], resolution=0.5)
    assert ds.B04.chunks == ((1,) * 4, (2048, 2048, 1184), (2048, 2048, 1184))
    marked = ds.tec.compress(model="fp", lam=20)
    assert marked.reflectance.chunks[2] == (1024,) * 5 + (160,)
    ds = open_stac(catalog.url, bands=["red"], chunks={"y": 128, "x": 128, "time": 2})
    assert ds.B04.chunks == ((2, 2), (128, 128, 8), (128, 128, 8))
    np.testing.assert_array_equal(load(ds).B04, truth("B04"))


def test_no_attribute_describes_another_grid_after_a_crop(catalog, quiet):
    ds = open_stac(catalog.url, bands=["red"])
    part = ds.isel(y=slice(10, 20), x=slice(5, 9))
    assert part.attrs["proj:code"] == f"EPSG:{EPSG}"
    assert not [name for name in part.attrs if name.startswith("spatial:")]
    assert "GeoTransform" not in part.spatial_ref.attrs
    assert part.rio.transform() == ds.rio.transform() * ds.rio.transform().translation(5, 10)
    bare = part.drop_vars("spatial_ref").assign_coords(x=[0, 1, 5, 6])
    for array in bare.data_vars.values():
        array.attrs.pop("grid_mapping", None)
    bare.attrs = {"spatial:shape": [264, 264], "title": "no grid"}
    assert crs.with_geo(bare).attrs == {"title": "no grid"}

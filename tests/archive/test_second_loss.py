"""No second loss without being asked: every way of copying is exact, or refused with what to do."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
import zarr

import tec_xarray
from copies import CHUNKS, FORMATS, IDIOMS, KINDS, NAME, original, outcomes
from tec_numcodecs import TecCodec, TecSerializer
from tec_numcodecs.errors import InvalidInput

TABLE = Path(__file__).parents[2] / "docs" / "copies-table.md"
QUICK = ("lossy", "lossless")
SLOW = [kind for kind in KINDS if kind not in QUICK]
SETTINGS = {"lam": 20, "chunks": CHUNKS}
TWO_LINES = r"tec_xarray\.copy\(source, target\).*drop_codec\(\)\.to_zarr\(target\)"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("copies")


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize(
    "kind", [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)]
)
def test_a_copy_is_exact_or_refused(root, kind, fmt):
    fine = {"exact", "refused", "refused (xarray)"} | ({"allowed"} if kind == "lossless" else set())
    assert {k: v for k, v in outcomes(root, kind, fmt).items() if v not in fine} == {}


@pytest.mark.parametrize("kinds", [QUICK, pytest.param(tuple(KINDS), marks=pytest.mark.slow)])
def test_the_table_in_the_docs_is_what_happens(root, kinds):
    """With TEC_WRITE_TABLES=1, ``pytest -m slow`` writes the table anew."""
    made = [[idiom, *(_cell(root, kind, idiom) for kind in kinds)] for idiom in IDIOMS]
    if os.environ.get("TEC_WRITE_TABLES") and len(kinds) == len(KINDS):
        head = [["", *kinds], ["---"] * (len(kinds) + 1)]
        TABLE.write_text("".join(f"| {' | '.join(row)} |\n" for row in [*head, *made]))
    rows = [line.strip("| ").split(" | ") for line in TABLE.read_text().splitlines()]
    columns = [0, *(list(KINDS).index(kind) + 1 for kind in kinds)]
    assert [[row[i] for i in columns] for row in rows[2:]] == made


def _cell(root, kind, idiom):
    """One word where all formats agree, else each."""
    by_format = {fmt: outcomes(root, kind, fmt)[idiom] for fmt in FORMATS}
    if len(set(by_format.values())) == 1:
        return next(iter(by_format.values()))
    return ", ".join(f"{fmt}: {what}" for fmt, what in by_format.items())


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_first_write_needs_no_permission(tmp_path, fmt):
    """Whatever way the marked dataset goes: threads, processes, spawn, pickles, copies, later."""
    settings = SETTINGS | FORMATS[fmt]
    options = {"zarr_format": FORMATS[fmt].get("zarr_format", 3)}
    wanted = original().tec.compress(store=tmp_path / "a.zarr", **settings)[NAME].values
    marked = original().chunk(x=16).tec.compress(**settings)
    marked.to_zarr(tmp_path / "b.zarr", **options)
    marked.load().copy(deep=True).to_zarr(tmp_path / "c.zarr", **options)
    later = pickle.loads(pickle.dumps(marked)).to_zarr(
        tmp_path / "d.zarr", compute=False, **options
    )
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        dask.config.set(scheduler="processes", pool=pool),
    ):
        later.compute()
    for name in "bcd":
        assert (xr.open_zarr(tmp_path / f"{name}.zarr")[NAME].values == wanted).all()


def test_workers_that_are_spawned_refuse_as_well(tmp_path):
    original().tec.compress(store=tmp_path / "a.zarr", **SETTINGS)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        refused = pytest.raises(InvalidInput, match=TWO_LINES)
        with dask.config.set(scheduler="processes", pool=pool), refused:
            xr.open_zarr(tmp_path / "a.zarr").to_zarr(tmp_path / "b.zarr", align_chunks=True)
        copied = pool.submit(_copy_plainly, tmp_path)
        with pytest.raises(InvalidInput, match=TWO_LINES):
            copied.result()


def _copy_plainly(path):
    xr.open_zarr(path / "a.zarr").load().to_zarr(path / "c.zarr")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_array_that_is_created_may_be_written_and_one_that_is_opened_not(zarr_format):
    settings = {"lam": 20, "bands": ["B02", "B04", "B8A"]}
    codec = (
        {"compressors": TecCodec(**settings), "filters": None}
        if zarr_format == 2
        else {"serializer": TecSerializer(**settings), "compressors": None}
    )
    store, cube = zarr.storage.MemoryStore(), original().tec.to_cube()[NAME].values
    made = zarr.create_array(
        store, shape=cube.shape, chunks=CHUNKS, dtype=cube.dtype, zarr_format=zarr_format, **codec
    )
    made[..., :16] = cube[..., :16]
    made[..., 16:] = cube[..., 16:]
    opened = zarr.open_array(store, mode="r+")
    before = opened[:]
    with pytest.raises(InvalidInput, match=TWO_LINES):
        opened[..., :3] = 7
    assert (opened[:] == before).all()


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_region_of_a_store_without_a_journal(tmp_path, fmt):
    """`compress(region=)` is a writer of ours: it has checked where the samples come from."""
    settings = SETTINGS | FORMATS[fmt]
    options = {"zarr_format": FORMATS[fmt].get("zarr_format", 3)}
    original().tec.compress(**settings).to_zarr(tmp_path / "a.zarr", **options)
    before = xr.open_zarr(tmp_path / "a.zarr")[NAME].values
    other = original() * np.uint16(2)
    part = other.isel(x=slice(16, 32))
    region = {"x": slice(16, 32)}
    part.chunk(x=16).tec.compress(**settings, store=tmp_path / "a.zarr", region=region)
    after = xr.open_zarr(tmp_path / "a.zarr")[NAME].values
    assert (after[..., :16] == before[..., :16]).all()
    alone = part.tec.compress(**SETTINGS, store=tmp_path / "b.zarr")[NAME].values
    assert (after[..., 16:] == alone).all()


@pytest.mark.parametrize("keep", [True, False])
def test_what_was_decoded_is_known_after_arithmetic(tmp_path, keep):
    read = original().tec.compress(store=tmp_path / "a.zarr", **SETTINGS)
    with xr.set_options(keep_attrs=keep):
        changed = [read.fillna(0), read * 1, read.where(read.x > 0, 0), read + read]
    for found in changed:
        with pytest.raises(InvalidInput, match="have lost something already"):
            found.astype("uint16").tec.compress(lam=5)


def test_a_loss_that_is_asked_for_does_not_hide_the_first(tmp_path):
    first = original().tec.compress(store=tmp_path / "a.zarr", max_error=50, chunks=CHUNKS)
    for plain in (first.tec.drop_codec(), first.tec.to_bands().tec.drop_codec(),
                  first.tec.drop_codec().tec.to_bands()):  # fmt: skip
        attrs = plain.tec.compress(lam=5)[NAME].attrs
        assert attrs["lossy_compression_lam"] == 5
        assert attrs["earlier_lossy_compression"].startswith("tec mini fp, max_error=50")
    plain = first.tec.drop_codec()
    said = (*plain.attrs, *plain[NAME].attrs)
    assert not [key for key in said if "tec_w" in key or "achieved" in key]
    plain.to_zarr(tmp_path / "b.zarr")
    with pytest.raises(InvalidInput, match="have lost something already"):
        xr.open_zarr(tmp_path / "b.zarr", mask_and_scale=False).tec.compress(lam=5)


def test_what_was_only_marked_has_lost_nothing():
    marked = original().tec.compress(lam=20, chunks=CHUNKS)
    again = marked.tec.drop_codec().tec.compress(lam=50, chunks=CHUNKS)
    assert "earlier_lossy_compression" not in again[NAME].attrs


def test_figures_say_of_which_cube_they_are(tmp_path):
    attrs = original().tec.compress(store=tmp_path / "a.zarr", **SETTINGS)[NAME].attrs
    assert attrs["lossy_compression_achieved_shape"] == [2, 3, 32, 32]


def test_decoded_dates_of_another_archive_are_not_appended(tmp_path):
    read = original().tec.compress(store=tmp_path / "a.zarr", **SETTINGS)
    later = read.assign_coords(time=read.time + np.timedelta64(99, "D")).tec.to_bands()
    with pytest.raises(InvalidInput, match=TWO_LINES):
        tec_xarray.append(later, tmp_path / "a.zarr")
    assert xr.open_zarr(tmp_path / "a.zarr").sizes["time"] == 2

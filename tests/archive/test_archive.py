"""Archives: journal, resume, append, verify, copy; whatever dies, nothing is coded twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
import zarr
from typer.testing import CliRunner
from zarr.storage import MemoryStore

import tec_xarray
from archives import SETTINGS, Mortal, flaky, objects, series
from tec_numcodecs.errors import CorruptChunk, InvalidInput, TecError
from tec_xarray import SourceError
from tec_xarray.cli.commands import app
from tec_xarray.execution import cluster as _cluster
from tec_xarray.store.chunk_sizes import chunk_sizes
from tec_xarray.store.journal import STATE, Journal
from tec_xarray.store.location import StoreLocation


def same(a: xr.Dataset, b: xr.Dataset) -> None:
    xr.testing.assert_identical(a.load().drop_attrs(), b.load().drop_attrs())


def states(store: Any) -> Any:
    return Journal(StoreLocation(store)).states()


@pytest.fixture(scope="module")
def finished() -> MemoryStore:
    """Seven dates, three of which wait."""
    store = MemoryStore()
    series(7).tec.compress(**SETTINGS, store=store, appendable=True)
    return store


@pytest.fixture
def archive(finished: MemoryStore) -> MemoryStore:
    return MemoryStore(dict(finished._store_dict))


# -- what is written --------------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_journal_says_what_a_report_measures(zarr_format: int, tmp_path: Path) -> None:
    original, store = series(5), tmp_path / "a.zarr"
    settings = {"lam": 50, "chunks": (4, 3, 32, 32), "zarr_format": zarr_format}
    read = original.chunk(time=2, x=50).tec.compress(**settings, store=store)
    report = read.tec.report(original)
    found = tec_xarray.info(store)
    assert found["blocks_missing"] == found["dates_waiting"] == 0
    assert found["raw_bytes"] == report.raw_bytes
    assert found["psnr"] == pytest.approx(report.total.psnr)
    for band in report.bands:
        errors = found["errors"][band.label]
        assert errors["rmse"] == pytest.approx(band.rmse)
        assert errors["max_error"] == band.max_error
        assert errors["samples"] == band.samples
    # Anybody can read it with Zarr alone: sizes are those of the objects.
    journal = zarr.open_group(store, path="tec_journal", mode="r")
    column = journal["state"].attrs["columns"].index("stored_bytes")
    files = [p for p in (store / "reflectance").rglob("*") if p.is_file() and "z" not in p.name]
    assert journal["state"][..., column].sum() == sum(p.stat().st_size for p in files)
    xr.open_zarr(store)
    if zarr_format == 3:
        xr.open_datatree(store, engine="zarr", chunks={}).close()


def test_everything_beside_the_pixels_survives(tmp_path: Path) -> None:
    pytest.importorskip("rioxarray")
    whole = series(5).rio.write_crs("EPSG:32631")
    whole["NDVI"] = (whole["B8A"] / 9000.0).astype(np.float32)
    whole["NDVI"].encoding = {"dtype": "int16", "scale_factor": 1e-3, "_FillValue": -9999}
    whole["cloudy"] = whole["SCL"] > 7
    store = tmp_path / "a.zarr"
    whole.isel(time=slice(0, 2)).chunk(time=1).tec.compress(
        **SETTINGS, store=store, appendable=True
    )
    tec_xarray.append(whole.isel(time=slice(2, 5)).chunk(x=40), store)
    read = xr.open_zarr(store)
    assert read.rio.crs.to_epsg() == 32631
    assert read["reflectance"].rio.crs.to_epsg() == 32631
    for name in ("SCL", "cloudy", "cloud_cover", "boa_offset", "platform", "time", "x", "y"):
        np.testing.assert_array_equal(read[name], whole[name])
    np.testing.assert_allclose(read["NDVI"], whole["NDVI"], atol=6e-4)
    assert read["SCL"].attrs["long_name"] == "classes"
    assert read.attrs["title"] == "made up"
    assert read.tec.to_bands()["B02"].attrs["center_wavelength"] == 500
    assert tec_xarray.verify(store, whole).ok


def test_quiet_when_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    series(1).tec.compress(lam=20, store=MemoryStore(), progress=True)
    assert capfd.readouterr() == ("", "")


def test_a_region_keeps_the_journal_in_step(archive: MemoryStore) -> None:
    part = series(4).isel(x=slice(0, 64))
    part["B04"][:] = 3000
    before, old = objects(archive), states(archive)
    region = {"time": slice(0, 4), "x": slice(0, 64)}
    part.tec.compress(**SETTINGS, store=archive, region=region)
    assert tec_xarray.verify(archive).ok
    after = objects(archive)
    changed = {key for key in after if after[key] != before[key]}
    assert changed == {"reflectance/c/0/0/0/0", "reflectance/c/0/0/1/0"}
    assert (old[1] == states(archive)[1]).all()


# -- resume -----------------------------------------------------------------------------------


def test_resume_writes_what_is_missing_and_nothing_else(archive: MemoryStore) -> None:
    before, old = objects(archive), states(archive)
    journal = Journal(StoreLocation(archive), mode="r+")
    journal.forget((0, 1, 1))
    garbage = zarr.core.buffer.cpu.Buffer.from_bytes(b"half a file")
    archive._store_dict["reflectance/c/0/0/1/1"] = garbage
    assert tec_xarray.verify(archive).missing == ((0, 1, 1),)
    tec_xarray.resume(series(7).chunk(time=1), archive)
    assert objects(archive) == before
    assert tec_xarray.verify(archive, series(7)).ok
    again = (states(archive) != old).any(axis=-1)  # microseconds tell what was coded again
    again[0, 1, 1] = False
    assert not again.any()


def test_resume_refuses_other_data_and_settings(archive: MemoryStore) -> None:
    whole = series(7)
    odd: list[tuple[str, xr.Dataset, dict[str, Any]]] = [
        ("lam = 20", whole, {"lam": 20}),
        ("model", whole, {"model": "elic"}),
        ("bands", whole[["B02", "B04", "SCL"]], {}),
        ("bands", whole.rename(B8A="B08"), {}),
        ("7 dates", whole.isel(time=slice(0, 6)), {}),
        ("7 dates", whole.assign_coords(time=whole.time + np.timedelta64(1, "D")), {}),
        ("x coordinates", whole.assign_coords(x=whole.x + 10), {}),
        ("'x': 96", whole.isel(x=slice(0, 64)), {}),
        ("int16", whole.astype(np.int16), {}),
        ("SCL", whole.drop_vars("SCL"), {}),
    ]
    before = dict(archive._store_dict)
    for message, data, settings in odd:
        with pytest.raises(InvalidInput, match=message):
            tec_xarray.resume(data, archive, **settings)
    assert before == archive._store_dict
    with pytest.raises(InvalidInput, match="no Zarr group"):
        tec_xarray.resume(whole, MemoryStore())
    plain = MemoryStore()
    whole.tec.compress(lam=20).to_zarr(plain)
    with pytest.raises(InvalidInput, match="no journal"):
        tec_xarray.resume(whole, plain)


@pytest.mark.parametrize("remote", [False, True])
def test_reading_that_fails_is_tried_again(
    remote: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if remote:
        request.getfixturevalue("client")
    lazy = series(4).chunk(time=4, y=32, x=64)
    log, store = tmp_path / "log", tmp_path / "a.zarr"
    data = lazy["B04"].data.map_blocks(flaky, log=log, times=2, dtype=np.uint16,
                                       meta=np.zeros((0, 0, 0), np.uint16))  # fmt: skip
    broken = lazy.assign(B04=lazy["B04"].copy(data=data))
    import dask

    with dask.config.set({} if remote else {"scheduler": "synchronous"}):
        with pytest.raises(TecError, match=r"1 of 4 blocks failed: \(0, 1, 0\).*catalog"):
            broken.tec.compress(**SETTINGS, store=store, retries=0)
        assert (states(store)[0, :, :, 0] == [[4, 4], [0, 4]]).all()  # all others are there
        tec_xarray.resume(broken, store, retries=2)
    assert tec_xarray.verify(store, series(4)).ok


@pytest.mark.parametrize("life", [0.1, 0.6, 0.95])
def test_a_store_that_dies(life: float) -> None:
    """The machine is gone in the middle of a write; another one goes on."""
    whole = series(4)
    counter = Mortal(MemoryStore(), 10**6)
    whole.tec.compress(**SETTINGS, store=counter)
    blocks = 4 * (1 + 1 + 3)  # object, SCL, three entries of the journal
    lives = counter.writes - 1 - blocks + int(life * blocks)  # the last one gives back the lease
    inner = MemoryStore()
    with pytest.raises((TecError, OSError)):
        whole.tec.compress(**SETTINGS, store=Mortal(inner, lives), retries=0)
    there = states(inner)
    tec_xarray.resume(whole, inner)
    now = states(inner)
    done = there[..., 0] > 0
    assert (now[done] == there[done]).all()
    assert tec_xarray.verify(inner, whole).ok
    same(xr.open_zarr(inner), xr.open_zarr(counter._store))


# -- append -----------------------------------------------------------------------------------


def test_dates_arrive_in_ones_and_twos(tmp_path: Path) -> None:
    store, whole = tmp_path / "a.zarr", series(12)
    whole.isel(time=slice(0, 1)).tec.compress(**SETTINGS, store=store, appendable=True)
    first = 1
    for n in (1, 2, 3, 5):
        before = objects(store)
        new = whole.isel(time=slice(first, first + n))
        read = tec_xarray.append(new.chunk(time=1, x=40) if n > 1 else new, store)
        full, first = first // 4, first + n
        assert read.sizes["time"] == xr.open_zarr(store).sizes["time"] == first
        after = objects(store)
        for key, digest in before.items():
            if int(key.split("/")[2]) < full:
                assert after[key] == digest, key
        waiting = first % 4
        last = read["reflectance"].isel(time=slice(first - waiting, first))
        exact = whole.tec.to_cube()["reflectance"].isel(time=slice(first - waiting, first))
        np.testing.assert_array_equal(last, exact)
        lossless = states(store)[..., STATE.index("lossless")]
        assert lossless[-1].all() == bool(waiting)
        assert not lossless[:-1].any()
    assert tec_xarray.verify(store, whole).ok
    at_once = MemoryStore()
    whole.tec.compress(**SETTINGS, store=at_once, appendable=True)
    assert objects(at_once) == objects(store)  # no date has been through the codec twice
    same(xr.open_zarr(at_once), xr.open_zarr(store))


def test_append_refuses(archive: MemoryStore) -> None:
    new = series(3, first=7)
    sooner = new.time.values.copy()
    sooner[:] += np.timedelta64(250, "ns")
    odd: list[tuple[str, xr.Dataset]] = [
        ("has already", series(3, first=6)),
        ("do not rise", new.isel(time=[0, 2, 1])),
        ("do not rise", new.isel(time=[0, 0, 1])),
        ("before the last one", new.assign_coords(time=new.time - np.timedelta64(99, "D"))),
        ("cannot be stored exactly", new.assign_coords(time=sooner)),
        ("SCL", new.drop_vars("SCL")),
        ("extra", new.assign(extra=new["SCL"])),
        ("'y': 64", new.isel(y=slice(0, 32))),
        ("_FillValue", new.assign(SCL=new["SCL"].assign_attrs(_FillValue=255))),
    ]
    before = dict(archive._store_dict)
    for message, data in odd:
        with pytest.raises(InvalidInput, match=message):
            tec_xarray.append(data, archive)
    assert before == archive._store_dict
    closed = MemoryStore()
    series(3).tec.compress(**SETTINGS, store=closed)
    with pytest.raises(InvalidInput, match="appendable=True"):
        tec_xarray.append(series(3, first=3), closed)
    Journal(StoreLocation(archive), mode="r+").forget((0, 0, 0))
    with pytest.raises(InvalidInput, match="lacks 1 of 8 blocks"):
        tec_xarray.append(new, archive)


@pytest.mark.parametrize("layout", ["variables", "axis", "named"])
def test_the_same_bands_in_another_order(layout: str, archive: MemoryStore) -> None:
    """They are brought into the archive's order: what is written is the same, byte for byte."""
    there = dict(archive._store_dict)

    def turned(first: int, dates: int) -> tuple[Any, dict[str, Any]]:
        data = series(dates, first=first)
        names = ["B8A", "B04", "B02"]
        if layout == "variables":
            return data[[*names, "SCL"]], {}
        labels = names if layout == "axis" else range(3)
        cube = data[names].to_dataarray("band", name="reflectance").assign_coords(band=labels)
        whole = cube.to_dataset().assign(SCL=data["SCL"]).assign_attrs(sensor="S2L2A")
        return whole, {} if layout == "axis" else {"bands": names}

    whole, settings = turned(0, 7)
    assert tec_xarray.verify(archive, whole, **settings).ok
    before = objects(archive)
    Journal(StoreLocation(archive), mode="r+").forget((0, 1, 1))
    del archive._store_dict["reflectance/c/0/0/1/1"]
    tec_xarray.resume(whole.chunk(time=1), archive, **settings)
    assert objects(archive) == before
    new, settings = turned(7, 3)
    tec_xarray.append(new, archive, **settings)
    expected = MemoryStore(there)
    tec_xarray.append(series(3, first=7), expected)
    assert objects(archive) == objects(expected)
    whole, settings = turned(0, 10)
    assert tec_xarray.verify(archive, whole, **settings).ok
    if layout == "variables":  # it is names that count
        whole = whole.rename(B04="B8A", B8A="B04")
    elif layout == "axis":
        whole = whole.assign_coords(band=["B04", "B8A", "B02"])
    else:
        settings = {"bands": ["B04", "B8A", "B02"]}
    assert not tec_xarray.verify(archive, whole, **settings).ok


def test_append_checks_the_dates_that_wait(archive: MemoryStore) -> None:
    key = "reflectance/c/1/0/0/0"
    damaged = bytearray(archive._store_dict[key].to_bytes())
    damaged[40] ^= 4
    archive._store_dict[key] = zarr.core.buffer.cpu.Buffer.from_bytes(bytes(damaged))
    with pytest.raises(CorruptChunk, match="not what the journal says"):
        tec_xarray.append(series(2, first=7), archive)


def kill_append(lives: int, finished: MemoryStore) -> bool:
    """Append in a store that dies, then again; return whether it died."""
    inner = MemoryStore(dict(finished._store_dict))
    new = series(3, first=7)
    before = xr.open_zarr(inner).load()
    try:
        tec_xarray.append(new, Mortal(inner, lives), retries=0)
        died = False
    except (TecError, OSError):
        died = True
    seen = xr.open_zarr(inner).load()  # always readable: the old dates, or all
    assert seen.sizes["time"] in (7, 10)
    for name in ("time", "SCL", "platform"):
        np.testing.assert_array_equal(seen[name][:7], before[name])
    if seen.sizes["time"] == 7 and died and Journal(StoreLocation(inner)).attrs.get("append"):
        with pytest.raises(InvalidInput, match="interrupted"):
            tec_xarray.append(series(2, first=7), inner)
    if Journal(StoreLocation(inner)).attrs.get("append") or seen.sizes["time"] == 7:
        tec_xarray.append(new, inner)
    whole = MemoryStore()
    series(10).tec.compress(**SETTINGS, store=whole, appendable=True)
    assert objects(inner) == objects(whole)
    same(xr.open_zarr(inner), xr.open_zarr(whole))
    assert tec_xarray.verify(inner).ok
    assert not [key for key in inner._store_dict if "tail" in key]
    return died


@pytest.mark.parametrize("lives", [3, 14, 33])
def test_an_append_that_dies(lives: int, finished: MemoryStore) -> None:
    assert kill_append(lives, finished)


@pytest.mark.slow
def test_an_append_that_dies_at_every_write(finished: MemoryStore) -> None:
    lives = 0
    while kill_append(lives, finished):
        lives += 1
    assert lives > 40


# -- verify and copy --------------------------------------------------------------------------


def test_verify_finds_every_flipped_byte(archive: MemoryStore) -> None:
    random = np.random.default_rng(0)
    assert tec_xarray.verify(archive).ok
    keys = [k for k in archive._store_dict if k.startswith(("reflectance/c", "SCL/c", "time/c"))]
    for key in keys:
        whole = archive._store_dict[key]
        damaged = bytearray(whole.to_bytes())
        damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        archive._store_dict[key] = zarr.core.buffer.cpu.Buffer.from_bytes(bytes(damaged))
        found = tec_xarray.verify(archive)
        assert not found.ok, key
        archive._store_dict[key] = whole
    gone = archive._store_dict.pop("reflectance/c/0/0/0/0")
    assert "gone" in str(tec_xarray.verify(archive))
    archive._store_dict["reflectance/c/0/0/0/0"] = gone
    assert tec_xarray.verify(archive).ok


def test_verify_without_a_journal() -> None:
    store = MemoryStore()
    series(4).tec.compress(**SETTINGS).to_zarr(store)
    found = tec_xarray.verify(store, series(4))
    assert found.ok
    assert not found.journal
    key = "reflectance/c/0/0/1/0"
    damaged = bytearray(store._store_dict[key].to_bytes())
    damaged[60] ^= 1
    store._store_dict[key] = zarr.core.buffer.cpu.Buffer.from_bytes(bytes(damaged))
    assert [where for where, _ in tec_xarray.verify(store).problems] == ["block (0, 1, 0)"]


@pytest.mark.parametrize("journal", [True, False], ids=["archive", "plain"])
def test_verify_finds_objects_that_are_cut_to_nothing(journal: bool, tmp_path: Path) -> None:
    """Zarr itself takes an empty shard for one that was never written: it reads as nodata."""
    store, data = tmp_path / "a.zarr", series(4)
    if journal:
        data.tec.compress(store=store, **SETTINGS)
    else:
        data.tec.compress(**SETTINGS).to_zarr(store)
    cut = store / "reflectance/c/0/0/1/0"
    cut.write_bytes(b"")
    found = tec_xarray.verify(store)
    assert {where for where, _ in found.problems} == {"block (0, 1, 0)"}
    assert "a shard of 0 bytes" in str(found)
    done = CliRunner().invoke(app, ["verify", str(store)])
    assert done.exit_code == 1
    assert "block (0, 1, 0): a shard of 0 bytes" in done.output
    array = zarr.open_group(store, mode="r")["reflectance"]
    assert isinstance(array, zarr.Array)
    with pytest.raises(CorruptChunk, match="a shard of 0 bytes"):
        chunk_sizes(array)


def test_verify_knows_the_original(archive: MemoryStore) -> None:
    whole = series(7)
    assert tec_xarray.verify(archive, whole.chunk(time=3, y=50)).ok
    other = whole.copy(deep=True)
    other["B02"][0, 40, 0] += np.uint16(50)
    other["SCL"][6, 0, 95] += np.uint8(1)
    found = tec_xarray.verify(archive, other)
    where = [w for w, _ in found.problems]
    assert where == ["block (0, 1, 0)", "SCL"]
    assert "SCL: differs from the original in block (1, 0, 1)" in str(found)
    assert "another original" in str(found)
    with pytest.raises(InvalidInput, match="6 dates"):
        tec_xarray.verify(archive, whole.isel(time=slice(0, 6)))


def test_copy(archive: MemoryStore, tmp_path: Path) -> None:
    there = tec_xarray.copy(archive, tmp_path / "copy.zarr")
    same(there, xr.open_zarr(archive))
    assert objects(tmp_path / "copy.zarr") == objects(archive)
    assert tec_xarray.verify(tmp_path / "copy.zarr", series(7)).ok
    tec_xarray.append(series(1, first=7), tmp_path / "copy.zarr")
    with zarr.storage.ZipStore(tmp_path / "a.zip", mode="w") as store:
        tec_xarray.copy(archive, store)
    with zarr.storage.ZipStore(tmp_path / "a.zip", mode="r") as store:
        assert tec_xarray.verify(store, series(7)).ok
    with pytest.raises(InvalidInput, match="already"):
        tec_xarray.copy(archive, tmp_path / "copy.zarr")
    damaged = bytearray(archive._store_dict["reflectance/c/0/0/0/0"].to_bytes())
    damaged[9] ^= 1
    archive._store_dict["reflectance/c/0/0/0/0"] = zarr.core.buffer.cpu.Buffer.from_bytes(damaged)
    with pytest.raises(CorruptChunk, match="journal"):
        tec_xarray.copy(archive, tmp_path / "b.zarr")
    with pytest.raises((FileNotFoundError, zarr.errors.GroupNotFoundError)):
        xr.open_zarr(tmp_path / "b.zarr", consolidated=False)  # half a copy opens as nothing


# -- clusters ---------------------------------------------------------------------------------


def test_a_cluster_writes_the_same_bytes(client: Any, tmp_path: Path, archive: MemoryStore) -> None:
    for name, data in (("lazy", series(7).chunk(time=1, x=50)), ("numpy", series(7))):
        store = tmp_path / f"{name}.zarr"
        data.tec.compress(**SETTINGS, store=store, appendable=True)
        assert objects(store) == objects(archive)
        assert tec_xarray.verify(store, data).ok


def test_a_cluster_refuses_what_would_hang_or_vanish(client: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="GPU = 1, which no worker has"):
        series(1).tec.compress(lam=20, store=tmp_path / "a.zarr", resources={"GPU": 1})
    for store in (MemoryStore(), "memory://cluster.zarr"):
        with pytest.raises(InvalidInput, match="memory of this process"):
            series(1).tec.compress(lam=20, store=store)


@pytest.fixture
def doomed_client() -> Iterator[Any]:
    """Of a cluster of its own, which need not be fit for anything afterwards."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_workers_that_cannot_import_what_a_task_needs(
    doomed_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would drop the task without a word, and the scheduler wait for ever."""
    (tmp_path / "only_here.py").write_text("def passes(values):\n    return values\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    lazy = series(4).chunk(y=32)
    lazy["B04"] = lazy["B04"].copy(data=lazy["B04"].data.map_blocks(only_here.passes))
    with pytest.raises(InvalidInput, match=r"2 of 2 workers .* No module named 'only_here'"):
        lazy.tec.compress(**SETTINGS, store=tmp_path / "a.zarr")
    # Workers that come later were not asked. They leave, and take the task with them.
    monkeypatch.setattr(_cluster, "_check_import", lambda *_: None)
    monkeypatch.setattr(_cluster, "PATIENCE", 0.5)
    with pytest.raises(TecError, match="no worker has had anything to do"):
        lazy.tec.compress(**SETTINGS, store=tmp_path / "b.zarr")


def test_sources_that_fail_are_named(tmp_path: Path) -> None:
    """A file that cannot be read costs the blocks that need it, and no others."""

    def fail(values: Any, block_info: Any) -> Any:
        if values.size and block_info[0]["chunk-location"][-2:] == (1, 0):
            raise SourceError("item 'S2A_1', band B04: cannot read it")
        return values

    lazy, store = series(4).chunk(time=4, y=32, x=64), tmp_path / "a.zarr"
    data = lazy["B04"].data.map_blocks(fail, dtype=np.uint16, meta=np.zeros((0, 0, 0), np.uint16))
    with pytest.raises(TecError, match=r"1 of 4 blocks failed: \(0, 1, 0\).*item 'S2A_1'"):
        lazy.assign(B04=lazy["B04"].copy(data=data)).tec.compress(**SETTINGS, store=store)
    assert (states(store)[0, :, :, 0] == [[4, 4], [0, 4]]).all()


def test_a_worker_is_killed(client: Any, tmp_path: Path, archive: MemoryStore) -> None:
    store = tmp_path / "a.zarr"

    def kill() -> None:
        entries = store / "tec_journal" / "state" / "c"
        while not entries.exists():
            time.sleep(0.01)
        os.kill(next(iter(client.cluster.workers.values())).pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    series(7).chunk(time=1, x=50).tec.compress(**SETTINGS, store=store, appendable=True)
    killer.join()
    assert objects(store) == objects(archive)
    assert tec_xarray.verify(store, series(7)).ok

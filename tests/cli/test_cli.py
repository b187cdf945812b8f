"""The ``tec`` command: exit codes, JSON, errors that a person can use; kills that it survives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
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

import tec_xarray
from archives import series
from loopback import no_proxy
from stacserver import faults
from tec_xarray.cli.commands import app
from tec_xarray.store.journal import Journal
from tec_xarray.store.location import StoreLocation
from tec_xarray.testing.catalog import serve_scene
from tec_xarray.testing.catalog_scene import EPSG


def tec(*words: str | Path, code: int = 0) -> Any:
    """Run a command in this process; return what it printed, parsed if it is JSON."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return json.loads(done.stdout) if "--json" in words and done.stdout else done.output


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, data in (("old", series(5)), ("new", series(2, first=5)), ("all", series(7))):
        data.to_zarr(tmp_path / f"{name}.zarr")
    return tmp_path


def test_the_life_of_an_archive(source: Path) -> None:
    store = source / "a.zarr"
    found = tec("compress", source / "old.zarr", store, "--lam", "50", "--appendable", "--json")
    assert found["dates_waiting"] == 1
    assert found["codec"]["lam"] == 50
    found = tec("append", source / "new.zarr", store, "--json")
    assert found["shape"][0] == len(found["dates"]) == 7
    assert tec("verify", store, "--original", source / "all.zarr", "--json")["ok"]
    text = tec("info", store)
    assert found["codec"]["weights"]["sha256"] in text
    assert "the last 3 dates" in text
    tec("copy", store, source / "a.zip")
    assert tec("verify", source / "a.zip", "--json")["ok"]
    assert tec("info", source / "a.zip", "--json")["errors"] == found["errors"]
    block = store / "reflectance/c/0/0/0/0"
    damaged = bytearray(block.read_bytes())
    damaged[20] ^= 1
    block.write_bytes(damaged)
    broken = tec("verify", store, "--json", code=1)
    assert [p["where"] for p in broken["problems"]] == ["block (0, 0, 0)"] * len(broken["problems"])


def test_what_cannot_be_done(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "a.zarr"
    tec("compress", source / "old.zarr", store)
    assert "holds a Zarr group already" in tec("compress", source / "old.zarr", store, code=2)
    assert "compressed already" in tec("compress", store, tmp_path / "b.zarr", code=2)
    assert "other settings: --lam 5" in tec(
        "compress", source / "old.zarr", store, "--resume", "--lam", "5", code=2
    )
    four = tmp_path / "four.zarr"
    xr.open_zarr(source / "old.zarr").tec.compress(lam=20, store=four, chunks={"time": 4})
    assert "appendable" in tec("append", source / "new.zarr", four, code=2)
    assert "no such file" in tec("compress", tmp_path / "nothing.zarr", store, code=2)
    assert "no Zarr group" in tec("info", tmp_path / "nothing.zarr", code=2)
    assert "holds a Zarr group already" in tec("copy", store, source / "old.zarr", code=2)
    assert "W,S,E,N" in tec(
        "archive", "--stac", "http://127.0.0.1:1", "--bbox", "1,2", "--datetime", "2024",
        "--store", tmp_path / "c.zarr", code=2,
    )  # fmt: skip
    tec("verify", code=2)
    lost = tec("compress", source / "old.zarr", tmp_path / "d", "--resource", "GPU=x", code=2)
    assert "GPU=1" in lost
    tec("compress", source / "old.zarr", store, "--overwrite", "--lam", "5")


def test_models_and_weights() -> None:
    names = [entry["model"] for entry in tec("models", "--json")]
    assert names == ["fp", "elic", "tt", "flextec"]
    bundled = [entry for entry in tec("weights", "--json") if entry["weights"] == "mini"]
    assert all(Path(entry["where"]).is_file() and entry["sha256"] for entry in bundled)
    assert "hub" in tec("weights")


def test_help_says_everything_once() -> None:
    """Options in groups are options like any other; defaults in brackets are no markup."""
    text = tec("archive", "--help")
    assert all(text.count(f"--{word} ") == 1 for word in ("stac", "lam", "workers", "group"))
    assert "[fp]" in text
    assert "GPU=1" in tec("append", "--help")


def test_a_store_without_its_first_block_is_begun_anew(source: Path) -> None:
    """A kill may come before the journal is there; --resume must do even then."""
    store = source / "a.zarr"
    marked = series(5).chunk(time=4).drop_vars("platform").tec.compress(lam=20)
    marked.to_zarr(store, compute=False, consolidated=False)
    tec("compress", source / "old.zarr", store, "--resume", "--lam", "20")
    assert tec_xarray.verify(store, xr.open_zarr(source / "old.zarr")).ok
    half = source / "half.zarr"  # a kill while the journal was made
    marked.to_zarr(half, compute=False, consolidated=False)
    zarr.open_group(half).create_group("tec_journal", attributes={"version": 1})
    tec("compress", source / "old.zarr", half, "--resume", "--lam", "20")
    assert tec_xarray.verify(half).ok
    plain = source / "plain.zarr"
    marked.to_zarr(plain, consolidated=False)  # whole, but no archive: not to be touched
    before = {p: p.read_bytes() for p in plain.rglob("*") if p.is_file()}
    for other in (plain, source / "new.zarr"):
        assert "no journal" in tec("compress", source / "old.zarr", other, "--resume", code=2)
    assert before == {p: p.read_bytes() for p in plain.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A STAC API and a file server on this machine, with four dates of the bundled scene."""
    with no_proxy():
        directory = tmp_path_factory.mktemp("catalog")
        with serve_scene(directory, wrap="stacserver.faults:Faults") as running:
            yield running


def asked(catalog: Any, store: Path, dates: str, *more: str) -> list[str | Path]:
    """The words of `tec archive` for three bands and SCL of a window."""
    west, south, east, north = catalog.items[0]["bbox"]
    box = f"{west + 0.004},{south + 0.004},{east - 0.004},{north - 0.004}"
    words = ["archive", "--stac", catalog.url, "--bbox", box, "--datetime", dates]
    return [*words, "--bands", "B04,B08,B8A,SCL", "--store", store, "--json", *more]


@pytest.mark.filterwarnings("ignore::tec_xarray.CatalogWarning")
def test_from_a_catalog_to_an_archive(catalog: Any, tmp_path: Path) -> None:
    store = tmp_path / "a.zarr"
    found = tec(*asked(catalog, store, "2021", "--lam", "50", "--workers", "2"))
    assert found["blocks_missing"] == 0
    assert found["dates_waiting"] == 1
    assert found["bands"] == ["B04", "B08", "B8A"]
    assert found["beside"] == ["SCL"]
    assert "holds a Zarr group already" in tec(*asked(catalog, store, "2021"), code=2)
    clear = ["--query", json.dumps({"eo:cloud_cover": {"lt": 70}})]
    found = tec(*asked(catalog, store, "2022", "--append", *clear))
    assert len(found["dates"]) == 4
    assert "has already" in tec(*asked(catalog, store, "2022-05", "--append"), code=2)
    read = xr.open_zarr(store)
    assert read.rio.crs.to_epsg() == EPSG
    assert list(read.processing_baseline.values) == ["03.01", "04.00", "05.10", "05.10"]
    assert list(read.boa_offset.values) == [0, 0, 0, 0]
    assert tec("verify", store, "--workers", "2", "--json")["ok"]
    text = tec("info", store)
    assert "2021-08-15" in text
    assert "B8A" in text


@pytest.mark.filterwarnings("ignore::tec_xarray.CatalogWarning")
def test_a_catalog_that_fails_in_the_middle(catalog: Any, tmp_path: Path) -> None:
    """Nothing is filled in: the blocks of that file are missing, and --resume brings them."""
    store, item = tmp_path / "a.zarr", catalog.items[1]
    faults.plan(catalog.directory, **{f"{item['id']}/B08.tif": ["404"]})
    words = asked(catalog, store, "2021/2022", "--no-appendable", "--retries", "0")
    text = tec(*words, code=1)
    assert item["id"] in text
    assert "1 of 1 blocks failed" in text
    assert tec("info", store, "--json")["blocks_missing"] == 1
    assert "not written" in tec("verify", store, code=1)
    faults.plan(catalog.directory)
    assert tec(*words, "--resume")["blocks_missing"] == 0
    assert tec("verify", store, "--json")["ok"]
    assert "EPSG:0" in tec(*asked(catalog, tmp_path / "b", "2021", "--crs", "EPSG:0"), code=2)
    assert "no items" in tec(*asked(catalog, tmp_path / "b", "2001"), code=2)
    assert not (tmp_path / "b").exists()


def start(source: Path, store: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tec_xarray.cli", "compress", source, store, *more]
    # Not from the source tree: what is installed counts, as for everybody.
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=store.parent,
        start_new_session=True,
    )


def journalled(store: Path, process: subprocess.Popen[bytes], count: int) -> None:
    """Wait until so many blocks are there, or all."""
    entries = store / "tec_journal" / "state" / "c"
    while process.poll() is None:
        if entries.exists() and sum(p.is_file() for p in entries.rglob("*")) >= count:
            return
        time.sleep(0.01)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Two dozen blocks of a default archive, small in content."""
    tile = np.tile(series(1, (256, 256))["B04"].values[0], (6, 4))
    cube = (("time", "y", "x"), np.stack([tile] * 4))
    data = xr.Dataset({"B04": cube}, attrs={"sensor": "S2L2A"})
    data.chunk(y=512).to_zarr(tmp_path / "large.zarr")
    return tmp_path / "large.zarr"


def states(store: Path) -> Any:
    return Journal(StoreLocation(store)).states()


@pytest.mark.parametrize(
    ("blow", "words"),
    [
        (signal.SIGKILL, ["--workers", "2"]),
        (signal.SIGINT, []),
        pytest.param(signal.SIGKILL, [], marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, ["--workers", "2"], marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed(
    blow: signal.Signals, words: list[str], large: Path, tmp_path: Path
) -> None:
    store = tmp_path / "a.zarr"
    process = start(large, store, *words)
    journalled(store, process, 1)
    if blow == signal.SIGINT:
        os.killpg(process.pid, blow)  # what a terminal does: workers hear of it, too
    else:
        os.kill(process.pid, blow)
    message = process.communicate(timeout=120)[1].decode()
    if blow == signal.SIGINT and process.returncode:
        assert process.returncode == 130
        assert "--resume" in message
    there = states(store)
    tec("compress", large, store, "--resume")
    done = there[..., 0] > 0
    assert (states(store)[done] == there[done]).all()  # microseconds, too: not coded again
    assert tec_xarray.verify(store, xr.open_zarr(large)).ok

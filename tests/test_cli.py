"""The ``tec`` command: exit codes, JSON, errors that a person can use; kills that it survives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from archives import series
from typer.testing import CliRunner

import tec_xarray
from tec_xarray._journal import Journal
from tec_xarray._place import Place
from tec_xarray.cli import app


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
    assert "other settings: lam" in tec(
        "compress", source / "old.zarr", store, "--resume", "--lam", "5", code=2
    )
    assert "appendable" in tec("append", source / "new.zarr", store, code=2)
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
    plain = source / "plain.zarr"
    marked.to_zarr(plain, consolidated=False)  # whole, but no archive: not to be touched
    before = {p: p.read_bytes() for p in plain.rglob("*") if p.is_file()}
    for other in (plain, source / "new.zarr"):
        assert "no journal" in tec("compress", source / "old.zarr", other, "--resume", code=2)
    assert before == {p: p.read_bytes() for p in plain.rglob("*") if p.is_file()}


def start(source: Path, store: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tec_xarray.cli", "compress", source, store, *more]
    # Not from the source tree: what is installed counts, as for everybody.
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=store.parent
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
    """Twelve blocks of a default archive, small in content."""
    tile = np.tile(series(1, (256, 256))["B04"].values[0], (12, 4))
    cube = (("time", "y", "x"), np.stack([tile] * 4))
    data = xr.Dataset({"B04": cube}, attrs={"sensor": "S2L2A"})
    data.chunk(y=1024).to_zarr(tmp_path / "large.zarr")
    return tmp_path / "large.zarr"


def states(store: Path) -> Any:
    return Journal(Place(store)).states()


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed(blow: signal.Signals, large: Path, tmp_path: Path) -> None:
    store = tmp_path / "a.zarr"
    process = start(large, store)
    journalled(store, process, 1)
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

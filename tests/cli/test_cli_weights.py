"""``tec weights``: all commands, against a hub on the loopback interface and all kinds of files."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

import published
import terracodec_seeds as seeds
from loopback_hub import Hub, run, serving
from tec_numcodecs.weights import published as hub
from tec_xarray.cli.commands import app


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


def tec(*words: str | Path, code: int = 0) -> Any:
    """Run a command in this process; return what it printed, parsed if it is JSON."""
    done = CliRunner().invoke(app, ["weights", *map(str, words)])
    assert done.exit_code == code, (done.output, done.exception)
    return json.loads(done.stdout) if "--json" in words and done.stdout else done.output


def checkpoint(directory: Path, model: str, name: str = "own.pt", **more: Any) -> Path:
    torch.save(published.state(model, **more), directory / name)
    return directory / name


def test_import_list_info(tmp_path: Path) -> None:
    source = checkpoint(tmp_path, "elic", "TerraCodec_v1_ELIC_S2L2A_lambda-10.pt")
    before = tec("info", source, "--json")
    assert (before["model"], before["frozen"]) == ("elic", False)
    found = tec("import", source, "--json")
    assert found["id"] == "terracodec-1.0-elic-s2l2a-lambda-10"
    assert (found["model"], found["bands"], found["widths"]) == ("elic", 12, [8, 18])
    assert found["source_sha256"] == before["source_sha256"]
    assert Path(found["path"]).parent == tmp_path / "cache" / "tec_numcodecs" / "weights"
    rows = {row["id"]: row for row in tec("list", "--json") if row["sha256"]}
    assert rows[found["id"]]["where"] == found["path"]
    assert rows[found["id"]]["weights"] == "terracodec-1.0"
    for name in (found["id"], found["sha256"], found["path"]):
        assert tec("info", name, "--json")["sha256"] == found["sha256"]
    assert found["sha256"] in tec("info", found["id"])
    # Somebody else's frozen file.
    sent = tmp_path / "sent.safetensors"
    sent.write_bytes(Path(found["path"]).read_bytes())
    again = tec("import", sent, "--json")
    assert (again["sha256"], again["path"]) == (found["sha256"], found["path"])


def test_without_a_command_it_lists() -> None:
    assert tec() == tec("list")
    assert tec("--json") == tec("list", "--json")
    assert "hub: embed2scale/TerraCodec-1.0-TT-S2L1C" in tec()


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


def test_files_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bomb.pt").write_bytes(pickle.dumps(_Bomb()))
    whole = checkpoint(tmp_path, "fp").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.safetensors").write_text("no tensors")
    state = seeds.tt_state()
    del state["model.entropy_model.mean_head.4.bias"]
    torch.save(state, tmp_path / "part.pt")
    cases = {
        ("bomb.pt",): "more than tensors",
        ("half.pt",): "damaged",
        ("text.safetensors",): "damaged",
        ("part.pt",): "1 missing: model.entropy_model.mean_head.4.bias",
        ("none.pt",): "no such file",
        ("own.pt", "--model", "tt"): "checkpoint of 'fp'",
    }
    for words, message in cases.items():
        assert message in tec("import", *words, code=1)
    for name in ("bomb.pt", "half.pt", "text.safetensors", "part.pt"):
        assert cases[name,] in tec("info", name, code=1)
    assert not (tmp_path / "exploded").exists()
    assert not list(tmp_path.rglob("cache/**/*.safetensors"))


def test_names_that_are_nothing() -> None:
    assert "a file, an id" in tec("info", "nope", code=2)
    assert "begins with 0000" in tec("info", "0" * 64, code=1)
    message = tec("info", "terracodec-1.0-tt-s2l1c-lambda-5", code=1)
    assert "tec weights fetch tt --lam 5 --sensor sentinel-2-l1c" in message
    assert "5, 20, 100" in tec("fetch", "tt", "--lam", 7, "--sensor", "sentinel-2-l1c", code=2)
    assert "one of them" in tec("fetch", "tt", "--lam", 5, "--all", code=2)
    assert "--model flextec" in tec("fetch", "tt", "--lr-only", code=2)
    assert "--model fp for sentinel-2-l2a" in tec("fetch", "vtm", code=2)


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[tuple[type[Hub], str]]:
    """A hub with both FlexTECs and one of five FP checkpoints."""
    places = [hub.published("fp", 40), hub.published("flextec")]
    files = {}
    for place in places:
        path = checkpoint(tmp_path, place.family.model, f"{place.id}.pt")
        files[place] = path.read_bytes()
    low = hub.published("flextec", lr_only=True)
    torch.save(seeds.tt_state(seed=4, flexible=True), tmp_path / "low.pt")
    files[low] = (tmp_path / "low.pt").read_bytes()
    with serving(files) as found:
        yield found


def fetch(home: Path, *words: str, code: int = 0, **environment: str) -> Any:
    done = run(home, "-m", "tec_xarray.cli", "weights", "fetch", *words, "--json", **environment)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def test_fetch(tmp_path: Path, loopback: tuple[type[Hub], str]) -> None:
    handler, endpoint = loopback
    (found,) = fetch(tmp_path, "fp", "--lam", "50", "--nearest", HF_ENDPOINT=endpoint)
    assert found["id"] == "terracodec-1.0-fp-s2l2a-lambda-40"
    assert Path(found["source"]).is_file()
    assert Path(found["path"]).is_file()
    assert len([method for method, _ in handler.log if method == "GET"]) == 1
    handler.log.clear()
    assert fetch(tmp_path, "fp", "--lam", "40", HF_HUB_OFFLINE="1") == [found]
    missing = fetch(tmp_path, "fp", "--all", code=1, HF_ENDPOINT=endpoint)
    assert "could not fetch TerraCodec_v1_FP_S2L2A_lambda-0.5.pt" in missing


def test_fetch_what_breaks_off(tmp_path: Path, loopback: tuple[type[Hub], str]) -> None:
    handler, endpoint = loopback
    handler.truncate = True
    message = fetch(tmp_path, "fp", "--lam", "40", code=1, HF_ENDPOINT=endpoint)
    assert "could not fetch TerraCodec_v1_FP_S2L2A_lambda-40.pt" in message
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.slow
def test_the_two_flextecs(tmp_path: Path, loopback: tuple[type[Hub], str]) -> None:
    (standard,) = fetch(tmp_path, "flextec", HF_ENDPOINT=loopback[1])
    (low,) = fetch(tmp_path, "flextec", "--lr-only", HF_ENDPOINT=loopback[1])
    assert low["id"] == "terracodec-1.0-flextec-lronly-s2l2a-lambda-800"
    assert low["sha256"] != standard["sha256"]


def test_compress_with_published_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(published.fill(tmp_path / "w", {"fp": 40.0})))
    data = np.full((1, 32, 32), 900, np.uint16)
    bands = dict.fromkeys(("B02", "B03", "B04"), (("time", "y", "x"), data))
    xr.Dataset(bands, attrs={"sensor": "S2L2A"}).to_zarr(tmp_path / "in.zarr")

    def compress(*words: str, code: int = 0) -> Any:
        line = ["compress", str(tmp_path / "in.zarr"), str(tmp_path / "out.zarr"), *words]
        done = CliRunner().invoke(app, [*line, "--weights", "terracodec-1.0", "--json"])
        assert done.exit_code == code, (done.output, done.exception)
        return json.loads(done.stdout) if code == 0 else done.output

    assert "0.5, 2, 10, 40, 200" in compress("--lam", "50", code=2)
    assert "bundled weights" in compress("--lam", "40", "--max-error", "0", code=2)
    assert "could not fetch" in compress("--model", "tt", code=1)
    assert not (tmp_path / "out.zarr").exists()
    found = compress("--lam", "50", "--nearest")
    assert found["codec"]["weights"]["id"] == "terracodec-1.0-fp-s2l2a-lambda-40"
    assert found["codec"]["lam"] == 40
    done = CliRunner().invoke(app, ["verify", str(tmp_path / "out.zarr"), "--json"])
    assert json.loads(done.stdout)["ok"]

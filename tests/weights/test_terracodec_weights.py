"""Importing published checkpoints: files of all kinds, and a hub on the loopback interface."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import terracodec_seeds as seeds
from loopback_hub import Hub, permissions_count, run, serving
from tec_numcodecs.errors import InvalidInput, WeightsError
from tec_numcodecs.models.base import Rate
from tec_numcodecs.models.terracodec import checkpoint, elic, flextec, fp, importing, tt
from tec_numcodecs.weights import published

STATES = {
    "fp": seeds.fp_state,
    "elic": seeds.elic_state,
    "tt": seeds.tt_state,
    "flextec": lambda: seeds.tt_state(flexible=True),
}
MODULES = {"fp": fp, "elic": elic, "tt": tt, "flextec": flextec}


def saved(directory: Path, state: object, name: str = "weights.pt") -> Path:
    path = directory / name
    torch.save(state, path)
    return path


# --- import ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATES)
def test_import_and_load(tmp_path: Path, name: str) -> None:
    source = saved(tmp_path, STATES[name]())
    imported = importing.import_checkpoint(source, model=name, directory=tmp_path / "frozen")
    assert imported.model == name
    assert imported.path.name == f"{imported.weights.sha256}.safetensors"
    model = importing.load(imported.path, imported.weights.sha256)
    direct = importing._ARCHITECTURES[name][1](MODULES[name].freeze(STATES[name]()))
    cube, geometry = seeds.scene((2, 12, 32, 32))
    rate = Rate(0, 4 if name == "flextec" else 0)
    streams = [m.entropy_encode(m.analysis([cube], [geometry], [rate])) for m in (model, direct)]
    assert streams[0] == streams[1]


def test_freezing_again_gives_the_same_file(tmp_path: Path) -> None:
    source = saved(tmp_path, seeds.fp_state())
    first = importing.import_checkpoint(source, directory=tmp_path / "a")
    second = importing.import_checkpoint(source, directory=tmp_path / "b")
    assert first.path.read_bytes() == second.path.read_bytes()
    before = first.path.stat().st_mtime_ns
    again = importing.import_checkpoint(source, directory=tmp_path / "a")
    assert again == first
    assert again.path.stat().st_mtime_ns == before, "found, not frozen again"


def test_every_weight_changes_the_identity(tmp_path: Path) -> None:
    state = seeds.fp_state()
    first = importing.import_checkpoint(saved(tmp_path, state), directory=tmp_path)
    state["g_s.6.bias"][0] += 1.0
    second = importing.import_checkpoint(saved(tmp_path, state), directory=tmp_path)
    assert first.weights.sha256 != second.weights.sha256


def test_names_found_in_the_wild(tmp_path: Path) -> None:
    """A leading ``model.``, and the old CompressAI names of the factorized prior."""
    expected = importing.import_checkpoint(saved(tmp_path, seeds.fp_state()), directory=tmp_path)
    old = {}
    for key, value in seeds.fp_state().items():
        for new, stem in (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor")):
            key = key.replace(f"entropy_bottleneck.{new}", f"entropy_bottleneck.{stem}")  # noqa: PLW2901
        old[f"model.{key}"] = value
    found = importing.import_checkpoint(saved(tmp_path, old), directory=tmp_path)
    arrays = [
        importing.safetensors.numpy.load_file(i.path) for i in (expected, found)
    ]  # the files differ in the digest of their source alone
    assert arrays[0].keys() == arrays[1].keys()
    assert all(np.array_equal(arrays[0][k], arrays[1][k]) for k in arrays[0])


def test_stored_tables_are_ignored_whatever_their_size(tmp_path: Path) -> None:
    state = seeds.tt_state()
    for name, size in (("_quantized_cdf", (9, 4)), ("_offset", (9,)), ("_prior_mean", (0,))):
        state[f"model.entropy_model.bottleneck._entropy_model.{name}"] = torch.zeros(size)
    importing.import_checkpoint(saved(tmp_path, state), model="tt", directory=tmp_path)


# --- bad files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATES)
def test_missing_extra_and_misshapen_tensors_are_all_named(name: str) -> None:
    state = STATES[name]()
    keys = [k for k in sorted(state) if k.endswith("bias")]
    lost, bent, broken = keys[-1], keys[-2], keys[-3]
    del state[lost]
    state[bent] = torch.zeros(3, 3)
    state[broken] = torch.full_like(state[broken], float("nan"))
    state["surprise"] = torch.zeros(1)
    with pytest.raises(WeightsError) as error:
        checkpoint.check(state, MODULES[name].layout(state), name)
    message = str(error.value)
    assert f"1 missing: {lost}" in message
    assert "1 unexpected: surprise" in message
    assert f"1 misshapen: {bent} [3, 3] instead of" in message
    assert f"1 not finite numbers: {broken}" in message


def test_another_architecture(tmp_path: Path) -> None:
    source = saved(tmp_path, seeds.fp_state())
    with pytest.raises(WeightsError, match=r"checkpoint of 'fp'.*model='fp'"):
        importing.import_checkpoint(source, model="elic", directory=tmp_path)
    with pytest.raises(WeightsError, match="FP, ELIC, TT or FlexTEC"):
        importing.import_checkpoint(
            saved(tmp_path, {"conv1.weight": torch.zeros(3)}), directory=tmp_path
        )


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


def test_code_in_a_pickle_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bomb.pt"
    path.write_bytes(pickle.dumps(_Bomb()))
    for bad in (path, saved(tmp_path, {"w": _Bomb()}, "bomb2.pt")):
        with pytest.raises(WeightsError, match="more than tensors"):
            importing.import_checkpoint(bad, directory=tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_half_a_file(tmp_path: Path) -> None:
    whole = saved(tmp_path, seeds.fp_state()).read_bytes()
    for share in (0, 10, len(whole) // 2, len(whole) - 100):
        path = tmp_path / f"half{share}.pt"
        path.write_bytes(whole[:share])
        with pytest.raises(WeightsError):
            importing.import_checkpoint(path, directory=tmp_path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        importing.import_checkpoint(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("state", [{}, [1, 2], {"a": 1}, {1: torch.zeros(1)}])
def test_no_state_dict(tmp_path: Path, state: object) -> None:
    with pytest.raises(WeightsError):
        importing.import_checkpoint(saved(tmp_path, state), directory=tmp_path)


def test_frozen_file_that_was_changed(tmp_path: Path) -> None:
    imported = importing.import_checkpoint(saved(tmp_path, seeds.fp_state()), directory=tmp_path)
    data = bytearray(imported.path.read_bytes())
    data[-1] ^= 1
    imported.path.write_bytes(data)
    with pytest.raises(WeightsError, match="SHA-256"):
        importing.load(imported.path, imported.weights.sha256)


def test_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    source = saved(tmp_path, seeds.fp_state())
    with pytest.raises(WeightsError, match="TEC_WEIGHTS_DIR"):
        importing.import_checkpoint(source, directory=tmp_path / "file" / "below")


# --- which checkpoints there are ---------------------------------------------------------------


def test_published_names() -> None:
    found = published.published("tt", 0.4)
    assert found.repository == "embed2scale/TerraCodec-1.0-TT-S2L2A"
    assert found.file == "TerraCodec_v1_TT_S2L2A_lambda-0.4.pt"
    assert found.id == "terracodec-1.0-tt-s2l2a-lambda-0.4"
    assert published.published("flextec").file == "FlexTEC_v1_S2L2A_lambda-800.pt"
    assert published.published("tt", sensor="sentinel-2-l1c").file.endswith("S2L1C_lambda-20.pt")
    assert published.published("elic", 200).file == "TerraCodec_v1_ELIC_S2L2A_lambda-200.pt"


def test_lam_without_a_checkpoint() -> None:
    with pytest.raises(InvalidInput, match=r"0\.5, 2, 10, 40, 200.*nearest=True"):
        published.published("elic", 15.0)
    assert published.published("elic", 15.0, nearest=True).lam == 10.0
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidInput):
            published.published("elic", bad, nearest=True)
    with pytest.raises(InvalidInput, match="sentinel-2-l1c"):
        published.published("fp", sensor="sentinel-2-l1c")


# --- a hub on the loopback interface -----------------------------------------------------------


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[tuple[type[Hub], str]]:
    """A hub that has one file."""
    data = saved(tmp_path, seeds.fp_state(), "published.pt").read_bytes()
    with serving({published.published("fp", 40): data}) as found:
        yield found


_FETCH = """
import sys
from tec_numcodecs.errors import WeightsError
from tec_numcodecs.models.terracodec import importing
from tec_numcodecs.weights import published
place = published.published("fp", float(sys.argv[1]))
try:
    found = importing.import_checkpoint(published.fetch(place), model="fp", name=place.id)
except WeightsError as error:
    print("WeightsError:", error)
else:
    print(found.weights.id, found.weights.sha256)
"""


def fetched(tmp_path: Path, lam: float, **environment: str) -> str:
    done = run(tmp_path, "-c", _FETCH, str(lam), **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_fetch_once_then_offline(tmp_path: Path, loopback: tuple[type[Hub], str]) -> None:
    handler, endpoint = loopback
    first = fetched(tmp_path, 40, HF_ENDPOINT=endpoint)
    assert first.startswith("terracodec-1.0-fp-s2l2a-lambda-40 ")
    assert any(method == "GET" for method, _ in handler.log)
    handler.log.clear()
    assert fetched(tmp_path, 40, HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="1") == first
    assert handler.log == []


def test_a_file_that_the_hub_lacks(tmp_path: Path, loopback: tuple[type[Hub], str]) -> None:
    message = fetched(tmp_path, 10, HF_ENDPOINT=loopback[1])
    assert message.startswith("WeightsError: could not fetch TerraCodec_v1_FP_S2L2A_lambda-10.pt")


def test_no_network(tmp_path: Path) -> None:
    message = fetched(tmp_path, 40, HF_HUB_OFFLINE="1")
    assert message.startswith("WeightsError: could not fetch")
    assert "resolve/main/TerraCodec_v1_FP_S2L2A_lambda-40.pt" in message
    assert "TEC_WEIGHTS_DIR" in message


def test_a_download_that_breaks_off(tmp_path: Path, loopback: tuple[type[Hub], str]) -> None:
    handler, endpoint = loopback
    handler.truncate = True
    assert fetched(tmp_path, 40, HF_ENDPOINT=endpoint).startswith("WeightsError: could not fetch")
    handler.truncate = False
    assert fetched(tmp_path, 40, HF_ENDPOINT=endpoint).startswith("terracodec-1.0-fp")


def test_files_put_there_by_hand(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    saved(tmp_path / "weights", seeds.fp_state(), published.published("fp", 40).file)
    found = fetched(tmp_path, 40, HF_HUB_OFFLINE="1", TEC_WEIGHTS_DIR=str(tmp_path / "weights"))
    assert found.startswith("terracodec-1.0-fp-s2l2a-lambda-40 ")


@pytest.mark.parametrize("place", ["hub", "cache"])
def test_a_cache_that_cannot_be_written(
    tmp_path: Path, loopback: tuple[type[Hub], str], place: str
) -> None:
    if not permissions_count():
        pytest.skip("root writes everywhere on this system")
    (tmp_path / place).mkdir()
    (tmp_path / place).chmod(0o555)
    done = run(tmp_path, "-c", _FETCH, "40", without_override=True, HF_ENDPOINT=loopback[1])
    (tmp_path / place).chmod(0o755)
    assert done.stdout.startswith("WeightsError: "), done.stderr
    assert "ermission denied" in done.stdout
    assert ("HF_HOME" if place == "hub" else "TEC_WEIGHTS_DIR") in done.stdout


# --- no network --------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_without_a_network_there_is_one_message_and_no_wait(tmp_path: Path, endpoint: str) -> None:
    code = (
        "import time; from tec_numcodecs.weights import published; start = time.monotonic()\n"
        "try: published.fetch(published.published('fp', 10.0))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "assert time.monotonic() - start < 60"
    )
    done = run(tmp_path, "-c", code, HF_ENDPOINT=endpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "WeightsError could not fetch TerraCodec_v1_FP_S2L2A_lambda-10.pt"
    )
    assert "no connection to" in done.stdout
    assert "TEC_WEIGHTS_DIR" in done.stdout

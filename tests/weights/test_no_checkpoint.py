"""Files that are no checkpoint, or one that was damaged: WeightsError whatever the bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import stat
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

import terracodec_seeds as seeds
from tec_numcodecs.errors import WeightsError
from tec_numcodecs.models.terracodec import importing
from tec_numcodecs.weights import local_store

OPCODES = [b"\x80\x02", b"t", b"j", b"J\xfd", b"(", b".", b"c", b"R", b"b", b"}", b"]", b"h", b"q",
           b"ctorch._utils\n_rebuild_tensor_v2\n", b"X\x03\x00\x00\x00abc", b"\x85", b"K\x01", b"Q",
           b"ccollections\nOrderedDict\n", b"\x89", b"u", b"s", b"l", b"\x8a\x0a"]  # fmt: skip


def read(path: Path, data: bytes) -> None:
    """Read bytes as a checkpoint; anything but tensors or a WeightsError fails the test."""
    path.write_bytes(data)
    with contextlib.suppress(WeightsError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importing.checked(importing.read_source(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@given(data=st.binary(max_size=60) | st.lists(st.sampled_from(OPCODES), max_size=12).map(b"".join))
@pytest.mark.parametrize("suffix", ["pt", "bin", "safetensors"])
def test_random_bytes_and_opcodes(folder: Path, suffix: str, data: bytes) -> None:
    path = folder / f"x.{suffix}"
    path.write_bytes(data)
    with warnings.catch_warnings(action="ignore"), pytest.raises(WeightsError):
        importing.checked(importing.read_source(path))


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_real_files_that_were_changed(folder: Path, form: str) -> None:
    path = folder / ("real.safetensors" if form == "safetensors" else "real.pt")
    if form == "safetensors":
        safetensors.torch.save_file(seeds.fp_state(), path)
    else:
        torch.save(seeds.fp_state(), path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    chance = random.Random(3)
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 3, 20))):
            # What is told (pickle, directory, header) stands at the beginning and at the end.
            near = chance.randrange(3000) if chance.random() < 0.7 else chance.randrange(len(data))
            data[near if chance.random() < 0.6 else -1 - near] = chance.randrange(256)
        read(path, bytes(data[: chance.randrange(len(data))] if chance.random() < 0.2 else data))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_that_are_no_plain_numbers(tmp_path: Path) -> None:
    odd = {
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.zeros(3, device="meta"),
        "complex": torch.zeros(3, dtype=torch.complex64),
        "quantized": torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
    }
    for name, value in odd.items():
        state = seeds.fp_state()
        state[min(state)] = value
        torch.save(state, tmp_path / f"{name}.pt")
        with pytest.raises(WeightsError):
            importing.import_checkpoint(tmp_path / f"{name}.pt", directory=tmp_path)


@pytest.mark.parametrize("number", [1e38, -1e38, 1e-45, 0.0])
def test_numbers_that_no_training_gives(tmp_path: Path, number: float) -> None:
    state = {
        key: torch.full_like(value, number) if value.is_floating_point() else value
        for key, value in seeds.fp_state().items()
    }
    torch.save(state, tmp_path / "odd.pt")
    with contextlib.suppress(WeightsError):
        found = importing.import_checkpoint(tmp_path / "odd.pt", directory=tmp_path)
        importing.load(found.path, found.weights.sha256)


def test_frozen_files_that_were_changed(tmp_path: Path) -> None:
    """Whoever writes a file writes its digest: what is in it must be checked, too."""
    torch.save(seeds.fp_state(), tmp_path / "a.pt")
    whole = importing.import_checkpoint(tmp_path / "a.pt", directory=tmp_path).path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    chance = random.Random(5)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 2, 5))):
            data[chance.randrange(header if chance.random() < 0.8 else len(data))] = (
                chance.randrange(256)
            )
        digest = hashlib.sha256(data).hexdigest()
        (tmp_path / f"{digest}.safetensors").write_bytes(data)
        with contextlib.suppress(WeightsError):
            importing.load(tmp_path / f"{digest}.safetensors", digest)
        (tmp_path / f"{digest}.safetensors").unlink()


@pytest.mark.skipif(os.name != "posix", reason="no umask here")
@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_files_of_the_cache_follow_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(tmp_path / "cache"))
    torch.save(seeds.fp_state(), tmp_path / "mine.pt")
    (tmp_path / "mine.pt").chmod(0o600)
    before = os.umask(umask)
    try:
        frozen = importing.import_checkpoint(tmp_path / "mine.pt").path
        local_store.keep(tmp_path / "mine.pt", "0" * 64)
    finally:
        os.umask(before)
    files = [path for path in frozen.parent.iterdir() if path.is_file()]
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~umask}

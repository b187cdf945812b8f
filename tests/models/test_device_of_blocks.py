"""`device=` and `batch_size=` travel with the blocks to whoever codes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import published
import tec_xarray
import terracodec_seeds as seeds
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.terracodec.exact import backends
from tec_numcodecs.options import get_options, set_options
from tec_numcodecs.sensors import get_sensor
from tec_xarray.execution.settings import WithOptions, settings_for_blocks

SETTINGS = {"model": "elic", "weights": "terracodec-1.0", "lam": published.LAMS["elic"]}
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.fixture(autouse=True)
def _weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = published.fill(tmp_path / "weights", {"elic": published.LAMS["elic"]})
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(directory))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.set_num_threads(1)


def series(first: int = 0) -> xr.Dataset:
    cube = np.maximum(seeds.scene((4, 12, 64, 128), seed=first)[0], 1).astype(np.uint16)
    bands = get_sensor("sentinel-2-l2a").bands
    times = np.datetime64("2024-03-01", "ns") + (first + np.arange(4)) * np.timedelta64(5, "D")
    variables = {b: (("time", "y", "x"), cube[:, i]) for i, b in enumerate(bands)}
    return xr.Dataset(variables, {"time": times}, {"sensor": "sentinel-2-l2a"})


def written(store: Path, **more: Any) -> dict[str, bytes]:
    shape = {"chunks": (4, 12, 64, 64), "shards": (4, 12, 64, 128)}
    series().tec.compress(**SETTINGS, **shape, store=store, appendable=True, **more)
    return {p.name: p.read_bytes() for p in sorted(store.rglob("c/**/*")) if p.is_file()}


def test_blocks_are_coded_where_the_call_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = written(tmp_path / "cpu.zarr")
    seen: list[tuple[str, int]] = []
    true = backends.through_torch

    def spy(name: str, device: torch.device) -> Any:
        seen.append((name, get_options().batch_size))
        return true(name, device)

    monkeypatch.setattr(backends, "through_torch", spy)
    store = tmp_path / "device.zarr"
    assert written(store, device="cpu-torch", batch_size=2) == expected
    assert set(seen) == {("cpu-torch", 2)}
    seen.clear()
    tec_xarray.append(series(first=4), store, device="cpu-torch", batch_size=3)
    assert set(seen) == {("cpu-torch", 3)}
    assert get_options().device == "cpu"


@no_gpu
def test_a_device_that_is_not_there_is_an_error_before_the_first_block(tmp_path: Path) -> None:
    store = tmp_path / "a.zarr"
    with pytest.raises(InvalidInput, match="device 'cuda'"):
        written(store, device="cuda")
    assert not store.exists()
    for bad in ({"device": "gpu"}, {"batch_size": 0}):
        with pytest.raises(InvalidInput, match=next(iter(bad))):
            written(tmp_path / "b.zarr", **bad)
    assert not (tmp_path / "b.zarr").exists()
    with pytest.raises(InvalidInput, match="without store="):
        series().tec.compress(**SETTINGS, device="cpu")


@no_gpu
def test_workers_are_asked_for_their_device(client: Any, tmp_path: Path) -> None:
    store = tmp_path / "a.zarr"
    with pytest.raises(InvalidInput, match="2 of 2 workers cannot use their device"):
        written(store, device="cuda")
    assert not store.exists()
    # The bundled models run on the CPU wherever the options point.
    series().tec.compress(lam=20, store=tmp_path / "b.zarr", device="cuda")


def test_workers_get_the_options_of_a_call(client: Any) -> None:
    task = WithOptions(get_options, {"device": "cpu-torch", "batch_size": 3})  # type: ignore[arg-type]
    found = client.submit(task, pure=False).result()
    assert (found.device, found.batch_size) == ("cpu-torch", 3)
    assert client.submit(get_options, pure=False).result().device == "cpu"


def test_what_is_set_here_travels_and_defaults_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_for_blocks(None, None) == {}
    monkeypatch.setenv("TEC_BATCH_SIZE", "5")
    with set_options(device="cuda:1", threads=3):
        assert settings_for_blocks(None, None) == {"device": "cuda:1", "batch_size": 5}
        assert settings_for_blocks("cpu", 7) == {"device": "cpu", "batch_size": 7}

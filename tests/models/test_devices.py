"""Where published checkpoints run, and on how many threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import published
import terracodec_seeds as seeds
from cubes import scene
from tec_numcodecs import chunk
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.terracodec import devices, elic, fp, layers, tt
from tec_numcodecs.options import set_options

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def small() -> tuple[fp.FactorizedPrior, Any, Geometry]:
    pixels, geometry = seeds.scene((2, 12, 48, 40))
    return fp.FactorizedPrior(fp.freeze(seeds.fp_state())), pixels, geometry


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_here_is_refused_and_not_replaced() -> None:
    model, pixels, geometry = small()
    with set_options(device="cuda"), pytest.raises(InvalidInput, match="device 'cuda'"):
        model.analysis([pixels], [geometry], [Rate(0)])
    assert model.analysis([pixels], [geometry], [Rate(0)])


@GPU
def test_pixels_of_a_gpu_are_those_of_the_processor_but_for_rounding() -> None:
    model, pixels, geometry = small()
    latents = model.analysis([pixels], [geometry], [Rate(0)])
    expected = model.synthesis(latents)[0]
    with set_options(device="cuda"):
        (stream,) = model.entropy_encode(model.analysis([pixels], [geometry], [Rate(0)]))
        model.entropy_decode([stream], [geometry], [Rate(0)])
        assert np.abs(model.synthesis(latents)[0] - expected).max() <= 1


def test_a_network_is_copied_to_a_device_once() -> None:
    network, elsewhere = nn.Sequential(layers.GDN(4)), torch.device("meta")
    assert devices.on_device(network, torch.device("cpu")) is network
    copied = devices.on_device(network, elsewhere)
    assert copied is devices.on_device(network, elsewhere)
    assert {p.device.type for p in copied.parameters()} == {"meta"}
    assert {p.device.type for p in network.parameters()} == {"cpu"}


@pytest.mark.parametrize("kind", [fp.FactorizedPrior, elic.Elic, tt.TemporalTransformer])
def test_no_operation_of_a_transform_mixes_devices(kind: Any) -> None:
    """Buffers and constants go along: torch refuses operands on two devices."""
    state = {"fp": seeds.fp_state, "elic": seeds.elic_state, "tt": seeds.tt_state}[kind.name]()
    model = kind({"fp": fp, "elic": elic, "tt": tt}[kind.name].freeze(state))
    elsewhere = torch.device("meta")
    x = torch.empty(1, 12, 64, 64, device=elsewhere)
    with torch.inference_mode():
        y = devices.on_device(model.g_a, elsewhere)(x)
        assert devices.on_device(model.g_s, elsewhere)(y).shape == x.shape
        if kind is elic.Elic:
            assert devices.on_device(model.h_a, elsewhere)(y).device == elsewhere


@pytest.mark.parametrize("threads", [1, 3])
def test_a_call_has_the_threads_of_the_options(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    for name in ("analysis", "entropy_encode", "entropy_decode", "synthesis"):
        method = getattr(fp.FactorizedPrior, name)

        def spy(*arguments: Any, method: Any = method) -> Any:
            seen.add(torch.get_num_threads())
            return method(*arguments)

        monkeypatch.setattr(fp.FactorizedPrior, name, spy)
    monkeypatch.setenv(
        "TEC_WEIGHTS_DIR", str(published.fill(tmp_path, {"fp": published.LAMS["fp"]}))
    )
    config = CodecConfig.parse("fp", published.LAMS["fp"], weights="terracodec-1.0")
    before = torch.get_num_threads()
    with set_options(threads=threads):
        (data,) = chunk.encode([scene((1, 12, 32, 32))], config)
        chunk.decode([data], config)
    assert seen == {threads}
    assert torch.get_num_threads() == before


def test_calls_that_overlap_put_the_setting_back() -> None:
    before = torch.get_num_threads()
    with set_options(threads=before + 1):
        first, second = devices.limited_threads(), devices.limited_threads()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_num_threads() == before + 1
        second.__exit__(None, None, None)
    assert torch.get_num_threads() == before

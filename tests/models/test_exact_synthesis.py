"""Exact pixels of the published architectures: near the float ones, and the same every way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import exact_numpy as reference
import terracodec_seeds as seeds
from tec_numcodecs.errors import UnsupportedFormat, WeightsError
from tec_numcodecs.models.base import Latents, Rate
from tec_numcodecs.models.terracodec import elic, exact_synthesis, flextec, fp, layers, tt
from tec_numcodecs.models.terracodec.exact import integer_gemm
from tec_numcodecs.models.terracodec.exact import layers as exact

torch.set_num_threads(1)

NAMES = ("fp", "elic", "tt", "flextec")


@pytest.fixture(scope="module")
def models() -> dict[str, exact_synthesis.Published]:
    return {
        "fp": fp.FactorizedPrior(fp.freeze(seeds.fp_state())),
        "elic": elic.Elic(elic.freeze(seeds.elic_state())),
        "tt": tt.TemporalTransformer(tt.freeze(seeds.tt_state())),
        "flextec": flextec.FlexTec(flextec.freeze(seeds.tt_state(flexible=True))),
    }


def coded(model: exact_synthesis.Published, frames: int = 2, seed: int = 0) -> Latents:
    cube, geometry = seeds.scene((frames, 12, 64, 64), seed=seed)
    rate = Rate(0, 5 if model.name == "flextec" else 0)
    return model.analysis([cube], [geometry], [rate])[0]


def pixels(model: exact_synthesis.Published, latents: Latents) -> NDArray[np.int32]:
    bare = Latents(latents.geometry, latents.rate, latents.symbols)
    return np.asarray(model.synthesis([bare])[0])


@pytest.mark.parametrize("name", NAMES)
def test_exact_pixels_are_near_the_float_ones(
    models: dict[str, exact_synthesis.Published], name: str
) -> None:
    model = models[name]
    latents = coded(model)
    found, expected = pixels(model.exact(), latents), pixels(model, latents)
    assert found.dtype == np.int32
    assert model.exact().synthesis_kind == "exact"
    assert model.synthesis_kind == "float"
    error = found - expected
    assert np.sqrt(np.mean(error**2)) < 2e-3 * expected.std()
    assert np.abs(error).max() < 0.03 * expected.std()


@pytest.mark.parametrize("name", NAMES)
def test_exact_pixels_are_the_same_every_way(
    models: dict[str, exact_synthesis.Published], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models[name].exact()
    latents = coded(model)
    expected = pixels(model, latents)
    try:
        for way in ("float64", "int16", *(["int8"] if integer_gemm.int8_is_exact() else [])):
            integer_gemm.set_carrier(way)  # type: ignore[arg-type]
            for threads, disabled in ((2, "0"), (1, "1")):
                torch.set_num_threads(threads)
                monkeypatch.setenv("TEC_DISABLE_NATIVE", disabled)
                assert np.array_equal(pixels(model, latents), expected), (way, threads, disabled)
    finally:
        integer_gemm.set_carrier("auto")
        torch.set_num_threads(1)
    again = model.synthesis([latents, coded(model, 1, seed=4), latents])  # not alone
    assert np.array_equal(again[0], expected)
    assert np.array_equal(again[2], expected)


def test_fp_is_its_numpy_twin() -> None:
    store = fp.freeze(seeds.fp_state())
    model = fp.FactorizedPrior(store)
    twin = exact_synthesis.exact_twin(model.g_s)
    y = np.rint(5 * np.random.default_rng(0).standard_normal((12, 2, 3))) + 0.25
    found = exact_synthesis.run_exact(twin, torch.from_numpy(y)[None])[0]
    arrays = {key: value.numpy() for key, value in store.items()}
    assert np.array_equal(found.numpy(), reference.fp_synthesis(arrays, y))


def test_sigmoid() -> None:
    x = torch.linspace(-40, 40, 4001, dtype=torch.float64)
    assert (exact.sigmoid(x) - torch.sigmoid(x)).abs().max() < 1e-5
    assert exact.sigmoid(torch.zeros(1, dtype=torch.float64)).item() == 0.5


def test_layers_without_an_exact_form() -> None:
    with pytest.raises(WeightsError, match="Tanh"):
        exact_synthesis.exact_twin(torch.nn.Tanh())
    with pytest.raises(WeightsError, match="stride"):
        exact_synthesis.exact_twin(layers.conv(3, 4))
    with pytest.raises(WeightsError, match="normalization"):
        exact_synthesis.exact_twin(layers.GDN(3))


def test_a_model_without_exact_pixels(models: dict[str, exact_synthesis.Published]) -> None:
    with pytest.raises(UnsupportedFormat, match="without an exact synthesis"):
        super(exact_synthesis.Published, models["fp"]).exact()

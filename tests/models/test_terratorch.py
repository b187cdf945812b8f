"""TerraTorch's registry: what is registered, what is left alone, and what the modules do."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import published
import terracodec_seeds as seeds
import terratorch_modules
from tec_numcodecs import TecCodec, terratorch
from tec_numcodecs.errors import CorruptChunk, InvalidInput, MissingExtra, WeightsError
from tec_numcodecs.models.terracodec import builders as exact
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.terratorch import registry as registering

torch.set_num_threads(1)

SMALL = {
    "terracodec_v1_fp_s2l2a": {"N": 8, "M": 12},
    "terracodec_v1_elic_s2l2a": {"N": 8, "M": 136},
    "terracodec_v1_tt_s2l2a": {"N": 8, "M": 16, "width": 64},
    "terracodec_v1_tt_s2l1c": {"N": 8, "M": 16, "width": 64},
    "flextec_v1_s2l2a": {"N": 8, "M": 64, "width": 64},
}
MINI = [name for name in terratorch.MINI if name.endswith("s2l2a")]


@pytest.fixture(params=["standin", pytest.param("wheel", marks=pytest.mark.train)])
def registries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of TerraTorch that holds its registries."""
    folder = None
    if request.param == "wheel":
        folder = terratorch_modules.files()
        if folder is None:
            pytest.skip("TerraTorch is not installed")
    return terratorch_modules.put(monkeypatch, folder)


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published.fill(tmp_path, {"fp": 10.0, "tt": 20.0, "flextec": 800.0})
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(tmp_path))


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    """A smooth standardized scene (..., C, H, W)."""
    frames = int(np.prod(shape[:-3]))
    sensor = {12: "sentinel-2-l2a", 13: "sentinel-2-l1c"}[shape[-3]]
    cube, geometry = seeds.scene((frames, *shape[-3:]), sensor=sensor, seed=seed)
    mean, std = (np.asarray(v)[:, None, None] for v in (geometry.sensor.mean, geometry.sensor.std))
    return torch.from_numpy(((cube - mean) / std).astype(np.float32)).reshape(shape)


def example(name: str) -> torch.Tensor:
    bands = 13 if name.endswith("l1c") else 12
    images = "_fp_" in name or "_elic_" in name
    return tensor(2, bands, 20, 17) if images else tensor(1, 2, bands, 20, 17)


def first(found: Any) -> torch.Tensor:
    return found if isinstance(found, torch.Tensor) else found[0]


# --- the registry --------------------------------------------------------------------------------


def test_a_source_of_its_own(registries: Any) -> None:
    terratorch.register()
    full = registries.FULL_MODEL_REGISTRY
    assert list(full.keys()) == ["terratorch", "tec"]
    assert set(full["tec"]) == set(terratorch.BUILDERS)
    model = full.build("tec_mini_fp_s2l2a", compression=20)
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    assert full.build("mini_elic_s2l2a", compression="lambda-50", mode="train").training
    assert len(full.build("tec_mini_fp_s2l1c").bands) == 13
    again = full.build(
        "tec_terracodec_v1_fp_s2l2a", image_size=256, **SMALL["terracodec_v1_fp_s2l2a"]
    )
    assert again.compress(tensor(1, 12, 16, 16))["bits"] > 0


def test_registering_twice_changes_nothing(registries: Any) -> None:
    terratorch.register()
    terratorch.register()
    assert set(registries.FULL_MODEL_REGISTRY["tec"]) == set(terratorch.BUILDERS)


def test_a_source_of_somebody_else_is_not_taken_over(registries: Any) -> None:
    other = registries.Registry()
    registries.FULL_MODEL_REGISTRY.register_source("tec", other)
    with pytest.raises(InvalidInput, match="source 'tec'"):
        terratorch.register()
    assert registries.FULL_MODEL_REGISTRY["tec"] is other


def test_names_that_work_are_left_alone_unless_asked_for(registries: Any) -> None:
    def terracodec_v1_fp_s2l2a(**_: Any) -> str:
        return "another implementation"

    registries.TERRATORCH_FULL_MODEL_REGISTRY.register(terracodec_v1_fp_s2l2a)
    terratorch.register()
    full, small = registries.FULL_MODEL_REGISTRY, SMALL["terracodec_v1_fp_s2l2a"]
    assert full.build("terracodec_v1_fp_s2l2a", **small) == "another implementation"
    terratorch.register(replace=True)
    for name in ("terracodec_v1_fp_s2l2a", "terratorch_terracodec_v1_fp_s2l2a"):
        assert isinstance(full.build(name, **small), exact.ImageCodec)
    assert set(terratorch.EXACT) <= set(registries.TERRATORCH_FULL_MODEL_REGISTRY)


@pytest.mark.parametrize("there", [True, False])
def test_entries_of_terratorch_that_can_only_fail_are_filled(
    registries: Any, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Without the package terracodec, TerraTorch's own entries raise its ImportError."""

    def terracodec_v1_fp_s2l2a(**_: Any) -> str:
        return "upstream"

    name = "terratorch.models.terracodec"
    terracodec_v1_fp_s2l2a.__module__ = name
    upstream: Any = types.ModuleType(name)
    upstream.terracodec_available = there
    monkeypatch.setitem(sys.modules, name, upstream)
    registries.TERRATORCH_FULL_MODEL_REGISTRY.register(terracodec_v1_fp_s2l2a)
    registering.register_if_installed()
    found = registries.FULL_MODEL_REGISTRY.build(
        "terracodec_v1_fp_s2l2a", **SMALL["terracodec_v1_fp_s2l2a"]
    )
    assert (found == "upstream") == there


@pytest.mark.usefixtures("checkpoints")
def test_the_lines_of_terracodec_s_readme(registries: Any) -> None:
    terratorch.register(replace=True)
    build = registries.FULL_MODEL_REGISTRY.build
    inputs, sequence = tensor(1, 12, 64, 64), tensor(1, 2, 12, 64, 64)
    model = build("terracodec_v1_fp_s2l2a", pretrained=True, compression=10)
    reconstruction = model(inputs)
    compressed = model.compress(inputs)
    assert torch.equal(model.decompress(**compressed), reconstruction)
    assert compressed["bits"] > 0
    model = build("terracodec_v1_tt_s2l2a", pretrained=True, compression=20)
    reconstruction, _ = model(sequence)
    compressed = model.compress(sequence)
    assert torch.equal(model.decompress(**compressed), reconstruction)
    model = build("flextec_v1_s2l2a", pretrained=True)
    compressed = model.compress(sequence, quality=8)
    assert model.decompress(compressed).shape == sequence.shape


def test_no_error_of_ours_becomes_another_one(
    registries: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TerraTorch turns a KeyError from inside a builder into "no such model"."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    terratorch.register()
    build = registries.FULL_MODEL_REGISTRY.build
    with pytest.raises(InvalidInput, match="compression"):
        build("tec_terracodec_v1_fp_s2l2a", compression="high")
    with pytest.raises(InvalidInput, match="argument 'bands'"):
        build("tec_terracodec_v1_fp_s2l2a", bands=4)
    with pytest.raises(WeightsError, match="no connection to 127"):
        build("tec_terracodec_v1_fp_s2l2a", pretrained=True)


def test_without_terratorch_nothing_is_registered_and_asking_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "terratorch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "terratorch", None)  # as if it were not installed
    registering.register_if_installed()
    with pytest.raises(MissingExtra, match=r"tec-xarray\[terratorch\]"):
        terratorch.register()


def test_importing_registers_without_loading_a_network() -> None:
    code = (
        "import sys, tec_numcodecs.terratorch as t;"
        "assert 'tec_numcodecs.models.terracodec.tt' not in sys.modules;"
        "print(sorted(t.MINI)[0], t.register.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "mini_elic_s2l1c register\n"


# --- the bundled models -------------------------------------------------------------------------


@pytest.mark.parametrize("name", MINI)
def test_forward_of_a_bundled_model_is_what_a_decoder_gives(name: str) -> None:
    model, x = terratorch.BUILDERS[name](compression=50), example(name)
    compressed = model.compress(x)
    found = model.decompress(**compressed)
    assert torch.equal(found, first(model(x)))
    assert torch.equal(found, model.decompress(compressed))
    assert (found.shape, found.dtype) == (x.shape, torch.float32)
    assert compressed["bits"] == 8 * sum(map(len, compressed["strings"])) > 0
    assert (found - x).square().mean() < 0.1


def test_strings_of_a_bundled_model_are_chunks_of_an_archive() -> None:
    x = tensor(2, 12, 24, 17)
    (data, _) = terratorch.MINI["mini_fp_s2l2a"](compression=50).compress(x)["strings"]
    sensor = get_sensor("sentinel-2-l2a")
    numbers = TecCodec(model="fp", lam=50, nodata=None).decode(data)
    mean, std = (np.asarray(v)[:, None, None] for v in (sensor.mean, sensor.std))
    expected = terratorch.MINI["mini_fp_s2l2a"](compression=50)(x)[0]
    assert np.allclose((numbers[0] - mean) / std, expected.numpy(), atol=1e-6)


def test_gradients_pass_through_a_bundled_model_in_training() -> None:
    model, x = terratorch.MINI["mini_fp_s2l2a"](mode="train"), tensor(1, 12, 16, 16)
    x.requires_grad_(True)
    found = model(x)
    found.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))
    assert torch.allclose(found, model.eval()(x), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_precisions_of_tensors_and_of_the_process(dtype: torch.dtype) -> None:
    x = tensor(1, 12, 16, 16)
    for name in ("mini_fp_s2l2a", "terracodec_v1_fp_s2l2a"):
        build = terratorch.BUILDERS[name]
        small = SMALL.get(name, {})
        expected = build(**small).compress(x.to(dtype).float())
        assert build(**small).compress(x.to(dtype))["strings"] == expected["strings"]
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.autocast("cpu", torch.bfloat16):
                model = build(**small)
                found = model.compress(x.to(dtype))
                assert model.decompress(found).dtype == torch.float32
        finally:
            torch.set_default_dtype(before)
        assert found["strings"] == expected["strings"]


def test_bad_input_of_bundled_models() -> None:
    build = terratorch.MINI["mini_fp_s2l2a"]
    for bad in ({"pretrained": False}, {"compression": -1}, {"compression": "lambda-x"},
                {"in_channels": 4}, {"image_size": 0}, {"mode": "test"}):  # fmt: skip
        with pytest.raises(InvalidInput):
            build(**bad)
    model, x = build(), tensor(1, 12, 16, 16)
    for bad in (x[0], x[:, :4], x[..., :0], x.long(), x * float("nan")):
        with pytest.raises(InvalidInput):
            model.compress(bad)
    with pytest.raises(InvalidInput, match="quality"):
        model.compress(x, quality=4)
    payload = model.compress(x)
    with pytest.raises(InvalidInput, match="without shape"):
        model.decompress({k: v for k, v in payload.items() if k != "shape"})
    for change in (
        {"strings": []},
        {"weights": "0" * 64},
        {"strings": [payload["strings"][0][:-5]]},
    ):
        with pytest.raises(CorruptChunk):
            model.decompress({**payload, **change})


# --- weights that nobody has trained ------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({*SMALL} - {"terracodec_v1_tt_s2l1c"}))
def test_random_weights_code_and_train(name: str) -> None:
    model, x = terratorch.EXACT[name](mode="train", **SMALL[name]), example(name)
    assert model.training
    found = first(model(x))
    (found - x).square().mean().backward()
    gradients = [p.grad for p in model.parameters()]
    assert gradients
    assert all(g is not None and bool(torch.isfinite(g).all()) for g in gradients)
    model.eval()
    payload = model.compress(x)
    decoded = model.decompress(**payload)
    assert torch.equal(decoded, first(model(x)))
    assert torch.allclose(found, decoded, atol=1e-4)
    torch.optim.SGD(model.parameters(), 1e-2).step()
    assert not torch.equal(first(model(x)), decoded)
    assert torch.equal(model.decompress(model.compress(x)), first(model(x)))


def test_random_weights_follow_from_their_seed() -> None:
    build, x = terratorch.EXACT["terracodec_v1_fp_s2l2a"], tensor(1, 12, 32, 32)
    one, same, other = (build(N=8, M=12, seed=seed) for seed in (1, 1, 2))
    assert one.compress(x)["strings"] == same.compress(x)["strings"]
    assert torch.equal(same.decompress(one.compress(x)), one(x))
    with pytest.raises(CorruptChunk, match="weights"):
        other.decompress(one.compress(x))
    for bad in ({"N": 0}, {"seed": -1}, {"M": "x"}):
        with pytest.raises(InvalidInput):
            build(**bad)
    with pytest.raises(InvalidInput, match="multiple of 64"):
        terratorch.EXACT["flextec_v1_s2l2a"](M=16)


@pytest.mark.usefixtures("checkpoints")
def test_training_changes_no_model_that_others_share() -> None:
    build, x = terratorch.EXACT["terracodec_v1_fp_s2l2a"], tensor(1, 12, 32, 32)
    expected = build(pretrained=True)(x)
    tuned = build(pretrained=True, mode="train")
    tuned(x).square().mean().backward()
    torch.optim.SGD(tuned.parameters(), 1e-2).step()
    assert torch.equal(build(pretrained=True)(x), expected)
    with pytest.raises(InvalidInput, match="with a checkpoint"):
        build(pretrained=True, N=4)

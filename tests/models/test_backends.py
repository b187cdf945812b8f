"""Exact networks through the code of devices: the same symbols, rows, streams and pixels."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import terracodec_seeds as seeds
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.base import Latents, Model, Rate
from tec_numcodecs.models.terracodec import devices, elic, flextec, fp, transformer, tt
from tec_numcodecs.models.terracodec.exact import backends, integer_gemm, layers, rowwise
from tec_numcodecs.options import set_options

RATES = {"fp": Rate(0), "elic": Rate(0), "tt": Rate(0), "flextec": Rate(0, 5)}
SHAPE = (3, 12, 70, 34)  # more than one window


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {
        "fp": fp.FactorizedPrior(fp.freeze(seeds.fp_state())),
        "elic": elic.Elic(elic.freeze(seeds.elic_state())),
        "tt": tt.TemporalTransformer(tt.freeze(seeds.tt_state())),
        "flextec": flextec.FlexTec(flextec.freeze(seeds.tt_state(flexible=True))),
    }


@pytest.fixture
def doubles() -> Iterator[None]:
    """Products of doubles: no carrier is timed on a busy machine."""
    integer_gemm.set_carrier("float64")
    yield
    integer_gemm.set_carrier("auto")


def latents(model: Model, rate: Rate, count: int) -> list[Latents]:
    """Symbols alone, of several chunks: what the encoder found beside them is left out."""
    torch.set_num_threads(1)
    scenes = [seeds.scene((3, 12, 34, 32), seed=i) for i in range(count)]
    cubes, geometries = [s[0] for s in scenes], [s[1] for s in scenes]
    found = model.analysis(cubes, geometries, [rate] * count)
    return [Latents(item.geometry, item.rate, item.symbols) for item in found]


def streams(model: Model, items: list[Latents], device: str, threads: int = 1) -> list[bytes]:
    torch.set_num_threads(threads)
    with set_options(device=device):
        return model.entropy_encode([Latents(i.geometry, i.rate, i.symbols) for i in items])


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("name", RATES)
def test_streams_are_those_of_the_processor(models: dict[str, Model], name: str) -> None:
    """One by one and eight together, with one thread and two, written and read either way."""
    model, rate = models[name], RATES[name]
    items = latents(model, rate, 8)
    expected = [streams(model, [item], "cpu")[0] for item in items]
    assert streams(model, items, "cpu-torch") == expected
    for device in ("cpu", "cpu-torch"):
        assert streams(model, items[:1], device, threads=2) == expected[:1]
    geometries = [item.geometry for item in items]
    for device, count in (("cpu", 1), ("cpu-torch", 8)):
        with set_options(device=device):
            decoded = model.entropy_decode(expected[:count], geometries[:count], [rate] * count)
        for item, found in zip(items, decoded, strict=False):
            assert np.array_equal(item.symbols, found.symbols)


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("name", RATES)
def test_symbols_and_pixels_are_those_of_the_processor(models: dict[str, Model], name: str) -> None:
    """From the cube on: analysis is the same floating-point network here."""
    model, rate = models[name], RATES[name]
    cube, geometry = seeds.scene(SHAPE)
    torch.set_num_threads(1)
    found = {}
    for device in ("cpu", "cpu-torch"):
        with set_options(device=device):
            (item,) = model.analysis([cube], [geometry], [rate])
            (stream,) = model.entropy_encode([item])
            (decoded,) = model.entropy_decode([stream], [geometry], [rate])
            found[device] = (item.symbols, stream, model.synthesis([decoded])[0])
    for one, other in zip(found["cpu"], found["cpu-torch"], strict=True):
        assert np.array_equal(one, other)


@pytest.mark.usefixtures("doubles")
def test_the_c_extension_is_left_alone(
    models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise AssertionError("the C extension was asked for")

    monkeypatch.setattr(rowwise._accel, "native", refuse)
    x = torch.ones(3, 4, dtype=torch.float64)
    with set_options(device="cpu-torch"), models["tt"].computing() as backend:  # type: ignore[attr-defined]
        assert not backend.native
        layers.quantize(x)
    with pytest.raises(AssertionError, match="asked for"):
        layers.quantize(x)


@pytest.mark.parametrize("rows", [1, 33])
def test_products_of_bytes_are_those_of_doubles(rows: int) -> None:
    """Where a probe allows them; rows and columns are filled up to what byte kernels ask for."""
    if not integer_gemm._bytes_are_exact("cpu"):
        pytest.skip("byte products saturate here")
    rng = np.random.default_rng(0)
    weight = torch.from_numpy(rng.standard_normal((130, 301)).astype(np.float32))
    layer = layers.Linear.frozen(weight, weight[:, 0])
    x = torch.from_numpy(rng.standard_normal((rows, 301)) * np.logspace(-310, 30, rows)[:, None])
    expected = layer(x)
    backend = backends.through_torch("cpu-torch", torch.device("cpu"))
    try:
        for carrier in ("float64", "int8", "auto"):
            integer_gemm.set_carrier(carrier)  # type: ignore[arg-type]
            with backends.running(backend):
                assert torch.equal(layer(x), expected)
    finally:
        integer_gemm.set_carrier("auto")


def test_a_device_with_inexact_doubles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    integer_gemm._check_doubles.cache_clear()
    monkeypatch.setattr(integer_gemm, "_probe", lambda *_, **__: False)
    with pytest.raises(InvalidInput, match="EMULATE_DOUBLE"):
        integer_gemm._check_doubles("cpu")
    monkeypatch.undo()
    integer_gemm._check_doubles("cpu")


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("name", ["elic", "tt", "flextec"])
def test_out_of_memory_halves_what_goes_together_and_says_so(
    models: dict[str, Model],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, rate = models[name], RATES[name]
    items = latents(model, rate, 4)
    expected = streams(model, items, "cpu")
    owner, method = {"elic": (elic.Group, "parameters")}.get(name, (transformer.Layer, "decode"))
    true, limit = getattr(owner, method), [{"elic": 6}.get(name, 2)]

    def poor(self: Any, x: torch.Tensor, *more: Any) -> Any:
        if len(x) > limit[0]:  # frames, or windows, of several chunks
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return true(self, x, *more)

    monkeypatch.setattr(owner, method, poor)
    with caplog.at_level(logging.WARNING), set_options(device="cpu-torch"):
        decoded = model.entropy_decode(expected, [i.geometry for i in items], [rate] * 4)
        assert "too little memory for 4 chunks at once; going on with 2" in caplog.text
        assert streams(model, items, "cpu-torch") == expected
    for item, found in zip(items, decoded, strict=True):
        assert np.array_equal(item.symbols, found.symbols)
    limit[0] = 0
    with set_options(device="cpu-torch"), pytest.raises(backends.DeviceMemoryError) as caught:
        streams(model, items[:1], "cpu-torch")
    assert str(caught.value).count("too little memory for one of the") == 1


def test_networks_are_placed_once_and_whole(models: dict[str, Model]) -> None:
    """Torch refuses operands on two devices, so whatever stays behind is found on `meta`."""
    elsewhere = torch.device("meta")
    backend = backends.through_torch("meta", elsewhere)
    context = models["tt"].context  # type: ignore[attr-defined]
    network = models["elic"].network  # type: ignore[attr-defined]
    with backends.running(backend):
        placed = backends.placed(context)
        assert backends.placed(context) is placed
        assert placed is not context
        assert placed.position.device == elsewhere
        assert placed.decoder[0].mlp1.first.matrix.scale.device == elsewhere
        assert backends.placed(network).groups[1].spatial.bias.device == elsewhere
    assert backends.placed(context) is context
    assert context.position.device.type == "cpu"


def test_threads_of_a_device_that_is_not_here(models: dict[str, Model]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    items = latents(models["tt"], Rate(0), 1)
    for device in ("cuda", "cuda:7", "mps", "xpu"):
        with set_options(device=device), pytest.raises(InvalidInput, match=f"device '{device}'"):
            models["tt"].entropy_encode(items)


@pytest.mark.usefixtures("doubles")
def test_settings_of_the_process_change_nothing(models: dict[str, Model]) -> None:
    items = latents(models["tt"], Rate(0), 1)
    expected = streams(models["tt"], items, "cpu")
    before = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    try:
        torch.set_default_dtype(torch.bfloat16)
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            assert streams(models["tt"], items, "cpu-torch") == expected
    finally:
        torch.set_default_dtype(before[0])
        torch.set_float32_matmul_precision(before[1])


def test_float32_is_float32_whatever_is_set() -> None:
    convolution = torch.backends.mkldnn.conv
    if not hasattr(convolution, "fp32_precision"):
        pytest.skip("an older torch")
    before = convolution.fp32_precision
    convolution.fp32_precision = "bf16"
    try:
        with devices.full_precision(torch.device("cpu")):
            assert convolution.fp32_precision == "ieee"
        assert convolution.fp32_precision == "bf16"
    finally:
        convolution.fp32_precision = before


def test_latents_are_divided_not_multiplied_by_a_reciprocal() -> None:
    """Devices turn a division by a number of Python into a product, which rounds otherwise."""
    context: Any = tt.TemporalTransformer(tt.freeze(seeds.tt_state())).context
    seen: list[Any] = []
    linear = context.embed_token.linear

    class Spy(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), more: Any = None) -> Any:
            if "div" in func.__name__:
                seen.append(type(args[1]))
            return super().__torch_function__(func, types, args, more or {})

    x = torch.ones(1, 1, linear.matrix.shape[1], dtype=torch.float64).as_subclass(Spy)
    context.embed_token(x)
    assert seen
    assert all(issubclass(kind, torch.Tensor) for kind in seen)

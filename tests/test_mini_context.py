"""The context models elic and tt: exact everywhere, any size, any bands, any rate."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tec_numcodecs.errors import CorruptChunk, WeightsError
from tec_numcodecs.models.base import Rate
from tec_numcodecs.models.mini import integernet, mixture_rows
from tec_numcodecs.models.mini.contextlayers import Companding
from tec_numcodecs.models.mini.stagecoders import LAGRANGIAN, join, split
from tec_numcodecs.options import set_options
from tests import mini_weights as mini
from tests.cubes import scene

ROOT = Path(__file__).parents[1]
KINDS = pytest.mark.parametrize("kind", mini.MODELS, ids=lambda kind: kind.name)
CPU = torch.device("cpu")


def cube(shape, seed=0):
    return scene(shape, seed).astype(np.int32)


def code(model, cubes, geometries, rates):
    """Analyse, encode, decode; return latents, payloads and pixels, checked for equality."""
    latents = model.analysis(cubes, geometries, rates)
    payloads = model.entropy_encode(latents)
    decoded = model.entropy_decode(payloads, geometries, rates)
    for a, b in zip(latents, decoded, strict=True):
        np.testing.assert_array_equal(a.symbols, b.symbols)
    pixels = model.synthesis(decoded)
    for a, b in zip(pixels, model.synthesis(latents), strict=True):
        np.testing.assert_array_equal(a, b)
    return latents, payloads, pixels


@KINDS
@settings(max_examples=12)
@given(
    t=st.integers(1, 3),
    height=st.integers(1, 67),
    width=st.integers(1, 67),
    rate=st.integers(0, 223),
    data=st.data(),
)
def test_decoder_follows_encoder(kind, t, height, width, rate, data) -> None:
    sensor = data.draw(st.sampled_from([mini.L2A, mini.L1C]))
    bands = data.draw(st.sets(st.integers(0, len(sensor.bands) - 1), min_size=1))
    where = mini.geometry((t, len(bands), height, width), sorted(bands), sensor)
    pixels = cube(where.shape, rate)
    _, _, (found,) = code(mini.model(kind), [pixels], [where], [Rate(rate)])
    assert found.shape == pixels.shape
    assert found.dtype == np.int32
    if rate == 0:
        np.testing.assert_array_equal(found, pixels)


@KINDS
def test_error_follows_the_step(kind) -> None:
    where = mini.geometry((2, 12, 96, 80))
    pixels = cube(where.shape)
    sizes, errors = [], []
    for index in (60, 90, 120, 150):
        _, (payload,), (found,) = code(mini.model(kind), [pixels], [where], [Rate(index)])
        sizes.append(len(payload))
        errors.append(float(((found - pixels) ** 2).mean()))
        # Uniform noise of the step, at most doubled by dead zones and optimisation.
        assert errors[-1] < 2.2 * 2 ** (index / 8) / 12
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)


@KINDS
def test_bright_pixels_survive(kind) -> None:
    """Whatever the tables think: escapes carry a ship on a dark sea."""
    where = mini.geometry((1, 12, 64, 64))
    pixels = np.full(where.shape, 120, np.int32)
    pixels[:, :, 31, 17] = 15_000
    _, _, (found,) = code(mini.model(kind), [pixels], [where], [Rate(130)])
    assert np.abs(found - pixels).max() < 2 * 2 ** (130 / 16)


@KINDS
def test_batch_makes_no_difference(kind) -> None:
    model = mini.model(kind)
    shapes = [(2, 12, 24, 40), (1, 12, 24, 40), (5, 12, 24, 40), (2, 12, 17, 9)]
    where = [mini.geometry(shape) for shape in shapes]
    where.append(mini.geometry((1, 3, 24, 40), (1, 4, 7)))
    rates = [Rate(index) for index in (120, 0, 170, 90, 140)]
    cubes = [cube(g.shape, seed) for seed, g in enumerate(where)]
    _, together, _ = code(model, cubes, where, rates)
    with set_options(batch_size=2):
        _, pairs, _ = code(model, cubes, where, rates)
    alone = [code(model, [c], [g], [r])[1][0] for c, g, r in zip(cubes, where, rates, strict=True)]
    assert together == pairs == alone


@KINDS
def test_latents_by_symbols_alone(kind) -> None:
    """What was decoded, or comes from elsewhere, encodes to the same bytes."""
    model = mini.model(kind)
    where, rate = mini.geometry((3, 12, 48, 48)), Rate(115)
    latents, payloads, pixels = code(model, [cube(where.shape)], [where], [rate])
    bare = type(latents[0])(where, rate, latents[0].symbols)
    assert model.entropy_encode([bare]) == payloads
    np.testing.assert_array_equal(model.synthesis([bare])[0], pixels[0])


def test_a_reference_is_used_where_it_helps_and_never_costs_more() -> None:
    still = cube((1, 12, 96, 96))
    noise = np.random.default_rng(1).normal(0, 5, (3, 12, 96, 96))
    series = (still + noise).round().astype(np.int32)
    where, rate = mini.geometry(series.shape), Rate(110)
    sizes = {}
    for kind in mini.MODELS:
        _, (payload,), _ = code(mini.model(kind), [series], [where], [rate])
        sizes[kind.name] = len(payload)
    assert sizes["tt"] < 0.95 * sizes["elic"]
    # Where nothing can be learned from the dates before, what it weighs is never worse: squared
    # error and bits together, as the encoder weighs them.
    unrelated = np.concatenate([cube((1, 12, 96, 96), seed) for seed in range(3)])
    costs = {}
    for kind in mini.MODELS:
        _, (payload,), (found,) = code(mini.model(kind), [unrelated], [where], [rate])
        error = ((found - unrelated) ** 2).sum() / 2 ** (rate.index / 8)
        costs[kind.name] = error + LAGRANGIAN * 8 * len(payload)
    assert costs["tt"] < 1.003 * costs["elic"]


@KINDS
def test_damage_is_noticed_or_gives_pixels(kind) -> None:
    model = mini.model(kind)
    where, rate = mini.geometry((2, 12, 32, 32)), Rate(120)
    _, (payload,), _ = code(model, [cube(where.shape)], [where], [rate])
    random = np.random.default_rng(3)
    noticed = 0
    for _ in range(12):
        damaged = bytearray(payload)
        damaged[random.integers(len(payload))] ^= 1 << random.integers(8)
        noticed += _decodes_to_an_error(model, bytes(damaged), where, rate)
    assert noticed > 6
    for size in (0, 1, len(payload) // 2, len(payload) - 1):
        assert _decodes_to_an_error(model, payload[:size], where, rate)


def _decodes_to_an_error(model, payload, where, rate) -> bool:
    try:
        (latents,) = model.entropy_decode([payload], [where], [rate])
    except CorruptChunk:
        return True
    assert model.synthesis([latents])[0].shape == where.shape
    return False


# -- exactness in other processes --------------------------------------------------------------


def probe(*arguments: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "tests.mini_probe", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@cache
def reference() -> str:
    return probe("--products", "--batch", "1", ATEN_CPU_CAPABILITY="default")


def test_this_processor_as_it_is() -> None:
    assert probe("--threads", "2") == reference()


def test_hostile_settings() -> None:
    assert probe("--hostile", "--threads", "2", ATEN_CPU_CAPABILITY="avx2") == reference()


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["default", "avx2", "avx512"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_instruction_sets_of_torch(capability: str, threads: str) -> None:
    assert probe("--threads", threads, ATEN_CPU_CAPABILITY=capability) == reference()


@pytest.mark.slow
@pytest.mark.parametrize("level", ["SSE41", "AVX2", "AVX512_CORE", "AVX512_CORE_BF16"])
def test_instruction_sets_of_onednn(level: str) -> None:
    assert probe(ONEDNN_MAX_CPU_ISA=level) == reference()


@pytest.mark.slow
def test_without_the_c_file() -> None:
    assert probe(TEC_DISABLE_NATIVE="1") == reference()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["COMPATIBLE", "AVX2", "AUTO"])
def test_modes_of_mkl(mode: str) -> None:
    assert probe("--products", MKL_CBWR=mode) == reference()


@pytest.mark.parametrize(("sensor", "bands"), [(mini.L2A, range(12)), (mini.L1C, (1, 2, 3, 7))])
def test_components_are_what_their_rows_say(sensor, bands) -> None:
    """In size and in sign, for every entry and level: predictions are linear in them."""
    bands = tuple(bands)
    transform = mini.model(mini.MODELS[0])._transform(
        mini.geometry((1, len(bands), 8, 8), bands, sensor)
    )
    x = np.random.default_rng(0).integers(-9000, 9000, (1, len(bands), 200)).astype(np.int32)
    slope = np.array([sensor.wavelengths[b] for b in bands])
    for entry in range(transform.entries):
        for level in range(6):
            rows = transform.rows[entry, level] / 4096
            found = transform.to_components(x, np.array([entry]), level)[0]
            np.testing.assert_allclose(found, rows @ x[0], atol=40)
            assert (rows @ slope > -1).all()
            back = transform.to_bands(found[None], np.array([entry]), level)
            np.testing.assert_array_equal(back, x)


# -- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (17, 16)])
def test_products_are_convolutions(kernel, size) -> None:
    generator = torch.Generator().manual_seed(kernel)
    x = torch.randint(0, 256, (2, 5, *size), generator=generator).to(torch.float32)
    weight = torch.randint(-127, 128, (4, 5, kernel, kernel), generator=generator)
    weight = weight.to(torch.float32)
    slow = torch.nn.functional.conv2d(x.double(), weight.double(), padding=kernel // 2)
    assert torch.equal(integernet.shifted_products(x, weight).double(), slow)


def layer_arrays(weight: np.ndarray, shift: int = 8) -> dict[str, np.ndarray]:
    return {"x.weight": weight.astype(np.int8), "x.shift": np.full(len(weight), shift, np.int8)}


def test_weights_whose_sums_could_round_are_refused() -> None:
    heavy = np.full((1, 64, 3, 3), 127)
    assert integernet.LIMIT < 64 * 9 * 127 * 255
    with pytest.raises(WeightsError, match="2\\^24"):
        integernet.read_layer(layer_arrays(heavy), "x", 9, None, CPU)
    heavy[:, ::2] = -127  # halves cancel, and no partial sum exceeds the limit
    integernet.read_layer(layer_arrays(heavy), "x", 9, None, CPU)
    with pytest.raises(WeightsError, match="weight"):
        integernet.read_layer({}, "x", 9, None, CPU)


def test_a_layer_rounds_halves_up() -> None:
    layer = integernet.read_layer(layer_arrays(np.array([[[[1]]]]), 5), "x", 5, None, CPU)
    x = torch.arange(0, 256, dtype=torch.float32).view(1, 1, 16, 16)
    expected = np.floor(x.numpy() / 32 + 0.5)
    np.testing.assert_array_equal(layer(x).numpy(), expected)


@given(
    mean=st.integers(-(1 << 22), 1 << 22),
    scale=st.integers(-500, 500),
    shape=st.integers(-3, 12),
)
def test_rows_mean_what_was_asked_for(mean, scale, shape) -> None:
    choice = mixture_rows.RowChooser(CPU)(*(torch.tensor([float(x)]) for x in (mean, scale, shape)))
    row = mixture_rows.all_rows()[int(choice.row)]
    clipped = min(max(scale, mixture_rows.SCALE_MIN), mixture_rows.SCALE_MAX)
    raw = int(choice.raw)
    assert row.scale == clipped - 8 * raw
    assert (raw > 0) == (clipped >= mixture_rows.SCALE_RAW)
    assert row.shape == min(max(shape, 0), 7)
    part = mean - 16 * int(choice.base)
    assert -8 <= part < 8
    merged = sum(r.scale == row.scale and r.shape == row.shape for r in mixture_rows.all_rows())
    assert abs(part - row.mean) <= 16 / merged / 2


@given(st.integers(-(1 << 22), 1 << 22), st.integers(-9999, 9999), st.integers(0, 16))
def test_raw_bits_put_back(value, base, raw) -> None:
    arrays = [np.array([x], np.int32) for x in (value, base, raw)]
    high, low = split(*arrays)
    assert 0 <= low[0] < 1 << raw
    assert join(high, low, arrays[1], arrays[2])[0] == value


def test_tables_fit_the_rows_and_are_symmetric_in_the_middle() -> None:
    arrays = mini.arrays()
    rows = mixture_rows.all_rows()
    assert len(arrays["tables.minimum"]) == len(rows) == len(arrays["offsets"])
    starts = np.asarray(arrays["tables.starts"])
    edges = np.append(np.asarray(arrays["tables.cdf"], np.int64), 0)
    for index, row in enumerate(rows):
        if row.mean == 0 and row.scale % 8 == 0:
            first, last = starts[index : index + 2]
            widths = np.diff(np.append(edges[first:last], 1 << 16))[:-1]
            assert abs(widths - widths[::-1]).max() <= 1 + 0.001 * widths.max()


def test_features_of_integers_and_of_values_agree() -> None:
    companding = Companding(mini.arrays(), CPU)
    q = torch.arange(-1100, 1101, dtype=torch.int32).view(1, 1, 1, -1)
    assert torch.equal(companding.integers(q), companding.values(q.to(torch.float32)))
    assert companding.integers(q).abs().max() == integernet.FEATURE_MAX

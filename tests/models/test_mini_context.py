"""The context models: exact everywhere, any size, any bands, any rate."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mini_weights as mini
from cubes import scene
from probes import run_probe
from tec_numcodecs.errors import CorruptChunk, WeightsError
from tec_numcodecs.models.base import Latents, Rate
from tec_numcodecs.models.mini.context import integer_mlp, mixture_cdf
from tec_numcodecs.models.mini.context.features import OWN_FEATURES, PLANE_FEATURES, Companding
from tec_numcodecs.models.mini.context.integer_mlp import Perceptron
from tec_numcodecs.models.mini.context.mixture_cdf import Choice
from tec_numcodecs.models.mini.context.neighborhood import Surroundings
from tec_numcodecs.models.mini.context.scan import Places
from tec_numcodecs.models.mini.context.symbols import LAGRANGIAN, split
from tec_numcodecs.models.mini.elic import MiniElic
from tec_numcodecs.models.mini.progressive.bitplanes import DIGIT_ROWS, FIRST_FLAG_ROW
from tec_numcodecs.models.mini.progressive.significance import FLAG_ROWS
from tec_numcodecs.models.mini.tt import MiniTT
from tec_numcodecs.options import set_options

ROOT = Path(__file__).parents[2]
KINDS = pytest.mark.parametrize("kind", mini.MODELS, ids=lambda kind: kind.name)


def cube(shape, seed=0):
    return scene(shape, seed).astype(np.int32)


def code(model, cubes, geometries, rates):
    """Analyze, encode, decode; return latents, payloads and pixels, checked for equality."""
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
    model, where = mini.model(kind), mini.geometry((2, 12, 64, 80))
    pixels = cube(where.shape)
    sizes, errors = [], []
    for index in (60, 90, 120, 150):
        latents = model.analysis([pixels], [where], [Rate(index)])
        (payload,), (found,) = model.entropy_encode(latents), model.synthesis(latents)
        sizes.append(len(payload))
        errors.append(float(((found - pixels) ** 2).mean()))
        # Uniform noise of the step, at most doubled by dead zones and optimization.
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
    assert np.abs(found - pixels).max() < 3 * 2 ** (130 / 16)


@KINDS
def test_batch_makes_no_difference(kind) -> None:
    model = mini.model(kind)
    shapes = [(2, 12, 16, 24), (1, 12, 16, 24), (4, 12, 16, 24), (2, 12, 17, 9)]
    where = [mini.geometry(shape) for shape in shapes]
    where.append(mini.geometry((1, 3, 16, 24), (1, 4, 7)))
    rates = [Rate(index) for index in (120, 0, 170, 90, 140)]
    cubes = [cube(g.shape, seed) for seed, g in enumerate(where)]
    _, together, expected = code(model, cubes, where, rates)
    with set_options(batch_size=2):
        assert model.entropy_encode(model.analysis(cubes, where, rates)) == together
    for payload, pixels, *one in zip(together, expected, where, rates, strict=True):
        (latents,) = model.entropy_decode([payload], *([item] for item in one))
        np.testing.assert_array_equal(model.synthesis([latents])[0], pixels)
    alone = [model.analysis([c], [g], [r]) for c, g, r in zip(cubes, where, rates, strict=True)]
    assert [model.entropy_encode(latents)[0] for latents in alone] == together


@KINDS
def test_latents_by_symbols_alone(kind) -> None:
    """What was decoded, or comes from elsewhere, encodes to the same bytes."""
    model = mini.model(kind)
    where, rate = mini.geometry((3, 12, 48, 48)), Rate(115)
    latents, payloads, pixels = code(model, [cube(where.shape)], [where], [rate])
    derived = {k: v for k, v in latents[0].state.items() if k not in ("stages", "pixels")}
    bare = Latents(where, rate, latents[0].symbols, derived)
    assert model.entropy_encode([bare]) == payloads
    np.testing.assert_array_equal(model.synthesis([bare])[0], pixels[0])


def test_a_reference_is_used_where_it_helps_and_never_costs_more() -> None:
    still = cube((1, 12, 96, 96))
    noise = np.random.default_rng(1).normal(0, 5, (3, 12, 96, 96))
    series = (still + noise).round().astype(np.int32)
    where, rate = mini.geometry(series.shape), Rate(110)
    sizes = {}
    for kind in (MiniElic, MiniTT):
        _, (payload,), _ = code(mini.model(kind), [series], [where], [rate])
        sizes[kind.name] = len(payload)
    assert sizes["tt"] < 0.95 * sizes["elic"]
    # Where nothing can be learned from the dates before, what it weighs is never worse: squared
    # error and bits together, as the encoder weighs them.
    unrelated = np.concatenate([cube((1, 12, 96, 96), seed) for seed in range(3)])
    costs = {}
    for kind in (MiniElic, MiniTT):
        _, (payload,), (found,) = code(mini.model(kind), [unrelated], [where], [rate])
        error = ((found - unrelated) ** 2).sum() / 2 ** (rate.index / 8)
        costs[kind.name] = error + LAGRANGIAN * 8 * len(payload)
    assert costs["tt"] < 1.01 * costs["elic"]


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


probe = partial(run_probe, "mini_probe")


@cache
def reference() -> str:
    return probe("--batch", "1", OPENBLAS_CORETYPE="Prescott", NPY_DISABLE_CPU_FEATURES="AVX2 FMA3")


def test_this_processor_as_it_is() -> None:
    assert probe("--threads", "2") == reference()


def test_hostile_settings() -> None:
    assert probe("--hostile", "--threads", "2", OPENBLAS_NUM_THREADS="2") == reference()


#: Kernels of OpenBLAS and what a processor needs for them.
CORES = {
    "Prescott": "SSE3", "Nehalem": "SSE42", "Sandybridge": "AVX", "Haswell": "AVX2",
    "SkylakeX": "AVX512_SKX",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("threads", ["1", "2"])
def test_kernels_of_openblas(core: str, threads: str) -> None:
    from numpy._core._multiarray_umath import __cpu_features__ as features

    if not features[CORES[core]]:
        pytest.skip(f"this processor has no {CORES[core]}")
    assert probe(OPENBLAS_CORETYPE=core, OPENBLAS_NUM_THREADS=threads) == reference()


@pytest.mark.slow
@pytest.mark.parametrize("features", ["AVX512F", "AVX2 FMA3 AVX512F"])
def test_instruction_sets_of_numpy(features: str) -> None:
    assert probe(NPY_DISABLE_CPU_FEATURES=features) == reference()


@pytest.mark.slow
def test_without_the_c_file() -> None:
    assert probe(TEC_DISABLE_NATIVE="1") == reference()


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


def network(weight: int, shift: int = 4, width: int = 8) -> dict[str, np.ndarray]:
    """A perceptron whose weights are all the same."""
    inputs = {"first": PLANE_FEATURES + OWN_FEATURES, "second": width, "out": width}
    arrays: dict[str, np.ndarray] = {}
    for part, count in inputs.items():
        arrays[f"x.{part}"] = np.full((count, 3 if part == "out" else width), weight, np.int8)
        arrays[f"x.{part}.shift"] = np.full(3 if part == "out" else width, shift, np.int8)
    for part, rows in (("component", 13), ("phase", 4), ("rate", 224)):
        arrays[f"x.{part}"] = np.zeros((rows, width), np.int32)
    arrays["x.second.bias"] = np.zeros(width, np.int32)
    arrays["x.out.bias"] = np.zeros(3, np.int32)
    return arrays


def test_weights_whose_sums_could_round_are_refused() -> None:
    Perceptron(network(127), "x")
    with pytest.raises(WeightsError, match="2\\^24"):
        Perceptron(network(127, shift=-4), "x")
    with pytest.raises(WeightsError, match="first"):
        Perceptron({k: v for k, v in network(1).items() if k != "x.first"}, "x")


@given(st.integers(0, 2**32 - 1))
def test_a_perceptron_computes_what_integers_compute(seed) -> None:
    random = np.random.default_rng(seed)
    arrays = network(0)
    for name, array in arrays.items():
        if array.dtype == np.int8:
            low, high = (2, 8) if name.endswith("shift") else (-127, 128)
            arrays[name] = random.integers(low, high, array.shape).astype(np.int8)
        else:
            arrays[name] = random.integers(-4000, 4000, array.shape).astype(np.int32)
    features = random.integers(-127, 128, (50, PLANE_FEATURES + OWN_FEATURES))
    net = Perceptron(arrays, "x")
    found = net(features.astype(np.int16), 3, 100, 2)

    # The same in units of 2^-20, in which everything is a whole number of 64 bits.
    bias = arrays["x.component"][3] + arrays["x.phase"][2] + arrays["x.rate"][100]
    wide = {k: v.astype(np.int64) for k, v in arrays.items()}

    def layer(x, part, bits, bias):
        scale = 1 << (20 - bits - wide[f"x.{part}.shift"])
        return (x @ wide[f"x.{part}"]) * scale + (bias.astype(np.int64) << 11)

    def activate(sums):
        return np.clip((sums + (1 << 14)) >> 15, 0, 255)

    hidden = activate(layer(features.astype(np.int64), "first", 4, bias))
    hidden = activate(layer(hidden, "second", 5, arrays["x.second.bias"]))
    exact = layer(hidden, "out", 5, arrays["x.out.bias"])
    np.testing.assert_array_equal(found.astype(np.float64) * 2.0**11, exact)


def test_features_see_the_past_only() -> None:
    """A coefficient's features do not change with what is coded after it."""
    companding = Companding(mini.arrays())
    random = np.random.default_rng(0)
    low = random.integers(-900, 900, (2, 3, 16, 16)).astype(np.int32)
    q = random.integers(-3, 4, (3, 3, 2, 16, 16)).astype(np.int32)
    flags = np.ones((2, 2, 2), bool)
    places = Places.of(flags, 16, 16)
    scale = np.full(len(places.flat), 300, np.int32)

    def features(later: int) -> list[np.ndarray]:
        around = Surroundings(companding, low, None)
        seen = []
        for k in range(3):
            for o in range(3):
                found = around.plane_features(k, o, places, scale, 1, flags)
                seen.append(found.copy())
                for part in places.phases:
                    own = places.own[part]
                    around.add_own(found[part], k, o, own)
                    seen.append(found[part].copy())
                    values = q[k, o].ravel()[places.flat[part]]
                    around.set(k, o, own, values + later * (k == 2))
        return seen

    before = 5 * (3 * 2) + 2  # all of the first two components, and the next plane's own beginning
    for a, b in zip(features(0)[:before], features(1)[:before], strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.abs(a).max() <= integer_mlp.FEATURE_MAX


@given(
    mean=st.integers(-(1 << 22), 1 << 22),
    scale=st.integers(-500, 500),
    shape=st.integers(-3, 12),
)
def test_rows_mean_what_was_asked_for(mean, scale, shape) -> None:
    choice = mixture_cdf.choose(*(np.array([x], np.float32) for x in (mean, scale, shape)))
    row = mixture_cdf.all_rows()[int(choice.row[0])]
    clipped = min(max(scale, mixture_cdf.SCALE_MIN), mixture_cdf.SCALE_MAX)
    raw = int(choice.raw[0])
    assert row.scale == clipped - 8 * raw
    assert (raw > 0) == (clipped >= mixture_cdf.SCALE_RAW)
    assert row.shape == min(max(shape, 0), 7)
    part = mean - 16 * int(choice.base[0])
    assert -8 <= part < 8
    merged = sum(r.scale == row.scale and r.shape == row.shape for r in mixture_cdf.all_rows())
    assert abs(part - row.mean) <= 16 / merged / 2


@given(st.integers(-(1 << 22), 1 << 22), st.integers(-9999, 9999), st.integers(0, 16))
def test_raw_bits_put_back(value, base, raw) -> None:
    choice = Choice(*(np.array([x], np.int32) for x in (0, base, raw)))
    high, low = split(np.array([value], np.int32), choice)
    assert 0 <= low[0] < 1 << raw
    assert (high[0] << raw) + low[0] - ((1 << raw) >> 1) + base == value


def test_tables_fit_the_rows_and_are_symmetric_in_the_middle() -> None:
    arrays = mini.arrays()
    rows = mixture_cdf.all_rows()
    assert len(arrays["tables.minimum"]) == FIRST_FLAG_ROW + FLAG_ROWS
    assert 2 * len(rows) == FIRST_FLAG_ROW - DIGIT_ROWS
    assert len(arrays["offsets"]) == len(rows)
    starts = np.asarray(arrays["tables.starts"])
    edges = np.append(np.asarray(arrays["tables.cdf"], np.int64), 0)
    for index, row in enumerate(rows):
        if row.mean == 0 and row.scale % 8 == 0:
            first, last = starts[index : index + 2]
            widths = np.diff(np.append(edges[first:last], 1 << 16))[:-1]
            assert abs(widths - widths[::-1]).max() <= 1 + 0.001 * widths.max()


def test_features_of_integers_and_of_eighths_agree() -> None:
    companding = Companding(mini.arrays())
    q = np.arange(1100, dtype=np.int32)
    np.testing.assert_array_equal(companding.integers(q), companding.eighths(8 * q))
    assert companding.integers(q).max() == integer_mlp.FEATURE_MAX
    scales = companding.scales(256 << np.arange(10, dtype=np.int32))
    np.testing.assert_array_equal(scales, 8 * np.arange(10))

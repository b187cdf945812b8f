"""The four architectures with small seeded weights: streams, cuts, damage, growth, refusals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import exact_numpy as reference
import terracodec_seeds as seeds
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_numcodecs.models.base import Geometry, Latents, Model, Rate
from tec_numcodecs.models.terracodec import coders, elic, flextec, fp, tables, temporal, tt, windows
from tec_numcodecs.sensors import get_sensor

# Small networks on two busy cores: threads that wait for each other cost more than they give.
torch.set_num_threads(1)

RATES = {"fp": Rate(0), "elic": Rate(0), "tt": Rate(0), "flextec": Rate(0, 5)}


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {
        "fp": fp.FactorizedPrior(fp.freeze(seeds.fp_state())),
        "elic": elic.Elic(elic.freeze(seeds.elic_state())),
        "tt": tt.TemporalTransformer(tt.freeze(seeds.tt_state())),
        "flextec": flextec.FlexTec(flextec.freeze(seeds.tt_state(flexible=True))),
    }


def encoded(model: Model, *shapes: tuple[int, int, int, int], rate: Rate) -> tuple[
    list[bytes], list[Latents], list[Geometry]
]:  # fmt: skip
    scenes = [seeds.scene(shape, seed=i) for i, shape in enumerate(shapes)]
    cubes, geometries = [s[0] for s in scenes], [s[1] for s in scenes]
    latents = model.analysis(cubes, geometries, [rate] * len(cubes))
    return model.entropy_encode(latents), latents, geometries


# --- round trips -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 12, 16, 16), (3, 12, 70, 50), (2, 12, 5, 130), (5, 12, 64, 64)]
)
@pytest.mark.parametrize("name", RATES)
def test_streams_give_symbols_and_pixels_back(
    models: dict[str, Model], name: str, shape: tuple[int, int, int, int]
) -> None:
    model, rate = models[name], RATES[name]
    payloads, latents, geometries = encoded(model, shape, rate=rate)
    assert latents[0].symbols.dtype == np.int32
    assert len(np.unique(latents[0].symbols)) > 3, "degenerate weights prove nothing"
    (decoded,) = model.entropy_decode(payloads, geometries, [rate])
    assert np.array_equal(decoded.symbols, latents[0].symbols)
    (pixels,), (expected,) = model.synthesis([decoded]), model.synthesis(latents)
    assert pixels.shape == shape
    assert np.isfinite(pixels).all()
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize("name", RATES)
def test_symbols_alone_are_enough(models: dict[str, Model], name: str) -> None:
    """What the encoder keeps beside the symbols is a shortcut, not information."""
    model, rate = models[name], RATES[name]
    payloads, (latents,), (geometry,) = encoded(model, (2, 12, 40, 64), rate=rate)
    expected = model.synthesis([latents])[0]
    bare = Latents(geometry, rate, latents.symbols)
    assert model.entropy_encode([bare]) == payloads
    assert np.array_equal(model.synthesis([Latents(geometry, rate, latents.symbols)])[0], expected)


@pytest.mark.parametrize("name", RATES)
def test_batches_are_cut_at_will(models: dict[str, Model], name: str) -> None:
    model, rate = models[name], RATES[name]
    shapes = [(2, 12, 64, 64)] * 5 + [(1, 12, 30, 64)]
    payloads, _, geometries = encoded(model, *shapes, rate=rate)
    together = model.entropy_decode(payloads, geometries, [rate] * 6)
    for payload, geometry, item in zip(payloads, geometries, together, strict=True):
        (alone,) = model.entropy_decode([payload], [geometry], [rate])
        assert np.array_equal(alone.symbols, item.symbols)
        assert np.array_equal(model.synthesis([alone])[0], model.synthesis([item])[0])


@pytest.mark.parametrize("name", RATES)
def test_any_subset_of_bands(models: dict[str, Model], name: str) -> None:
    model, rate = models[name], RATES[name]
    cube, geometry = seeds.scene((1, 3, 64, 64), bands=(1, 2, 7))
    latents = model.analysis([cube], [geometry], [rate])
    payloads = model.entropy_encode(latents)
    (pixels,) = model.synthesis(model.entropy_decode(payloads, [geometry], [rate]))
    assert pixels.shape == (1, 3, 64, 64)


def test_thirteen_bands() -> None:
    model = tt.TemporalTransformer(tt.freeze(seeds.tt_state(bands=13)))
    cube, geometry = seeds.scene((2, 13, 64, 64), sensor="sentinel-2-l1c")
    latents = model.analysis([cube], [geometry], [Rate(0)])
    (decoded,) = model.entropy_decode(model.entropy_encode(latents), [geometry], [Rate(0)])
    assert np.array_equal(decoded.symbols, latents[0].symbols)


@pytest.mark.parametrize("quality", [1, 4, 8, 16])
def test_every_quality(models: dict[str, Model], quality: int) -> None:
    rate = Rate(0, quality)
    payloads, latents, geometries = encoded(models["flextec"], (3, 12, 64, 64), rate=rate)
    (decoded,) = models["flextec"].entropy_decode(payloads, geometries, [rate])
    assert np.array_equal(decoded.symbols, latents[0].symbols)
    assert len(decoded.symbols) == 3 * 64 * quality  # frames, channels of 16 latents, tokens
    assert np.array_equal(
        models["flextec"].synthesis([decoded])[0], models["flextec"].synthesis(latents)[0]
    )


# --- exactness ---------------------------------------------------------------------------------


def test_network_equals_its_numpy_twin(models: dict[str, Model]) -> None:
    """Means and scales of every token of three frames, bit for bit."""
    model = models["tt"]
    assert isinstance(model, tt.TemporalTransformer)
    store = tt.freeze(seeds.tt_state())
    frozen = {key: value.numpy() for key, value in store.items()}
    rng = np.random.default_rng(3)
    latents = np.rint(8 * rng.standard_normal((3, 16, 4, 4)))
    expected = reference.expected_parameters(frozen, latents)

    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    past: list[torch.Tensor] = []
    context = model.context
    for image in torch.from_numpy(latents)[:, None]:
        known = windows.cells(image, 4)

        def take(
            first: int, last: int, mean: torch.Tensor, scale: torch.Tensor, y: torch.Tensor = known
        ) -> torch.Tensor:
            found.append((mean[0], scale[0]))
            return y[:, first:last]

        decoding = context.begin(past[0], past[-1]) if past else context.begin_first()
        context.walk(decoding, take, 16, known, torch.ones_like(known, dtype=torch.bool))
        past = [*past[-1:], context.embed_context(image)]
    for (mean, scale), (expected_mean, expected_scale) in zip(found, expected, strict=True):
        assert np.array_equal(mean.numpy(), expected_mean)
        assert np.array_equal(scale.numpy(), expected_scale)


def test_encoding_at_once_equals_decoding_one_by_one(models: dict[str, Model]) -> None:
    """Rows and features of the parallel encoder and the cached decoder, bit for bit."""
    for name in ("tt", "flextec"):
        model, rate = models[name], RATES[name]
        payloads, latents, geometries = encoded(model, (3, 12, 90, 100), rate=rate)
        (decoded,) = model.entropy_decode(payloads, geometries, [rate])
        one, other = latents[0].state["pass"], decoded.state["pass"]
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.latents, other.latents)
        for a, b in zip(one.stages, other.stages, strict=True):
            assert np.array_equal(a.rows, b.rows)


def test_latents_beyond_the_image_cost_nothing(models: dict[str, Model]) -> None:
    _, (latents,), _ = encoded(models["tt"], (1, 12, 17, 33), rate=Rate(0))
    assert len(latents.symbols) == 16 * 2 * 3


# --- damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RATES)
@given(data=st.data())
def test_damage_is_an_error_or_other_symbols(
    models: dict[str, Model], name: str, data: st.DataObject
) -> None:
    """Never a crash, another exception, or the same symbols from other bytes."""
    model, rate = models[name], RATES[name]
    payloads, (latents,), geometries = _small(model, rate)
    payload = bytearray(payloads[0])
    if data.draw(st.booleans()):
        del payload[data.draw(st.integers(0, len(payload) - 1)) :]
    else:
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        (decoded,) = model.entropy_decode([bytes(payload)], geometries, [rate])
    except CorruptChunk:
        return
    assert not np.array_equal(decoded.symbols, latents.symbols)
    assert decoded.symbols.shape == latents.symbols.shape


_cache: dict[str, tuple[list[bytes], list[Latents], list[Geometry]]] = {}


def _small(model: Model, rate: Rate) -> tuple[list[bytes], list[Latents], list[Geometry]]:
    if model.name not in _cache:
        _cache[model.name] = encoded(model, (1, 12, 16, 16), rate=rate)
    return _cache[model.name]


@pytest.mark.parametrize("name", RATES)
def test_empty_and_overlong_streams(models: dict[str, Model], name: str) -> None:
    model, rate = models[name], RATES[name]
    payloads, _, geometries = _small(model, rate)
    for bad in (b"", payloads[0] + b"\0\0\0\0", b"\xff" * 400):
        with pytest.raises(CorruptChunk):
            model.entropy_decode([bad], geometries, [rate])


def test_impossible_latents_are_refused() -> None:
    with pytest.raises(CorruptChunk, match="2\\*\\*25"):
        coders.check_symbols(np.array([0, 1 << 26], np.int32))


# --- growth ------------------------------------------------------------------------------------


def test_work_grows_with_frames_only(
    models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One context and one memory a frame, whatever came before: linear time, flat state."""
    calls: list[tuple[str, int]] = []
    for method in ("embed_context", "begin"):
        original: Callable[..., object] = getattr(temporal.TemporalContext, method)

        def counted(
            self: object,
            *args: torch.Tensor,
            _f: Callable[..., object] = original,
            _m: str = method,
        ) -> object:
            calls.append((_m, args[0].numel()))
            return _f(self, *args)

        monkeypatch.setattr(temporal.TemporalContext, method, counted)
    counts = {}
    for frames in (1, 2, 4, 8):
        calls.clear()
        encoded(models["tt"], (frames, 12, 64, 64), rate=Rate(0))
        counts[frames] = sum(size for _, size in calls)
    assert counts[8] - counts[4] == 2 * (counts[4] - counts[2]) == 4 * (counts[2] - counts[1])


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [0, 17, -1, 255])
def test_quality_out_of_range(models: dict[str, Model], quality: int) -> None:
    cube, geometry = seeds.scene((1, 12, 16, 16))
    with pytest.raises(InvalidInput, match="1 to 16"):
        models["flextec"].analysis([cube], [geometry], [Rate(0, quality)])
    with pytest.raises(InvalidInput, match="1 to 16"):
        models["flextec"].entropy_decode([b""], [geometry], [Rate(0, quality)])


def test_quality_of_a_model_without_one(models: dict[str, Model]) -> None:
    cube, geometry = seeds.scene((1, 12, 16, 16))
    with pytest.raises(InvalidInput, match="flextec"):
        models["tt"].analysis([cube], [geometry], [Rate(0, 3)])


@pytest.mark.parametrize("name", RATES)
def test_data_of_another_sensor(models: dict[str, Model], name: str) -> None:
    cube, geometry = seeds.scene((1, 13, 16, 16), sensor="sentinel-2-l1c")
    with pytest.raises(InvalidInput, match="sentinel-2-l2a"):
        models[name].analysis([cube], [geometry], [RATES[name]])
    with pytest.raises(InvalidInput, match="sentinel-2-l2a"):
        models[name].entropy_decode([b""], [geometry], [RATES[name]])


def test_cube_that_is_not_of_its_geometry(models: dict[str, Model]) -> None:
    cube, _ = seeds.scene((1, 12, 16, 16))
    geometry = Geometry((2, 12, 16, 16), get_sensor("sentinel-2-l2a"), tuple(range(12)))
    with pytest.raises(InvalidInput, match="shape"):
        models["fp"].analysis([cube], [geometry], [Rate(0)])


# --- tables and windows ------------------------------------------------------------------------


def test_gaussian_tables_are_the_pinned_ones() -> None:
    assert tables.tt_tables().digest() == tables.TT_DIGEST
    assert tables.elic_tables().digest() == tables.ELIC_DIGEST


@pytest.mark.parametrize("row", [0, 256 * 50, 256 * 37 + 120, 256 * 99 + 255])
def test_gaussian_rows_follow_the_normal_distribution(row: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    mean_bin, scale_bin = divmod(row, tables.SCALE_BINS)
    mean, sigma = mean_bin / 100 - 0.5, float(tables.tt_scales()[scale_bin])
    ragged = tables.tt_tables()
    start, stop = ragged.starts[row : row + 2]
    width = np.diff([*ragged.cdf[start:stop].astype(int), 65536])
    symbols = ragged.minimum[row] + np.arange(len(width) - 1)
    p = np.diff(stats.norm.cdf([*(symbols - 0.5), symbols[-1] + 0.5], mean, sigma))
    p = np.append(p, 1 - p.sum())
    assert width.min() >= 1
    loss = np.sum(p * np.log2(np.maximum(p, 1e-300) * 65536 / width))
    assert 0 <= loss < 0.02 + 2e-4


def test_scale_thresholds_are_bin_borders() -> None:
    scales = [float(s) for s in tables.tt_scales()]
    for j, threshold in enumerate(tables.tt_scale_thresholds()):
        raw = threshold / 65536
        value = 1 + raw if raw > 0 else 1 / (1 - raw)
        assert scales[j] < value + 0.01 < scales[j + 1]


@given(st.integers(1, 9), st.integers(1, 9))
def test_neighborhoods_are_centerd_on_cells(height: int, width: int) -> None:
    image = torch.arange(2 * 3 * height * width, dtype=torch.float64)
    image = image.reshape(2, 3, height, width)
    out = windows.neighborhoods(image, 8, 4)
    rows, columns = -(-height // 4), -(-width // 4)
    assert out.shape == (2 * rows * columns, 64, 3)
    inner = out.unflatten(1, (8, 8))[:, 2:6, 2:6].flatten(1, 2)
    back = windows.from_cells(inner, rows, columns)
    assert torch.equal(back[:, :, :height, :width], image)


@given(st.integers(1, 5), st.integers(1, 8), st.integers(1, 4))
def test_repacking_is_its_own_inverse(count: int, length: int, group: int) -> None:
    tokens = torch.randn((count, length, length * group), dtype=torch.float64)
    packed = windows.repack(tokens)
    assert torch.equal(windows.repack(packed), tokens)
    # Token s holds slice s of every token, in the order of the tokens.
    expected = torch.cat([tokens[:, t, :group] for t in range(length)], dim=1)
    assert torch.equal(packed[:, 0], expected)

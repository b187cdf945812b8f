"""What the context models do in C and in NumPy is the same, whatever the numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mini_weights as mini
from tec_numcodecs import native as _accel
from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.mini.context import mixture_cdf
from tec_numcodecs.models.mini.context.dequantize import rescaled
from tec_numcodecs.models.mini.context.features import (
    OWN_FEATURES,
    Companding,
    Known,
    add_own,
    plane_features,
)
from tec_numcodecs.models.mini.context.integer_mlp import Perceptron
from tec_numcodecs.models.mini.context.mixture_cdf import Choice, shapes_of
from tec_numcodecs.models.mini.context.scan import Places
from tec_numcodecs.models.mini.elic import MiniElic
from tec_numcodecs.models.mini.flextec import MiniFlex
from tec_numcodecs.models.mini.progressive.bitplanes import later_rows, refined

if _accel.native() is None:
    pytest.skip("no compiled extension", allow_module_level=True)
SEEDS = st.integers(0, 2**32 - 1)


def both(run):
    """Results of a function in C and in NumPy."""
    found = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEC_DISABLE_NATIVE", "1")
        return found, run()


def same(run) -> None:
    for a, b in zip(*both(run), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def integers(random, shape, spread=40):
    """Mostly small, a few very large."""
    small = random.integers(-spread, spread + 1, shape)
    large = random.integers(-(1 << 20), 1 << 20, shape)
    return np.where(random.random(shape) < 0.05, large, small).astype(np.int32)


@given(SEEDS, st.integers(1, 3), st.integers(1, 35), st.integers(1, 35))
def test_places(seed, n, h, w) -> None:
    flags = np.random.default_rng(seed).random((n, -(-h // 8), -(-w // 8))) < 0.6

    def run():
        found = Places.of(flags, h, w)
        ends = np.array(found.ends)
        return [found.flat, found.own, found.parent, found.block, found.down, found.across, ends]

    same(run)
    assert Places.of(flags, h, w).ends[3] == flags.repeat(8, 1).repeat(8, 2)[:, :h, :w].sum()


@given(SEEDS, st.integers(1, 2), st.integers(1, 20), st.integers(1, 20), st.integers(0, 7))
def test_features(seed, n, h, w, kind) -> None:
    random = np.random.default_rng(seed)
    companding = Companding(mini.arrays())
    flags = random.random((n, -(-h // 8), -(-w // 8))) < 0.8
    places = Places.of(flags, h, w)
    here = [integers(random, (n, h + 2, w + 2)) for _ in range(11)]
    magnitudes = (0, 1, 2, 4, 7, 8, 9)
    here = [np.abs(x) if i in magnitudes else x for i, x in enumerate(here)]
    shown = tuple(x if i == 10 or random.random() < 0.7 else None for i, x in enumerate(here))
    above = old = None
    if kind & 1:
        up = [integers(random, (n, (h + 1) // 2 + 2, (w + 1) // 2 + 2)) for _ in range(4)]
        above = (np.abs(up[0]), up[1], np.abs(up[2]), np.abs(up[3]))
    if kind & 2:
        q, image, finer = (integers(random, (n, h + 2, w + 2)) for _ in range(3))
        old = (q, np.abs(image) if kind & 4 else image, np.abs(finer) if seed & 1 else None)
    known = Known(shown, above, old, of_pass=bool(kind & 4))
    scale = random.integers(0, 1 << 18, len(places.flat)).astype(np.int32)

    def run():
        found = plane_features(companding, known, places, scale, -3, flags)
        assert not found[:, -OWN_FEATURES:].any()
        part = places.phases[1]
        add_own(companding, found[part], places.own[part], here[3], here[2])
        return [found]

    same(run)


@pytest.mark.parametrize("name", ["elic.4.2", "tt.0.0", "flex.2.3.1", "flex.flags.1.1"])
@given(SEEDS, st.integers(0, 40))
def test_networks_and_rows(name, seed, count) -> None:
    random = np.random.default_rng(seed)
    arrays = mini.arrays("flextec" if name.startswith("flex") else "tt")
    network = Perceptron(arrays, name)
    inputs = len(arrays[f"{name}.first"])
    features = random.integers(-127, 128, (count, inputs)).astype(np.int16)
    own = random.integers(0, 99, count)
    old = integers(random, (1, 9, 11))

    def run():
        out = network(features, 7, 200, 1)
        if out.shape[1] < 3:
            return [out]
        shapes = shapes_of(out, features, own, old if out.shape[1] > 3 else None)
        choice = mixture_cdf.choose(*shapes)
        return [out, *shapes, choice.row, choice.base, choice.raw]

    same(run)


@given(SEEDS, st.integers(0, 60), st.sampled_from([16, 17, 40, 1 << 12]), st.sampled_from([0, 32]))
def test_rescaling(seed, count, step, half) -> None:
    random = np.random.default_rng(seed)
    offsets = random.integers(-127, 128, (50, 7)).astype(np.int8)
    row, raw = (random.integers(0, most, count).astype(np.int32) for most in (50, 2))
    q, base = (random.integers(-9, 10, count).astype(np.int32) for _ in range(2))
    same(lambda: [rescaled(q, Choice(row, base, raw), offsets, step, half)])


@given(SEEDS, st.integers(0, 60), st.sampled_from([16, 40, 1 << 12]))
def test_later_passes(seed, count, step) -> None:
    random = np.random.default_rng(seed)
    before = random.integers(-5, 6, count).astype(np.int32)
    mean, scale, shape = random.integers(-60, 61, (3, count)).astype(np.float32)
    symbol = np.where(before == 0, random.integers(-1, 2, count), random.integers(0, 2, count))
    refining = mini.model(MiniFlex)._refining

    def run():
        row = later_rows(mean, scale, shape, before)
        q = refined(symbol.astype(np.int32), before)
        zeros = np.zeros_like(row)
        values = refining.values(2, q, Choice(row, zeros, zeros), step)
        return [row, q, values]

    same(run)


@given(SEEDS, st.integers(0, 60), st.sampled_from([16, 40, 1 << 12]))
def test_prices_and_decisions(seed, count, step) -> None:
    random = np.random.default_rng(seed)
    prices = mini.model(MiniElic)._prices
    row = random.integers(0, len(mini.arrays()["offsets"]), count).astype(np.int32)
    base, raw = integers(random, count), random.integers(0, 4, count).astype(np.int32)
    symbol, values = integers(random, count), integers(random, count, 3000)

    def run():
        bits = prices._table.of(symbol, row)
        return [bits, prices.decide(values, step, Choice(row, base, raw))]

    same(run)


@pytest.mark.parametrize(("before", "symbol"), [(0, 2), (0, -2), (1, -1), (-3, 2)])
@pytest.mark.parametrize("native", ["0", "1"])
def test_no_digits(before, symbol, native, monkeypatch) -> None:
    monkeypatch.setenv("TEC_DISABLE_NATIVE", native)
    with pytest.raises(CorruptChunk, match="digit"):
        refined(np.array([0, symbol], np.int32), np.array([0, before], np.int32))


def test_buffers_that_do_not_fit() -> None:
    """The wrappers are ours, but a mistake in them must not read what lies beside an array."""
    c = _accel.native()
    three, four = np.zeros(3, np.float32), np.zeros(4, np.float32)
    whole = np.zeros(3, np.int32)
    with pytest.raises(ValueError, match="do not match"):
        c.context_choose(three, four, three, whole, 0, whole, whole, whole)
    with pytest.raises(ValueError, match="do not match"):
        c.context_rescale(whole, whole, whole, whole, whole[:2], np.zeros(7, "i1"), 0, 16)
    with pytest.raises(IndexError, match="outside"):
        c.context_rescale(whole, whole, whole + 1, whole, whole, np.zeros(7, "i1"), 0, 17)
    table, plane = np.zeros(2, np.int16), np.zeros((1, 3, 3), np.int32)
    features = np.zeros((1, 51), np.int16)
    with pytest.raises(IndexError, match="outside"):
        c.context_own(features, 51, np.array([8]), table, plane, plane, 3)
    with pytest.raises(ValueError, match="do not match"):
        c.context_own(features, 51, np.array([4, 4]), table, plane, plane, 3)
    with pytest.raises(ValueError, match="do not match"):
        c.context_places(np.ones(2, bool), 1, 8, 8, *(np.zeros(64, np.int64) for _ in range(4)))
    features.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        c.context_own(features, 51, np.array([4]), table, plane, plane, 3)

"""flextec: the first tokens of a stream are a coarser image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mini_weights as mini
from cubes import scene
from tec_numcodecs.entropy import rans
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_numcodecs.models.base import Rate
from tec_numcodecs.models.mini.elic import MiniElic
from tec_numcodecs.models.mini.flextec import MiniFlex
from tec_numcodecs.models.mini.progressive.bitplanes import (
    low_digits,
    refined,
    refinement,
    truncated,
)
from tec_numcodecs.models.mini.progressive.lowpass import digit_stages, middles, read_digits
from tec_numcodecs.models.mini.progressive.tokens import TOKENS, join_tokens, split_tokens
from tec_numcodecs.models.mini.transform.quantizer import dequantise, steps
from tec_numcodecs.models.mini.transform.wavelet_klt import LOW
from tec_numcodecs.options import set_options
from tec_numcodecs.reference.flextec import read_tokens

SHAPE = (2, 12, 48, 40)


@pytest.fixture(scope="module", params=[80, 140, 170])
def coded(request):
    """Of rates whose low-pass comes in all passes, in the last two, and at once."""
    model, where = mini.model(MiniFlex), mini.geometry(SHAPE)
    pixels = scene(SHAPE).astype(np.int32)
    (latents,) = model.analysis([pixels], [where], [Rate(request.param)])
    (payload,) = model.entropy_encode([latents])
    return model, where, pixels, latents, payload


def read(model, payload, where, quality: int, rate_index: int):
    """Decode the first tokens of a stream that has all of them."""
    with set_options(quality=quality):
        return model.entropy_decode([payload], [where], [Rate(rate_index)])[0]


def test_all_tokens_decode_to_what_was_encoded(coded) -> None:
    model, where, _, latents, payload = coded
    found = read(model, payload, where, TOKENS, latents.rate.index)
    np.testing.assert_array_equal(found.symbols, latents.symbols)
    np.testing.assert_array_equal(*model.synthesis([found, latents]))
    assert found.rate == latents.rate
    assert len(split_tokens(payload)) == TOKENS
    assert model.entropy_encode([found]) == [payload]


def test_the_integers_are_those_of_elic_but_for_the_last_digit(coded) -> None:
    _, where, pixels, latents, _ = coded
    (other,) = mini.model(MiniElic).analysis([pixels], [where], [latents.rate])
    np.testing.assert_array_equal(other.state["q"].low, latents.state["q"].low)
    differ = 0
    for a, b in zip(other.state["q"].detail, latents.state["q"].detail, strict=True):
        np.testing.assert_array_equal(truncated(a, 1), truncated(b, 1))
        differ += np.count_nonzero(a != b)
    assert 0 < differ < latents.symbols.size // 20


def test_every_pass_halves_the_error_or_so(coded) -> None:
    model, where, pixels, latents, payload = coded
    errors = []
    for quality in range(1, TOKENS + 1):
        part = read(model, payload, where, quality, latents.rate.index)
        (found,) = model.synthesis([part])
        errors.append(float(((found - pixels) ** 2).mean()))
    whole = errors[3::4]
    assert all(fine < 0.5 * coarse for coarse, fine in zip(whole, whole[1:], strict=False))
    assert errors[-1] == min(errors)


@pytest.mark.parametrize("quality", [1, 4, 5, 8, 11])
def test_a_stream_of_some_tokens_is_the_same_as_one_read_in_part(coded, quality) -> None:
    model, where, pixels, latents, payload = coded
    index = latents.rate.index
    part = read(model, payload, where, quality, index)
    assert part.rate.quality == quality
    (short,) = model.analysis([pixels], [where], [part.rate])
    (stored,) = model.entropy_encode([short])
    assert stored == join_tokens(split_tokens(payload)[:quality])
    (again,) = model.entropy_decode([stored], [where], [part.rate])
    for other in (short, again):
        np.testing.assert_array_equal(other.symbols, part.symbols)
        np.testing.assert_array_equal(*model.synthesis([other, part]))
    with pytest.raises(CorruptChunk, match="tokens"):
        model.entropy_decode([stored], [where], [Rate(index)])


@pytest.mark.parametrize("quality", [1, 4, 5, 9, 12, 13])
def test_the_low_pass_comes_digit_by_digit(coded, quality) -> None:
    model, where, _, latents, payload = coded
    index = latents.rate.index
    missing = min(4 - (quality + 3) // 4, {80: 3, 140: 2, 170: 0}[index])
    found = read(model, payload, where, quality, index).state["q"].low
    np.testing.assert_array_equal(found, truncated(latents.state["q"].low, missing))


def test_how_many_digits_come_later() -> None:
    found = [[low_digits(index, number) for number in range(4)] for index in (128, 129, 144, 145)]
    assert found == [[3, 2, 1, 0], [2, 2, 1, 0], [2, 2, 1, 0], [1, 1, 1, 0]]
    assert low_digits(160, 0) == 1
    assert low_digits(0, 0) == 3
    assert low_digits(161, 0) == low_digits(223, 0) == 0


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 300), st.integers(1, 5), st.integers(1, 9))
def test_digits_of_the_low_pass_come_back(seed, scale, components, side) -> None:
    tables = mini.model(MiniFlex)._refining.tables
    random = np.random.default_rng(seed)
    low = np.rint(random.laplace(0, scale, (2, components, side, 3))).astype(np.int32)
    before = truncated(low, 1)
    encoder = rans.Encoder()
    for symbols, rows, _ in digit_stages(low, before, tables):
        encoder.push(symbols, rows, tables)
    token = rans.Decoder(encoder.finish())
    np.testing.assert_array_equal(read_digits(token, before, tables), low)
    token.finish()


def test_no_other_flags_of_the_low_pass() -> None:
    tables = mini.model(MiniFlex)._refining.tables
    before = np.zeros((1, 1, 1, 1), np.int32)
    ((_, rows, _),) = digit_stages(before, before, tables)
    for symbol in (-1, 2):
        encoder = rans.Encoder()
        encoder.push(np.full(1, symbol, np.int32), rows, tables)
        with pytest.raises(CorruptChunk, match="flag of the low-pass"):
            read_digits(rans.Decoder(encoder.finish()), before, tables)


@pytest.mark.parametrize("step", [16, 17, 500])
@pytest.mark.parametrize("digits", range(4))
def test_the_low_pass_stands_for_the_middle(step, digits) -> None:
    q = np.arange(-103, 104, dtype=np.int32)
    known = truncated(q, digits)
    found = middles(known, digits, step)
    for value in range(-12, 13):
        exact = 0 if value == 0 else q[known == value].mean() * step / 16
        assert np.abs(found[known == value] - exact).max(initial=0) <= 0.5
    np.testing.assert_array_equal(middles(q, 0, step), dequantise(q, step))


def test_a_low_pass_beyond_the_transform_is_refused() -> None:
    low = np.array([-(2**31), 2**22 + 1], np.int32)
    for q in low:
        with pytest.raises(CorruptChunk, match="coefficient of"):
            middles(np.full((1, 1, 1, 1), q, np.int32), 3, steps(223)[LOW, 0])


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=40))
def test_a_digit_at_a_time_gives_the_integers(values) -> None:
    q = np.array(values, np.int32)
    known = truncated(q, 9)
    for digits in reversed(range(9)):
        finer = truncated(q, digits)
        known = refined(refinement(finer, known), known)
        np.testing.assert_array_equal(known, finer)


def test_no_other_refinements() -> None:
    zero, two = np.zeros(1, np.int32), np.full(1, 2, np.int32)
    for symbol, before in ((2, zero), (-2, zero), (-1, two), (2, two)):
        with pytest.raises(CorruptChunk, match="refinement"):
            refined(np.full(1, symbol, np.int32), before)


def test_lossless_at_the_end() -> None:
    model, where = mini.model(MiniFlex), mini.geometry((1, 4, 21, 30), (1, 2, 3, 7))
    pixels = scene(where.shape, 2).astype(np.int32)
    (latents,) = model.analysis([pixels], [where], [Rate(0)])
    payloads = model.entropy_encode([latents])
    np.testing.assert_array_equal(
        model.synthesis(model.entropy_decode(payloads, [where], [Rate(0)]))[0], pixels
    )


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=TOKENS))
def test_tokens_come_back(tokens) -> None:
    assert split_tokens(join_tokens(tokens)) == tokens


@given(st.binary(max_size=60))
def test_anything_else_is_an_error_or_tokens(payload) -> None:
    try:
        tokens = split_tokens(payload)
    except CorruptChunk:
        return
    assert join_tokens(tokens) == payload  # sizes in their shortest form, nothing behind
    assert read_tokens(payload, payload[0]) == tokens


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\0", b"\x11" + bytes(17), b"\1", b"\1\0\0", b"\1\2a", b"\2\1a", b"\2\x81\0\1ab",
        b"\1\x80\x80\x80\x80\0", b"\2\xff\xff\xff\xff\x0f\1a", b"\1" + b"\x80" * 3000 + b"\1",
    ],
    ids=lambda payload: payload[:8].hex() or "nothing",
)  # fmt: skip
def test_tokens_that_are_none(payload) -> None:
    for split in (split_tokens, lambda data: read_tokens(data, (data or b"\1")[0] or 1)):
        with pytest.raises(CorruptChunk):
            split(payload)


def test_quality_is_checked(coded) -> None:
    model, where, pixels, *_ = coded
    with pytest.raises(InvalidInput, match="quality 17"):
        model.analysis([pixels], [where], [Rate(80, 17)])

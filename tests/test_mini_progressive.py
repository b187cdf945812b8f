"""flextec: the first tokens of a stream are a coarser image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_numcodecs.models.base import Latents, Rate
from tec_numcodecs.models.mini.progressive import TOKENS, MiniFlex, join_tokens, split_tokens
from tests import mini_weights as mini
from tests.cubes import scene

SHAPE = (2, 12, 48, 40)


@pytest.fixture(scope="module")
def coded():
    model, where = MiniFlex(mini.arrays()), mini.geometry(SHAPE)
    pixels = scene(SHAPE).astype(np.int32)
    (latents,) = model.analysis([pixels], [where], [Rate(80)])
    (payload,) = model.entropy_encode([latents])
    return model, where, pixels, latents, payload


def test_all_tokens_decode_to_what_was_encoded(coded) -> None:
    model, where, _, latents, payload = coded
    for quality in (0, TOKENS):
        (found,) = model.entropy_decode([payload], [where], [Rate(80, quality)])
        np.testing.assert_array_equal(found.symbols, latents.symbols)
        np.testing.assert_array_equal(*model.synthesis([found, latents]))
    assert len(split_tokens(payload)) == TOKENS
    bare = Latents(where, Rate(80), latents.symbols)
    assert model.entropy_encode([bare]) == [payload]
    np.testing.assert_array_equal(*model.synthesis([bare, latents]))


def test_every_pass_halves_the_error_or_so(coded) -> None:
    model, where, pixels, _, payload = coded
    errors = []
    for quality in range(1, TOKENS + 1):
        (found,) = model.entropy_decode([payload], [where], [Rate(80, quality)])
        errors.append(float(((model.synthesis([found])[0] - pixels) ** 2).mean()))
    whole = errors[3::4]
    assert all(fine < 0.45 * coarse for coarse, fine in zip(whole, whole[1:], strict=False))
    assert errors[-1] == min(errors)


@pytest.mark.parametrize("quality", [1, 5, 8])
def test_a_stream_cut_short_is_the_same_as_one_read_in_part(coded, quality) -> None:
    model, where, pixels, latents, payload = coded
    (part,) = model.entropy_decode([payload], [where], [Rate(80, quality)])
    tokens = split_tokens(payload)
    cut = payload[: len(payload) - sum(map(len, tokens[quality:]))]
    (found,) = model.entropy_decode([cut], [where], [Rate(80)])
    (short,) = model.analysis([pixels], [where], [Rate(80, quality)])
    assert model.entropy_encode([short]) == [join_tokens(tokens[:quality])]
    for other in (found, short):
        np.testing.assert_array_equal(other.symbols, part.symbols)
        np.testing.assert_array_equal(*model.synthesis([other, part]))
    assert np.array_equal(part.symbols, latents.symbols[: len(part.symbols)])


def test_lossless_at_the_end() -> None:
    model, where = MiniFlex(mini.arrays()), mini.geometry((1, 4, 21, 30), (1, 2, 3, 7))
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
    assert sum(map(len, tokens)) < len(payload)


def test_quality_is_checked(coded) -> None:
    model, where, pixels, *_ = coded
    with pytest.raises(InvalidInput, match="quality 17"):
        model.analysis([pixels], [where], [Rate(80, 17)])

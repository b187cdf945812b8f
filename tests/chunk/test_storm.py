"""A storm of chunks with promised bounds: not one violation, and the same pixels everywhere."""

from __future__ import annotations

import hashlib

import pytest

import storm
from cubes import scene
from tec_numcodecs import reference
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.weights.local_store import locate


@pytest.mark.parametrize(
    ("count", "largest", "judged"),
    [
        (165, (2, 4, 24, 24), 10),
        pytest.param(11_000, storm.LARGEST, 20, marks=pytest.mark.slow),
    ],
)
def test_bounds_hold_in_a_storm(count, largest, judged, tmp_path):
    chunks = [storm.check(case) for case in storm.cases(count, largest)]
    assert {chunk[5] for chunk in chunks} == {0, 1, 2}  # of all modes
    expected = storm.digests(chunks)
    assert storm.elsewhere(chunks, tmp_path) == expected
    weights = reference.load_weights(locate(CodecConfig.parse(lam=20).weights))
    for chunk, digest in list(zip(chunks, expected, strict=True))[::judged]:
        found = reference.decode(chunk, weights)
        assert hashlib.sha256(found.tobytes()).hexdigest() == digest


def test_the_largest_chunks_too():
    for case in storm.cases(11):
        if case.array.size > 20_000:
            storm.check(case)


def test_a_broken_promise_is_noticed():
    """The storm can fail: a chunk coded for a wider bound is found out."""
    wide = CodecConfig.parse(max_error=50, bands=("B02", "B03", "B04", "B08"))
    with pytest.raises(AssertionError, match="off by"):
        storm.check(storm.Case("wide", scene((1, 4, 24, 24)), wide, 49.0))

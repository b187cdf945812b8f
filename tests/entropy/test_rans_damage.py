"""Damaged and hostile streams: refused, or decoded to other symbols, the same ones everywhere."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rans_cases import BACKENDS, CORNERS, INT32, LAPLACE, draw, i32, using
from tec_numcodecs.entropy import rans
from tec_numcodecs.entropy.rans import UNIFORM, Decoder, Tables
from tec_numcodecs.errors import CorruptChunk, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rans_cases import Ints


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a test with the C file and without it."""
    with using(request.param):
        yield request.param


def outcome(data: bytes, rows: Ints, tables: Tables) -> list[int] | None:
    """Decode damaged bytes: symbols, or None where they are refused."""
    try:
        return rans.decode(data, rows, tables).tolist()  # type: ignore[no-any-return]
    except CorruptChunk:
        return None


@pytest.mark.parametrize("n", [1, 3, 12, 60, 400])
@pytest.mark.parametrize("tables", [LAPLACE, CORNERS], ids=["laplace", "corners"])
def test_truncated_streams_are_refused(backend: str, tables: Tables, n: int) -> None:
    symbols, rows = draw(tables, n, seed=n, escapes=0.1)
    data = rans.encode(symbols, rows, tables)
    for size in range(len(data)):
        assert outcome(data[:size], rows, tables) is None, size


@pytest.mark.parametrize("n", [1, 3, 12, 60])
def test_every_wrong_byte_is_refused_or_decoded_alike(n: int) -> None:
    symbols, rows = draw(LAPLACE, n, seed=n, escapes=0.1)
    data = rans.encode(symbols, rows, LAPLACE)
    flips = [1, 16, 128] if n > 12 else range(1, 256)
    for i, flip in itertools.product(range(len(data)), flips):
        hostile = bytearray(data)
        hostile[i] ^= flip
        found = []
        for backend in BACKENDS:
            with using(backend):
                found.append(outcome(bytes(hostile), rows, LAPLACE))
        assert found[0] == found[-1]
        assert found[0] != symbols.tolist()


@given(st.binary(max_size=60), st.integers(0, 40), st.integers(0, 99))
def test_noise_is_refused_or_decoded_alike(data: bytes, n: int, seed: int) -> None:
    tables = CORNERS if seed % 2 else LAPLACE
    _, rows = draw(tables, n, seed)
    found = []
    for backend in BACKENDS:
        with using(backend):
            found.append(outcome(data, rows, tables))
            if found[-1] is not None:  # then it is what an encoder writes, nothing else
                assert rans.encode(i32(*found[-1]), rows, tables) == data
    assert found[0] == found[-1]


IMPOSSIBLE = {
    "one state, its initial value": "000001",
    "one state below it": "ffff00",
    "one state with a leading zero": "00000200",
    "one state of 64 bits": "0000000000000080",
    "lane 0 below 2^31": "44 ffffff7f 00000080",
    "lane 1 below 2^31": "44 00000080 ffffff7f",
    "lane 0 with a leading zero": "45 0000008000 00000080",
    "lane 1 with a leading zero": "54 00000080 0000008000",
    "lane 1 of 64 bits": "84 00000080 0000000000000080",
    "lanes of no bytes": "00 0000000000000000",
    "a lane of nine bytes": "49 000000000000000080 00000080",
    "lanes longer than the stream": "88 0000000000000080",
    "half a word": "44 00000080 00000080 0000",
}


@pytest.mark.parametrize("data", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_beginnings_are_refused(backend: str, data: str) -> None:
    with pytest.raises(CorruptChunk):
        Decoder(bytes.fromhex(data))


@pytest.mark.parametrize(("symbol", "minimum"), [(-9, INT32.min + 8), (9, INT32.max - 8)])
def test_escapes_beyond_int32_are_refused(backend: str, symbol: int, minimum: int) -> None:
    here = Tables.from_frequencies([[30000, 35536]], [0])
    data = rans.encode(i32(symbol), i32(0), here)
    there = Tables.from_frequencies([[30000, 35536]], [minimum])
    with pytest.raises(CorruptChunk):
        Decoder(data).pull(i32(0), there)


def test_longer_streams_and_wrong_counts_are_refused(backend: str) -> None:
    symbols, rows = draw(LAPLACE, 300)
    data = rans.encode(symbols, rows, LAPLACE)
    for tail in (b"\0", b"\0\0\0\0", data):
        assert outcome(data + tail, rows, LAPLACE) is None
    assert outcome(data, rows[:-1], LAPLACE) is None
    assert outcome(data, np.append(rows, rows), LAPLACE) is None
    assert outcome(b"", rows[:1], LAPLACE) is None


def test_a_tiny_stream_does_not_feed_a_million_symbols(backend: str) -> None:
    data = rans.encode(i32(1, 2, 3), i32(9, 9, 9), LAPLACE)
    with pytest.raises(CorruptChunk, match="stream"):
        Decoder(data).pull(np.full(1_000_000, 9, np.int32), LAPLACE)


def test_a_failed_pull_changes_nothing(backend: str) -> None:
    symbols, rows = draw(LAPLACE, 3000)
    decoder = Decoder(rans.encode(symbols, rows, LAPLACE))
    np.testing.assert_array_equal(decoder.pull(rows[:100], LAPLACE), symbols[:100])
    with pytest.raises(InvalidInput, match="row 24 at position 2"):
        decoder.pull(i32(0, 1, 24), LAPLACE)
    with pytest.raises(CorruptChunk):
        decoder.pull(np.full(100_000, UNIFORM + 16, np.int32), LAPLACE)
    np.testing.assert_array_equal(decoder.pull(rows[100:], LAPLACE), symbols[100:])
    decoder.finish()

"""The entropy coder: what comes back, what a stream costs, what nonsense does."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rans_cases import BACKENDS, CORNERS, INT32, LAPLACE, NO_ROWS, draw, i32, using
from tec_numcodecs.entropy import rans
from tec_numcodecs.entropy.rans import UNIFORM, Decoder, Encoder, Tables
from tec_numcodecs.errors import CorruptChunk, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rans_cases import Ints


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a test with the C file and without it."""
    with using(request.param):
        yield request.param


def typical(n: int, seed: int = 0) -> tuple[Ints, Ints]:
    """Draw symbols from the distributions of `LAPLACE`."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(LAPLACE), n)
    slots = rng.integers(0, 65536, n)
    symbols = [
        LAPLACE.minimum[r] + np.searchsorted(LAPLACE.cdf[a:b], slot, "right") - 1
        for r, slot, a, b in zip(
            rows, slots, LAPLACE.starts[rows], LAPLACE.starts[rows + 1], strict=True
        )
    ]
    return np.array(symbols, np.int32), rows.astype(np.int32)


# ---- what comes back ---------------------------------------------------------------------------


@st.composite
def stages(draw_from: st.DrawFn) -> list[tuple[Ints, Ints, Tables]]:
    """A few stages over different tables, symbols anywhere in int32."""
    result = []
    for tables in draw_from(st.lists(st.sampled_from([LAPLACE, CORNERS, NO_ROWS]), max_size=4)):
        symbols, rows = [], []
        for _ in range(draw_from(st.integers(0, 12))):
            if not len(tables) or draw_from(st.integers(0, 3)) == 0:
                bits = draw_from(st.integers(1, 16))
                rows.append(UNIFORM + bits)
                symbols.append(draw_from(st.integers(0, 2**bits - 1)))
            else:
                rows.append(draw_from(st.integers(0, len(tables) - 1)))
                near = int(tables.minimum[rows[-1]])
                close = st.integers(max(near - 3, INT32.min), min(near + 9, INT32.max))
                far = st.integers(int(INT32.min), int(INT32.max))
                symbols.append(draw_from(close | far))
        result.append((np.array(symbols, np.int32), np.array(rows, np.int32), tables))
    return result


@given(stages())
def test_stages_come_back_and_both_backends_agree(parts: list[tuple[Ints, Ints, Tables]]) -> None:
    streams = set()
    for backend in BACKENDS:
        with using(backend):
            encoder = Encoder()
            for part in parts:
                encoder.push(*part)
            streams.add(encoder.finish())
    (data,) = streams
    for backend in BACKENDS:
        with using(backend):
            decoder = Decoder(data)
            for symbols, rows, tables in parts:
                decoded = decoder.pull(rows, tables)
                assert decoded.dtype == np.int32
                np.testing.assert_array_equal(decoded, symbols)
            decoder.finish()
            assert decoder.position == len(data)
    bits = sum(tables.cross_entropy_bits(symbols, rows) for symbols, rows, tables in parts)
    assert len(data) <= bits / 8 * 1.0001 + 6


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 100, 4097, 20_000])
def test_every_length_comes_back_and_both_backends_agree(n: int) -> None:
    for seed, tables in enumerate((LAPLACE, CORNERS)):
        symbols, rows = draw(tables, n, seed)
        streams = set()
        for backend in BACKENDS:
            with using(backend):
                streams.add(rans.encode(symbols, rows, tables))
                data = min(streams)
                np.testing.assert_array_equal(rans.decode(data, rows, tables), symbols)
        assert len(streams) == 1


@pytest.mark.parametrize("minimum", [-1, INT32.min, INT32.max - 1])
@pytest.mark.parametrize("length", range(32))
def test_escapes_of_every_length(backend: str, length: int, minimum: int) -> None:
    tables = Tables.from_frequencies([[30000, 30000, 5536]], [minimum])
    distances = {2**length, 2**length + length // 2, 2 ** (length + 1) - 1}
    symbols = [s for d in distances for s in (minimum - d, minimum + 1 + d)]
    symbols = [s for s in symbols if INT32.min <= s <= INT32.max]
    rows = np.zeros(len(symbols), np.int32)
    data = rans.encode(i32(*symbols), rows, tables)
    assert rans.decode(data, rows, tables).tolist() == symbols
    # The escape interval, six bits, and as many as the distance has behind its first.
    each = 16 - np.log2(5536) + 6 + length
    assert tables.cross_entropy_bits(i32(*symbols), rows) == pytest.approx(len(symbols) * each)
    assert symbols or minimum == -1


# The format is frozen. Symbols, rows of CORNERS, bytes: the bytes come from a transcription of the
# docstring of rans.py that shares no code with the package.
GOLDEN: list[tuple[list[int], list[int], str]] = [
    ([0], [0], "010001"),
    ([-1, 0, 0, 5], [3, 3, 3, 3], "b0132c83"),
    ([INT32.min, INT32.max], [1, 1], "5500004000203ffc3f0001"),
    ([1, 2, 1000, 77], [UNIFORM + 1, UNIFORM + 2, UNIFORM + 16, 4], "e883e9ab030008"),
    (
        [-30000, 35534, 35535, -30001, 70000, -70000],
        [4, 4, 4, 4, 3, 3],
        "870000ffff1f4f17feff76000198d60bffff70fd",
    ),
    (
        [INT32.max - 1, INT32.max, INT32.min, 0, *[0, -1, 0] * 4],
        [2, 2, 2, UNIFORM + 3, *[3] * 12],
        "5400004ad087c1c46042ffffffff",
    ),
]


@pytest.mark.parametrize(("symbols", "rows", "data"), GOLDEN)
def test_golden_streams(backend: str, symbols: list[int], rows: list[int], data: str) -> None:
    assert rans.encode(i32(*symbols), i32(*rows), CORNERS).hex() == data
    assert rans.decode(bytes.fromhex(data), i32(*rows), CORNERS).tolist() == symbols


def test_arrays_may_be_strided_unaligned_and_read_only(backend: str) -> None:
    symbols, rows = draw(LAPLACE, 501)
    expected = rans.encode(symbols, rows, LAPLACE)
    raw = np.frombuffer(b"x" + rows.tobytes(), np.uint8)[1:].view(np.int32)
    assert not raw.flags.aligned
    assert not raw.flags.writeable
    assert rans.encode(np.repeat(symbols, 2)[::2], raw, LAPLACE) == expected
    np.testing.assert_array_equal(rans.decode(memoryview(expected), raw, LAPLACE), symbols)


def test_threads_share_tables(backend: str) -> None:
    tables = pickle.loads(pickle.dumps(LAPLACE))  # not compiled yet: threads meet over that, too
    parts = [draw(tables, 5000, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        streams = list(pool.map(lambda part: rans.encode(part[0], part[1], tables), parts))
        back = pool.map(lambda part, data: rans.decode(data, part[1], tables), parts, streams)
        for (symbols, _), decoded in zip(parts, back, strict=True):
            np.testing.assert_array_equal(decoded, symbols)


# ---- what a stream costs -----------------------------------------------------------------------


def test_overhead(backend: str) -> None:
    symbols, rows = typical(50_000)
    size = len(rans.encode(symbols, rows, LAPLACE))
    ideal = LAPLACE.cross_entropy_bits(symbols, rows) / 8
    assert ideal <= size <= ideal * 1.0001 + 6


def test_short_streams_are_short(backend: str) -> None:
    assert rans.encode(i32(), i32(), LAPLACE) == b""
    assert len(rans.encode(i32(0), i32(0), CORNERS)) == 3
    assert len(rans.encode(i32(0, 0, -1), i32(3, 3, 3), CORNERS)) == 3
    zeros = np.zeros(50_000, np.int32)
    assert len(rans.encode(zeros, zeros, CORNERS)) == 3


def test_a_prefix_is_enough_for_the_first_stages(backend: str) -> None:
    parts = [draw(LAPLACE, 700, seed) for seed in range(4)]
    encoder = Encoder()
    for part in parts:
        encoder.push(*part, LAPLACE)
    data = encoder.finish()
    decoder = Decoder(data)
    positions = [decoder.position]
    for symbols, rows in parts:
        np.testing.assert_array_equal(decoder.pull(rows, LAPLACE), symbols)
        positions.append(decoder.position)
    assert sorted(set(positions)) == positions
    prefix = Decoder(data[: positions[2]])
    for symbols, rows in parts[:2]:
        np.testing.assert_array_equal(prefix.pull(rows, LAPLACE), symbols)
    with pytest.raises(CorruptChunk):
        prefix.finish()


# ---- nonsense from the caller ------------------------------------------------------------------

WRONG_ARRAYS: dict[str, Any] = {
    "float": np.array([0.0]),
    "nan": np.array([np.nan]),
    "infinity": np.array([np.inf], np.float32),
    "huge": np.array([1e30]),
    "int64": np.array([0]),
    "int16": np.array([0], np.int16),
    "big-endian": np.array([0], ">i4"),
    "matrix": np.array([[0]], np.int32),
    "scalar": np.int32(0),
    "list": [0],
    "none": None,
}


@pytest.mark.parametrize("wrong", WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
def test_only_int32_vectors_are_coded(backend: str, wrong: Any) -> None:
    encoder = Encoder()
    for symbols, rows in ((wrong, i32(0)), (i32(0), wrong)):
        with pytest.raises(InvalidInput, match="int32 array of one dimension"):
            encoder.push(symbols, rows, LAPLACE)
        with pytest.raises(InvalidInput, match="int32 array of one dimension"):
            LAPLACE.cross_entropy_bits(symbols, rows)
    with pytest.raises(InvalidInput, match="int32 array of one dimension"):
        Decoder(b"").pull(wrong, LAPLACE)
    assert encoder.finish() == b""


@pytest.mark.parametrize("row", [-1, 24, INT32.min, INT32.max, UNIFORM, UNIFORM + 17])
def test_rows_that_are_none(backend: str, row: int) -> None:
    encoder = Encoder()
    with pytest.raises(InvalidInput, match=rf"row {row} at position 1; allowed: 0 \.\.\. 23"):
        encoder.push(i32(0, 0), i32(0, row), LAPLACE)
    assert encoder.finish() == b""
    with pytest.raises(InvalidInput, match=f"row {row} at position 0"):
        Decoder(bytes([1, 2, 3])).pull(i32(row), LAPLACE)


@pytest.mark.parametrize(("bits", "symbol"), [(1, 2), (1, -1), (16, 65536), (16, INT32.min)])
def test_uniform_symbols_must_fit(backend: str, bits: int, symbol: int) -> None:
    encoder = Encoder()
    with pytest.raises(InvalidInput, match=f"uniform symbol {symbol} at position 1"):
        encoder.push(i32(0, symbol), i32(0, UNIFORM + bits), LAPLACE)
    assert encoder.finish() == b""


def test_lengths_must_agree_and_encoders_end(backend: str) -> None:
    encoder = Encoder()
    with pytest.raises(InvalidInput, match="2 symbols, 1 rows"):
        encoder.push(i32(0, 0), i32(0), LAPLACE)
    encoder.finish()
    for use in (encoder.finish, lambda: encoder.push(i32(), i32(), LAPLACE)):
        with pytest.raises(InvalidInput, match="finished"):
            use()

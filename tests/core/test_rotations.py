"""Lists of rotations in the C core against FORMAT.md 9.4: their tables, and hostile lists."""

from __future__ import annotations

import numpy as np
import pytest

from core_spectra import draw_rotations
from spectra import Rotation
from tec_numcodecs import native as _accel
from tec_numcodecs.entropy import rans

native = _accel.native()
if native is None:
    pytest.skip("the C extension was not built", allow_module_level=True)

OK, BAD_SYMBOL, CORRUPT = 0, 4, 5
COUNT, ANGLE, OF_Q, OF_P = 0, 1, 2, 20
# The text, said a second time.
WEIGHTS = {
    "N": (
        "121 31 36 36 34 34 30 24 22 18 16 13 12 11 10 9 9 8 8 7 7 6 6 5 5 5 4 4 4 3 3 3 3 3 "
        "2 2 2 2 2 2 2 2 2 2 2 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 11"
    ),
    "q": "630 811 837 760 743 526 500 471 419 361 263 60",
    "p": "2139 1489 1074 551 430 241 164 96 86 37 14 6",
    "j": "4 110 547 1004 1442 1384 1090 523 185 27 6 3",
}


def weights_of(name: str, most: int = 64) -> list[int]:
    return [int(w) for w in WEIGHTS[name].split()][: max(most, 1)]


def widths(weights: list[int]) -> np.ndarray:
    k = len(weights) + 1
    found = [1 + w * (65536 - k) // sum(weights) for w in [*weights, 0]]
    found[weights.index(max(weights))] += 65536 - sum(found)
    return np.array(found)


@pytest.fixture(scope="module")
def tables() -> rans.Tables:
    rows = [weights_of("N"), weights_of("j")]
    rows += [weights_of("q", n - 1) for n in range(18)]
    rows += [weights_of("p", q) for q in range(13)]
    minimum = [0, 1] + [1] * 18 + [0] * 13
    return rans.Tables.from_frequencies([widths(row) for row in rows], np.array(minimum, np.int32))


def coded(tables: rans.Tables, pairs: list[tuple[int, int]]) -> bytes:
    """A stream of (symbol, row)."""
    encoder = rans.Encoder()
    symbols, rows = (np.array(x, np.int32) for x in zip(*pairs, strict=True))
    encoder.push(symbols, rows, tables)
    return encoder.finish()


def pairs_of(rotations: list[Rotation], n: int) -> list[tuple[int, int]]:
    out = [(len(rotations), COUNT)]
    for q, p, j, sign in rotations:
        out += [(q, OF_Q + n), (p, OF_P + q), (j, ANGLE), (int(sign < 0), rans.UNIFORM + 1)]
    return out


def read(data: bytes, n: int) -> tuple[int, list[Rotation]]:
    status, found = native.rotations_read(data, n)
    return status, [tuple(r) for r in np.frombuffer(found, np.int32).reshape(-1, 4).tolist()]


def write(rotations: list[Rotation], n: int) -> tuple[int, bytes]:
    return native.rotations_write(n, np.array(rotations, np.int32))


@pytest.mark.parametrize("n", range(2, 14))
def test_lists_are_coded_as_the_text_says_and_read_back(tables: rans.Tables, n: int) -> None:
    rng = np.random.default_rng(n)
    for count in (0, 1, 2, 17, 63):
        rotations = draw_rotations(rng, n, count)
        status, data = write(rotations, n)
        assert (status, data) == (OK, coded(tables, pairs_of(rotations, n)))
        assert read(data, n) == (OK, rotations)


def test_one_band_has_no_list() -> None:
    assert write([], 1) == (OK, b"")
    assert read(b"", 1) == (OK, [])
    assert write([(1, 0, 3, 1)], 1) == (BAD_SYMBOL, b"")


@pytest.mark.parametrize(
    "pairs",
    [
        [(64, COUNT)],
        [(-1, COUNT)],
        [(1 << 30, COUNT)],
        [(1, COUNT), (0, OF_Q + 5)],
        [(1, COUNT), (5, OF_Q + 5)],
        [(1, COUNT), (3, OF_Q + 5), (3, OF_P + 3)],
        [(1, COUNT), (3, OF_Q + 5), (-1, OF_P + 3)],
        [(1, COUNT), (3, OF_Q + 5), (2, OF_P + 3), (0, ANGLE)],
        [(1, COUNT), (3, OF_Q + 5), (2, OF_P + 3), (13, ANGLE)],
    ],
    ids=str,
)
def test_escapes_are_refused(tables: rans.Tables, pairs: list[tuple[int, int]]) -> None:
    more = [(0, rans.UNIFORM + 16)] * 20  # the stream goes on: it is the symbol that is refused
    assert read(coded(tables, pairs + more), 5)[0] == CORRUPT


def test_a_list_that_ends_early_is_refused(tables: rans.Tables) -> None:
    rotations = draw_rotations(np.random.default_rng(1), 12, 40)
    data = write(rotations, 12)[1]
    assert read(data[: len(data) // 8 * 4], 12)[0] == CORRUPT


@pytest.mark.parametrize(
    "rotation",
    [(5, 0, 1, 1), (3, 3, 1, 1), (2, 3, 1, 1), (1, 0, 0, 1), (1, 0, 13, 1), (1, 0, 1, 0)],
)
def test_what_does_not_fit_is_not_written(rotation: Rotation) -> None:
    assert write([(1, 0, 3, -1), rotation], 5) == (BAD_SYMBOL, b"")


@pytest.mark.parametrize("seed", range(40))
def test_noise_is_a_list_or_refused(seed: int) -> None:
    data = np.random.default_rng(seed).integers(0, 256, 9 + 4 * seed, np.uint8).tobytes()
    for n in range(2, 14):
        status, rotations = read(b"\x44" + data[1:], n)
        assert status in (OK, CORRUPT)
        for q, p, j, sign in rotations:
            assert p < q < n
            assert 1 <= j <= 12
            assert abs(sign) == 1

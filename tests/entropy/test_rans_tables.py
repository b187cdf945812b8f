"""Frozen tables: what is valid, how probabilities are rounded, how tables are kept."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tec_numcodecs.entropy import rans
from tec_numcodecs.entropy.rans import UNIFORM, Tables
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.native import native

if TYPE_CHECKING:
    from numpy.typing import NDArray

INT32 = np.iinfo(np.int32)


def i32(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


VALID = {"cdf": [0, 10, 20, 0, 60000], "starts": [0, 3, 5], "minimum": [-1, 7]}
INVALID_TABLES: dict[str, tuple[dict[str, Any], str]] = {
    "falls": ({"cdf": [0, 20, 10, 0, 60000]}, "row 0 of cdf does not increase"),
    "stays": ({"cdf": [0, 10, 20, 0, 0]}, "row 1 of cdf does not increase"),
    "begins late": ({"cdf": [0, 10, 20, 1, 60000]}, "row 1: first interval start = 1"),
    "one interval": ({"starts": [0, 4, 5]}, "row 1: number of intervals = 1"),
    "empty row": ({"starts": [0, 5, 5]}, "row 1: number of intervals = 0"),
    "goes back": ({"starts": [0, 6, 5]}, "row 1: number of intervals = -1"),
    "starts late": ({"starts": [1, 3, 5]}, "starts from 1"),
    "ends early": ({"starts": [0, 3, 4]}, "to 4"),
    "ends late": ({"starts": [0, 3, 6]}, "to 6"),
    "too few starts": ({"starts": [0, 5]}, "2 starts for 2 minima"),
    "symbol too large": ({"minimum": [INT32.max, 7]}, "largest direct symbol = 2147483648"),
    "minimum too large": ({"minimum": [2**31, 7]}, "minimum from"),
    "negative cdf": ({"cdf": [0, 10, -20, 0, 60000]}, "cdf from"),
    "cdf too large": ({"cdf": [0, 10, 65536, 0, 60000]}, "cdf from"),
    "float": ({"cdf": [0.0, 10, 20, 0, 60000]}, "float64"),
    "matrix": ({"minimum": [[-1, 7]]}, "shape"),
}


@pytest.mark.parametrize(("change", "message"), INVALID_TABLES.values(), ids=INVALID_TABLES)
def test_tables_are_validated(change: dict[str, Any], message: str) -> None:
    Tables.from_arrays(VALID)
    with pytest.raises(InvalidInput, match=message):
        Tables.from_arrays(VALID | change)


@pytest.mark.parametrize(
    "change",
    [change for change, message in INVALID_TABLES.values() if message[:3] in ("row", "sta", "lar")],
)
def test_the_c_core_validates_tables_again(change: dict[str, Any]) -> None:
    module = native()
    if module is None:
        pytest.skip("the C extension is not built or is switched off")
    cdf, starts, minimum = (VALID | change).values()
    assert (
        module.rans_tables(np.array(cdf, np.uint16), np.array(starts, np.int64), i32(*minimum))
        is None
    )


def test_tables_are_frozen_and_travel() -> None:
    cdf = np.array(VALID["cdf"], np.uint16)
    tables = Tables(cdf, np.array(VALID["starts"]), i32(-1, 7))
    cdf[1] = 9999
    assert tables.cdf[1] == 10
    for array in tables.to_arrays().values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    symbols, rows = i32(0, 7, 8), i32(0, 1, 1)
    data = rans.encode(symbols, rows, tables)
    for copy in (pickle.loads(pickle.dumps(tables)), Tables.from_arrays(tables.to_arrays())):
        assert rans.encode(symbols, rows, copy) == data
    assert repr(tables) == "Tables(2 rows, 5 intervals)"
    with pytest.raises(InvalidInput, match="starts"):
        Tables.from_arrays({"cdf": cdf})


def test_tables_live_in_safetensors() -> None:
    numpy_io = pytest.importorskip("safetensors.numpy")
    tables = Tables.from_arrays(VALID)
    back = Tables.from_arrays(numpy_io.load(numpy_io.save(tables.to_arrays())))
    for name, array in tables.to_arrays().items():
        np.testing.assert_array_equal(back.to_arrays()[name], array)


@pytest.mark.parametrize(
    "row", [[65535], [65536, 0], [65535, 2], [-1, 65537], [0.5, 0.5], [[1, 65535]], []]
)
def test_frequencies_are_validated(row: Any) -> None:
    with pytest.raises(InvalidInput, match="frequencies of row 1"):
        Tables.from_frequencies([[65535, 1], row], [0, 0])


def frequencies(tables: Tables, r: int) -> NDArray[np.int64]:
    cdf = tables.cdf[tables.starts[r] : tables.starts[r + 1]].astype(np.int64)
    return np.diff(np.append(cdf, 65536))


WEIGHTS = st.floats(0, 1e300, allow_subnormal=True)


@given(st.lists(WEIGHTS, min_size=2, max_size=60).filter(any))
def test_rounded_probabilities_cost_little(weights: list[float]) -> None:
    tables = Tables.from_pmfs([weights], [3])
    f = frequencies(tables, 0)
    assert f.sum() == 65536
    assert f.min() >= 1
    p = np.array(weights) / max(weights)
    p /= p.sum()
    used = p > 0
    lost = (p[used] * np.log2(p[used] * 65536 / f[used])).sum()
    assert lost < 2e-3  # bits a symbol: n / 65536 at most, in the worst shape


def test_rounding_moves_what_costs_least() -> None:
    # Thirds: 21845.33 each, one unit is missing, the first entry gets it.
    assert frequencies(Tables.from_pmfs([[1, 1, 1]], [0]), 0).tolist() == [21846, 21845, 21845]
    # Two entries of no mass take one unit each, from where it hurts least.
    assert frequencies(Tables.from_pmfs([[0, 3, 1, 0]], [0]), 0).tolist() == [1, 49150, 16384, 1]
    ones = np.ones(65536)
    ones[7] = 1e9
    assert frequencies(Tables.from_pmfs([ones], [0]), 0).tolist() == [1] * 65536
    # Counts will do, and only their proportions matter.
    many = Tables.from_pmfs([[5e300, 1e300, 2e300]], [0])
    np.testing.assert_array_equal(many.cdf, Tables.from_pmfs([[5, 1, 2]], [0]).cdf)


@pytest.mark.parametrize(
    "row",
    [[1.0], [0.0, 0.0], [1, -1e-9], [1, np.nan], [1, np.inf], [[0.5, 0.5]], "ab", [None, 1j], []],
)
def test_probabilities_are_validated(row: Any) -> None:
    with pytest.raises(InvalidInput, match="pmf of row 1"):
        Tables.from_pmfs([[0.5, 0.5], row], [0, 0])


def test_cross_entropy_by_hand() -> None:
    tables = Tables.from_frequencies([[16384, 32768, 16384]], [5])
    assert tables.cross_entropy_bits(i32(5, 6, 6), i32(0, 0, 0)) == 4
    assert tables.cross_entropy_bits(i32(7, 4), i32(0, 0)) == 2 * (2 + 6)  # escapes by 1
    assert tables.cross_entropy_bits(i32(3), i32(UNIFORM + 11)) == 11

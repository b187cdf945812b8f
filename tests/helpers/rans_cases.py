"""What tests of the entropy coder share: backends, tables with corners, symbols for them."""

from __future__ import annotations

import importlib.util
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tec_numcodecs.entropy.rans import UNIFORM, Tables
from tec_numcodecs.native import native

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Ints = NDArray[np.int32]

# Where the C file was not built, there is nothing to compare with: .ci/check_native.py says so.
BUILT = importlib.util.find_spec("tec_numcodecs._native") is not None
BACKENDS = ("c", "python") if BUILT else ("python",)
INT32 = np.iinfo(np.int32)


@contextmanager
def using(backend: str) -> Iterator[None]:
    """Choose a backend inside a block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEC_DISABLE_NATIVE", "0" if backend == "c" else "1")
        assert (native() is None) == (backend == "python")
        yield


def i32(*values: int) -> Ints:
    return np.array(values, np.int32)


def laplace_tables(rows: int = 24) -> Tables:
    """Rows from very narrow to wide, as a model's scale bins are."""
    pmfs, minimum = [], []
    for r in range(rows):
        scale = 0.1 * 1.3**r
        k = np.arange(-int(5 * scale) - 1, int(5 * scale) + 2)
        weights = 0.5 ** (np.abs(k) / scale)
        pmfs.append(np.append(weights, weights.sum() * 1e-4))
        minimum.append(int(k[0]))
    return Tables.from_pmfs(pmfs, minimum)


LAPLACE = laplace_tables()
# Corners: the narrowest row, both ends of int32, an escape as wide as can be, all 65536 intervals.
CORNERS = Tables.from_frequencies(
    [[65535, 1], [1, 65535], [1, 65534, 1], [30000, 30000, 5536], np.ones(65536, int)],
    [0, INT32.min, INT32.max - 1, -1, -30000],
)
NO_ROWS = Tables.from_frequencies([], [])


def draw(tables: Tables, n: int, seed: int = 0, escapes: float = 0.02) -> tuple[Ints, Ints]:
    """Draw symbols that suit their rows, a few escapes, a few raw bits."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(tables), n)
    ends = tables.starts[rows] + rng.integers(0, tables.sizes[rows])
    symbols = np.minimum(tables.minimum[rows] + ends - tables.starts[rows], INT32.max)
    strange = rng.random(n) < escapes
    symbols[strange] = rng.integers(INT32.min, INT32.max, strange.sum()) >> rng.integers(
        0, 32, strange.sum()
    )
    raw = rng.random(n) < escapes
    bits = rng.integers(1, 17, raw.sum())
    rows[raw], symbols[raw] = UNIFORM + bits, rng.integers(0, 1 << bits)
    return symbols.astype(np.int32), rows.astype(np.int32)

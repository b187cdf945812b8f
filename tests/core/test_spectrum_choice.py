"""The encoder's choice of entries and rotations in the C core, on a real scene."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import spectra
import tec_xarray
from core_spectra import codebook, draw_covariances, eigenvectors
from spectra import Float64Array, Rotation
from tec_numcodecs import native as _accel

native = _accel.native()
if native is None:
    pytest.skip("the C extension was not built", allow_module_level=True)

#: Bits that benchmarks/levers/rotations.py saves of the samples below, lists paid, by distance of
#: the pixels whose differences they are and by step.
PROTOTYPE = {
    (1, 5): 30471,
    (1, 20): 47520,
    (1, 80): 36604,
    (4, 5): 2606,
    (4, 20): 7547,
    (4, 80): 13020,
}
BANDS = [1, 2, 3, 6, 7, 8, 10, 11]


@cache
def differences(distance: int) -> Float64Array:
    """What the detail of a level looks like: (n, P)."""
    path = Path(tec_xarray.__file__).parent / "data" / "0173706.npz"
    with np.load(path, allow_pickle=False) as archive:
        cube = archive["data"].astype(np.float64)
    own = cube[0, BANDS, ::distance, ::distance]
    return np.ascontiguousarray(np.diff(own, axis=2).reshape(len(BANDS), -1)[:, ::7])


@cache
def book() -> Float64Array:
    """Rows (entries, n, n) of the finest level."""
    own = codebook("l2a")[:, 0][:, BANDS][:, :, BANDS]
    return np.stack([eigenvectors(np.ascontiguousarray(a)) for a in own])


def choose(
    rows: Float64Array, x: Float64Array, noise: float, *, rotate: bool = True, bases: int = 2
) -> tuple[int, list[Rotation]]:
    entry, found = native.spectrum_choose(rows, x, len(x), 7.0, noise, rotate, bases)
    return entry, [tuple(r) for r in np.frombuffer(found, np.int32).reshape(-1, 4).tolist()]


def cost(rows: Float64Array, x: Float64Array, noise: float) -> float:
    return 7 * float(np.log2(1 + (rows @ x) ** 2 / noise).sum())


def list_bits(rotations: list[Rotation], n: int) -> float:
    """What a list really takes, to a byte."""
    status, data = native.rotations_write(n, np.array(rotations, np.int32))
    assert status == 0
    return 8.0 * len(data)


@pytest.mark.parametrize(("distance", "step"), PROTOTYPE)
def test_saves_as_much_as_the_prototype(distance: int, step: int) -> None:
    x, rows, noise = differences(distance), book(), step**2 / 12
    entry, rotations = choose(rows, x, noise)
    best = min(cost(own, x, noise) for own in rows)
    found = cost(spectra.turned(rows[entry], rotations), x, noise)
    saved = best - found - list_bits(rotations, len(x))
    assert saved >= 0.95 * PROTOTYPE[distance, step]


def test_without_rotations_the_cheapest_entry_is_chosen() -> None:
    x, rows = differences(1), book()
    for noise in (3.0, 300.0):
        costs = [cost(own, x, noise) for own in rows]
        assert choose(rows, x, noise, rotate=False) == (int(np.argmin(costs)), [])


def test_a_list_that_does_not_pay_is_not_made() -> None:
    x, rows = differences(4), book()
    assert choose(rows, x / 1000, 1e6)[1] == []
    assert choose(rows, 0 * x, 300.0) == (0, [])


def test_the_entry_that_the_image_follows_is_found() -> None:
    x = np.random.default_rng(0).standard_normal((8, 2000)) * 2.0 ** np.arange(8)[:, None]
    rows = np.concatenate([book(), np.eye(8)[None]])
    entry, rotations = choose(rows, x, 1.0)
    assert entry == len(rows) - 1
    assert all(j > 5 for _, _, j, _ in rotations)  # what little these samples differ


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 511, 512, 513, 1024, 2049])
@pytest.mark.parametrize("n", [1, 2, 7, 13])
def test_any_number_of_samples_and_bands(n: int, count: int) -> None:
    rng = np.random.default_rng(n)
    rows = np.stack([eigenvectors(a) for a in draw_covariances(rng, n)])
    x = np.ascontiguousarray(rng.standard_normal((n, n)) @ rng.laplace(0, 50, (n, count)))
    entry, rotations = choose(rows, x, 5.0)
    assert 0 <= entry < len(rows)
    assert all(p < q < n and 1 <= j <= 12 and abs(s) == 1 for q, p, j, s in rotations)
    before = min(cost(own, x, 5.0) for own in rows)
    after = cost(spectra.turned(rows[entry], rotations), x, 5.0)
    assert after <= before + 1e-3 * max(before, 1)


def test_samples_that_are_out_of_range_end_in_some_choice() -> None:
    x = np.full((8, 600), 1e30)
    x[3] = np.inf
    x[4] = np.nan
    entry, rotations = choose(book(), x, 1.0)
    assert 0 <= entry < len(book())
    assert len(rotations) <= 63

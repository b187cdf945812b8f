"""The default engine: real images under clouds that were put over them."""

from __future__ import annotations

import numpy as np
import pytest

from cloudy import blobs, seasons
from tec_xarray.gapfill.holdout import folds
from tec_xarray.gapfill.series import Series
from tec_xarray.gapfill.spectral import Spectral
from tec_xarray.gapfill.temporal import METHODS, Temporal

DAYS = np.arange(4) * 91.0


def hidden_part(cube, clear, date, engine):
    """Estimate one date; return the estimate and the truth, (C, n) each."""
    pixels = np.flatnonzero(~clear[date])
    found = engine(Series(cube, clear, DAYS[: len(cube)])).estimate(date, pixels)
    return found, cube[date].reshape(cube.shape[1], -1)[:, pixels].astype(np.float32)


def decibels(found, truth):
    return 10 * np.log10(1e8 / np.square(found.values - truth).mean())


@pytest.mark.slow
def test_ahead_of_every_temporal_method_and_errors_are_what_they_say():
    cube = seasons()
    inside, ahead = [], []
    for date, cover in enumerate((0.08, 0.3, 0.7, 0.4)):
        clear = np.ones((4, 128, 128), bool)
        clear[date] = ~blobs((128, 128), cover, seed=date)
        found, truth = hidden_part(cube, clear, date, Spectral)
        best = max(
            decibels(*hidden_part(cube, clear, date, lambda s, m=m: Temporal(s, m)))
            for m in METHODS
        )
        ahead.append(decibels(found, truth) - best)
        inside.append((np.abs(found.values - truth) <= found.error).mean())
    assert min(ahead) > 0
    assert np.mean(ahead) > 2
    assert np.mean(inside) == pytest.approx(0.9, abs=0.05)


def test_what_is_hidden_is_never_looked_at_on_any_date():
    cube = seasons(96)
    clear = ~blobs((4, 96, 96), 0.3, seed=5)
    clear[:, 40:44, 40:44] = False
    pixels = np.flatnonzero(~clear[2])
    found = []
    for rubbish in (0, 65535):
        dirty = np.where(clear[:, None], cube, np.uint16(rubbish))
        found.append(Spectral(Series(dirty, clear, DAYS)).estimate(2, pixels))
    np.testing.assert_array_equal(found[0].values, found[1].values)
    np.testing.assert_array_equal(found[0].error, found[1].error)
    nowhere = ~clear[[0, 1, 3]].any(axis=0).ravel()[pixels]
    assert nowhere.any()
    np.testing.assert_array_equal(np.isnan(found[0].values).all(axis=0), nowhere)
    np.testing.assert_array_equal(np.isnan(found[0].values).any(axis=0), nowhere)


def test_a_date_that_follows_from_another_is_found():
    cube = seasons(96).astype(np.float32)
    cube[1] = 0.8 * cube[3] + 120
    clear = np.ones((4, 96, 96), bool)
    clear[1] = ~blobs((96, 96), 0.4)
    found, truth = hidden_part(cube, clear, 1, Spectral)
    assert np.abs(found.values - truth).mean() < 25  # of contrasts of a thousand


def test_no_seam_at_the_edge_of_a_gap():
    """A ramp of haze over one date, which no other date shows, goes on inside of a gap."""
    cube = seasons(96).astype(np.float32)
    haze = 400 * np.exp(-np.square(np.arange(96) - 48) / 800)
    cube[1] += haze
    clear = np.ones((4, 96, 96), bool)
    clear[1, 40:50, 40:60] = False
    found, truth = hidden_part(cube, clear, 1, Spectral)
    assert abs((found.values - truth).mean()) < 60


@pytest.mark.parametrize("clear_pixels", [0, 40])
def test_without_a_clear_part_the_line_in_time_is_left(clear_pixels):
    cube = seasons(64)
    clear = np.ones((4, 64, 64), bool)
    clear[1].ravel()[clear_pixels:] = False
    found, _ = hidden_part(cube, clear, 1, Spectral)
    line, _ = hidden_part(cube, clear, 1, lambda s: Temporal(s, "linear"))
    np.testing.assert_array_equal(found.values, line.values)
    assert (found.error > 100).all()  # as large as the change from season to season


def test_two_dates_do():
    cube = seasons(96)[:2]
    clear = np.ones((2, 96, 96), bool)
    clear[0] = ~blobs((96, 96), 0.3)
    found, truth = hidden_part(cube, clear, 0, Spectral)
    line, _ = hidden_part(cube, clear, 0, lambda s: Temporal(s, "linear"))
    assert decibels(found, truth) > decibels(line, truth) + 1


@pytest.mark.parametrize("value", [0.0, 1e-4, 7000.0])
def test_bands_that_never_change(value):
    cube = seasons(64).astype(np.float32)
    cube[:, 1] = value
    clear = np.ones((4, 64, 64), bool)
    clear[2] = ~blobs((64, 64), 0.3)
    found, _ = hidden_part(cube, clear, 2, Spectral)
    np.testing.assert_allclose(found.values[1], value, rtol=1e-4)
    assert np.isfinite(found.error).all()


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_units_do_not_matter(scale):
    cube = seasons(64).astype(np.float32)
    clear = np.ones((4, 64, 64), bool)
    clear[2] = ~blobs((64, 64), 0.3)
    plain, _ = hidden_part(cube, clear, 2, Spectral)
    scaled, _ = hidden_part(cube * np.float32(scale), clear, 2, Spectral)
    apart = np.abs(scaled.values / scale - plain.values)  # axes of equal variance may turn
    assert apart.mean() < plain.error.mean() / 10


@pytest.mark.parametrize("hidden", ["blobs", "half", "speckle", "stripe"])
def test_what_is_held_out_is_neither_empty_nor_everything(hidden):
    clear = np.ones((1, 40, 60), bool)
    clear[0] = {
        "blobs": ~blobs((40, 60), 0.3),
        "half": np.arange(60)[None] + np.zeros((40, 1), int) < 30,
        "speckle": np.random.default_rng(0).random((40, 60)) > 0.95,
        "stripe": np.arange(40)[:, None] + np.zeros((1, 60), int) > 2,
    }[hidden]
    pixels = np.flatnonzero(clear[0])
    for fold in folds(clear, 0, pixels):
        assert 0.02 < fold.mean() < 0.7

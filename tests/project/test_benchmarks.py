"""The yardsticks of benchmarks/: metrics on cases whose answer is known, rivals that round-trip."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks import gpu, metrics, scenes
from benchmarks.metrics import Curve

SHAPE = (1, 12, 64, 64)


def points(rates, decibels):
    return [{"bpppb": r, "psnr": d} for r, d in zip(rates, decibels, strict=True)]


def test_bd_rate_of_half_the_bits_is_minus_half():
    decibels = [30, 34, 39, 43, 50]
    rates = np.array([0.02, 0.1, 0.3, 0.6, 1.4])
    anchor, half = (Curve.of(points(rates * k, decibels)) for k in (1, 0.5))
    assert metrics.bd_rate(anchor, half, 32, 44) == pytest.approx(-0.5)
    assert metrics.bd_rate(half, anchor, 32, 44) == pytest.approx(1.0)


def test_bd_rate_needs_three_decibels_in_common():
    low = Curve.of(points([0.1, 0.2, 0.3], [30, 32, 34]))
    high = Curve.of(points([0.1, 0.2, 0.3], [32, 36, 40]))
    assert math.isnan(metrics.bd_rate(low, high, 0, 100))


def test_points_that_cost_more_and_are_no_better_do_not_count():
    curve = Curve.of(points([0.1, 0.2, 0.3, 0.4], [30, 35, 34, 40]))
    assert curve.decibels.tolist() == [30, 35, 40]


def test_geometric_mean_of_half_and_double_is_nothing():
    assert metrics.geometric_mean([-0.5, 1.0, math.nan]) == pytest.approx(0)


def test_measure_knows_a_constant_error():
    original = np.full(SHAPE, 1000, np.uint16)
    point = metrics.measure(original, original + np.uint16(10), 600)
    assert point["psnr"] == pytest.approx(60)
    assert point["bpppb"] == pytest.approx(8 * 600 / original.size)
    assert point["rmse"] == pytest.approx([10] * 12)
    assert point["angle"] == pytest.approx(0, abs=1e-5)
    assert point["tile"] == pytest.approx(10)
    assert point["ndvi"] == point["ndwi"] == 0


def test_measure_finds_the_worst_tile_and_a_wrong_index():
    original = np.full(SHAPE, 1000, np.uint16)
    decoded = original.copy()
    decoded[0, metrics.BANDS.index("B08"), :32, 32:] = 3000
    point = metrics.measure(original, decoded, 1)
    assert point["tile"] == pytest.approx(2000 / math.sqrt(12))
    assert point["ndvi"] == pytest.approx(0.5 / 4)  # (3 - 1) / (3 + 1) in a quarter of the pixels
    assert point["rmse"][metrics.BANDS.index("B04")] == 0


def test_measure_says_when_nothing_was_lost():
    original = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
    assert metrics.measure(original, original, 1)["psnr"] is None


def test_measure_refuses_another_shape_or_dtype():
    original = np.zeros(SHAPE, np.uint16)
    for other in (original[:, :, 1:], original.astype(np.int32)):
        with pytest.raises(ValueError, match="decoded"):
            metrics.measure(original, other, 1)


def test_pooling_adds_bytes_and_averages_squared_errors():
    first = {"bytes": 10, "bpppb": 0.1, "psnr": 40.0}
    second = {"bytes": 30, "bpppb": 0.3, "psnr": 30.0}
    found = metrics.pooled([first, second])
    assert (found["bytes"], found["bpppb"]) == (40, pytest.approx(0.2))
    assert found["psnr"] == pytest.approx(metrics.psnr((1e4 + 1e5) / 2))


def test_the_bundled_scene_is_four_images():
    (scene,) = scenes.load("test")
    images = list(scene.images())
    assert [image.data.shape for image in images] == [(1, 12, 256, 256)] * 4
    assert len({image.digest for image in images}) == 4


def test_rivals_decode_what_they_encode():
    pytest.importorskip("imagecodecs")
    pytest.importorskip("av")
    from benchmarks.rivals import LOSSLESS, RIVALS

    (scene,) = scenes.load("test")
    image = np.ascontiguousarray(scene.data[0, :, :64, :64])
    for rival in RIVALS.values():
        best = 0.0
        for setting in (rival.settings[0], rival.settings[-1]):
            decoded = rival.decode(rival.encode(image, setting), image.shape)
            error = np.mean((decoded.astype(float) - image) ** 2)
            best = max(best, metrics.psnr(error))
        assert best > 50, rival.name
    for rival in LOSSLESS.values():
        assert np.array_equal(rival.decode(rival.encode(image, 0), image.shape), image), rival.name


def test_what_runs_on_a_gpu_runs_without_one(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu", "fp", "--small", "--device", "cpu-torch"])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.count("| same |") == 7
    assert "Everything was the same." in printed

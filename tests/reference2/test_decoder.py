"""Whole chunks of version 2 and the reference reader."""

from __future__ import annotations

import numpy as np
import pytest

from oracle_chunk import (
    mask_section,
    model_header,
    samples_section,
    signed,
    write_chunk,
)
from oracle_residual import random_natives, write_residual
from oracle_writer import plain_section
from tec_numcodecs.errors import CorruptChunk, InvalidInput, UnsupportedFormat, WeightsError
from tec_numcodecs.reference2.coder import Weights
from tec_numcodecs.reference2.decoder import decode
from tec_numcodecs.reference2.layout import Layout, Setting
from tec_numcodecs.reference2.samples import replicated
from tec_numcodecs.weights import local_store, safetensors_io

L2A = "sentinel-2-l2a"
SETTING = Setting((3, 3, 21, 18), L2A, (1, 4, 10), "fp", 0)
ORDER = (10, 1, 4)  # of the array; places 2, 0, 1 in the order of the sensor
LAYOUT = Layout((0, 1, 1), ((0, 0), (1, 0), (0, 0), (0, 0)))


@pytest.fixture(scope="module")
def weights():
    found = local_store.resolve("mini", "fp")
    return Weights(safetensors_io.load(local_store.locate(found), found.sha256))


def image(seed=0):
    """An image (T, C, H, W) whose last two bands are replicated."""
    rng = np.random.default_rng(seed)
    T, C, H, W = SETTING.shape
    dn = np.zeros(SETTING.shape, np.int64)
    for t in range(T):
        for band in range(C):
            native = rng.integers(100, 3000, LAYOUT.native_shape(band, H, W))
            dn[t, band] = replicated(native, LAYOUT, band, H, W)
    return dn


def model_chunk(weights, *, mask=None, dates=(0, 1, 2), residual=None, r=0, **keywords):
    setting = SETTING._replace(r=r)
    written = plain_section(
        image(), setting, weights, layouts=[LAYOUT] * len(dates), dates=list(dates)
    )
    sections = {2: written.section}
    if mask is not None:
        sections[0] = mask_section(mask)
    if residual is not None:
        sections[3] = residual
    return write_chunk(
        SETTING.shape, "<u2", sections, mode=1, sensor=L2A, order=ORDER,
        model=model_header(written), **keywords,
    )  # fmt: skip


def test_planes_are_in_the_order_of_the_array(weights):
    found = decode(model_chunk(weights), weights)
    assert found.dtype == "<u2"
    np.testing.assert_array_equal(found, image()[:, [2, 0, 1]])
    np.testing.assert_array_equal(
        decode(model_chunk(weights), weights, dates=[2, 0]), image()[[2, 0]][:, [2, 0, 1]]
    )


def test_dates_without_data_and_their_masks(weights):
    mask = np.zeros(SETTING.shape, bool)
    mask[1] = True
    mask[2, 0, 4:6] = True
    data = model_chunk(weights, dates=(0, 2), mask=mask, nodata=0)
    expected = np.where(mask, 0, image()[:, [2, 0, 1]])
    np.testing.assert_array_equal(decode(data, weights), expected)
    for level in range(1, 6):
        found = decode(data, weights, level=level)
        assert not found[1].any()
        gone = found[2] == 0
        assert gone[0, 2].all() if level == 1 else not gone.any()  # half of a block is there
        assert gone.sum() == (9 if level == 1 else 0)
    mask[1, 2, 20, 17] = False
    with pytest.raises(CorruptChunk, match="without data"):
        decode(model_chunk(weights, dates=(0, 2), mask=mask, nodata=0), weights)


def test_residuals_are_added_to_all_pixels_of_a_native_sample_but_not_to_overviews(weights):
    rng = np.random.default_rng(5)
    order = [2, 0, 1]
    H, W = SETTING.shape[2:]
    natives = [random_natives(rng, LAYOUT, order, H, W) for _ in range(3)]
    natives = [[np.clip(q, -5, 5) for q in date] for date in natives]
    section = write_residual(natives, [LAYOUT] * 3, order, [2.0], H, W)
    data = model_chunk(weights, residual=section)
    q = [
        [replicated(x, LAYOUT, b, H, W) for x, b in zip(date, order, strict=True)]
        for date in natives
    ]
    np.testing.assert_array_equal(decode(data, weights), image()[:, order] + 2 * np.array(q))
    np.testing.assert_array_equal(
        decode(data, weights, level=2), decode(model_chunk(weights), weights, level=2)
    )


def test_scaled_overviews_keep_what_is_near_the_mean_of_blocks(weights):
    data = model_chunk(weights, scaling=(2.0, 7.0))
    found = decode(data, weights, level=1).astype(float)
    assert found.shape == (3, 3, 11, 9)
    assert abs(found.mean() - (2 * image().mean() + 7)) < 150


def test_overviews_of_lossless_samples_are_means_of_what_is_valid():
    samples = np.full((1, 1, 5, 5), 10, ">u2")
    samples[0, 0, 0, :2] = 0
    samples[0, 0, 1] = 20
    samples[0, 0, 2:4, 2:4] = 0
    samples[0, 0, 2, 2] = 50
    data = write_chunk((1, 1, 5, 5), ">u2", {4: samples_section(samples)}, mode=2, nodata=0)
    np.testing.assert_array_equal(decode(data, Weights({})), samples)
    found = decode(data, Weights({}), level=1)
    assert found.dtype == samples.dtype
    assert found[0, 0].tolist() == [[20, 15, 15], [10, 0, 10], [10, 10, 10]]


def test_missing_samples_of_overviews_are_nan_where_one_is():
    samples = np.array([[[[np.nan, -1, -1, -1], [-1, 3, -1, 4]]]], "<f4")
    data = write_chunk((1, 1, 2, 4), "<f4", {4: samples_section(samples)}, mode=2, nodata=-1)
    np.testing.assert_array_equal(decode(data, Weights({})), samples)
    np.testing.assert_array_equal(decode(data, Weights({}), level=1)[0, 0], [[np.nan, -1]])
    both = {0: mask_section(samples == -1), 1: mask_section(samples != -1)}
    data = write_chunk((1, 1, 2, 4), "<f4", both, mode=0, nodata=-1)
    np.testing.assert_array_equal(decode(data, Weights({}), level=2)[0, 0], [[np.nan]])


def test_version_1_is_refused_with_a_sentence(weights):
    data = write_chunk((1, 1, 1, 1), "<u2", {0: b"\0"}, mode=0, nodata=0, version=1)
    with pytest.raises(UnsupportedFormat, match="previews wrote"):
        decode(data, weights)


def test_what_is_asked_for_must_be_there(weights):
    data = model_chunk(weights)
    for keywords in ({"level": 6}, {"level": -1}, {"dates": [3]}, {"quality": 2}):
        with pytest.raises(InvalidInput):
            decode(data, weights, **keywords)
    with pytest.raises(WeightsError):
        decode(data, Weights({}, b"12345678"))
    assert decode(data, weights, dates=[]).shape == (0, *SETTING.shape[1:])


def test_damaged_chunks_are_refused(weights):
    data = model_chunk(weights)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(data[:-4])
        damaged[int(rng.integers(8, 60))] ^= 1 << rng.integers(0, 8)
        with pytest.raises(CorruptChunk, match="checksum"):
            decode(bytes(damaged) + data[-4:], weights)
        try:
            decode(signed(bytes(damaged)), weights, max_samples=10_000)
        except CorruptChunk:
            refused += 1
    assert refused > 40

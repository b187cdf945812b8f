"""Targets: every chunk keeps what it was asked for, nearly, and few evaluations find it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import xarray as xr
import zarr.storage
from hypothesis import given, settings
from hypothesis import strategies as st

import tec_xarray
from cubes import scene
from tec_numcodecs import TecCodec, TecSerializer, inspect
from tec_numcodecs.chunk import decode, encode
from tec_numcodecs.chunk.container import Mode
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput, UnsupportedFormat
from tec_numcodecs.models.mini.fp import MiniFP
from tec_numcodecs.models.mini.transform.quantizer import MAX_RATE_INDEX, lam_of, rate_index_of
from tec_numcodecs.rate_control import Search, Target, psnr
from tec_xarray import tutorial

BANDS = ("B02", "B03", "B04", "B08")


def real_chunks(size=48):
    """Eight, of four seasons and two corners."""
    cube = tutorial.open_dataset("0173706", layout="cube").reflectance.values.astype(np.uint16)
    return [
        np.ascontiguousarray(cube[t : t + 1, :, at : at + size, at : at + size])
        for t in range(4)
        for at in (0, 100)
    ]


def decibels(found, cube, scale=1.0, nodata=0):
    valid = np.isfinite(cube) & (cube != nodata)
    error = (found[valid].astype(np.float64) - cube[valid]) / scale
    return psnr(float(np.square(error).sum()), int(valid.sum()))


@pytest.mark.parametrize("target", [{"psnr": 42}, {"bpppb": 0.4}])
def test_real_chunks_come_near_what_was_asked_for(target, monkeypatch):
    counted = []
    analysis = MiniFP.analysis
    monkeypatch.setattr(
        MiniFP, "analysis", lambda self, c, g, r: counted.extend(c) or analysis(self, c, g, r)
    )
    cubes = real_chunks()
    config = CodecConfig.parse(**target)
    data = encode(cubes, config)
    assert len(counted) <= 3 * len(cubes)
    for cube, item in zip(cubes, data, strict=True):
        if "psnr" in target:
            (found,) = decode([item], config)
            assert target["psnr"] <= decibels(found, cube) < target["psnr"] + 1
        else:
            assert 0.85 * target["bpppb"] < 8 * len(item) / cube.size <= target["bpppb"]


@given(
    st.sampled_from(["u2", "f4"]), st.integers(0, 99), st.floats(10, 80),
    st.tuples(*[st.integers(1, 40)] * 2), st.floats(0, 0.95),
)  # fmt: skip
@settings(max_examples=12)
def test_any_chunk_keeps_its_quality(dtype, seed, target, size, gaps):
    cube = scene((1, 4, *size), seed, dtype)
    cube[np.random.default_rng(seed).random(cube.shape) < gaps] = 0
    units = {"units": "reflectance", "nodata": 0} if dtype == "f4" else {}
    config = CodecConfig.parse(psnr=target, bands=BANDS, **units)
    (found,) = decode(encode([cube], config), config)
    np.testing.assert_array_equal(found == 0, cube == 0)
    if (cube != 0).any():
        assert decibels(found, cube, config.scale) >= target


@given(st.integers(0, 99), st.floats(0.001, 16), st.tuples(*[st.integers(1, 40)] * 2))
@settings(max_examples=12)
def test_any_chunk_keeps_its_size_or_is_the_smallest(seed, target, size):
    cube = scene((1, 4, *size), seed)
    config = CodecConfig.parse(bpppb=target, bands=BANDS)
    (data,) = encode([cube], config)
    (coarsest,) = encode([cube], CodecConfig.parse(lam=lam_of(MAX_RATE_INDEX), bands=BANDS))
    assert 8 * len(data) / cube.size <= target or len(data) <= len(coarsest)


def test_company_and_order_change_nothing():
    cubes = real_chunks(32)[:4]
    cubes[2] = np.zeros_like(cubes[2])
    for target in ({"psnr": 45}, {"bpppb": 0.3}):
        config = CodecConfig.parse(**target)
        alone = [encode([cube], config)[0] for cube in cubes]
        assert encode(cubes[::-1], config)[::-1] == alone


def test_quality_and_bound_hold_together():
    cube = real_chunks()[0]
    config = CodecConfig.parse(psnr=36, max_error=60)
    (data,) = encode([cube], config)
    (found,) = decode([data], config)
    assert "residual" in inspect(data).sections
    assert decibels(found, cube) >= 36
    assert np.abs(found.astype(int) - cube).max() <= 60


@pytest.mark.parametrize("model", ["elic"])
def test_models_with_a_network_take_targets_too(model):
    cube = real_chunks(32)[0]
    config = CodecConfig.parse(model, psnr=40)
    (found,) = decode(encode([cube], config), config)
    assert 40 <= decibels(found, cube) < 41.5


def test_a_flat_chunk_is_better_than_asked_for():
    cube = np.full((1, 4, 40, 40), 1234, np.uint16)
    config = CodecConfig.parse(psnr=20, bands=BANDS)
    (data,) = encode([cube], config)
    assert len(data) < 200
    assert decibels(decode([data], config)[0], cube) >= 20


@given(st.floats(-3, 3), st.floats(0.3, 3), st.floats(10, 80), st.booleans())
def test_the_search_ends_at_the_edge_of_any_falling_curve(shift, slope, target, noisy):
    """Whatever the curve: the answer was evaluated, keeps the promise, and is nearly the last."""

    def curve(index):
        wiggle = 0.05 * math.sin(index * 12.9898) if noisy else 0.0
        return 85 + 10 * shift - slope * 0.3 * index + wiggle

    search = Search(Target("psnr", target))
    seen = {search.index: curve(search.index)}
    while not search.tell(seen[search.index]):
        seen[search.index] = curve(search.index)
    assert search.evaluations == len(seen) <= 12
    reachable = curve(0) >= target
    assert not reachable or seen[search.best] >= target


def test_lam_and_rate_index():
    for index in range(1, MAX_RATE_INDEX + 1):
        assert rate_index_of(lam_of(index)) == index


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"psnr": 45, "bpppb": 0.2}, "psnr and bpppb"),
        ({"psnr": 45, "lam": 20}, "psnr and lam"),
        ({"psnr": 45, "max_error": 0}, "psnr with max_error"),
        ({"bpppb": 1, "max_error": 5}, "bpppb with max_error"),
        ({"psnr": 99}, "10 to 80 dB"),
        ({"psnr": float("nan")}, "finite"),
        ({"bpppb": 0}, "bits"),
        ({"bpppb": "small"}, "finite"),
    ],
)
def test_targets_that_are_refused(keywords, message):
    with pytest.raises(InvalidInput, match=message):
        CodecConfig.parse(**keywords)


def test_unknown_settings_are_named():
    for codec in (TecCodec, TecSerializer):
        with pytest.raises(UnsupportedFormat, match=r"'psrn'.*did you mean 'psnr'"):
            codec(psrn=45)


def test_metadata_hold_the_target():
    config = CodecConfig.parse(psnr=45)
    assert CodecConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert "psnr=45" in repr(TecCodec(psnr=45))
    assert not {"psnr", "bpppb"} & set(CodecConfig.parse(lam=20).to_json())


# -- through xarray ---------------------------------------------------------------------------


def stored(**keywords):
    """Part of the scene and what compress made of it, in 8 chunks."""
    original = tutorial.open_dataset("0173706").isel(time=slice(2), x=slice(64), y=slice(64))
    store = zarr.storage.MemoryStore()
    found = original.tec.compress(store=store, chunks=(1, 12, 32, 32), **keywords)
    return store, found.tec.report(original, store=store, ssim=False)


def test_a_target_per_chunk():
    _, report = stored(psnr=42)
    assert 42 <= report.total.psnr < 43
    assert report.codec["psnr"] == 42


def test_a_target_per_cube_is_one_rate():
    _, report = stored(psnr=42, per="cube")
    assert abs(report.total.psnr - 42) < 0.6
    assert report.codec["lam"] > 0
    assert "psnr" not in report.codec
    store, _ = stored(bpppb=0.3, per="cube")
    assert abs(tec_xarray.info(store)["bits_per_sample"] / 0.3 - 1) < 0.15  # without metadata


def test_a_target_works_lazily(tmp_path):
    original = tutorial.open_dataset("0173706").isel(x=slice(64), y=slice(64))
    original.tec.compress(psnr=42).to_zarr(tmp_path / "lazy.zarr")
    found = xr.open_zarr(tmp_path / "lazy.zarr", mask_and_scale=False)
    assert 42 <= found.tec.report(original, ssim=False).total.psnr < 43


def test_per_is_checked():
    original = tutorial.open_dataset("0173706")
    with pytest.raises(InvalidInput, match="without a store"):
        original.tec.compress(psnr=42, per="cube")
    with pytest.raises(InvalidInput, match="'chunk' or 'cube'"):
        original.tec.compress(psnr=42, per="pixel")
    with pytest.raises(InvalidInput, match="without psnr or bpppb"):
        original.tec.compress(lam=42, per="cube", store=zarr.storage.MemoryStore())


@pytest.mark.parametrize("bound", [0.005, [0.004, 0.02, 0.01]])
def test_bounds_of_reflectance_are_checked_in_its_units(bound):
    """The archive's own check compares like with like, band by band."""
    original = tutorial.open_dataset("0173706")[["B02", "B04", "B08"]]
    part = original.isel(time=slice(1), x=slice(64), y=slice(64)).astype("float32") / 10_000
    store = zarr.storage.MemoryStore()
    found = part.tec.compress(max_error=bound, store=store)
    report = found.tec.report(part, store=store, ssim=False)
    bounds = np.broadcast_to(np.asarray(bound) * 10_000, 3)
    for band, most in zip(report.bands, bounds, strict=True):
        assert band.max_error <= most * 1.000001


def test_empty_chunks_and_modes():
    config = CodecConfig.parse(bpppb=0.01, bands=BANDS)
    (data,) = encode([np.zeros((1, 4, 50, 50), np.uint16)], config)
    assert inspect(data).header.mode == Mode.EMPTY


def test_an_archive_with_a_target_is_resumed_and_grows():
    """By the same settings as it was begun with, whichever way the target was meant."""
    original = tutorial.open_dataset("0173706")[["B02", "B04"]].isel(x=slice(64), y=slice(64))
    for per in ("chunk", "cube"):
        store = zarr.storage.MemoryStore()
        first = original.isel(time=slice(2))
        first.tec.compress(
            psnr=42, per=per, store=store, chunks=(2, 2, 32, 32), shards=False, appendable=True
        )
        tec_xarray.resume(first, store, psnr=42, per=per)
        grown = tec_xarray.append(original.isel(time=slice(2, 4)), store)
        report = grown.tec.report(original, store=store, ssim=False)
        assert abs(report.total.psnr - 42) < 1
        assert tec_xarray.verify(store, original).ok

"""Section 2 of version 2, written by the oracle writer and read by the reference reader."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from oracle_writer import (
    plain_section,
    random_layout,
    random_section,
    random_setting,
    varint,
)
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_numcodecs.reference2.coder import Weights
from tec_numcodecs.reference2.layout import FACTORS, Layout, Setting
from tec_numcodecs.reference2.section import Walker, read_section, split
from tec_numcodecs.reference2.spectrum import Rotation
from tec_numcodecs.weights import local_store, safetensors_io

MODELS = ["fp", "elic", "tt", "flextec"]
L2A = "sentinel-2-l2a"


@cache
def weights_of(model):
    found = local_store.resolve("mini", model)
    return Weights(safetensors_io.load(local_store.locate(found), found.sha256))


def shown(layout, band, H, W):
    return [layout.shown(band, axis, np.arange(n)) for axis, n in enumerate((H, W))]


def replicated(rng, layouts, H, W, noise=3000):
    """An image (T, C, H, W) whose bands are replicated as the layouts say."""
    C = len(layouts[0].classes)
    dn = np.zeros((len(layouts), C, H, W), np.int64)
    for t, layout in enumerate(layouts):
        for band in range(C):
            native = rng.integers(0, noise, layout.native_shape(band, H, W))
            dn[t, band] = native[np.ix_(*shown(layout, band, H, W))]
    return dn


def is_replicated(dn, layout):
    for band, plane in enumerate(dn):
        places = shown(layout, band, *plane.shape)
        first = [np.searchsorted(x, np.arange(x[-1] + 1)) for x in places]
        if not (plane == plane[np.ix_(*first)][np.ix_(*places)]).all():
            return False
    return True


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("model", MODELS)
def test_a_random_section_is_read_as_it_was_written(model, seed):
    weights = weights_of(model)
    written = random_section(np.random.default_rng(seed), model, weights, 12)
    found = read_section(written.section, written.setting, weights)
    np.testing.assert_array_equal(found, written.dn)


@pytest.mark.parametrize("model", MODELS)
def test_one_date_is_that_date_of_the_whole(model):
    weights = weights_of(model)
    setting = Setting((3, 2, 9, 6), L2A, (3, 10), model, 70)
    for seed in range(2):
        rng = np.random.default_rng(seed)
        written = random_section(rng, model, weights, setting=setting)
        for t in range(3):
            (found,) = read_section(written.section, setting, weights, dates=[t])
            np.testing.assert_array_equal(found, written.dn[t])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_without_loss_at_rate_index_0_in_all_phases(model, factor):
    rng = np.random.default_rng(factor)
    size = FACTORS[factor]
    phases = [(y, x) for y in range(size) for x in range(size)]
    if model != "fp":
        phases = phases[:: max(1, len(phases) // 2)]
    for phase in phases:
        layout = Layout((0, factor, factor), (*[(0, 0)] * factor, phase, *[(0, 0)] * (3 - factor)))
        H, W = (int(n) for n in rng.integers(1, 20, 2))
        dn = replicated(rng, [layout], H, W)
        setting = Setting((1, 3, H, W), L2A, (1, 4, 11), model, 0)
        written = plain_section(dn, setting, weights_of(model), layouts=[layout])
        np.testing.assert_array_equal(read_section(written.section, setting, weights_of(model)), dn)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", range(1))
def test_decoded_native_bands_are_replicated_and_near_the_image(model, seed):
    rng = np.random.default_rng(seed)
    setting = random_setting(rng, model, 14)._replace(r=64, quality=0)
    T, C, H, W = setting.shape
    layouts = [random_layout(rng, C) for _ in range(T)]
    dn = replicated(rng, layouts, H, W)
    spectra = dict.fromkeys(range(6), (1, [Rotation(1, 0, 3, -1), Rotation(2, 1, 5, 1)]))
    written = plain_section(dn, setting, weights_of(model), layouts=layouts, spectra=spectra)
    found = read_section(written.section, setting, weights_of(model))
    assert all(is_replicated(date, layout) for date, layout in zip(found, layouts, strict=True))
    assert np.abs(found - dn).max() < 60


@pytest.mark.parametrize("model", MODELS)
def test_an_overview_is_made_of_the_planes_inside_the_whole(model):
    weights = weights_of(model)
    for r in (90,) if model == "flextec" else (0, 90):
        setting = Setting((2, 3, 19, 12), L2A, (3, 6, 10), model, r)
        written = random_section(np.random.default_rng(r), model, weights, setting=setting)
        walker = Walker(weights, written.setting, lists=True)
        for level in (1, 2, 5) if model == "flextec" else range(6):
            found = read_section(written.section, written.setting, weights, level=level)
            for t, layout, walked in zip(
                written.dates, written.layouts, written.walked, strict=True
            ):
                np.testing.assert_array_equal(found[t], walker.show(walked, layout, level))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("r", [0, 80])
def test_overviews_of_a_constant_image_are_constant(model, r):
    layout = Layout((0, 1, 2, 3), ((0, 0), (1, 0), (2, 1), (5, 3)))
    setting = Setting((1, 4, 45, 38), L2A, (1, 2, 8, 9), model, r)
    dn = np.broadcast_to(np.array([700, 1500, 3000, 421])[:, None, None], setting.shape)
    written = plain_section(dn, setting, weights_of(model), layouts=[layout])
    for level in (0, 2, 5) if model == "flextec" else range(6):
        found = read_section(written.section, setting, weights_of(model), level=level)
        assert found.shape == (1, 4, -(-45 >> level), -(-38 >> level))
        # Where details are quantized, the lifting leaves a ripple of a few DN on a constant plane.
        assert np.ptp(found, (2, 3)).max() <= (0 if r == 0 else 6)
        assert np.abs(found - dn[..., :1, :1]).max() <= (3 if r == 0 else 16)


@pytest.mark.parametrize("model", MODELS)
def test_mutations_are_refused_or_read_as_pixels(model):
    weights = weights_of(model)
    rng = np.random.default_rng(7)
    refused = 0
    for seed in range(4):
        written = random_section(np.random.default_rng(seed), model, weights, 5)
        for _ in range(8):
            data = bytearray(written.section)
            at = int(rng.integers(0, min(len(data), 60)))
            kind = rng.integers(0, 3)
            if kind == 0:
                data[at] ^= 1 << rng.integers(0, 8)
            elif kind == 1:
                del data[at : at + int(rng.integers(1, 5))]
            else:
                data[at:at] = rng.bytes(3)
            try:
                found = read_section(bytes(data), written.setting, weights)
            except CorruptChunk:
                refused += 1
            else:
                assert found.shape == written.setting.shape
    assert refused > 24


# -- the section itself


def small():
    setting = Setting((3, 3, 9, 7), L2A, (1, 4, 11), "fp", 64)
    dn = np.random.default_rng(0).integers(0, 3000, setting.shape)
    return setting, dn


def refusal(data, setting, **keywords):
    with pytest.raises(CorruptChunk) as caught:
        read_section(data, setting, weights_of(setting.model), **keywords)
    return str(caught.value)


def test_flags_and_bitmaps_that_mean_nothing_are_refused():
    setting, dn = small()
    data = plain_section(dn, setting, weights_of("fp"), dates=[0, 2]).section
    assert data[:2] == b"\1\5"
    assert "flags" in refusal(b"\x0d" + data[1:], setting)
    assert "flags" in refusal(b"\x11" + data[1:], setting)
    for bits in (0, 7, 8, 13):
        assert "dates" in refusal(bytes([1, bits]) + data[2:], setting)


def test_a_date_without_data_is_empty():
    setting, dn = small()
    written = plain_section(dn[[0, 0, 2]], setting, weights_of("fp"), dates=[0, 2])
    found = read_section(written.section, setting, weights_of("fp"), dates=[1, 2, 1])
    assert not found[0].any()
    assert not found[2].any()
    np.testing.assert_array_equal(found[1], written.dn[2])


def test_a_phase_beyond_its_factor_is_refused():
    setting, dn = small()
    layout = Layout((0, 1, 1), ((0, 0), (1, 1), (0, 0), (0, 0)))
    data = plain_section(dn, setting, weights_of("fp"), layouts=[layout] * 3).section
    assert data[:3] == bytes([1 << 2, 0b010100, 7])
    for phase in (2, 12, 255):
        assert "phase" in refusal(data[:2] + bytes([phase]) + data[3:], setting)
    assert "unused" in refusal(data[:1] + bytes([0b1010100]) + data[2:], setting)
    assert "native" in refusal(bytes([4, 0]) + data[3:], setting)


def test_bytes_behind_the_streams_and_streams_of_other_lengths_are_refused():
    setting, dn = small()
    data = plain_section(dn, setting, weights_of("fp")).section
    assert "behind" in refusal(data + b"\0", setting)
    assert "inside" in refusal(data[:-1], setting)


def test_checksums_are_compared():
    setting, dn = small()
    written = plain_section(dn, setting, weights_of("fp"))
    data = bytearray(written.section)
    at = 1 + len(varint(data[1]))
    data[at] ^= 1
    assert "date 0" in refusal(bytes(data), setting)
    read_section(bytes(data), setting, weights_of("fp"), dates=[1, 2])
    assert "checksum" in refusal(bytes(data), setting, checksum=1)


# -- mini flextec, the first tokens


def test_the_first_tokens_are_what_a_section_of_so_many_shows():
    weights = weights_of("flextec")
    layout = Layout((0, 0, 2), ((0, 0), (0, 0), (1, 2), (0, 0)))
    rng = np.random.default_rng(3)
    dn = replicated(rng, [layout], 21, 17)
    setting = Setting((1, 3, 21, 17), L2A, (1, 4, 11), "flextec", 60)
    whole = plain_section(dn, setting, weights, layouts=[layout])
    errors = []
    for count in (1, 4, 6, 8, 12, 16):
        found = read_section(whole.section, setting, weights, tokens=count)
        part = plain_section(dn, setting._replace(quality=count), weights, layouts=[layout])
        np.testing.assert_array_equal(found, part.dn)
        assert len(part.section) < len(whole.section) or count == 16
        if count % 4 == 0:
            errors.append(float(((found - dn) ** 2).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 20


def test_tokens_are_asked_of_mini_flextec_only():
    setting, dn = small()
    data = plain_section(dn, setting, weights_of("fp")).section
    with pytest.raises(InvalidInput, match="tokens"):
        read_section(data, setting, weights_of("fp"), tokens=3)
    for keywords in ({"dates": [3]}, {"level": 6}, {"tokens": 17}):
        with pytest.raises(InvalidInput):
            read_section(data, setting, weights_of("fp"), **keywords)


def test_tokens_that_are_cut_off_or_followed_by_bytes_are_refused():
    setting = Setting((1, 2, 9, 7), L2A, (1, 4), "flextec", 64, 5)
    dn = np.random.default_rng(0).integers(0, 3000, setting.shape)
    data = plain_section(dn, setting, weights_of("flextec")).section
    length = varint(len(split(data, setting).streams[0]))
    longer = varint(len(split(data, setting).streams[0]) + 1)
    changed = data[:1] + longer + data[1 + len(length) :] + b"\0"
    assert "behind the last token" in refusal(changed, setting)
    for other in (4, 6):
        assert refusal(data, setting._replace(quality=other))

"""The core in C against the reference reader, and against itself: sections of all models."""

from __future__ import annotations

from functools import cache

import google_crc32c
import numpy as np
import pytest

from oracle_writer import random_section
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_numcodecs.models.mini.core import Core, replication_of
from tec_numcodecs.native import native
from tec_numcodecs.reference2.coder import Weights
from tec_numcodecs.reference2.layout import Setting
from tec_numcodecs.reference2.section import read_section
from tec_numcodecs.sensors import SENSORS
from tec_numcodecs.weights import local_store, safetensors_io
from tec_xarray import tutorial

pytestmark = pytest.mark.skipif(native() is None, reason="no C extension")

MODELS = ["fp", "elic", "tt", "flextec"]
L2A = next(sensor for sensor in SENSORS if sensor.name == "sentinel-2-l2a")


@cache
def weights_of(model):
    found = local_store.resolve("mini", model)
    return safetensors_io.load(local_store.locate(found), found.sha256)


@cache
def core_of(model):
    return Core(model, weights_of(model))


@cache
def reference_of(model):
    return Weights(weights_of(model))


def coder_of(setting):
    (sensor,) = (sensor for sensor in SENSORS if sensor.name == setting.sensor)
    return core_of(setting.model).coder(sensor, setting.bands)


def checksum(written):
    return google_crc32c.value(np.array(written.checksums, "<u4").tobytes())


def random_ones(model, seeds):
    for seed in seeds:
        try:
            yield random_section(np.random.default_rng(seed), model, reference_of(model))
        except AssertionError:  # the writer drew what decoders must refuse
            continue


@pytest.mark.parametrize("model", MODELS)
def test_random_sections_are_read_as_the_reference_writes_them(model):
    for written in random_ones(model, range(4)):
        T, _, H, W = written.setting.shape
        dn, has_data = coder_of(written.setting).decode(
            written.section, (T, H, W), written.setting.r, checksum(written),
            tokens=written.setting.quality or 16,
        )  # fmt: skip
        np.testing.assert_array_equal(dn, written.dn)
        assert np.flatnonzero(has_data).tolist() == written.dates


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_many_random_sections(model):
    for written in random_ones(model, range(1000, 1500)):
        T, _, H, W = written.setting.shape
        dn, _ = coder_of(written.setting).decode(
            written.section, (T, H, W), written.setting.r, checksum(written),
            tokens=written.setting.quality or 16,
        )  # fmt: skip
        np.testing.assert_array_equal(dn, written.dn)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("level", [1, 2, 5])
def test_overviews_and_single_dates_are_those_of_the_reference(model, level):
    for written in random_ones(model, range(200, 202)):
        setting = written.setting
        T, _, H, W = setting.shape
        last = written.dates[-1]
        found, _ = coder_of(setting).decode(
            written.section, (T, H, W), setting.r, checksum(written), level=level,
            wanted=[t == last for t in range(T)], tokens=setting.quality or 16,
        )  # fmt: skip
        known = read_section(
            written.section, setting, reference_of(model), level=level, dates=[last]
        )
        np.testing.assert_array_equal(found[last], known[0])


def test_the_first_tokens_of_flextec_are_read_as_the_reference_reads_them():
    for written in random_ones("flextec", range(400, 402)):
        setting = written.setting
        T, _, H, W = setting.shape
        stored = setting.quality or 16
        for used in {1, (stored + 1) // 2, stored}:
            found, _ = coder_of(setting).decode(
                written.section, (T, H, W), setting.r, checksum(written), tokens=stored, stop=used
            )
            known = read_section(written.section, setting, reference_of("flextec"), tokens=used)
            np.testing.assert_array_equal(found, known)


@pytest.mark.parametrize("model", MODELS)
def test_damage_is_typed(model):
    rng = np.random.default_rng(5)
    for written in random_ones(model, range(300, 302)):
        T, _, H, W = written.setting.shape
        coder, crc = coder_of(written.setting), checksum(written)
        for _ in range(40):
            data = bytearray(written.section)
            kind = rng.integers(3)
            at = int(rng.integers(len(data)))
            if kind == 0:
                data[at] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                del data[at:]
            else:
                data.insert(at, int(rng.integers(256)))
            try:
                coder.decode(
                    bytes(data), (T, H, W), written.setting.r, crc,
                    tokens=written.setting.quality or 16,
                )  # fmt: skip
            except CorruptChunk:
                continue


def real(dates, size):
    """A piece of the tutorial's scene, int32 (T, C, size, size)."""
    (cube,) = tutorial.open_dataset(layout="cube").data_vars.values()
    return np.ascontiguousarray(cube.values[:dates, :, :size, :size], np.int32)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rate", [0, 90, 160])
def test_what_is_written_is_what_both_read(model, rate):
    samples = np.ascontiguousarray(real(2, 33)[:, [1, 2, 3, 7]])
    setting = Setting(samples.shape, L2A.name, (1, 2, 3, 7), model, rate, 0)
    decoded = np.zeros_like(samples)
    coder = coder_of(setting)
    encoded = coder.encode(samples, rate, decoded=decoded)
    dn, _ = coder.decode(encoded.data, (2, 33, 33), rate, encoded.symbols)
    np.testing.assert_array_equal(dn, decoded)
    known = read_section(encoded.data, setting, reference_of(model), checksum=encoded.symbols)
    np.testing.assert_array_equal(dn, known)
    if rate == 0:
        np.testing.assert_array_equal(dn, samples)


@pytest.mark.parametrize("factor", [2, 3, 6])
@pytest.mark.parametrize("rate", [0, 120])
def test_replicated_bands_come_back_replicated(factor, rate):
    samples = real(1, 61)
    row, column = 1 % factor, factor - 1
    rows, columns = ((np.arange(61) + phase) // factor for phase in (row, column))
    for band in (4, 5, 9):
        samples[0, band] = samples[0, band][np.ix_(rows, columns)]
    replication = replication_of(samples)
    coder = core_of("elic").coder(L2A, tuple(range(12)))
    decoded = np.zeros_like(samples)
    encoded = coder.encode(samples, rate, replication=replication, decoded=decoded)
    assert any(replication[:12])
    dn, _ = coder.decode(encoded.data, (1, 61, 61), rate, encoded.symbols)
    np.testing.assert_array_equal(dn, decoded)
    assert replication_of(dn)[:12] == replication[:12]
    if rate == 0:
        np.testing.assert_array_equal(dn, samples)
    plain = coder.encode(samples, rate)
    assert len(encoded.data) < len(plain.data)


@pytest.mark.parametrize(("kind", "phase"), [(4, 0), (1, 2), (3, 6)])
def test_replication_that_contradicts_itself_is_refused(kind, phase):
    samples = np.zeros((1, 12, 8, 8), np.int32)
    replication = bytearray(21)
    replication[0] = kind
    replication[13 : 13 + 8] = bytes([phase]) * 8
    with pytest.raises(InvalidInput, match="a replication"):
        core_of("fp").coder(L2A, tuple(range(12))).encode(
            samples, 90, replication=bytes(replication)
        )

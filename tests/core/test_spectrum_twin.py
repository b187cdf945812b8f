"""The spectral transform of the C core gives what version 1 of the models gives."""

from __future__ import annotations

import numpy as np
import pytest

from core_spectra import Spectrum, codebook, draw_samples, eigenvectors, wavelengths_of
from tec_numcodecs import native as _accel
from tec_numcodecs.models.mini.transform.by_level import LevelTransform
from tec_numcodecs.models.mini.transform.wavelet_klt import Codebook
from tec_numcodecs.sensors import get_sensor

pytestmark = pytest.mark.skipif(_accel.native() is None, reason="the C extension was not built")


@pytest.mark.parametrize(("sensor", "bands"), [("l2a", 12), ("l1c", 13), ("l2a", 4)])
def test_all_levels_of_some_entries(sensor: str, bands: int) -> None:
    book = codebook(sensor)[:3]
    used = tuple(range(bands))
    old = LevelTransform(Codebook(get_sensor(f"sentinel-2-{sensor}"), book), used)
    samples = draw_samples(np.random.default_rng(3), bands, 300)
    for entry in range(3):
        for level in range(6):
            rows = eigenvectors(np.ascontiguousarray(book[entry, level][:bands, :bands]))
            new = Spectrum.of(rows, wavelengths_of(sensor, list(used)))
            expected = old.to_components(samples[None], np.array([entry]), level)[0]
            np.testing.assert_array_equal(new.forward(samples, aligned=True), expected)
            whole = new.field("whole", bands, bands)
            np.testing.assert_array_equal(whole, old.rows[entry, level])

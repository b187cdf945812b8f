"""The spectral transform of the C core against its specification, FORMAT.md 9.1 and 10.1."""

from __future__ import annotations

import numpy as np
import pytest

import spectra
from core_spectra import (
    SENSORS,
    Spectrum,
    codebook,
    draw_covariances,
    draw_rotations,
    draw_samples,
    eigenvectors,
    wavelengths_of,
)
from spectra import LIMIT, Float64Array, Lifting
from tec_numcodecs import native as _accel

native = _accel.native()
if native is None:
    pytest.skip("the C extension was not built", allow_module_level=True)


def check_all(rows: Float64Array, wavelengths: list[int], rng: np.random.Generator) -> None:
    """All that the core derives from some rows (n, n)."""
    n = len(rows)
    lifting = Lifting.of(rows)
    truth, sign = spectra.signs(rows, lifting, wavelengths)
    found = Spectrum.of(rows, wavelengths)
    np.testing.assert_array_equal(found.field("rows", n, n), rows)
    np.testing.assert_array_equal(found.field("band", n), lifting.bands)
    np.testing.assert_array_equal(found.field("order", n), lifting.order)
    np.testing.assert_array_equal(found.field("lifts", 3, n, n) * 2**14, lifting.factors)
    np.testing.assert_array_equal(found.field("sign", n), sign)
    np.testing.assert_array_equal(
        found.field("whole", n, n), sign[:, None] * np.rint(2**12 * truth[:, None] * rows)
    )
    samples = draw_samples(rng, n, 70)
    components = lifting.forward(samples)
    turned = components * sign.astype(np.int32)[:, None]
    np.testing.assert_array_equal(found.forward(samples), components)
    np.testing.assert_array_equal(found.forward(samples, aligned=True), turned)
    np.testing.assert_array_equal(found.inverse(components), samples)
    np.testing.assert_array_equal(found.inverse(turned, aligned=True), samples)
    wild = rng.integers(-(1 << 22), 1 << 22, (n, 70)).astype(np.int32)
    np.testing.assert_array_equal(found.inverse(wild), lifting.inverse(wild))


@pytest.mark.parametrize("n", range(1, 14))
def test_random_covariances(n: int) -> None:
    rng = np.random.default_rng(n)
    for covariance in draw_covariances(rng, n):
        rows = spectra.eigenvectors(covariance)
        np.testing.assert_array_equal(eigenvectors(covariance), rows)
        check_all(rows, wavelengths_of("l1c", list(range(n))), rng)
        check_all(spectra.turned(rows, draw_rotations(rng, n, 20)), [500] * n, rng)


@pytest.mark.parametrize("sensor", SENSORS)
def test_bundled_codebooks(sensor: str) -> None:
    rng = np.random.default_rng(7)
    book, most = codebook(sensor), SENSORS[sensor]
    for n in range(1, most + 1):
        bands = sorted(rng.choice(most, n, replace=False).tolist())
        for entry, level in zip(rng.choice(len(book), 3), rng.choice(6, 3), strict=True):
            covariance = np.ascontiguousarray(book[entry, level][np.ix_(bands, bands)])
            rows = spectra.eigenvectors(covariance)
            np.testing.assert_array_equal(eigenvectors(covariance), rows)
            check_all(rows, wavelengths_of(sensor, bands), rng)


@pytest.mark.parametrize("n", range(2, 14))
def test_rotations_turn_rows_as_the_text_says(n: int) -> None:
    rng = np.random.default_rng(n)
    rows = spectra.eigenvectors(draw_covariances(rng, n)[-1])
    for count in (0, 1, 63):
        rotations = draw_rotations(rng, n, count)
        found = rows.copy()
        native.spectrum_turn(found, n, np.array(rotations, np.int32))
        np.testing.assert_array_equal(found, spectra.turned(rows, rotations))


def rows_of(n: int) -> Float64Array:
    rng = np.random.default_rng(n)
    return spectra.turned(spectra.eigenvectors(draw_covariances(rng, n)[-1]), [])


@pytest.mark.parametrize("count", [0, 1, 7, 255, 256, 257, 511, 512, 513, 1000, 1025])
def test_places_do_not_depend_on_their_neighbors(count: int) -> None:
    spectrum = Spectrum.of(rows_of(12), wavelengths_of("l2a", list(range(12))))
    samples = draw_samples(np.random.default_rng(0), 12, 1025)
    whole = spectrum.forward(samples)
    part = np.ascontiguousarray(samples[:, :count])
    np.testing.assert_array_equal(spectrum.forward(part), whole[:, :count])
    np.testing.assert_array_equal(spectrum.inverse(spectrum.forward(part)), part)


def test_in_place_gives_the_same() -> None:
    spectrum = Spectrum.of(rows_of(12), wavelengths_of("l2a", list(range(12))))
    samples = draw_samples(np.random.default_rng(0), 12, 700)
    x = samples.copy()
    native.spectrum_forward(spectrum.data, x, x, True)
    np.testing.assert_array_equal(x, spectrum.forward(samples, aligned=True))
    native.spectrum_inverse(spectrum.data, x, x, True)
    np.testing.assert_array_equal(x, samples)


def test_bands_are_clipped() -> None:
    spectrum = Spectrum.of(rows_of(5), [500] * 5)
    components = np.full((5, 300), 1 << 22, np.int32)
    assert np.abs(spectrum.inverse(components)).max() == LIMIT


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_rows_that_are_no_numbers_end_within_the_limit(value: float) -> None:
    rows = rows_of(6)
    rows[2, 3] = value
    spectrum = Spectrum.of(rows, [500] * 6)
    found = spectrum.inverse(draw_samples(np.random.default_rng(0), 6, 300))
    assert np.abs(found.astype(np.int64)).max() <= LIMIT

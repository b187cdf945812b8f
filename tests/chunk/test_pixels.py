"""Samples to digital numbers and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tec_numcodecs.chunk.samples import DN_LIMIT, Masks, from_dn, to_dn
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput


def config(**settings):
    return CodecConfig.parse(lam=20, bands=["B02"], **settings)


def samples(values, dtype):
    return np.array(values, dtype).reshape(1, 1, 1, -1)


def test_integers_pass_through_with_their_offset():
    found = to_dn(
        samples([1, 1000, 65535], np.uint16), np.zeros((1, 1, 1, 3), bool), config(offset=1000)
    )
    assert found.ravel().tolist() == [-999, 0, 64535]
    back = from_dn(found, np.dtype("<u2"), 1.0, 1000.0, 0.0)
    assert back.ravel().tolist() == [1, 1000, 65535]


def test_reflectance_is_rounded_to_its_scale():
    reflectance = samples([0.0, 0.12344, 1.2], np.float32)
    dn = to_dn(reflectance, np.zeros((1, 1, 1, 3), bool), config(units="reflectance"))
    assert dn.ravel().tolist() == [0, 1234, 12000]
    back = from_dn(dn, np.dtype("<f4"), 1e-4, 0.0, None)
    np.testing.assert_allclose(back, reflectance, atol=0.51e-4)
    assert back.dtype == np.float32


def test_infinity_and_absurd_values_are_refused_with_their_remedy():
    none = np.zeros((1, 1, 1, 2), bool)
    for value in (np.inf, -np.inf, 1e9):
        with pytest.raises(InvalidInput, match="mask it"):
            to_dn(samples([0.1, value], np.float32), none, config(units="reflectance"))


def test_masked_pixels_may_hold_anything():
    reflectance = samples([0.1, np.nan, np.inf], np.float32)
    masked = np.array([False, True, True]).reshape(1, 1, 1, 3)
    dn = to_dn(reflectance, masked, config(units="reflectance"))
    assert dn.ravel().tolist() == [1000, 1000, 1000]


@given(
    st.lists(st.integers(-DN_LIMIT, DN_LIMIT), min_size=1, max_size=20),
    st.sampled_from(["<u2", "<i2", ">u2", "<f4"]),
    st.sampled_from([(1.0, 0.0), (1.0, 1000.0), (1e-4, -0.1)]),
    st.sampled_from([None, 0.0, 65535.0, -9999.0, 0.25]),
)
def test_no_valid_pixel_becomes_nodata(values, name, scaling, nodata):
    dtype = np.dtype(name)
    found = from_dn(np.array(values, np.int32), dtype, *scaling, nodata)
    assert found.dtype == dtype.newbyteorder("=")
    if nodata is not None:
        assert not (
            found == found.dtype.type(nodata) if dtype.kind == "f" else found == nodata
        ).any()


def test_out_of_range_integers_saturate():
    found = from_dn(np.array([-5, 70000], np.int32), np.dtype("<u2"), 1.0, 0.0, None)
    assert found.tolist() == [0, 65535]


def test_nodata_that_a_dtype_cannot_hold_equals_no_sample():
    values = samples([0, 65535], np.uint16)
    for nodata in (-9999.0, 0.5, 1e300):
        assert Masks.of(values, nodata) == Masks(None, None)
        assert from_dn(np.array([0, 65535], np.int32), values.dtype, 1.0, 0.0, nodata).tolist() == [
            0, 65535,
        ]  # fmt: skip
    assert Masks.of(samples([1.0], np.float32), -1.8e308) == Masks(None, None)


def test_the_largest_nodata_moves_samples_down():
    largest = float(np.finfo(np.float32).max)
    found = from_dn(np.array([1], np.int32), np.dtype("<f4"), largest, 0.0, largest)
    assert np.isfinite(found).all()
    assert found[0] < np.float32(largest)


def test_an_absurd_offset_saturates():
    found = from_dn(np.array([1], np.int32), np.dtype("<u2"), 1.0, 1e300, None)
    assert found.tolist() == [65535]


def test_masks_tell_nan_from_nodata():
    values = samples([np.nan, -9999, 0.5], np.float32)
    masks = Masks.of(values, -9999.0)
    assert masks.nan is not None
    assert masks.nodata is not None
    assert masks.nan.ravel().tolist() == [True, False, False]
    assert masks.nodata.ravel().tolist() == [False, True, False]
    assert Masks.of(samples([1, 2], np.uint16), 0) == Masks(None, None)

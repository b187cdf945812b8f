"""Which offset an item's DN carry, for every combination of what its metadata may say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tec_numcodecs.errors import InvalidInput
from tec_xarray.stac.offset import decide, find_baseline, stated_offset
from tec_xarray.stac.reader import Origin, without_offset

FLAG = "earthsearch:boa_offset_applied"


@pytest.mark.parametrize(
    ("flag", "baseline", "stated", "value", "contradicted"),
    [
        # Nothing contradicts.
        (None, "05.09", None, -1000, False),
        (None, "03.01", None, 0, False),
        (None, "04.00", -1000, -1000, False),
        (None, None, -1000, -1000, False),
        (None, None, 0, 0, False),
        (False, "05.09", -1000, -1000, False),
        (False, "05.09", None, -1000, False),
        (False, "03.01", 0, 0, False),
        (True, "05.09", None, 0, False),
        (True, "05.09", 0, 0, False),
        (True, None, None, 0, False),
        # Earth Search, version 1: the flag knows about the file, the assets about the product.
        (True, "05.09", -1000, 0, True),
        # There was no offset to speak of yet.
        (None, "03.01", -1000, 0, True),
        (False, "03.01", -1000, 0, True),
        # Somebody took it off, and says so.
        (None, "05.09", 0, 0, True),
        # Not taken off, says the flag.
        (False, "05.09", 0, -1000, True),
        # Nothing tells.
        (None, None, None, None, False),
        (False, None, None, None, False),
    ],
)
def test_auto(flag, baseline, stated, value, contradicted):
    properties = {FLAG: flag, "s2:processing_baseline": baseline}
    offset = decide({k: v for k, v in properties.items() if v is not None}, stated, "auto")
    assert offset.value == value
    assert bool(offset.conflict) == contradicted
    assert bool(offset.because) == (value is not None)


@pytest.mark.parametrize(
    ("baseline", "value"), [("05.09", -1000), ("03.01", 0), ("99.99", -1000), (None, None)]
)
def test_force_believes_the_baseline_alone(baseline, value):
    properties = {FLAG: True, **({"s2:processing_baseline": baseline} if baseline else {})}
    assert decide(properties, 0, "force").value == value


@pytest.mark.parametrize(
    ("properties", "baseline"),
    [
        ({"s2:processing_baseline": "05.09"}, "05.09"),
        ({"processing:version": "05.11"}, "05.11"),
        ({"s2:product_uri": "S2A_MSIL2A_20220211T101111_N0400_R022_T32TPT_X.SAFE"}, "04.00"),
        ({"s2:processing_baseline": "N0510"}, "05.10"),
        ({"processing:version": "1.2.3"}, ""),
        ({}, ""),
    ],
)
def test_baseline(properties, baseline):
    assert find_baseline(properties) == baseline


@pytest.mark.parametrize(
    ("asset", "offset"),
    [
        ({"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}, -1000),
        ({"raster:bands": [{"scale": 0.0001, "offset": 0}]}, 0),
        ({"bands": [{"raster:scale": 0.0001, "raster:offset": -0.1}]}, -1000),
        ({"raster:scale": 0.0001, "raster:offset": -0.1, "bands": [{"name": "B04"}]}, -1000),
        ({"raster:bands": [{"offset": -1000}]}, -1000),
        ({"raster:bands": [{"scale": 0.0001}]}, None),
        ({"raster:bands": []}, None),
        ({}, None),
    ],
)
def test_stated(asset, offset):
    assert stated_offset(asset) == offset


@pytest.mark.parametrize(
    "band",
    [
        {"offset": -0.1},  # of reflectance, but no scale
        {"scale": 0.0002, "offset": -0.1},
        {"scale": 0.0001, "offset": 0.1},
        {"scale": 0, "offset": -0.1},
    ],
)
def test_offsets_of_no_product_are_refused(band):
    with pytest.raises(InvalidInput, match="scale"):
        stated_offset({"raster:bands": [band]})


@given(hnp.arrays(np.uint16, st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_valid_pixels_stay_valid_and_missing_ones_missing(pixels):
    got = without_offset(pixels.copy(), Origin("item", "B04", "uint16", -1000))
    assert got.dtype == np.uint16
    for before, after in zip(pixels.ravel().tolist(), got.ravel().tolist(), strict=True):
        assert after == (max(before - 1000, 1) if before else 0)


@pytest.mark.parametrize("low", [0.4, 0.6])
def test_an_offset_that_is_not_there_is_noticed(low):
    """Half of the pixels with a reflectance below -0.02: no scene has that."""
    pixels = np.full(10_000, 2000, np.uint16)
    pixels[: int(low * pixels.size)] = 700
    origin = Origin("item", "B04", "uint16", -1000)
    if low < 0.5:
        assert without_offset(pixels, origin).min() == 1
    else:
        with pytest.raises(InvalidInput, match=r"item.*B04: 60 %"):
            without_offset(pixels, origin)
        sure = Origin("item", "B04", "uint16", -1000, sure=True)
        assert without_offset(pixels, sure).min() == 1

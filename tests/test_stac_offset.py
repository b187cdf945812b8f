"""Which offset an item's DN carry, for every combination of what its metadata may say."""

from __future__ import annotations

import pytest

from tec_numcodecs.errors import InvalidInput
from tec_xarray._stac_offset import decide, find_baseline, stated_offset

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

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tec_numcodecs.errors import InvalidInput, UnsupportedFormat
from tec_numcodecs.sensors import SENSORS, Sensor, get_sensor

L2A = get_sensor("sentinel-2-l2a")
L1C = get_sensor("sentinel-2-l1c")

# What each catalog calls the bands of L2A, in model order.
CATALOGS = {
    "ESA": "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12",
    "short": "B1 B2 B3 B4 B5 B6 B7 B8 B8a B9 B11 B12",
    "Earth Search": "coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 "
    "swir22",
    "Earth Search, JPEG 2000": "coastal-jp2 blue-jp2 green-jp2 red-jp2 rededge1-jp2 rededge2-jp2 "
    "rededge3-jp2 nir-jp2 nir08-jp2 nir09-jp2 swir16-jp2 swir22-jp2",
    "STAC common names": "coastal blue green red rededge071 rededge075 rededge078 nir nir08 nir09 "
    "swir16 swir22",
    "CDSE": "B01_60m B02_10m B03_10m B04_10m B05_20m B06_20m B07_20m B08_10m B8A_20m B09_60m "
    "B11_20m B12_20m",
    "minicubes": "s2_B01 s2_B02 s2_B03 s2_B04 s2_B05 s2_B06 s2_B07 s2_B08 S2_B8A s2_B09 s2_B11 "
    "s2_B12",
    "openEO": "S2-L2A-B01 S2-L2A-B02 S2-L2A-B03 S2-L2A-B04 S2-L2A-B05 S2-L2A-B06 S2-L2A-B07 "
    "S2-L2A-B08 S2-L2A-B8A S2-L2A-B09 S2-L2A-B11 S2-L2A-B12",
    "numbers": "band_1 band_2 band_3 band_4 band_5 band_6 band_7 band_8 band_8a band_9 band_11 "
    "band_12",
    "EOPF": "b01 b02 b03 b04 b05 b06 b07 b08 b8a b09 b11 b12",
}


@pytest.mark.parametrize("sensor", SENSORS, ids=lambda s: s.name)
def test_every_table_has_one_entry_a_band(sensor: Sensor) -> None:
    count = len(sensor.bands)
    for field in ("common_names", "wavelengths", "resolutions", "mean", "std"):
        assert len(getattr(sensor, field)) == count, field
    assert len(set(sensor.bands)) == len(set(sensor.common_names)) == count
    assert all(std > 0 for std in sensor.std)
    assert set(sensor.resolutions) == {10, 20, 60}


@pytest.mark.parametrize("sensor", SENSORS, ids=lambda s: s.name)
def test_common_names_are_aliases_of_their_bands(sensor: Sensor) -> None:
    assert sensor.indices(sensor.common_names) == tuple(range(len(sensor.bands)))


def test_model_order_is_by_wavelength() -> None:
    # The published networks were trained on this order; it happens to be the spectral one.
    for sensor in SENSORS:
        assert list(sensor.wavelengths) == sorted(sensor.wavelengths)


def test_the_two_sensors_differ_by_the_cirrus_band() -> None:
    assert len(L2A.bands) == 12
    assert len(L1C.bands) == 13
    assert [band for band in L1C.bands if band not in L2A.bands] == ["B10"]
    assert L1C.canonical("cirrus") == "B10"


def test_identity_in_the_bitstream_is_for_ever() -> None:
    assert {s.id: s.name for s in SENSORS} == {1: "sentinel-2-l2a", 2: "sentinel-2-l1c"}


@pytest.mark.parametrize("catalog", CATALOGS)
def test_names_of_every_catalog(catalog: str) -> None:
    names = CATALOGS[catalog].split()
    assert L2A.indices(names) == tuple(range(12))
    assert [L2A.canonical(name) for name in names] == list(L2A.bands)


@given(st.permutations(range(12)), st.integers(1, 12), st.sampled_from(sorted(CATALOGS)))
def test_any_subset_in_any_order(order: list[int], count: int, catalog: str) -> None:
    names = CATALOGS[catalog].split()
    picked = order[:count]
    assert L2A.indices([names[i] for i in picked]) == tuple(picked)
    assert L2A.indices(names[i].swapcase() for i in picked) == tuple(picked)


def test_nir_and_nir08_are_different_bands() -> None:
    assert [L2A.canonical(n) for n in ("nir", "nir08", "nir09")] == ["B08", "B8A", "B09"]


@pytest.mark.parametrize("name", ["rededge", "RedEdge", "swir"])
def test_ambiguous_names_are_refused_with_the_choices(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"fits B\d\d, ") as caught:
        L2A.canonical(name)
    assert repr(name) in str(caught.value)


def test_every_unknown_band_is_named_and_no_known_one() -> None:
    with pytest.raises(InvalidInput) as caught:
        L2A.indices(["B04", "SCL", "cirrus", "B13", "visual"])
    assert caught.value.found == (
        "sentinel-2-l2a has no bands 'SCL', 'cirrus' (B10), 'B13', 'visual'"
    )
    assert caught.value.allowed is not None
    assert caught.value.allowed.startswith("B01 (coastal), B02 (blue)")
    assert "bands=" in str(caught.value.fix)


@pytest.mark.parametrize(
    "name",
    ["", "B", "B0", "B00", "B004", "B13", "B8B", "04", "B04_15m", "red_", "B04\nB05", 4, None],
)
def test_names_that_are_no_bands(name: object) -> None:
    with pytest.raises(InvalidInput, match="has no band") as caught:
        L2A.indices([name])  # type: ignore[list-item]
    assert repr(name) in caught.value.found


def test_the_same_band_twice_under_two_names() -> None:
    with pytest.raises(InvalidInput) as caught:
        L2A.indices(["red", "B02", "b4", "blue", "B03"])
    assert caught.value.found == (
        "the same band more than once: B04 ('red', 'b4'); B02 ('B02', 'blue')"
    )


def test_no_bands_and_a_bare_string() -> None:
    with pytest.raises(InvalidInput, match="no bands"):
        L2A.indices([])
    with pytest.raises(InvalidInput, match="a list of band names"):
        L2A.indices("B04")


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("sentinel-2-l2a", "sentinel-2-l2a"),
        ("sentinel-2-c1-l2a", "sentinel-2-l2a"),
        ("Sentinel2_L2A", "sentinel-2-l2a"),
        ("S2L2A", "sentinel-2-l2a"),
        ("SENTINEL-2-L1C", "sentinel-2-l1c"),
        (1, "sentinel-2-l2a"),
        (2, "sentinel-2-l1c"),
        (L1C, "sentinel-2-l1c"),
    ],
)
def test_sensors_by_name_and_number(asked: str | int | Sensor, name: str) -> None:
    assert get_sensor(asked).name == name


@pytest.mark.parametrize("asked", ["landsat-c2-l2", "", "l2a", None, True, 1.0])
def test_unknown_sensor_names_list_the_known(asked: object) -> None:
    with pytest.raises(InvalidInput, match="'sentinel-2-l2a', 'sentinel-2-l1c'"):
        get_sensor(asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [0, 3, -1, 255])
def test_unknown_numbers_mean_a_newer_format(number: int) -> None:
    with pytest.raises(UnsupportedFormat, match=f"sensor number {number}; allowed: 1 "):
        get_sensor(number)


def test_sensors_are_immutable_values() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        L2A.id = 7  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(L2A)) == L2A == copy.deepcopy(L2A)
    assert len({L2A, L1C, pickle.loads(pickle.dumps(L2A))}) == 2


def test_published_statistics() -> None:
    # Spot checks at both ends and where the two sensors' orders part.
    assert (L2A.mean[0], L2A.mean[-1], L2A.std[9]) == (793.243, 1849.625, 1652.703)
    assert dict(zip(L1C.bands, L1C.mean, strict=True))["B10"] == 21.753
    assert dict(zip(L1C.bands, L1C.std, strict=True))["B12"] == 1145.036

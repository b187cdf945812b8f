"""Sensors: which bands there are, what people call them, and how bright they usually are.

The canonical names are ESA's (``B01`` ... ``B12``, ``B8A``), in the order in which models see them.
Catalogs use others for the same thing; one table below knows them all.

>>> l2a = get_sensor("sentinel-2-l2a")
>>> l2a.indices(["red", "B8A", "b02_10m"])
(3, 8, 1)
>>> l2a.canonical("swir16")
'B11'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from tec_numcodecs.arguments import shown
from tec_numcodecs.errors import InvalidInput, UnsupportedFormat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Every other name of a band, in lower case.
#
# * Earth Search: coastal, blue, ... rededge1-3, nir, nir08, nir09, cirrus, swir16, swir22.
# * STAC's own common names: the same but rededge071, rededge075, rededge078 for B05, B06, B07.
# * Planetary Computer: ESA's names. CDSE: ESA's with a resolution (B04_10m). EOPF: b04.
#
# Three names need a decision, because catalogs do not agree:
#
# * ``nir`` is B08, the broad 10 m band, as in every catalog above; B8A is ``nir08`` and the water
#   vapour band B09 is ``nir09``.
# * ``nir08`` is therefore *not* B08. The number is a wavelength (0.8 um), not a band.
# * ``rededge`` and ``swir`` fit several bands and are refused (Planetary Computer gives the common
#   name ``rededge`` to B05, B06, B07 and B8A alike).
_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "coastal": "B01",
        "blue": "B02",
        "green": "B03",
        "red": "B04",
        "rededge1": "B05",
        "rededge071": "B05",
        "rededge2": "B06",
        "rededge075": "B06",
        "rededge3": "B07",
        "rededge078": "B07",
        "nir": "B08",
        "nir08": "B8A",
        "nir09": "B09",
        "cirrus": "B10",
        "swir16": "B11",
        "swir22": "B12",
    }
)
_AMBIGUOUS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"rededge": ("B05", "B06", "B07", "B8A"), "swir": ("B11", "B12")}
)
# B4, B04, b8a, band_4, B04_10m, s2_B04, S2-L2A-B04; the suffix -jp2 is Earth Search's for the JPEG
# 2000 twin of an asset. A prefix ends with a separator: "s2b04" could be band 04 of Sentinel-2B.
_NUMBERED = re.compile(r"b(?:and)?[ _-]?(\d{1,2}|8a)")
_PREFIX = re.compile(r"^(?:s2|sentinel[ _-]?2)[a-d]?(?:[ _-]?(?:msi)?l(?:1c|2a))?[ _-]+(?=\w)")
_SUFFIX = re.compile(r"(_(10|20|60)m|-jp2)$")


@dataclass(frozen=True, slots=True)
class Sensor:
    """One product of one instrument. Immutable; compare by value.

    Attributes
    ----------
    id : int
        What a bitstream says to mean this sensor. Never reused, never changed.
    name : str
        STAC collection id, ``"sentinel-2-l2a"``.
    level : str
        Processing level, ``"L2A"`` (surface) or ``"L1C"`` (top of atmosphere).
    bands : tuple of str, length C
        Canonical names in model order.
    common_names : tuple of str, length C
        The STAC common name of each band, made unique the way Earth Search does.
    wavelengths : tuple of float, length C
        Central wavelength in nm of Sentinel-2A (ESA's spectral response functions); its
        sisters differ by a few nm, in B12 by up to 17.
    resolutions : tuple of int, length C
        Native pixel size in m.
    mean, std : tuple of float, length C
        Statistics in digital numbers (DN, reflectance = DN / 10,000) of the SSL4EO-S12 v1.1
        training set, without the offset of processing baseline 04.00. The published TerraCodec
        checkpoints were trained on ``(DN - mean) / std``.
    """

    id: int
    name: str
    level: str
    bands: tuple[str, ...]
    common_names: tuple[str, ...]
    wavelengths: tuple[float, ...]
    resolutions: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def canonical(self, name: str) -> str:
        """Return ESA's name of a band.

        Parameters
        ----------
        name : str
            Any known name, in any case: ``"B04"``, ``"b4"``, ``"band_4"``, ``"B04_10m"``,
            ``"s2_B04"``, ``"S2-L2A-B04"``, ``"red"``.

        Raises
        ------
        InvalidInput
            The name is unknown, fits several bands, or is a band that this sensor lacks.
        """
        return self.bands[self.indices([name])[0]]

    def indices(self, names: Iterable[str]) -> tuple[int, ...]:
        """Return where bands stand in model order.

        Parameters
        ----------
        names : iterable of str
            At least one band, in any order, under any names.

        Returns
        -------
        tuple of int
            One index into ``bands`` for each name, in the order given.

        Raises
        ------
        InvalidInput
            No name at all, or some are unknown, ambiguous, or the same band twice. The message
            names every offender, not only the first.
        """
        if isinstance(names, str):
            raise InvalidInput(
                f"bands = {names!r}", allowed="a list of band names", fix=f"pass [{names!r}]"
            )
        given = tuple(names)
        if not given:
            raise InvalidInput("no bands", allowed=self._known(), fix="name at least one band")
        found = [_esa_name(name) for name in given]
        self._check_known(given, found)
        self._check_distinct(given, found)
        return tuple(self.bands.index(band) for band in found)

    def _check_known(self, given: tuple[str, ...], found: list[str]) -> None:
        pairs = zip(given, found, strict=True)
        problems = [_why_not(name) for name, band in pairs if band not in self.bands]
        if problems:
            raise InvalidInput(
                f"{self.name} has no {'band' if len(problems) == 1 else 'bands'} "
                + ", ".join(problems),
                allowed=self._known(),
                fix="rename or drop what is no band, or pass bands= with names from this list",
            )

    def _check_distinct(self, given: tuple[str, ...], found: list[str]) -> None:
        names: dict[str, list[str]] = {}
        for name, band in zip(given, found, strict=True):
            names.setdefault(band, []).append(repr(name))
        twice = [f"{band} ({', '.join(n)})" for band, n in names.items() if len(n) > 1]
        if twice:
            raise InvalidInput(
                f"the same band more than once: {'; '.join(twice)}",
                allowed="each band at most once",
                fix="drop the repeated ones",
            )

    def _known(self) -> str:
        pairs = zip(self.bands, self.common_names, strict=True)
        return ", ".join(f"{band} ({common})" for band, common in pairs)


def get_sensor(name_or_id: str | int | Sensor) -> Sensor:
    """Look a sensor up by the name a person types or the number a bitstream holds.

    Parameters
    ----------
    name_or_id : str, int or Sensor
        ``"sentinel-2-l2a"``, ``"sentinel-2-c1-l2a"``, ``"S2L2A"`` (case and punctuation do not
        matter), 1, or a sensor, which is returned as it is.

    Raises
    ------
    InvalidInput
        No sensor has that name.
    UnsupportedFormat
        No sensor has that number. Only bitstreams hold numbers, so a newer version wrote it.
    """
    if isinstance(name_or_id, Sensor):
        return name_or_id
    if isinstance(name_or_id, int) and not isinstance(name_or_id, bool):
        if name_or_id in _BY_ID:
            return _BY_ID[name_or_id]
        raise UnsupportedFormat(
            f"sensor number {shown(name_or_id)}",
            allowed=", ".join(f"{s.id} ({s.name})" for s in SENSORS),
            fix="a newer tec-xarray may know it: pip install -U tec-xarray",
        )
    if isinstance(name_or_id, str):
        key = re.sub(r"[^a-z0-9]", "", name_or_id.lower())
        if key in _BY_NAME:
            return _BY_NAME[key]
    raise InvalidInput(
        f"sensor = {shown(name_or_id)}",
        allowed=", ".join(repr(s.name) for s in SENSORS),
        fix="pass sensor= with one of these",
    )


def _esa_name(name: object) -> str:
    """Turn any name into ESA's, or into ``""``; whether a sensor has that band is not asked."""
    if not isinstance(name, str):
        return ""
    stem = _stem(name)
    if stem in _ALIASES:
        return _ALIASES[stem]
    numbered = _NUMBERED.fullmatch(stem)
    if numbered is None:
        return ""
    number = numbered[1].upper()
    return f"B{number:0>2}"


def _stem(name: str) -> str:
    """Return a name in lower case, without what says that it is of Sentinel-2, or a resolution."""
    return _SUFFIX.sub("", _PREFIX.sub("", name.strip().lower()))


def _why_not(name: object) -> str:
    """Quote a refused name, and say what else it could have meant."""
    stem = _stem(name) if isinstance(name, str) else ""
    if stem in _AMBIGUOUS:
        return f"{shown(name)} (fits {', '.join(_AMBIGUOUS[stem])})"
    band = _esa_name(name)
    return f"{shown(name)} ({band})" if stem in _ALIASES else shown(name)


SENTINEL_2_L2A = Sensor(
    id=1,
    name="sentinel-2-l2a",
    level="L2A",
    bands=tuple("B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12".split()),
    common_names=tuple(
        "coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 swir22".split()
    ),
    wavelengths=(
        442.7,
        492.4,
        559.8,
        664.6,
        704.1,
        740.5,
        782.8,
        832.8,
        864.7,
        945.1,
        1613.7,
        2202.4,
    ),
    resolutions=(60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 20, 20),
    mean=(
        793.243,
        924.863,
        1184.553,
        1340.936,
        1671.402,
        2240.082,
        2468.412,
        2563.243,
        2627.704,
        2711.071,
        2416.714,
        1849.625,
    ),
    std=(
        1160.144,
        1201.092,
        1219.943,
        1397.225,
        1400.035,
        1373.136,
        1429.170,
        1485.025,
        1447.836,
        1652.703,
        1471.002,
        1365.307,
    ),
)

SENTINEL_2_L1C = Sensor(
    id=2,
    name="sentinel-2-l1c",
    level="L1C",
    bands=tuple("B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B10 B11 B12".split()),
    common_names=tuple(
        "coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 cirrus swir16 "
        "swir22".split()
    ),
    wavelengths=(
        442.7,
        492.4,
        559.8,
        664.6,
        704.1,
        740.5,
        782.8,
        832.8,
        864.7,
        945.1,
        1373.5,
        1613.7,
        2202.4,
    ),
    resolutions=(60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20),
    mean=(
        1607.345,
        1393.068,
        1320.225,
        1373.963,
        1562.536,
        2110.071,
        2392.832,
        2321.154,
        2583.770,
        838.712,
        21.753,
        2205.112,
        1545.798,
    ),
    std=(
        786.523,
        849.702,
        875.318,
        1143.578,
        1126.248,
        1161.980,
        1273.505,
        1246.790,
        1342.755,
        576.795,
        45.626,
        1340.347,
        1145.036,
    ),
)

SENSORS: tuple[Sensor, ...] = (SENTINEL_2_L2A, SENTINEL_2_L1C)

_BY_ID: Mapping[int, Sensor] = MappingProxyType({s.id: s for s in SENSORS})
_BY_NAME: Mapping[str, Sensor] = MappingProxyType(
    {
        "sentinel2l2a": SENTINEL_2_L2A,
        "sentinel2c1l2a": SENTINEL_2_L2A,
        "s2l2a": SENTINEL_2_L2A,
        "sentinel2l1c": SENTINEL_2_L1C,
        "sentinel2c1l1c": SENTINEL_2_L1C,
        "s2l1c": SENTINEL_2_L1C,
    }
)

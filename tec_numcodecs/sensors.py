"""Sensors: which bands there are, what people call them, and how bright they usually are.

Everything that is known of a sensor stands in ``sensors.json``; a new one is a new entry there. The
canonical names of Sentinel-2 are ESA's (``B01`` ... ``B12``, ``B8A``), in the order in which models
see them. Catalogs use others for the same thing:

* Earth Search: coastal, blue, ... rededge1-3, nir, nir08, nir09, cirrus, swir16, swir22.
* STAC's own common names: the same but rededge071, rededge075, rededge078 for B05, B06, B07.
* Planetary Computer: ESA's names. CDSE: ESA's with a resolution (B04_10m). EOPF: b04.

Three names need a decision, because catalogs do not agree:

* ``nir`` is B08, the broad 10 m band, as in every catalog above; B8A is ``nir08`` and the water
  vapor band B09 is ``nir09``.
* ``nir08`` is therefore *not* B08. The number is a wavelength (0.8 um), not a band.
* ``rededge`` and ``swir`` fit several bands and are refused (Planetary Computer gives the common
  name ``rededge`` to B05, B06, B07 and B8A alike).

>>> l2a = get_sensor("sentinel-2-l2a")
>>> l2a.indices(["red", "B8A", "b02_10m"])
(3, 8, 1)
>>> l2a.canonical("swir16")
'B11'
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

from tec_numcodecs.arguments import shown
from tec_numcodecs.errors import InvalidInput, UnsupportedFormat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# B4, B04, b8a, band_4, Band 04: the number of a band.
_NUMBERED = re.compile(r"b(?:and)?[ _-]?(\d{1,2}|\d[a-z])")


@dataclass(frozen=True, slots=True)
class Instrument:
    """What the bands of an instrument are called.

    Attributes
    ----------
    name : str
    bands : tuple of str
        Canonical names of all its bands.
    aliases : dict of str
        Other names of bands, in lower case, and the canonical ones.
    ambiguous : dict of tuple of str
        Names that fit several bands, in lower case, and these bands.
    prefix, suffix : str
        Patterns of what catalogs write around the name of a band: ``s2_``, ``_10m``. A prefix ends
        with a separator: "s2b04" could be band 04 of Sentinel-2B.
    """

    name: str
    bands: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    ambiguous: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prefix: str = ""
    suffix: str = ""

    def band(self, name: object) -> str:
        """Return the canonical name of a band under any of its names; ``""`` if it is none."""
        if not isinstance(name, str):
            return ""
        stem = self.stem(name)
        if stem in self.aliases:
            return self.aliases[stem]
        numbered = _NUMBERED.fullmatch(stem)
        if numbered is not None:
            stem = "b" + numbered[1].lstrip("0")
        return next((band for band in self.bands if _short(band) == stem), "")

    def stem(self, name: str) -> str:
        """Return a name in lower case, without what says the instrument or a resolution."""
        stem = name.strip().lower()
        stem = re.sub(f"^(?:{self.prefix})", "", stem) if self.prefix else stem
        return re.sub(f"(?:{self.suffix})$", "", stem) if self.suffix else stem


def _short(band: str) -> str:
    """Return a canonical name in lower case, and B04 as b4."""
    return re.sub(r"^b0+(?=.)", "b", band.lower())


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
    instrument : Instrument
        What its bands are called.
    names : tuple of str
        Other names of the product.
    scene_classification : bool
        Whether its products come with an SCL band.
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
    instrument: Instrument = field(default=Instrument(""), compare=False, repr=False)
    names: tuple[str, ...] = field(default=(), compare=False, repr=False)
    scene_classification: bool = field(default=False, compare=False, repr=False)

    def canonical(self, name: str) -> str:
        """Return the canonical name of a band.

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
        found = [self.instrument.band(name) for name in given]
        self._check_known(given, found)
        self._check_distinct(given, found)
        return tuple(self.bands.index(band) for band in found)

    def _check_known(self, given: tuple[str, ...], found: list[str]) -> None:
        pairs = zip(given, found, strict=True)
        problems = [self._why_not(name) for name, band in pairs if band not in self.bands]
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

    def _why_not(self, name: object) -> str:
        """Quote a refused name, and say what else it could have meant."""
        stem = self.instrument.stem(name) if isinstance(name, str) else ""
        if stem in self.instrument.ambiguous:
            return f"{shown(name)} (fits {', '.join(self.instrument.ambiguous[stem])})"
        aliases = self.instrument.aliases
        return f"{shown(name)} ({aliases[stem]})" if stem in aliases else shown(name)

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
        for sensor in SENSORS:
            if sensor.id == name_or_id:
                return sensor
        raise UnsupportedFormat(
            f"sensor number {shown(name_or_id)}",
            allowed=", ".join(f"{s.id} ({s.name})" for s in SENSORS),
            fix="a newer tec-xarray may know it: pip install -U tec-xarray",
        )
    if isinstance(name_or_id, str):
        key = _letters(name_or_id)
        for sensor in SENSORS:
            if key in map(_letters, (sensor.name, *sensor.names)):
                return sensor
    raise InvalidInput(
        f"sensor = {shown(name_or_id)}",
        allowed=", ".join(repr(s.name) for s in SENSORS),
        fix="pass sensor= with one of these",
    )


@functools.cache
def _letters(name: str) -> str:
    """Return what counts in the name of a product: letters and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def band_name(name: str) -> str:
    """Return the canonical name of a band of any sensor, ``""`` for anything else."""
    found = (sensor.instrument.band(name) for sensor in SENSORS)
    return next((band for band in found if band), "")


def sensors_with(bands: Iterable[str]) -> tuple[Sensor, ...]:
    """Return the sensors that have all of some bands, under any of their names."""
    names = list(bands)
    return tuple(
        sensor
        for sensor in SENSORS
        if all(sensor.instrument.band(name) in sensor.bands for name in names)
    )


def parse(table: Mapping[str, Any]) -> tuple[Sensor, ...]:
    """Build sensors of a table as ``sensors.json`` holds it.

    Parameters
    ----------
    table : dict
        ``instruments`` by name, each with its ``bands`` in model order and what catalogs call them;
        ``sensors``, each with ``statistics`` of the bands that it has.
    """
    instruments = {name: _instrument(name, given) for name, given in table["instruments"].items()}
    return tuple(
        _sensor(given, instruments[given["instrument"]], table["instruments"][given["instrument"]])
        for given in table["sensors"]
    )


def _instrument(name: str, given: Mapping[str, Any]) -> Instrument:
    bands = given["bands"]
    aliases = {a: band["name"] for band in bands for a in (band["common_name"], *band["aliases"])}
    return Instrument(
        name,
        bands=tuple(band["name"] for band in bands),
        aliases={key.lower(): value for key, value in aliases.items()},
        ambiguous={key: tuple(fits) for key, fits in given.get("ambiguous", {}).items()},
        prefix=given.get("prefix", ""),
        suffix=given.get("suffix", ""),
    )


def _sensor(given: Mapping[str, Any], instrument: Instrument, known: Mapping[str, Any]) -> Sensor:
    statistics = given["statistics"]
    bands = [band for band in known["bands"] if band["name"] in statistics]
    return Sensor(
        id=given["id"],
        name=given["name"],
        level=given["level"],
        bands=tuple(band["name"] for band in bands),
        common_names=tuple(band["common_name"] for band in bands),
        wavelengths=tuple(float(band["wavelength"]) for band in bands),
        resolutions=tuple(band["resolution"] for band in bands),
        mean=tuple(float(statistics[band["name"]]["mean"]) for band in bands),
        std=tuple(float(statistics[band["name"]]["std"]) for band in bands),
        instrument=instrument,
        names=tuple(given["names"]),
        scene_classification=given.get("scene_classification", False),
    )


SENSORS = parse(
    json.loads(resources.files("tec_numcodecs").joinpath("sensors.json").read_text("utf-8"))
)

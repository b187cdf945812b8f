"""Scenes to learn from: a directory of arrays with a manifest, or a Zarr cube of one's own."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.sensors import Sensor, get_sensor

_SENSOR_OF_LEVEL = {"L2A": "sentinel-2-l2a", "L1C": "sentinel-2-l1c"}

# How often a source is drawn. Large, varied or multi-date scenes more, patches of one kind less:
# twelve patches of the same forest or six of open water would otherwise decide what is learned.
_SOURCE_WEIGHTS = {
    "terracodec": 3.5,
    "majortom": 2.0,
    "ssl4eo": 2.0,
    "terramind": 0.8,
    "openeo": 0.8,
    "worldcereal": 0.6,
    "eolearn": 0.6,
    "ftw": 0.6,
    "ben": 0.4,
    "hydro": 0.25,
    "eurosat": 0.15,
}


@dataclass(frozen=True)
class Scene:
    """One place.

    Attributes
    ----------
    name : str
    sensor : Sensor
    bands : tuple of int
        Indices of the bands in ``sensor.bands``, strictly increasing.
    data : uint16 array (T, C, H, W)
        Digital numbers, dates in order.
    weight : float
        How often it is drawn, relative to the others.
    """

    name: str
    sensor: Sensor
    bands: tuple[int, ...]
    data: NDArray[np.uint16]
    weight: float = 1.0


def read_directory(path: Path, split: str) -> list[Scene]:
    """Read the scenes of one split.

    Parameters
    ----------
    path : Path
        Directory with ``MANIFEST.tsv`` (columns file, level, bands, split) and one ``.npz`` file
        with an array ``data`` (T, C, H, W) a row.
    split : str
        ``train``, ``val`` or ``test``.

    Raises
    ------
    InvalidInput
        If there is no manifest, or no scene of the split in it.
    """
    manifest = path / "MANIFEST.tsv"
    if not manifest.is_file():
        raise InvalidInput(
            f"no MANIFEST.tsv in {path}", allowed="a directory of scenes, or a Zarr cube"
        )
    with manifest.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if row["split"] == split]
    if not rows:
        raise InvalidInput(f"no scene of split {split!r} in {manifest}")
    return [_read_row(path, row) for row in rows]


def _read_row(path: Path, row: dict[str, str]) -> Scene:
    sensor = get_sensor(_SENSOR_OF_LEVEL[row["level"]])
    with np.load(path / row["file"]) as arrays:
        data = arrays["data"].astype(np.uint16)
    name = row["file"].removesuffix(".npz")
    return _ordered(name, sensor, row["bands"].split(","), data, _weight(name))


def _weight(name: str) -> float:
    source = name.split("_", 1)[0]
    return _SOURCE_WEIGHTS.get(source, 1.0)


def _ordered(
    name: str, sensor: Sensor, bands: Iterable[str], data: NDArray[np.uint16], weight: float
) -> Scene:
    """Put the bands into the sensor's order."""
    indices = np.array(sensor.indices(list(bands)))
    order = np.argsort(indices)
    kept = tuple(int(i) for i in indices[order])
    return Scene(name, sensor, kept, np.ascontiguousarray(data[:, order]), weight)


def read_cube(path: str, sensor: str = "sentinel-2-l2a") -> list[Scene]:
    """Read a Zarr cube as one scene.

    Parameters
    ----------
    path : str
        A dataset with one variable (time, y, x) a band, named as the sensor names them; digital
        numbers. Chunks without any valid pixel should not be in it.
    sensor : str
        Name of the sensor.

    Raises
    ------
    InvalidInput
        If no variable is a band of the sensor.
    """
    import xarray as xr

    known = get_sensor(sensor)
    dataset = xr.open_zarr(path)
    names = [str(name) for name in dataset.data_vars if dataset[name].ndim == 3]
    found = [name for name in names if _is_band(known, name)]
    if not found:
        raise InvalidInput(
            f"variables {', '.join(names) or '(none)'} in {path}",
            allowed=f"bands of {sensor}: {', '.join(known.bands)}",
            fix="rename the variables",
        )
    data = np.stack([dataset[name].values for name in found], axis=1)  # (T, C, H, W)
    valid = np.clip(np.nan_to_num(data), 0, 65535).astype(np.uint16)
    return [_ordered(Path(path).name, known, found, valid, 1.0)]


def _is_band(sensor: Sensor, name: str) -> bool:
    try:
        sensor.indices([name])
    except InvalidInput:
        return False
    return True

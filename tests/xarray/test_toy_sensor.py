"""A sensor is an entry of one table: nothing else in the packages has to know its name or bands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import tec_numcodecs
import tec_xarray
import toy_model
from cubes import scene
from tec_numcodecs import TecCodec, inspect, sensors
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models import table as model_table

WEIGHTS = {"id": "toy-shift-1", "sha256": "0123456789abcdef" * 4}
ROOT = Path(tec_numcodecs.__file__).parents[1]


@pytest.fixture(autouse=True)
def entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Add the sensor, and a model that needs no training for it."""
    table = json.loads((ROOT / "tests" / "helpers" / "toy_sensor.json").read_text())
    monkeypatch.setattr(sensors, "SENSORS", (*sensors.SENSORS, *sensors.parse(table)))
    monkeypatch.setattr(model_table, "FAMILIES", (*model_table.FAMILIES, toy_model.FAMILY))
    monkeypatch.setattr(model_table, "MODELS", (*model_table.MODELS, toy_model.ROW))
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / f"{WEIGHTS['sha256']}.safetensors").touch()


def cube() -> np.ndarray:
    return scene((1, 3, 16, 16)).astype(np.uint16)


def bands(*names: str, **attrs: str) -> xr.Dataset:
    data = {name: (("time", "y", "x"), cube()[:, i]) for i, name in enumerate(names)}
    return xr.Dataset(data, attrs=attrs)


def test_chunks_name_it() -> None:
    settings = {"model": "shift", "lam": 16, "weights": WEIGHTS, "sensor": "TOY1"}
    codec = TecCodec(**settings, bands=["nir", "toy_T1"])
    assert codec.config.bands == ("T3", "T1")
    data = codec.encode(cube()[:, :2])
    assert inspect(data).header.sensor == 200
    assert TecCodec.from_config(codec.get_config()).config == codec.config
    assert np.abs(codec.decode(data).astype(int) - cube()[:, :2]).max() < 16
    with pytest.raises(InvalidInput, match=r"toy-1-sr has no band 'B04'.*T2 \(red\)"):
        TecCodec(**settings, bands=["B04"])


@pytest.mark.parametrize(
    "data",
    [
        bands("T1", "T2", "T3"),
        bands("toy_T1", "T2", "near infrared"),
        bands("green", "red", "nir", sensor="toy-1-sr"),
        bands("green", "red", "nir", processing_level="SR"),
    ],
    ids=["own names", "aliases", "attribute", "level"],
)
def test_cubes_are_told(data: xr.Dataset) -> None:
    small = data.tec.compress(model="shift", lam=16, weights=WEIGHTS)
    assert small["reflectance"].encoding["serializer"].config.sensor.name == "toy-1-sr"
    assert list(small["band"].values) == ["T1", "T2", "T3"]


def test_common_names_alone_tell_no_sensor() -> None:
    with pytest.raises(InvalidInput, match=r"without a word on the sensor.*toy-1-sr"):
        bands("green", "red", "nir").tec.compress(model="shift", lam=16, weights=WEIGHTS)


def test_archives_reports_and_pictures(tmp_path: Path) -> None:
    data = bands("T1", "T2", "T3")
    read = data.tec.compress(model="shift", lam=16, weights=WEIGHTS, store=tmp_path / "a.zarr")
    assert tec_xarray.verify(tmp_path / "a.zarr", data).ok
    report = tec_xarray.compare(read, data, store=tmp_path / "a.zarr", ssim=False)
    assert [index.label for index in report.indices if index.label in ("NDVI", "NDWI")]
    assert read.tec.plot.rgb("false color").axes


def test_levels_and_bands_are_asked_of_the_table_only() -> None:
    """No module compares the name of a sensor, or of a band that only one has."""
    compared = re.compile(r"""(==|!=|\bin)\s*\(?["'](sentinel-2-l|L2A|L1C|B10["'] in)""")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in ("tec_numcodecs", "tec_xarray")
        for path in sorted((ROOT / package).rglob("*.py"))
        if "reference" not in path.as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if compared.search(line)
    ]
    assert wrong == []

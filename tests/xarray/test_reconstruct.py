"""`ds.tec.reconstruct`: the values that an archive would give back, lazily."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
import zarr

import published
import tec_xarray
from cubes import scene
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.sensors import get_sensor

torch.set_num_threads(1)  # threads that wait for each other cost more than they give

BANDS = get_sensor("sentinel-2-l2a").bands


def dataset(shape: tuple[int, int, int, int] = (3, 4, 40, 36), dtype: str = "u2") -> xr.Dataset:
    cube = scene(shape, dtype=np.dtype(dtype))
    cube[:, :, 30:, :9] = np.nan if dtype == "f4" else 0
    names = ["B02", "B03", "B04", "B08"] if shape[1] == 4 else list(BANDS)
    variables = {b: (("time", "y", "x"), cube[:, i]) for i, b in enumerate(names)}
    found = xr.Dataset(variables, attrs={"sensor": "sentinel-2-l2a"})
    found["SCL"] = (("time", "y", "x"), np.full(cube[:, 0].shape, 4, "u1"))
    return found


def stored(data: xr.Dataset, **settings: Any) -> xr.Dataset:
    return data.tec.compress(store=zarr.storage.MemoryStore(), **settings).load()


@pytest.mark.parametrize(
    ("dtype", "settings"),
    [
        ("u2", {"lam": 20}),
        ("u2", {"model": "elic", "lam": 50}),
        ("u2", {"max_error": 30}),
        ("u2", {"lam": 20, "nodata": None}),
        ("f4", {"lam": 20}),
    ],
)
def test_what_an_archive_gives_back(dtype: str, settings: dict[str, Any]) -> None:
    data = dataset(dtype=dtype)
    # Chunks that cut the scene unevenly: those at the edges are filled up, in time, too.
    settings = {**settings, "chunks": (2, 4, 32, 32)}
    found = data.tec.reconstruct(**settings)
    assert found["reflectance"].chunks == ((2, 1), (4,), (32, 8), (32, 4))
    expected = stored(data, **settings)
    np.testing.assert_array_equal(found["reflectance"].values, expected["reflectance"].values)
    assert found["reflectance"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found["SCL"].values, data["SCL"].values)
    again = found.tec.to_bands()["B04"].values
    np.testing.assert_array_equal(again, expected.tec.to_bands()["B04"].values)


@pytest.mark.parametrize("model", published.LAMS)
def test_published_models(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lam = published.LAMS[model]
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(published.fill(tmp_path, {model: lam})))
    data = dataset((2, 12, 40, 32))
    settings = {"model": model, "lam": lam, "weights": "terracodec-1.0"}
    found = tec_xarray.reconstruct(data, **settings)["reflectance"].values
    np.testing.assert_array_equal(found, stored(data, **settings)["reflectance"].values)
    assert (found[:, :, 30:, :9] == 0).all()


def test_nothing_is_computed_or_changed_before_values_are_wanted() -> None:
    class Poison:
        shape, dtype, ndim = (5, 700, 600), np.dtype("u2"), 3

        def __getitem__(self, key: object) -> np.ndarray[Any, Any]:
            raise AssertionError("computed")

    lazy = da.from_array(Poison(), chunks=(1, 300, 300), meta=np.empty((0, 0, 0), np.uint16))
    image = (("time", "y", "x"), lazy)
    data = xr.Dataset({"B02": image, "B03": image}, attrs={"sensor": "S2L2A"})
    before = data.copy(deep=True)
    found = data.tec.reconstruct(lam=20)
    assert found["reflectance"].chunks == ((5,), (2,), (352, 348), (320, 280))
    assert data.attrs == before.attrs
    assert "fp" in found.attrs["tec_reconstruction"]
    assert "tec_codec" not in found.attrs
    assert not found["reflectance"].encoding


def test_it_can_be_stored_plainly_and_measured() -> None:
    data = dataset()
    found = data.tec.reconstruct(lam=20)
    store = zarr.storage.MemoryStore()
    found.to_zarr(store)
    read = xr.open_zarr(store)
    np.testing.assert_array_equal(read["reflectance"].values, found["reflectance"].values)
    error = found["reflectance"].values.astype(int) - data.tec.to_cube()["reflectance"].values
    assert 0 < np.abs(error).mean() < 200


def test_refusals() -> None:
    for setting in ({"store": "x"}, {"mode": "w"}, {"shards": False}, {"zarr_format": 2}):
        with pytest.raises(InvalidInput, match="not stored"):
            dataset().tec.reconstruct(**setting)
    with pytest.raises(InvalidInput, match="lam"):
        dataset().tec.reconstruct(lam=-1)

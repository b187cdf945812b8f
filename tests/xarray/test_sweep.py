"""Sweeps: the same figures as a stored cube has, and a choice among them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import xarray as xr
import zarr

import tec_xarray
from tec_numcodecs.errors import InvalidInput
from tec_xarray.tutorial import open_dataset


def part_of_a_scene() -> xr.Dataset:
    return open_dataset().isel(y=slice(0, 104), x=slice(0, 136))


@pytest.fixture(scope="module")
def sweep() -> tec_xarray.Sweep:
    found: tec_xarray.Sweep = part_of_a_scene().tec.sweep(lams=[5, 50], max_errors=[40, 0])
    return found


def test_a_point_is_what_the_store_would_say(sweep: tec_xarray.Sweep) -> None:
    assert sweep.where == "one chunk: time 0:4, y 0:104, x 0:136, 12 bands"
    assert [p.label for p in sweep.points] == ["lam 5", "lam 50", "max_error 40", "lossless"]
    part = part_of_a_scene()
    for point in sweep.points[:3]:
        store = zarr.storage.MemoryStore()
        report = part.tec.compress(**point.settings, shards=False, store=store).tec.report(part)
        chunk = store._store_dict["reflectance/c/0/0/0/0"].to_bytes()
        assert point.bytes == len(chunk)
        assert point.ratio == pytest.approx(report.raw_bytes / len(chunk))
        for name in ("psnr", "rmse", "max_error", "p95", "ssim", "spectral_angle"):
            assert getattr(point, name) == pytest.approx(getattr(report.total, name)), name
        rows = {row.label: row.rmse for row in report.indices if row.date == "all"}
        assert (point.ndvi_rmse, point.ndwi_rmse) == pytest.approx((rows["NDVI"], rows["NDWI"]))
    assert sweep.points[2].max_error <= 40
    assert sweep.points[3].max_error == 0
    assert math.isinf(sweep.points[3].psnr)


def test_choice(sweep: tec_xarray.Sweep) -> None:
    small, good, bound, exact = sweep.points
    assert sweep.choose(psnr=30) == {"model": "fp", "weights": "mini", "lam": 5}
    assert sweep.choose(psnr=small.psnr + 0.1, ndvi_rmse=1) == good.settings
    assert sweep.choose(max_error=40) == bound.settings
    assert sweep.choose(rmse=0) == {"model": "fp", "weights": "mini", "max_error": 0}
    assert sweep.choose(bits_per_sample=good.bits_per_sample) == good.settings
    assert sweep.choose(ssim=0.5, bits_per_sample=99) == exact.settings
    for wanted, message in [
        ({}, "none"),
        ({"taste": 3}, "taste"),
        ({"bits_per_sample": 1e-4}, "reached"),
        ({"psnr": 99, "bits_per_sample": 1}, "psnr 99"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            sweep.choose(**wanted)


def test_views(sweep: tec_xarray.Sweep) -> None:
    table = sweep.to_dataframe()
    assert table["bytes"].tolist() == [p.bytes for p in sweep.points]
    rows = json.loads(sweep.to_json())["points"]
    assert rows[3]["psnr"] is None
    assert rows[0]["lam"] == 5
    assert "lossless" in str(sweep)
    assert len({len(line) for line in str(sweep).splitlines()[2:]}) == 1
    assert repr(sweep) == f"<Sweep of 4 settings over {sweep.where}>"
    assert sweep._repr_html_().count("<tr>") == 5
    assert sweep.plot(theme="dark").axes[0].get_xlabel().startswith("bits")


def test_the_window() -> None:
    scene = open_dataset()
    last = scene.tec.sweep(lams=[5], at=(3, 263, 10), ssim=False)
    assert last.where == "one chunk: time 0:4, y 0:264, x 0:264, 12 bands"
    assert last.shape == (4, 12, 264, 264)
    touched: list[int] = []

    def spy(block: np.ndarray) -> np.ndarray:
        touched.append(block.size)
        return block

    lazy = scene[["B03", "B04"]].isel(x=slice(0, 260)).chunk(time=1, y=64, x=260)
    one = lazy.map(lambda a: a.copy(data=a.data.map_blocks(spy, dtype=a.dtype, meta=a.data._meta)))
    small = one.isel(y=slice(0, 64)).tec.sweep(lams=[5], ssim=False, sensor="S2L2A")
    assert small.shape == (4, 2, 64, 260)
    assert math.isnan(small.points[0].ndvi_rmse)
    assert len(touched) == 8


def test_refusals() -> None:
    scene = open_dataset()[["B03"]].isel(y=slice(0, 40), x=slice(0, 40))
    empty = scene * np.uint16(0)
    for data, settings, message in [
        (scene, {"at": (0, 40, 0)}, "at = "),
        (scene, {"at": (0, 0)}, "at = "),
        (scene, {"qualities": [3]}, "flextec"),
        (scene, {"models": "jpeg"}, "jpeg"),
        (scene, {"lams": [-1]}, "lam"),
        (scene, {"lams": []}, "nothing to try"),
        (empty, {}, "no valid sample"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            data.tec.sweep(sensor="S2L2A", **settings)


@pytest.mark.slow
def test_flextec_by_tokens() -> None:
    scene = open_dataset().isel(time=[0], y=slice(0, 64), x=slice(0, 64))
    found = scene.tec.sweep(models=["flextec"], lams=[100], qualities=[4, 16], ssim=False)
    assert [p.label for p in found.points] == ["quality 4", "quality 16"]
    assert found.points[0].bytes < found.points[1].bytes
    assert found.points[0].psnr < found.points[1].psnr

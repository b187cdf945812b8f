"""The script that checks published checkpoints: numbers that are right, and others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import published
import terracodec_seeds as seeds
from benchmarks import published_golden as script

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "SIZE", 48)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    np.savez(tmp_path / "scene.npz", data=seeds.scene((2, 12, 60, 50))[0])
    return tmp_path / "scene.npz"


def golden(scene: Path, weights: Path) -> list[script.Golden]:
    """What these small weights cost, with what the published coder would add."""
    found = []
    for model, lam in published.LAMS.items():
        frames = 1 if model in ("fp", "elic") else 2
        quality = 5 if model == "flextec" else None
        blank = script.Golden(model, lam, (0,) * frames, quality)
        bits = script.measure(blank, str(weights), script.load(str(scene)))
        added = {"fp": 48, "elic": 11 * 48}.get(model, 0)
        rounded = tuple(round(b) + added for b in bits)
        found.append(script.Golden(model, lam, rounded, quality, tuple(b + 60 for b in rounded)))
    return found


def test_the_table(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = published.fill(tmp_path / "weights")
    right = golden(scene, weights)
    assert script.main([str(scene), "--weights", str(weights)], right) == 0
    out = capsys.readouterr().out
    assert out.count("agrees") == 6
    assert "DIFFERS" not in out
    # The published numbers themselves are of other weights, other rates and more dates.
    models = ["--models", "fp,flextec"]
    assert script.main([str(scene), "--weights", str(weights), *models]) == 1
    out = capsys.readouterr().out
    assert "no TerraCodec_v1_FP_S2L2A_lambda-2.pt" in out
    assert "DIFFERS" in out
    assert "needs 4 dates, there are 2" in out


@pytest.mark.parametrize(
    ("model", "frame", "least", "most"),
    [
        ("fp", 0, 9886, 10018),
        ("elic", 0, 9250, 9696),
        ("tt", 1, 9950, 10050),
        ("flextec", 1, 0, 11000),
    ],
)
def test_what_is_allowed(model: str, frame: int, least: int, most: int) -> None:
    item = script.Golden(model, 10, (10000, 10000), 2, (11000, 11000))
    found = item.allowed(frame)
    assert found == pytest.approx((least, most), abs=1)


def test_rasters(tmp_path: Path, scene: Path) -> None:
    import rioxarray  # noqa: F401 (registers .rio)
    import xarray as xr

    cube = np.load(scene)["data"].astype(np.int16)
    for t, image in enumerate(cube):
        xr.DataArray(image, dims=("band", "y", "x")).rio.to_raster(tmp_path / f"s_{t}.tif")
    found = script.load(str(tmp_path / "s_*.tif"))
    np.testing.assert_array_equal(found, script.load(str(scene)))
    with pytest.raises(ValueError, match="no file matches"):
        script.load(str(tmp_path / "t_*.tif"))
    np.savez(tmp_path / "short.npz", data=cube[:, :, :20])
    with pytest.raises(ValueError, match="allowed"):
        script.load(str(tmp_path / "short.npz"))

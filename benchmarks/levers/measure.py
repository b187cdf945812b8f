"""Scenes of the measurements, curves of rate and distortion, and differences of them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.levers import native
from benchmarks.levers.coder import Coded, Levers, encode, rate_of
from benchmarks.levers.native import Native
from benchmarks.levers.transform import Scene
from benchmarks.metrics import Curve, Point, bd_rate, psnr
from tec_numcodecs.sensors import get_sensor

Int32Array = NDArray[np.int32]
LAMS = (0.4, 1.5, 6, 25, 100, 400, 1600, 6400)
RANGE = (32, 50)
#: Bands of the native grids of Sentinel-2.
GRIDS = {
    10: ("B02", "B03", "B04", "B08"),
    20: ("B05", "B06", "B07", "B8A", "B11", "B12"),
    60: ("B01", "B09", "B10"),
}


def load(
    data: Path, name: str, side: int = 256, dates: Sequence[int] | None = None, top: int = 0
) -> Scene:
    """Read a scene and cut it to a square of at most ``side`` pixels, a multiple of 32.

    Raises
    ------
    ValueError
        If it belongs to the test split.
    """
    with (data / "MANIFEST.tsv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file, delimiter="\t")}
    row = rows[f"{name}.npz"]
    if row["split"] == "test":
        raise ValueError(f"{name}: test scenes are measured once, at the end")
    with np.load(data / f"{name}.npz", allow_pickle=False) as archive:
        cube = np.rint(archive["data"]).astype(np.int32)
        bands = [str(b) for b in archive["bands"]]
    if dates is not None:
        cube = cube[list(dates)]
    side = min(side, *(n - top for n in cube.shape[2:]))
    side = side // 32 * 32 if side >= 64 else side // 2 * 2
    return scene_of(name, cube[..., top : top + side, top : top + side], bands, row["level"])


def scene_of(name: str, cube: Int32Array, bands: Sequence[str], level: str) -> Scene:
    """A scene from a cube, bands brought to the sensor's order."""
    sensor = get_sensor(f"sentinel-2-{level.lower()}")
    indices = [sensor.bands.index(b) for b in bands]
    order = np.argsort(indices)
    ordered = np.ascontiguousarray(cube[:, order])
    return Scene(name, ordered, sensor, tuple(sorted(indices)))


def own_grids(data: Path, side: int, phase: int, *, base: int = 10) -> Scene:
    """The scene whose bands come on their own grids, brought to one grid by nearest neighbor.

    Parameters
    ----------
    data : Path
    side : int
        Of the result.
    phase : int
        0 .. 3: whether rows (2) and columns (1) begin in the middle of a 20 m pixel.
    base : int
        Pixel size of the result: 10, or 20 (bands of 10 m are left out then).
    """
    with np.load(data / "dsen2_T33UUB_native.npz", allow_pickle=False) as archive:
        grids = {r: archive[f"im{r}"].astype(np.int32) for r in (10, 20, 60)}
        names = {r: [str(b) for b in archive[f"bands{r}"]] for r in (10, 20, 60)}
    planes, bands = [], []
    top, left = phase // 2, phase % 2
    for meters, images in grids.items():
        if meters < base:
            continue
        factor = meters // base
        for image, band in zip(images.reshape(-1, *images.shape[-2:]), names[meters], strict=True):
            big = image.repeat(factor, axis=0).repeat(factor, axis=1)
            planes.append(big[top : top + side, left : left + side])
            bands.append(band)
    return scene_of(f"dsen2 {base} m, phase {phase}", np.stack(planes)[None], bands, "L1C")


def point(scene: Scene, coded: Coded) -> Point:
    """Rate and PSNR of one encode."""
    mse = float(np.square(coded.pixels - scene.data, dtype=np.float64).mean())
    return {
        "bytes": coded.size,
        "bpppb": 8 * coded.size / scene.data.size,
        "psnr": psnr(mse) if mse else None,
    }


def points(scene: Scene, model: str, levers: Levers, lams: Sequence[float] = LAMS) -> list[Point]:
    """Encode a scene at several rates."""
    return [point(scene, encode(scene, model, rate_of(lam), levers)) for lam in lams]


def gain(
    base: Sequence[Point], found: Sequence[Point], low: float = RANGE[0], high: float = RANGE[1]
) -> float:
    """Bits at equal PSNR against a base, less one; NaN where the curves do not meet."""
    return bd_rate(Curve.of(base), Curve.of(found), low, high)


def native_samples(scene: Scene) -> int:
    """Samples that are not copies of others."""
    t, _, height, width = scene.data.shape
    found = native.detect(scene.data)
    return t * sum(_samples(band, height, width) for band in found)


def _samples(band: Native, height: int, width: int) -> int:
    down = (height - 1 + band.phase[0]) // band.factor + 1
    return down * ((width - 1 + band.phase[1]) // band.factor + 1)

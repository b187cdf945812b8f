"""The images on which rate and distortion are measured.

- ``test``: four seasons of one place, which ship with the package; the top-left 256 x 256 pixels.
- ``val``: nine crops of scenes in a directory with a ``MANIFEST.tsv``, which names for each file
  its source, license, bands and split. Models are chosen on these, never on ``test``.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.sensors import get_sensor

Pixels = NDArray[np.uint16]

TEST_SIZE = 256
#: File (without .npz) and the crops of it: top, left, side in pixels.
VAL_CROPS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "majortom_0U_199R_se": ((0, 0, 256), (256, 256, 256)),
    "majortom_199U_1099R_se": ((0, 0, 256), (256, 256, 256)),
    "terramind_S2L2A_637U_59R_1_3": ((0, 0, 224),),
    "hydro_1": ((0, 0, 256),),
    "ben_S2A_20180510T94033_19_86": ((0, 0, 96),),
    "ben_S2B_20170914T093029_32_39": ((0, 0, 96),),
    "ben_S2B_20170927T094019_66_56": ((0, 0, 96),),
}

#: What a reader of results should know.
NOTES = {
    "test": "Four seasons of one place in no training or validation set.",
    "val": "Four of the images are other parts of two scenes that models are trained on, and "
    "models are chosen on this split: it is optimistic.",
}


@dataclass(frozen=True)
class Scene:
    """A cube of digital numbers, all 12 bands of Sentinel-2 L2A in their usual order."""

    name: str
    data: Pixels  # (T, C, H, W)

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of shape and pixels."""
        content = np.ascontiguousarray(self.data, "<u2").tobytes()
        return hashlib.sha256(repr(self.data.shape).encode() + content).hexdigest()[:16]

    def images(self) -> Iterator[Scene]:
        """Iterate over the dates, each a scene of its own with T = 1."""
        for t in range(len(self.data)):
            name = f"{self.name}_{t}" if len(self.data) > 1 else self.name
            yield Scene(name, self.data[t : t + 1])


def load(split: str, data: Path | None = None) -> list[Scene]:
    """Load the scenes of a split.

    Parameters
    ----------
    split : {"test", "val"}
    data : Path, optional
        Directory with the ``val`` scenes and their manifest.

    Returns
    -------
    list of Scene

    Raises
    ------
    ValueError
        If the directory is needed and missing, or its manifest says something else.
    """
    if split == "test":
        return [_test()]
    if split != "val":
        raise ValueError(f"split {split!r}; allowed: 'test', 'val'")
    if data is None:
        raise ValueError("the val scenes are not in the package; say where they are: --data DIR")
    return _val(data)


def _test() -> Scene:
    from tec_xarray.tutorial import open_dataset

    cube = open_dataset("0173706", layout="cube")["reflectance"].to_numpy()
    return Scene("0173706", np.ascontiguousarray(cube[..., :TEST_SIZE, :TEST_SIZE]))


def _val(directory: Path) -> list[Scene]:
    with (directory / "MANIFEST.tsv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file, delimiter="\t")}
    scenes = []
    for stem, crops in VAL_CROPS.items():
        row = rows.get(f"{stem}.npz")
        if row is None:
            raise ValueError(f"{stem}.npz is not in {directory / 'MANIFEST.tsv'}")
        bands = tuple(row["bands"].split(","))
        if row["split"] != "val" or bands != get_sensor("sentinel-2-l2a").bands:
            raise ValueError(f"{stem}: split {row['split']}, bands {bands}; not a val scene")
        with np.load(directory / f"{stem}.npz", allow_pickle=False) as archive:
            cube = archive["data"]  # (T, C, H, W)
        for top, left, side in crops:
            crop = cube[:1, :, top : top + side, left : left + side]
            scenes.append(Scene(f"{stem}_{top}_{left}", np.ascontiguousarray(crop)))
    return scenes

"""Check published checkpoints against the numbers that TerraCodec's own notebooks print.

    python -m benchmarks.published_golden 'examples/S2L2A_images/ssl4eos12_val_0080717_*.tif'

The images are in the repository IBM/TerraCodec; the top-left 256 x 256 pixels are used. Weights
come from the hub (or from TEC_WEIGHTS_DIR, see ``tec weights fetch --help``); ``--weights DIR``
names another directory with them. TEC-TT and FlexTEC take minutes.

What is compared is what a stream costs under the entropy model, which does not depend on the coder:

* TEC-FP and TEC-ELIC: the notebooks print coded bits. Their coder adds 32 to 64 bits a stream, and
  there are 1 and 11 streams; what is left must agree to 0.5 %.
* TEC-TT: likelihood bits of each frame, which must agree to 0.5 %.
* FlexTEC: the same for frame 0. Later frames see other contexts there (training does not quantize
  them as a decoder does), so that only an upper bound is known: its own coder, which squashes the
  scales, must need more.

Exit code 0: everything agrees; 1: something does not, or could not be had.
"""

from __future__ import annotations

import argparse
import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tec_numcodecs.errors import TecError
from tec_numcodecs.models import loading
from tec_numcodecs.models.terracodec.tensors import ImageCodec, SequenceCodec
from tec_numcodecs.models.weights_lookup import choose
from tec_numcodecs.sensors import get_sensor

SIZE = 256
AGREE = 0.005  # relative
STREAM = (32, 64)  # bits that the published coder adds to each stream, at least and at most

SENSOR = get_sensor("sentinel-2-l2a")


@dataclass(frozen=True)
class Golden:
    """What a notebook prints for one model.

    Attributes
    ----------
    model : str
    lam : float
    quality : int or None
    bits : tuple of int
        Of the first frames: coded for fp and elic, of the likelihood for tt and flextec.
    coded : tuple of int
        Coded bits, where `bits` are others.
    """

    model: str
    lam: float
    bits: tuple[int, ...]
    quality: int | None = None
    coded: tuple[int, ...] = ()

    @property
    def frames(self) -> int:
        """How many frames must be given."""
        return len(self.bits)

    def allowed(self, frame: int) -> tuple[float, float]:
        """Return the least and the most that a frame may cost here."""
        bits = self.bits[frame]
        if self.model in ("fp", "elic"):
            streams = 1 if self.model == "fp" else 11
            least, most = (bits - streams * added for added in STREAM[::-1])
            return least * (1 - AGREE), most * (1 + AGREE)
        if self.model == "flextec" and frame:
            return 0.0, float(self.coded[frame])
        return bits * (1 - AGREE), bits * (1 + AGREE)


#: From the notebooks of IBM/TerraCodec, scene ssl4eos12_val_0080717.
GOLDEN = (
    Golden("fp", 2, (11584,)),
    Golden("fp", 10, (30944,)),
    Golden("fp", 40, (70080,)),
    Golden("elic", 2, (12800,)),
    Golden("elic", 10, (32544,)),
    Golden("elic", 40, (68352,)),
    Golden("tt", 20, (52337, 33213, 47902, 41763), coded=(53312, 34144, 48768, 42720)),
    Golden(
        "flextec", 800, (20058, 18831, 19875, 19820), 1, coded=(23232, 23520, 23232, 27488)
    ),
    Golden(
        "flextec", 800, (35997, 32167, 35819, 35356), 2, coded=(39328, 37152, 40192, 44448)
    ),
    Golden(
        "flextec", 800, (105550, 90026, 104690, 102395), 8,
        coded=(109408, 94464, 110656, 107520),
    ),
)  # fmt: skip


def load(pattern: str) -> NDArray[np.float32]:
    """Read a scene, standardized: [T, 12, 256, 256].

    Parameters
    ----------
    pattern : str
        GDAL rasters, one a date, or one .npz file with ``data`` (T, C, H, W); digital numbers.

    Raises
    ------
    ValueError
        There is nothing, or nothing of that shape.
    """
    paths = sorted(glob.glob(pattern))  # noqa: PTH207 (an absolute pattern is as good)
    if not paths:
        raise ValueError(f"no file matches {pattern}")
    if Path(paths[0]).suffix == ".npz":
        with np.load(paths[0], allow_pickle=False) as archive:
            cube = archive["data"]
    else:
        import rioxarray

        cube = np.stack([np.asarray(rioxarray.open_rasterio(path)) for path in paths])
    bands = len(SENSOR.bands)
    if cube.ndim != 4 or cube.shape[1] != bands or min(cube.shape[2:]) < SIZE:
        raise ValueError(f"{pattern}: shape {cube.shape}; allowed: (T, {bands}, >=256, >=256)")
    mean, std = (np.asarray(v)[:, None, None] for v in (SENSOR.mean, SENSOR.std))
    crop = cube[:, :, :SIZE, :SIZE].astype(np.float64)
    return ((crop - mean) / std).astype(np.float32)


def measure(golden: Golden, weights: str, scene: NDArray[np.float32]) -> list[float]:
    """Return what each frame costs here, in bits."""
    found = choose(weights, golden.model, SENSOR, lam=golden.lam)
    model = loading.load(golden.model, found.weights)
    x = torch.from_numpy(scene[: golden.frames])
    if golden.model in ("fp", "elic"):
        codec: Any = ImageCodec(model, found.weights, found.lam)
        return list(codec.compress(x)["frame_bits"])
    codec = SequenceCodec(model, found.weights, found.lam)
    return list(codec.compress(x[None], quality=golden.quality)["frame_bits"])


def check(golden: Golden, weights: str, scene: NDArray[np.float32]) -> tuple[list[str], bool]:
    """Return lines of the table for one model, and whether all frames agree."""
    name = f"{golden.model} lam {golden.lam:g}"
    if golden.quality is not None:
        name += f" quality {golden.quality}"
    if golden.frames > len(scene):
        return [f"{name:<26}needs {golden.frames} dates, there are {len(scene)}"], False
    try:
        costs = measure(golden, weights, scene)
    except TecError as error:
        return [f"{name:<26}{error}"], False
    lines, agree = [], True
    for frame, bits in enumerate(costs):
        least, most = golden.allowed(frame)
        good = least <= bits <= most
        agree &= good
        lines.append(
            f"{name:<26}{frame:>5}{golden.bits[frame]:>12,}{bits:>14,.0f}"
            f"{least:>12,.0f}{most:>10,.0f}  {'agrees' if good else 'DIFFERS'}"
        )
    return lines, agree


def main(arguments: Sequence[str] | None = None, golden: Sequence[Golden] = GOLDEN) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("images", help="pattern of the rasters, or an .npz file")
    parser.add_argument("--weights", default="terracodec-1.0", help="or a directory")
    parser.add_argument("--models", default="fp,elic,tt,flextec")
    options = parser.parse_args(arguments)
    scene = load(options.images)
    print(f"{'model':<26}{'frame':>5}{'published':>12}{'bits here':>14}{'allowed':>17}")
    everything = True
    for item in golden:
        if item.model in options.models.split(","):
            lines, agree = check(item, options.weights, scene)
            print("\n".join(lines), flush=True)
            everything &= agree
    return 0 if everything else 1


if __name__ == "__main__":
    raise SystemExit(main())

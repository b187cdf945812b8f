"""Write golden chunks: once, when the format or the bundled weights have been released.

    python tests/conformance/golden/make.py

Chunks that exist are never written again: they stand for what earlier versions wrote.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from tec_numcodecs.chunk import decode, encode
from tec_numcodecs.config import CodecConfig
from tec_xarray import tutorial

HERE = Path(__file__).parent
FOUR = ["B02", "B03", "B04", "B08"]


def cases():
    """Names, arrays and settings."""
    cube = tutorial.open_dataset("0173706", layout="cube")
    (name,) = cube.data_vars
    scene = cube[name].values.astype(np.uint16)  # (4, 12, 264, 264)
    small = scene[:2, :, 100:148, 60:124]
    holes = small.copy()
    holes[:, :, :9, 20:] = 0
    four = small[:, [1, 2, 3, 7]]
    reflectance = (four / 10_000).astype(np.float32)
    reflectance[0, 1, 3:7, 5:11] = np.nan
    yield "fp-uint16-nodata", holes, {"lam": 20}
    yield "fp-uint16-fine", small[:1, :, :33, :47], {"lam": 5000}
    yield "fp-int16-offset", (four.astype(np.int32) - 9000).astype(np.int16), {
        "lam": 100, "bands": FOUR, "offset": -9000, "nodata": None,
    }  # fmt: skip
    yield "fp-float32-nan", reflectance, {"lam": 50, "bands": FOUR, "units": "reflectance"}
    yield "fp-big-endian-shuffled", four[:, [3, 0, 2, 1]].astype(">u2"), {
        "lam": 50, "bands": ["B08", "B02", "B04", "B03"],
    }  # fmt: skip
    yield "fp-l1c", np.concatenate([small, small[:, :1]], 1), {
        "lam": 20, "sensor": "sentinel-2-l1c",
    }  # fmt: skip
    yield "fp-bound", four, {"max_error": 25, "bands": FOUR}
    yield "fp-bound-by-band", reflectance, {
        "max_error": [0.01, 0.02, 0.01, 0.03], "bands": FOUR, "units": "reflectance",
    }  # fmt: skip
    yield "fp-lossless", four[:1, :, :20, :21], {"max_error": 0, "bands": FOUR}
    yield "lossless-float32", reflectance[:1, :, :9], {
        "max_error": 0, "bands": FOUR, "units": "reflectance",
    }  # fmt: skip
    three = scene[:3, :, 100:133, 60:107]
    yield "elic-uint16-nodata", holes, {"model": "elic", "lam": 20}
    yield "elic-fine", small[:1, :, :17, :23], {"model": "elic", "lam": 60_000}
    yield "elic-float32-bound", reflectance, {
        "model": "elic", "max_error": 0.01, "bands": FOUR, "units": "reflectance",
    }  # fmt: skip
    yield "elic-l1c", np.concatenate([small, small[:, :1]], 1), {
        "model": "elic", "lam": 20, "sensor": "sentinel-2-l1c",
    }  # fmt: skip
    yield "tt-three-dates", three, {"model": "tt", "lam": 50}
    yield "tt-int16", three[:, [1, 2, 3, 7]].astype(np.int16), {
        "model": "tt", "lam": 700, "bands": FOUR,
    }  # fmt: skip
    yield "flextec-all", small, {"model": "flextec", "lam": 100}
    yield "flextec-some", four, {"model": "flextec", "lam": 100, "quality": 7, "bands": FOUR}
    yield "empty", np.zeros((4, 12, 256, 256), np.uint16), {"lam": 20}
    signed = (four[:, :, :30, :41].astype(np.int32) - 9000).astype(">i2")
    signed[np.random.default_rng(0).random(signed.shape) < 0.02] = -32768  # another in each band
    yield "fp-int16-bound-and-mask-by-band", signed, {
        "max_error": [3, 60, 0, 400], "bands": FOUR, "offset": -9000, "nodata": -32768,
    }  # fmt: skip
    both = reflectance[..., :25, :27].astype(">f4")
    both[1, :, 10:, :4] = -9999
    yield "fp-float32-two-masks", both, {
        "psnr": 45, "bands": FOUR, "units": "reflectance", "nodata": -9999,
    }  # fmt: skip
    yield "lossless-uint16-noise", noise(), {"max_error": 0, "bands": FOUR, "nodata": None}
    nothing = np.where(both > 0.15, np.nan, np.float32(0.5)).astype(np.float32)
    yield "empty-two-masks", nothing, {
        "bpppb": 0.1, "bands": FOUR, "units": "reflectance", "nodata": 0.5,
    }  # fmt: skip


def noise():
    """What no model makes smaller."""
    return np.random.default_rng(0).integers(0, 65536, (1, 4, 9, 8)).astype(np.uint16)


def write_cube() -> None:
    """Write a whole archive, sharded, with edges, as a zip file: bound and target together."""
    path = HERE / "cube.zarr.zip"
    if path.exists():
        return
    scene = tutorial.open_dataset("0173706")[["B02", "B03", "B04", "B08"]]
    part = scene.isel(time=slice(3), y=slice(100, 150), x=slice(60, 110))
    with tempfile.TemporaryDirectory() as folder:
        part.tec.compress(
            psnr=40, max_error=[50, 50, 60, 200], store=folder, mode="w",
            chunks=(2, 4, 24, 24), shards=(2, 4, 48, 48),
        )  # fmt: skip
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(Path(folder).rglob("*")):
                if file.is_file():
                    name = zipfile.ZipInfo(str(file.relative_to(folder)))
                    archive.writestr(name, file.read_bytes(), zipfile.ZIP_DEFLATED)


def main() -> None:
    """Write what is not there yet."""
    index_path = HERE / "index.json"
    index = json.loads(index_path.read_text()) if index_path.exists() else {}
    for name, array, settings in cases():
        if name in index:
            continue
        config = CodecConfig.parse(**settings)
        (data,) = encode([array], config)
        (found,) = decode([data], config)
        (HERE / f"{name}.tec").write_bytes(data)
        index[name] = {
            "weights": config.weights.sha256,
            "shape": list(found.shape),
            "dtype": found.dtype.str,
            "sha256": hashlib.sha256(found.tobytes()).hexdigest(),
        }
        sys.stdout.write(f"{name}: {len(data)} bytes\n")
    index_path.write_text(json.dumps(index, indent=2) + "\n")
    write_cube()


if __name__ == "__main__":
    main()

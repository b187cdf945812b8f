"""Write golden chunks: once, when the format or the bundled weights have been released.

    python tests/golden/make.py

Chunks that exist are never written again: they stand for what earlier versions wrote.
"""

from __future__ import annotations

import hashlib
import json
import sys
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
    yield "empty", np.zeros((4, 12, 256, 256), np.uint16), {"lam": 20}


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


if __name__ == "__main__":
    main()

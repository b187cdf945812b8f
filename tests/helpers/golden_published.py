"""Golden chunks of the published architectures: their weights, and how they were written.

    python tests/helpers/golden_published.py

writes what is not there yet. Weights are a pure function of a name (`terracodec_seeds.Hashed`), so
none are stored: freezing them must give the digest that the chunks carry. Chunks that exist are
never written again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import terracodec_seeds as seeds
from tec_numcodecs.models.terracodec.importing import Imported, import_checkpoint

HERE = Path(__file__).parents[1] / "conformance" / "golden" / "published"
INDEX = HERE / "index.json"
SEED = "tec golden 1"
_TEMPORAL = "model.transform.synthesis_transform.transforms.14"
LAST = {"fp": "g_s.6", "elic": "g_s.14", "tt": _TEMPORAL, "flextec": _TEMPORAL}
SHRINK = {"fp": 2.0**-10, "elic": 2.0**-11, "tt": 2.0**-8, "flextec": 2.0**-9}
SAMPLES = 61  # every 61st pixel is in the index


def imported(model: str, directory: Path) -> Imported:
    """Freeze the weights of a model into a directory."""
    if model == "fp":
        state = seeds.fp_state(SEED)
    elif model == "elic":
        state = seeds.elic_state(SEED)
    else:
        state = seeds.tt_state(SEED, flexible=model == "flextec")
    for part in ("weight", "bias"):
        # Random networks amplify; pixels in the range of data show an error of one as one.
        state[f"{LAST[model]}.{part}"] *= SHRINK[model]
    # Not torch.save: its bytes, and so the digest of the source, differ between versions.
    from tec_numcodecs.weights.safetensors_io import save

    source = directory / f"golden-{model}.safetensors"
    save(source, {key: value.numpy() for key, value in state.items()})
    return import_checkpoint(source, model=model, directory=directory)


def cases() -> dict[str, tuple[str, Any, dict[str, Any]]]:
    """Names, models, arrays and settings."""
    cube = np.maximum(seeds.scene((3, 12, 70, 40))[0], 1).astype(np.uint16)
    holes = cube[:, :, :40, :36].copy()
    holes[:, :, 30:, :9] = 0
    four = ["B08", "B02", "B04", "B03"]
    reflectance = (cube[:1, [7, 1, 3, 2], :33, :20] / 10_000).astype(np.float32)
    reflectance[0, 1, 3:7, 5:11] = np.nan
    return {
        "fp": ("fp", holes, {}),
        "fp-float32-bands": ("fp", reflectance, {"bands": four, "units": "reflectance"}),
        "elic": ("elic", cube[:1], {}),
        "tt": ("tt", holes, {}),
        "flextec-5": ("flextec", holes[:2], {"quality": 5}),
        "flextec-16": ("flextec", cube[:1, :, :16, :16], {}),
        # With exact pixels and a residual.
        "fp-bound": ("fp", holes[:1, :, :20, :20], {"max_error": 900}),
        "elic-bound": ("elic", cube[:1, :, :20, :24], {"max_error": 900}),
        "tt-bound": ("tt", cube[:2, :, :17, :20], {"max_error": 900}),
    }


def main() -> None:
    """Write what is not there yet."""
    from tec_numcodecs.chunk import decode, encode
    from tec_numcodecs.config import CodecConfig

    torch.set_num_threads(1)
    index = json.loads(INDEX.read_text()) if INDEX.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TEC_WEIGHTS_DIR"] = scratch
        for name, (model, array, settings) in cases().items():
            if name in index:
                continue
            weights = imported(model, Path(scratch)).weights
            config = CodecConfig.parse(model=model, weights=weights, **settings)
            (data,) = encode([array], config)
            (found,) = decode([data], config)
            (HERE / f"{name}.tec").write_bytes(data)
            index[name] = {
                "model": model,
                "weights": weights.sha256,
                "shape": list(found.shape),
                "dtype": found.dtype.str,
                "sha256": hashlib.sha256(found.tobytes()).hexdigest(),
                "samples": [
                    None if math.isnan(v) else v for v in found.ravel()[::SAMPLES].tolist()
                ],
            }
            sys.stdout.write(f"{name}: {len(data)} bytes\n")
    INDEX.write_text(json.dumps(index) + "\n")


if __name__ == "__main__":
    main()

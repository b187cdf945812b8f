"""Run as a program: code fixed latents with small networks and print one digest of everything.

Called by test_terracodec_portable.py under different processors' instruction sets, thread counts
and torch settings; every run must print the same line.
"""

from __future__ import annotations

import argparse
import hashlib

import numpy as np
import torch

import terracodec_seeds as seeds
from tec_numcodecs.models.base import Latents, Model, Rate
from tec_numcodecs.models.terracodec import elic, flextec, fp, tt
from tec_numcodecs.models.terracodec.exact import integer_gemm, layers
from tec_numcodecs.options import set_options


def _hostile() -> None:
    """Everything that a notebook may have done to torch before it reads an archive."""
    torch.set_default_dtype(torch.float16)
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("medium")
    torch.backends.mkldnn.enabled = False


def _models(*, published: bool) -> list[tuple[Model, Rate]]:
    if published:
        return [(tt.TemporalTransformer(tt.freeze(seeds.published_tt_state())), Rate(0))]
    return [
        (fp.FactorizedPrior(fp.freeze(seeds.fp_state())), Rate(0)),
        (elic.Elic(elic.freeze(seeds.elic_state())), Rate(0)),
        (tt.TemporalTransformer(tt.freeze(seeds.tt_state())), Rate(0)),
        (flextec.FlexTec(flextec.freeze(seeds.tt_state(flexible=True))), Rate(0, 3)),
    ]


def _wide_layer() -> bytes:
    """A layer large enough for the byte carrier, with rows of all magnitudes."""
    rng = np.random.default_rng(5)
    weight = torch.from_numpy(rng.standard_normal((200, 768)).astype(np.float32))
    layer = layers.Linear.frozen(weight, weight[:, 0])
    x = torch.from_numpy(rng.standard_normal((70, 768)) * np.logspace(-310, 30, 70)[:, None])
    norm = layers.LayerNorm(*(torch.ones(200, dtype=torch.float64) for _ in range(2)))
    return layers.gelu_(norm(layer(x))).numpy().tobytes()


def main() -> None:
    """Print the digest."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--carrier", default="auto")
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--published", action="store_true", help="TT of the published size alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Freezing must be a pure function too, but settings come after import.
    models = _models(published=options.published)
    if options.hostile:
        _hostile()
    if options.carrier != "int8" or integer_gemm.int8_is_exact():
        integer_gemm.set_carrier(options.carrier)
    sha = hashlib.sha256(_wide_layer())
    set_options(device=options.device)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.hostile):
        for model, rate in models:
            _, geometry = seeds.scene((2, 12, 64, 64))
            count = _symbol_count(model)
            # Not from a cube: analysis is floating point and may differ between machines.
            symbols = np.rint(3 * np.random.default_rng(1).standard_normal(count)).astype(np.int32)
            (stream,) = model.entropy_encode([Latents(geometry, rate, symbols)])
            (decoded,) = model.entropy_decode([stream], [geometry], [rate])
            if not np.array_equal(decoded.symbols, symbols):
                raise SystemExit(f"{model.name} does not decode its own stream")
            sha.update(stream)
            (pixels,) = model.exact().synthesis([Latents(geometry, rate, symbols)])
            sha.update(pixels.tobytes())
    print(sha.hexdigest())  # noqa: T201


def _symbol_count(model: Model) -> int:
    if isinstance(model, fp.FactorizedPrior):
        return 2 * model.channels * 16
    if isinstance(model, elic.Elic):
        return 2 * (model.channels * 16 + model.hyper_channels)
    if isinstance(model, flextec.FlexTec):
        return 2 * 3 * model.channels
    return 2 * 16 * model.channels  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()

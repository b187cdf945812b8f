"""Run as a program: code invented latents with the context models and print one digest.

Called by test_mini_context.py under different instruction sets, thread counts and torch settings;
every run must print the same line.
"""

from __future__ import annotations

import argparse
import hashlib

import numpy as np
import torch

import mini_weights as mini
from tec_numcodecs.models.base import Rate
from tec_numcodecs.options import set_options


def _hostile() -> None:
    """Everything that a notebook may have done to torch before it reads an archive."""
    torch.set_default_dtype(torch.float64)
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("medium")
    torch.autocast("cpu", dtype=torch.bfloat16).__enter__()


def main() -> None:
    """Print the digest."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--hostile", action="store_true")
    options = parser.parse_args()
    if options.hostile:
        _hostile()
    sha = hashlib.sha256()
    where = mini.geometry((2, 12, 44, 37))
    rates = [Rate(index) for index in (110, 150, 0)]
    with set_options(threads=options.threads, batch_size=options.batch):
        for kind in mini.MODELS:
            model = kind(mini.arrays(kind.name))
            latents = [mini.invented(kind, where, rate, seed) for seed, rate in enumerate(rates)]
            payloads = model.entropy_encode(latents)
            decoded = model.entropy_decode(payloads, [where] * 3, rates)
            for payload, item, pixels in zip(
                payloads, decoded, model.synthesis(decoded), strict=True
            ):
                sha.update(payload)
                sha.update(item.symbols.astype("<i4").tobytes())
                sha.update(np.ascontiguousarray(pixels, "<i4").tobytes())
    print(sha.hexdigest())  # noqa: T201


if __name__ == "__main__":
    main()

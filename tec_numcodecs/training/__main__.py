"""``python -m tec_numcodecs.training elic --minutes 120 --data scenes --out run``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch

from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.training import data
from tec_numcodecs.training.augment import Sampler
from tec_numcodecs.training.codebooks import read_codebooks
from tec_numcodecs.training.likelihood import Mixture
from tec_numcodecs.training.loop import Settings, Trainer
from tec_numcodecs.training.network import ContextNet
from tec_numcodecs.training.validation import tiles, validate
from tec_numcodecs.training.wavelet import Spectra


def main() -> None:
    """Parse the command line and train."""
    arguments = _parser().parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    os.nice(10)
    if (Path(arguments.data) / "MANIFEST.tsv").is_file():
        train = data.read_directory(Path(arguments.data), "train")
        val = data.read_directory(Path(arguments.data), "val")
    else:
        train = val = data.read_cube(arguments.data)
    books = read_codebooks(arguments.codebooks)
    spectra = {
        name: Spectra(get_sensor(name), book, first) for name, (first, book) in books.items()
    }
    net, mixture = ContextNet(), Mixture()
    crops = tiles(val)
    settings = Settings(
        minutes=arguments.minutes,
        batch=arguments.batch,
        rate=arguments.rate,
        fake_from=arguments.fake_from,
        optimised_from=arguments.optimised_from,
        referenced={"elic": 0.0, "tt": 0.4, "flextec": 0.6}[arguments.model],
        refined=0.5 if arguments.model == "flextec" else 0.0,
    )
    trainer = Trainer(
        net,
        mixture,
        Sampler(train, arguments.size, arguments.seed),
        spectra,
        settings,
        Path(arguments.out),
        lambda coder: validate(coder, crops, spectra),
    )
    if not trainer.resume() and arguments.start:
        trainer.start_from(Path(arguments.start))
    trainer.sampler.rng = np.random.default_rng((arguments.seed, trainer.steps))
    trainer.run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tec_numcodecs.training")
    parser.add_argument("model", choices=("elic", "tt", "flextec"))
    parser.add_argument("--data", required=True, help="directory with MANIFEST.tsv, or a Zarr cube")
    parser.add_argument(
        "--out", required=True, help="directory of checkpoints; resumes if it exists"
    )
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", help="checkpoint whose averaged weights to begin with")
    parser.add_argument("--fake-from", type=float, default=0.7)
    parser.add_argument("--optimised-from", type=float, default=0.4)
    parser.add_argument("--codebooks", help="weights file to take them from; default: bundled")
    return parser


if __name__ == "__main__":
    main()

"""``python -m tec_numcodecs.training elic --minutes 120 --data scenes --out run``.

Three commands in one: sample (crops are coded, what networks see goes to shards), fit, freeze. The
name of a model does all three, one after another; each can be run, stopped and gone on with alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from tec_numcodecs.models.mini.elic import MiniElic
from tec_numcodecs.models.mini.flextec import MiniFlex
from tec_numcodecs.models.mini.tt import MiniTT
from tec_numcodecs.training import data, freeze
from tec_numcodecs.training.dataset.augment import Sampler
from tec_numcodecs.training.dataset.sample_files import (
    Source,
    make_shards,
    read_shards,
    validation_shard,
)
from tec_numcodecs.training.fit_networks import Fit, Settings
from tec_numcodecs.weights import local_store, safetensors_io

_CLASSES = {"elic": MiniElic, "tt": MiniTT, "flextec": MiniFlex}


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train."""
    options = _parser().parse_args(arguments)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    for step in ("sample", "fit", "freeze") if options.step == "all" else (options.step,):
        {"sample": _sample, "fit": _fit, "freeze": _freeze}[step](options)


def _sample(options: argparse.Namespace) -> None:
    """Write shards under ``out/shards``."""
    train, val = _scenes(options)
    arrays = _start(options)
    model = _CLASSES[options.model](arrays)
    rng = np.random.default_rng((options.seed, 1))
    source = Source(model, rng, guess="training.trained" not in arrays, finest=options.finest)
    shards = Path(options.out) / "shards"
    pairs = options.model == "tt"
    if options.seed == 0:
        validation_shard(source, val, Path(options.out) / "val.npz", pairs)
    sampler = Sampler(train, options.size, options.seed)
    make_shards(source, sampler, shards, options.sample_minutes, pairs, rng)


def _fit(options: argparse.Namespace) -> None:
    """Fit networks to the shards."""
    out = Path(options.out)
    family = freeze.make_family(options.model, options.width)
    arrays = _start(options)
    if "training.trained" in arrays or options.model != "elic":
        family.thaw(freeze.PREFIX[options.model], arrays)
    limit = options.samples * 1_000_000
    train = read_shards(sorted((out / "shards").glob("*.npz")), limit)
    val = read_shards([out / "val.npz"], limit)
    settings = Settings(
        minutes=options.minutes,
        rate=options.rate,
        decay=options.decay,
        finest=options.finest,
    )
    # Tables are those of the mixture that elic has; the others learn to live with it.
    mixture = options.model == "elic" and not options.keep_mixture
    fit = Fit(family, train, val, settings, out, options.seed, mixture=mixture)
    fit.resume()
    fit.run()


def _freeze(options: argparse.Namespace) -> None:
    """Write ``out/weights.safetensors``."""
    train, _ = _scenes(options)
    out = Path(options.out)
    arrays = freeze.freeze(_start(options), {options.model: out / "last.pt"})
    arrays["training.trained"] = np.ones(1, np.int8)
    if options.model == "elic":
        arrays = freeze.calibrate(arrays, train, options.crops)
    if options.model == "flextec":
        arrays = freeze.calibrate_passes(arrays, train, options.crops)
    path = out / "weights.safetensors"
    digest = safetensors_io.save(path, freeze.only(options.model, arrays))
    if options.register:
        freeze.register(options.model, options.register, path, digest)


def _scenes(options: argparse.Namespace) -> tuple[list[data.Scene], list[data.Scene]]:
    """Scenes to train on and to validate with; of a cube of one's own, the same."""
    if (Path(options.data) / "MANIFEST.tsv").is_file():
        path = Path(options.data)
        every, val = (data.read_directory(path, split) for split in ("train", "val"))
        left = [scene for scene in every if scene.name in options.leave_out]
        return [scene for scene in every if scene.name not in options.leave_out], val + left
    cube = data.read_cube(options.data)
    return cube, cube


def _start(options: argparse.Namespace) -> freeze.Arrays:
    """Weights to begin with: a file, the bundled ones, or untrained ones."""
    if options.start == "nothing":
        return freeze.untrained(options.width)
    path = options.start or local_store.locate(local_store.resolve("mini", options.model))
    arrays = dict(safetensors_io.load_unchecked(Path(path)))
    known = any(name.startswith(f"{freeze.PREFIX[options.model]}.") for name in arrays)
    if not known or (options.anew and options.model != "elic"):
        arrays |= freeze.begin(options.model, arrays, options.width)
    return arrays


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tec_numcodecs.training", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("model", choices=tuple(_CLASSES))
    parser.add_argument("--step", choices=("sample", "fit", "freeze", "all"), default="all")
    parser.add_argument("--data", required=True, help="directory with MANIFEST.tsv, or a Zarr cube")
    parser.add_argument(
        "--leave-out", nargs="*", default=(), help="training scenes to validate with"
    )
    parser.add_argument("--out", required=True, help="directory of a run; goes on if it exists")
    parser.add_argument(
        "--start", help="weights file to begin with; 'nothing' for untrained networks"
    )
    parser.add_argument("--anew", action="store_true", help="begin tt and flextec from elic")
    parser.add_argument("--minutes", type=float, default=60, help="of fitting")
    parser.add_argument("--sample-minutes", type=float, default=10)
    parser.add_argument("--samples", type=int, default=6, help="millions in memory, of a network")
    parser.add_argument("--size", type=int, default=192, help="edge length of crops")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument(
        "--keep-mixture", action="store_true", help="fit elic to the tables that there are"
    )
    parser.add_argument("--decay", type=float, default=0.01, help="weight decay")
    parser.add_argument("--finest", type=int, default=0, help="finest level to sample or fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--crops", type=int, default=150, help="for reconstruction offsets")
    parser.add_argument("--register", metavar="ID", help="make the weights the bundled ones")
    return parser


if __name__ == "__main__":
    main()

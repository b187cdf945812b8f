"""Samples in files: what the networks of the context model are fitted to.

Crops are coded by the product itself; see `.samples`. A shard holds some 25 of them.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.mini.context.coders import ContextCoder, Deciding
from tec_numcodecs.models.mini.context.subband_coder import DetailWalk, Visited
from tec_numcodecs.models.mini.elic import MiniElic
from tec_numcodecs.models.mini.flextec import MiniFlex
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.transform.wavelet_klt import subband_sizes
from tec_numcodecs.models.mini.tt import HISTORY, MiniTT, Past
from tec_numcodecs.training.data import Scene
from tec_numcodecs.training.dataset.augment import Crop, Sampler
from tec_numcodecs.training.dataset.progressive_samples import code_passes
from tec_numcodecs.training.dataset.samples import (
    Guessing,
    Noting,
    Samples,
    SamplingDecider,
    SamplingEncoder,
    SamplingPass,
    SamplingWalk,
    gather,
)

_FIELDS = ("features", "q", "component", "phase", "rate", "weight", "old", "known")
#: A walk with its notes, and its rate index.
Note = tuple[Noting, int]
#: Walks of a shard.
_NOTES = 25
VALIDATION_RATES = (184, 168, 152, 136, 120, 104, 88, 56)


def draw_rate(rng: np.random.Generator) -> int:
    """Rate index: mostly steps of 40 to 4000 DN, some down to lossless."""
    return int(rng.uniform(85, 192) if rng.random() < 0.85 else rng.uniform(0, 85))


class Source:
    """Codes crops with a model of the family and takes notes.

    Parameters
    ----------
    model : MiniElic, MiniTT or MiniFlex
        Its networks decide; they may be untrained.
    rng : numpy Generator
    guess : bool
        Decide as `fp` does instead: for untrained networks.
    finest : int
        Leave finer levels out, for `elic`: of coarse ones a crop has few coefficients.
    """

    def __init__(
        self, model: MiniElic, rng: np.random.Generator, *, guess: bool = False, finest: int = 0
    ) -> None:
        self._model, self._rng, self._guess, self._finest = model, rng, guess, finest

    def notes(self, crop: Crop, rate: int) -> list[Note]:
        """What the networks of the model see in a crop of one date, or of its last one."""
        if isinstance(self._model, MiniFlex):
            return self._passes(self._model, crop, rate)
        if isinstance(self._model, MiniTT):
            dates = crop.pixels[:-1]
            past = [self._code(crop, pixels, rate, None).finish()[1] for pixels in dates]
            return [(self._noted(crop, crop.pixels[-1], rate, past), rate)]
        return [(self._noted(crop, crop.pixels[-1], rate, []), rate)]

    def _noted(
        self, crop: Crop, pixels: NDArray[np.float32], rate: int, past: list[Visited]
    ) -> Noting:
        model = self._model
        networks = model._temporal if isinstance(model, MiniTT) else model._networks
        transform = model._transform(_geometry(crop, pixels))
        history = Past(past[-HISTORY:]) if past else None
        walk = SamplingWalk(networks, transform, rate, pixels.shape[1:], history)
        walk.begin_notes(self._rng)
        self._code(crop, pixels, rate, walk)
        return walk

    def _code(
        self, crop: Crop, pixels: NDArray[np.float32], rate: int, walk: DetailWalk | None
    ) -> DetailWalk:
        """Code one date (C, S, S)."""
        model, geometry = self._model, _geometry(crop, pixels)
        found = model._transform(geometry).forward(_cube(pixels), rate)
        walk = walk or model._detail_walk(geometry, Rate(rate))
        coder: ContextCoder
        if self._guess:
            coder = Guessing(walk, rate, model._prior, found)
        else:
            coder = Deciding(walk, rate, model._prior, model._prices, found)
        _, c, h, w = geometry.shape
        sizes = subband_sizes(h, w)
        frozen.walk(model._prior, (1, c), sizes, rate // 16, coder, self._finest)
        return walk

    def _passes(self, model: MiniFlex, crop: Crop, rate: int) -> list[Note]:
        """All passes over a date, each at the rate that it stands for."""
        pixels = crop.pixels[-1]
        geometry = _geometry(crop, pixels)
        notes: list[Note] = []

        def note(walk: SamplingPass) -> None:
            walk.begin_notes(self._rng)
            notes.append((walk, walk.rate))

        found = model._transform(geometry).forward(_cube(pixels), rate)
        code_passes(
            model, found, geometry, Rate(rate), SamplingPass, note, SamplingEncoder, SamplingDecider
        )
        return notes


def _cube(pixels: NDArray[np.float32]) -> NDArray[np.int32]:
    return np.ascontiguousarray(pixels[None]).astype(np.int32)


def _geometry(crop: Crop, pixels: NDArray[np.float32]) -> Geometry:
    return Geometry((1, *pixels.shape), crop.scene.sensor, crop.bands)


def make_shards(
    source: Source,
    sampler: Sampler,
    out: Path,
    minutes: float,
    pairs: bool,
    rng: np.random.Generator,
) -> None:
    """Write shards for some minutes, of crops of one date or of two."""
    end = time.monotonic() + 60 * minutes
    number, notes = 0, list[Note]()
    while time.monotonic() < end:
        crop = sampler.draw_pair() if pairs else sampler.draw()
        notes += source.notes(crop, draw_rate(rng))
        if len(notes) >= _NOTES:
            write_shard(out / f"{sampler.seed}-{number:04d}.npz", gather(notes))
            number, notes = number + 1, []
    if notes and not number:
        write_shard(out / f"{sampler.seed}-{number:04d}.npz", gather(notes))


def validation_shard(source: Source, scenes: Sequence[Scene], path: Path, pairs: bool) -> None:
    """One shard of the first 256 x 256 pixels of scenes at fixed rates.

    Scenes that have all bands of their sensor, if there are any.
    """
    notes = []
    enough = [scene for scene in scenes if len(scene.data) > 1 or not pairs]
    whole = [scene for scene in enough if len(scene.bands) == len(scene.sensor.bands)]
    for scene in whole or enough:
        pixels = scene.data[:2, :, :256, :256].astype(np.float32)
        crop = Crop(scene, scene.bands, pixels if pairs else pixels[:1])
        notes += [note for rate in VALIDATION_RATES for note in source.notes(crop, rate)]
    if notes:
        write_shard(path, gather(notes))


def write_shard(path: Path, parts: dict[str, Samples]) -> None:
    """Write samples of networks; a crash while writing leaves no shard."""
    arrays = {
        f"{field}.{name}": getattr(samples, field)
        for name, samples in parts.items()
        for field in _FIELDS
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".new").open("wb") as file:
        np.savez(file, **arrays)
    path.with_suffix(".new").replace(path)


def read_shards(paths: Sequence[Path], limit: int) -> dict[str, Samples]:
    """Read shards, in memory, up to a number of samples for a network."""
    found: dict[str, list[list[NDArray[np.generic]]]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for path in paths:
        with np.load(path) as arrays:
            for name in (file[2:] for file in arrays.files if file.startswith("q.")):
                if counts[name] < limit:
                    own = [arrays[f"{field}.{name}"] for field in _FIELDS]
                    found[name].append(own)
                    counts[name] += len(own[1])
    return {
        name: Samples(*(np.concatenate(column) for column in zip(*own, strict=True)))
        for name, own in found.items()
    }

"""Fit the frozen tables of mini `fp` to scenes: ``python -m tec_numcodecs.training.fit_prior``.

Twice over: quantize every crop at several rates, fit the weights of the linear rule by the
likelihood of a discretized Laplacian, count what occurs in each table row, freeze. The first
round quantizes with a dead zone, the second with the decisions of the encoder under the first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tec_numcodecs.entropy.blocks8 import block_sum, spread_blocks
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.mini.fp import MiniFP
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.transform.quantizer import LEVELS, MAX_RATE_INDEX, steps
from tec_numcodecs.models.mini.transform.wavelet_klt import LOW, Codebook, Coefficients, Transform
from tec_numcodecs.training.data import Scene, read_directory
from tec_numcodecs.training.dataset.table_counts import GROUPS, Counts, Item, planes_of
from tec_numcodecs.training.fit_codebook import fit_codebook, tiles

_ROUNDING = 0.40  # of the first round's dead zone
_SAMPLES = 250  # per plane and crop


@dataclass(frozen=True)
class Crop:
    """A crop with its transform coefficients."""

    cube: NDArray[np.int32]
    geometry: Geometry
    weight: float


def fit(
    scenes: Sequence[Scene], log: Log, start: Mapping[str, NDArray[np.generic]] | None = None
) -> dict[str, NDArray[np.generic]]:
    """Fit everything; return the arrays of the weights file.

    With the arrays of an earlier file to start from, its codebooks stay and its decisions take
    the place of the first round.
    """
    arrays: dict[str, NDArray[np.generic]] = dict(start or {})
    crops: list[Crop] = []
    for sensor in dict.fromkeys(scene.sensor for scene in scenes):
        own = [scene for scene in scenes if scene.sensor == sensor]
        if start is None:
            arrays[f"codebook.{sensor.name}"] = fit_codebook(own)
        mean = np.array([round(m) for m in sensor.mean], np.int32)[:, None, None]
        if sensor.id != 1:
            continue  # tables are learned on L2A and serve both
        for scene in own:
            if len(scene.bands) == len(sensor.bands):
                for cube, weight in tiles(scene):
                    crops.append(
                        Crop(cube + mean, Geometry(cube.shape, sensor, scene.bands), weight)
                    )
    log(f"codebooks done, {len(crops)} crops")
    model = MiniFP(start) if start is not None else None
    for round_number in range(1 if start is not None else 2):
        arrays |= _fit_prior(crops, arrays, model, log)
        model = MiniFP(arrays)
        log(f"round {round_number + 1} done")
    return arrays


class Log:
    """Progress to standard error."""

    def __call__(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _fit_prior(
    crops: Sequence[Crop],
    arrays: dict[str, NDArray[np.generic]],
    model: MiniFP | None,
    log: Log,
) -> dict[str, NDArray[np.generic]]:
    shape = (frozen.OCTAVES, LEVELS + 1, frozen.COMPONENTS, 3)
    weights = np.zeros((*shape, frozen.FEATURES), np.int32)
    bias = np.full(shape, 1024, np.int32)
    quantize = _Quantizer(arrays, model)
    tables = Counts()
    for octave in range(frozen.OCTAVES):
        items = [
            quantize(crop, 16 * octave + (5 * i) % 16 + (octave == 0))
            for i, crop in enumerate(crops)
            if i % 2 == octave % 2  # half of the crops an octave, all of them over two
        ]
        for level in range(LEVELS + 1):
            fitted = _fit_rule(items, level, np.random.default_rng(octave))
            weights[octave, level], bias[octave, level] = fitted
        for item in items:
            tables.add(octave, item, weights[octave], bias[octave])
        log(f"octave {octave}: rule fitted, symbols counted")
    frozen_tables = tables.freeze()
    return {f"prior.{name}": value for name, value in frozen_tables.items()} | {
        "prior.weights": weights,
        "prior.bias": bias,
        "prior.group": GROUPS,
    }


class _Quantizer:
    """Integers of a crop at a rate: with a dead zone, or as a fitted model decides."""

    def __init__(self, arrays: dict[str, NDArray[np.generic]], model: MiniFP | None) -> None:
        self._arrays = arrays
        self._model = model
        self._transforms: dict[str, Transform] = {}

    def __call__(self, crop: Crop, rate_index: int) -> Item:
        rate_index = min(rate_index, MAX_RATE_INDEX)
        sensor = crop.geometry.sensor
        if sensor.name not in self._transforms:
            book = Codebook(sensor, np.asarray(self._arrays[f"codebook.{sensor.name}"], np.float32))
            self._transforms[sensor.name] = Transform(book, crop.geometry.bands)
        found = self._transforms[sensor.name].forward(crop.cube, rate_index)
        step = steps(rate_index) / 16.0
        values = tuple(
            (d / step[level][:, None, None]).astype(np.float32)
            for level, d in enumerate(found.detail)
        )
        if self._model is not None:
            latents = self._model.analysis([crop.cube], [crop.geometry], [Rate(rate_index)])[0]
            shifts = latents.state["shifts"].values
            return Item(latents.state["q"], values, crop.weight, shifts)
        rounding = 0.5 if rate_index < 16 else _ROUNDING
        detail = tuple(_dead(v, rounding) for v in values)
        low = np.rint(found.low / step[LOW, 0]).astype(np.int32)
        return Item(Coefficients(low, detail, found.entries), values, crop.weight)


def _dead(values: NDArray[np.float32], rounding: float) -> NDArray[np.int32]:
    """Round toward zero from below ``rounding`` above an integer."""
    return (np.sign(values) * np.floor(np.abs(values) + rounding)).astype(np.int32)


def _fit_rule(
    items: Sequence[Item], level: int, random: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Maximum-likelihood weights of one level: (C, 3, FEATURES), (C, 3) in units of 2^-12."""
    orientations = 1 if level == LOW else 3
    planes = frozen.COMPONENTS * orientations
    columns: list[NDArray[np.float32]] = []
    targets: list[NDArray[np.float32]] = []
    shares: list[NDArray[np.float32]] = []
    for item in items:
        features, magnitudes = [], []
        for _, stack, values in planes_of(item.q, level):
            where = _sample(values, _SAMPLES, random)
            features.append(stack.reshape(frozen.FEATURES, -1)[:, where])
            magnitudes.append(np.abs(values.ravel()[where]))
        columns.append(np.stack(features).astype(np.float32))  # (planes, FEATURES, P)
        targets.append(np.stack(magnitudes).astype(np.float32))  # (planes, P)
        shares.append(np.full(targets[-1].shape[1], item.weight / targets[-1].shape[1], np.float32))
    x = torch.from_numpy(np.concatenate(columns, axis=2))
    m = torch.from_numpy(np.concatenate(targets, axis=1))
    share = torch.from_numpy(np.concatenate(shares))
    weights, bias = _maximize(x, m, share / share.sum())
    full_weights = np.zeros((frozen.COMPONENTS, 3, frozen.FEATURES), np.int32)
    full_bias = np.full((frozen.COMPONENTS, 3), 1024, np.int32)
    scale = 1 << 12
    full_weights[:, :orientations] = np.rint(weights * scale).reshape(
        -1, orientations, frozen.FEATURES
    )
    full_bias[:, :orientations] = np.rint(bias * scale).reshape(-1, orientations)
    if planes != len(weights):
        raise ValueError("scenes must have all twelve bands")
    return full_weights, full_bias


def _sample(
    values: NDArray[np.int32], count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Positions to learn from: mostly inside blocks that are coded, some anywhere."""
    flags = block_sum(values != 0) > 0
    inside = np.flatnonzero(spread_blocks(flags, *values.shape[1:]).ravel())
    some = random.integers(0, values.size, count)
    if inside.size == 0:
        return some
    some[: count * 7 // 10] = random.choice(inside, count * 7 // 10)
    return some


def _maximize(
    x: torch.Tensor, m: torch.Tensor, share: torch.Tensor, steps_taken: int = 120
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Adam on the likelihood; x (planes, FEATURES, P), m (planes, P), share (P,)."""
    # Features differ by orders of magnitude between rates and planes: fit in units of the mean
    # magnitude of the plane and of each feature.
    typical = (m * share).sum(dim=1, keepdim=True) + 0.02  # (planes, 1)
    means = (x * share).sum(dim=2) + 1e-3  # (planes, FEATURES)
    unit = x / means[:, :, None]
    w = torch.full(x.shape[:2], 1.0 / x.shape[1], requires_grad=True)
    b = torch.full((x.shape[0], 1), 0.1, requires_grad=True)
    optimizer = torch.optim.Adam([w, b], lr=0.03)
    for step in range(steps_taken):
        scale = typical * (b.abs() + torch.einsum("kf,kfp->kp", w.abs(), unit)) + 0.01
        loss = (_laplacian_bits(m, scale) * share).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 0.03 * (1 - step / steps_taken) + 0.0005
    found = (typical * w.abs() / means).detach()
    # These limits keep every sum of the frozen rule below 2^31.
    found[:, 0::2] = found[:, 0::2].clamp(max=2.0)
    found[:, 1::2] = found[:, 1::2].clamp(max=0.25)
    bias = (typical * b.abs() + 0.01).detach()[:, 0].clamp(max=500.0)
    return found.double().numpy(), bias.double().numpy()


def _laplacian_bits(m: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Bits of a magnitude and its sign under a Laplacian of this mean magnitude, unit bins."""
    edge = torch.exp(-0.55 / scale)
    nonzero = torch.log2((edge * -torch.expm1(-1 / scale)).clamp(min=1e-12))
    nonzero = nonzero - (m - 1) / scale * 1.442695 - 1
    return torch.where(m == 0, -torch.log2((1 - edge).clamp(min=1e-12)), -nonzero)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and write the weights file."""
    from tec_numcodecs.weights.safetensors_io import load_unchecked, save

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory with MANIFEST.tsv")
    parser.add_argument("--start", type=Path, help="an earlier weights file to improve on")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    options = parser.parse_args(arguments)
    log = Log()
    start = load_unchecked(options.start) if options.start else None
    arrays = fit(read_directory(options.data, "train"), log, start)
    log(save(options.out, arrays))


if __name__ == "__main__":
    main()

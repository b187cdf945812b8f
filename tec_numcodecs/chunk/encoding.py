"""The half of encoding that is the model's: digital numbers to latents, at a rate or a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.chunk import container
from tec_numcodecs.chunk.container import Chunk, Header, ModelHeader, Section
from tec_numcodecs.chunk.samples import Mask, Samples, from_dn
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.models import loading
from tec_numcodecs.models.base import Geometry, Latents, Model, Rate
from tec_numcodecs.rate_control import Search, psnr


@dataclass(frozen=True)
class Task:
    """A chunk that a model is to code.

    Attributes
    ----------
    samples : array (T, C, H, W)
    invalid : bool array (T, C, H, W)
    dn : int32 array (T, C, H, W)
        Digital numbers, masked pixels filled; bands in the array's order.
    header : Header
        Without the model's part.
    masks : dict of bytes
        Sections.
    """

    samples: Samples
    invalid: Mask
    dn: NDArray[np.int32]
    header: Header
    masks: dict[Section, bytes]


@dataclass
class _Attempt:
    """What one evaluation of the model gave; the payload is made when it is needed."""

    latents: Latents
    payload: bytes | None = None


def encode(tasks: Sequence[Task], config: CodecConfig) -> list[tuple[ModelHeader, bytes]]:
    """Run the model: one header and payload for each task.

    Raises
    ------
    WeightsError
        If the model's weights are missing.
    """
    bounded = config.bounds() is not None and not config.lossless
    model = loading.load(config.model, config.weights, exact=bounded)
    order = np.argsort(config.band_indices())
    cubes = [np.ascontiguousarray(task.dn[:, order]) for task in tasks]
    geometries = [config.geometry(task.header.shape) for task in tasks]
    with model.running():
        if config.target is None:
            rates = [config.rate()] * len(tasks)
            chosen = [_Attempt(item) for item in model.analysis(cubes, geometries, rates)]
        else:
            chosen = _search(model, tasks, cubes, geometries, config)
        _add_payloads(model, chosen)
    return [(_model_header(item, model, config), item.payload or b"") for item in chosen]


def _search(
    model: Model,
    tasks: Sequence[Task],
    cubes: Sequence[NDArray[np.int32]],
    geometries: Sequence[Geometry],
    config: CodecConfig,
) -> list[_Attempt]:
    """Evaluate all chunks that are not there yet, together, until each has reached the target."""
    target = config.target
    if target is None:
        raise TypeError("a search needs a target")
    searches = [Search(target) for _ in tasks]
    best: dict[int, _Attempt] = {}
    left = list(range(len(tasks)))
    while left:
        rates = [Rate(searches[i].index, config.quality or 0) for i in left]
        found = model.analysis([cubes[i] for i in left], [geometries[i] for i in left], rates)
        attempts = dict(zip(left, map(_Attempt, found), strict=True))
        if target.kind == "psnr":
            pixels = model.synthesis(found)
            values = {i: _psnr(tasks[i], cube) for i, cube in zip(left, pixels, strict=True)}
        else:
            _add_payloads(model, list(attempts.values()))
            values = {i: _bits(tasks[i], attempts[i], model, config) for i in left}
        over = []
        for i in left:
            index = searches[i].index
            done = searches[i].tell(values[i])
            if searches[i].best == index:
                best[i] = attempts[i]
            over += [i] * done
        left = [i for i in left if i not in over]
    return [best[i] for i in range(len(tasks))]


def _psnr(task: Task, cube: NDArray[np.generic]) -> float:
    """PSNR over valid pixels of what a model makes of a chunk (bands in the sensor's order)."""
    header = task.header
    rank = np.argsort(np.argsort(header.bands))
    squares = 0.0
    for date in range(len(cube)):  # one at a time: float64 takes four times the room of a chunk
        found = from_dn(
            cube[date, rank], header.dtype, header.scale, header.offset, header.nodata
        ).astype(np.float64)
        error = np.where(task.invalid[date], 0, found - task.samples[date])
        squares += float(np.square(error).sum())
    samples = task.invalid.size - int(np.count_nonzero(task.invalid))
    return psnr(squares / header.scale**2, samples)


def _bits(task: Task, attempt: _Attempt, model: Model, config: CodecConfig) -> float:
    """Bits per valid pixel and band, everything counted."""
    header = replace(task.header, model=_model_header(attempt, model, config))
    sections = task.masks | {Section.LATENTS: attempt.payload or b""}
    size = len(container.write(Chunk(header, sections)))
    return 8 * size / (task.invalid.size - int(np.count_nonzero(task.invalid)))


def _add_payloads(model: Model, attempts: Sequence[_Attempt]) -> None:
    todo = [attempt for attempt in attempts if attempt.payload is None]
    if todo:
        payloads = model.entropy_encode([attempt.latents for attempt in todo])
        for attempt, payload in zip(todo, payloads, strict=True):
            attempt.payload = payload


def _model_header(attempt: _Attempt, model: Model, config: CodecConfig) -> ModelHeader:
    return ModelHeader(
        name=config.model,
        weights=config.weights.prefix,
        rate_index=attempt.latents.rate.index,
        quality=attempt.latents.rate.quality,
        exact=model.synthesis_kind == "exact",
        symbols_crc=symbols_crc(attempt.latents),
    )


def symbols_crc(latents: Latents) -> int:
    """CRC-32C of the symbols, little-endian int32."""
    return container.crc32c(np.ascontiguousarray(latents.symbols, np.dtype("<i4")).data)

"""Arrays to bytes and back: the one place where everything that makes up a chunk comes together.

``encode`` and ``decode`` take lists, so that models can run batches. They know nothing of Zarr.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.arithmetic import ieee754
from tec_numcodecs.chunk import container, encoding, lossless, residual
from tec_numcodecs.chunk import masks as mask
from tec_numcodecs.chunk.container import Chunk, Header, Mode, Section
from tec_numcodecs.chunk.samples import (
    Masks,
    Samples,
    avoid_nodata,
    from_dn,
    is_integer,
    nodata_of,
    to_dn,
)
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import CorruptChunk, InvalidInput, WeightsError
from tec_numcodecs.models import loading
from tec_numcodecs.models.base import Geometry, Model, Rate
from tec_numcodecs.options import get_options, reading_as_stored
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.weights.local_store import WeightsId, by_prefix

_OWN_BYTES = 1 << 62  # an encoder decodes what it has just made, of whatever size
_LEAST_PLANE = 4096  # bytes that one band of one date counts for, where a model decodes it

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class ChunkInfo:
    """What `inspect` finds in a chunk without decoding it."""

    header: Header
    bytes: int
    sections: dict[str, int]


@ieee754
@reading_as_stored(_OWN_BYTES)
def encode(arrays: Sequence[Samples], config: CodecConfig) -> list[bytes]:
    """Encode chunks of one array.

    Parameters
    ----------
    arrays : sequence of arrays (T, C, H, W)
        uint16, int16 or float32 in either byte order; C is ``len(config.bands)``.
    config : CodecConfig

    Returns
    -------
    list of bytes

    Raises
    ------
    InvalidInput
        If an array is not one that the configuration describes.
    WeightsError
        If the model's weights are missing.
    """
    found: list[bytes | None] = [None] * len(arrays)
    pending: dict[int, encoding.Task] = {}
    for i, array in enumerate(arrays):
        samples = check_samples(array, config)
        masks = Masks.of(samples, config.nodata)
        invalid = masks.union(samples.shape)
        if invalid.all():
            found[i] = container.write(
                Chunk(_header(Mode.EMPTY, samples, config), _mask_sections(masks))
            )
        elif config.lossless and not _reversible(samples, config):
            found[i] = _without_model(samples, config)
        else:
            dn = to_dn(samples, invalid, config)
            header = _header(Mode.MODEL, samples, config)
            pending[i] = encoding.Task(samples, invalid, dn, header, _mask_sections(masks))
    order = list(pending)
    for start in range(0, len(order), batch := get_options().batch_size):
        part = [pending[i] for i in order[start : start + batch]]
        coded = encoding.encode(part, config)
        for i, task, (model, payload) in zip(order[start:], part, coded, strict=False):
            sections = task.masks | {Section.LATENTS: payload}
            chunk = Chunk(replace(task.header, model=model), sections)
            found[i] = _smallest(_bounded(chunk, task, config), task.samples, config)
    return [data for data in found if data is not None]


@ieee754
def decode(
    data: Sequence[bytes], config: CodecConfig | None = None, shape: Shape | None = None
) -> list[Samples]:
    """Decode chunks.

    Parameters
    ----------
    data : sequence of bytes
    config : CodecConfig, optional
        Of the array, if it is known: chunks that say something else about weights, bands, scaling
        or nodata are refused. Decoding needs only the name of the weights.
    shape : (T, C, H, W), optional
        What the chunks must be. Without it a chunk may claim anything up to
        ``get_options().max_chunk_bytes``.

    Returns
    -------
    list of arrays (T, C, H, W)
        Writable, in the dtype and byte order that was encoded.

    Raises
    ------
    CorruptChunk
        If bytes are damaged.
    UnsupportedFormat
        If a newer version is needed.
    WeightsError
        If the weights are missing or others.
    """
    chunks = [container.read(item) for item in data]
    for chunk in chunks:
        _check_claim(chunk.header, shape)
        if config is not None:
            _check_belongs(chunk.header, config)
    found: list[Samples | None] = [None] * len(chunks)
    groups: dict[tuple[str, bytes, bool], list[int]] = defaultdict(list)
    for i, chunk in enumerate(chunks):
        if (model_header := chunk.header.model) is not None:
            groups[model_header.name, model_header.weights, model_header.exact].append(i)
        else:
            found[i] = _decode_without_model(chunk)
    for (name, prefix, exact), members in groups.items():
        model = loading.load(name, _weights_of(name, prefix, config), exact=exact)
        for start in range(0, len(members), batch := get_options().batch_size):
            part = members[start : start + batch]
            with model.running():
                cubes = _decode_with_model(model, [chunks[i] for i in part])
            for i, cube in zip(part, cubes, strict=True):
                found[i] = _finish(chunks[i], cube)
    return [item for item in found if item is not None]


def inspect(data: bytes) -> ChunkInfo:
    """Look into a chunk: what it is, how it was coded, how many bytes each part takes.

    Raises
    ------
    CorruptChunk, UnsupportedFormat
        If it cannot be read.
    """
    chunk = container.read(data)
    sizes = {section.name.lower(): len(content) for section, content in chunk.sections.items()}
    return ChunkInfo(chunk.header, len(data), sizes)


def check_samples(array: Samples, config: CodecConfig) -> Samples:
    """Check that an array is one that the configuration describes.

    Raises
    ------
    InvalidInput
        If its dtype, rank or number of bands is another.
    """
    samples = np.asarray(array)
    container.dtype_code(samples.dtype)
    check_shape(samples.shape, config)
    return samples


def check_shape(shape: tuple[int, ...], config: CodecConfig) -> None:
    """Check the shape of a chunk.

    Raises
    ------
    InvalidInput
        If it is not (T, C, H, W) with C bands.
    """
    if len(shape) != 4:
        raise InvalidInput(
            f"a chunk with {len(shape)} axes, shape {shape}",
            allowed="4 axes: (time, band, y, x)",
            fix="stack the bands along a second axis, or let ds.tec.compress do it",
        )
    if not 1 <= min(shape) <= max(shape) <= container.MAX_LENGTH:
        raise InvalidInput(
            f"a chunk of shape {shape}",
            allowed=f"every axis at least 1 long, and up to {container.MAX_LENGTH}",
            fix="choose smaller chunks: (4, all bands, 256, 256), for example",
        )
    if shape[1] != len(config.bands):
        raise InvalidInput(
            f"a chunk with {shape[1]} bands, shape {shape}",
            allowed=f"{len(config.bands)} bands ({', '.join(config.bands)}), all in one chunk",
            fix="pass bands= with the names of the bands that the array has, and chunks that "
            "hold all of them",
        )


# -- encoding ---------------------------------------------------------------------------------


def _reversible(samples: Samples, config: CodecConfig) -> bool:
    """Whether a model can give exactly these samples back."""
    return config.spec.family.reversible and is_integer(samples.dtype, config.scale, config.offset)


def _header(mode: Mode, samples: Samples, config: CodecConfig) -> Header:
    t, c, h, w = samples.shape
    dtype = samples.dtype.newbyteorder("<") if samples.dtype.byteorder == "=" else samples.dtype
    return Header(
        mode=mode,
        dtype=dtype,
        shape=(t, c, h, w),
        sensor=config.sensor.id,
        bands=config.band_indices(),
        scale=config.scale,
        offset=config.offset,
        nodata=config.nodata,
    )


def _mask_sections(masks: Masks) -> dict[Section, bytes]:
    pairs = ((Section.NODATA_MASK, masks.nodata), (Section.NAN_MASK, masks.nan))
    return {section: mask.encode(m) for section, m in pairs if m is not None}


def _bounded(chunk: Chunk, task: encoding.Task, config: CodecConfig) -> bytes | None:
    """The bytes of a chunk, with a residual where a bound is promised; None if it can't be kept.

    The bound is checked on what a decoder makes of the very bytes.
    """
    bounds = config.bounds()
    if bounds is None or config.lossless:
        return container.write(chunk)
    samples, invalid = task.samples, task.invalid
    bound = np.array(bounds)
    limits = bound[:, None, None]
    # Floats: a little less than the bound allows, so that rounding to binary32 stays within it.
    steps = 2 * np.floor(bound) + 1 if samples.dtype.kind in "iu" else 2 * bound * (1 - 2.0**-9)
    (decoded,) = decode([container.write(chunk)], config)
    if (steps > 0).all():
        q = residual.quantise(np.where(invalid, 0, samples), np.where(invalid, 0, decoded), steps)
        if q is not None and q.any():
            sections = dict(chunk.sections) | {Section.RESIDUAL: residual.pack(steps, q)}
            chunk = Chunk(chunk.header, sections)
            (decoded,) = decode([container.write(chunk)], config)
    kept = all(
        (hidden | (np.abs(a.astype(np.float64) - b.astype(np.float64)) <= limits)).all()
        for hidden, a, b in zip(invalid, samples, decoded, strict=True)
    )
    return container.write(chunk) if kept else None


def _smallest(coded: bytes | None, samples: Samples, config: CodecConfig) -> bytes:
    """What the model made of a chunk, or the chunk without a model where that is no larger."""
    if coded is not None and 64 < len(coded) < samples.nbytes // 2:
        return coded
    plain = _without_model(samples, config)
    return plain if coded is None else min(coded, plain, key=len)


def _without_model(samples: Samples, config: CodecConfig) -> bytes:
    sections = {Section.SAMPLES: lossless.encode(samples)}
    return container.write(Chunk(_header(Mode.LOSSLESS, samples, config), sections))


# -- decoding ---------------------------------------------------------------------------------


def _check_claim(header: Header, shape: Shape | None) -> None:
    """Refuse a chunk that is not what was asked for, or larger than anybody wants."""
    if shape is not None and header.shape != shape:
        raise CorruptChunk(
            f"a chunk of shape {header.shape}",
            allowed=f"{shape}, the chunk shape of the array",
            fix="the chunk belongs to another array",
        )
    t, c, h, w = header.shape
    plane = h * w * header.dtype.itemsize
    if header.mode == Mode.MODEL:  # however small, it costs a model time and memory
        plane = max(plane, _LEAST_PLANE)
    size = t * c * plane
    limit = get_options().max_chunk_bytes
    if shape is None and size > limit:
        raise CorruptChunk(
            f"a chunk that would take {size} bytes in memory, or as much work",
            allowed=f"{limit}, the option max_chunk_bytes",
            fix="raise it with tec_numcodecs.set_options(max_chunk_bytes=...) if this is right",
        )


def _check_belongs(header: Header, config: CodecConfig) -> None:
    """Refuse a chunk of another array, whose pixels would mean something else."""
    keys = ("scale", "offset", "nodata")
    ours: dict[str, object] = {key: getattr(config, key) for key in keys}
    theirs: dict[str, object] = {key: getattr(header, key) for key in keys}
    if header.sensor:
        ours |= {"sensor": config.sensor.id, "bands": config.band_indices()}
        theirs |= {"sensor": header.sensor, "bands": header.bands}
    wrong = [key for key in ours if ours[key] != theirs[key]]
    if wrong:
        raise CorruptChunk(
            "a chunk with " + ", ".join(f"{key} {theirs[key]}" for key in wrong),
            allowed=", ".join(f"{key} {ours[key]}" for key in wrong) + ", as the array says",
            fix="the chunk belongs to another array, or its metadata was changed",
        )


def _weights_of(name: str, prefix: bytes, config: CodecConfig | None) -> WeightsId:
    """Full name of the weights whose first bytes a chunk carries."""
    if config is not None and config.weights.prefix == prefix:
        return config.weights
    if config is not None:
        raise WeightsError(
            f"a chunk written with weights {prefix.hex()}... (model {name!r})",
            allowed=f"{config.weights.sha256[:16]}... ({config.weights.id}), as the array says",
            fix="the chunk belongs to another array, or its metadata was changed",
        )
    return by_prefix(prefix)


def _decode_without_model(chunk: Chunk) -> Samples:
    header = chunk.header
    if header.mode == Mode.LOSSLESS:
        return lossless.decode(chunk.sections[Section.SAMPLES], header.shape, header.dtype)
    samples = np.zeros(header.shape, header.dtype)
    masked = _apply_masks(chunk, samples)
    if not masked.all():
        raise CorruptChunk("an empty chunk with valid pixels", allowed="none")
    return samples


def _decode_with_model(model: Model, chunks: Sequence[Chunk]) -> list[NDArray[np.generic]]:
    """Cubes (T, C, H, W) in DN with bands in the sensor's order."""
    geometries, rates, payloads, checks = [], [], [], []
    for chunk in chunks:
        header, model_header = chunk.header, chunk.header.model
        if model_header is None or header.sensor == 0:
            raise CorruptChunk("latents without a model or a sensor")
        if Section.RESIDUAL in chunk.sections and not model_header.exact:
            raise CorruptChunk("a residual on top of inexact pixels", allowed="exact synthesis")
        sensor = get_sensor(header.sensor)
        geometries.append(Geometry(header.shape, sensor, tuple(sorted(header.bands))))
        rates.append(Rate(model_header.rate_index, model_header.quality))
        payloads.append(chunk.sections[Section.LATENTS])
        checks.append(model_header.symbols_crc)
    try:
        latents = model.entropy_decode(payloads, geometries, rates)
    except InvalidInput as error:  # a sensor or a quality that the model does not have
        raise CorruptChunk(
            f"a chunk that its model cannot have written: {error.found}",
            allowed=error.allowed,
            fix="the chunk is damaged, or belongs to another array",
        ) from error
    for item, rate, check, chunk in zip(latents, rates, checks, chunks, strict=True):
        if item.rate != rate:  # a part of the tokens only, as the options ask
            _refuse_residual(chunk, item.rate.quality)
            continue
        found = encoding.symbols_crc(item)
        if found != check:
            raise CorruptChunk(
                f"checksum {found:08x} over the decoded symbols",
                allowed=f"{check:08x}, as stored",
                fix="the weights or the decoder are not the ones that wrote the chunk",
            )
    return model.synthesis(latents)


def _refuse_residual(chunk: Chunk, quality: int) -> None:
    """A residual corrects what all tokens give, not a part of them."""
    if Section.RESIDUAL in chunk.sections:
        raise InvalidInput(
            f"option quality={quality} for a chunk with an error bound",
            allowed="all tokens",
            fix="read it without that option",
        )


def _finish(chunk: Chunk, cube: NDArray[np.generic]) -> Samples:
    """Digital numbers to samples: band order, dtype, masks."""
    header = chunk.header
    rank = np.argsort(np.argsort(header.bands))
    ordered = cube[:, rank]
    samples = from_dn(ordered, header.dtype, header.scale, header.offset, header.nodata)
    if Section.RESIDUAL in chunk.sections:
        steps, q = residual.unpack(chunk.sections[Section.RESIDUAL], header.shape)
        samples = avoid_nodata(residual.apply(samples, q, steps), header.nodata)
    _apply_masks(chunk, samples)
    return np.ascontiguousarray(samples.astype(header.dtype, copy=False))


def _apply_masks(chunk: Chunk, samples: Samples) -> NDArray[np.bool_]:
    """Write nodata and NaN into samples where the masks say so; return all masked pixels."""
    header = chunk.header
    masked = np.zeros(header.shape, np.bool_)
    if Section.NODATA_MASK in chunk.sections:
        where = mask.decode(chunk.sections[Section.NODATA_MASK], header.shape)
        marked = nodata_of(header.dtype, header.nodata)
        if marked is None:
            raise CorruptChunk(f"a nodata mask over {header.dtype} with nodata {header.nodata}")
        samples[where] = marked
        masked |= where
    if Section.NAN_MASK in chunk.sections:
        where = mask.decode(chunk.sections[Section.NAN_MASK], header.shape)
        if header.dtype.kind != "f":
            raise CorruptChunk(f"a NaN mask over {header.dtype}", allowed="floats only")
        samples[where] = np.nan
        masked |= where
    return masked

"""What is fuzzed: readers of hostile bytes, each judged by a second reader.

Every target takes bytes and returns nothing. It fails if anything but our own errors comes out, or
if two readers disagree: the package and the reader written from FORMAT.md, the C file and its
Python twin. Inputs are small, so that a second covers thousands.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from tec_numcodecs import reference
from tec_numcodecs.chunk import container, decode, lossless, masks, residual
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.entropy import rans
from tec_numcodecs.errors import CorruptChunk, TecError
from tec_numcodecs.models import loading
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.mini.progressive.tokens import join_tokens, split_tokens
from tec_numcodecs.options import set_options
from tec_numcodecs.reference import fp
from tec_numcodecs.reference.flextec import decode_flextec, read_tokens
from tec_numcodecs.reference.rans import RansDecoder, read_residual
from tec_numcodecs.reference.transform import Setting
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.weights.local_store import locate

LIMIT = 1 << 14  # samples of a chunk, and bytes twice that


def agree(*readers: Callable[[], Any]) -> Any:
    """Run readers of the same bytes; all refuse, or all give the same."""
    outcomes = []
    for reader in readers:
        try:
            outcomes.append(reader())
        except TecError:
            outcomes.append(None)
    first = outcomes[0]
    for other in outcomes[1:]:
        if (first is None) != (other is None):
            raise AssertionError(f"one reader refuses: {outcomes!r:.300}")
        if first is not None:
            np.testing.assert_array_equal(np.asarray(first), np.asarray(other))
    return first


def signed(body: bytes) -> bytes:
    """Append the right checksum: accidents are found by it, malice is not."""
    return body + struct.pack("<I", container.crc32c(body))


def container_target(data: bytes) -> None:
    """Header and sections, and everything in a chunk that has no model."""
    chunk = signed(container.MAGIC + b"\1" + data)
    try:
        found = container.read(chunk)
    except TecError:
        return
    again = container.read(container.write(found))
    assert (again.header, dict(again.sections)) == (found.header, dict(found.sections))
    if found.header.mode != container.Mode.MODEL and np.prod(found.header.shape) <= LIMIT:
        with set_options(max_chunk_bytes=4 * LIMIT):
            agree(
                lambda: decode([chunk])[0].view(np.uint8),
                lambda: reference.decode(chunk, {}, max_samples=LIMIT).view(np.uint8),
            )


def mask_target(data: bytes) -> None:
    """Masks and lossless samples: the first four bytes are the shape."""
    if len(data) < 4:
        return
    t, c, h, w = (1 + byte % n for byte, n in zip(data[:4], (3, 4, 24, 24), strict=True))
    body = data[4:]
    for read in (
        lambda: masks.decode(body, (t, c, h, w)),
        lambda: lossless.decode(body, (t, c, h, w), np.dtype("<u2")),
    ):
        try:
            found = read()
        except CorruptChunk:
            continue
        assert found.shape == (t, c, h, w)


def residual_target(data: bytes) -> None:
    """Residuals, by C, by Python, and by the reader written from FORMAT.md."""
    if len(data) < 4:
        return
    t, c, h, w = (1 + byte % n for byte, n in zip(data[:4], (2, 3, 20, 20), strict=True))

    def package() -> Any:
        steps, q = residual.unpack(data[4:], (t, c, h, w))
        return q * steps[:, None, None]

    def judge() -> Any:
        q, steps = read_residual(data[4:], (t, c, h, w))
        return q * steps

    agree(lambda: _with("1", package), lambda: _with("0", package), judge)


def rans_target(data: bytes) -> None:
    """Streams of symbols: the first two bytes choose how many symbols of which rows."""
    if len(data) < 2:
        return
    tables, rows = _tables(), _rows(data[0], data[1])

    def package() -> Any:
        decoder = rans.Decoder(data[2:])
        found = decoder.pull(rows, tables)
        decoder.finish()
        return found

    def judge() -> Any:
        decoder = RansDecoder(data[2:])
        found = decoder.pull(rows.astype(np.int64), _judges_table())
        decoder.finish()
        return found

    found = agree(lambda: _with("1", package), lambda: _with("0", package), judge)
    if found is not None:  # then it is what an encoder writes, and nothing else
        assert rans.encode(found, rows, tables) == data[2:]


def latents_target(data: bytes) -> None:
    """A payload of fp: the first bytes choose rate and shape; symbols and pixels must agree."""
    if len(data) < 4:
        return
    rate, bands = data[0] % 224, tuple(range(1 + data[1] % 3))
    shape = (1, len(bands), _side(data[2]), _side(data[3]))
    geometry = Geometry(shape, get_sensor("sentinel-2-l2a"), bands)
    setting = fp.Setting(shape, "sentinel-2-l2a", list(bands), rate)
    model, tensors = _model()

    def package() -> Any:
        latents = model.entropy_decode([data[4:]], [geometry], [Rate(rate)])
        return np.concatenate([latents[0].symbols, model.synthesis(latents)[0].ravel()])

    def judge() -> Any:
        latents = fp.decode_latents(data[4:], setting, tensors)
        pixels = fp.synthesise(latents, setting, tensors)
        return np.concatenate([latents.symbols(), pixels.ravel()])

    agree(package, judge)


def tokens_target(data: bytes) -> None:
    """Tokens of flextec, split by two readers; then decoded, all of them or the first ones."""
    payload = data[5:]
    tokens = agree(lambda: _lengths(split_tokens(payload)), lambda: _lengths(_read_tokens(payload)))
    if tokens is None:
        return
    parts = split_tokens(payload)
    assert join_tokens(parts) == payload
    rate, bands = data[0] % 224, tuple(range(1 + data[1] % 2))
    shape = (1 + data[1] // 2 % 2, len(bands), 1 + data[2] % 8, 1 + data[3] % 8)
    geometry = Geometry(shape, get_sensor("sentinel-2-l2a"), bands)
    setting = Setting(shape, "sentinel-2-l2a", list(bands), rate)
    model, tensors = _model("flextec")
    wanted = 1 + data[4] % len(parts)

    def package() -> Any:
        with set_options(quality=wanted):
            latents = model.entropy_decode([payload], [geometry], [Rate(rate, len(parts))])
        return np.concatenate([latents[0].symbols, model.synthesis(latents)[0].ravel()])

    def judge() -> Any:
        pixels, symbols = decode_flextec(parts[:wanted], setting, tensors)
        return np.concatenate([symbols, pixels.ravel()])

    agree(package, judge)


def _read_tokens(payload: bytes) -> list[bytes]:
    return read_tokens(payload, payload[0]) if payload[:1] > b"\0" else refuse()


def _lengths(tokens: list[bytes]) -> list[int]:
    return [len(token) for token in tokens]


def refuse() -> Any:
    raise CorruptChunk("no tokens")


def _side(byte: int) -> int:
    """A side of an image: mostly small, so that there are more of them in a second."""
    return 1 + (byte if byte < 20 else byte % 9)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "container": container_target,
    "mask": mask_target,
    "residual": residual_target,
    "rans": rans_target,
    "latents": latents_target,
    "tokens": tokens_target,
}


def _with(disabled: str, run: Callable[[], Any]) -> Any:
    before = os.environ.get("TEC_DISABLE_NATIVE")
    os.environ["TEC_DISABLE_NATIVE"] = disabled
    try:
        return run()
    finally:
        if before is None:
            del os.environ["TEC_DISABLE_NATIVE"]
        else:
            os.environ["TEC_DISABLE_NATIVE"] = before


@lru_cache(maxsize=1)
def _tables() -> rans.Tables:
    """A skewed row, an even one, one that nearly always escapes, one that hardly ever does."""
    rows = [[60000, 3000, 2000, 500, 36], [8192] * 8, [1, 65535], [65535, 1]]
    return rans.Tables.from_frequencies(rows, np.array([-2, 0, 7, -1], np.int32))


@lru_cache(maxsize=1)
def _judges_table() -> dict[int, Any]:
    tables = _tables()
    ends = np.asarray(tables.starts)
    cdf = np.asarray(tables.cdf).astype(int)
    return {
        row: ([*cdf[ends[row] : ends[row + 1]].tolist(), 65536], int(tables.minimum[row]))
        for row in range(len(ends) - 1)
    }


@lru_cache(maxsize=1 << 16)
def _rows(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 4, count).astype(np.int32)


@lru_cache(maxsize=2)
def _model(name: str = "fp") -> tuple[Any, Any]:
    weights = CodecConfig.parse(model=name, lam=20).weights
    return loading.load(name, weights), reference.load_weights(locate(weights))

"""A second reader of annex A of FORMAT.md: symbols and latents, in NumPy and integers alone.

Slow, and written from the annex; the arithmetic of A.2 is in `exact_numpy`, the coder of section 8
in `tec_numcodecs.reference.rans`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import exact_numpy as exact
from tec_numcodecs.reference.rans import RansDecoder

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Frozen = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Read:
    """What a payload holds."""

    symbols: Ints  # what the checksum is over
    latents: Array  # [T, M, h, w]


class Rows(dict[int, tuple[list[int], int]]):
    """Table rows in the form of the reference coder, made when they are needed."""

    def __init__(self, frozen: Frozen, name: str) -> None:
        super().__init__()
        self._cdf, self._starts, self._minimum = (
            frozen[f"{name}.{part}"] for part in ("cdf", "starts", "minimum")
        )

    def __missing__(self, row: int) -> tuple[list[int], int]:
        start, stop = self._starts[row : row + 2]
        self[row] = [*self._cdf[start:stop].tolist(), 65536], int(self._minimum[row])
        return self[row]


def read(
    model: str, frozen: Frozen, payload: bytes, shape: tuple[int, int, int, int], quality: int = 0
) -> Read:
    """Decode a payload of a chunk of shape (T, C, H, W)."""
    decoder = RansDecoder(payload)
    if model == "fp":
        found = _fp(frozen, decoder, shape)
    elif model == "elic":
        found = _elic(frozen, decoder, shape)
    else:
        found = _temporal(frozen, decoder, shape, quality if model == "flextec" else None)
    decoder.finish()
    return found


def _pull(decoder: RansDecoder, rows: Ints, table: Rows) -> Ints:
    return np.asarray(decoder.pull(rows.ravel(), table), np.int64).reshape(rows.shape)


def _floats(frozen: Frozen, name: str) -> Array:
    return frozen[name].astype(np.float64)


# --- A.4 ---------------------------------------------------------------------------------------


def _fp(frozen: Frozen, decoder: RansDecoder, shape: tuple[int, int, int, int]) -> Read:
    frames, _, height, width = shape
    median = _floats(frozen, "entropy_bottleneck.median")[:, None, None]
    size = (frames, len(median), -(-height // 16), -(-width // 16))
    rows = np.broadcast_to(np.arange(len(median))[:, None, None], size)
    symbols = _pull(decoder, rows, Rows(frozen, "entropy_bottleneck"))
    return Read(symbols.ravel(), symbols + median)


# --- A.5 ---------------------------------------------------------------------------------------


def _relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def _elic(frozen: Frozen, decoder: RansDecoder, shape: tuple[int, int, int, int]) -> Read:
    frames, _, height, width = shape
    h, w = 4 * -(-height // 64), 4 * -(-width // 64)
    tables = Rows(frozen, "prior"), Rows(frozen, "gaussian")
    symbols: list[Ints] = []
    latents = []
    for first in range(0, frames, 4):
        count = min(4, frames - first)
        latents += _elic_group(frozen, decoder, tables, (count, h, w), symbols)
    return Read(np.concatenate([s.ravel() for s in symbols]), np.stack(latents))


def _elic_group(
    frozen: Frozen,
    decoder: RansDecoder,
    tables: tuple[Rows, Rows],
    size: tuple[int, int, int],
    symbols: list[Ints],
) -> list[Array]:
    frames, h, w = size
    median = _floats(frozen, "prior.median")[:, None, None]
    rows = np.broadcast_to(
        np.arange(len(median))[:, None, None], (frames, len(median), h // 4, w // 4)
    )
    symbols.append(_pull(decoder, rows, tables[0]))
    side = []
    for z in symbols[-1] + median:
        x = _relu(exact.conv_transpose(frozen, "h_s.0", z))
        x = _relu(exact.conv_transpose(frozen, "h_s.2", x))
        side.append(exact.conv(frozen, "h_s.4", x).reshape(-1, h * w).T)
    even = (np.arange(h)[:, None] + np.arange(w)).ravel() % 2 == 0
    groups: list[list[Array]] = []  # [group][frame], each (g, h, w)
    for k in range(5):
        g = len(frozen[f"y{k}.spatial.bias"]) // 2
        done = [np.zeros((g, h, w)) for _ in range(frames)]
        for second in (False, True):
            where = np.flatnonzero(even ^ second)
            parameters = []
            for t in range(frames):
                parts = [
                    _spatial(frozen, k, done[t], where) if second else np.zeros((len(where), 2 * g))
                ]
                if k:
                    seen = (
                        groups[0][t] if k == 1 else np.concatenate((groups[0][t], groups[k - 1][t]))
                    )
                    parts.append(_chain(frozen, f"y{k}.channel", seen).reshape(-1, h * w).T[where])
                row = np.concatenate([*parts, side[t][where]], axis=1)
                for i in (0, 2, 4):
                    row = exact.linear(frozen, f"y{k}.net.{i}", _relu(row) if i else row)
                parameters.append(row)
            mean, scale = np.split(np.stack(parameters), 2, axis=-1)  # (T, positions, g)
            symbols.append(_pull(decoder, _index(scale, frozen["thresholds"]), tables[1]))
            for t in range(frames):
                done[t].reshape(g, -1)[:, where] = (symbols[-1][t] + mean[t]).T
        groups.append(done)
    return [np.concatenate([groups[k][t] for k in range(5)]) for t in range(frames)]


def _spatial(frozen: Frozen, k: int, latents: Array, where: Ints) -> Array:
    g, _, w = latents.shape
    padded = np.pad(latents, ((0, 0), (2, 2), (2, 2)))
    taps = [(i, j) for i in range(5) for j in range(5) if (i + j) % 2]
    rows = [
        [padded[c, p // w + i, p % w + j] for c in range(g) for i, j in taps]
        for p in where.tolist()
    ]
    return exact.linear(frozen, f"y{k}.spatial", np.array(rows))


def _chain(frozen: Frozen, name: str, x: Array) -> Array:
    for i in (0, 2, 4):
        x = exact.conv(frozen, f"{name}.{i}", _relu(x) if i else x)
    return x


def _index(x: Array, thresholds: NDArray[np.generic]) -> Ints:
    fixed = np.floor(x * 65536.0)
    return (thresholds.astype(np.float64) <= fixed[..., None]).sum(axis=-1)


# --- A.6 ---------------------------------------------------------------------------------------


def _reflected(i: int, length: int) -> int:
    while not 0 <= i < length:
        i = -i if i < 0 else 2 * (length - 1) - i
    return i


def _sources(length: int) -> list[int]:
    """Where each position of the extended latents comes from: to a multiple of 4, then 2 more."""
    if length == 1:
        return [0] * 8
    full = -(-length // 4) * 4
    inner = [_reflected(i, length) for i in range(full)]
    return [inner[_reflected(i, full)] for i in range(-2, full + 2)]


def _repacked(tokens: Array) -> Array:
    length, width = tokens.shape
    return tokens.reshape(length, length, width // length).transpose(1, 0, 2).reshape(length, -1)


@dataclass
class _Walk:
    """What stays the same from window to window, and the symbols so far."""

    frozen: Frozen
    decoder: RansDecoder
    size: tuple[int, int]  # h, w
    coded: int
    pack: Callable[[Array], Array]
    symbols: list[Ints]


def _temporal(
    frozen: Frozen, decoder: RansDecoder, shape: tuple[int, int, int, int], quality: int | None
) -> Read:
    frames, _, height, width = shape
    pack: Callable[[Array], Array] = (lambda x: x) if quality is None else _repacked
    h, w = -(-height // 16), -(-width // 16)
    walk = _Walk(frozen, decoder, (h, w), 16 if quality is None else quality, pack, [])
    columns = -(-w // 4)
    places = [divmod(i, columns) for i in range(-(-h // 4) * columns)]
    past: list[list[Array]] = []  # contexts of frames, one for each window
    images = []
    for _ in range(frames):
        image = np.zeros((len(frozen["zero"]), 4 * (1 + places[-1][0]), 4 * columns))
        for start in range(0, len(places), 16):
            group = places[start : start + 16]
            memories = [_memory(frozen, past, start + i, pack) for i in range(len(group))]
            _windows(walk, group, memories, image)
        images.append(image[:, :h, :w])
        past = [*past[-1:], [_context(frozen, images[-1], place, pack) for place in places]]
    return Read(np.concatenate(walk.symbols), np.stack(images))


def _context(frozen: Frozen, image: Array, place: tuple[int, int], pack: Any) -> Array:
    rows, columns = (_sources(n) for n in image.shape[1:])
    rows, columns = rows[4 * place[0] :][:8], columns[4 * place[1] :][:8]
    tokens = image[:, rows][:, :, columns].reshape(len(image), 64).T
    x = exact.embed(frozen, "encoder_embedding", pack(tokens))
    return exact.stack(frozen, "encoder_sep", x + _floats(frozen, "enc_position_sep")[0])


def _memory(frozen: Frozen, past: list[list[Array]], window: int, pack: Any) -> Array:
    if past:
        older, newer = past[0][window], past[-1][window]
    else:
        pad = np.broadcast_to(_floats(frozen, "pad")[0], (frozen["pad"].shape[1], 4, 4))
        older = newer = _context(frozen, pad, (0, 0), pack)
    joint = np.concatenate((older, newer)) + _floats(frozen, "enc_position_joint")[0]
    return exact.stack(frozen, "encoder_joint", joint)


def _windows(
    walk: _Walk, group: list[tuple[int, int]], memories: list[Array], image: Array
) -> None:
    """Decode up to 16 windows of one frame, token by token, into the latent image."""
    frozen, channels = walk.frozen, len(image)
    inside = [_inside(place, walk.size, channels, walk.pack) for place in group]
    tokens = [_floats(frozen, "zero")[None] for _ in group]
    table = Rows(frozen, "gaussian")
    hidden = np.triu(np.ones((16, 16), bool), 1)
    for token in range(16):
        means, rows = [], []
        for known, memory in zip(tokens, memories, strict=True):
            x = exact.embed(frozen, "decoder_embedding", known)
            x = x + _floats(frozen, "dec_position")[0, : token + 1]
            mask = hidden[: token + 1, : token + 1]
            z = exact.stack(frozen, "decoder", x, memory=memory, hidden=mask)[-1:]
            mean = exact.head(frozen, "mean_head", z)[0]
            scale = exact.head(frozen, "scale_head", z)[0]
            centre = np.clip(np.rint(mean), -(2.0**24), 2.0**24)
            bins = np.clip(np.floor(((mean - centre) + 0.5) * 100.0 + 0.5), 0, 99)
            means.append(centre)
            rows.append(256 * bins.astype(np.int64) + _index(scale, frozen["thresholds"]))
        for i, centre in enumerate(means):
            here = inside[i][token]
            values = np.where(here, centre, 0.0)
            if token < walk.coded:
                values[here] += _pull(walk.decoder, rows[i][here], table)
                walk.symbols.append(values[here].astype(np.int64))
            tokens[i] = np.concatenate((tokens[i], values[None]))
    for (row, column), found in zip(group, tokens, strict=True):
        cell = walk.pack(found[1:]).T.reshape(channels, 4, 4)
        image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = cell


def _inside(
    place: tuple[int, int], size: tuple[int, int], channels: int, pack: Any
) -> NDArray[np.bool_]:
    cell = np.zeros((channels, 4, 4))
    cell[:, : max(0, size[0] - 4 * place[0]), : max(0, size[1] - 4 * place[1])] = 1
    return np.asarray(pack(cell.reshape(channels, 16).T) > 0)


def crc32c(symbols: Ints) -> int:
    """CRC-32C of int32 little-endian, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in symbols.astype("<i4").tobytes():
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF

"""Tokens of mini `flextec` in a payload: their number, their sizes, themselves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tec_numcodecs.errors import CorruptChunk

TOKENS = 16


def join_tokens(tokens: Sequence[bytes]) -> bytes:
    """Tokens to a payload."""
    sizes = bytearray([len(tokens)])
    for token in tokens:
        size = len(token)
        while size > 127:
            sizes.append(size & 127 | 128)
            size >>= 7
        sizes.append(size)
    return bytes(sizes) + b"".join(tokens)


def split_tokens(payload: bytes) -> list[bytes]:
    """Undo :func:`join_tokens`.

    Raises
    ------
    CorruptChunk
        If there is no token, or another number of bytes than the sizes say.
    """
    count = payload[0] if payload else 0
    if not 1 <= count <= TOKENS:
        raise CorruptChunk(f"{count} tokens", allowed=f"1 to {TOKENS}")
    sizes, at = [], 1
    for _ in range(count):
        size = shift = 0
        while True:
            if at >= len(payload) or shift > 28:
                raise CorruptChunk("sizes of tokens that do not end")
            size |= (payload[at] & 127) << shift
            shift += 7
            at += 1
            if payload[at - 1] < 128:
                break
        sizes.append(size)
    if at + sum(sizes) != len(payload):
        raise CorruptChunk(f"a payload of {len(payload)} bytes that does not fit its tokens")
    ends = np.cumsum([at, *sizes]).tolist()
    return [payload[start:end] for start, end in pairwise(ends)]

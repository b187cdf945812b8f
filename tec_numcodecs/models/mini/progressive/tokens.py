"""Tokens of mini `flextec` in a payload: their number, their sizes, themselves."""

from __future__ import annotations

from collections.abc import Sequence

from tec_numcodecs.entropy.varint import ByteReader, varint
from tec_numcodecs.errors import CorruptChunk

TOKENS = 16


def join_tokens(tokens: Sequence[bytes]) -> bytes:
    """Tokens to a payload."""
    sizes = b"".join(varint(len(token)) for token in tokens)
    return bytes([len(tokens)]) + sizes + b"".join(tokens)


def split_tokens(payload: bytes) -> list[bytes]:
    """Undo `join_tokens`.

    Raises
    ------
    CorruptChunk
        If there is no token, or another number of bytes than the sizes say; or a size is not in
        its shortest form.
    """
    count = payload[0] if payload else 0
    if not 1 <= count <= TOKENS:
        raise CorruptChunk(f"{count} tokens", allowed=f"1 to {TOKENS}")
    reader = ByteReader(payload, 1)
    sizes = [reader.varint(len(payload)) for _ in range(count)]
    tokens = [reader.take(size) for size in sizes]
    if reader.left:
        raise CorruptChunk(f"{reader.left} bytes behind the last token", allowed="none")
    return tokens

"""Numbers of variable length, and a cursor over bytes that never passes their end."""

from __future__ import annotations

from tec_numcodecs.errors import CorruptChunk


def varint(value: int) -> bytes:
    """Little-endian groups of 7 bits, the high bit set in all but the last (LEB128)."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_MOST_BITS = 63  # of a length: zeros that go on and on are none


class ByteReader:
    """A cursor over bytes that refuses to pass the end."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._position

    def take(self, count: int) -> bytes:
        """Take some bytes."""
        if count > self.left:
            raise CorruptChunk(f"{self.left} bytes left", allowed=f"{count} that are announced")
        start = self._position
        self._position += count
        return self._data[start : self._position]

    def byte(self) -> int:
        """Take one byte."""
        return self.take(1)[0]

    def varint(self, limit: int, *, least: int = 0) -> int:
        """Take a number of variable length from `least` to `limit`, in its shortest form."""
        value = shift = 0
        while True:
            byte = self.byte()
            if shift > _MOST_BITS:
                raise CorruptChunk("a length without end", allowed=f"up to {limit}")
            value |= (byte & 0x7F) << shift
            if value > limit:
                raise CorruptChunk(f"a length of {value} or more", allowed=f"up to {limit}")
            if byte < 0x80:
                break
            shift += 7
        if byte == 0 and shift:
            raise CorruptChunk("a length with a leading zero", allowed="the shortest form")
        if value < least:
            raise CorruptChunk(f"a length of {value}", allowed=f"{least} to {limit}")
        return value

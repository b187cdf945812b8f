"""The one entropy coder: rANS over frozen integer tables, symbols and rows as arrays.

Encoder and decoder are told, for every symbol, which row of a `Tables` it is drawn from; the
stream holds nothing else, not even the number of symbols. Stages let later rows depend on earlier
symbols. See Duda, "Asymmetric numeral systems" (arXiv:1311.2540) for the method, and Giesen,
"Interleaved entropy coders" (arXiv:1402.3392) for the lanes.

The stream
----------
*Steps.* Everything becomes a sequence of steps (s, f): an interval of start s and width f on a
scale of 65536. A symbol that its row codes directly is one step, its interval. A symbol of a row
``UNIFORM + k`` is the step (v * 2^(16-k), 2^(16-k)): k raw bits of value v. Any other symbol is an
*escape*, two to four steps: the row's last interval; 6 raw bits, 2 * L + b; then L raw bits of
value d - 2^L, most significant piece first: L - 16 bits and 16 bits if L > 16, all L bits if
1 <= L <= 16, nothing if L = 0. Here b = 1 if the symbol is below the row's first direct symbol, d
is its distance to the nearest direct symbol (>= 1), and 2^L is the largest power of two <= d. So
L <= 31 and every int32 can be coded with every row.

*States.* Steps are coded last to first. Let put(x, s, f) = (x // f) * 65536 + x mod f + s. At
first there is one state, x = 65536, and each step makes x = put(x, s, f), as long as
x < f * 2^47. The first step t (counted from 0 in decoding order, over all stages) for which that
does not hold splits it into two lanes: lane t mod 2 becomes put(x // 2^32, s, f), the other one
2^32 + x mod 2^32. From then on step t uses lane t mod 2 only: if its x >= f * 2^47, the word
x mod 2^32 is emitted and x becomes x // 2^32; then x = put(x, s, f). States never reach 2^63.

*Bytes.* No steps: no bytes. One state at the end: its value, little-endian, without leading zero
bytes (3 to 8 bytes). Two lanes: one byte n0 + 16 * n1, lane 0 in n0 bytes, lane 1 in n1 bytes,
both little-endian without leading zero bytes (4 to 8 bytes each, so that the stream has 9 or
more), then the words, the one emitted last first, 4 bytes each, little-endian.

*Decoding* a step of lane x: r = x mod 65536 lies in one interval [s, s + f); x becomes
(x // 65536) * f + r - s. If there are two lanes and now x < 2^31: x becomes x * 2^32 + the next
word; if there is none left, the other lane must be 2^32 + w with w < 2^32, and both become the
single state x * 2^32 + w. A stream is corrupt if its first states are not as above (lanes in
[2^31, 2^63), a single state in (65536, 2^63)), if a single state falls below 65536, if an escape
exceeds int32, or if at the end there are words left or the state is not the single 65536.

A stream is at most 6 bytes and 0.01 % longer than the tables' cross-entropy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from tec_numcodecs.entropy.cdf_tables import Tables
from tec_numcodecs.entropy.rans_python import PythonDecoder, PythonEncoder
from tec_numcodecs.entropy.rans_steps import (
    UNIFORM,
    check_pair,
    check_vector,
    refuse_row,
    refuse_uniform,
)
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_numcodecs.native import native

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

__all__ = ["UNIFORM", "Decoder", "Encoder", "Tables", "decode", "encode"]

# Outcomes of the C core, see _csrc/rans.h.
_OK, _BAD_ROW, _BAD_SYMBOL, _BUSY = 0, 3, 4, 6


class Encoder:
    """Collects symbols stage by stage, in the order in which they will be decoded."""

    def __init__(self) -> None:
        module = native()
        self._impl: _NativeEncoder | PythonEncoder | None
        self._impl = _NativeEncoder(module) if module else PythonEncoder()

    def push(self, symbols: NDArray[np.int32], rows: NDArray[np.int32], tables: Tables) -> None:
        """Add a stage.

        Parameters
        ----------
        symbols : array of int32, shape (n,)
            Any values; those that their row does not code directly cost an escape.
        rows : array of int32, shape (n,)
            For each symbol a row of `tables`, or ``UNIFORM + k`` for k raw bits (1 <= k <= 16,
            0 <= symbol < 2^k).
        tables : Tables
            May differ from stage to stage.

        Raises
        ------
        InvalidInput
            For arrays of another type or shape, a row that does not exist, a uniform symbol that
            does not fit, an encoder that is finished. Nothing is added then.
        """
        symbols, rows = check_pair(symbols, rows)
        self._open().push(symbols, rows, tables)

    def finish(self) -> bytes:
        """Return the stream of everything pushed. The encoder can't be used again.

        Raises
        ------
        InvalidInput
            If the encoder is finished already.
        """
        data = self._open().finish()
        self._impl = None
        return data

    def _open(self) -> _NativeEncoder | PythonEncoder:
        if self._impl is None:
            raise InvalidInput("a finished encoder", fix="make a new rans.Encoder for a new stream")
        return self._impl


class Decoder:
    """Reads a stream stage by stage.

    Parameters
    ----------
    data : bytes-like
        The whole stream, and nothing behind it.

    Raises
    ------
    CorruptChunk
        If no stream begins like that.
    """

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        module = native()
        self._impl: _NativeDecoder | PythonDecoder
        self._impl = _NativeDecoder(module, bytes(data)) if module else PythonDecoder(bytes(data))

    def pull(self, rows: NDArray[np.int32], tables: Tables) -> NDArray[np.int32]:
        """Decode the next ``len(rows)`` symbols.

        Parameters
        ----------
        rows : array of int32, shape (n,)
            The rows that these symbols were encoded with.
        tables : Tables
            The tables that they were encoded with.

        Returns
        -------
        array of int32, shape (n,)

        Raises
        ------
        CorruptChunk
            If the stream ends too early or holds an impossible symbol. Damage that no rule is
            broken by gives other symbols: streams are to be guarded by a checksum.
        InvalidInput
            For an array of another type or shape, or a row that does not exist.
        """
        return self._impl.pull(check_vector("rows", rows), tables)

    @property
    def position(self) -> int:
        """How many bytes of the stream the symbols pulled so far needed."""
        return self._impl.position

    def finish(self) -> None:
        """Check that the stream was read to its end, no more and no less.

        Raises
        ------
        CorruptChunk
            If bytes are left, or the state is not the one that encoders begin with.
        """
        if not self._impl.close():
            raise CorruptChunk(
                "an entropy-coded stream that does not end where its symbols do",
                fix="the chunk is damaged, or is read with other tables than it was written with",
            )


def encode(symbols: NDArray[np.int32], rows: NDArray[np.int32], tables: Tables) -> bytes:
    """Encode one stage; `Encoder.push` describes the parameters and errors."""
    encoder = Encoder()
    encoder.push(symbols, rows, tables)
    return encoder.finish()


def decode(
    data: bytes | bytearray | memoryview, rows: NDArray[np.int32], tables: Tables
) -> NDArray[np.int32]:
    """Decode a stream of one stage, to its end; `Decoder` describes parameters and errors."""
    decoder = Decoder(data)
    symbols = decoder.pull(rows, tables)
    decoder.finish()
    return symbols


class _NativeEncoder:
    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._encoder = module.rans_encoder()

    def push(self, symbols: NDArray[np.int32], rows: NDArray[np.int32], tables: Tables) -> None:
        compiled = tables.compiled(self._module)
        status, i = self._module.rans_push(self._encoder, compiled, symbols, rows)
        if status == _BAD_SYMBOL:
            refuse_uniform(symbols[i], i)
        _raise_from(status, i, rows, tables)

    def finish(self) -> bytes:
        data = self._module.rans_finish(self._encoder)
        if not isinstance(data, bytes):
            _raise_busy()
        return data


class _NativeDecoder:
    def __init__(self, module: ModuleType, data: bytes) -> None:
        self._module = module
        self._decoder = module.rans_decoder(data)
        if self._decoder is None:
            raise CorruptChunk(f"{len(data)} bytes that are no entropy-coded stream")

    def pull(self, rows: NDArray[np.int32], tables: Tables) -> NDArray[np.int32]:
        out = np.empty(len(rows), np.int32)
        compiled = tables.compiled(self._module)
        status, i = self._module.rans_pull(self._decoder, compiled, rows, out)
        _raise_from(status, i, rows, tables)
        return out

    @property
    def position(self) -> int:
        return int(self._module.rans_position(self._decoder))

    def close(self) -> bool:
        return bool(self._module.rans_close(self._decoder))


def _raise_from(status: int, i: int, rows: NDArray[np.int32], tables: Tables) -> None:
    if status == _OK:
        return
    if status == _BUSY:
        _raise_busy()
    if status == _BAD_ROW:
        refuse_row(rows[i], i, tables)
    raise CorruptChunk(f"an entropy-coded stream that breaks off or goes wrong at symbol {i}")


def _raise_busy() -> NoReturn:
    raise InvalidInput("an encoder or decoder in two threads at once", fix="make one per thread")

"""Walking through a context model: the same steps whether symbols are found, replayed or read.

A model visits its symbols in coding order and calls ``coder.code`` for every stage. What differs
between the encoder and the decoder is the coder alone, so they cannot drift apart. Networks may
run on a device; the streams themselves lie in the processor's memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tec_numcodecs.entropy import rans
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_numcodecs.models.terracodec.standardize import LATENT_LIMIT, to_symbols

IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Stage:
    """Symbols that are coded together, and the rows that code them."""

    symbols: IntArray
    rows: IntArray
    tables: rans.Tables


class Coder(Protocol):
    """Supplies the symbols of one stage after the other."""

    def code(self, rows: Tensor, tables: rans.Tables, wanted: Tensor | None) -> Tensor:
        """Return the symbols of a stage.

        Parameters
        ----------
        rows : Tensor
            int64, table row of each symbol.
        tables : rans.Tables
            The tables that the rows belong to.
        wanted : Tensor, optional
            float64 of the same shape, what an encoder would like to code.

        Returns
        -------
        Tensor
            float64 of the same shape, whole numbers, where the rows are.
        """
        ...


class Source:
    """The symbols of one stream, in memory of the processor. Keeps the stages that have passed."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def symbols(self) -> IntArray:
        """Return all symbols so far, int32 in coding order."""
        return np.concatenate([s.symbols for s in self.stages] or [np.zeros(0, np.int32)])

    def take(self, rows: IntArray, tables: rans.Tables, wanted: IntArray | None) -> IntArray:
        """Return the symbols of a stage.

        Parameters
        ----------
        rows : int32 array (n,)
        tables : rans.Tables
        wanted : int32 array (n,), optional
            What an encoder would like to code.

        Returns
        -------
        int32 array (n,)
        """
        symbols = self._next(rows, tables, wanted)
        self.stages.append(Stage(symbols, rows, tables))
        return symbols

    def code(self, rows: Tensor, tables: rans.Tables, wanted: Tensor | None) -> Tensor:
        """Do `Coder.code` for one stream."""
        return Together([self]).code(rows, tables, wanted)

    def _next(self, rows: IntArray, tables: rans.Tables, wanted: IntArray | None) -> IntArray:
        raise NotImplementedError


class Quantizer(Source):
    """An encoder: takes what is wanted."""

    def _next(self, rows: IntArray, tables: rans.Tables, wanted: IntArray | None) -> IntArray:  # noqa: ARG002
        if wanted is None:
            raise InvalidInput("nothing to quantize", fix="pass the latents")
        return wanted


class Replay(Source):
    """An encoder that knows its symbols already and needs their rows."""

    def __init__(self, symbols: IntArray) -> None:
        super().__init__()
        self._left = symbols

    def _next(self, rows: IntArray, tables: rans.Tables, wanted: IntArray | None) -> IntArray:  # noqa: ARG002
        count = len(rows)
        if count > len(self._left):
            raise InvalidInput("fewer symbols than the geometry asks for")
        symbols, self._left = self._left[:count], self._left[count:]
        return symbols


class Reader(Source):
    """A decoder."""

    def __init__(self, payload: bytes) -> None:
        super().__init__()
        self._decoder = rans.Decoder(payload)

    def _next(self, rows: IntArray, tables: rans.Tables, wanted: IntArray | None) -> IntArray:  # noqa: ARG002
        symbols = self._decoder.pull(rows, tables)
        check_symbols(symbols)
        return symbols

    def finish(self) -> None:
        """Check that the stream ended where its symbols did."""
        self._decoder.finish()


class Together:
    """Streams of one shape, whose networks run together: the first axis holds one after another.

    Symbols, rows and what is wanted go between the device and the streams once a stage.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def code(self, rows: Tensor, tables: rans.Tables, wanted: Tensor | None) -> Tensor:
        """Do `Coder.code`."""
        whole = None if wanted is None else to_symbols(wanted)
        count = len(self._sources)
        if whole is None:
            mine, asked = np.split(as_rows(rows), count), [None] * count
        else:
            both = torch.stack((rows.reshape(-1), whole.reshape(-1).to(rows.dtype)))
            on_host = both.to(torch.int32).cpu().numpy()
            mine, asked = (np.split(part, count) for part in on_host)  # type: ignore[assignment]
        taken = [
            source.take(row, tables, some)
            for source, row, some in zip(self._sources, mine, asked, strict=True)
        ]
        if whole is not None:
            return whole
        symbols = torch.from_numpy(np.concatenate(taken)).to(rows.device)
        return symbols.to(torch.float64).reshape(rows.shape)


def encode(stages: Sequence[Stage]) -> bytes:
    """Code recorded stages into one stream."""
    encoder = rans.Encoder()
    for stage in stages:
        encoder.push(stage.symbols, stage.rows, stage.tables)
    return encoder.finish()


def as_rows(rows: Tensor) -> IntArray:
    """Return table rows as the coder takes them: int32, one dimension."""
    return np.ascontiguousarray(rows.reshape(-1).to(torch.int32).cpu().numpy())


def check_symbols(symbols: NDArray[np.integer[Any]]) -> None:
    """Refuse symbols that no encoder writes, before they reach a network.

    Raises
    ------
    CorruptChunk
        A symbol is beyond +-2**24 (by more than a mean's worth).
    """
    if symbols.size and int(np.abs(symbols.astype(np.int64)).max()) > 2 * LATENT_LIMIT:
        raise CorruptChunk("a latent beyond 2**25", fix="the chunk is damaged")

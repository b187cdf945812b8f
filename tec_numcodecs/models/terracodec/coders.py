"""Walking through a context model: the same steps whether symbols are found, replayed or read.

A model visits its symbols in coding order and calls ``coder.code`` for every stage. What differs
between the encoder and the decoder is the coder alone, so they cannot drift apart.
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

    stages: list[Stage]

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
            float64 of the same shape, whole numbers.
        """
        ...


class _Recorder:
    """Keeps the stages that have passed."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def symbols(self) -> IntArray:
        """Return all symbols so far, int32 in coding order."""
        return np.concatenate([s.symbols for s in self.stages] or [np.zeros(0, np.int32)])

    def _keep(self, symbols: IntArray, rows: Tensor, tables: rans.Tables) -> Tensor:
        self.stages.append(Stage(symbols, as_rows(rows), tables))
        return torch.from_numpy(symbols).to(torch.float64).reshape(rows.shape)


class Quantizer(_Recorder):
    """An encoder: rounds what is wanted."""

    def code(self, rows: Tensor, tables: rans.Tables, wanted: Tensor | None) -> Tensor:
        """Round to the nearest whole numbers."""
        if wanted is None:
            raise InvalidInput("nothing to quantize", fix="pass the latents")
        symbols = to_symbols(wanted).to(torch.int32).reshape(-1).numpy()
        return self._keep(symbols, rows, tables)


class Replay(_Recorder):
    """An encoder that knows its symbols already and needs their rows."""

    def __init__(self, symbols: IntArray) -> None:
        super().__init__()
        self._left = symbols

    def code(self, rows: Tensor, tables: rans.Tables, wanted: Tensor | None) -> Tensor:  # noqa: ARG002
        """Take the next symbols."""
        count = rows.numel()
        if count > len(self._left):
            raise InvalidInput("fewer symbols than the geometry asks for")
        symbols, self._left = self._left[:count], self._left[count:]
        return self._keep(symbols, rows, tables)


class Reader(_Recorder):
    """A decoder."""

    def __init__(self, payload: bytes) -> None:
        super().__init__()
        self._decoder = rans.Decoder(payload)

    def code(self, rows: Tensor, tables: rans.Tables, wanted: Tensor | None) -> Tensor:  # noqa: ARG002
        """Decode the next symbols."""
        symbols = self._decoder.pull(as_rows(rows), tables)
        check_symbols(symbols)
        return self._keep(symbols, rows, tables)

    def finish(self) -> None:
        """Check that the stream ended where its symbols did."""
        self._decoder.finish()


class TokenCoder(Protocol):
    """Supplies the latents of one token after the other, given their rounded means."""

    stages: list[Stage]

    def code(
        self, rows: Tensor, tables: rans.Tables, center: Tensor, known: Tensor | None
    ) -> Tensor:
        """Return latents.

        Parameters
        ----------
        rows : Tensor
            int64 (n,), table row of each difference from `center`.
        tables : rans.Tables
            The tables that the rows belong to.
        center : Tensor
            float64 (n,), rounded means.
        known : Tensor, optional
            float64 (n,), the latents, if this is an encoder.

        Returns
        -------
        Tensor
            float64 (n,), whole numbers.
        """
        ...


class TokenRecorder(_Recorder):
    """An encoder: notes the differences."""

    def code(
        self, rows: Tensor, tables: rans.Tables, center: Tensor, known: Tensor | None
    ) -> Tensor:
        """Note the differences of the known latents; return these."""
        if known is None:
            raise InvalidInput("no latents to encode")
        self._keep((known - center).to(torch.int32).numpy(), rows, tables)
        return known


class TokenReader(_Recorder):
    """A decoder."""

    def __init__(self, payload: bytes) -> None:
        super().__init__()
        self._decoder = rans.Decoder(payload)

    def code(
        self,
        rows: Tensor,
        tables: rans.Tables,
        center: Tensor,
        known: Tensor | None,  # noqa: ARG002
    ) -> Tensor:
        """Decode the differences; return the latents."""
        symbols = self._decoder.pull(as_rows(rows), tables)
        check_symbols(symbols)
        latents = self._keep(symbols, rows, tables) + center
        check_symbols(latents.to(torch.int64).numpy())
        return latents

    def finish(self) -> None:
        """Check that the stream ended where its symbols did."""
        self._decoder.finish()


def encode(stages: Sequence[Stage]) -> bytes:
    """Code recorded stages into one stream."""
    encoder = rans.Encoder()
    for stage in stages:
        encoder.push(stage.symbols, stage.rows, stage.tables)
    return encoder.finish()


def as_rows(rows: Tensor) -> IntArray:
    """Return table rows as the coder takes them: int32, one dimension."""
    return np.ascontiguousarray(rows.reshape(-1).to(torch.int32).numpy())


def check_symbols(symbols: NDArray[np.integer[Any]]) -> None:
    """Refuse symbols that no encoder writes, before they reach a network.

    Raises
    ------
    CorruptChunk
        A symbol is beyond +-2**24 (by more than a mean's worth).
    """
    if symbols.size and int(np.abs(symbols.astype(np.int64)).max()) > 2 * LATENT_LIMIT:
        raise CorruptChunk("a latent beyond 2**25", fix="the chunk is damaged")

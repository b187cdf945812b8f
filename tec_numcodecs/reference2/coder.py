"""What a walk over the symbols of a date asks for, and the coder that reads it from a stream.

A walk (`fp`, `context`, `flextec`) knows in which row the next symbols are coded, and asks a coder
for them. A coder that reads takes them from a stream. One that writes lets somebody choose them:
the walk then says what a reader will make of them. `Place` tells that one what is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.reference2.rans import Ints, RansDecoder, Row, require

LOWPASS = 5  # its number among the levels


class Place(NamedTuple):
    """What is asked for, and where it lies.

    `what` is entry, rotations, q, p, j, sign, reference, shift, flags, integers, digits, low flags
    or low bits; of residuals, classes and residuals. `at` says which values of the plane (or of its
    blocks) they are, in raster order.
    `number` is the pass of mini flextec.
    """

    what: str
    level: int = 0
    component: int = 0
    orientation: int = 0
    at: NDArray[np.bool_] | None = None
    number: int = 0


class Table(dict[int, Row]):
    """Rows of a weights file, each taken apart when it is first needed."""

    def __init__(self, cdf: Ints, starts: Ints, minimum: Ints) -> None:
        self.cdf, self.starts, self.minimum = cdf, starts, minimum

    def __missing__(self, row: int) -> Row:
        bounds = self.cdf[self.starts[row] : self.starts[row + 1]].tolist()
        self[row] = [*bounds, 1 << 16], int(self.minimum[row])
        return self[row]


class Coder(Protocol):
    """Gives a walk its integers."""

    def symbols(
        self, place: Place, rows: Ints, table: Mapping[int, Row], lowest: Any, highest: int
    ) -> Ints:
        """One symbol for each row number; others than `lowest` to `highest` MUST be refused.

        `lowest` may be one for each symbol.
        """

    def raws(self, place: Place, bits: Ints) -> Ints:
        """One raw value for each number of bits, 1 to 16."""

    def integers(
        self, place: Place, rows: Ints, table: Mapping[int, Row], base: Ints, bits: Ints, most: int
    ) -> Ints:
        """Integers in two parts: first all symbols, up to `most` in magnitude, then low bits.

        An integer is base + symbol * 2^bits + low bits.
        """


class Reader:
    """Reads a stream."""

    def __init__(self, data: bytes) -> None:
        self.rans = RansDecoder(data)

    def symbols(
        self, place: Place, rows: Ints, table: Mapping[int, Row], lowest: Any, highest: int
    ) -> Ints:
        found = np.array([self.rans.symbol(table[row]) for row in rows.tolist()], np.int64)
        wrong = found[(found < lowest) | (found > highest)]
        require(
            not wrong.size,
            f"{wrong[:1]} among {place.what} of component {place.component}, level {place.level}; "
            f"from {np.min(lowest)} to {highest} is possible",
        )
        return found

    def raws(self, place: Place, bits: Ints) -> Ints:  # noqa: ARG002  (writers need the place)
        return np.array([self.rans.raw(k) for k in bits.tolist()], np.int64)

    def integers(
        self, place: Place, rows: Ints, table: Mapping[int, Row], base: Ints, bits: Ints, most: int
    ) -> Ints:
        symbols = self.symbols(place, rows, table, -most, most)
        low = np.zeros_like(symbols)
        low[bits > 0] = self.raws(place, bits[bits > 0])
        return base + (symbols << bits) + low

    def finish(self) -> None:
        self.rans.finish()


def one(
    coder: Coder, place: Place, row: int, table: Mapping[int, Row], lowest: Any, highest: int
) -> int:
    """One symbol."""
    return int(coder.symbols(place, np.array([row]), table, lowest, highest)[0])


def raw(coder: Coder, place: Place, bits: int) -> int:
    """One raw value."""
    return int(coder.raws(place, np.array([bits]))[0])


class Weights:
    """Tensors of a weights file by name, and what is made of them, each made once.

    Integers are int64 here, so that nothing overflows, and all others binary64. `sha256` is that
    of the file, if it is known.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], sha256: bytes | None = None) -> None:
        self.arrays, self.sha256 = arrays, sha256
        self.made: dict[Any, Any] = {}

    def tensor(self, name: str) -> NDArray[Any]:
        """Return a tensor.

        Raises
        ------
        WeightsError
            If there is none of that name.
        """
        if name not in self.made:
            if name not in self.arrays:
                raise WeightsError(f"no tensor {name}", fix="use the file that the chunk names")
            found = np.asarray(self.arrays[name])
            kind = np.int64 if found.dtype.kind in "iu" else np.float64
            self.made[name] = found.astype(kind)
        return self.made[name]

    def table(self, name: str) -> Table:
        """Rows `name`.cdf, .starts, .minimum."""
        key = "table", name
        if key not in self.made:
            parts = ("cdf", "starts", "minimum")
            self.made[key] = Table(*(self.tensor(f"{name}.{part}") for part in parts))
        return self.made[key]


def load_weights(path: str | Path) -> Weights:
    """Read a weights file; `decode` then refuses chunks that name another one.

    Raises
    ------
    WeightsError
        If the file is unreadable.
    """
    try:
        data = Path(path).read_bytes()
        arrays = load_safetensors(data)
        json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")], object_pairs_hook=_once)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise WeightsError(f"{path}: {error}", allowed="a readable safetensors file") from error
    return Weights(arrays, hashlib.sha256(data).digest())


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a JSON object in which a name stands twice: readers differ in which one they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return found

"""From symbols and rows to coding steps, in NumPy: checks, intervals, escapes.

`tec_numcodecs.entropy.rans` says what a step is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from tec_numcodecs.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tec_numcodecs.entropy.cdf_tables import Tables

UNIFORM = 1 << 24
"""Row ``UNIFORM + k`` of any table is a symbol of k raw bits, 1 <= k <= 16."""
HEAD_BITS = 6


def check_vector(name: str, array: object) -> NDArray[np.int32]:
    """Return an int32 vector, contiguous and aligned; refuse everything else.

    No cast is tried: it would turn NaN or 2^40 into some symbol.
    """
    if not isinstance(array, np.ndarray) or array.dtype != np.int32 or array.ndim != 1:
        found = f"{name}: {type(array).__name__}"
        if isinstance(array, np.ndarray):
            found = f"{name}: {array.dtype} of shape {array.shape}"
        raise InvalidInput(
            found,
            allowed="int32 array of one dimension",
            fix="round, check the range, then convert with .astype(np.int32).ravel()",
        )
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else array.copy()


def check_pair(symbols: object, rows: object) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return symbols and rows, two int32 vectors of one length; refuse everything else."""
    first, second = check_vector("symbols", symbols), check_vector("rows", rows)
    if len(first) != len(second):
        raise InvalidInput(
            f"{len(first)} symbols, {len(second)} rows", allowed="one row for each symbol"
        )
    return first, second


def resolve(
    symbols: NDArray[np.int32], rows: NDArray[np.int32], tables: Tables
) -> NDArray[np.uint32]:
    """Turn symbols into steps, ``start | frequency << 16``, in decoding order."""
    direct = (rows >= 0) & (rows < len(tables))
    bits = np.where(direct, 16, rows.astype(np.int64) - UNIFORM)
    bad = ~direct & ((bits < 1) | (bits > 16))
    if bad.any():
        refuse_row(rows[np.argmax(bad)], int(np.argmax(bad)), tables)
    bad = ~direct & ((symbols < 0) | (symbols.astype(np.int64) >> bits != 0))
    if bad.any():
        refuse_uniform(symbols[np.argmax(bad)], int(np.argmax(bad)))
    # As if all were uniform; the others follow.
    steps: NDArray[np.int64] = (symbols.astype(np.int64) << (16 - bits)) | (1 << (32 - bits))
    if not direct.any():
        return steps.astype(np.uint32)
    row = rows[direct]
    k = symbols[direct].astype(np.int64) - tables.minimum[row]
    last = tables.sizes[row] - 1
    escaped = (k < 0) | (k >= last)
    interval = tables.starts[row] + np.where(escaped, last, k)
    start = tables.cdf[interval].astype(np.int64)
    # Behind a row comes the next one's 0, behind all of them this one: 65536, modulo 65536.
    end = np.append(tables.cdf, np.uint16(0))[interval + 1].astype(np.int64)
    steps[direct] = start | ((end - start) & 0xFFFF) << 16
    if not escaped.any():
        return steps.astype(np.uint32)
    tails = [
        _escape_steps(symbol, minimum, n)
        for symbol, minimum, n in zip(
            symbols[direct][escaped].tolist(),
            tables.minimum[row[escaped]].tolist(),
            last[escaped].tolist(),
            strict=True,
        )
    ]
    after = np.flatnonzero(direct)[escaped] + 1
    where = np.repeat(after, [len(tail) for tail in tails])
    steps = np.insert(steps, where, [step for tail in tails for step in tail])
    return steps.astype(np.uint32)


def _escape_steps(symbol: int, minimum: int, direct: int) -> list[int]:
    """Return the uniform steps behind an escape; `direct` is the row's number of symbols."""
    below = symbol < minimum
    distance = minimum - symbol if below else symbol - (minimum + direct) + 1
    length = distance.bit_length() - 1
    pieces = [(HEAD_BITS, 2 * length + below)]
    rest = distance - (1 << length)
    if length > 16:
        pieces.append((length - 16, rest >> 16))
        rest, length = rest & 0xFFFF, 16
    if length:
        pieces.append((length, rest))
    return [value << (16 - bits) | 1 << (32 - bits) for bits, value in pieces]


def refuse_row(row: int, i: int, tables: Tables) -> NoReturn:
    """Raise `InvalidInput` about a row number that there is none of, at position i."""
    raise InvalidInput(
        f"row {row} at position {i}",
        allowed=f"0 ... {len(tables) - 1}, or UNIFORM + 1 ... UNIFORM + 16",
    )


def refuse_uniform(symbol: int, i: int) -> NoReturn:
    """Raise `InvalidInput` about a uniform symbol that does not fit in its bits."""
    raise InvalidInput(f"uniform symbol {symbol} at position {i}", allowed="0 ... 2^bits - 1")

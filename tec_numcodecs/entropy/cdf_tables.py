"""Frozen tables of integer probabilities: what every entropy model hands to the coder.

A row is a distribution over consecutive integers, given by where its intervals start on a scale
of 65536. Its last interval is the escape, for every integer that the row does not name. Tables
are data: they are made once, when weights are frozen, and only read and checked from then on.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from tec_numcodecs.entropy.rans_steps import UNIFORM, check_pair, resolve
from tec_numcodecs.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from numpy.typing import ArrayLike, NDArray

TOTAL = 1 << 16


@dataclass(frozen=True, eq=False)
class Tables:
    """Rows of integer distributions, validated once and never changed.

    Row r has n = ``starts[r + 1] - starts[r]`` intervals, 2 <= n <= 65536. The first n - 1 of them
    are the symbols ``minimum[r]`` ... ``minimum[r] + n - 2``; the last one is the escape.

    Parameters
    ----------
    cdf : array of uint16, shape (N,)
        Interval starts of all rows, one row after the other. Each row begins with 0 and increases
        strictly; its end, 65536, is not stored. So every interval is at least 1 / 65536 wide.
    starts : array of int64, shape (R + 1,)
        Where each row begins in `cdf`; the last entry is N. Other integer types are converted.
    minimum : array of int32, shape (R,)
        The symbol of each row's first interval.

    Raises
    ------
    InvalidInput
        If any of this does not hold.
    """

    cdf: NDArray[np.uint16]
    starts: NDArray[np.int64]
    minimum: NDArray[np.int32]
    _compiled: object = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, dtype in (("cdf", np.uint16), ("starts", np.int64), ("minimum", np.int32)):
            object.__setattr__(self, name, _frozen(name, getattr(self, name), dtype))
        _validate(self.cdf, self.starts, self.minimum)

    def __len__(self) -> int:
        return len(self.minimum)

    def __repr__(self) -> str:
        return f"Tables({len(self)} rows, {len(self.cdf)} intervals)"

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        # Only the data: what was compiled from it belongs to this process.
        return type(self), (self.cdf, self.starts, self.minimum)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of intervals of each row, the escape included, shape (R,)."""
        return np.diff(self.starts)

    @classmethod
    def from_frequencies(cls, frequencies: Sequence[ArrayLike], minimum: ArrayLike) -> Tables:
        """Build tables from frequencies that are integers already.

        Parameters
        ----------
        frequencies : sequence of R integer arrays, shape (n_r,)
            Each sums to 65536 exactly, every entry is at least 1, the last one is the escape's.
        minimum : array of int, shape (R,)
            The symbol that each row's first frequency belongs to.

        Raises
        ------
        InvalidInput
            If a row breaks these rules; the message names it.
        """
        rows = [np.asarray(row) for row in frequencies]
        for r, row in enumerate(rows):
            if row.ndim != 1 or row.dtype.kind not in "iu" or len(row) < 2:
                raise InvalidInput(
                    f"frequencies of row {r}: {row.dtype} of shape {row.shape}",
                    allowed="integers, one dimension, at least 2 entries",
                )
            # int() because sums of unsigned 64-bit entries may wrap; Python's do not.
            if int(row.min()) < 1 or sum(row.tolist()) != TOTAL:
                raise InvalidInput(
                    f"frequencies of row {r} sum to {sum(row.tolist())}, least {row.min()}",
                    allowed="entries >= 1 that sum to 65536",
                    fix="use Tables.from_pmfs, which rounds probabilities that way",
                )
        # Each row's start is a multiple of 65536 in the running sum: it wraps to 0 by itself.
        widths = np.concatenate([*rows, np.zeros(0)]).astype(np.int64)
        return cls(
            cdf=(np.cumsum(widths) - widths).astype(np.uint16),
            starts=np.cumsum([0, *map(len, rows)], dtype=np.int64),
            minimum=np.asarray(minimum),
        )

    @classmethod
    def from_pmfs(cls, pmfs: Sequence[ArrayLike], minimum: ArrayLike) -> Tables:
        """Round probabilities to integer frequencies, the same ones on every machine.

        Meant for freezing weights, not for decoders: tables are stored, never recomputed. Uses
        only correctly rounded float64 operations.

        Parameters
        ----------
        pmfs : sequence of R float arrays, shape (n_r,)
            Weights >= 0, not necessarily normalized (counts will do). The last one is the mass of
            everything outside the row. Entries may be 0: they still get 1 / 65536.
        minimum : array of int, shape (R,)
            The symbol that each row's first weight belongs to.

        Raises
        ------
        InvalidInput
            If a row has fewer than 2 or more than 65536 entries, or no positive finite sum.
        """
        return cls.from_frequencies([_round(r, row) for r, row in enumerate(pmfs)], minimum)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the three arrays by name, as `from_arrays` takes them (safetensors-friendly)."""
        return {"cdf": self.cdf, "starts": self.starts, "minimum": self.minimum}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike]) -> Tables:
        """Build tables from `to_arrays`' result; other keys are ignored.

        Raises
        ------
        InvalidInput
            If an array is missing or the arrays make no valid tables.
        """
        names = ("cdf", "starts", "minimum")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise InvalidInput(f"no array {missing} among {sorted(arrays)}", allowed=str(names))
        return cls(**{name: np.asarray(arrays[name]) for name in names})

    def cross_entropy_bits(self, symbols: NDArray[np.int32], rows: NDArray[np.int32]) -> float:
        """Return what these symbols cost under these rows, in bits, with escapes and raw bits.

        An encoded stream is longer than this by a few bytes; see `tec_numcodecs.entropy.rans`.

        Parameters
        ----------
        symbols, rows : arrays of int32, shape (n,)
            As for `tec_numcodecs.entropy.rans.encode`, which also says what is raised.
        """
        steps = resolve(*check_pair(symbols, rows), self)
        widths = (steps >> 16).astype(np.float64)
        return 16.0 * len(steps) - float(np.log2(widths).sum())

    def compiled(self, module: ModuleType) -> object:
        """Return the C core's form of these tables, made at its first use in this process.

        It holds a copy of `cdf` and one look-up entry (2 bytes) for each interval, roughly.
        """
        if self._compiled is None:
            compiled = module.rans_tables(self.cdf, self.starts, self.minimum)
            if compiled is None:
                raise InvalidInput("tables that the C core refuses", allowed="see rans.Tables")
            object.__setattr__(self, "_compiled", compiled)
        return self._compiled


def _frozen(name: str, array: ArrayLike, dtype: type[np.generic]) -> NDArray[np.generic]:
    """Return a read-only, contiguous array of `dtype` with the same values."""
    given = np.asarray(array)
    if given.dtype.kind not in "iu" and given.size:
        raise InvalidInput(f"{name} of dtype {given.dtype}", allowed="integers")
    if given.ndim != 1:
        raise InvalidInput(f"{name} of shape {given.shape}", allowed="one dimension")
    converted = np.array(given, dtype=dtype, order="C", copy=True)
    if not np.array_equal(converted, given):
        raise InvalidInput(f"{name} from {given.min()} to {given.max()}", allowed=f"{dtype}")
    converted.flags.writeable = False
    return converted


def _validate(
    cdf: NDArray[np.uint16], starts: NDArray[np.int64], minimum: NDArray[np.int32]
) -> None:
    """Check what `Tables` promises; the C core checks it again when it takes the tables over."""
    if len(starts) != len(minimum) + 1:
        raise InvalidInput(
            f"{len(starts)} starts for {len(minimum)} minima", allowed="one start more than rows"
        )
    if len(minimum) > UNIFORM or len(cdf) >= 1 << 31:
        raise InvalidInput(
            f"{len(minimum)} rows, {len(cdf)} intervals", allowed="at most 2^24 rows, 2^31 - 1"
        )
    if starts[0] != 0 or starts[-1] != len(cdf):
        raise InvalidInput(
            f"starts from {starts[0]} to {starts[-1]}", allowed=f"from 0 to {len(cdf)}, all of cdf"
        )
    sizes = np.diff(starts)
    _require((sizes >= 2) & (sizes <= TOTAL), "number of intervals", sizes, "2 ... 65536")
    first = starts[:-1]
    _require(cdf[first] == 0, "first interval start", cdf[first], "0")
    last = minimum + sizes - 2
    _require(last < 1 << 31, "largest direct symbol", last, "below 2^31")
    rising = np.ones(len(cdf), bool)
    rising[1:] = cdf[1:] > cdf[:-1]
    rising[first] = True
    if not rising.all():
        row = int(np.searchsorted(starts, np.argmin(rising), "right")) - 1
        raise InvalidInput(
            f"row {row} of cdf does not increase strictly",
            allowed="every interval at least 1 / 65536 wide",
        )


def _require(
    holds: NDArray[np.bool_], what: str, values: NDArray[np.generic], allowed: str
) -> None:
    if not holds.all():
        row = int(np.argmin(holds))
        raise InvalidInput(f"row {row}: {what} = {values[row]}", allowed=allowed)


def _round(r: int, pmf: ArrayLike) -> NDArray[np.int64]:
    """Return integer frequencies >= 1 that sum to 65536 and cost the least, nearly.

    Rounds, then takes the surplus from (or gives the rest to) the entries where one unit costs
    (or saves) the fewest bits. One unit of f is worth about p / (f -+ 1/2): the exact value has
    a logarithm, which machines disagree about; ties go to the first entry.
    """
    try:
        weights = np.asarray(pmf, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"pmf of row {r} is not numeric", allowed="float64") from error
    if weights.ndim != 1 or not 2 <= len(weights) <= TOTAL:
        raise InvalidInput(
            f"pmf of row {r} has shape {weights.shape}", allowed="one dimension, 2 ... 65536"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.max() > 0):
        raise InvalidInput(
            f"pmf of row {r} has values {weights.min()} ... {weights.max()}",
            allowed="finite, >= 0, not all 0",
        )
    weights = weights / weights.max()  # so that no sum overflows
    # fsum: the one sum of floats that does not depend on the order or the vector width.
    p = weights / math.fsum(weights.tolist())
    frequencies = np.maximum(np.floor(p * TOTAL + 0.5).astype(np.int64), 1)
    missing = TOTAL - int(frequencies.sum())
    return _settle(p, frequencies, 1 if missing > 0 else -1, abs(missing))


def _settle(
    p: NDArray[np.float64], frequencies: NDArray[np.int64], unit: int, count: int
) -> NDArray[np.int64]:
    """Add `unit` (1 or -1) to frequencies `count` times, each time where it does most good."""
    chance: list[float] = p.tolist()
    result: list[int] = frequencies.tolist()

    def worth(i: int) -> float:
        return -unit * chance[i] / (result[i] + 0.5 * unit)

    movable = [i for i, f in enumerate(result) if unit > 0 or f > 1]
    heap = [(worth(i), i) for i in movable]
    heapq.heapify(heap)
    for _ in range(count):
        _, i = heapq.heappop(heap)
        result[i] += unit
        if unit > 0 or result[i] > 1:
            heapq.heappush(heap, (worth(i), i))
    return np.array(result, dtype=np.int64)

"""Speed of the entropy coder, beside `constriction` in the same run.

Both code the same symbols with the same distributions, from NumPy arrays to compressed data and
back, in one thread, in turns. Printed are medians over all turns, and the median of the ratios of
each turn; of processor time, which other programs on the machine disturb least. `constriction`
gets the interface of it that is fastest for the case at hand:

- one row: every symbol from one distribution (its `Categorical`, its table of ours);
- many rows: a Gaussian scale for each symbol (its `QuantizedGaussian`; a table of 64 scales here);
- many rows, categorical: a probability vector for each symbol, as a table that is not Gaussian
  would need; a matrix (n, K) of floats for it, row numbers for us. Only the shorter array.

    python benchmarks/entropy_coder.py            # needs `pip install constriction`
    python benchmarks/entropy_coder.py --turns 5
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans
from tec_numcodecs.entropy.rans import Tables
from tec_numcodecs.native import native

REACH = 127  # symbols are in -REACH ... REACH
SCALES = np.geomspace(0.15, 20, 64)


@dataclass(frozen=True)
class Coder:
    """One contestant: arrays to compressed data and back, and the size of the former in bytes."""

    encode: Callable[[], Any]
    decode: Callable[[Any], NDArray[Any]]
    size: Callable[[Any], int]


def gaussian(scale: float) -> NDArray[Any]:
    """Integrate a Gaussian over unit intervals; K = 2 * REACH + 1 probabilities."""
    edges = (np.arange(-REACH, REACH + 2) - 0.5) / (scale * math.sqrt(2))
    pmf = np.diff([math.erf(edge) for edge in edges]) + 1e-12
    return np.asarray(pmf / pmf.sum())


def narrow(pmf: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Cut tails that 16 bits can't express; what is cut is the escape's mass."""
    kept = np.flatnonzero(pmf > 2**-17)
    middle = pmf[kept[0] : kept[-1] + 1]
    return np.append(middle, max(1 - middle.sum(), 1e-9)), int(kept[0]) - REACH


def ours(symbols: NDArray[Any], rows: NDArray[Any], tables: Tables) -> Coder:
    """Return our coder of these symbols."""
    return Coder(
        encode=lambda: rans.encode(symbols, rows, tables),
        decode=lambda data: rans.decode(data, rows, tables),
        size=len,
    )


def theirs(symbols: NDArray[Any], model: Any, *parameters: NDArray[Any]) -> Coder:
    """Return the other coder of these symbols."""
    ans = constriction().stream.stack.AnsCoder

    def encode() -> NDArray[Any]:
        coder = ans()
        coder.encode_reverse(symbols, model, *parameters)
        return np.asarray(coder.get_compressed())

    def decode(data: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(ans(data).decode(model, *(parameters or (len(symbols),))))

    return Coder(encode, decode, size=lambda data: data.nbytes)


def constriction() -> Any:
    """Return the package, or end with what to install."""
    try:
        import constriction as package
    except ImportError:
        sys.exit("this benchmark needs the package it compares with: pip install constriction")
    return package


def cases(n: int) -> dict[str, tuple[NDArray[Any], Coder, Coder]]:
    """Return symbols, ours, theirs, by name."""
    model = constriction().stream.model
    rng = np.random.default_rng(0)
    pmfs = [gaussian(scale) for scale in SCALES]
    cut = [narrow(pmf) for pmf in pmfs]
    tables = Tables.from_pmfs([pmf for pmf, _ in cut], [low for _, low in cut])
    rows = rng.integers(0, len(SCALES), n).astype(np.int32)
    many = np.clip(np.rint(rng.normal(0, SCALES[rows])), -REACH, REACH).astype(np.int32)
    which = 24
    row = np.full(n, which, np.int32)
    one = np.clip(np.rint(rng.normal(0, SCALES[which], n)), -REACH, REACH).astype(np.int32)
    result = {
        "one row": (
            one,
            ours(one, row, tables),
            # Its symbols begin at 0: shifting ours would be counted against it, so do it here.
            theirs(one + REACH, model.Categorical(pmfs[which], perfect=False)),
        ),
        "many rows": (
            many,
            ours(many, rows, tables),
            theirs(many, model.QuantizedGaussian(-REACH, REACH), np.zeros(n), SCALES[rows]),
        ),
    }
    if n <= 100_000:
        matrix = np.array(pmfs)[rows]
        result["many rows, categorical"] = (
            many,
            ours(many, rows, tables),
            theirs(many + REACH, model.Categorical(perfect=False), matrix),
        )
    return result


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return seconds of processor time, and the result."""
    begin = time.thread_time()
    result = function(*arguments)
    return time.thread_time() - begin, result


def compare(name: str, symbols: NDArray[Any], pair: tuple[Coder, Coder], turns: int) -> None:
    """Time both in turns and print a line."""
    seconds: list[list[float]] = []
    for turn in range(turns + 1):
        line = []
        for coder, shift in zip(pair, (0, 0 if name == "many rows" else REACH), strict=True):
            encoding, data = timed(coder.encode)
            decoding, back = timed(coder.decode, data)
            if not np.array_equal(back, symbols + shift):
                sys.exit(f"{name}: decoding gave other symbols")
            line += [encoding, decoding]
        if turn:  # the first one only warms up
            seconds.append(line)
    bits = [8 * coder.size(coder.encode()) / len(symbols) for coder in pair]
    medians = map(statistics.median, zip(*seconds, strict=True))
    speed = [len(symbols) / median / 1e6 for median in medians]
    ratio = [statistics.median(line[i + 2] / line[i] for line in seconds) for i in (0, 1)]
    print(
        f"{name:24}{len(symbols):9}  {bits[0]:6.3f} {bits[1]:6.3f}"
        f"  {speed[0]:8.1f} {speed[2]:8.1f} {ratio[0]:6.1f}x"
        f"  {speed[1]:8.1f} {speed[3]:8.1f} {ratio[1]:6.1f}x"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 1_000_000])
    options = parser.parse_args()
    print(f"M symbols/s: ours ({'C' if native() else 'Python'}), theirs, ratio (above 1: ahead)")
    print(f"{'':33}  {'bits a symbol':13}  {'encode':^25}  {'decode':^25}")
    for n in options.sizes:
        for name, (symbols, first, second) in cases(n).items():
            compare(name, symbols, (first, second), options.turns)


if __name__ == "__main__":
    main()

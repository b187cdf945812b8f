"""Where the coefficients of a plane lie that are coded, phase by phase."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy.blocks8 import BLOCK, spread_blocks
from tec_numcodecs.native import native

Index = NDArray[np.int64]

_ODD_ROW, _ODD_COLUMN = (0, 1, 0, 1), (0, 1, 1, 0)  # by phase
_PHASE = np.array([0, 2, 3, 1], np.int8)  # of (even, even), (even, odd), (odd, even), (odd, odd)


@dataclass(frozen=True)
class Places:
    """Coefficients of a plane that are coded.

    Attributes
    ----------
    flat : int64 array (P,)
        Places in the flat plane (N, h, w).
    own : int64 array (P,)
        Places in the flat plane with a border.
    parent : int64 array (P,)
        The coefficient above in the coarser level, with a border.
    block : int64 array (P,)
        Places of their blocks among the flags, with a border.
    ends : tuple of int
        Of the four phases, whose rows and columns are even and even, odd and odd, even and odd,
        odd and even.
    wide : int
        Length of a row of the coarser level with its border.
    """

    flat: Index
    own: Index
    parent: Index
    block: Index
    ends: tuple[int, int, int, int]
    wide: int

    @classmethod
    def of(cls, flags: NDArray[np.bool_], height: int, width: int) -> Places:
        """Places in the blocks that are set in ``flags`` (N, blocks down, blocks across)."""
        wide = (width + 1) // 2 + 2
        c = native()
        if c is None:
            return cls(*_places(flags, height, width), wide)
        most = 64 * int(np.count_nonzero(flags))
        flat, own, parent, block = np.empty((4, most), np.int64)
        flags = np.ascontiguousarray(flags)
        ends = c.context_places(flags, len(flags), height, width, flat, own, parent, block)
        count = ends[3]
        return cls(flat[:count], own[:count], parent[:count], block[:count], ends, wide)

    @property
    def phases(self) -> list[slice]:
        """Parts of the arrays."""
        return [slice(a, b) for a, b in zip((0, *self.ends), self.ends, strict=False)]

    @cached_property
    def down(self) -> Index:
        """The row neighbour of the parent that is nearer, (P,)."""
        return self.parent + self.wide * self._towards(_ODD_ROW)

    @cached_property
    def across(self) -> Index:
        """The column neighbour of the parent that is nearer, (P,)."""
        return self.parent + self._towards(_ODD_COLUMN)

    def _towards(self, odd: tuple[int, ...]) -> Index:
        return np.repeat(2 * np.array(odd, np.int64) - 1, np.diff((0, *self.ends)))


def _places(
    flags: NDArray[np.bool_], height: int, width: int
) -> tuple[Index, Index, Index, Index, tuple[int, int, int, int]]:
    """Twin of the C function."""
    flat = np.flatnonzero(spread_blocks(flags, height, width))
    rows, x = np.divmod(flat, width)
    date, y = np.divmod(rows, height)
    phase = _PHASE[(y & 1) * 2 + (x & 1)]
    order = np.argsort(phase, kind="stable")
    flat, date, y, x = flat[order], date[order], y[order], x[order]
    a, b, c, d = np.cumsum(np.bincount(phase, minlength=4)).tolist()
    up, wide = (height + 1) // 2 + 2, (width + 1) // 2 + 2
    down, across = -(-height // BLOCK) + 2, -(-width // BLOCK) + 2
    own = (date * (height + 2) + y + 1) * (width + 2) + x + 1
    parent = (date * up + (y >> 1) + 1) * wide + (x >> 1) + 1
    block = (date * down + y // BLOCK + 1) * across + x // BLOCK + 1
    return flat, own, parent, block, (a, b, c, d)

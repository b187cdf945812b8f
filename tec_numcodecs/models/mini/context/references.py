"""What another date, or the pass before, says about the coefficients of a level.

The last planes of `.features.Known`, for the networks of mini `tt` and `flextec`.
"""

from __future__ import annotations

import abc
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy.blocks8 import sum_fours
from tec_numcodecs.models.mini.context.features import bordered

Int32Array = NDArray[np.int32]


class Reference(abc.ABC):
    """What is known of a level from elsewhere.

    Parameters
    ----------
    q : int32 array (N, C, 3, h, w)
        Coefficients in the level's components, in eighths of the steps that are in use.
    """

    #: It is the pass before, not another date.
    of_pass: ClassVar[bool]

    def __init__(self, q: Int32Array) -> None:
        self._q = bordered(np.moveaxis(q, 0, 2))

    def plane(self, k: int, o: int) -> Int32Array:
        """Coefficients in eighths of a step, with a border, (N, h + 2, w + 2)."""
        return self._q[k, o]

    @abc.abstractmethod
    def planes(self, k: int, o: int) -> tuple[Int32Array | None, ...]:
        """Coefficients and two more planes, (N, h + 2, w + 2) each."""


class DateReference(Reference):
    """What another date of the chunk holds at a level.

    Parameters
    ----------
    q : int32 array (N, C, 3, h, w)
    change : int32 array (N, C, h, w)
        The image under the level minus the other date's, in eighths of a step.
    """

    of_pass = False

    def __init__(self, q: Int32Array, change: Int32Array) -> None:
        super().__init__(q)
        self._change = bordered(change.swapaxes(0, 1), mode="edge")

    def planes(self, k: int, o: int) -> tuple[Int32Array | None, ...]:
        """Coefficients, the difference of the images, nothing."""
        return self._q[k, o], self._change[k], None


class PassReference(Reference):
    """What the pass before holds at a level, of this component and of all others.

    Parameters
    ----------
    q : int32 array (N, C, 3, h, w)
    known : int32 array (N, C, 3, h, w)
        Its integers.
    finer : int32 array (N, C, 3, h2, w2), optional
        Those of the next finer level.
    """

    of_pass = True

    def __init__(self, q: Int32Array, known: Int32Array, finer: Int32Array | None) -> None:
        super().__init__(q)
        every = np.abs(known).sum(axis=1, dtype=np.int32).swapaxes(0, 1)  # (3, N, h, w)
        self._every = bordered(every)
        self._finer: Int32Array | None = None
        if finer is not None:
            fours = sum_fours(np.abs(finer), *q.shape[3:])  # (N, C, 3, h, w)
            self._finer = bordered(np.moveaxis(fours, 0, 2))

    def planes(self, k: int, o: int) -> tuple[Int32Array | None, ...]:
        """Coefficients, magnitudes of all components, sums over four of the finer level."""
        return self._q[k, o], self._every[o], None if self._finer is None else self._finer[k, o]

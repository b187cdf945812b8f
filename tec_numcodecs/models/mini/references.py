"""What another date, or the pass before, says about the coefficients of a level.

The last features of :mod:`.surroundings`, for the networks of mini `tt` and `flextec`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.blocks import sum_fours
from tec_numcodecs.models.mini.surroundings import BORDER, Companding, Index, neighbours

Int32Array = NDArray[np.int32]


class Reference:
    """What another date of the chunk holds at a level.

    Parameters
    ----------
    companding : Companding
    q : int32 array (N, C, 3, h, w)
        Its coefficients in the level's components, in eighths of this chunk's steps.
    change : int32 array (N, C, h, w)
        The image under the level minus the other date's, in eighths of a step.
    """

    def __init__(self, companding: Companding, q: Int32Array, change: Int32Array) -> None:
        self._companding = companding
        border = ((0, 0), *BORDER)
        self._q = np.ascontiguousarray(np.pad(np.moveaxis(q, 0, 2), border))
        self._magnitude = np.abs(self._q)
        self._change = np.pad(change.swapaxes(0, 1), BORDER, mode="edge")

    def values(self, component: int, orientation: int, own: Index) -> Int32Array:
        """Coefficients in eighths of a step, (P,)."""
        return self._q[component, orientation].ravel()[own]

    def features(self, k: int, o: int, own: Index) -> list[NDArray[np.float32]]:
        """REFERENCE_FEATURES arrays (P,)."""
        return [*self._of_coefficients(k, o, own), *self._of_image(k, o, own)]

    def _of_coefficients(self, k: int, o: int, own: Index) -> list[NDArray[np.float32]]:
        eighths = self._companding.eighths
        m = self._magnitude[k, o].ravel()
        direct, diagonal = neighbours(m, own, self._q.shape[-1])
        size = eighths(m[own])
        signed = np.copysign(size, self._q[k, o].ravel()[own])
        return [size, signed, eighths(direct), eighths(diagonal)]

    def _of_image(self, k: int, o: int, own: Index) -> list[NDArray[np.float32]]:
        del o
        eighths, width = self._companding.eighths, self._q.shape[-1]
        change = self._change[k].ravel()
        x = change[own]
        slope = np.abs(change[own + 1] - change[own - 1]) + np.abs(
            change[own + width] - change[own - width]
        )
        size = eighths(np.abs(x))
        return [size, np.copysign(size, x), eighths(slope)]


class PassReference(Reference):
    """What the pass before holds at a level, of this component and of all others.

    Parameters
    ----------
    companding : Companding
    q : int32 array (N, C, 3, h, w)
        Its coefficients in eighths of this pass's steps.
    known : int32 array (N, C, 3, h, w)
        Its integers.
    finer : int32 array (N, C, 3, h2, w2), optional
        Those of the next finer level.
    """

    def __init__(
        self,
        companding: Companding,
        q: Int32Array,
        known: Int32Array,
        finer: Int32Array | None,
    ) -> None:
        super().__init__(companding, q, np.zeros((*q.shape[:2], *q.shape[3:]), np.int32))
        every = np.abs(known).sum(axis=1, dtype=np.int32).swapaxes(0, 1)  # (3, N, h, w)
        self._every = np.pad(every, BORDER)
        self._finer = finer

    def _of_image(self, k: int, o: int, own: Index) -> list[NDArray[np.float32]]:
        """Of all components together, the place and its neighbours; of the finer level, four."""
        magnitude = self._companding.integers
        flat = self._every[o].ravel()
        direct, _ = neighbours(flat, own, self._every.shape[-1])
        children = np.zeros(len(own), np.float32)
        if self._finer is not None:
            _, _, down, across = self._every.shape
            fours = sum_fours(np.abs(self._finer[:, k, o]), down - 2, across - 2)
            children = magnitude(np.pad(fours, ((0, 0), (1, 1), (1, 1))).ravel()[own])
        return [magnitude(flat[own]), magnitude(direct), children]

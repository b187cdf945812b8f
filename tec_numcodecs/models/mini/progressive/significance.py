"""Which blocks get something in a later pass of mini `flextec`, guessed from what surrounds them.

The pass before knows a lot of it: coefficients appear where it has some near by, in another
component or in the finer level. A small network for every level and orientation turns that, and
what this pass has coded so far, into one of 64 rows of a block's flag.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy.blocks8 import block_sum, sum_fours
from tec_numcodecs.models.mini.context.features import Companding
from tec_numcodecs.models.mini.context.integer_mlp import SUM_BITS, Perceptron
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane

Int32Array = NDArray[np.int32]
Int16Array = NDArray[np.int16]
#: Inputs of a network.
FLAG_FEATURES = 11
#: Rows of a flag: logits from -8 to 7.75 in quarters.
FLAG_ROWS = 64
QUARTER_BITS = 2


class BlockFlags:
    """Block sums of a level in a pass, and the features that are made of them.

    Parameters
    ----------
    companding : Companding
    before : int32 array (N, C, 3, h, w)
        Integers of the level after the pass before.
    finer : int32 array (N, C, 3, h2, w2), optional
        Those of the next finer level.
    coarser : BlockFlags, optional
        Those of the next coarser level, coded completely.

    Attributes
    ----------
    coded : int32 array (N, C, 3, h, w)
        Integers of this pass, 0 where they are not coded yet.
    """

    def __init__(
        self,
        companding: Companding,
        before: Int32Array,
        finer: Int32Array | None,
        coarser: BlockFlags | None,
    ) -> None:
        self._companding = companding
        self.coded = np.zeros_like(before)
        self._before = _block_sums(before)  # (N, C, 3, down, across)
        self._components = self._before.sum(axis=1)  # (N, 3, down, across)
        self._orientations = self._before.sum(axis=2)  # (N, C, down, across)
        self._now = np.zeros_like(self._before)
        self._coded_components = np.zeros_like(self._components)
        self._finer, self._parent = np.zeros_like(self._before), np.zeros_like(self._before)
        if finer is not None:
            self._finer = sum_fours(_block_sums(finer), *self._before.shape[3:])
        if coarser is not None:
            h, w = before.shape[3:]
            children = np.abs(coarser.coded).repeat(2, axis=3).repeat(2, axis=4)[..., :h, :w]
            self._parent = _block_sums(children)

    def set(self, plane: Plane, q: Int32Array) -> None:
        """Note the integers (N, h, w) of a plane that has been coded."""
        self.coded[:, plane.component, plane.orientation] = q
        sums = block_sum(np.abs(q))
        self._now[:, plane.component, plane.orientation] = sums
        self._coded_components[:, plane.orientation] += sums

    def unknown(self, plane: Plane) -> NDArray[np.bool_]:
        """Blocks (N, down, across) that were all zero in the pass before."""
        return np.asarray(self._before[:, plane.component, plane.orientation] == 0)

    def features(self, plane: Plane, scale: Int32Array, shift: int) -> Int16Array:
        """Features of all blocks of a plane, (N * down * across, FLAG_FEATURES).

        Parameters
        ----------
        plane : Plane
        scale : int32 array (N, h, w)
            Expected magnitudes before the shift.
        shift : int
        """
        k, o = plane.component, plane.orientation
        now, before = self._now, self._before
        sums = frozen.shifted_sums(block_sum(scale), shift) >> 3
        own = before[:, k, o]
        some = _around((own > 0).astype(np.int64))
        magnitude = self._companding.integers
        columns: list[NDArray[np.integer]] = [
            self._companding.scales(np.minimum(sums, frozen.SCALE_LIMIT - 1)),
            16 * (some[0] - 2),
            16 * (some[1] - 2),
            magnitude(_around(own)[0]),
            magnitude(self._components[:, o]),
            magnitude(self._orientations[:, k]),
            magnitude(self._finer[:, k, o]),
            magnitude(self._coded_components[:, o]),
            magnitude(now[:, k - 1, o] if k else np.zeros_like(own)),
            magnitude(now[:, k, :o].sum(axis=1)),
            magnitude(self._parent[:, k, o]),
        ]
        return np.stack([column.ravel() for column in columns], axis=1).astype(np.int16)


def flag_rows(
    network: Perceptron, features: Int16Array, component: int, rate: int, number: int
) -> Int32Array:
    """Which of the rows of a flag blocks have, (P,), in a later pass of this number."""
    logit = network(features, component, rate, number - 1)[:, 0]
    quarter = np.floor(logit * 2.0 ** (QUARTER_BITS - SUM_BITS) + 0.5)
    half = FLAG_ROWS // 2
    rows: Int32Array = (np.clip(quarter, -half, half - 1) + half).astype(np.int32)
    return rows


def _block_sums(q: Int32Array) -> NDArray[np.int64]:
    """Sums of magnitudes: (N, C, 3, h, w) -> (N, C, 3, down, across)."""
    sums = block_sum(np.abs(q).reshape(-1, *q.shape[3:]))
    return sums.reshape(*q.shape[:3], *sums.shape[1:])


def _around(x: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sums over the four direct and the four diagonal neighbours of blocks (N, down, across)."""
    p = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    above, below, middle = p[:, :-2], p[:, 2:], p[:, 1:-1]
    direct = above[:, :, 1:-1] + below[:, :, 1:-1] + middle[:, :, :-2] + middle[:, :, 2:]
    diagonal = above[:, :, :-2] + above[:, :, 2:] + below[:, :, :-2] + below[:, :, 2:]
    return direct, diagonal

"""Detail planes one after another, as the context model of mini `elic` and `tt` codes them.

The walk over planes is that of `.prior`, and so are expected magnitudes, shifts and flags.
Inside coded blocks a network names a table row for every coefficient, in four phases: rows and
columns even and even, odd and odd, even and odd, odd and even. What a phase holds is known to the
next one. The image is reconstructed level by level on the way, because networks look at it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans
from tec_numcodecs.models.mini.context import mixture_cdf
from tec_numcodecs.models.mini.context.dequantize import rescaled
from tec_numcodecs.models.mini.context.features import Companding
from tec_numcodecs.models.mini.context.integer_mlp import Arrays, Perceptron
from tec_numcodecs.models.mini.context.mixture_cdf import Choice
from tec_numcodecs.models.mini.context.neighborhood import LOW_UNITS, Surroundings
from tec_numcodecs.models.mini.context.references import DateReference, Reference
from tec_numcodecs.models.mini.context.scan import Index, Places
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane
from tec_numcodecs.models.mini.transform.by_level import LevelTransform, merge_level
from tec_numcodecs.models.mini.transform.quantizer import LEVELS, STEP_UNIT, steps
from tec_numcodecs.models.mini.transform.wavelet_klt import LOW, level_sizes, subband_sizes

Int16Array = NDArray[np.int16]
Int32Array = NDArray[np.int32]
Float32Array = NDArray[np.float32]
#: Eighths of a step in the image under a level, and in a reference's coefficients.
_LOW_LIMIT, _REFERENCE_LIMIT = 1 << 24, 1 << 16
# Products of this many columns stay on one thread in every BLAS; see `.perceptron`.
_COLUMNS = 1024


class Networks:
    """Networks and tables of the context model.

    Parameters
    ----------
    arrays : mapping
        ``tables.*``, ``offsets`` int8 (rows, 7), ``features.*`` and networks ``<name>.<level>.
        <orientation>.*``.
    name : str
        Prefix of the networks.
    """

    def __init__(self, arrays: Arrays, name: str) -> None:
        self.companding = Companding(arrays)
        self.tables = rans.Tables.from_arrays(
            {part: arrays[f"tables.{part}"] for part in ("cdf", "starts", "minimum")}
        )
        #: Reconstruction offsets in 64ths of a step.
        self.offsets = np.ascontiguousarray(arrays["offsets"], np.int8)
        self._networks = {
            (level, o): Perceptron(arrays, f"{name}.{level}.{o}")
            for level in range(LEVELS)
            for o in range(3)
        }

    def of(self, plane: Plane) -> Perceptron:
        """The network of a plane's level and orientation."""
        return self._networks[plane.level, plane.orientation]


@dataclass(frozen=True)
class Visited:
    """Dates after decoding, in bands.

    Attributes
    ----------
    planes : list of int32 arrays (N, C, h, w)
        Low-pass under levels 0 to 4.
    bands : list of int32 arrays (N, C, 3, h, w)
        Detail of levels 0 to 4.
    """

    planes: list[Int32Array]
    bands: list[Int32Array]


class History(Protocol):
    """Dates that a date refers to."""

    def at(self, level: int, planes: Int32Array) -> tuple[Int32Array, Int32Array]:
        """What to refer to, given the low-pass under a level (N, C, h, w).

        Returns
        -------
        planes : int32 array (N, C, h, w)
        bands : int32 array (N, C, 3, h, w)
        """


#: Says what coefficients are: gets their places in the flat plane and their rows.
Coding = Callable[[Index, Choice], Int32Array]


class DetailWalk:
    """Codes the detail planes of N dates that lie side by side.

    Parameters
    ----------
    networks : Networks
    transform : LevelTransform
    rate_index : int
    size : (height, width)
        Of the image.
    history : History, optional
    """

    def __init__(
        self,
        networks: Networks,
        transform: LevelTransform,
        rate_index: int,
        size: tuple[int, int],
        history: History | None = None,
    ) -> None:
        self.networks, self._transform, self._history = networks, transform, history
        #: Rate index that networks are told, and steps in sixteenths of a DN.
        self._rate, self._steps = rate_index, steps(rate_index)
        self._sizes, self._subbands = level_sizes(*size), subband_sizes(*size)
        self._planes: list[Int32Array] = []
        self._bands: list[Int32Array] = []
        self._around: Surroundings | None = None
        self._reference: Reference | None = None

    def start(self, low: Int32Array, entries: NDArray[np.uint8]) -> None:
        """Begin with the low-pass, coefficients (N, C, h, w)."""
        self._entries = entries.astype(np.intp)
        self._planes = [self._transform.to_bands(low, self._entries[:, LOW], LOW)]
        self._enter(LEVELS - 1)

    def code(
        self,
        plane: Plane,
        scale: Int32Array,
        shift: int,
        flags: NDArray[np.bool_],
        coding: Coding,
    ) -> Int32Array:
        """Code one plane.

        Parameters
        ----------
        plane : Plane
            In the order of the walk.
        scale : int32 array (N, h, w)
            Expected magnitudes before the shift.
        shift : int
        flags : bool array (N, blocks down, blocks across)
            Blocks that are not all zero.
        coding : callable
            See ``Coding``.

        Returns
        -------
        int32 array (N, h, w)
            Signs of the common convention.
        """
        around = self._level(plane)
        k, o = plane.component, plane.orientation
        places = Places.of(flags, *scale.shape[1:])
        around.clear(k, o)
        self._detail[k, o] = 0
        if places.flat.size:
            expected = frozen.shifted(scale.ravel()[places.flat], shift)
            features = around.plane_features(k, o, places, expected, shift, flags)
            for phase, part in enumerate(places.phases):
                if part.stop > part.start:
                    at, own = places.flat[part], places.own[part]
                    if phase:
                        around.add_own(features[part], k, o, own)
                    choice = self._rows(at, *self._distributions(plane, own, features[part], phase))
                    q = coding(at, choice)
                    around.set(k, o, own, q)
                    self._place(plane, at, q, choice)
        return around.plane(k, o)

    def reconstructed(self, plane: Plane) -> Int32Array:
        """Coefficients of a plane that has just been coded, int32 (N, h, w) in DN."""
        return self._detail[plane.component, plane.orientation]

    def finish(self) -> tuple[Int32Array, Visited]:
        """Pixels int32 (N, C, H, W) in DN, and what later dates may refer to."""
        self._leave()
        return self._finished()

    def _finished(self) -> tuple[Int32Array, Visited]:
        pixels = self._planes[0] + self._transform.mean[:, None, None]
        return pixels, Visited(self._planes[1:], self._bands)

    def _level(self, plane: Plane) -> Surroundings:
        if plane.level != self._at:
            self._leave()
            self._enter(plane.level)
        if self._around is None:
            raise RuntimeError("start comes before the first plane")
        return self._around

    def _enter(self, level: int) -> None:
        self._at = level
        planes = self._planes[0]  # (N, C, h, w)
        rows = self._transform.rows[self._entries[:, level], level]  # (N, C, C)
        low = self._in_steps(planes, rows, self._steps[level, :1])
        n, c = planes.shape[:2]
        self._reference = None
        if self._history is not None:
            self._reference = self._refer(level, self._history, rows, low)
        self._around = Surroundings(self.networks.companding, low, self._around, self._reference)
        self._detail = np.zeros((c, 3, n, *self._subbands[level]), np.int32)

    def _refer(
        self, level: int, history: History, rows: NDArray[np.float64], low: Int32Array
    ) -> Reference:
        planes, bands = history.at(level, self._planes[0])
        change = low - self._in_steps(planes, rows, self._steps[level, :1])
        return DateReference(self._old(level, bands, rows), change)

    def _old(self, level: int, bands: Int32Array, rows: NDArray[np.float64]) -> Int32Array:
        """A reference's coefficients in eighths of a step, (N, C, 3, h, w)."""
        old = self._in_steps(bands, rows, self._steps[level])
        return np.clip(old, -_REFERENCE_LIMIT, _REFERENCE_LIMIT, out=old)

    def _leave(self) -> None:
        level = self._at
        detail = np.ascontiguousarray(np.moveaxis(self._detail, 2, 0))  # (N, C, 3, h, w)
        bands = self._transform.to_bands(detail, self._entries[:, level], level)
        self._merge(bands, level)

    def _merge(self, bands: Int32Array, level: int) -> None:
        self._bands.insert(0, bands)
        self._planes.insert(0, merge_level(self._planes[0], bands, self._sizes[level]))

    def _in_steps(
        self, planes: Int32Array, rows: NDArray[np.float64], step: NDArray[np.int64]
    ) -> Int32Array:
        """Bands to components in eighths of a step.

        (N, C, ..., h, w), one step for each of the middle axis; whole numbers below 2^40, then one
        product and one sum each, correctly rounded.
        """
        n, c = planes.shape[:2]
        flat = planes.reshape(n, c, -1).astype(np.float64)
        z = np.empty_like(flat)  # in units of 2^-12 DN
        for start in range(0, flat.shape[2], _COLUMNS):
            part = slice(start, start + _COLUMNS)
            z[:, :, part] = rows @ flat[:, :, part]
        factor = LOW_UNITS * STEP_UNIT / (step * 4096.0)  # (1,) or (3,)
        z = z.reshape(planes.shape) * (factor[:, None, None] if planes.ndim == 5 else factor)
        z = np.floor(z + 0.5)
        return np.clip(z, -_LOW_LIMIT, _LOW_LIMIT, out=z).astype(np.int32)

    def _rows(
        self, at: Index, mean: Float32Array, scale: Float32Array, shape: Float32Array
    ) -> Choice:
        """Rows of the coefficients of a phase, at these places of the plane."""
        del at
        return mixture_cdf.choose(mean, scale, shape)

    def _distributions(
        self, plane: Plane, own: Index, features: Int16Array, phase: int
    ) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Means in sixteenths of a step, scales in eighths of an octave, shapes 0 to 7."""
        k, o = plane.component, plane.orientation
        out = self.networks.of(plane)(features, k, self._rate, phase)
        old = None if self._reference is None else self._reference.plane(k, o)
        return mixture_cdf.shapes_of(out, features, own, old)

    def _place(self, plane: Plane, flat: Index, q: Int32Array, choice: Choice) -> None:
        """Reconstruct coefficients: centroids of their intervals."""
        step = int(self._steps[plane.level, plane.orientation])
        self._put(plane, flat, rescaled(q, choice, self.networks.offsets, step))

    def _put(self, plane: Plane, flat: Index, values: Int32Array) -> None:
        self._detail[plane.component, plane.orientation].ravel()[flat] = values

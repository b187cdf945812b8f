"""Three ways to go through a chunk with the context model: deciding, reading, going over it again.

Each is what `.prior.walk` calls for every plane. The low-pass is coded as in `.fp`.
"""

from __future__ import annotations

import abc

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.entropy import rans
from tec_numcodecs.entropy.blocks8 import block_sum
from tec_numcodecs.models.mini.context import symbols
from tec_numcodecs.models.mini.context.mixture_cdf import Choice
from tec_numcodecs.models.mini.context.scan import Index
from tec_numcodecs.models.mini.context.subband_coder import Coding, DetailWalk
from tec_numcodecs.models.mini.subbands import magnitude_model as frozen
from tec_numcodecs.models.mini.subbands.bitstream import PlaneReader, PlaneWriter, Shifts, Stage
from tec_numcodecs.models.mini.subbands.magnitude_model import Plane, Prior
from tec_numcodecs.models.mini.subbands.rdoq import Decider
from tec_numcodecs.models.mini.transform.quantizer import STEP_UNIT, dequantise, steps
from tec_numcodecs.models.mini.transform.wavelet_klt import LOW, Coefficients

Int32Array = NDArray[np.int32]
#: Price of a bit when blocks are chosen, by the rows of `fp`; measured on the validation scenes.
#: The networks' rows, which decide on coefficients then, are cheaper.
BLOCK_LAGRANGIAN = 0.055


class ContextCoder(abc.ABC):
    """Codes planes in the order of the walk.

    Parameters
    ----------
    walk : DetailWalk
    rate_index : int
    entries : uint8 array (N, 6)
        Codebook entries of the dates.
    """

    def __init__(self, walk: DetailWalk, rate_index: int, entries: NDArray[np.uint8]) -> None:
        self.walk = walk
        self._steps = steps(rate_index)
        self._entries = entries
        self._residuals: list[Int32Array] = []
        self._started = False
        #: Low-pass integers (N, C, h, w), known from the first detail plane on.
        self.low: Int32Array = np.zeros(0, np.int32)

    def __call__(self, plane: Plane, scale: Int32Array) -> Int32Array:
        """Code a plane with these expected magnitudes; see ``PlaneCoder``."""
        if plane.level == LOW:
            self._residuals.append(self._code_low(plane, scale))
            return self._residuals[-1]
        if not self._started:
            self._started = True
            self.low = frozen.restore_low(np.stack(self._residuals, axis=1))
            self.walk.start(dequantise(self.low, int(self._steps[LOW, 0])), self._entries)
        return self._code_detail(plane, scale)

    @abc.abstractmethod
    def _code_low(self, plane: Plane, scale: Int32Array) -> Int32Array:
        """Residuals (N, h, w) of a low-pass plane."""

    @abc.abstractmethod
    def _code_detail(self, plane: Plane, scale: Int32Array) -> Int32Array:
        """Coefficients (N, h, w) of a detail plane, signs of the common convention."""


class Deciding(ContextCoder):
    """Analysis: shift and blocks as `.fp` decides, coefficients under the networks' rows.

    Parameters
    ----------
    walk, rate_index, entries
        See `ContextCoder`.
    prior : Prior
    found : Coefficients
        Signs of the common convention.
    """

    def __init__(
        self,
        walk: DetailWalk,
        rate_index: int,
        prior: Prior,
        prices: symbols.Prices,
        found: Coefficients,
        followed: Shifts | None = None,
    ) -> None:
        super().__init__(walk, rate_index, found.entries)
        self._found, self._prices = found, prices
        self._decider = Decider(prior, rate_index, BLOCK_LAGRANGIAN)
        self._given = frozen.predict_low(self._decider.low(found.low))
        own = Shifts(found.low.shape[1], followed)
        self.writer = PlaneWriter(prior, own, rate_index // 16)
        #: Squared error of the details, in squared steps.
        self.distortion = 0.0

    def _code_low(self, plane: Plane, scale: Int32Array) -> Int32Array:
        values = self._given[:, plane.component]
        q, shift = self._decider.plane(plane, values, scale, self.writer.shifts.before(plane))
        self.writer.write(plane, scale, q, shift)
        return q

    def _code_detail(self, plane: Plane, scale: Int32Array) -> Int32Array:
        values = self._found.detail[plane.level][:, plane.component, plane.orientation]
        before = self.writer.shifts.before(plane)
        first, shift = self._decider.plane(plane, values, scale, before)
        step = int(self._steps[plane.level, plane.orientation])
        stages: list[Stage] = []

        def decide(at: Index, choice: Choice) -> Int32Array:
            q = self._prices.decide(values.ravel()[at], step, choice)
            stages.extend(symbols.stages_of(q, choice, self.walk.networks.tables))
            return q

        flags = block_sum(first != 0) > 0
        q = self.walk.code(plane, scale, shift, flags, decide)
        kept = block_sum(q != 0) > 0
        if not np.array_equal(kept, flags):  # a flag says whether its block is all zero
            stages.clear()
            q = self.walk.code(
                plane, scale, shift, kept, _again(q, stages, self.walk.networks.tables)
            )
        self.writer.outline(plane, scale, shift, kept)
        self.writer.stages.extend(stages)
        error = (values - self.walk.reconstructed(plane)) * (STEP_UNIT / step)
        self.distortion += float(np.square(error).sum())
        return q


class Going(ContextCoder):
    """Encoder and synthesis: goes over integers that are known."""

    def __init__(
        self,
        walk: DetailWalk,
        rate_index: int,
        prior: Prior,
        known: Coefficients,
        shifts: Shifts,
        followed: Shifts | None = None,
    ) -> None:
        super().__init__(walk, rate_index, known.entries)
        self._known, self._shifts = known, shifts
        self._given = frozen.predict_low(known.low)
        own = Shifts(known.low.shape[1], followed)
        self.writer = PlaneWriter(prior, own, rate_index // 16)

    def _code_low(self, plane: Plane, scale: Int32Array) -> Int32Array:
        q = self._given[:, plane.component]
        self.writer.write(plane, scale, q, self._shifts.of(plane))
        return q

    def _code_detail(self, plane: Plane, scale: Int32Array) -> Int32Array:
        q = self._known.detail[plane.level][:, plane.component, plane.orientation]
        flags = block_sum(q != 0) > 0
        shift = self._shifts.of(plane)
        stages: list[Stage] = []
        coding = _again(q, stages, self.walk.networks.tables)
        self.walk.code(plane, scale, shift, flags, coding)
        self.writer.outline(plane, scale, shift, flags)
        self.writer.stages.extend(stages)
        return q


class Decoding(ContextCoder):
    """Reads."""

    def __init__(
        self,
        walk: DetailWalk,
        rate_index: int,
        entries: NDArray[np.uint8],
        reader: PlaneReader,
        decoder: rans.Decoder,
    ) -> None:
        super().__init__(walk, rate_index, entries)
        self._reader, self._decoder = reader, decoder

    def _code_low(self, plane: Plane, scale: Int32Array) -> Int32Array:
        return self._reader.read(plane, scale)[0]

    def _code_detail(self, plane: Plane, scale: Int32Array) -> Int32Array:
        shift, flags = self._reader.outline(plane, scale)

        def pull(at: Index, choice: Choice) -> Int32Array:
            del at
            return symbols.read(self._decoder, choice, self.walk.networks.tables)

        return self.walk.code(plane, scale, shift, flags, pull)


def _again(q: Int32Array, stages: list[Stage], tables: rans.Tables) -> Coding:
    """Look coefficients (N, h, w) up and note down what the entropy coder gets."""
    flat = q.ravel().copy()

    def look(at: Index, choice: Choice) -> Int32Array:
        stages.extend(symbols.stages_of(flat[at], choice, tables))
        return flat[at]

    return look

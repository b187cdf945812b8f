"""The networks of the context model: small perceptrons in integers, carried exactly by float32.

Three layers a coefficient. Features are whole numbers -127 to 127 in units of 1/16, activations 0
to 255 in units of 1/32, weights -127 to 127 times a power of two per output, biases whole numbers
in units of 1/512, in which sums are counted. Reading checks for every output that no partial sum
can exceed 2^24 of its finest units, so a float32 matrix product holds all of them: any order of
summation, fused or not, gives the same numbers on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.native import native

Float32Array = NDArray[np.float32]
Arrays = Mapping[str, NDArray[np.generic]]

FEATURE_MAX, ACTIVATION_MAX = 127, 255
#: log2 of the units per one: of sums, activations and features.
SUM_BITS, ACTIVATION_BITS, FEATURE_BITS = 9, 5, 4
#: No partial sum may exceed this.
LIMIT = 1 << 24
# Rows of a product; outputs of a panel of weights in C.
_ROWS, _PANEL = 64, 16


class Perceptron:
    """One network.

    Parameters
    ----------
    arrays : mapping
        ``<name>.first``, ``.second``, ``.out``: int8 weights (inputs, outputs), each with
        ``.shift`` int8 (outputs,), the power of two that its weights are divided by;
        ``<name>.component`` (13, width), ``.phase`` (phases, width), ``.rate`` (224, width),
        ``.second.bias``, ``.out.bias``: int32 in units of 1/512.
    name : str

    Raises
    ------
    WeightsError
        If something is missing, or a sum could exceed 2^24.
    """

    def __init__(self, arrays: Arrays, name: str) -> None:
        parts = [_read(arrays, f"{name}.{part}") for part in ("component", "phase", "rate")]
        self._component, self._phase, self._rate = map(_whole_panels, parts)
        reach = sum(np.abs(part.astype(np.float64)).max(axis=0) for part in parts)
        self._first = _Layer(arrays, f"{name}.first", FEATURE_MAX, FEATURE_BITS, reach)
        second, out = (_read(arrays, f"{name}.{part}.bias") for part in ("second", "out"))
        self._second = _Layer(
            arrays, f"{name}.second", ACTIVATION_MAX, ACTIVATION_BITS, np.abs(second)
        )
        self._out = _Layer(arrays, f"{name}.out", ACTIVATION_MAX, ACTIVATION_BITS, np.abs(out))
        self._second_bias, self._out_bias = _whole_panels(second), _whole_panels(out)

    def __call__(
        self, features: NDArray[np.int16], component: int, rate: int, phase: int
    ) -> Float32Array:
        """Outputs (P, outputs) in units of 1/512.

        Parameters
        ----------
        features : int16 array (P, inputs)
        component, rate, phase : int
        """
        bias = self._component[min(component, len(self._component) - 1)] + self._rate[rate]
        bias += self._phase[phase]
        c = native()
        if c is None:
            hidden = _activate(self._first(features, bias))
            hidden = _activate(self._second(hidden, self._second_bias))
            return self._out(hidden, self._out_bias)
        widths = (features.shape[1], self._first.outputs, self._second.outputs, self._out.outputs)
        out = np.empty((len(features), self._out.outputs), np.float32)
        c.context_network(
            out, features, len(features), widths, (*self._first.packed, bias),
            (*self._second.packed, self._second_bias), (*self._out.packed, self._out_bias),
        )  # fmt: skip
        return out


class _Layer:
    """Weights of a layer, checked to give exact sums with biases of this size."""

    def __init__(
        self, arrays: Arrays, name: str, peak: int, bits: int, bias: NDArray[np.floating]
    ) -> None:
        self._weights, shift = _read(arrays, name), _read(arrays, f"{name}.shift")
        # What products of whole numbers are multiplied by to be in units of 1/512, (outputs,).
        self._scale = np.exp2(SUM_BITS - bits - shift).astype(np.float32)
        self.outputs = len(self._scale)
        # Finer units than those of the biases, if weights are small; 16 for what rounding adds.
        finest = np.exp2(np.maximum(bits + shift - SUM_BITS, 0.0))
        sums = np.abs(self._scaled.astype(np.float64)).sum(axis=0) * peak
        if float(((sums + bias + 16) * finest).max()) >= LIMIT:
            raise WeightsError(f"sums of layer {name} can exceed 2^24", fix="train it again")

    def __call__(self, x: NDArray[Any], bias: Float32Array) -> Float32Array:
        """Sums in units of 1/512: (P, inputs) -> (P, outputs). Twin of what is done in C."""
        return _product(x, self._scaled) + bias[: self.outputs]

    @cached_property
    def _scaled(self) -> Float32Array:
        """Weights whose products are in units of 1/512, (inputs, outputs)."""
        return np.ascontiguousarray(self._weights * self._scale)

    @cached_property
    def packed(self) -> tuple[NDArray[np.int16], Float32Array]:
        """Weights (panels, pairs of inputs, 16, 2) and scales (16 panels,) as C takes them."""
        inputs, outputs = self._weights.shape
        even = np.zeros((inputs + inputs % 2, outputs), np.int16)
        even[:inputs] = self._weights
        panels = _whole_panels(even)  # (2 pairs, 16 panels)
        weights = panels.reshape(len(even) // 2, 2, -1, _PANEL).transpose(2, 0, 3, 1)
        return np.ascontiguousarray(weights), _whole_panels(self._scale)


def _whole_panels(x: NDArray[Any]) -> NDArray[Any]:
    """Zeros at the end of the last axis up to a multiple of 16."""
    return np.pad(x, [*([(0, 0)] * (x.ndim - 1)), (0, -x.shape[-1] % _PANEL)])


def _product(rows: NDArray[Any], weights: Float32Array) -> Float32Array:
    """Matrix product (P, K) x (K, N), whole numbers, a few rows at a time.

    Products this small stay on one thread in every BLAS, without a setting of the process: chunks
    are many, and threads that wait for each other on one of them only cost time.
    """
    count, inputs = rows.shape
    whole = count - count % _ROWS
    out = np.empty((count, weights.shape[1]), np.float32)
    rows = np.ascontiguousarray(rows, np.float32)
    if whole:
        blocks = rows[:whole].reshape(-1, _ROWS, inputs)
        np.matmul(blocks, weights, out=out[:whole].reshape(-1, _ROWS, weights.shape[1]))
    if whole < count:
        np.matmul(rows[whole:], weights, out=out[whole:])
    return out


def _read(arrays: Arrays, name: str) -> Float32Array:
    try:
        return np.asarray(arrays[name], np.float32)
    except KeyError:
        raise WeightsError(f"no tensor {name!r}", fix="freeze the weights again") from None


def _activate(sums: Float32Array) -> Float32Array:
    """floor(x / 16 + 1/2), clipped to a byte, in place."""
    sums *= 2.0 ** (ACTIVATION_BITS - SUM_BITS)
    sums += 0.5
    np.floor(sums, out=sums)
    return np.clip(sums, 0, ACTIVATION_MAX, out=sums)

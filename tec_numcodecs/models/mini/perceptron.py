"""The networks of the context model: small perceptrons in integers, carried exactly by float32.

Three layers a coefficient. Features are whole numbers -127 to 127 in units of 1/16, activations 0
to 255 in units of 1/32, weights -127 to 127 times a power of two per output, biases whole numbers
in units of 1/512, in which sums are counted. Reading checks for every output that no partial sum
can exceed 2^24 of its finest units, so a float32 matrix product holds all of them: any order of
summation, fused or not, gives the same numbers on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.models.mini.surroundings import OWN_FEATURES

Float32Array = NDArray[np.float32]
Arrays = Mapping[str, NDArray[np.generic]]

FEATURE_MAX, ACTIVATION_MAX = 127, 255
#: log2 of the units per one: of sums, activations and features.
SUM_BITS, ACTIVATION_BITS, FEATURE_BITS = 9, 5, 4
#: No partial sum may exceed this.
LIMIT = 1 << 24
_ROWS = 64


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
    own : int
        The last inputs of the first layer, which come from the plane itself.

    Raises
    ------
    WeightsError
        If something is missing, or a sum could exceed 2^24.
    """

    def __init__(self, arrays: Arrays, name: str, own: int = OWN_FEATURES) -> None:
        parts = [_read(arrays, f"{name}.{part}") for part in ("component", "phase", "rate")]
        self._component, self._phase, self._rate = parts
        reach = sum(np.abs(part.astype(np.float64)).max(axis=0) for part in parts)
        first = _weights(arrays, f"{name}.first", FEATURE_MAX, FEATURE_BITS, reach)
        self._before, self._own = np.split(first, [len(first) - own])
        self._second_bias = _read(arrays, f"{name}.second.bias")
        self._second = _weights(
            arrays, f"{name}.second", ACTIVATION_MAX, ACTIVATION_BITS, np.abs(self._second_bias)
        )
        self._out_bias = _read(arrays, f"{name}.out.bias")
        self._out = _weights(
            arrays, f"{name}.out", ACTIVATION_MAX, ACTIVATION_BITS, np.abs(self._out_bias)
        )

    def begin(self, features: Float32Array, component: int, rate: int) -> Float32Array:
        """First layer's sums over what is known before the plane: (P, width)."""
        sums = _product(features, self._before)
        sums += self._component[min(component, len(self._component) - 1)] + self._rate[rate]
        return sums

    def finish(self, begun: Float32Array, own: Float32Array | None, phase: int) -> Float32Array:
        """Outputs (P, outputs) in units of 1/512.

        Parameters
        ----------
        begun : float32 array (P, width)
            From :meth:`begin`; changed in place.
        own : float32 array (P, own), optional
            None where nothing of the plane is known: the same as zeros.
        phase : int
        """
        begun += self._phase[phase]
        if own is not None:
            begun += _product(own, self._own)
        hidden = _product(_activate(begun), self._second)
        hidden += self._second_bias
        out = _product(_activate(hidden), self._out)
        out += self._out_bias
        return out


def _product(rows: Float32Array, weights: Float32Array) -> Float32Array:
    """Matrix product (P, K) x (K, N), a few rows at a time.

    Products this small stay on one thread in every BLAS, without a setting of the process: chunks
    are many, and threads that wait for each other on one of them only cost time.
    """
    count, inputs = rows.shape
    whole = count - count % _ROWS
    out = np.empty((count, weights.shape[1]), np.float32)
    if whole:
        blocks = np.ascontiguousarray(rows[:whole]).reshape(-1, _ROWS, inputs)
        np.matmul(blocks, weights, out=out[:whole].reshape(-1, _ROWS, weights.shape[1]))
    if whole < count:
        np.matmul(np.ascontiguousarray(rows[whole:]), weights, out=out[whole:])
    return out


def _read(arrays: Arrays, name: str) -> Float32Array:
    try:
        return np.asarray(arrays[name], np.float32)
    except KeyError:
        raise WeightsError(f"no tensor {name!r}", fix="freeze the weights again") from None


def _weights(
    arrays: Arrays, name: str, peak: int, bits: int, bias: NDArray[np.floating]
) -> Float32Array:
    """Weights whose products are in units of 1/512, checked to give exact sums."""
    whole, shift = _read(arrays, name), _read(arrays, f"{name}.shift")
    scaled = np.ascontiguousarray(whole * np.exp2(SUM_BITS - bits - shift), np.float32)
    # Finer units than those of the biases, if weights are small; 16 for what rounding adds.
    finest = np.exp2(np.maximum(bits + shift - SUM_BITS, 0.0))
    reach = (np.abs(scaled.astype(np.float64)).sum(axis=0) * peak + bias + 16) * finest
    if float(reach.max()) >= LIMIT:
        raise WeightsError(f"sums of layer {name} can exceed 2^24", fix="train it again")
    return scaled


def _activate(sums: Float32Array) -> Float32Array:
    """floor(x / 16 + 1/2), clipped to a byte, in place."""
    sums *= 2.0 ** (ACTIVATION_BITS - SUM_BITS)
    sums += 0.5
    np.floor(sums, out=sums)
    return np.clip(sums, 0, ACTIVATION_MAX, out=sums)

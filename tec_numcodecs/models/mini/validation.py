"""Whether a weights file holds numbers that the models can calculate with.

A digest says that a file is the one that was named, not that whoever made it meant well. What
freezing never writes is refused when a file is loaded: later it would be an index out of bounds,
a sum that wraps around, or a transform that is not a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.models.mini.context.features import (
    OWN_FEATURES,
    PLANE_FEATURES,
    REFERENCE_FEATURES,
)
from tec_numcodecs.models.mini.progressive.significance import FLAG_FEATURES
from tec_numcodecs.models.mini.subbands.magnitude_model import (
    CLIP,
    COMPONENTS,
    FEATURES,
    FLAG_BINS,
    OCTAVES,
    SCALE_BINS,
    SCALE_LIMIT,
    SHIFT_LIMIT,
)
from tec_numcodecs.models.mini.transform.quantizer import LEVELS, MAX_RATE_INDEX
from tec_numcodecs.sensors import SENSORS

_MIXTURE_ROWS, _DIGIT_ROWS = 5568, 1632

Arrays = Mapping[str, NDArray[Any]]

# Networks, by how their names begin: inputs, outputs, phases.
_ALONE = (PLANE_FEATURES + OWN_FEATURES, 3, 4)
_REFERRING = (_ALONE[0] + REFERENCE_FEATURES, 4, 4)
_SIZES = {
    "elic.": _ALONE,
    "tt.": _REFERRING,
    "flex.0.": _ALONE,
    "flex.flags.": (FLAG_FEATURES, 1, 3),
    "flex.": _REFERRING,
}
_NETWORK = re.compile(r"(?P<name>(elic|tt|flex(\.[0-3]|\.flags))\.\d\.\d)\.second")
_OTHERS = {
    "features.integers": (1024,),
    "features.eighths": (8192,),
    "features.scales": (143,),
    "offsets": (_MIXTURE_ROWS, 7),
    "flex.offsets.first": (_MIXTURE_ROWS, 7),
    "flex.offsets.zeros": (3, _MIXTURE_ROWS, 3),
    "flex.offsets.digits": (3, _DIGIT_ROWS, 2),
}
_MOST_BANDS = 13
_MOST_WIDTH = 256  # of a hidden layer
_MOST_SHIFT = 24
_LARGEST_BIAS = 1 << 24

_MOST_ENTRIES = 16  # of a codebook: four bits of a stream choose one
_FURTHEST = 64  # a reconstruction may be off the middle of its interval: 64ths of a step
_STAGES = LEVELS + 1
_PLANES = (OCTAVES, _STAGES, COMPONENTS, 3)
# The largest value of each feature: a magnitude and its eight neighbours, in pairs; the fourth
# pair is summed over all components before.
_PAIRS = np.array([1, 1, 1, COMPONENTS, 1, 1])
_LARGEST = CLIP * np.stack([_PAIRS, 8 * _PAIRS], axis=1).ravel()


def check(arrays: Arrays) -> None:
    """Refuse codebooks and priors that nobody froze.

    Parameters
    ----------
    arrays : mapping of str to array
        Contents of a weights file of the family mini.

    Raises
    ------
    WeightsError
        A tensor has another shape or type than it must, or values that no model has.
    KeyError
        A tensor is missing.
    """
    for name in arrays:
        if name.startswith("codebook."):
            _check_codebook(name, arrays[name])
    _check_prior(arrays)
    _check_networks(arrays)


def _check_networks(arrays: Arrays) -> None:
    """Check layers, and what belongs to them, of every network that is there."""
    for name in arrays:
        found = _NETWORK.fullmatch(name)
        if found is None:
            continue
        kind = next(k for k in _SIZES if found["name"].startswith(k))
        inputs, outputs, phases = _SIZES[kind]
        width = arrays[name].shape[0] if arrays[name].ndim else 0
        good = 1 <= width <= _MOST_WIDTH
        _require(good, name, f"{width} inputs", f"1 to {_MOST_WIDTH} inputs")
        layers = {"first": (inputs, width), "second": (width, width), "out": (width, outputs)}
        parts: dict[str, tuple[int, ...]] = {
            "component": (_MOST_BANDS, width),
            "phase": (phases, width),
            "rate": (MAX_RATE_INDEX + 1, width),
            "second.bias": (width,),
            "out.bias": (outputs,),
        }
        for layer, shape in layers.items():
            _check_integers(f"{found['name']}.{layer}", arrays, shape, (-127, 127))
            _check_integers(f"{found['name']}.{layer}.shift", arrays, shape[1:], (0, _MOST_SHIFT))
        for part, size in parts.items():
            limits = (-_LARGEST_BIAS, _LARGEST_BIAS)
            _check_integers(f"{found['name']}.{part}", arrays, size, limits)
    for name, size in _OTHERS.items():
        if name in arrays:
            byte = name != "features.scales"
            _check_integers(name, arrays, size, (-128, 127) if byte else (0, SCALE_LIMIT))


def _check_codebook(name: str, found: NDArray[Any]) -> None:
    """Covariances must be finite and symmetric."""
    counts = {sensor.name: len(sensor.bands) for sensor in SENSORS}
    bands = counts.get(name.removeprefix("codebook."), found.shape[-1] if found.ndim else 0)
    entries = found.shape[0] if found.ndim == 4 else 0
    _require(
        found.dtype.kind == "f"
        and 1 <= entries <= _MOST_ENTRIES
        and found.shape == (entries, _STAGES, bands, bands),
        name,
        f"{found.dtype} of shape {found.shape}",
        f"floats of shape (1 to {_MOST_ENTRIES}, {_STAGES}, {bands}, {bands})",
    )
    largest = float(np.finfo(np.float32).max)
    _require(
        bool((np.abs(found) <= largest).all()),  # NaN is not less than anything
        name,
        "values that are not finite",
        "finite covariances",
    )
    symmetric = np.array_equal(found, np.swapaxes(found, -1, -2))
    _require(symmetric, name, "a matrix that is not symmetric", "covariances")


def _check_prior(arrays: Arrays) -> None:
    for name in ("prior.tables.cdf", "prior.tables.starts", "prior.tables.minimum"):
        found = arrays[name]
        good = found.dtype.kind in "iu" and found.ndim == 1
        _require(good, name, f"{found.dtype}, {found.ndim} axes", "integers in a row")
    chosen = arrays["prior.coefficient_rows"]
    groups, rows = len(chosen) if chosen.ndim else 0, arrays["prior.tables.minimum"].size
    shapes = {
        "group": (OCTAVES,),
        "weights": (*_PLANES, FEATURES),
        "bias": _PLANES,
        "coefficient_rows": (groups, _STAGES, SCALE_BINS),
        "flag_rows": (groups, _STAGES, FLAG_BINS),
        "shift_rows": (groups, 2 * SHIFT_LIMIT + 1),
        "shrink": (rows, 3),
    }
    limits = {
        "group": (0, groups - 1),
        "weights": (0, 1 << 30),
        "bias": (0, 1 << 30),
        "shrink": (-_FURTHEST, _FURTHEST),
    }
    for name, shape in shapes.items():
        _check_integers(f"prior.{name}", arrays, shape, limits.get(name, (0, rows - 1)))
    # Expected magnitudes are summed in 32 bits.
    weights, bias = (arrays[f"prior.{name}"].astype(np.int64) for name in ("weights", "bias"))
    sums = bias + weights @ _LARGEST
    _require(
        int(sums.max()) < 1 << 31, "prior.weights", f"a sum of {sums.max()}", "sums below 2^31"
    )
    _check_shifts(arrays)


def _check_shifts(arrays: Arrays) -> None:
    """Rows of shifts must name every shift: there is no escape from them."""
    rows, minimum = arrays["prior.shift_rows"], arrays["prior.tables.minimum"]
    first = minimum.astype(np.int64)[rows]
    starts = arrays["prior.tables.starts"]
    _require(
        starts.shape == (minimum.size + 1,),
        "prior.tables.starts",
        f"shape {starts.shape}",
        "one more than there are rows",
    )
    last = first + np.diff(starts.astype(np.int64))[rows] - 2
    _require(
        bool((first <= -SHIFT_LIMIT).all() and (last >= SHIFT_LIMIT).all()),
        "prior.shift_rows",
        f"rows of the symbols {first.max()} to {last.min()}",
        f"rows that name {-SHIFT_LIMIT} to {SHIFT_LIMIT}",
    )


def _check_integers(
    name: str, arrays: Arrays, shape: tuple[int, ...], limits: tuple[int, int]
) -> None:
    found = arrays[name]
    _require(
        found.dtype.kind in "iu" and found.shape == shape and found.size > 0,
        name,
        f"{found.dtype} of shape {found.shape}",
        f"integers of shape {shape}",
    )
    low, high = int(found.min()), int(found.max())
    _require(
        limits[0] <= low and high <= limits[1],
        name,
        f"values from {low} to {high}",
        f"{limits[0]} to {limits[1]}",
    )


def _require(good: bool, name: str, found: str, allowed: str) -> None:
    if not good:
        raise WeightsError(
            f"weights whose {name} has {found}",
            allowed=allowed,
            fix="never use such a file: no freezing wrote it, whatever its digest says",
        )

"""Codebooks of spectral transforms, taken from a weights file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from tec_numcodecs.weights import registry

Codebooks = dict[str, tuple[int, NDArray[np.float32]]]


def read_codebooks(path: str | Path | None = None) -> Codebooks:
    """Codebooks of all sensors.

    Parameters
    ----------
    path : path, optional
        A safetensors file with ``codebook.<sensor>`` (entries, 6, C, C) and
        ``codebook.first.<sensor>``; by default the bundled context model.

    Returns
    -------
    dict of sensor name to (first, covariances)
        ``first`` is the number of the sensor's first entry in the networks' embedding.
    """
    if path is None:
        path = registry.locate(registry.resolve("mini", "elic"))
    arrays = safetensors.numpy.load_file(path)
    prefix = "codebook.first."
    sensors = [name.removeprefix(prefix) for name in arrays if name.startswith(prefix)]
    return {s: (int(arrays[prefix + s].item()), arrays[f"codebook.{s}"]) for s in sensors}

"""What a store says about its loss: asked for, promised, reached; and what reading it takes.

Attributes are flat, numbers and strings and lists of them, so that they survive a way through
netCDF. They follow CF 1.12, section 8.4, in what they tell (algorithm, implementation, parameters
of what was done to the values), but not in name: that section is about quantized floats, and its
vocabulary closed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
import xarray as xr

from tec_numcodecs.arithmetic import ieee754
from tec_numcodecs.chunk.container import VERSION
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.rate_control import psnr
from tec_numcodecs.redaction import redact
from tec_numcodecs.weights import published as hub
from tec_numcodecs.weights.local_store import WeightsId, bundled
from tec_xarray.cube.bands import find_axes
from tec_xarray.cube.layout import cube_of
from tec_xarray.cube.loss import ACHIEVED, PREFIX, without_claims
from tec_xarray.store.codec_metadata import AnyArray
from tec_xarray.store.journal import Journal
from tec_xarray.store.objects import block_shape

_SOFTWARE = ("tec-xarray", "numpy", "zarr", "xarray")


def with_provenance(
    marked: xr.Dataset, config: CodecConfig, asked: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Say on the cube what will be done to its values, and on the dataset what reading it takes.

    Parameters
    ----------
    marked : xarray.Dataset
    config : CodecConfig
    asked : mapping, optional
        A target that the configuration does not show: of the whole cube.
    """
    weights = config.weights
    result = marked.copy(deep=False)
    cube = cube_of(result)
    said = _of_cube(config, asked or {})
    result[str(cube.name)].attrs = without_claims(cube.attrs) | said
    # Arithmetic may drop the attributes of a cube (keep_attrs=False), but not those of its labels.
    labels = str(find_axes(cube).band)
    text = {PREFIX: said[f"{PREFIX}_algorithm"]} if said else {}
    result[labels].attrs = without_claims(result[labels].attrs) | text
    result.attrs = {
        **marked.attrs,
        "tec_weights": weights.id,
        "tec_weights_sha256": weights.sha256,
        "tec_weights_source": source_of(weights),
        "tec_software": ", ".join(f"{name} {_version(name)}" for name in _SOFTWARE),
    }
    return result


def _of_cube(config: CodecConfig, asked: Mapping[str, Any]) -> dict[str, Any]:
    if config.lossless:
        return {}
    bound = config.max_error
    target: dict[str, Any] = {}
    if config.target is not None:
        target[config.target.kind] = config.target.value
    parameters = {
        "lam": config.lam,
        "quality": config.quality,
        "max_error": list(bound) if isinstance(bound, tuple) else bound,
        **target,
        **asked,
    }
    found = {
        "algorithm": f"tec {config.weights.family} {config.model}",
        "implementation": f"tec-xarray {_version('tec-xarray')}, chunk format {VERSION}",
        "weights_sha256": config.weights.sha256,
        **{name: value for name, value in parameters.items() if value is not None},
    }
    return {f"{PREFIX}_{name}": value for name, value in found.items()}


def source_of(weights: WeightsId) -> str:
    """Say where a file of weights can be had."""
    if any(e["sha256"] == weights.sha256 for f in bundled().values() for e in f.values()):
        return f"in the package: pip install tec-xarray=={_version('tec-xarray')}"
    published = hub.by_id(weights.id)
    if published is not None:
        return f"frozen by tec-xarray {_version('tec-xarray')} from {redact(published.url)}"
    return "a file of whoever wrote this: ask them for it"


@ieee754
def note_achieved(array: AnyArray, journal: Journal) -> None:
    """Write down what a finished archive has lost, as its journal has it.

    For the valid samples of every band, the root of the mean squared error and the largest error,
    in the units of the values as they are stored; for all together, PSNR with the peak at
    10,000 DN, and bits for each sample.
    """
    codec = _configuration(array)
    if CodecConfig.from_json(codec).lossless:
        return
    step = block_shape(array)[0]
    done = [d for d in journal.all() if d.index[0] * step < array.shape[0]]
    blocks = journal.states()[: -(-array.shape[0] // step), ..., 0]
    if not done or not (blocks > 0).all():
        return
    errors = np.stack([d.errors for d in done])  # (blocks, C, 3)
    if np.isnan(errors).any():  # blocks whose loss nobody knows: nothing is claimed of the whole
        kept = {k: v for k, v in array.attrs.items() if not str(k).startswith(ACHIEVED)}
        array.attrs.put(kept)
        return
    samples, squares = errors[..., 0].sum(axis=0), errors[..., 1].sum(axis=0)
    scale = float(codec["scale"])
    total = psnr(float(squares.sum()), max(int(samples.sum()), 1))
    bits = 8 * sum(d.stored_bytes for d in done) / math.prod(array.shape)
    reached = {
        "rmse": (np.sqrt(squares / np.maximum(samples, 1)) * scale).tolist(),
        "max_error": (errors[..., 2].max(axis=0) * scale).tolist(),
        "bpppb": bits,
        "shape": list(array.shape),  # of what the figures are true
        **({} if math.isinf(total) else {"psnr": total}),
    }
    array.attrs.update({f"{ACHIEVED}_{name}": _short(value) for name, value in reached.items()})


def _configuration(array: AnyArray) -> dict[str, Any]:
    from tec_xarray.store.codec_metadata import configuration

    return configuration(array)


def _short(value: Any) -> Any:
    """Round to seven digits: what is more is nobody's business."""
    if isinstance(value, list):
        return [_short(v) for v in value]
    return float(f"{value:.7g}")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"

"""TerraCodec's own names for its models, with its arguments: a place to start for its users.

>>> from tec_numcodecs.models.terracodec import terracodec_v1_tt_s2l2a
>>> model = terracodec_v1_tt_s2l2a(pretrained=True, compression=5)  # doctest: +SKIP
>>> payload = model.compress(x)  # x: standardized [B, T, 12, H, W]  # doctest: +SKIP
>>> x_hat = model.decompress(payload)  # doctest: +SKIP
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tec_numcodecs.arguments import choice, whole
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models import loading
from tec_numcodecs.models.terracodec.exact_synthesis import Published
from tec_numcodecs.models.terracodec.initial import random_model
from tec_numcodecs.models.terracodec.tensors import ImageCodec, SequenceCodec
from tec_numcodecs.models.weights_lookup import LR_ONLY, choose
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.weights import published
from tec_numcodecs.weights.local_store import WeightsId

Compression = str | float
_KEY = re.compile(r"lambda-(\d+(?:\.\d+)?)(-lronly)?")
_L2A, _L1C = "sentinel-2-l2a", "sentinel-2-l1c"


def terracodec_v1_fp_s2l2a(
    compression: Compression = "lambda-10",
    image_size: int = 256,
    mode: str = "eval",
    **kwargs: Any,
) -> ImageCodec:
    """Build TEC-FP for Sentinel-2 L2A (12 bands); see `flextec_v1_s2l2a` for the parameters."""
    request = _request("fp", _L2A, compression, image_size, mode, kwargs)
    return _finished(ImageCodec(*_network(request)), mode)


def terracodec_v1_elic_s2l2a(
    compression: Compression = "lambda-10",
    image_size: int = 256,
    mode: str = "eval",
    **kwargs: Any,
) -> ImageCodec:
    """Build TEC-ELIC for Sentinel-2 L2A (12 bands); see `flextec_v1_s2l2a` for the parameters."""
    request = _request("elic", _L2A, compression, image_size, mode, kwargs)
    return _finished(ImageCodec(*_network(request)), mode)


def terracodec_v1_tt_s2l2a(
    compression: Compression = "lambda-5",
    image_size: int = 256,
    mode: str = "eval",
    **kwargs: Any,
) -> SequenceCodec:
    """Build TEC-TT for Sentinel-2 L2A (12 bands); see `flextec_v1_s2l2a` for the parameters."""
    request = _request("tt", _L2A, compression, image_size, mode, kwargs)
    return _finished(SequenceCodec(*_network(request)), mode)


def terracodec_v1_tt_s2l1c(
    compression: Compression = "lambda-20",
    image_size: int = 256,
    mode: str = "eval",
    **kwargs: Any,
) -> SequenceCodec:
    """Build TEC-TT for Sentinel-2 L1C (13 bands); see `flextec_v1_s2l2a` for the parameters."""
    request = _request("tt", _L1C, compression, image_size, mode, kwargs)
    return _finished(SequenceCodec(*_network(request)), mode)


def flextec_v1_s2l2a(
    compression: Compression = "lambda-800",
    image_size: int = 256,
    mode: str = "eval",
    lr_only: bool = False,
    **kwargs: Any,
) -> SequenceCodec:
    """Build FlexTEC for Sentinel-2 L2A (12 bands).

    Parameters
    ----------
    compression : str or float
        ``"lambda-<v>"`` (FlexTEC: also ``"lambda-<v>-lronly"``) with one of the published values,
        or a number: the nearest of them is taken, with a warning if it is another.
    image_size : int
        Accepted for TerraTorch's configurations. Images of any size can be coded.
    mode : {"eval", "train"}
        What the module is set to. In training the transforms have gradients; the entropy networks
        are integers and stay as they are.
    lr_only : bool
        The one trained for low rates only.
    **kwargs
        ``pretrained=True`` takes the published checkpoint, fetched on first use.
        ``ckpt_path`` names a checkpoint of your own; `compression` is not looked at then.
        With neither, weights are drawn from ``seed`` (0), in the published sizes or those of
        ``N``, ``M`` (channels of the first layer and of the latents) and ``width`` (of the
        transformers). ``in_channels`` may say how many bands the model has.

    Returns
    -------
    ImageCodec or SequenceCodec
        A module on standardized tensors with ``compress`` and ``decompress``.

    Raises
    ------
    InvalidInput
        No such rate, size or argument.
    WeightsError
        The checkpoint cannot be had, or is damaged or of another architecture.
    """
    request = _request("flextec", _L2A, compression, image_size, mode, kwargs, lr_only=lr_only)
    return _finished(SequenceCodec(*_network(request)), mode)


@dataclass(frozen=True)
class _Request:
    """What a builder was asked for."""

    model: str
    sensor: str
    compression: Compression
    pretrained: bool
    path: str | os.PathLike[str] | None
    sizes: dict[str, Any]  # of weights that are drawn
    lr_only: bool


def _request(
    model: str, sensor: str, compression: Compression, image_size: int, mode: str,
    given: dict[str, Any], *, lr_only: bool = False,
) -> _Request:  # fmt: skip
    whole("image_size", image_size, 1)
    choice("mode", mode, ("eval", "train"))
    allowed = ("pretrained", "ckpt_path", "in_channels", "N", "M", "width", "seed")
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise InvalidInput(
            f"argument {unknown[0]!r}",
            allowed=f"compression, image_size, mode, {', '.join(allowed)}",
            fix="leave it out",
        )
    bands = len(get_sensor(sensor).bands)
    if given.get("in_channels", bands) != bands:
        raise InvalidInput(f"in_channels={given['in_channels']!r}", allowed=f"{bands}")
    path, pretrained = given.get("ckpt_path"), bool(given.get("pretrained", False))
    names = {"N": "n", "M": "m", "width": "width", "seed": "seed"}
    sizes = {new: given[old] for old, new in names.items() if given.get(old) is not None}
    if sizes and (pretrained or path is not None):
        raise InvalidInput(
            f"{', '.join(sorted(names.keys() & given.keys()))} with a checkpoint",
            allowed="sizes and a seed where weights are drawn",
            fix="leave it out: a checkpoint has its own",
        )
    return _Request(model, sensor, compression, pretrained, path, sizes, bool(lr_only))


def _finished(codec: Any, mode: str) -> Any:
    return codec.train(mode == "train")


def _network(request: _Request) -> tuple[Published, WeightsId, float | None]:
    """Return a model, the name of its weights, and what they were trained with."""
    model, sensor = request.model, get_sensor(request.sensor)
    if request.path is not None:
        if not Path(request.path).is_file():
            raise InvalidInput(
                f"ckpt_path={os.fspath(request.path)!r}", allowed="a file that is there"
            )
        found = choose(request.path, model, sensor)
    else:
        lam, low = _parse(model, request.compression, request.sensor)
        if not request.pretrained:
            return *random_model(model, len(sensor.bands), **request.sizes), None
        family = LR_ONLY if request.lr_only or low else published.PUBLISHED
        found = choose(family, model, sensor, lam=lam)
    loaded = loading.load(model, found.weights)
    if not isinstance(loaded, Published):
        raise InvalidInput(
            f"weights {found.weights.id!r}", allowed="a checkpoint of TerraCodec's architectures"
        )
    return loaded, found.weights, found.lam


def _parse(model: str, compression: Compression, sensor: str) -> tuple[float, bool]:
    """Return lambda, and whether the low-rate FlexTEC is meant."""
    family = published.FAMILIES[model, sensor]
    if isinstance(compression, str):
        key = _KEY.fullmatch(compression)
        if key is None or (key[2] and model != "flextec"):
            keys = ", ".join(f"'lambda-{lam:g}'" for lam in family.lams)
            raise InvalidInput(f"compression={compression!r}", allowed=f"a number, {keys}")
        return float(key[1]), key[2] is not None
    if isinstance(compression, bool) or not isinstance(compression, int | float):
        raise InvalidInput(f"compression={compression!r}", allowed="a number, or 'lambda-<number>'")
    nearest = published.published(model, compression, sensor=sensor, nearest=True).lam
    if nearest != compression:
        warnings.warn(
            f"no checkpoint for lambda {compression:g}; taking the nearest, {nearest:g}",
            UserWarning,
            stacklevel=4,
        )
    return nearest, False

"""TerraCodec's own names for its models, with its arguments: a place to start for its users.

>>> from tec_numcodecs.models.terracodec import terracodec_v1_tt_s2l2a
>>> model = terracodec_v1_tt_s2l2a(pretrained=True, compression=5)  # doctest: +SKIP
>>> payload = model.compress(x)  # x: standardised [B, T, 12, H, W]  # doctest: +SKIP
>>> x_hat = model.decompress(payload)  # doctest: +SKIP
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models import loading
from tec_numcodecs.models.terracodec.tensors import ImageCodec, SequenceCodec
from tec_numcodecs.models.weights_lookup import LR_ONLY, Choice, choose
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.weights import published

Compression = str | float
_KEY = re.compile(r"lambda-(\d+(?:\.\d+)?)(-lronly)?")


def terracodec_v1_fp_s2l2a(
    compression: Compression = "lambda-10",
    *,
    pretrained: bool = False,
    ckpt_path: str | os.PathLike[str] | None = None,
) -> ImageCodec:
    """Build TEC-FP for Sentinel-2 L2A (12 bands); see `flextec_v1_s2l2a` for the parameters."""
    return _image("fp", compression, pretrained=pretrained, path=ckpt_path)


def terracodec_v1_elic_s2l2a(
    compression: Compression = "lambda-10",
    *,
    pretrained: bool = False,
    ckpt_path: str | os.PathLike[str] | None = None,
) -> ImageCodec:
    """Build TEC-ELIC for Sentinel-2 L2A (12 bands); see `flextec_v1_s2l2a` for the parameters."""
    return _image("elic", compression, pretrained=pretrained, path=ckpt_path)


def terracodec_v1_tt_s2l2a(
    compression: Compression = "lambda-5",
    *,
    pretrained: bool = False,
    ckpt_path: str | os.PathLike[str] | None = None,
) -> SequenceCodec:
    """Build TEC-TT for Sentinel-2 L2A (12 bands); see `flextec_v1_s2l2a` for the parameters."""
    return _sequence("tt", compression, pretrained=pretrained, path=ckpt_path)


def terracodec_v1_tt_s2l1c(
    compression: Compression = "lambda-20",
    *,
    pretrained: bool = False,
    ckpt_path: str | os.PathLike[str] | None = None,
) -> SequenceCodec:
    """Build TEC-TT for Sentinel-2 L1C (13 bands); see `flextec_v1_s2l2a` for the parameters."""
    sensor = "sentinel-2-l1c"
    return _sequence("tt", compression, pretrained=pretrained, path=ckpt_path, sensor=sensor)


def flextec_v1_s2l2a(
    compression: Compression = "lambda-800",
    *,
    pretrained: bool = False,
    lr_only: bool = False,
    ckpt_path: str | os.PathLike[str] | None = None,
) -> SequenceCodec:
    """Build FlexTEC for Sentinel-2 L2A (12 bands).

    Parameters
    ----------
    compression : str or float
        ``"lambda-<v>"`` (FlexTEC: also ``"lambda-<v>-lronly"``) with one of the published values,
        or a number: the nearest of them is taken, with a warning if it is another.
    pretrained : bool
        Take the published checkpoint, fetched on first use.
    lr_only : bool
        The one trained for low rates only.
    ckpt_path : path, optional
        A checkpoint of your own instead; `compression` is not looked at then.

    Returns
    -------
    ImageCodec or SequenceCodec
        A callable on standardised tensors with ``compress`` and ``decompress``.

    Raises
    ------
    InvalidInput
        No such rate, or neither a checkpoint nor `pretrained`: there is nothing to code with then,
        and these classes do not train.
    WeightsError
        The checkpoint cannot be had, or is damaged or of another architecture.
    """
    return _sequence("flextec", compression, pretrained=pretrained, path=ckpt_path, lr_only=lr_only)


def _image(
    model: str,
    compression: Compression,
    *,
    pretrained: bool,
    path: str | os.PathLike[str] | None,
) -> ImageCodec:
    found = _choice(model, compression, "sentinel-2-l2a", pretrained=pretrained, path=path)
    return ImageCodec(loading.load(model, found.weights), found.weights, found.lam)


def _sequence(
    model: str,
    compression: Compression,
    *,
    pretrained: bool,
    path: str | os.PathLike[str] | None,
    sensor: str = "sentinel-2-l2a",
    lr_only: bool = False,
) -> SequenceCodec:
    found = _choice(model, compression, sensor, pretrained=pretrained, path=path, lr_only=lr_only)
    return SequenceCodec(loading.load(model, found.weights), found.weights, found.lam)


def _choice(
    model: str,
    compression: Compression,
    sensor: str,
    *,
    pretrained: bool,
    path: str | os.PathLike[str] | None,
    lr_only: bool = False,
) -> Choice:
    if path is not None:
        if not Path(path).is_file():
            raise InvalidInput(f"ckpt_path={os.fspath(path)!r}", allowed="a file that is there")
        return choose(path, model, get_sensor(sensor))
    if not pretrained:
        raise InvalidInput(
            "neither pretrained=True nor ckpt_path",
            allowed="one of them: a codec without weights cannot code",
            fix="pass pretrained=True; to train a model, use TerraCodec itself and import the "
            "result",
        )
    lam, low = _parse(model, compression, sensor)
    family = LR_ONLY if lr_only or low else published.PUBLISHED
    return choose(family, model, get_sensor(sensor), lam=lam)


def _parse(model: str, compression: Compression, sensor: str) -> tuple[float, bool]:
    """Return lambda, and whether the low-rate FlexTEC is meant."""
    family = published.FAMILIES[model, sensor]
    if isinstance(compression, str):
        key = _KEY.fullmatch(compression)
        if key is None or (key[2] and model != "flextec"):
            keys = ", ".join(f"'lambda-{lam:g}'" for lam in family.lams)
            raise InvalidInput(f"compression={compression!r}", allowed=f"a number, {keys}")
        return float(key[1]), key[2] is not None
    nearest = published.published(model, compression, sensor=sensor, nearest=True).lam
    if nearest != compression:
        warnings.warn(
            f"no checkpoint for lambda {compression:g}; taking the nearest, {nearest:g}",
            UserWarning,
            stacklevel=5,
        )
    return nearest, False

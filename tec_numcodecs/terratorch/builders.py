"""What is registered, by name: functions that build a module."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from tec_numcodecs.arguments import as_number, choice, whole
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.terracodec import builders as exact
from tec_numcodecs.terratorch.mini import MiniImageCodec, MiniSequenceCodec

Builder = Callable[..., nn.Module]

_LAMBDA = re.compile(r"lambda-(\d+(?:\.\d+)?)")
_KINDS: Mapping[str, type[MiniImageCodec | MiniSequenceCodec]] = MappingProxyType(
    {
        "fp": MiniImageCodec,
        "elic": MiniImageCodec,
        "tt": MiniSequenceCodec,
        "flextec": MiniSequenceCodec,
    }
)
_SENSORS = {"s2l2a": "sentinel-2-l2a", "s2l1c": "sentinel-2-l1c"}


def _mini(model: str, level: str) -> Builder:
    def build(
        compression: str | float = 20,
        image_size: int = 256,
        mode: str = "eval",
        *,
        pretrained: bool = True,
        in_channels: int | None = None,
    ) -> nn.Module:
        whole("image_size", image_size, 1)
        choice("mode", mode, ("eval", "train"))
        if not pretrained:
            raise InvalidInput(
                f"pretrained=False with the bundled model {model!r}",
                allowed="pretrained=True: its tables and integers come with the package",
                fix="leave pretrained out; `python -m tec_numcodecs.training` makes new ones",
            )
        codec = _KINDS[model](model, _lam(compression), sensor=_SENSORS[level])
        if in_channels not in (None, len(codec.bands)):
            raise InvalidInput(f"in_channels={in_channels!r}", allowed=f"{len(codec.bands)}")
        return codec.train(mode == "train")

    build.__name__ = build.__qualname__ = f"mini_{model}_{level}"
    build.__doc__ = f"""Build the bundled model {model!r} on standardized tensors.

    Parameters
    ----------
    compression : float or str
        The weight of the distortion, any number above 0, or ``"lambda-<number>"``: higher is
        better and larger.
    image_size : int
        Accepted for TerraTorch's configurations. Images of any size can be coded.
    mode : {{"eval", "train"}}
        What the module is set to; see `{_KINDS[model].__name__}`.
    pretrained : bool
        Only True: the weights come with the package.
    in_channels : int, optional
        How many bands the model has, for configurations that say so.

    Raises
    ------
    InvalidInput
        An argument that is not allowed.
    """
    return build


def _lam(compression: object) -> float:
    key = _LAMBDA.fullmatch(compression) if isinstance(compression, str) else None
    found = float(key[1]) if key else None
    if not isinstance(compression, str):
        found = as_number(compression)
    if found is None or not 0 < found < float("inf"):
        raise InvalidInput(
            f"compression={compression!r}", allowed="a number > 0, or 'lambda-<number>'"
        )
    return found


#: The bundled models, by name.
MINI: Mapping[str, Builder] = MappingProxyType(
    {f"mini_{model}_{level}": _mini(model, level) for level in _SENSORS for model in _KINDS}
)
#: The published architectures, under TerraCodec's names.
EXACT: Mapping[str, Builder] = MappingProxyType(
    {
        builder.__name__: builder
        for builder in (
            exact.terracodec_v1_fp_s2l2a,
            exact.terracodec_v1_elic_s2l2a,
            exact.terracodec_v1_tt_s2l2a,
            exact.terracodec_v1_tt_s2l1c,
            exact.flextec_v1_s2l2a,
        )
    }
)
#: All of them.
BUILDERS: Mapping[str, Builder] = MappingProxyType({**MINI, **EXACT})

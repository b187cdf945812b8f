"""Which codecs may encode: those that somebody made, not those that came out of metadata.

`xarray.open_zarr` hands the codec of an array on to whatever is written next, so that a plain copy
would lose detail a second time without anybody having asked. Therefore a codec that was rebuilt
from an array's metadata is *sealed*: it decodes, and refuses to encode unless it is lossless.
A codec that was made by its class is not, and stays so wherever it goes in memory: through
`to_dict`, `get_config`, pickles, copies and workers of any kind. Only JSON forgets it.

tec's own writers read the samples that they encode from a source that they have checked. They
break the seal of the array that they write to: `marked` with ``sealed=False``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tec_numcodecs.errors import InvalidInput

if TYPE_CHECKING:
    from tec_numcodecs.config import CodecConfig

#: The two lines that copy without a second loss.
COPY = (
    "tec_xarray.copy(source, target) copies an archive byte for byte; "
    "ds.tec.drop_codec().to_zarr(target) stores decoded values exactly, without this codec"
)


class MadeByHand(dict[str, Any]):
    """Part of the configuration of a codec that somebody made; equal to a plain dict.

    It is the mapping under ``weights``, because functions of Zarr and numcodecs make dicts of their
    own out of what lies above it.
    """


def marked(configuration: Mapping[str, Any], *, sealed: bool) -> dict[str, Any]:
    """Return a configuration that says, in memory, whether the codec built from it is sealed."""
    kind: Any = dict if sealed else MadeByHand
    return {**configuration, "weights": kind(configuration["weights"])}


def is_sealed(configuration: Mapping[str, Any]) -> bool:
    """Tell whether a configuration came out of metadata."""
    return not isinstance(configuration.get("weights"), MadeByHand)


def check(config: CodecConfig, *, sealed: bool) -> None:
    """Refuse to encode with a codec that came out of metadata, unless nothing is lost by it.

    Raises
    ------
    InvalidInput
        It is sealed and loses detail.
    """
    if sealed and not config.lossless:
        raise InvalidInput(
            f"samples to encode for an array that was opened, whose codec (model={config.model!r}) "
            "loses detail: where they were decoded by it, they would lose it a second time",
            allowed="copies of bytes, or of decoded values without this codec",
            fix=f"{COPY}. For original values: ds.tec.compress(store=...), its region=, "
            "tec_xarray.append, or a codec made by its class for a new array. What a refused write "
            "has left at its target (metadata, coordinates) holds no samples: delete it",
        )

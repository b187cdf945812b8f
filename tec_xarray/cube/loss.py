"""Marks of loss on variables: what was done to their values, once and before.

A store says of its cube, in attributes, what a lossy codec did to the values. The attributes
travel with the values through `to_bands`, `from_cube`, `where` and the like, so that nobody
compresses them a second time unasked. What leaves the codec behind (`drop_codec`) puts them into
one line of text: the figures are those of a whole archive, not of a part or a copy of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

#: Attributes of a cube that begin so tell what a codec does, or did, to its values.
PREFIX = "lossy_compression"
#: Those that tell what came of it, measured on a whole archive.
ACHIEVED = f"{PREFIX}_achieved"
#: The attribute that tells of losses before, as text.
BEFORE = "earlier_lossy_compression"
#: In an encoding: a second loss is asked for. It is written to no store.
ON_PURPOSE = "tec_second_loss"

_NAMED = (f"{PREFIX}_algorithm", f"{PREFIX}_implementation", f"{PREFIX}_weights_sha256")


def was_lossy(variable: xr.Variable) -> bool:
    """Tell whether values have been through a lossy codec, as far as attributes say."""
    return any(str(key).startswith((PREFIX, BEFORE)) for key in variable.attrs)


def without_achieved(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes without figures that are true of a whole archive only."""
    return {key: value for key, value in attrs.items() if not str(key).startswith(ACHIEVED)}


def without_claims(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes without what they say about loss, but for losses before."""
    return {key: value for key, value in attrs.items() if not str(key).startswith(PREFIX)}


def as_history(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes in which the last loss has become one of those before."""
    said = {str(k): v for k, v in without_achieved(attrs).items() if str(k).startswith(PREFIX)}
    kept = without_claims(attrs)
    if said:
        algorithm = said.get(_NAMED[0], said.get(PREFIX, "lossy"))
        rates = [f"{k.removeprefix(PREFIX + '_')}={_text(v)}" for k, v in said.items()
                 if k not in _NAMED and k != PREFIX]  # fmt: skip
        by = [str(said[_NAMED[1]])] if _NAMED[1] in said else []
        text = ", ".join([str(algorithm), *rates, *by])
        kept[BEFORE] = "; ".join(filter(None, [str(kept.get(BEFORE, "")), text]))
    return kept


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)

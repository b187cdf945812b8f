"""No second loss unless it is asked for: tell decoded values from original ones, and let go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import xarray as xr

from tec_numcodecs.chunk import seal
from tec_numcodecs.errors import InvalidInput
from tec_xarray.cube.loss import BEFORE, ON_PURPOSE, PREFIX, as_history, was_lossy, without_claims
from tec_xarray.encoding.auxiliary import without_storage
from tec_xarray.store.codec_metadata import ENCODING_KEYS, configuration_in, configurations

#: Attributes of a dataset that say what reading its store takes.
_OF_THE_STORE = (
    "tec_codec", "tec_weights", "tec_weights_sha256", "tec_weights_source", "tec_software",
)  # fmt: skip


def is_compressed(encoding: Mapping[Any, Any]) -> bool:
    """Tell whether an encoding names our codec, in either Zarr format."""
    return bool(configuration_in(encoding))


def drop_codec(data: xr.Dataset) -> xr.Dataset:
    """Return the dataset without our codec in any encoding: ``to_zarr`` then stores it plainly.

    Needed to store decoded values losslessly, to write data from a format 2 store into format 3,
    or to compress once more on purpose. What attributes said about an archive (its codec, its
    weights, the errors that it achieved) goes, too; that the values have lost something stays
    behind, as the attribute ``earlier_lossy_compression``.
    """
    result = data.copy(deep=False)
    result.attrs = {k: v for k, v in data.attrs.items() if k not in _OF_THE_STORE}
    ours = any(is_compressed(variable.encoding) for variable in data.variables.values())
    for name, variable in data.variables.items():
        compressed, text = is_compressed(variable.encoding), variable.dtype.kind in "OUT"
        if compressed and not was_opened(variable.encoding):
            result[name].attrs = without_claims(variable.attrs)  # nothing has been coded yet
        elif name in data.coords:
            result[name].attrs = without_claims(variable.attrs)
        else:
            result[name].attrs = as_history(variable.attrs)
        # Zarr format 2 would call a text filter for labels that xarray has made fixed-width.
        encoding = dict(variable.encoding)
        if compressed or (ours and text):
            encoding = without_storage(encoding)
        if BEFORE in result[name].attrs:
            encoding[ON_PURPOSE] = True
        result[name].encoding = encoding
    return result


def check_fresh(cubes: xr.Dataset, cube: xr.DataArray, source: xr.Dataset) -> None:
    """Refuse to lose twice: what we decoded has lost already what it had to lose.

    Parameters
    ----------
    cubes : xarray.Dataset
        What `to_cube` made of `source`; `cube` is in it.
    cube : xarray.DataArray
    source : xarray.Dataset

    Raises
    ------
    InvalidInput
        The bands of `source` were decoded by a lossy codec, or are marked for one.
    """
    bands = [v for n, v in source.variables.items() if n == cube.name or n not in cubes.variables]
    found = ""
    if any(is_compressed(variable.encoding) for variable in bands):
        found = f"{cube.name!r} is compressed already"
    elif not any(ON_PURPOSE in variable.encoding for variable in bands):
        labels = [variable for name, variable in source.coords.items() if PREFIX in variable.attrs]
        lossy = [v for v in bands if was_lossy(v)] or [label.variable for label in labels]
        if lossy:
            text = as_history(lossy[0].attrs)[BEFORE]
            found = f"{cube.name!r} holds values that have lost something already ({text})"
    if found:
        raise InvalidInput(
            found,
            allowed="original values",
            fix=f"to copy them: {seal.COPY}; to compress the decoded values again on purpose, "
            "losing more, call .tec.drop_codec() first",
        )


def was_opened(encoding: Mapping[Any, Any]) -> bool:
    """Tell whether the codec in an encoding came out of a store."""
    codecs = [codec for key in ENCODING_KEYS for codec in _each(encoding.get(key))]
    return any(getattr(codec, "sealed", True) for codec in codecs if any(configurations(codec)))


def _each(codecs: Any) -> Iterator[Any]:
    if isinstance(codecs, (list, tuple)):
        yield from codecs
    elif codecs is not None:
        yield codecs

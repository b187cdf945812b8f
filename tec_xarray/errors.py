"""The errors of both packages."""

from tec_numcodecs.errors import (
    CorruptChunk,
    InvalidInput,
    MissingExtra,
    TecError,
    UnsupportedFormat,
    WeightsError,
)
from tec_xarray.stac.errors import CatalogWarning, SourceError

__all__ = [
    "CatalogWarning",
    "CorruptChunk",
    "InvalidInput",
    "MissingExtra",
    "SourceError",
    "TecError",
    "UnsupportedFormat",
    "WeightsError",
]

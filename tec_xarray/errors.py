"""The errors of both packages."""

from tec_numcodecs.errors import (
    CorruptChunk,
    InvalidInput,
    TecError,
    UnsupportedFormat,
    WeightsError,
)
from tec_xarray.stac.errors import CatalogWarning, SourceError

__all__ = [
    "CatalogWarning",
    "CorruptChunk",
    "InvalidInput",
    "SourceError",
    "TecError",
    "UnsupportedFormat",
    "WeightsError",
]

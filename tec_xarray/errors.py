"""The errors of both packages."""

from tec_numcodecs.errors import (
    CorruptChunk,
    InvalidInput,
    MissingExtra,
    TecError,
    UnsupportedFormat,
    WeightsError,
)
from tec_xarray.cube.units import FillValueWarning
from tec_xarray.stac.errors import CatalogWarning, SourceError

__all__ = [
    "CatalogWarning",
    "CorruptChunk",
    "FillValueWarning",
    "InvalidInput",
    "MissingExtra",
    "SourceError",
    "TecError",
    "UnsupportedFormat",
    "WeightsError",
]

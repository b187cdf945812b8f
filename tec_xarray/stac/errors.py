"""What goes wrong with catalogs, and what is only odd about them."""

from __future__ import annotations

from tec_numcodecs.errors import TecError


class SourceError(TecError, OSError):
    """A catalog, or a file that one of its items points at, cannot be read."""


class CatalogWarning(UserWarning):
    """A catalog contradicts itself, or cannot do what was asked and the client had to."""

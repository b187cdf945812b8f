from .errors import CatalogWarning as CatalogWarning
from .errors import SourceError as SourceError
from .load import open_stac as open_stac

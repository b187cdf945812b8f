"""Pictures of a cube before and after compression."""

from tec_numcodecs.extras import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

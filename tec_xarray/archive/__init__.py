"""Archives: written block by block with a journal, resumed, appended to, verified, copied."""

from tec_numcodecs.extras import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

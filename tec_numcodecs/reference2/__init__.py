"""The reference reader of version 2: FORMAT.md in Python and NumPy; an oracle in tests."""

from tec_numcodecs.extras import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

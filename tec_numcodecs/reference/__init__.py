"""The reference reader: FORMAT.md in Python and NumPy, written for clarity; an oracle in tests."""

from tec_numcodecs.extras import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

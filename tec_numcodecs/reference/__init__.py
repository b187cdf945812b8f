"""The reference reader: FORMAT.md in Python and NumPy, written for clarity; an oracle in tests."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""One chunk: samples of shape (T, C, H, W) to bytes and back, without a store around them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

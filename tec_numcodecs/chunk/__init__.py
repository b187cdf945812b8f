"""One chunk: samples of shape (T, C, H, W) to bytes and back, without a store around them."""

from tec_numcodecs.extras import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

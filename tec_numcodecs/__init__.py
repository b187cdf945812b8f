"""A numcodecs codec and a Zarr serializer that store Sentinel-2 chunks as learned bitstreams.

>>> import tec_numcodecs
>>> codec = tec_numcodecs.TecCodec(model="fp", lam=20)
"""

# Public names stand in `__init__.pyi` and are imported on first use: the two registries import one
# module each and need not pay for the other, and numcodecs works where zarr is not installed.
from tec_numcodecs.extras import attach_stub

__version__ = "0.1.0.dev0"
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

"""Learned compression for xarray: satellite time series as small, ordinary Zarr arrays.

Importing this registers ``.tec`` on datasets and arrays. Reading needs no import at all:
``xr.open_zarr`` finds the codec by itself.

>>> import tec_xarray, tec_xarray.tutorial
>>> scene = tec_xarray.tutorial.open_dataset("0173706")
>>> small = scene.tec.compress(model="fp", lam=20)     # lazy; small.to_zarr(...) writes it
"""

# Public names stand in `__init__.pyi` and are imported on first use.
from tec_numcodecs import __version__ as __version__
from tec_numcodecs.extras import attach_stub
from tec_xarray.accessor import register as _register

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

_register()

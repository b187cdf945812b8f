"""Layouts of a cube, under the path that they have always had; see `tec_xarray.cube.layout`."""

from tec_xarray.cube.layout import Bands, as_dataset, cube_of, from_cube, to_bands, to_cube

__all__ = ["Bands", "as_dataset", "cube_of", "from_cube", "to_bands", "to_cube"]

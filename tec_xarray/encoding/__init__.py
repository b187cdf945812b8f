"""From settings to an encoding that xarray and Zarr write."""

"""Blocks on threads, processes or Dask workers."""

"""Filling gaps under clouds: what is hidden, engines that estimate it, and how it runs on Dask.

`masks` says which pixels are hidden, `temporal` and `spectral` estimate them and their errors from
arrays of NumPy, `windows` blends estimates of neighboring windows, `inpaint` is the public
function.
"""

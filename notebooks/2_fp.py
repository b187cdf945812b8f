# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # `fp`: frozen tables
#
# The default model has no network. A reversible wavelet transform takes each band apart by scale,
# a spectral transform at each scale takes bands apart by what they share, one uniform step
# quantizes everything, and an entropy coder uses tables that were counted on training scenes and
# then frozen. A linear integer rule picks a table for each coefficient from what was decoded
# before. NumPy and a small C file are all that it needs, both to write and to read.

# %%
import tec_xarray
import tec_xarray.tutorial

ds = tec_xarray.tutorial.open_dataset()

# %% [markdown]
# ## Rates
#
# From a thumbnail to every bit, on one chunk:

# %%
sweep = ds.tec.sweep(models="fp", lams=[1, 5, 20, 100, 700], max_errors=[20, 0])
sweep

# %%
sweep.plot()

# %%
sweep.plot("p95")

# %% [markdown]
# ## What rates look like

# %%
decoded = {
    f"lam {lam}": ds.tec.compress(lam=lam, store=f"fp-{lam}.zarr", mode="w") for lam in (1, 20, 700)
}
tec_xarray.plots.side_by_side(ds, decoded, date=1)

# %% [markdown]
# ## A promise for every pixel
#
# `max_error` is a bound: the encoder decodes its own bytes, and what is off by more is corrected
# by a residual. It holds on every machine, because pixels are exact integers.

# %%
bounded = ds.tec.compress(max_error=20, store="fp-bounded.zarr", mode="w")
report = bounded.tec.report(ds)
assert report.total.max_error <= 20
bounded.tec.plot.histogram(report)

# %% [markdown]
# One bound for each band: tight where an index needs it, loose elsewhere.

# %%
bounds = [100 if band not in ("B04", "B08") else 10 for band in ds.data_vars]
per_band = ds.tec.compress(max_error=bounds, store="fp-bands.zarr", mode="w")
per_band.tec.report(ds).to_dataframe()[["rmse", "p95", "max_error", "psnr"]].round(2)

# %% [markdown]
# ## Lossless

# %%
exact = ds.tec.compress(max_error=0, store="fp-exact.zarr", mode="w")
report = exact.tec.report(ds)
assert report.total.max_error == 0
report

# %% [markdown]
# ## Where the bytes go
#
# Smaller chunks than the default here, so that there is something to see: busy surfaces cost
# more.

# %%
small = {"chunks": {"y": 64, "x": 64}, "shards": {"y": 256, "x": 256}}
tiled = ds.tec.compress(lam=50, store="fp-tiles.zarr", mode="w", **small)
tiled.tec.plot.chunk_bytes()

# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Quickstart
#
# From a Sentinel-2 series to an archive of a fraction of its size, and a look at what was lost.
# The scene ships with the package: four seasons of one place, 264 x 264 pixels of 10 m, 12 bands.

# %%
import xarray as xr

import tec_xarray
import tec_xarray.tutorial

ds = tec_xarray.tutorial.open_dataset()
ds

# %% [markdown]
# Importing `tec_xarray` put `.tec` on every dataset. `lam` is the rate: larger is better and
# bigger.

# %%
ds.tec.compress(lam=50, store="quick.zarr", mode="w")

# %% [markdown]
# That is an ordinary Zarr store. Whoever has the package installed opens it with xarray alone.

# %%
again = xr.open_zarr("quick.zarr")
again

# %% [markdown]
# ## What did it cost, and what was lost?
#
# Errors are decoded minus original, in digital numbers (DN, reflectance times 10,000).

# %%
report = again.tec.report(ds)
report

# %%
again.tec.plot.compare(ds, date=1, label=f"{report.ratio:.0f} times smaller")

# %% [markdown]
# Where are the errors, and how large are they mostly?

# %%
again.tec.plot.error_maps(ds, date=1, bands=["B02", "B04", "B08", "B11"])

# %%
again.tec.plot.histogram(report)

# %% [markdown]
# One pixel over the seasons:

# %%
again.tec.plot.time_series(ds, y=120, x=40)

# %% [markdown]
# ## Which rate is right for you?
#
# Try some on a chunk of your own data, and let the smallest that is good enough be chosen.

# %%
sweep = ds.tec.sweep(lams=[5, 20, 100, 400], max_errors=[100])
sweep

# %%
sweep.plot("ndvi_rmse")

# %%
settings = sweep.choose(psnr=42)
settings

# %%
chosen = ds.tec.compress(**settings, store="chosen.zarr", mode="w")
print(chosen.tec.report(ds))

# %% [markdown]
# A picture in any three bands, here short-wave infrared, near infrared and red, for a dark page:

# %%
chosen.tec.plot.rgb(("B12", "B08", "B04"), date=1, theme="dark")

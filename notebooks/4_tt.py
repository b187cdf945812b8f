# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # `tt`: earlier dates as context
#
# A place changes less than its clouds do. `tt` is `elic` with one more source of knowledge: an
# earlier date of the same chunk, decoded before. It helps where dates resemble each other, costs
# time, and can do nothing for a single date.

# %%
import tec_xarray
import tec_xarray.tutorial

ds = tec_xarray.tutorial.open_dataset()

# %% [markdown]
# ## Four dates in a chunk

# %%
series = ds.tec.sweep(models=["fp", "elic", "tt"], lams=[10, 50, 200], ssim=False)
series

# %%
series.plot()

# %% [markdown]
# ## One date in a chunk
#
# The same place, the third season alone. With nothing earlier to look at, `tt` is `elic`.

# %%
single = ds.isel(time=[2]).tec.sweep(models=["elic", "tt"], lams=[10, 50, 200], ssim=False)
single

# %% [markdown]
# Bits for each pixel and band, in the series and alone:

# %%
columns = {"index": "lam", "columns": "model", "values": "bits_per_sample"}
series.to_dataframe().pivot(**columns).join(
    single.to_dataframe().pivot(**columns), lsuffix=", 4 dates", rsuffix=", 1 date"
).round(4)

# %% [markdown]
# ## What a rate looks like

# %%
decoded = ds.tec.compress(model="tt", lam=20, store="tt.zarr", mode="w")
report = decoded.tec.report(ds)
report.to_dataframe("date")[["rmse", "psnr", "spectral_angle"]].round(3)

# %%
decoded.tec.plot.compare(ds, date=2, label=f"tt, lam 20, {report.ratio:.0f} times smaller")

# %%
decoded.tec.plot.time_series(ds, y=60, x=60, show=["B04", "B08", "B11"])

# %% [markdown]
# Chunks hold four dates by default, so a reader of one date decodes four. Archives that grow fill
# them date by date (`appendable=True`): see the notebook on archives.

# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # `elic`: probabilities from a network
#
# The transform is that of `fp`. What differs is how probable each coefficient is thought to be: a
# small network looks at what is decoded already, coarse scales first, the bands of a scale in
# groups, and half of the positions before the other half (the space-channel context of ELIC, He
# et al., 2022). Its arithmetic is in integers, so that the decoder finds the same probabilities
# on every machine: a single other one would destroy the stream.
#
# It needs torch, and takes longer than `fp`. Whether it saves bytes depends on the weights and on
# the scene: look here before you take it.

# %%
import tec_xarray
import tec_xarray.tutorial

ds = tec_xarray.tutorial.open_dataset()

# %% [markdown]
# ## Against `fp`, on the same chunk

# %%
sweep = ds.tec.sweep(models=["fp", "elic"], lams=[5, 20, 100, 400])
sweep

# %%
sweep.plot()

# %% [markdown]
# At one `lam` both lose about the same; the bytes tell them apart:

# %%
table = sweep.to_dataframe().pivot(index="lam", columns="model", values="bytes")
table.assign(elic_against_fp=(100 * (table["elic"] / table["fp"] - 1)).round(1).astype(str) + " %")

# %% [markdown]
# ## What a rate looks like

# %%
decoded = ds.tec.compress(model="elic", lam=20, store="elic.zarr", mode="w")
report = decoded.tec.report(ds)
report

# %%
decoded.tec.plot.compare(ds, date=1, label=f"elic, lam 20, {report.ratio:.0f} times smaller")

# %% [markdown]
# Bounds work as with every model:

# %%
part = ds.isel(y=slice(0, 128), x=slice(0, 128))
bounded = part.tec.compress(model="elic", max_error=50, store="elic-bounded.zarr", mode="w")
assert bounded.tec.report(part).total.max_error <= 50

# %% [markdown]
# ## The published TEC-ELIC
#
# `weights="terracodec-1.0"` are the checkpoints of TerraCodec, an autoencoder rather than a
# wavelet: one for each of their own values of `lam`, fetched from their hub on first use. The
# line to change:
#
# ```python
# ds.tec.compress(model="elic", lam=20, weights="terracodec-1.0", nearest=True, store="...")
# ```

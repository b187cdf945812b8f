# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # `flextec`: one stream, from coarse to fine
#
# A chunk is written as up to 16 tokens, each of which refines those before. `quality` says how
# many are stored, `lam` how fine all sixteen of them would be. The decoder needs nothing else:
# fewer tokens are a smaller, coarser chunk of the same stream.

# %%
import tec_xarray
import tec_xarray.tutorial

ds = tec_xarray.tutorial.open_dataset().isel(y=slice(0, 128), x=slice(0, 128))

# %%
sweep = ds.tec.sweep(models=["flextec"], lams=[400], qualities=[1, 2, 4, 8, 12, 16])
sweep

# %%
sweep.plot()

# %% [markdown]
# Beside models whose rate is chosen by `lam`:

# %%
others = ds.tec.sweep(models=["fp"], lams=[2, 10, 50, 400])
both = tec_xarray.Sweep(sweep.where, sweep.shape, (*sweep.points, *others.points))
both.plot()

# %% [markdown]
# ## What tokens look like

# %%
decoded = {
    f"{quality} tokens": ds.tec.compress(
        model="flextec", lam=400, quality=quality, store=f"flextec-{quality}.zarr", mode="w"
    )
    for quality in (1, 4, 16)
}
tec_xarray.plots.side_by_side(ds, decoded, date=1)

# %%
decoded["16 tokens"].tec.report(ds)

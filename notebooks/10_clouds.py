# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A cloudy series, filled
#
# `ds.tec.inpaint` fills what clouds hide, and says how far each value may be from the truth. Here
# clouds are laid over the scene that ships with the package: that way the truth is known. (Its date
# 2 has clouds of its own, which nobody masked: they are data like any other.) Of your own cube,
# pass `clouds="scl"` and leave this part out.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

import tec_xarray
import tec_xarray.tutorial

ds = tec_xarray.tutorial.open_dataset().isel(y=slice(0, 192), x=slice(0, 192))
truth = ds.tec.to_cube()["reflectance"].load()


def clouds(cover, seed, size=15):
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=(192, 192)), size, mode="wrap")
    return smooth > np.quantile(smooth, 1 - cover)


mask = np.stack([clouds(cover, seed) for seed, cover in enumerate((0.1, 0.35, 0.2, 0.6))])
print([f"{part.mean():.0%}" for part in mask], "of each date are hidden")

# %% [markdown]
# ## Filled
#
# Two engines: in time only, and the default, which learns from the clear part of each date. Black
# is what no date shows: it stays masked.

# %%
cloudy = truth.where(~mask[:, None], 9000).astype("uint16").to_dataset()
line = cloudy.tec.inpaint(mask, "linear").load()
full = cloudy.tec.inpaint(mask).load()
print(int(full.filled.sum()), "pixels filled,", int(full.unfilled.sum()), "seen on no other date")


# %%
def rgb(cube, date):
    return np.clip(cube.isel(time=date).sel(band=["B04", "B03", "B02"]).values / 2500, 0, 1).transpose(1, 2, 0)  # fmt: skip  # noqa: E501


figure, axes = plt.subplots(4, 4, figsize=(11, 11))
for date, row in enumerate(axes):
    for axis, (name, cube) in zip(
        row,
        [("cloudy", cloudy.reflectance), ("linear", line.reflectance),
         ("spectral", full.reflectance), ("truth", truth)], strict=True,
    ):  # fmt: skip
        axis.imshow(rgb(cube, date), interpolation="nearest")
        axis.set_title(f"{name}, date {date}" if axis is row[0] else name, fontsize=9)
        axis.axis("off")
plt.tight_layout()

# %% [markdown]
# ## How far from the truth
#
# Errors at filled pixels, all bands, and how many of them lie within the stated interval.

# %%
rows = []
for name, filled in (("linear", line), ("spectral", full)):
    for date in range(4):
        error = np.abs(filled.reflectance.values[date].astype(float) - truth.values[date])
        there = filled.filled.values[date]
        error, stated = error[:, there], filled.error.values[date][:, there]
        rows.append({
            "engine": name, "date": date, "hidden": f"{mask[date].mean():.0%}",
            "PSNR": 10 * np.log10(1e8 / np.square(error).mean()), "MAE": error.mean(),
            "stated": stated.mean(), "inside": (error <= stated).mean(),
        })  # fmt: skip
pd.DataFrame(rows).set_index(["date", "engine"]).sort_index().round(2)

# %% [markdown]
# ## Where to trust it
#
# `error` is large where no date resembles what is hidden, and far from what is clear. Take what is
# known well enough, and leave the rest out.

# %%
figure, axes = plt.subplots(1, 4, figsize=(11, 3))
for date, axis in enumerate(axes):
    picture = axis.imshow(full.error.sel(band="B08").values[date], vmin=0, vmax=1200, cmap="magma")
    axis.set_title(f"error of B08, date {date}", fontsize=9)
    axis.axis("off")
figure.colorbar(picture, ax=axes, label="DN")
sure = full.reflectance.where(full.error < 500)
print(f"{float(sure.notnull().mean()):.1%} of the samples are known to within 500 DN")

# %% [markdown]
# ## Where not
#
# What happened under the cloud and nowhere else stays unseen. Here a field burns on the last date,
# half of it under a cloud: the half that is seen teaches nothing about the half that is not, as
# nothing told them apart before.

# %%
burnt = truth.copy(deep=True)
field = np.zeros((192, 192), bool)
field[70:110, 60:130] = True
burnt[3] = burnt[3].where(~field, 400)
cover = np.zeros_like(mask)
cover[3, 50:130, 95:160] = True
hidden = burnt.where(~cover[:, None], 9000).astype("uint16").to_dataset()
found = hidden.tec.inpaint(cover)
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
for axis, (name, cube) in zip(
    axes,
    [("seen", hidden.reflectance), ("filled", found.reflectance), ("truth", burnt)],
    strict=True,
):
    axis.imshow(rgb(cube, 3))
    axis.set_title(name, fontsize=9)
    axis.axis("off")

# %% [markdown]
# Mask with `filled` before you look for change, and read `docs/clouds.md` for the rest.

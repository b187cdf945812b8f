# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Is it good enough for my science?
#
# Three things that people do with a cube, done on the original, on what comes back at several
# rates, and on JPEG 2000 files of at least the same size: a map of NDVI, a phenology, a
# classification. Replace `ds` by a cube of your own region and read the tables again; nothing
# here is tuned to the scene.

# %%
import pandas as pd
import xarray as xr
from sklearn.ensemble import RandomForestClassifier

import tec_xarray
import tec_xarray.tutorial
from benchmarks.rivals import jpeg2000  # of this repository: start Jupyter in its root

ds = tec_xarray.tutorial.open_dataset().isel(y=slice(0, 256), x=slice(0, 256))
original = ds.tec.to_cube()["reflectance"]

# %% [markdown]
# ## The candidates
#
# JPEG 2000 gets a codestream for each band and the quality that makes it no smaller than ours.

# %%
rates = [20, 100, 400]
stores = {lam: ds.tec.compress(lam=lam, store=f"good-{lam}.zarr", mode="w") for lam in rates}
reports = {lam: store.tec.report(ds) for lam, store in stores.items()}
cubes = {f"fp, lam {lam}": stores[lam]["reflectance"].load() for lam in rates}
sizes = {f"fp, lam {lam}": reports[lam].stored_bytes for lam in rates}

# %%
qualities = [28, 30, 32, 34, 36, 38, 40, 42, 44, 46, 48]  # dB, asked of JPEG 2000
coded = {
    quality: [jpeg2000.BAND.encode(image, quality) for image in original.values]
    for quality in qualities
}
for lam in rates:
    size = sizes[f"fp, lam {lam}"]
    quality = min(q for q in qualities if sum(map(len, coded[q])) >= size)
    name = f"JPEG 2000, no smaller than lam {lam}"
    images = [jpeg2000.BAND.decode(data, original.shape[1:]) for data in coded[quality]]
    cubes[name] = original.copy(data=images)
    sizes[name] = sum(map(len, coded[quality]))

# %% [markdown]
# ## NDVI
#
# Root mean squared error, the share of pixels that are off by less than 0.05, and the bias of the
# mean of 8 x 8 pixels (a field of 0.6 hectares): what survives averaging.


# %%
def ndvi(cube: xr.DataArray) -> xr.DataArray:
    """Of every pixel and date."""
    red, near = (cube.sel(band=band).astype("float64") for band in ("B04", "B08"))
    return (near - red) / (near + red)


truth = ndvi(original)
rows = {}
for name, cube in cubes.items():
    error = ndvi(cube) - truth
    fields = error.coarsen(y=8, x=8).mean()
    rows[name] = {
        "kB": sizes[name] / 1e3,
        "RMSE": float((error**2).mean() ** 0.5),
        "within 0.05 (%)": 100 * float((abs(error) < 0.05).mean()),
        "RMSE of fields": float((fields**2).mean() ** 0.5),
    }
pd.DataFrame(rows).T.round(4)

# %% [markdown]
# ## Phenology
#
# The season in which a pixel is greenest, and how much its NDVI swings over the year.

# %%
peak, swing = truth.argmax("time"), truth.max("time") - truth.min("time")
rows = {}
for name, cube in cubes.items():
    index = ndvi(cube)
    change = (index.max("time") - index.min("time")) - swing
    rows[name] = {
        "same greenest season (%)": 100 * float((index.argmax("time") == peak).mean()),
        "RMSE of the swing": float((change**2).mean() ** 0.5),
        "bias of the swing": float(change.mean()),
    }
pd.DataFrame(rows).T.round(4)

# %%
stores[100].tec.plot.time_series(ds, y=120, x=40)

# %% [markdown]
# ## A classifier
#
# The scene has no labels. These are a stand-in with the usual difficulty: what a pixel's NDVI was
# on the
# *last* date, in three classes, to be told from the twelve bands of the *first* one. Trained on
# originals of the left half, run on the right half: on originals, and on what comes back.

# %%
labels = (truth[3] > float(truth[3].quantile(1 / 3))).astype(int) + (
    truth[3] > float(truth[3].quantile(2 / 3))
).astype(int)


def features(cube: xr.DataArray, half: slice) -> xr.DataArray:
    """Spectra of the first date, (pixels, bands)."""
    return cube[0].isel(x=half).stack(pixel=("y", "x")).transpose("pixel", "band")


left, right = slice(0, 128), slice(128, 256)
model = RandomForestClassifier(60, min_samples_leaf=5, random_state=0)
model.fit(features(original, left), labels.isel(x=left).stack(pixel=("y", "x")))
expected = labels.isel(x=right).stack(pixel=("y", "x")).values
on_original = model.predict(features(original, right))

# %%
rows = {"original": {"accuracy (%)": 100 * (on_original == expected).mean()}}
for name, cube in cubes.items():
    found = model.predict(features(cube, right))
    rows[name] = {
        "accuracy (%)": 100 * (found == expected).mean(),
        "same class as from the original (%)": 100 * (found == on_original).mean(),
    }
pd.DataFrame(rows).T.round(2)

# %% [markdown]
# ## How to read this
#
# * Errors of single pixels are larger than those of fields: a codec smooths, it does not shift.
# * The middle table says whether the order of dates survives; where seasons are nearly alike, it
#   cannot.
# * A classifier that was trained on originals meets spectra that are a little too smooth. Training
#   it on decoded pixels, as users of an archive would, is kinder.
# * If a table is not good enough, go back to `ds.tec.sweep` with a larger `lam`, or ask for a
#   bound.

# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Train your own
#
# The bundled weights know many landscapes. If yours is unlike them (one biome, one season, a few
# bands), weights of your own may save bytes. They change what files cost, never what is promised:
# bounds, nodata and exactness are the codec's.
#
# What can be trained, from minutes to hours:
#
# | model | what is learned | how long |
# |---|---|---|
# | `fp` | spectral transforms (a codebook of covariances) and frozen tables | minutes, no GPU |
# | `elic`, `tt`, `flextec` | small networks in integers, one set for every rate | an hour |
#
# Here a quarter of a minute of training has to do, on one corner of one scene, from nothing: enough
# to see every step, not enough to win. Fit to hundreds of scenes, from the bundled weights, and
# judge on places that the fit has not seen.

# %%
import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import tec_xarray.tutorial
from tec_numcodecs.training.data import read_directory
from tec_numcodecs.weights import local_store

ds = tec_xarray.tutorial.open_dataset()
seen, unseen = ds.isel(x=slice(0, 128), y=slice(0, 128)), ds.isel(x=slice(136, 264))

# %% [markdown]
# ## Data
#
# A directory with an array (time, band, y, x) of DN for each scene, and a table that says what
# they are and which are for training (`train`), for choosing (`val`) and for the final judgment
# (`test`).

# %%
corners = {"train": seen, "val": ds.isel(x=slice(0, 128), y=slice(136, 264))}
folder = Path("scenes")
folder.mkdir(exist_ok=True)
with (folder / "MANIFEST.tsv").open("w", newline="") as file:
    table = csv.DictWriter(file, ["file", "level", "bands", "split"], delimiter="\t")
    table.writeheader()
    for split, part in corners.items():
        np.savez_compressed(folder / f"{split}.npz", data=part.tec.to_cube()["reflectance"].values)
        names = ",".join(ds.data_vars)
        table.writerow({"file": f"{split}.npz", "level": "L2A", "bands": names, "split": split})

# %% [markdown]
# As the trainers will see it:

# %%
(scene,) = read_directory(folder, "train")
scene.name, scene.sensor.name, scene.data.shape, scene.data.dtype

# %% [markdown]
# ## Fit
#
# `fp`, in minutes. The encoder's own decisions are part of it: quantize, fit, freeze, and once
# more under what was found.
#
# ```sh
# python -m tec_numcodecs.training.fit_prior --data scenes --out mine.safetensors
# ```
#
# The context networks, in an hour or so, with torch: crops are coded by the bundled model and what
# its networks saw is kept, networks are fitted to that, and frozen into whole numbers. Each step
# can be run, stopped and gone on with alone (`--step`).
#
# ```sh
# python -m tec_numcodecs.training elic --data scenes --out run --sample-minutes 10 --minutes 30
# # the result: run/weights.safetensors
# ```
#
# The same from nothing, for a quarter of a minute:

# %%
_ = subprocess.run(
    [sys.executable, "-m", "tec_numcodecs.training", "elic", "--data", "scenes", "--out", "run",
     "--start", "nothing", "--sample-minutes", "0.2", "--minutes", "0.25", "--size", "96",
     "--width", "16", "--crops", "4"],
    check=True,
)  # fmt: skip
own = unseen.tec.sweep(models=["elic"], weights="run/weights.safetensors", lams=[20], ssim=False)
own.to_dataframe()[["model", "lam", "bytes", "psnr"]].round(2)

# %% [markdown]
# What else they can be told:

# %%
options = subprocess.run(
    [sys.executable, "-m", "tec_numcodecs.training", "--help"],
    check=True, capture_output=True, text=True,
)  # fmt: skip
print(options.stdout)

# %% [markdown]
# ## Use
#
# A path is as good as a name. What stands for your file here is a copy of the bundled one, so the
# table shows that nothing changed; with weights of your own it shows whether they are worth it.

# %%
shutil.copy(local_store.locate(local_store.resolve("mini", "fp")), "mine.safetensors")
mine = unseen.tec.sweep(weights="mine.safetensors", lams=[10, 50, 200], ssim=False)
bundled = unseen.tec.sweep(lams=[10, 50, 200], ssim=False)

# %%
columns = ["lam", "bytes", "psnr", "ndvi_rmse"]
bundled.to_dataframe()[columns].merge(
    mine.to_dataframe()[columns], on="lam", suffixes=(" bundled", " mine")
).round(3)

# %% [markdown]
# The metadata of an archive names its weights by their SHA-256, and readers need that file: keep
# it beside the archive, and let `TEC_WEIGHTS_DIR` name its directory.

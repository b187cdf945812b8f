# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # From a STAC catalog to an archive, on a Dask cluster
#
# The catalog and its files are served from this machine: real servers (stac-fastapi, range
# requests over Cloud-Optimized GeoTIFFs) with the bundled scene behind them. Dates and place are
# made up, pixels are real. Nothing else would differ with a catalog on the internet.

# %%
import contextlib

import xarray as xr
from distributed import Client, LocalCluster

import tec_xarray
from tec_xarray.testing.catalog import serve_scene

stack = contextlib.ExitStack()
catalog = stack.enter_context(serve_scene("catalog"))

# %% [markdown]
# The one line to change:
#
# ```python
# url = "https://earth-search.aws.element84.com/v1"
# url = "https://planetarycomputer.microsoft.com/api/stac/v1"   # and sign="planetary-computer"
# ```

# %%
url = catalog.url

# %% [markdown]
# ## Search
#
# Nothing is read but metadata. The offset of newer processing baselines is decided item by item
# and written down; a warning says where metadata contradict each other.

# %%
search = {"collection": "sentinel-2-l2a", "query": {"eo:cloud_cover": {"lt": 70}}, "resolution": 10}
cube = tec_xarray.open_stac(url, datetime="2021-01/2022-06", **search)
cube

# %%
cube[["processing_baseline", "source_offset", "boa_offset"]].to_dataframe()[
    ["processing_baseline", "source_offset", "boa_offset"]
]

# %% [markdown]
# ## A cluster
#
# Here two processes. On Kubernetes, Gateway or Coiled only this cell differs.

# %%
cluster = stack.enter_context(
    LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
)
client = stack.enter_context(Client(cluster))

# %% [markdown]
# ## Archive
#
# Each block is read from the catalog, encoded, written, read back, measured and noted in a
# journal, on a worker. `appendable=True`: dates that do not fill a chunk of four are kept without
# loss until more arrive.

# %%
archive = cube.tec.compress(lam=100, store="archive.zarr", mode="w", appendable=True)
archive

# %% [markdown]
# After a kill, the same with `resume` does what the journal lacks. Here it finds nothing to do.

# %%
tec_xarray.resume(cube, "archive.zarr")

# %% [markdown]
# ## Next month
#
# The newest date arrives. It fills the chunk, which is now encoded once, from the originals of
# all four dates.

# %%
later = tec_xarray.open_stac(url, datetime="2022-07/2022-12", **search)
tec_xarray.append(later, "archive.zarr")

# %% [markdown]
# ## Check

# %%
checked = tec_xarray.verify("archive.zarr")
assert checked.ok
str(checked).splitlines()[-1]

# %%
opened = xr.open_zarr("archive.zarr")
opened

# %% [markdown]
# Against the catalog itself, block by block on the cluster:

# %%
everything = tec_xarray.open_stac(url, datetime="2021-01/2022-12", **search)
report = opened.tec.report(everything)
report

# %%
opened.tec.plot.compare(everything, date=3)

# %%
opened.tec.plot.time_series(everything, y=100, x=100)

# %%
stack.close()

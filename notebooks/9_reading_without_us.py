# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Reading an archive without us
#
# What does somebody find in twenty years, with FORMAT.md in hand? JSON, shards as Zarr specifies
# them, and chunks whose header can be read by eye. This notebook opens an archive with `json` and
# `struct`, and decodes a chunk with the reader that was written from FORMAT.md alone: NumPy, no
# compiler, no torch, no code shared with the codec.

# %%
import json
import struct
from pathlib import Path

import numpy as np
import xarray as xr

import tec_xarray.tutorial
from tec_numcodecs import CorruptChunk, inspect, reference
from tec_numcodecs.weights import local_store

ds = tec_xarray.tutorial.open_dataset()[["B04", "B08"]].isel(y=slice(0, 128), x=slice(0, 128))
ds.tec.compress(lam=50, sensor="sentinel-2-l2a", store="bare.zarr", mode="w")

# %% [markdown]
# ## The metadata
#
# Everything that a decoder must know of the array, with the SHA-256 of the weights.

# %%
metadata = json.loads(Path("bare.zarr/reflectance/zarr.json").read_text())
(sharding,) = metadata["codecs"]
(codec,) = sharding["configuration"]["codecs"]
codec

# %% [markdown]
# ## A shard
#
# Chunks one after another, then an index: offset and length of each, and a CRC-32C of the index.

# %%
shard = Path("bare.zarr/reflectance/c/0/0/0/0").read_bytes()
offset, length = struct.unpack("<QQ", shard[-20:-4])
chunk = shard[offset : offset + length]
len(shard), offset, length

# %% [markdown]
# ## A chunk
#
# FORMAT.md, section 4: magic, version, mode (1: a model), dtype (1: uint16), which sections there
# are.

# %%
magic, version, mode, dtype, sections = struct.unpack("<4sBBBB", chunk[:8])
print(f"magic {magic!r}, version {version}, mode {mode}, dtype {dtype}, sections {sections:08b}")
print(chunk[:48].hex(" "))

# %% [markdown]
# The same, said in words:

# %%
inspect(chunk)

# %% [markdown]
# ## The pixels, by the second reader

# %%
path = local_store.locate(local_store.resolve(codec["configuration"]["weights"], "fp"))
weights = reference.load_weights(path)
pixels = reference.decode(chunk, weights)
pixels.shape, pixels.dtype

# %% [markdown]
# Not one of them differs from what the fast decoder gives, on any machine:

# %%
stored = xr.open_zarr("bare.zarr")["reflectance"].values
assert np.array_equal(pixels[:, :, :128, :128], stored)
assert weights.sha256.hex() == codec["configuration"]["weights"]["sha256"]

# %% [markdown]
# ## Damage
#
# A flipped bit is found before a pixel is used.

# %%
damaged = bytearray(chunk)
damaged[200] ^= 1
try:
    reference.decode(bytes(damaged), weights)
except CorruptChunk as error:
    print(f"{type(error).__name__}: {error}")

# %% [markdown]
# ## What to keep
#
# The store, the weights file (content-addressed, a few MB) and FORMAT.md. A directory of weights
# is found through `TEC_WEIGHTS_DIR`.

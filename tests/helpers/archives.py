"""Scenes to archive, and stores that die."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
import zarr.storage

BANDS = ("B02", "B04", "B8A")
SETTINGS: dict[str, Any] = {"lam": 100, "chunks": (4, 3, 32, 32), "shards": (4, 3, 32, 64)}


def series(dates: int, size: tuple[int, int] = (64, 96), first: int = 0) -> xr.Dataset:
    """Dates `first` ... of an endless series: three bands, a classification, coordinates."""
    y, x = np.mgrid[: size[0], : size[1]]
    variables: dict[str, Any] = {}
    steps = range(first, first + dates)
    for i, band in enumerate(BANDS):
        noise = [np.random.default_rng((t, i)).integers(0, 9, size) for t in steps]
        dn = np.stack([900 + 300 * i + 6 * x + 4 * y + 50 * (t % 7) + n
                       for t, n in zip(steps, noise, strict=True)])  # fmt: skip
        dn[:, 5:9, 3:20] = 0
        variables[band] = (("time", "y", "x"), dn.astype(np.uint16), {"center_wavelength": 500 + i})
    scl = [np.random.default_rng((t, 9)).integers(0, 12, size, np.uint8) for t in steps]
    variables["SCL"] = (("time", "y", "x"), np.stack(scl), {"long_name": "classes"})
    start = np.array("2024-03-01T10:20:30", "datetime64[ns]")
    coords: dict[str, Any] = {
        "time": start + np.array(steps) * np.timedelta64(5, "D"),
        "y": 5e6 - 10.0 * np.arange(size[0]),
        "x": 4e5 + 10.0 * np.arange(size[1]),
        "cloud_cover": ("time", [float(t % 50) for t in steps]),
        "boa_offset": ("time", np.array([-1000 * (t % 2) for t in steps], np.int16)),
        "platform": ("time", np.array([f"sentinel-2{'ab'[t % 2]}" for t in steps], object)),
    }
    return xr.Dataset(variables, coords, {"title": "made up", "sensor": "S2L2A"})


def objects(store: zarr.abc.store.Store | Any, name: str = "reflectance") -> dict[str, str]:
    """Digests of an array's objects, by key."""
    array = zarr.open_group(store, mode="r", use_consolidated=False)[name]
    place = array.store_path
    found = {}
    for key in zarr.core.sync.sync(_list(place.store, f"{place.path}/")):
        if not key.endswith(("zarr.json", ".zarray", ".zattrs")):
            data = zarr.core.sync.sync(place.store.get(key, zarr.buffer.default_buffer_prototype()))
            found[key] = hashlib.sha256(data.to_bytes()).hexdigest()
    return found


async def _list(store: Any, prefix: str) -> list[str]:
    return [key async for key in store.list_prefix(prefix)]


class Killed(OSError):
    """The machine is gone."""


class Mortal(zarr.storage.WrapperStore):  # type: ignore[type-arg]
    """A store whose machine dies at a given write: that one and all that follows never happen."""

    def __init__(self, store: Any, lives: int) -> None:
        super().__init__(store)
        self.lives = lives
        self.writes = 0

    def _live(self) -> None:
        if self.writes >= self.lives:
            raise Killed("killed")
        self.writes += 1

    def _alive(self) -> None:
        if self.writes >= self.lives:
            raise Killed("killed")

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        self._alive()
        return await super().get(key, *args, **kwargs)

    async def set(self, key: str, value: Any, *args: Any, **kwargs: Any) -> None:
        self._live()
        await super().set(key, value, *args, **kwargs)

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        self._live()
        await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        self._live()
        await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        self._live()
        await super().delete_dir(prefix)

    def with_read_only(self, read_only: bool = False) -> Any:
        return self._store.with_read_only(read_only) if read_only else self


def flaky(values: Any, block_info: Any, *, log: Path, times: int) -> Any:
    """Pass values on, but fail a number of times at one place first."""
    if block_info[0]["chunk-location"][-2:] == (1, 0) and values.size:
        seen = len(log.read_text()) if log.exists() else 0
        if seen < times:
            log.write_text("x" * (seen + 1))
            raise OSError("the catalog does not answer")
    return values

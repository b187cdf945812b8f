"""Put a marked dataset into a Zarr store, and open it again."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr
import zarr
import zarr.errors
import zarr.storage

from tec_numcodecs.arguments import as_number, choice, mapping, shown, switch
from tec_numcodecs.errors import InvalidInput, TecError
from tec_numcodecs.options import get_options
from tec_xarray.cube.layout import cube_of
from tec_xarray.store.location import NO_STORE, check_group, check_store, label_of, no_store

if TYPE_CHECKING:
    from tec_xarray.execution.scheduler import How

AnyArray: TypeAlias = "zarr.Array[Any]"

_CODECS = ("codecs", "compressor", "filters")  # of an array's metadata, in either format
CODEC = "tec_xarray"  # the name of the codec, in both formats


@dataclass(frozen=True)
class Target:
    """Where to write, in the words of ``Dataset.to_zarr``."""

    store: Any
    group: str | None
    zarr_format: int
    mode: str
    consolidated: bool | None
    storage_options: dict[str, Any] | None

    def check(self, region: Mapping[str, slice] | None) -> None:
        """Refuse what cannot be written to, before anything else is done.

        Raises
        ------
        InvalidInput
            An unknown mode, something is there already, or there is nothing to write a region to.
        """
        fix = "'w-' is for a new store, 'w' replaces; to write part of an array, pass region="
        choice("mode", self.mode, ("w-", "w"), fix)
        if self.consolidated is not None:
            switch("consolidated", self.consolidated)
        check_group(self.group, self.storage_options)
        if region is not None:
            mapping("region", region, "{'time': slice(0, 4)}")
        if self.store is None:
            if region is not None:
                raise InvalidInput(
                    "region without store",
                    allowed="region= for an array in a store",
                    fix="pass store=, too",
                )
            return
        check_store(self.store)
        if region is not None and not region:
            raise InvalidInput(
                "region={}, which names no part of the array",
                allowed="a dict of slices",
                fix="pass region={'time': slice(0, 4)}, for example, or leave it out",
            )
        self._check_writable()
        if isinstance(self.store, zarr.storage.ZipStore):
            raise InvalidInput(
                "a zip file that is open for writing, which cannot be read back",
                allowed="stores that can be read while they are written",
                fix="leave store= away and write with .to_zarr(store, consolidated=False)",
            )
        if region is None and self.mode == "w-" and self.exists():
            raise InvalidInput(
                f"{self.label} holds a Zarr group already",
                allowed="a new store",
                fix="pass mode='w' to replace it, or another store or group",
            )
        if region is not None and not self.exists():
            raise InvalidInput(
                f"no Zarr group in {self.label}",
                allowed="a store that compress wrote",
                fix="write the whole array once without region=",
            )

    def _check_writable(self) -> None:
        """Refuse a store for reading, and a path at which no directory can be."""
        if getattr(self.store, "read_only", False):
            raise InvalidInput(
                f"{label_of(self.store)} is open for reading only", fix="open the store for writing"
            )
        local = isinstance(self.store, Path) or (
            isinstance(self.store, str) and "://" not in self.store
        )
        if local and not str(self.store).endswith(".zip"):
            path = Path(self.store)
            for place in (path, *path.parents):
                if place.is_file():
                    raise InvalidInput(
                        f"store = {str(self.store)!r}, and {place} is a file",
                        allowed="a path at which there is nothing yet, or a Zarr store",
                        fix="pass another path",
                    )

    @property
    def label(self) -> str:
        """What to call the target in a message."""
        return label_of(self.store) + (f", group {self.group!r}" if self.group else "")

    def exists(self) -> bool:
        """Tell whether there is a group."""
        try:
            self.open()
        except (FileNotFoundError, zarr.errors.GroupNotFoundError):
            return False
        except zarr.errors.ContainsArrayError:
            return True
        except NO_STORE as error:
            raise no_store(self.store, error) from error
        return True

    def open(self) -> zarr.Group:
        """Open the group for reading."""
        return zarr.open_group(
            self.store, path=self.group, mode="r", storage_options=self.storage_options
        )


def check_codec(cube: xr.DataArray, encoding: Mapping[str, Any], zarr_format: int) -> None:
    """Create the array in memory, so that the codec can refuse it before a store is touched."""
    codec = {"compressors": encoding["compressors"], "filters": None}
    if "serializer" in encoding:
        codec |= {"serializer": encoding["serializer"], "fill_value": encoding["fill_value"]}
    # Without shards: Zarr 3.1 does not show these to a codec inside them.
    zarr.create_array(
        store=zarr.storage.MemoryStore(),
        shape=cube.shape,
        dtype=cube.dtype,
        chunks=encoding["chunks"],
        zarr_format=zarr_format,  # type: ignore[arg-type]
        **codec,
    )


def write(marked: xr.Dataset, target: Target, **options: Any) -> None:
    """Write a marked dataset, after all metadata were written in memory without complaint.

    Options are those of ``to_zarr``.

    Raises
    ------
    InvalidInput
        An attribute or a variable beside the cube is nothing that Zarr can hold.
    """
    _rehearse(marked, target.zarr_format)
    try:
        with _settings():
            marked.to_zarr(
                target.store,
                group=target.group,
                zarr_format=target.zarr_format,
                consolidated=target.consolidated,
                storage_options=target.storage_options,
                **{"mode": target.mode, **options},
            )
    except FileExistsError as error:
        raise InvalidInput(
            f"{target.label} holds something that is no Zarr group",
            allowed="a place where there is nothing yet",
            fix="pass another path; mode='w' would delete what is there",
        ) from error


def _rehearse(marked: xr.Dataset, zarr_format: int) -> None:
    """Write metadata and coordinates to memory, so that a refusal leaves no half a store."""
    numbers = [name for name, array in marked.data_vars.items() if array.dtype.kind not in "OUST"]
    # With a name of our own: dask would hash all values for one.
    lazy = marked.assign({n: marked[n].chunk(token="rehearsal") for n in numbers})  # noqa: S106
    try:
        with _settings():
            lazy.to_zarr(zarr.storage.MemoryStore(), zarr_format=zarr_format, compute=False)
    except TecError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"something beside the bands cannot be stored: {error}",
            allowed="what a plain to_zarr of the dataset accepts",
            fix="change or drop that attribute or variable",
        ) from error


def write_region(
    marked: xr.Dataset, target: Target, region: Mapping[str, slice], how: How | None = None
) -> None:
    """Write into part of an array that exists, if that touches whole blocks of it only."""
    from tec_xarray.archive.handle import rewrite
    from tec_xarray.execution.scheduler import How
    from tec_xarray.store.journal import has_journal
    from tec_xarray.store.location import Place

    group = target.open()
    cube = cube_of(marked)
    name = str(cube.name)
    if name not in group:
        raise InvalidInput(f"no {name!r} in {target.label}", allowed=", ".join(group.array_keys()))
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise InvalidInput(f"{name!r} in {target.label} is a group", allowed="an array")
    _check_region(cube, array, region)
    _check_same(marked, array, target)
    # What lies outside of the region (coordinates along other dimensions) stays as it is.
    outside = [n for n, v in marked.variables.items() if not set(v.dims) & set(region)]
    part = marked.drop_vars(outside).drop_encoding()
    place = Place.of(target.store, target.group, target.storage_options)
    if has_journal(place):
        part = part.drop_vars(rewrite(marked, place, region, how or How()))
    with _settings():
        part.to_zarr(
            target.store,
            group=target.group,
            mode="r+",
            region=dict(region),
            consolidated=target.consolidated,
            storage_options=target.storage_options,
        )


def open_store(target: Target) -> xr.Dataset:
    """Open what was written, lazily: a dask block for each chunk."""
    dataset: xr.Dataset = xr.open_zarr(
        target.store,
        group=target.group,
        chunks={},
        consolidated=target.consolidated,
        storage_options=target.storage_options,
    )
    if not isinstance(dataset.encoding.get("source"), str):
        dataset.encoding["tec_store"] = target.store  # xarray remembers paths only
    if target.group:
        dataset.encoding["tec_group"] = target.group
    return dataset


def _check_region(cube: xr.DataArray, array: AnyArray, region: Mapping[str, slice]) -> None:
    """Refuse a region that cuts through a block: the rest of it would be coded a second time."""
    block: tuple[int, ...] = array.chunks if array.shards is None else array.shards
    dims = [str(dim) for dim in cube.dims]
    unknown = [str(dim) for dim in region if dim not in dims]
    if unknown:
        raise InvalidInput(f"region along {', '.join(unknown)}", allowed=", ".join(dims))
    for dim, size, whole, step in zip(dims, cube.shape, array.shape, block, strict=True):
        part: Any = region.get(dim, slice(0, whole))
        if not _is_plain(part):
            raise InvalidInput(
                f"region[{dim!r}] = {shown(part)}",
                allowed="a slice of step 1",
                fix=f"pass region={{{dim!r}: slice(0, {step})}}, for example",
            )
        start, stop, _ = part.indices(whole)
        if stop - start != size:
            raise InvalidInput(
                f"{size} samples for a region of {stop - start} along {dim}",
                allowed="data of the size of the region",
            )
        if start % step or (stop % step and stop != whole):
            raise InvalidInput(
                f"region {start}:{stop} along {dim} cuts through blocks of {step}",
                allowed=f"multiples of {step}, or up to the end at {whole}",
                fix="a partial write would compress the rest of the block a second time: write "
                "whole blocks",
            )


def _is_plain(part: Any) -> bool:
    """Whether this is a slice between whole numbers, of step 1."""
    if not isinstance(part, slice):
        return False
    ends = all(end is None or isinstance(end, int | np.integer) for end in (part.start, part.stop))
    return ends and (part.step is None or as_number(part.step) == 1)


def _check_same(marked: xr.Dataset, array: AnyArray, target: Target) -> None:
    """Refuse a region that means something else than the array around it."""
    encoding = cube_of(marked).encoding
    codec = encoding.get("serializer", encoding.get("compressors"))
    wanted, there = next(configurations(codec)), configuration(array)
    if wanted != there:
        keys = sorted(k for k in {*wanted, *there} if wanted.get(k) != there.get(k))
        raise InvalidInput(
            f"other settings than those of {target.label}: {', '.join(keys)}",
            allowed=", ".join(f"{k} = {there.get(k)!r}" for k in keys) or "an array of this codec",
            fix="pass the settings with which the array was created",
        )


def configuration(array: AnyArray) -> dict[str, Any]:
    """Return the configuration of our codec in an array's metadata, {} if it does not have it.

    Only codecs are looked at: attributes are a user's own, whatever they look like.
    """
    metadata = array.metadata.to_dict()
    return next(configurations([metadata.get(key) for key in _CODECS]), {})


def configurations(value: Any) -> Iterator[dict[str, Any]]:
    """Find our codec anywhere in metadata (inside of shards, say); lists for tuples, as JSON."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    elif hasattr(value, "get_config"):
        value = value.get_config()
    if isinstance(value, Mapping):
        if value.get("name") == CODEC:
            yield _plain(value.get("configuration", {}))
        elif value.get("id") == CODEC:
            yield _plain({k: v for k, v in value.items() if k != "id"})
        else:
            for item in value.values():
                yield from configurations(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from configurations(item)


def _plain(value: Any) -> Any:
    """Return what JSON makes of a configuration: lists for tuples."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Let Zarr hand several chunks at once to the codec (read when an array is opened).

    Its warning that consolidated metadata are not specified yet is not for our users: it was not
    their choice, and readers that do not know them ignore them.
    """
    batch = zarr.config.set({"codec_pipeline.batch_size": get_options().batch_size})
    with batch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        yield

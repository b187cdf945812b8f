"""Check what is in an archive: a block (on a worker), and each variable beside the cube."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.core.sync import sync

from tec_numcodecs.chunk import decoding
from tec_numcodecs.errors import TecError, WeightsError
from tec_numcodecs.options import reading_as_stored
from tec_numcodecs.redaction import for_message
from tec_xarray.archive.adopting import children, consolidated, dims_of
from tec_xarray.archive.handle import Archive
from tec_xarray.archive.template import stored_values
from tec_xarray.cube.layout import cube_of
from tec_xarray.encoding.exact_values import equal
from tec_xarray.execution.block import Job, measure
from tec_xarray.store import embedded_weights
from tec_xarray.store.codec_metadata import AnyArray
from tec_xarray.store.journal import JOURNAL, WHOLE, Done, Result
from tec_xarray.store.location import DAMAGED, StoreLocation, member
from tec_xarray.store.objects import (
    Index,
    block_key,
    block_shape,
    chunk_bytes,
    digest,
    read_object,
    scratch,
)
from tec_xarray.store.open_arrays import Handles
from tec_xarray.store.shard_index import chunks_of

#: What damaged objects make Zarr, its compressors and our codec raise.
BROKEN = (*DAMAGED, RuntimeError, TecError)
_TRIES = 3  # of reading from a store that does not answer
GONE, NOT_SEEN = "gone: ", "could not look: "


@dataclass(frozen=True)
class Checked(Result):
    """What was found in one block.

    Attributes
    ----------
    index : tuple of int
    bytes, raw_bytes : int
        The object, and the values in it.
    missing : bool
        Whether the journal says that it was never written.
    absent : bool
        Whether there is no object.
    problems : tuple of str
        Of the cube; those that begin with "gone: " or "could not look: " are no damage.
    journal : str
        What is wrong with its entry in the journal.
    beside : tuple of (str, str)
        Variables that differ from the original, and how.
    """

    index: Index
    bytes: int = 0
    raw_bytes: int = 0
    missing: bool = False
    absent: bool = False
    problems: tuple[str, ...] = ()
    journal: str = ""
    beside: tuple[tuple[str, str], ...] = ()


def check_block(
    job: Job, values: NDArray[Any] | None, beside: Mapping[str, NDArray[Any]]
) -> Checked:
    """Check one block; with its original values, its errors, too. Damage does not raise."""
    for left in reversed(range(_TRIES)):
        try:
            with reading_as_stored(chunk_bytes(job.handles("r").array(job.variable))):
                return _check_block(job, values, beside)
        except OSError as error:
            if not left:
                return Checked(job.index, problems=(f"{NOT_SEEN}{error!r}",))
        except BROKEN as error:
            return Checked(job.index, problems=(f"cannot be read: {error}",))
    raise AssertionError  # the last try returns


def _check_block(
    job: Job, values: NDArray[Any] | None, beside: Mapping[str, NDArray[Any]]
) -> Checked:
    opened = job.handles("r")
    array = opened.array(job.variable)
    known, complaint = _entry(opened, job)
    if known is None and opened.journal is not None and not complaint:
        return Checked(job.index, missing=True)
    data = read_object(array, block_key(array, job.index))
    problems = list(_bytes_of(array, data, known))
    raw = 0
    if not problems:
        try:
            raw = _decode(array, job, data)
            if values is not None:
                problems += _compare(measure(array, job, np.asarray(values), data), known)
        except WeightsError as error:
            problems.append(f"{NOT_SEEN}{error}")
        except BROKEN as error:
            problems.append(f"cannot be decoded: {error}")
    unlike = [(n, text) for n, part in beside.items() for text in _equal(job, n, np.asarray(part))]
    return Checked(
        job.index, len(data or b""), raw, False, data is None, tuple(problems), complaint,
        tuple(unlike),
    )  # fmt: skip


def _entry(opened: Handles, job: Job) -> tuple[Done | None, str]:
    """Return what the journal says of a block, and what is wrong with that."""
    if opened.journal is None:
        return None, ""
    try:
        found = opened.journal.find(job.index)
        if found is not None and not 0 < found.dates <= job.dates[2] - job.dates[0]:
            return None, f"{found.dates} dates, where there are {job.dates[2] - job.dates[0]}"
    except BROKEN as error:
        return None, f"cannot be read: {error}"
    return found, ""


def _bytes_of(array: zarr.Array[Any], data: bytes | None, known: Done | None) -> Iterator[str]:
    """Check an object without decoding it: against the journal, then each chunk's checksum."""
    if data is None:
        if known is not None and known.stored_bytes:
            yield f"{GONE}there is no object {block_key(array, known.index)}"
        return
    if known is not None and digest(data) != known.digest:
        yield (
            f"SHA-256 {digest(data).hex()[:16]}... of {len(data)} bytes; written were "
            f"{known.digest.hex()[:16]}... of {known.stored_bytes}"
        )
    try:
        chunks = chunks_of(array, data)
    except TecError as error:
        yield str(error)
        return
    for position, item in enumerate(chunks):
        if item is not None:
            try:
                decoding.inspect(item)
            except TecError as error:
                yield f"chunk {position}: {error}"


def _decode(array: zarr.Array[Any], job: Job, data: bytes | None) -> int:
    """Decode a block, a row of chunks at a time; return its size in memory."""
    t, c, y, x = job.region(block_shape(array))
    whole = scratch(array, {} if data is None else {job.index: data})
    size = 0
    for top in range(y.start, y.stop, array.chunks[2]):
        rows = slice(top, min(top + array.chunks[2], y.stop))
        size += np.asarray(whole[t, c, rows, x]).nbytes
    return size


def _compare(found: NDArray[np.float64], known: Done | None) -> Iterator[str]:
    """Check that errors are those that were recorded."""
    if known is None:
        return
    for band, (now, then) in enumerate(zip(found, known.errors, strict=True)):
        if np.isnan(then).any():  # the journal was made later: nobody knows
            continue
        if not np.allclose(now, then, rtol=1e-6, atol=1e-9):
            yield (
                f"band {band}: errors (samples, squares, largest) are now {now.tolist()}, recorded "
                f"were {then.tolist()}: another original?"
            )


def _equal(job: Job, name: str, part: NDArray[Any]) -> Iterator[str]:
    opened = job.handles("r")
    array = opened.array(name)
    _, _, y, x = job.region(block_shape(opened.array(job.variable)))
    region = (y, x) if part.ndim == 2 else (slice(job.dates[1], job.dates[2]), y, x)
    try:
        stored = np.asarray(array[region])
    except BROKEN as error:
        yield f"cannot be compared: {error}"
        return
    if not np.array_equal(stored, part, equal_nan=part.dtype.kind == "f"):
        yield f"differs from the original in block {job.index}"


def beside(place: StoreLocation, archive: Archive) -> tuple[list[str], list[tuple[str, str]]]:
    """Read every other variable, whose compressor checks what it reads, and compare shapes."""
    problems = []
    names, complete = _names(place, archive)
    if not complete:
        text = "the store lists nothing, and no consolidated metadata name it all"
        problems.append(("variables", f"{NOT_SEEN}{text}"))
    sizes = _sizes(archive.array)
    for name in names:
        try:
            array = member(place.open(), name)
            if array is None:
                problems.append((name, f"{GONE}there are no metadata of it"))
            elif isinstance(array, zarr.Array):
                whole = bool(archive.notes.get(WHOLE))
                problems += [(name, text) for text in _read_all(array, sizes, whole)]
        except OSError as error:
            problems.append((name, f"{NOT_SEEN}{for_message(repr(error))}"))
        except BROKEN as error:
            problems.append((name, f"damaged: it cannot be read: {error}"))
    return names, problems


def _names(place: StoreLocation, archive: Archive) -> tuple[list[str], bool]:
    """Name what is beside the cube; False if nothing says whether that is all.

    A static web server lists nothing, and says so by an empty list: the cube must be in it.
    """
    noted = {str(name) for name in archive.notes.get("beside", [])}
    listed: set[str] = set()
    with contextlib.suppress(*BROKEN, OSError, NotImplementedError):
        path = place.store_path() / place.path()
        listed = {name for name in sync(children(path)) if _is_array(place, name)}
    with contextlib.suppress(*BROKEN, OSError):
        known = consolidated(place).metadata.consolidated_metadata
        if known is not None:
            noted |= {key for key in known.metadata if "/" not in key and key != JOURNAL}
    complete = archive.variable in noted | listed
    return sorted((noted | listed) - {archive.variable}), complete


def _is_array(place: StoreLocation, name: str) -> bool:
    """Tell whether there is an array of that name, damaged or not."""
    if name in (JOURNAL, embedded_weights.EMBEDDED):
        return False
    root = place.store_path()
    for file in ("zarr.json", ".zarray"):
        data = sync((root / place.path(name, file)).get())
        if data is not None:
            return b'"group"' not in data.to_bytes()
    return False


def _sizes(array: AnyArray) -> dict[str, int]:
    """Return the size of each dimension of the cube."""
    return dict(zip(dims_of(array), array.shape, strict=False))


def _read_all(array: AnyArray, sizes: Mapping[str, int], whole: bool) -> Iterator[str]:
    """Read an array object by object; nothing is kept."""
    for dim, size in zip(dims_of(array), array.shape, strict=False):
        if sizes.get(dim, size) != size:
            yield f"damaged: {size} values along {dim}, where the cube has {sizes[dim]}"
    steps = block_shape(array)
    for start in np.ndindex(*(-(-n // s) for n, s in zip(array.shape, steps, strict=True))):
        if whole:
            key = array.metadata.encode_chunk_key(start)
            if not sync((array.store_path / key).exists()):
                yield f"{GONE}there is no object {key}"
                continue
        _ = array[tuple(slice(i * s, (i + 1) * s) for i, s in zip(start, steps, strict=True))]


def unlike(archive: Archive, marked: xr.Dataset) -> Iterator[tuple[str, str]]:
    """Compare what is not compared block by block: coordinates, and whatever else is there."""
    group, places = archive.place.open(), cube_of(marked).dims[2:]
    for key, variable in marked.variables.items():
        name = str(key)
        if name == archive.variable or name in archive.notes["beside"]:
            continue
        if name in places or {"crs_wkt", "spatial_ref"} & set(variable.attrs):
            continue  # compared by meaning, with a tolerance: see check_place
        try:
            array = member(group, name)
            if not isinstance(array, zarr.Array):
                yield name, f"{GONE}the original has it, the archive has not"
            elif not equal(stored_values(variable, name, array), array[...]):
                yield name, "differs from the original"
        except OSError as error:
            yield name, f"{NOT_SEEN}{for_message(repr(error))}"
        except BROKEN as error:
            yield name, f"cannot be compared: {error}"

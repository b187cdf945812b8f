"""One block of an archive: encode, write, read back, measure, write down. Runs on a worker.

A block is what one object of the store holds: a shard, or a chunk where there are no shards. The
errors that are written down are those of what was read back from the store, by the codec that
every reader has.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import zarr
import zarr.storage
from numpy.typing import NDArray
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tec_numcodecs.arithmetic import ieee754
from tec_numcodecs.errors import CorruptChunk, InvalidInput
from tec_numcodecs.options import reading_as_stored
from tec_xarray.cube.units import DNScaling
from tec_xarray.store.codec_metadata import AnyArray
from tec_xarray.store.journal import ERRORS, JOURNAL, Done, Journal
from tec_xarray.store.location import StoreLocation
from tec_xarray.store.objects import (
    Index,
    block_key,
    block_shape,
    chunk_bytes,
    digest,
    read_object,
    remove_object,
    scratch,
    variant,
    write_object,
)
from tec_xarray.store.open_arrays import Handles

Region: TypeAlias = tuple[slice, slice, slice, slice]


@dataclass(frozen=True)
class Job:
    """What a worker must know of a block, besides its values.

    Attributes
    ----------
    place, variable
        The array.
    index : tuple of int
        Of the block, along (time, y, x).
    shape : tuple of int
        Of the cube when all blocks are written; the metadata may still say fewer dates.
    dates : tuple of int
        The first date of the block, the first new one, the end.
    lossless : bool
        Whether the block is a tail that waits for more dates.
    scaling : DNScaling
        Of values to DN.
    max_error : float, sequence of float (one for each band), or None
        The promise, in the units of the array.
    tail : str or None
        Where copies of blocks with older dates are kept until all is done.
    run : str
        What all jobs of a run have in common, and no other.
    lease : str
        The token of the lease under which it is written; empty where there is none.
    """

    place: StoreLocation
    variable: str
    index: Index
    shape: tuple[int, ...]
    dates: tuple[int, int, int]
    lossless: bool
    scaling: DNScaling
    max_error: float | Sequence[float] | None = None
    tail: str | None = None
    run: str = ""
    lease: str = ""

    def handles(self, mode: str = "r+") -> Handles:
        """Return what is open of the archive."""
        return Handles.of(self.place, self.run, mode)

    def region(self, block: tuple[int, ...]) -> Region:
        """Where the block is in the cube."""
        _, y, x = self.index
        return (
            slice(self.dates[0], self.dates[2]),
            slice(None),
            slice(y * block[2], min((y + 1) * block[2], self.shape[2])),
            slice(x * block[3], min((x + 1) * block[3], self.shape[3])),
        )


@ieee754
def write_block(job: Job, values: NDArray[Any], beside: Mapping[str, NDArray[Any]]) -> Done:
    """Write a block and what stands beside it; return what became of it.

    Parameters
    ----------
    job : Job
    values : array (T, C, H, W)
        The new dates of the block.
    beside : dict of arrays (T, H, W) or (H, W)
        The same part of other variables, as they are to be stored.

    Raises
    ------
    InvalidInput
        The values cannot be stored.
    CorruptChunk
        What was read back is not what was promised, or the older dates of the block are damaged.
    TecError
        The writer has lost its lease to another one.
    """
    with reading_as_stored(chunk_bytes(job.handles().array(job.variable))):
        return _write(job, values, beside)


def _write(job: Job, values: NDArray[Any], beside: Mapping[str, NDArray[Any]]) -> Done:
    start = time.perf_counter()
    opened = job.handles()
    journal = Journal(job.place) if opened.journal is None else opened.journal
    known = journal.find(job.index)
    first, new, stop = job.dates
    if known is not None and known.dates == stop - first and known.lossless == job.lossless:
        return replace(known, again=True)  # a worker died after this block, or a scheduler forgot
    array = opened.array(job.variable)
    values = np.asarray(values)
    if new > first:
        old = _older(job, array, known)
        values = np.concatenate([old, values]).astype(array.dtype, copy=False)
    coded = _encode(job, array, values)
    opened.check_lease(job.lease)
    for name, part in beside.items():
        _write_beside(job, name, np.asarray(part), block_shape(array))
    data = _store(job, array, coded)
    errors = measure(array, job, values, data)
    _check_promise(job, errors)
    done = Done(
        index=job.index,
        dates=stop - first,
        lossless=job.lossless,
        stored_bytes=len(data or b""),
        raw_bytes=values.nbytes,
        microseconds=int(1e6 * (time.perf_counter() - start)),
        digest=digest(data),
        errors=errors,
    )
    opened.check_lease(job.lease)
    journal.record(done)
    return done


@ieee754
def measure(
    array: AnyArray, job: Job, original: NDArray[Any], data: bytes | None
) -> NDArray[np.float64]:
    """Decode a block's object and compare it with the original, a row of chunks at a time.

    Returns
    -------
    float64 array (C, 3)
        For each band: valid samples, sum of squared errors, largest error; in DN.

    Raises
    ------
    CorruptChunk
        Data became nodata, or the other way round.
    """
    whole = scratch(array, {} if data is None else {job.index: data})
    t, c, y, x = job.region(block_shape(array))
    found = np.zeros((original.shape[1], len(ERRORS)))
    for top in range(y.start, y.stop, array.chunks[2]):
        rows = slice(top, min(top + array.chunks[2], y.stop))
        decoded = np.asarray(whole[t, c, rows, x])
        part = original[:, :, rows.start - y.start : rows.stop - y.start]
        for band in range(len(found)):
            samples, square, peak, flips = _compare(decoded[:, band], part[:, band], job.scaling)
            if flips:
                raise CorruptChunk(
                    f"block {job.index}: {flips} samples of band {band} changed between data and "
                    "no data",
                    allowed="none",
                    fix="please report this: it is an error of tec-xarray",
                )
            found[band, 0] += samples
            found[band, 1] += square
            found[band, 2] = max(found[band, 2], peak)
    return found


def _compare(
    decoded: NDArray[Any], original: NDArray[Any], scaling: DNScaling
) -> tuple[int, float, float, int]:
    """Compare one band (T, H, W): valid samples, sum of squares and peak in DN, mask changes."""
    valid, also = scaling.valid(original), scaling.valid(decoded)
    kind = np.int64 if original.dtype.kind in "iu" else np.float64
    error = np.where(valid & also, decoded.astype(kind) - original.astype(kind), 0)
    square = float(np.sum(error * error)) / scaling.scale**2
    peak = float(np.abs(error).max(initial=0)) / scaling.scale
    return int((valid & also).sum()), square, peak, int((valid != also).sum())


def _encode(job: Job, array: AnyArray, values: NDArray[Any]) -> bytes | None:
    """Encode the whole object, filled up with no data where the cube ends; None if it is empty."""
    block = block_shape(array)
    whole = scratch(array, lossless=job.lossless)
    missing = [(0, n - have) for n, have in zip(block, values.shape, strict=True)]
    if any(after for _, after in missing):
        values = np.pad(values, missing, constant_values=_filler(array, job))
    t, y, x = (i * n for i, n in zip(job.index, (block[0], *block[2:]), strict=True))
    whole[t : t + block[0], :, y : y + block[2], x : x + block[3]] = values
    return read_object(whole, block_key(whole, job.index))


def _store(job: Job, array: AnyArray, coded: bytes | None) -> bytes | None:
    """Put an object into the store; return what the store has then."""
    key = block_key(array, job.index)
    if coded is None:
        remove_object(array, key)
        return None
    write_object(array, key, coded)
    found = read_object(array, key)
    if found != coded:
        raise CorruptChunk(
            f"block {job.index}: {len(found or b'')} bytes came back from {job.place.label}",
            allowed=f"the {len(coded)} bytes that were written",
            fix="check the store; does another process write to it?",
        )
    return found


def _filler(array: AnyArray, job: Job) -> Any:
    """Return what stands where the cube has ended: no data, if there is a value for that."""
    if array.fill_value is not None:
        return array.fill_value
    return job.scaling.nodata or 0


def _write_beside(job: Job, name: str, values: NDArray[Any], block: tuple[int, ...]) -> None:
    """Write the same part of a variable without bands. Lossless: what is there may be read."""
    array = job.handles().array(name)
    _, _, y, x = job.region(block)
    if array.ndim == 2:
        variant(array)[y, x] = values
        return
    grown = variant(array, (job.shape[0], *array.shape[1:]))
    grown[job.dates[1] : job.dates[2], y, x] = values


def _older(job: Job, array: AnyArray, known: Done | None) -> NDArray[Any]:
    """Read the dates that wait in the block, from a copy that outlives a crash.

    Without the copy, a kill between writing the block and writing it down would leave only coded
    dates behind, and the next attempt would code them once more.
    """
    first, new, _ = job.dates
    if known is None or known.dates != new - first or not known.lossless or job.tail is None:
        raise InvalidInput(
            f"block {job.index} does not hold {new - first} dates without loss",
            fix="finish what was interrupted with tec_xarray.resume or the same append",
        )
    _, c, y, x = job.region(block_shape(array))
    if known.stored_bytes == 0:
        size = (new - first, array.shape[1], y.stop - y.start, x.stop - x.start)
        return np.full(size, _filler(array, job), array.dtype)
    copy = tail_of(array, job.tail)
    key = block_key(array, job.index)
    data = read_object(copy, key)
    if data is None:
        data = read_object(array, key)
        if data is None or digest(data) != known.digest:
            raise CorruptChunk(
                f"block {job.index} of {job.place.label} is not what the journal says",
                fix="restore it from a copy; `tec verify` shows what else is damaged",
            )
        write_object(copy, key, data)
    whole = scratch(array, {job.index: data})
    return np.asarray(whole[slice(first, new), c, y, x])


def tail_of(array: AnyArray, name: str) -> AnyArray:
    """Return the array in which copies of blocks are kept while new dates are added to them."""
    parent = array.store_path.path.rpartition("/")[0]
    path = "/".join(part for part in (parent, JOURNAL, name) if part)
    place = zarr.storage.StorePath(array.store_path.store, path)
    return zarr.Array(zarr.AsyncArray(metadata=array.metadata, store_path=place))


def make_tail(array: AnyArray, name: str) -> None:
    """Make that array, with the metadata of the cube, so that anybody can read what is in it."""
    tail = tail_of(array, name)
    for key, buffer in tail.metadata.to_buffer_dict(default_buffer_prototype()).items():
        sync((tail.store_path / key).set(buffer))


def _check_promise(job: Job, errors: NDArray[np.float64]) -> None:
    promise = 0.0 if job.lossless else job.max_error
    if promise is None:
        return
    # Errors were divided by the scale, which may have moved them by a few parts in 10^16.
    most = np.broadcast_to(np.asarray(promise, np.float64), len(errors)) / job.scaling.scale
    over = np.flatnonzero(errors[:, 2] > most * (1 + 1e-12))
    if over.size:
        band = int(over[0])
        raise CorruptChunk(
            f"block {job.index} is off by {errors[band, 2]:g} DN in band {band}",
            allowed=f"{most[band]:g}, as promised",
            fix="please report this: it is an error of tec-xarray",
        )

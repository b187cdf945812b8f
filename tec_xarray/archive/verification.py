"""Check an archive: every object's digest, every chunk's checksums, and the recorded errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from tec_numcodecs.arguments import known
from tec_numcodecs.chunk import decoding
from tec_numcodecs.errors import InvalidInput, TecError
from tec_numcodecs.options import reading_as_stored
from tec_xarray.archive.adopting import consolidated, dims_of, without_journal
from tec_xarray.archive.handle import Archive
from tec_xarray.archive.marking import mark_like
from tec_xarray.archive.template import stored_values
from tec_xarray.archive.writing import work_of
from tec_xarray.cube.layout import cube_of
from tec_xarray.encoding.exact_values import equal
from tec_xarray.execution.block import Job, measure
from tec_xarray.execution.progress import Meter
from tec_xarray.execution.scheduler import How, Work, run
from tec_xarray.store import embedded_weights
from tec_xarray.store.codec_metadata import AnyArray
from tec_xarray.store.journal import JOURNAL, Done, Result, has_journal
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
from tec_xarray.store.shard_index import chunks_of


@dataclass(frozen=True)
class Checked(Result):
    """What was found in one block."""

    index: Index
    bytes: int
    raw_bytes: int
    missing: bool
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes
    ----------
    store : str
    blocks : int
        How many the cube has.
    bytes : int
        Of the cube, as stored; all of them were read.
    journal : bool
        Whether there is a journal to compare with. Without one, only checksums were verified.
    compared : bool
        Whether the original was compared, too.
    missing : tuple of (int, int, int)
        Blocks that were never finished.
    problems : tuple of (str, str)
        Where something is wrong (a block, a variable), and what.
    """

    store: str
    blocks: int
    bytes: int
    journal: bool
    compared: bool
    missing: tuple[Index, ...]
    problems: tuple[tuple[str, str], ...]

    @property
    def ok(self) -> bool:
        """Whether all is there and as it was written."""
        return not self.missing and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers, strings and lists."""
        found = asdict(self) | {"ok": self.ok}
        found["missing"] = [list(index) for index in self.missing]
        found["problems"] = [{"where": w, "what": what} for w, what in self.problems]
        return found

    def __str__(self) -> str:
        checks = ["checksums"]
        checks += ["digests"] if self.journal else []
        checks += ["errors against the original"] if self.compared else []
        lines = [f"{self.store}: {self.blocks} blocks, {self.bytes:,} bytes; {', '.join(checks)}"]
        lines += [f"  not written: block {index}" for index in self.missing]
        lines += [f"  {where}: {what}" for where, what in self.problems]
        return "\n".join([*lines, "all is well" if self.ok else "NOT as it was written"])


def verify(
    store: Any,
    original: xr.Dataset | xr.DataArray | None = None,
    *,
    group: str | None = None,
    storage_options: dict[str, Any] | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> Verification:
    """Read an archive from end to end and check all that can be checked.

    Every object's SHA-256 against the journal; the CRC-32C of every chunk and of its decoded
    symbols; that all variables beside the cube can be read. With the original, the errors that the
    journal has against those of now, and that what stands beside the cube is equal.

    Parameters
    ----------
    store, group, storage_options
        The archive, or any store with a compressed cube (then without digests).
    original : xarray.Dataset or xarray.DataArray, optional
        What it was made of.
    progress : bool, optional
        As of `tec_xarray.compress`; the work runs on the current Dask client.
    **settings
        Of `tec_xarray.compress`: only what the original does not say itself.

    Returns
    -------
    Verification
        Its ``ok`` tells. Damage does not raise.

    Raises
    ------
    InvalidInput
        There is no compressed cube, or the original is that of something else.
    """
    how = How(progress=progress)
    if original is None:
        known(settings, (), "verify without an original")
    place = StoreLocation.of(store, group, storage_options)
    journal = has_journal(place)
    archive = Archive.open(place) if journal else without_journal(place)
    marked = None if original is None else mark_like(original, archive, settings)
    dates = archive.array.shape[0]
    jobs = list(archive.jobs(dates, 0, lossless_tail=False, tail=None))
    if marked is None:
        work = Work(jobs, block_shape(archive.array), None, {}, check_block)
    else:
        if cube_of(marked).shape[0] != dates:
            raise InvalidInput(
                f"an original of {cube_of(marked).shape[0]} dates", allowed=f"{dates}, as stored"
            )
        work = work_of(archive, marked, jobs, check_block)
    found: list[Checked] = []
    problems = list(_notes(archive))
    with Meter("verify", len(jobs), progress) as meter:

        def tell(result: Checked) -> None:
            found.append(result)
            blank = np.zeros((0, 3))
            meter.tell(Done(result.index, 1, False, result.bytes, result.raw_bytes, 0, b"", blank))

        run(work, how, tell)
    found.sort(key=lambda result: result.index)
    problems += [(f"block {r.index}", text) for r in found for text in r.problems]
    problems += _beside(place, archive)
    problems += [] if marked is None else _unlike(archive, marked)
    problems += embedded_weights.damaged(place)
    return Verification(
        store=place.label,
        blocks=len(jobs),
        bytes=sum(r.bytes for r in found),
        journal=journal,
        compared=original is not None,
        missing=tuple(r.index for r in found if r.missing),
        problems=tuple(problems),
    )


def check_block(
    job: Job, values: NDArray[Any] | None, beside: Mapping[str, NDArray[Any]]
) -> Checked:
    """Check one block; with its original values, its errors, too. Runs on a worker."""
    with reading_as_stored(chunk_bytes(job.handles("r").array(job.variable))):
        return _check_block(job, values, beside)


def _check_block(
    job: Job, values: NDArray[Any] | None, beside: Mapping[str, NDArray[Any]]
) -> Checked:
    opened = job.handles("r")
    array = opened.array(job.variable)
    known = opened.journal.find(job.index) if opened.journal is not None else None
    if known is None and opened.journal is not None:
        return Checked(job.index, 0, 0, True, ())
    data = read_object(array, block_key(array, job.index))
    problems = list(_bytes_of(array, data, known))
    raw = 0
    if not problems:
        try:
            raw = _decode(array, job, data)
            if values is not None:
                problems += _compare(measure(array, job, np.asarray(values), data), known)
        except (TecError, ValueError, RuntimeError) as error:
            problems.append(f"cannot be decoded: {error}")
    for name, part in beside.items():
        problems += _equal(job, name, np.asarray(part))
    return Checked(job.index, len(data or b""), raw, False, tuple(problems))


def _bytes_of(array: zarr.Array[Any], data: bytes | None, known: Done | None) -> Iterator[str]:
    """Check an object without decoding it: against the journal, then each chunk's checksum."""
    if data is None:
        if known is not None and known.stored_bytes:
            yield f"gone: there is no object {block_key(array, known.index)}"
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
    except (ValueError, RuntimeError) as error:
        yield f"{name}: {error}"
        return
    if not np.array_equal(stored, part, equal_nan=part.dtype.kind == "f"):
        yield f"{name} differs from the original"


def _notes(archive: Archive) -> Iterator[tuple[str, str]]:
    pending = archive.pending
    if pending:
        dates = pending["dates"]
        text = f"was interrupted: {len(dates)} dates from {dates[0]}; the same again finishes it"
        yield "append", text


def _beside(place: StoreLocation, archive: Archive) -> list[tuple[str, str]]:
    """Read every other variable, whose compressor checks what it reads, and compare shapes."""
    problems = []
    names, complete = _names(place, archive)
    if not complete:
        text = "could not look: the store lists nothing, and no consolidated metadata name it all"
        problems.append(("variables", text))
    sizes = _sizes(archive.array)
    for name in names:
        try:
            array = member(place.open(), name)
            if array is None:
                problems.append((name, "gone: there are no metadata of it"))
            elif isinstance(array, zarr.Array):
                problems += [(name, text) for text in _read_all(array, sizes)]
        except OSError as error:
            problems.append((name, f"could not look: {error}"))
        except (*DAMAGED, RuntimeError, TecError) as error:
            problems.append((name, f"damaged: it cannot be read: {error}"))
    return problems


def _names(place: StoreLocation, archive: Archive) -> tuple[list[str], bool]:
    """Name what is beside the cube; False if nothing says whether that is all.

    A static web server lists nothing, and says so by an empty list: the cube must be in it.
    """
    noted = {str(name) for name in archive.notes.get("beside", [])}
    listed: set[str] = set()
    with contextlib.suppress(*DAMAGED, OSError, NotImplementedError):
        listed = set(place.open().array_keys())
    with contextlib.suppress(*DAMAGED, OSError):
        known = consolidated(place).metadata.consolidated_metadata
        if known is not None:
            noted |= {key for key in known.metadata if "/" not in key and key != JOURNAL}
    complete = archive.variable in noted | listed
    return sorted((noted | listed) - {archive.variable}), complete


def _sizes(array: AnyArray) -> dict[str, int]:
    """Return the size of each dimension of the cube."""
    return dict(zip(dims_of(array), array.shape, strict=False))


def _read_all(array: AnyArray, sizes: Mapping[str, int]) -> Iterator[str]:
    """Read an array chunk by chunk; nothing is kept."""
    for dim, size in zip(dims_of(array), array.shape, strict=False):
        if sizes.get(dim, size) != size:
            yield f"damaged: {size} values along {dim}, where the cube has {sizes[dim]}"
    steps = array.chunks
    for start in np.ndindex(*(-(-n // s) for n, s in zip(array.shape, steps, strict=True))):
        _ = array[tuple(slice(i * s, (i + 1) * s) for i, s in zip(start, steps, strict=True))]


def _unlike(archive: Archive, marked: xr.Dataset) -> Iterator[tuple[str, str]]:
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
                yield name, "gone: the original has it, the archive has not"
            elif not equal(stored_values(variable, name, array), array[...]):
                yield name, "differs from the original"
        except OSError as error:
            yield name, f"could not look: {error}"
        except (*DAMAGED, RuntimeError, TecError) as error:
            yield name, f"cannot be compared: {error}"

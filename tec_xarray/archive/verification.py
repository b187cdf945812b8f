"""Check an archive: every object's digest, every chunk's checksums, and the recorded errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from zarr.core.sync import sync

from tec_numcodecs.arguments import known
from tec_numcodecs.errors import InvalidInput, WeightsError
from tec_numcodecs.redaction import for_message
from tec_xarray.archive.adopting import children, without_journal
from tec_xarray.archive.checking import (
    BROKEN,
    GONE,
    NOT_SEEN,
    Checked,
    beside,
    check_block,
    unlike,
)
from tec_xarray.archive.handle import Archive
from tec_xarray.archive.marking import mark_like
from tec_xarray.archive.writing import work_of
from tec_xarray.cube.layout import cube_of
from tec_xarray.execution.progress import Meter
from tec_xarray.execution.scheduler import How, Work, run
from tec_xarray.store import embedded_weights
from tec_xarray.store.journal import JOURNAL, Done, has_journal
from tec_xarray.store.location import StoreLocation
from tec_xarray.store.objects import Index, block_shape

#: What can be said of a variable, the worst first.
STATES = ("damaged", "gone", "could not look", "ok")

Problem = tuple[str, str]


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
    variables : dict of str
        For each variable, the cube among them, "ok", "damaged", "gone" (something that was written
        is not there, or was never written) or "could not look" (the store did not answer, or what
        it takes to read is not at hand); and for the journal and for copies of weights, where
        there are some.
    absent : int
        Blocks without an object, where no journal says whether there should be one: all of their
        samples were missing, or they are lost.
    """

    store: str
    blocks: int
    bytes: int
    journal: bool
    compared: bool
    missing: tuple[Index, ...]
    problems: tuple[Problem, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    absent: int = 0

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
        if self.absent:
            lines.append(
                f"  {self.absent} blocks without an object: they hold no data, or they are lost; "
                "without a journal nobody can tell"
            )
        if self.ok:
            return "\n".join([*lines, "all is well"])
        unseen = {self.variables.get(name) for name in self.variables} <= {"ok", "could not look"}
        seen = "NOT as it was written"
        return "\n".join([*lines, "could NOT look at everything" if unseen else seen])


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
    archive, problems = _open(place)
    if archive is None:
        return _nothing(place, problems)
    marked = None
    if original is not None:
        marked, complaints = _marked(original, archive, settings)
        problems += complaints
    jobs = list(archive.jobs(archive.array.shape[0], 0, lossless_tail=False, tail=None))
    if marked is None:
        work = Work(jobs, block_shape(archive.array), None, {}, check_block)
    else:
        work = work_of(archive, marked, jobs, check_block)
    found: list[Checked] = []
    with Meter("verify", len(jobs), progress) as meter:

        def tell(result: Checked) -> None:
            found.append(result)
            blank = np.zeros((0, 3))
            meter.tell(Done(result.index, 1, False, result.bytes, result.raw_bytes, 0, b"", blank))

        run(work, how, tell)
    found.sort(key=lambda result: result.index)
    journal = bool(archive.notes.get(_FROM_JOURNAL))
    problems += _of_blocks(found, archive, journal)
    names, others = beside(place, archive)
    problems += others
    problems += [] if marked is None else unlike(archive, marked)
    problems += _weights(place)
    missing = tuple(r.index for r in found if r.missing)
    absent = 0 if journal else sum(r.absent for r in found)
    return Verification(
        store=place.label,
        blocks=len(jobs),
        bytes=sum(r.bytes for r in found),
        journal=journal,
        compared=marked is not None,
        missing=missing,
        problems=tuple(problems),
        variables=_states(archive.variable, names, problems, lacking=bool(missing)),
        absent=0 if absent == len(jobs) else absent,
    )


_FROM_JOURNAL = "from_journal"


def _open(place: StoreLocation) -> tuple[Archive | None, list[Problem]]:
    """Open an archive as far as it can be; what cannot is a problem of it.

    Raises
    ------
    InvalidInput
        There is nothing of ours, damaged or not.
    """
    try:
        place.open()
    except OSError as error:
        return None, [("store", f"{NOT_SEEN}{for_message(repr(error))}")]
    except InvalidInput as error:
        if not _is_damaged(place):
            raise
        return None, [("store", f"damaged: {error}")]
    problems: list[Problem] = []
    try:
        if has_journal(place):
            archive = Archive.open(place)
            return _with_notes(archive, journal=True), problems
    except OSError as error:
        problems.append((JOURNAL, f"{NOT_SEEN}{for_message(repr(error))}"))
    except WeightsError as error:
        return None, [("weights", f"{NOT_SEEN}{error}")]
    except BROKEN as error:
        problems.append((JOURNAL, f"damaged: {error}"))
    try:
        return _with_notes(without_journal(place), journal=False), problems
    except OSError as error:
        problems.append(("variables", f"{NOT_SEEN}{for_message(repr(error))}"))
    except WeightsError as error:
        problems.append(("weights", f"{NOT_SEEN}{error}"))
    except BROKEN as error:
        if isinstance(error, InvalidInput) and not problems and not _is_damaged(place):
            raise
        problems.append(("variables", f"damaged: {error}"))
    return None, problems


def _with_notes(archive: Archive, *, journal: bool) -> Archive:
    notes = {**archive.notes, _FROM_JOURNAL: journal}
    return Archive(archive.place, archive.variable, archive.array, archive.codec, notes)


def _is_damaged(place: StoreLocation) -> bool:
    """Tell whether there are metadata, of the group or of what is in it, that are no JSON."""
    root = place.store_path()
    names = [""]
    if root.store.supports_listing:
        names += sorted(sync(children(root / place.path())))
    for name in names:
        for file in ("zarr.json", ".zgroup", ".zarray"):
            data = sync((root / place.path(name, file)).get())
            try:
                if data is not None and not isinstance(json.loads(data.to_bytes()), dict):
                    return True
            except ValueError:
                return True
    return False


def _nothing(place: StoreLocation, problems: list[Problem]) -> Verification:
    """Return what can be said of an archive that cannot be opened."""
    states = _states("", [], problems, lacking=False)
    return Verification(place.label, 0, 0, False, False, (), tuple(problems), states)


def _marked(
    original: xr.Dataset | xr.DataArray, archive: Archive, settings: Mapping[str, Any]
) -> tuple[xr.Dataset | None, list[Problem]]:
    """Mark the original as the archive was; None if what is stored is too damaged to compare."""
    try:
        stored = archive.stored()
        for name in stored.coords:
            _ = stored[name].values
    except OSError as error:
        return None, [("original", f"{NOT_SEEN}{for_message(repr(error))}")]
    except BROKEN as error:
        return None, [("original", f"{NOT_SEEN}it cannot be compared: {error}")]
    marked = mark_like(original, archive, settings)
    dates, wanted = cube_of(marked).shape[0], archive.array.shape[0]
    if dates != wanted:
        raise InvalidInput(f"an original of {dates} dates", allowed=f"{wanted}, as stored")
    return marked, []


def _of_blocks(found: list[Checked], archive: Archive, journal: bool) -> Iterator[Problem]:
    """Say what is wrong with blocks, with their entries, and with what stands beside them."""
    for result in found:
        yield from ((f"block {result.index}", text) for text in result.problems)
        if result.journal:
            yield JOURNAL, f"damaged: the entry of block {result.index}: {result.journal}"
        yield from result.beside
    if not journal and found and all(result.absent for result in found):
        text = "no block has an object: a template that was never filled, or nothing but no data"
        yield archive.variable, f"{GONE}{text}"
    yield from _notes(archive)


def _weights(place: StoreLocation) -> list[Problem]:
    """Check copies of weights."""
    try:
        return embedded_weights.damaged(place)
    except OSError as error:
        return [(embedded_weights.EMBEDDED, f"{NOT_SEEN}{for_message(repr(error))}")]
    except BROKEN as error:
        return [(embedded_weights.EMBEDDED, f"damaged: {error}")]


def _states(
    cube: str, names: Iterable[str], problems: Iterable[Problem], *, lacking: bool
) -> dict[str, str]:
    """Put what was found into a word for each variable."""
    worst = dict.fromkeys([*([cube] if cube else []), *names], "ok")
    if lacking:
        worst[cube] = "gone"
    for where, text in problems:
        name = cube if where.startswith(("block ", "append")) else where.partition("/")[0]
        state = next((s for s in STATES[1:3] if text.startswith(s)), STATES[0])
        worst[name] = min(state, worst.get(name, "ok"), key=STATES.index)
    return worst


def _notes(archive: Archive) -> Iterator[tuple[str, str]]:
    pending = archive.pending
    if pending:
        found: Any = pending
        dates = found.get("dates") if isinstance(found, Mapping) else None
        if not isinstance(dates, list) or not dates:
            yield JOURNAL, f"damaged: a note on an append that cannot be read: {pending!r:.60}"
            return
        text = f"was interrupted: {len(dates)} dates from {dates[0]}; the same again finishes it"
        yield "append", text

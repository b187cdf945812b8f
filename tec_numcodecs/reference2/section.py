"""Section 2 of a chunk (FORMAT.md 4): all dates, some dates, overviews, the first tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.reference2.coder import Coder, Reader, Weights
from tec_numcodecs.reference2.context import LATEST, ContextWalk, TemporalWalk
from tec_numcodecs.reference2.flextec import FlexWalk, read_tokens
from tec_numcodecs.reference2.fp import DateWalk
from tec_numcodecs.reference2.layout import Grid, Layout, Setting, read_layout
from tec_numcodecs.reference2.rans import Cursor, Ints, require
from tec_numcodecs.reference2.transform import Latents, shown

DATES, LISTS = 1, 2  # bits of the flags


@dataclass
class Section:
    """Section 2 taken apart; lists have one element for each date with data."""

    dates: list[int]  # that have data
    lists: bool  # of rotations
    layouts: list[Layout]
    checksums: list[int]
    streams: list[bytes]

    @property
    def checksum(self) -> int:
        """The checksum of symbols in the model header."""
        return google_crc32c.value(np.array(self.checksums, "<u4").tobytes())


def split(data: bytes, setting: Setting) -> Section:
    """Take section 2 apart.

    Raises
    ------
    CorruptChunk
        If it is damaged.
    """
    T, C = setting.shape[:2]
    cursor = Cursor(data)
    (flags,) = cursor.take(1)
    kind = flags >> 2
    require(kind <= 2, f"flags {flags:#b} of the latents")
    dates = list(range(T))
    if flags & DATES:
        bits = int.from_bytes(cursor.take(-(-T // 8)), "little")
        require(0 < bits < (1 << T) - 1, "dates with data: none, all, or more than there are")
        dates = [t for t in dates if bits >> t & 1]
    layouts = [Layout((0,) * C)] * len(dates)
    if kind == 1:
        layouts = [read_layout(cursor, C)] * len(dates)
    elif kind == 2:
        layouts = [read_layout(cursor, C) for _ in dates]
    require(not kind or any(any(x.classes) for x in layouts), "layouts without a native band")
    table = [(cursor.varint(), cursor.unpack("I")[0]) for _ in dates]
    streams = [cursor.take(length) for length, _ in table]
    cursor.end("the last stream")
    return Section(dates, bool(flags & LISTS), layouts, [crc for _, crc in table], streams)


# -------------------------------------------------------------------------------- Dates in order


@dataclass
class Walked:
    """One date: what is known of it, and the integers of its checksum (int32)."""

    latents: Latents
    symbols: NDArray[np.int32]

    @property
    def checksum(self) -> int:
        return google_crc32c.value(self.symbols.tobytes())


@dataclass
class Walker:
    """Walks over dates in their order, whether they are read or written."""

    weights: Weights
    setting: Setting
    lists: bool

    past: list[TemporalWalk] = field(default_factory=list)  # of mini tt

    def date(self, coders: Sequence[Coder], layout: Layout, level: int = 0) -> Walked:
        """Walk over a date with one coder; of mini flextec, with one for each token."""
        walk = self._walk(coders, layout)
        latents = walk.run() if isinstance(walk, FlexWalk) else walk.run(level)
        return Walked(latents, np.concatenate(walk.log).astype("<i4"))

    def _walk(self, coders: Sequence[Coder], layout: Layout) -> DateWalk | FlexWalk:
        if self.setting.model == "flextec":
            return FlexWalk(coders, self.weights, self.setting, layout, lists=self.lists)
        args = coders[0], self.weights, self.setting, layout
        if self.setting.model == "fp":
            return DateWalk(*args, lists=self.lists)
        if self.setting.model == "elic":
            return ContextWalk(*args, lists=self.lists)
        past = [walk for walk in self.past[-LATEST:] if walk.layout == layout]
        walk = TemporalWalk(*args, lists=self.lists, past=past)
        self.past.append(walk)
        return walk

    def show(self, walked: Walked, layout: Layout, level: int) -> Ints:
        """DN (C, h, w) of a level of a date."""
        grid = Grid(*self.setting.shape[2:])
        return shown(self.setting, layout, grid, walked.latents, level)


def read_section(
    data: bytes,
    setting: Setting,
    weights: Weights | Mapping[str, NDArray[Any]],
    *,
    dates: Sequence[int] | None = None,
    level: int = 0,
    tokens: int | None = None,
    checksum: int | None = None,
) -> NDArray[np.int32]:
    """Decode section 2 of a chunk of the mini family.

    Parameters
    ----------
    data
        The section.
    setting
        What the header says.
    weights
        Tensors of the weights file; a `Weights` keeps what it makes of them from call to call.
    dates
        Those that are wanted (0 to T - 1); all if None.
    level
        0 the image, 1 to 5 an overview.
    tokens
        Of mini flextec, read no more than that many of each date; all if None.
    checksum
        That of the model header, if it is to be compared.

    Returns
    -------
    ndarray
        Digital numbers (dates, C, h, w), bands in the order of the sensor; 0 where a date has no
        data.

    Raises
    ------
    CorruptChunk
        If the section is damaged.
    WeightsError
        If a tensor is missing, or sums of a network are too large.
    InvalidInput
        If there is no such date or level, or tokens are asked of a model that has none.
    """
    T, C, H, W = setting.shape
    wanted = list(range(T)) if dates is None else list(dates)
    if not all(0 <= t < T for t in wanted):
        raise InvalidInput(f"dates={wanted}", allowed=f"0 to {T - 1}")
    if level not in range(6):
        raise InvalidInput(f"level={level}", allowed="0 to 5")
    if tokens is not None and (setting.model != "flextec" or not 1 <= tokens <= 16):
        raise InvalidInput(f"tokens={tokens} of {setting.model}", allowed="1 to 16, of flextec")
    found = np.zeros((len(wanted), C, -(-H >> level), -(-W >> level)), np.int32)
    with np.errstate(all="ignore"):
        section = split(data, setting)
        require(
            checksum is None or checksum == section.checksum, "a table whose checksum is another"
        )
        weights = weights if isinstance(weights, Weights) else Weights(weights)
        walker = Walker(weights, setting, section.lists)
        last = max(wanted, default=-1)
        for t, layout, stream, crc in zip(
            section.dates, section.layouts, section.streams, section.checksums, strict=True
        ):
            if t not in wanted and (setting.model != "tt" or t > last):
                continue
            flex = setting.model == "flextec"
            parts = read_tokens(stream, setting) if flex else [stream]
            coders = [Reader(part) for part in parts[:tokens]]
            walked = walker.date(coders, layout, level)
            if level == 0 or flex:  # else finer levels were not read
                for coder in coders:
                    coder.finish()
                require(
                    walked.checksum == crc or len(coders) < len(parts),
                    f"symbols of date {t} with another checksum",
                )
            if t in wanted:
                shown_dn = walker.show(walked, layout, level)
                found[[i for i, w in enumerate(wanted) if w == t]] = shown_dn
    return found

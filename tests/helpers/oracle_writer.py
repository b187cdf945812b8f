"""Writers of section 2 that walk as the reference reader does: with planned symbols, or random.

`plain_section` transforms an image and rounds; `random_section` lets any symbols happen that a
decoder must accept. Both say what a decoder must make of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from oracle_plan import Plan
from oracle_rans import drawn, raw, symbol, write
from tec_numcodecs.reference2.coder import LOWPASS, Place, Weights
from tec_numcodecs.reference2.layout import FACTORS, Layout, Setting
from tec_numcodecs.reference2.rans import Ints, Row
from tec_numcodecs.reference2.section import DATES, LISTS, Walked, Walker
from tec_numcodecs.reference2.spectrum import Rotation
from tec_numcodecs.reference2.transform import step_of

MODELS = ("fp", "elic", "tt", "flextec")


class Ask(NamedTuple):
    """Rows of what is asked for; limits of symbols, or base and bits of integers."""

    rows: Ints
    table: Mapping[int, Row]
    lowest: Any
    highest: int
    base: Any = 0
    bits: Any = 0


class Chooser(Protocol):
    """Chooses what is coded; see `Place` for what is asked."""

    def raws(self, place: Place, bits: Ints) -> Ints: ...

    def symbols(self, place: Place, ask: Ask) -> Ints: ...

    def integers(self, place: Place, ask: Ask) -> Ints: ...


class Writer:
    """A coder that writes what a chooser chooses."""

    def __init__(self, chooser: Chooser) -> None:
        self.chooser = chooser
        self.steps: list[tuple[int, int]] = []

    def raws(self, place: Place, bits: Ints) -> Ints:
        values = self.chooser.raws(place, bits)
        assert ((values >= 0) & (values < 1 << bits)).all(), place
        self._raws(values, bits)
        return values

    def symbols(self, place, rows, table, lowest, highest):
        values = self.chooser.symbols(place, Ask(rows, table, lowest, highest))
        assert ((values >= lowest) & (values <= highest)).all(), place
        self._symbols(values, rows, table)
        return values

    def integers(self, place, rows, table, base, bits, most):
        values = self.chooser.integers(place, Ask(rows, table, -most, most, base, bits))
        rest = values - base
        assert (np.abs(rest >> bits) <= most).all(), place
        self._symbols(rest >> bits, rows, table)
        some = bits > 0
        self._raws((rest & ((1 << bits) - 1))[some], bits[some])
        return values

    def _symbols(self, values, rows, table):
        for value, row in zip(values.tolist(), rows.tolist(), strict=True):
            self.steps += symbol(value, table[row])

    def _raws(self, values, bits):
        self.steps += [raw(v, k) for v, k in zip(values.tolist(), bits.tolist(), strict=True)]

    def finish(self) -> bytes:
        return write(self.steps)


# ------------------------------------------------------------------------------ A whole section


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def layout_bytes(layout: Layout) -> bytes:
    C = len(layout.classes)
    bits = sum(number << 2 * band for band, number in enumerate(layout.classes))
    used = [layout.phases[n] for n in range(1, 4) if n in layout.classes]
    return bits.to_bytes(-(-C // 4), "little") + bytes(row + 6 * column for row, column in used)


class Written(NamedTuple):
    """A section, and what a reader must find in it."""

    section: bytes
    setting: Setting
    layouts: list[Layout]  # of each date with data
    dates: list[int]  # with data
    dn: Ints  # (T, C, H, W)
    checksums: list[int]  # of each date with data
    symbols: list[Ints]
    walked: list[Walked]


def write_section(
    setting: Setting,
    weights: Weights,
    choosers: Sequence[Chooser],
    layouts: Sequence[Layout],
    dates: Sequence[int],
    *,
    lists: bool,
    each: bool = False,
) -> Written:
    """Write the dates with data; `each` writes the layout of each date even if they are equal."""
    T = setting.shape[0]
    walker = Walker(weights, setting, lists)
    dn = np.zeros(setting.shape, np.int64)
    streams, every = [], []
    with np.errstate(all="ignore"):
        for t, layout, chooser in zip(dates, layouts, choosers, strict=True):
            count = (setting.quality or 16) if setting.model == "flextec" else 1
            writers = [Writer(chooser) for _ in range(count)]
            walked = walker.date(writers, layout)
            parts = [writer.finish() for writer in writers]
            sizes = [varint(len(part)) for part in parts] if setting.model == "flextec" else []
            streams.append(b"".join([*sizes, *parts]))
            dn[t] = walker.show(walked, layout, 0)
            every.append(walked)
    native = any(any(layout.classes) for layout in layouts)
    kind = 0 if not native else 2 if each or len(set(layouts)) > 1 else 1
    flags = (DATES if len(dates) < T else 0) | (LISTS if lists else 0) | kind << 2
    section = bytes([flags])
    if len(dates) < T:
        section += sum(1 << t for t in dates).to_bytes(-(-T // 8), "little")
    section += b"".join(map(layout_bytes, {0: [], 1: layouts[:1], 2: layouts}[kind]))
    checksums = [walked.checksum for walked in every]
    for stream, crc in zip(streams, checksums, strict=True):
        section += varint(len(stream)) + crc.to_bytes(4, "little")
    symbols = [walked.symbols for walked in every]
    return Written(
        section + b"".join(streams), setting, list(layouts), list(dates), dn, checksums, symbols,
        every,
    )  # fmt: skip


# ---------------------------------------------------------------------------------- Plain writer


class PlainChooser:
    """Codes the integers of a plan; shifts are 0, and no date of mini tt lacks a reference."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.pending: dict[str, list[int]] = {}

    def raws(self, place: Place, bits: Ints) -> Ints:
        return self._raw(place) + 0 * bits

    def _raw(self, place: Place) -> Ints:
        if place.what == "entry":
            entry, rotations = self.plan.spectra[place.level]
            for name in ("q", "p", "j"):
                self.pending[name] = [getattr(x, name) for x in rotations]
            self.pending["sign"] = [int(x.s < 0) for x in rotations]
            self.pending["rotations"] = [len(rotations)]
            return np.array([entry])
        if place.what == "sign":
            return np.array([self.pending["sign"].pop(0)])
        if place.what == "reference":
            return np.array([1])
        return self.plan.low_bits(place)

    def symbols(self, place: Place, ask: Ask) -> Ints:
        if place.what in {"rotations", "q", "p", "j"}:
            return np.array([self.pending[place.what].pop(0)])
        if place.what == "shift":
            return np.array([0])
        return self.plan.symbols(place)[: len(ask.rows)]

    def integers(self, place: Place, ask: Ask) -> Ints:
        return self.plan.integers(place)[: len(ask.rows)]


def plain_section(
    dn: Ints,
    setting: Setting,
    weights: Weights,
    *,
    layouts: Sequence[Layout] | None = None,
    dates: Sequence[int] | None = None,
    spectra: Mapping[int, tuple[int, list[Rotation]]] | None = None,
) -> Written:
    """Write DN (T, C, H, W) by plain rounding.

    `spectra` are entry and rotations of levels 0 to 4 and of the low-pass (5); entry 0 if None.
    Rotations of bands that a level does not have are left out.
    """
    dates = list(range(setting.shape[0])) if dates is None else list(dates)
    if layouts is None:
        layouts = [Layout((0,) * setting.shape[1])] * len(dates)
    chosen = {level: (0, []) for level in range(6)} if spectra is None else dict(spectra)
    choosers = [
        PlainChooser(Plan(dn[t], setting, weights, layout, chosen))
        for t, layout in zip(dates, layouts, strict=True)
    ]
    lists = any(rotations for _, rotations in chosen.values())
    return write_section(setting, weights, choosers, layouts, dates, lists=lists)


# --------------------------------------------------------------------------------- Random writer


class RandomChooser:
    """Chooses at random what decoders must accept."""

    def __init__(self, rng: np.random.Generator, setting: Setting, entries: int) -> None:
        self.rng, self.setting, self.entries = rng, setting, entries
        self.flagged = rng.choice([0.02, 0.3, 0.9])
        self.style = rng.choice(["rows", "rows", "laplace", "large"])
        self.scale = rng.choice([0.3, 2, 30])
        self.rotations = int(rng.choice([0, 3, 12, 63]))
        self.shifted = rng.choice([0, 2, 8])

    def raws(self, place: Place, bits: Ints) -> Ints:
        limits = 1 << bits
        if place.what == "entry":
            limits = np.minimum(limits, self.entries)
        return self.rng.integers(0, limits)

    def symbols(self, place: Place, ask: Ask) -> Ints:
        n = len(ask.rows)
        if place.what in {"flags", "low flags"}:
            return (self.rng.random(n) < self.flagged).astype(np.int64)
        if place.what == "shift":
            return self.rng.integers(-self.shifted, self.shifted + 1, 1)
        if place.what == "rotations":
            return self.rng.integers(0, self.rotations + 1, 1)
        if place.what in {"q", "p", "j"}:
            return self.rng.integers(ask.lowest, ask.highest + 1, 1)
        return np.clip(self._from_rows(ask), ask.lowest, ask.highest)

    def integers(self, place: Place, ask: Ask) -> Ints:
        n = len(ask.rows)
        if self.style == "rows":
            values = ask.base + (self._from_rows(ask) << ask.bits)
            values += self.rng.integers(0, 1 << ask.bits)
        else:
            scale = self.scale * (self.rng.random(n) < 0.3)
            if self.style == "large":
                scale = scale * self.rng.choice([1, 1e3, 1e6], n, p=[0.9, 0.08, 0.02])
            values = np.rint(self.rng.laplace(0, 1, n) * scale).astype(np.int64)
        limit, reach = self._limit(place), ask.highest << ask.bits
        return np.clip(
            values, np.maximum(-limit, ask.base - reach), np.minimum(limit, ask.base + reach)
        )

    def _limit(self, place: Place) -> int:
        """Largest integer whose DN is surely below 2^22; of the low-pass, of a residual."""
        step = step_of(self.setting.r, place.level, place.orientation)
        digits = 4 if self.setting.model == "flextec" else 0
        limit = ((1 << 22) * 16 // step >> digits) - 3
        if place.level == LOWPASS:
            limit //= 4 + sum(self.setting.shape[2:]) // 16
        return max(limit, 1)

    def _from_rows(self, ask: Ask) -> Ints:
        slots = self.rng.integers(0, 1 << 16, len(ask.rows)).tolist()
        found = []
        for slot, row in zip(slots, ask.rows.tolist(), strict=True):
            value = drawn(slot, ask.table[row])
            if value is None:
                bounds, minimum = ask.table[row]
                distance = int(self.rng.geometric(0.2))
                up = self.rng.random() < 0.5
                value = minimum + len(bounds) - 3 + distance if up else minimum - distance
            found.append(value)
        return np.array(found, np.int64)


def random_layout(rng: np.random.Generator, C: int) -> Layout:
    allowed = rng.choice(4, rng.integers(1, 5), replace=False)
    classes = tuple(int(n) for n in rng.choice(allowed, C))
    phases = [(0, 0)] * 4
    for number in set(classes) - {0}:
        row, column = rng.integers(0, FACTORS[number], 2)
        phases[number] = int(row), int(column)
    return Layout(classes, tuple(phases))


def random_setting(rng: np.random.Generator, model: str, most: int = 40) -> Setting:
    """Random parameters of a chunk whose sides are at most so long."""
    sensor = str(rng.choice(["sentinel-2-l2a", "sentinel-2-l1c"]))
    known = 12 if sensor == "sentinel-2-l2a" else 13
    C = int(rng.choice([1, 2, 3, 4, known]))
    T = int(rng.choice([1, 1, 2, 3]))
    if model == "tt" and rng.random() < 0.2:  # more candidates than a reference is made from
        T, C, most = int(rng.integers(9, 12)), min(C, 3), min(most, 6)
    H, W = (int(n) for n in rng.integers(1, most + 1, 2))
    few = np.random.default_rng(rng.integers(0, 8))  # few sets: eigenvectors take their time
    bands = tuple(sorted(int(b) for b in few.choice(known, C, replace=False)))
    r = int(rng.choice([0, rng.integers(1, 224), rng.integers(60, 160)]))
    quality = int(rng.integers(0, 17)) if model == "flextec" else 0
    return Setting((T, C, H, W), sensor, bands, model, r, quality)


def random_section(
    rng: np.random.Generator,
    model: str,
    weights: Weights,
    most: int = 40,
    *,
    setting: Setting | None = None,
) -> Written:
    """A random valid section 2 of a chunk, what its header says, and what is in it.

    Sides are at most `most` long, if no header is given.
    """
    setting = random_setting(rng, model, most) if setting is None else setting
    T, C = setting.shape[:2]
    dates = list(range(T))
    if T > 1 and rng.random() < 0.4:
        dates = sorted(rng.choice(T, rng.integers(1, T), replace=False).tolist())
    kind = int(rng.integers(0, 3))
    plain = Layout((0,) * C)
    few = [random_layout(rng, C) for _ in range(2)]
    layouts = {
        0: [plain] * len(dates),
        1: few[:1] * len(dates),
        2: [few[rng.integers(0, 2)] if rng.random() < 0.8 else plain for _ in dates],
    }[kind]
    entries = len(weights.tensor(f"codebook.{setting.sensor}"))
    choosers = [RandomChooser(rng, setting, min(entries, 16)) for _ in dates]
    return write_section(
        setting, weights, choosers, layouts, dates, lists=bool(rng.random() < 0.5), each=kind == 2
    )

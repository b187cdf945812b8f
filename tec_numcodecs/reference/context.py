"""Sections 10 and 11 of FORMAT.md: mini elic and mini tt.

Written from FORMAT.md alone, with its names.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.reference.features import (
    Companding,
    Key,
    Network,
    Surroundings,
    around,
    rounded,
    row_of,
    small,
)
from tec_numcodecs.reference.fp import PlaneDecoder, Table, read_entries, undo_prediction
from tec_numcodecs.reference.rans import Ints, RansDecoder, require
from tec_numcodecs.reference.transform import (
    GAINS,
    LARGEST,
    LOWPASS,
    Setting,
    Spectra,
    Weights,
    add_details,
    dequantise,
    sizes_of,
    step_of,
    tensor,
    to_dn,
)

PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))  # parity of the row, of the column
WAVELENGTHS = {
    "sentinel-2-l2a": (443, 492, 560, 665, 704, 740, 783, 833, 865, 945, 1614, 2202),
    "sentinel-2-l1c": (443, 492, 560, 665, 704, 740, 783, 833, 865, 945, 1374, 1614, 2202),
}
LATEST = 8  # dates that a reference is made from


# ---------------------------------------------------- 10.1 Signs, 10.2 The image under a level


class Planes(NamedTuple):
    """What one level adds to: P (T, C, h, w), and its details (T, C, 3, h, w), both in bands."""

    P: Ints
    details: Ints


class Image:
    """The transform of section 9.1 with the signs of 10.1, level by level."""

    def __init__(self, setting: Setting, weights: Weights) -> None:
        self.setting = setting
        self.sizes = sizes_of(*setting.shape[2:])
        self.spectra = Spectra(setting, weights)
        self.wavelengths = np.array(WAVELENGTHS[setting.sensor])[setting.bands]
        self.known: dict[tuple[int, int], tuple[Ints, Ints]] = {}

    def signs(self, entry: int, level: int) -> tuple[Ints, Ints]:
        """u (C,) and R (C, C)."""
        key = entry, level
        if key not in self.known:
            V, lifting = self.spectra.get(entry, level)
            r = np.rint(V * (1 << 12)).astype(np.int64)
            forward = np.stack([lifting.forward(row)[k] for k, row in enumerate(r)])
            t = np.where(forward < 0, -1, 1)[:, None]
            colour = np.rint(V * t * (1 << 20)).astype(np.int64) @ self.wavelengths
            u = np.where(colour < 0, -1, 1)
            self.known[key] = u, u[:, None] * np.rint(V * t * (1 << 12)).astype(np.int64)
        return self.known[key]

    def to_bands(self, planes: Ints, entries: Ints, level: int) -> Ints:
        """Signed components (T, C, ...) of one level to bands; entries (T, 6)."""
        u = np.stack([self.signs(entry, level)[0] for entry in entries[:, level].tolist()])
        u = u.reshape(*u.shape, *(1,) * (planes.ndim - 2))
        return self.spectra.to_bands(planes * u, entries[:, level], level)

    def project(self, bands: Ints, entries: Ints, level: int, step: int, limit: int) -> Ints:
        """Bands (T, C, ...) to components in eighths of a step, limited."""
        R = [self.signs(entry, level)[1] for entry in entries[:, level].tolist()]
        z = np.stack([np.tensordot(r, date, 1) for r, date in zip(R, bands, strict=True)])
        return np.clip(rounded(z * (128 / (4096 * step))), -limit, limit)

    def finer(self, x: Ints, details: Ints, level: int) -> Ints:
        """P of the next finer level (or the bands, of level 0) from P and details of a level."""
        return add_details(x, details, *self.sizes[level])


class Place(NamedTuple):
    """The coefficients of one phase of a plane that lie in blocks with flag 1."""

    level: int
    component: int
    orientation: int
    part: Any  # a slice of the plane
    coded: NDArray[np.bool_]  # in the part

    def of(self, plane: Any) -> Any:
        """Values of a plane (T, h, w, ...) there."""
        return plane[self.part][self.coded]


class ContextDecoder(PlaneDecoder):
    """Decodes planes as sections 9.4 and 10 say: of all dates, or of one date of mini tt."""

    networks = "elic"

    def __init__(self, rans: RansDecoder, image: Image, weights: Weights, r: int) -> None:
        super().__init__(rans, weights, r, image.setting.shape[1])
        self.image, self.r, self.file = image, r, weights
        self.compand = Companding(weights)
        self.rows = Table(weights, "tables")
        self.offsets = tensor(weights, "offsets")
        self.made: dict[tuple[str, int, int], Network] = {}
        self.surroundings: Surroundings | None = None
        self.magnitudes: dict[Key, Ints] = {}  # m and a of the level before, for section 9.5

    def step(self, level: int, orientation: int = 0) -> int:
        return step_of(self.image.setting.r, GAINS[level][orientation])

    def read_lowpass(self, T: int) -> Ints:
        """Decode the low-pass: integers (T, C, h, w)."""
        shape = T, self.shifts.shape[1], 1, *self.image.sizes[LOWPASS]
        return undo_prediction(self.level(LOWPASS, shape, {})[0][:, :, 0])

    def read_level(
        self, level: int, P: Ints, entries: Ints, reference: Planes | None
    ) -> tuple[Ints, Ints]:
        """Decode a level: its coefficients and its details in bands, both (T, C, 3, h, w)."""

        def project(bands: Ints, orientation: int, limit: int) -> Ints:
            step = self.step(level, orientation)
            return self.image.project(bands, entries, level, step, limit)

        L, compared = project(P, 0, 1 << 24), None
        if reference is not None:
            held = [project(reference.details[:, :, i], i, 1 << 16) for i in range(3)]
            compared = np.stack(held, 2), L - project(reference.P, 0, 1 << 24)
        coarser = {} if self.surroundings is None or level == 4 else self.surroundings.q
        self.surroundings = Surroundings(self.compand, coarser, L, compared)
        parents = {} if level == 4 else self.magnitudes
        T, C, h, w = P.shape
        q, o, self.magnitudes = self.level(level, (T, C, 3, h, w), parents)
        dn = np.stack([self.to_dn(level, i, q[:, :, i], o[:, :, i]) for i in range(3)], 2)
        return q, self.image.to_bands(dn, entries, level)

    def to_dn(self, level: int, orientation: int, q: Ints, o: Ints) -> Ints:
        """DN of coefficients."""
        step = self.step(level, orientation)
        dn = q if step == 16 else ((64 * q + o) * step + 512) >> 10
        require((np.abs(dn) <= LARGEST).all(), "a coefficient above 2^22")
        return dn

    def plane(self, level: int, c: int, orientation: int, features: Ints) -> tuple[Ints, Ints]:
        """Decode one plane of all dates: integers and o of section 10.5 (T, h, w)."""
        if self.surroundings is None or level == LOWPASS:
            return super().plane(level, c, orientation, features)
        here = self.surroundings
        q = here.begin(c, orientation)  # what is decoded appears in it
        o = np.zeros_like(q)
        E, flags, coded = self.blocks(level, c, orientation, features)
        s = int(self.shifts[level, c, orientation])
        still = here.still_features(c, orientation, E, s, flags)
        if here.held is not None:
            still = chain(still, self.reference_features(here, level, c, orientation))
        first = small(still)
        for phase, (y, x) in enumerate(PHASES):
            place = Place(level, c, orientation, np.s_[:, y::2, x::2], coded[:, y::2, x::2])
            if not place.coded.any():
                continue
            rest = small(here.moving_features(q))
            seen = np.concatenate([place.of(first), place.of(rest)], 1)
            s3 = self.network(level, orientation)(seen, c, phase, self.r)
            M = np.clip(rounded(s3[:, 0] / 32), -240, 240)
            A = rounded(s3[:, 1] / 64) + seen[:, 0]
            B = np.clip(rounded((s3[:, 2] * 7).astype(np.float32) / 512), 0, 7)
            if here.held is not None:
                a = np.clip(rounded(s3[:, 3] / 8), -64, 64)
                M += rounded(a * place.of(here.held[:, c, orientation]) / 32)
            values = self.coefficients(place, M, A, B)
            for found, value in zip((q, o), values, strict=True):
                found[place.part][place.coded] = value
        return q, o

    def reference_features(
        self,
        here: Surroundings,
        level: int,  # noqa: ARG002  (mini flextec looks there)
        c: int,
        orientation: int,
    ) -> Iterator[Ints]:
        """The seven features of a reference, planes (T, h, w)."""
        return here.reference_features(c, orientation)

    def network(self, level: int, orientation: int) -> Network:
        key = self.networks, level, orientation
        if key not in self.made:
            self.made[key] = Network(self.file, f"{key[0]}.{level}.{orientation}")
        return self.made[key]

    def coefficients(
        self,
        place: Place,  # noqa: ARG002  (mini flextec looks there)
        M: Ints,
        A: Ints,
        B: Ints,
    ) -> tuple[Ints, Ints]:
        """Decode the coefficients of a phase: q and o."""
        A = np.clip(A, -36, 104)
        base = (M + 8) >> 4
        raw = np.where(A < 32, 0, (A - 32) // 8 + 1)
        rows = row_of(A - 8 * raw, B, M - 16 * base + 8)
        symbols = self.rans.pull(rows, self.rows)
        require((np.abs(symbols) <= 1 << 21).all(), "a symbol above 2^21")
        low = np.zeros_like(symbols)
        low[raw > 0] = [self.rans.raw(bits) for bits in raw[raw > 0].tolist()]
        residual = (symbols << raw) + low - (1 << raw >> 1)  # q - base
        o = np.where(raw > 0, 0, self.offsets[rows, np.clip(residual, -3, 3) + 3])
        return base + residual, o


# ------------------------------------------------------------------------------- 11. Mini tt


class _DateDecoder(ContextDecoder):
    """Decodes one date after another."""

    date_before: Ints | None = None  # its shifts

    def shift(self, level: int, c: int, orientation: int) -> int:
        if self.date_before is None:
            return super().shift(level, c, orientation)
        return self.shift_after(self.date_before[level, c, orientation])


def _reference(past: list[Planes], P: Ints) -> Planes:
    """The reference at a level: each place takes the most similar of the latest dates."""
    costs = []
    for planes in past:
        difference = np.abs(planes.P - P).sum(1)  # (1, h, w)
        costs.append(np.sum(around(difference, "edge"), (0, 1)))
    best = np.argmin(costs, 0)[:, None]  # (1, 1, h, w)
    P_of, details_of = (np.stack(arrays) for arrays in zip(*past, strict=True))
    return Planes(
        np.take_along_axis(P_of, best[None], 0)[0],
        np.take_along_axis(details_of, best[None, :, None], 0)[0],
    )


# ----------------------------------------------------------------------------- Whole chunks


def _read_planes(
    decoder: ContextDecoder, entries: Ints, past: list[dict[int, Planes]]
) -> tuple[dict[int, Planes], list[Ints], Ints]:
    """Decode dates side by side: planes of each level, integers in order, bands (T, C, H, W)."""
    integers = [decoder.read_lowpass(len(entries))]
    image, planes = decoder.image, {}
    x = image.to_bands(dequantise(integers[0], 0, decoder.step(LOWPASS)), entries, LOWPASS)
    for level in (4, 3, 2, 1, 0):
        reference = _reference([date[level] for date in past], x) if past else None
        q, details = decoder.read_level(level, x, entries, reference)
        planes[level] = Planes(x, details)
        integers.append(q)
        x = image.finer(x, details, level)
    return planes, integers, x


def flat(arrays: list[Ints]) -> NDArray[np.int32]:
    """All integers in the order of their checksum."""
    return np.concatenate([array.ravel() for array in arrays]).astype("<i4")


def decode_elic(data: bytes, setting: Setting, weights: Weights) -> tuple[Ints, NDArray[np.int32]]:
    """Decode section 2 of a chunk of mini elic.

    Returns digital numbers (T, C, H, W) and the integers in the order of their checksum.

    Raises
    ------
    CorruptChunk
        If the stream is damaged.
    WeightsError
        If a tensor is missing, or sums of a network are too large.
    """
    rans = RansDecoder(data)
    decoder = ContextDecoder(rans, Image(setting, weights), weights, setting.r)
    entries = read_entries(rans, setting, weights)
    _, integers, x = _read_planes(decoder, entries, [])
    rans.finish()
    return to_dn(x, setting), flat([entries, decoder.shifts, *integers])


def decode_tt(data: bytes, setting: Setting, weights: Weights) -> tuple[Ints, NDArray[np.int32]]:
    """Decode section 2 of a chunk of mini tt; all else as for `decode_elic`."""
    rans = RansDecoder(data)
    decoder = _DateDecoder(rans, Image(setting, weights), weights, setting.r)
    entries = read_entries(rans, setting, weights)
    past: list[dict[int, Planes]] = []
    references, shifts, dates, images = [], [], [], []
    for t in range(len(entries)):
        references.append(rans.raw(1) if t else 0)
        decoder.networks = "tt" if references[t] else "elic"
        planes, integers, x = _read_planes(
            decoder, entries[t : t + 1], past if references[t] else []
        )
        past = [*past, planes][-LATEST:]
        decoder.date_before = decoder.shifts.copy()
        shifts.append(decoder.date_before)
        dates.append(integers)
        images.append(x)
    rans.finish()
    levels = [np.concatenate(arrays) for arrays in zip(*dates, strict=True)]
    head = [entries, np.array(references), np.stack(shifts)]
    return to_dn(np.concatenate(images), setting), flat([*head, *levels])

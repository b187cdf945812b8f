"""Sections 10 and 11 of FORMAT.md for :mod:`tec_numcodecs.reference`: mini elic and mini tt.

Written from FORMAT.md alone, with its names. Networks are products of whole numbers (and of those
divided by powers of two) in binary64, which are exact; everything else is integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.errors import WeightsError
from tec_numcodecs.reference_fp import PlaneDecoder, Table, read_entries, spread, undo_prediction
from tec_numcodecs.reference_rans import Ints, RansDecoder, require
from tec_numcodecs.reference_transform import (
    GAINS,
    LARGEST,
    LOWPASS,
    Floats,
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

Features = NDArray[np.int8]
Key = tuple[int, int]  # component, orientation

PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))  # parity of the row, of the column
WAVELENGTHS = {
    "sentinel-2-l2a": (443, 492, 560, 665, 704, 740, 783, 833, 865, 945, 1614, 2202),
    "sentinel-2-l1c": (443, 492, 560, 665, 704, 740, 783, 833, 865, 945, 1374, 1614, 2202),
}
LATEST = 8  # dates that a reference is made from
BATCH = 1 << 14  # coefficients that a network sees at once


def rounded(x: Any) -> Ints:
    """floor(x + 1/2)."""
    return np.floor(np.asarray(x) + 0.5).astype(np.int64)


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


# ---------------------------------------------------------------------------- 10.3 Features


def around(a: Ints, mode: Any = "constant") -> list[list[Ints]]:
    """Nine planes (T, h, w): [y][x] is the neighbour y - 1 below and x - 1 to the right."""
    h, w = a.shape[-2:]
    padded = np.pad(a, ((0, 0), (1, 1), (1, 1)), mode)
    return [[padded[:, y : y + h, x : x + w] for x in range(3)] for y in range(3)]


def sums(m: Ints) -> tuple[Ints, Ints, Ints]:
    """m, and D and X: its sums over the direct and over the diagonal neighbours."""
    n = around(m)
    return m, n[0][1] + n[1][0] + n[1][2] + n[2][1], n[0][0] + n[0][2] + n[2][0] + n[2][2]


def _small(planes: Iterator[Ints]) -> Features:
    """Features (T, h, w, number) that are computed one by one: together they would be large."""
    return np.stack([plane.astype(np.int8) for plane in planes], -1)


class _Companding:
    """c and h, plain or with the sign of their argument, and the entries of `features.scales`."""

    def __init__(self, weights: Weights) -> None:
        self.integers = tensor(weights, "features.integers")
        self.eighths = tensor(weights, "features.eighths")
        self.scales = tensor(weights, "features.scales")

    def c(self, x: Ints) -> Ints:
        return self.integers[np.minimum(np.abs(x), 1023)]

    def c_signed(self, x: Ints) -> Ints:
        return np.sign(x) * self.c(x)

    def h(self, x: Ints) -> Ints:
        return self.eighths[np.minimum(np.abs(x), 8191)]

    def h_signed(self, x: Ints) -> Ints:
        return np.sign(x) * self.h(x)


# ----------------------------------------------------------------------------- 10.4 Network


class _Network:
    """The network of a level and orientation."""

    def __init__(self, weights: Weights, name: str) -> None:
        def layer(part: str) -> Floats:
            shift = tensor(weights, f"{name}.{part}.shift")
            return tensor(weights, f"{name}.{part}") * 2.0**-shift

        self.first, self.second, self.out = layer("first"), layer("second"), layer("out")
        self.component, self.phase, self.rate, self.second_bias, self.out_bias = (
            tensor(weights, f"{name}.{part}")
            for part in ("component", "phase", "rate", "second.bias", "out.bias")
        )
        added = sum(np.abs(x).max(0) for x in (self.component, self.phase, self.rate))
        for W, most, bias in (
            (32 * self.first, 127, added),
            (16 * self.second, 255, np.abs(self.second_bias)),
            (16 * self.out, 255, np.abs(self.out_bias)),
        ):
            # The finest unit of a sum: W is whole numbers of it.
            unit = np.array([_lowest_bit(column) for column in W.T])
            if ((most * np.abs(W).sum(0) + bias) / unit > 1 << 24).any():
                raise WeightsError(f"network {name} with large sums", allowed="exact in binary32")

    def __call__(self, features: Features, k: int, phase: int, r: int) -> Floats:
        """s3 (n, 3 or 4) of features (n, 51 or 58)."""
        found = []
        for start in range(0, len(features), BATCH):
            x = features[start : start + BATCH].astype(np.float64)
            s1 = 32 * x @ self.first + (self.component[k] + self.phase[phase] + self.rate[r])
            a1 = np.clip(np.floor(s1 / 16 + 0.5), 0, 255)
            a2 = np.clip(np.floor((16 * a1 @ self.second + self.second_bias) / 16 + 0.5), 0, 255)
            found.append(16 * a2 @ self.out + self.out_bias)
        return np.concatenate(found)


def _lowest_bit(values: Floats) -> float:
    """The largest power of two, at most 1, that all values are whole multiples of."""
    unit = 1.0
    while (values % unit).any():
        unit /= 2
    return unit


# -------------------------------------------------------------------------------- 10.5 Rows

_SCALES = np.arange(-36, 32)
_MERGED = np.where(_SCALES < 0, 0, _SCALES // 8 + 1)  # g of each A'
_STARTS = np.concatenate([[0], np.cumsum(8 * (16 >> _MERGED))])  # first row of each A'
N = int(_STARTS[-1])


def row_of(A: Ints, B: Ints, part: Ints) -> Ints:
    """The row of A' = A (-36 to 31), B and the part."""
    g = _MERGED[A + 36]
    return _STARTS[A + 36] + B * (16 >> g) + (part >> g)


class ContextDecoder(PlaneDecoder):
    """Decodes planes as sections 9.4 and 10 say: of all dates, or of one date of mini tt."""

    networks = "elic"
    first_phase = 0  # row of `phase` for the first of four

    def __init__(self, rans: RansDecoder, image: Image, weights: Weights, r: int) -> None:
        super().__init__(rans, weights, r, image.setting.shape[1])
        self.image, self.r, self.file = image, r, weights
        self.compand = _Companding(weights)
        self.rows = Table(weights, "tables")
        self.offsets = tensor(weights, "offsets")
        self.made: dict[tuple[str, int, int], _Network] = {}
        self.q: dict[Key, Ints] = {}  # signed coefficients (T, h, w) of this level
        self.coarser: dict[Key, Ints] = {}  # those of the next coarser one
        self.magnitudes: dict[Key, Ints] = {}  # its m and a, for section 9.5

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

        self.coarser, self.q = ({} if level == 4 else self.q), {}
        self.L = project(P, 0, 1 << 24)
        self.O = None
        if reference is not None:
            O = [project(reference.details[:, :, i], i, 1 << 16) for i in range(3)]
            self.O, self.G = np.stack(O, 2), self.L - project(reference.P, 0, 1 << 24)
        T, C, h, w = P.shape
        if self.coarser:
            parents_of = [[self.coarser[c, i] for c in range(C)] for i in range(3)]
            self.coarser_sums = np.abs(parents_of).sum(1)  # (3, T, ...)
        self.before = np.zeros((3, T, h, w), np.int64)
        parents = {} if level == 4 else self.magnitudes
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
        if level == LOWPASS:
            return super().plane(level, c, orientation, features)
        if orientation == 0 and c:
            self.before += np.abs([self.q[c - 1, i] for i in range(3)])
        E, flags, coded = self.blocks(level, c, orientation, features)
        still = _small(self.still_features(level, c, orientation, E, flags))
        q, o = np.zeros_like(E), np.zeros_like(E)
        self.q[c, orientation] = q
        for phase, (y, x) in enumerate(PHASES):
            place = Place(level, c, orientation, np.s_[:, y::2, x::2], coded[:, y::2, x::2])
            if not place.coded.any():
                continue
            moving = _small(self.moving_features(q))
            seen = np.concatenate([place.of(still), place.of(moving)], 1)
            s3 = self.network(level, orientation)(seen, c, self.first_phase + phase, self.r)
            M = np.clip(rounded(s3[:, 0] / 32), -240, 240)
            A = rounded(s3[:, 1] / 64) + seen[:, 0]
            B = np.clip(rounded((s3[:, 2] * 7).astype(np.float32) / 512), 0, 7)
            if self.O is not None:
                a = np.clip(rounded(s3[:, 3] / 8), -64, 64)
                M += rounded(a * place.of(self.O[:, c, orientation]) / 32)
            values = self.coefficients(place, M, A, B)
            for found, value in zip((q, o), values, strict=True):
                found[place.part][place.coded] = value
        return q, o

    def network(self, level: int, orientation: int) -> _Network:
        key = self.networks, level, orientation
        if key not in self.made:
            self.made[key] = _Network(self.file, f"{key[0]}.{level}.{orientation}")
        return self.made[key]

    def coefficients(self, place: Place, M: Ints, A: Ints, B: Ints) -> tuple[Ints, Ints]:
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

    # -- 10.3 Features

    def still_features(
        self, level: int, k: int, orientation: int, E: Ints, flags: Ints
    ) -> Iterator[Ints]:
        """Those that are known before the plane's coefficients: 46 or 53 planes (T, h, w)."""
        c, c_signed = self.compand.c, self.compand.c_signed
        nothing = np.zeros_like(E)

        def of(component: int, i: int) -> Ints:
            return self.q.get((component, i), nothing)

        yield np.searchsorted(self.compand.scales, E, "right") - 64
        yield np.full_like(E, 4 * self.shifts[level, k, orientation])
        for i in (0, 1):  # (k, i) is there only if it comes before this plane
            yield from map(c, sums(np.abs(of(k, i))))
        for component in (k - 1, k - 2):
            q = of(component, orientation)
            yield from map(c, sums(np.abs(q)))
            yield c_signed(q)
        yield c_signed(of(k - 3, orientation))
        for m in self.before:
            yield from map(c, sums(m))
        yield from self.parent_features(k, orientation, E.shape)
        yield from self.image_features(self.L[:, k])
        yield 16 * (spread(sums(flags)[1], 8, E.shape) - 2)
        if self.networks != "elic":
            yield from self.reference_features(k, orientation, nothing)

    def parent_features(self, k: int, orientation: int, shape: tuple[int, ...]) -> Iterator[Ints]:
        """Numbers 27 to 34."""
        if not self.coarser:
            yield from [np.zeros(shape, np.int64)] * 8
            return
        c, q = self.compand.c, self.coarser[k, orientation]

        def up(plane: Ints) -> Ints:
            return spread(plane, 2, shape)

        n = around(np.abs(q))
        y_even, x_even = (np.arange(size) % 2 == 0 for size in shape[1:])
        yield from (up(c(plane)) for plane in sums(np.abs(q)))
        yield np.where(y_even[:, None], up(c(n[0][1])), up(c(n[2][1])))
        yield np.where(x_even, up(c(n[1][0])), up(c(n[1][2])))
        yield up(self.compand.c_signed(q))
        yield up(c(self.coarser_sums[orientation]))
        yield up(c(self.coarser_sums.sum(0)))

    def image_features(self, L: Ints) -> Iterator[Ints]:
        """Numbers 35 to 45, of one component (T, h, w)."""
        n = around(L, "edge")
        for difference in (
            n[1][0] + n[1][2] - 2 * L,
            n[0][1] + n[2][1] - 2 * L,
            n[1][2] - n[1][0],
            n[2][1] - n[0][1],
            n[2][2] - n[2][0] - n[0][2] + n[0][0],
        ):
            yield self.compand.h(difference)
            yield self.compand.h_signed(difference)
        yield np.sign(L) * self.compand.c(np.abs(L) >> 8)

    def reference_features(self, k: int, orientation: int, nothing: Ints) -> Iterator[Ints]:
        """The seven of section 11, between numbers 46 and 47."""
        if self.O is None:
            yield from [nothing] * 7
            return
        h, h_signed = self.compand.h, self.compand.h_signed
        O, G = self.O[:, k, orientation], self.G[:, k]
        yield h(O)
        yield h_signed(O)
        yield from map(h, sums(np.abs(O))[1:])
        yield h(G)
        yield h_signed(G)
        n = around(G, "edge")
        yield h(np.abs(n[1][2] - n[1][0]) + np.abs(n[2][1] - n[0][1]))

    def moving_features(self, q: Ints) -> Iterator[Ints]:
        """Those of what is there of the plane itself, numbers 47 to 51."""
        c, c_signed, n, m = self.compand.c, self.compand.c_signed, around(q), around(np.abs(q))
        yield c(m[1][0] + m[1][2])
        yield c(m[0][1] + m[2][1])
        yield c(sums(np.abs(q))[2])
        yield c_signed(n[1][0] + n[1][2])
        yield c_signed(n[0][1] + n[2][1])


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
        costs.append(sum(n for row in around(difference, "edge") for n in row))
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

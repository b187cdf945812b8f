"""Sections 10 and 11 of FORMAT.md: the walk over a date of mini elic and mini tt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tec_numcodecs.reference2.coder import Coder, Place, Weights, raw
from tec_numcodecs.reference2.features import (
    Companding,
    Network,
    Planes,
    Surroundings,
    rounded,
    row_of,
)
from tec_numcodecs.reference2.fp import DateWalk, around
from tec_numcodecs.reference2.layout import Layout, Setting
from tec_numcodecs.reference2.rans import Ints
from tec_numcodecs.reference2.spectrum import Spectrum
from tec_numcodecs.reference2.transform import Picture, checked, step_of

PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))  # parity of the row, of the column
LATEST = 8  # dates before that a reference may be made from


class Reference(NamedTuple):
    """What one level adds to: P (n, h, w), and its details HL, LH, HH (n, h, w), in bands."""

    P: Ints
    details: list[Ints]


class ContextWalk(DateWalk):
    """The symbols of one date of mini elic."""

    networks = "elic"

    def __init__(
        self, coder: Coder, weights: Weights, setting: Setting, layout: Layout, *, lists: bool
    ) -> None:
        super().__init__(coder, weights, setting, layout, lists=lists)
        self.r = setting.r  # that networks are told
        self.compand = Companding(weights)
        self.rows = weights.table("tables")
        self.q: Planes = {}
        self.n = [len(layout.bands(level)) for level in range(5)]
        self.surroundings: Surroundings | None = None
        self.known: dict[int, Reference] = {}  # each level as it was reconstructed

    def step(self, level: int, i: int) -> int:
        return step_of(self.setting.r, level, i)

    def to_bands(self, spectrum: Spectrum, components: Ints) -> Ints:
        return spectrum.inverse(components * spectrum.u[:, None, None])

    def lowpass(self) -> Ints:
        found = super().lowpass()
        self.picture = Picture(self.setting, self.layout, self.grid, found)
        return found

    def reference(self, level: int, P: Ints) -> Reference | None:  # noqa: ARG002
        """The reference at a level; there is none."""
        return None

    def details(self, level: int) -> list[Ints]:
        """Code a level, given the image under it."""
        self.surroundings = None
        found = super().details(level)
        self.known[level] = Reference(self.picture.next, found)
        self.picture.add(found)
        return found

    def project(self, level: int, bands: Ints, i: int, limit: int) -> Ints:
        """Bands to components in eighths of a step, limited."""
        z = np.tensordot(self.spectra[level].R, bands, 1)
        f = 128 / (4096 * self.step(level, i))
        return np.clip(rounded(z * f), -limit, limit)

    def around_level(self, level: int) -> Surroundings:
        """Everything around the coefficients of a level."""
        P = self.picture.next
        L = self.project(level, P, 0, 1 << 24)
        here = Surroundings(self.compand, self.grid, level, self.q, self.n, L)
        reference = self.reference(level, P)
        if reference is not None:
            here.held = [
                self.project(level, details, i, 1 << 16)
                for i, details in enumerate(reference.details)
            ]
            here.gap = L - self.project(level, reference.P, 0, 1 << 24)
        return here

    def detail(self, level: int, k: int, i: int) -> Ints:
        """Code a plane of details, phase by phase; in DN (h, w)."""
        if self.surroundings is None:  # the first plane of a level, whose spectrum is known now
            self.surroundings = self.around_level(level)
        here = self.surroundings
        E, flags, coded = self.blocks(level, k, i)
        q, o = np.zeros_like(E), np.zeros_like(E)
        features = [*here.still_features(k, i, E, self.shifts[level, k, i], flags)]
        if here.held is not None:
            features += self.reference_features(here, k, i)
        still = np.stack(features, -1)
        for phase, (y, x) in enumerate(PHASES):
            at = np.zeros_like(coded)
            at[y::2, x::2] = coded[y::2, x::2]
            if not at.any():
                continue
            moving = np.stack([*here.moving_features(q)], -1)
            seen = np.concatenate([still[at], moving[at]], 1)
            s3 = self.network(level, i)(seen, k, phase, self.r)
            M = np.clip(rounded(s3[:, 0] / 32), -240, 240)
            A = rounded(s3[:, 1] / 64) + seen[:, 0]
            B = np.clip(rounded((s3[:, 2] * 7).astype(np.float32) / np.float32(512)), 0, 7)
            if here.held is not None:
                a = np.clip(rounded(s3[:, 3] / 8), -64, 64)
                M += rounded(a * here.held[i][k][at] / 32)
            q[at], o[at] = self.coefficients(Place("integers", level, k, i, at), M, A, B)
            self.log.append(q[at])
        self.q[level, k, i] = q
        self.remember(level, k, i, q)
        step = self.step(level, i)
        return checked(q if step == 16 else ((64 * q + o) * step + 512) >> 10)

    def reference_features(self, here: Surroundings, k: int, i: int) -> Iterator[Ints]:
        """The seven features of a reference, planes (h, w)."""
        return here.reference_features(k, i)

    def network(self, level: int, i: int) -> Network:
        return network_of(self.weights, f"{self.networks}.{level}.{i}")

    def offsets(self, row: Ints, difference: Ints, bits: Ints, q: Ints) -> Ints:  # noqa: ARG002
        """o of 10.5; `difference` is q - base."""
        o = self.weights.tensor("offsets")[row, np.clip(difference, -3, 3) + 3]
        return np.where(bits > 0, 0, o)

    def coefficients(self, place: Place, M: Ints, A: Ints, B: Ints) -> tuple[Ints, Ints]:
        """Code the coefficients of a phase: q and o (section 10.5)."""
        A = np.clip(A, -36, 104)
        base = (M + 8) >> 4
        bits = np.where(A < 32, 0, (A - 32) // 8 + 1)
        rows = row_of(A - 8 * bits, B, M - 16 * base + 8)
        h = (1 << bits) >> 1
        q = self.coder.integers(place, rows, self.rows, base - h, bits, 1 << 21)
        return q, self.offsets(rows, q - base, bits, q)


def network_of(weights: Weights, name: str) -> Network:
    """A network, made once."""
    key = "network", name
    if key not in weights.made:
        weights.made[key] = Network(weights, name)
    return weights.made[key]


# ------------------------------------------------------------------------------- 11. Mini tt


class TemporalWalk(ContextWalk):
    """The symbols of one date of mini tt; `past` are its candidates, the latest one last."""

    def __init__(
        self,
        coder: Coder,
        weights: Weights,
        setting: Setting,
        layout: Layout,
        *,
        lists: bool,
        past: Sequence[ContextWalk],
    ) -> None:
        super().__init__(coder, weights, setting, layout, lists=lists)
        self.past = past
        self.referring = 0

    def begin(self) -> None:
        """Code whether there is a reference."""
        if self.past:
            self.referring = raw(self.coder, Place("reference"), 1)
            self.log.append(np.array([self.referring]))
        self.networks = "tt" if self.referring else "elic"

    def shift(self, level: int, k: int, i: int) -> int:
        if not self.past:
            return super().shift(level, k, i)
        return self.shift_after(level, k, i, self.past[-1].shifts[level, k, i])

    def reference(self, level: int, P: Ints) -> Reference | None:
        """Each place takes the most similar of the latest dates."""
        if not self.referring:
            return None
        known = [walk.known[level] for walk in self.past]
        costs = []
        for candidate in known:
            n = around(np.abs(candidate.P - P).sum(0), repeat=True)
            costs.append(np.sum(n, (0, 1)))
        best = np.argmin(np.stack(costs), 0)  # (h, w)

        def chosen(planes: list[Ints]) -> Ints:
            stacked = np.stack(planes)
            own = best[None, None, : stacked.shape[-2], : stacked.shape[-1]]
            return np.take_along_axis(stacked, own, 0)[0]

        details = [chosen([candidate.details[i] for candidate in known]) for i in range(3)]
        return Reference(chosen([candidate.P for candidate in known]), details)

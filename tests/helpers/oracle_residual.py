"""A writer of section 3, residuals of version 2, beside `oracle_writer`."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from oracle_writer import Ask, Writer, varint
from tec_numcodecs.reference2.coder import Place
from tec_numcodecs.reference2.fp import fit
from tec_numcodecs.reference2.layout import Layout
from tec_numcodecs.reference2.rans import Ints
from tec_numcodecs.reference2.samples import code_date


class ResidualChooser:
    """Codes given integers, in classes that tell their size; some zeros lie in other classes."""

    def __init__(self, natives: Sequence[Ints], spare: np.random.Generator | None = None) -> None:
        self.natives, self.spare = natives, spare

    def raws(self, place: Place, bits: Ints) -> Ints:
        raise NotImplementedError(place.what, bits)

    def integers(self, place: Place, ask: Ask) -> Ints:
        raise NotImplementedError(place.what, ask)

    def symbols(self, place: Place, ask: Ask) -> Ints:
        q = self.natives[place.component]
        if place.what == "residuals":
            return q[place.at]
        h, w = (-(-n // 8) for n in q.shape)
        blocks = fit(np.abs(q), (8 * h, 8 * w)).reshape(h, 8, w, 8).max((1, 3))
        classes = np.minimum(4 * np.ceil(np.log2(blocks + 1)), ask.highest).astype(np.int64)
        if self.spare is not None:
            classes = np.where(
                classes, classes, self.spare.choice([0, 0, 5, ask.highest], classes.shape)
            )
        return classes.ravel()


def write_residual(
    natives: Sequence[Sequence[Ints]],
    layouts: Sequence[Layout],
    order: Sequence[int],
    steps: Sequence[float],
    H: int,
    W: int,
    spare: np.random.Generator | None = None,
) -> bytes:
    """The section of native integers, one list of bands (as the array has them) for each date."""
    streams = []
    for date, layout in zip(natives, layouts, strict=True):
        writer = Writer(ResidualChooser(date, spare))
        code_date(writer, layout, order, H, W)
        streams.append(writer.finish())
    head = bytes([len(steps)]) + struct.pack(f"<{len(steps)}d", *steps)
    return b"".join([head, *(varint(len(x)) for x in streams), *streams])


def random_natives(
    rng: np.random.Generator, layout: Layout, order: Sequence[int], H: int, W: int
) -> list[Ints]:
    """Integers of one date, with blocks of zeros and a few that are large."""
    found = []
    for band in order:
        shape = layout.native_shape(band, H, W)
        scale = rng.choice([0, 1, 20], (shape[0], 1)) * rng.choice([1, 5000], shape, p=[0.99, 0.01])
        q = np.rint(rng.laplace(0, 1, shape) * scale).astype(np.int64)
        found.append(np.clip(q, -(1 << 20), 1 << 20))
    return found

"""Residuals of version 2: written by the oracle writer, read by the reference reader."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from oracle_residual import random_natives, write_residual
from oracle_writer import random_layout
from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.reference2.layout import Layout
from tec_numcodecs.reference2.samples import read_residual, replicated


@pytest.mark.parametrize("seed", range(5))
def test_residuals_of_any_layout_are_read_as_they_were_written(seed):
    rng = np.random.default_rng(seed)
    C = int(rng.integers(1, 6))
    H, W = (int(n) for n in rng.integers(1, 60, 2))
    layouts = [random_layout(rng, C) for _ in range(2)]
    order = rng.permutation(C).tolist()
    natives = [random_natives(rng, layout, order, H, W) for layout in layouts]
    steps = [0.5] if seed % 2 else rng.uniform(0.1, 9, C).tolist()
    data = write_residual(natives, layouts, order, steps, H, W, spare=rng)
    q, found = read_residual(data, (3, C, H, W), [0, 2], layouts, order)
    assert found.ravel().tolist() == steps
    assert not q[1].any()
    for t, layout, date in zip([0, 2], layouts, natives, strict=True):
        for c, (band, native) in enumerate(zip(order, date, strict=True)):
            np.testing.assert_array_equal(q[t, c], replicated(native, layout, band, H, W))


def refusal(data, C=2):
    with pytest.raises(CorruptChunk) as caught:
        read_residual(data, (1, C, 9, 9), [0], [Layout((0,) * C)], range(C))
    return str(caught.value)


def test_damaged_residuals_are_refused():
    natives = [np.arange(81).reshape(9, 9) % 5, np.zeros((9, 9), np.int64)]
    data = write_residual([natives], [Layout((0, 0))], [0, 1], [2.0], 9, 9)
    assert "3 steps" in refusal(b"\3" + data[1:])
    assert "impossible" in refusal(b"\1" + struct.pack("<d", np.nan) + data[9:])
    assert "impossible" in refusal(b"\1" + struct.pack("<d", 0) + data[9:])
    assert "behind" in refusal(data + b"\0")
    assert "inside" in refusal(data[:-1])
    assert "inside" in refusal(data[:5])
    assert "inside" in refusal(b"")


def test_a_residual_beyond_what_is_allowed_is_refused():
    data = write_residual([[np.full((9, 9), 1 << 20)]], [Layout((0,))], [0], [1.0], 9, 9)
    q, _ = read_residual(data, (1, 1, 9, 9), [0], [Layout((0,))], [0])
    assert (q == 1 << 20).all()
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(data)
        damaged[int(rng.integers(9, len(data)))] ^= 1 << rng.integers(0, 8)
        try:
            q, _ = read_residual(bytes(damaged), (1, 1, 9, 9), [0], [Layout((0,))], [0])
        except CorruptChunk:
            continue
        assert np.abs(q).max() <= 1 << 20

"""Weights that were made by hand: the digest is right, and the numbers are none of a model."""

from __future__ import annotations

import numpy as np
import pytest

from mini_weights import arrays
from tec_numcodecs import TecCodec
from tec_numcodecs.errors import WeightsError
from tec_numcodecs.models.mini.validation import check
from tec_numcodecs.weights import safetensors_io

NAN, INF = float("nan"), float("inf")


def put(value, at=0):
    def change(tensor):
        tensor = tensor.copy()
        tensor.flat[at] = value
        return tensor

    return change


def shorter(tensor):
    return tensor[:-1]


def as_floats(tensor):
    return tensor.astype(np.float32)


def asymmetric(tensor):
    tensor = tensor.copy()
    tensor[0, 0, 0, 1] += 1
    return tensor


CODEBOOK = "codebook.sentinel-2-l2a"
CASES = [
    ("fp", CODEBOOK, put(NAN), "not finite"),
    ("fp", CODEBOOK, put(-INF, 700), "not finite"),
    ("fp", CODEBOOK, lambda tensor: put(1e300)(tensor.astype(np.float64)), "not finite"),
    ("fp", CODEBOOK, asymmetric, "not symmetric"),
    ("fp", CODEBOOK, lambda tensor: tensor[:0], "shape"),
    ("fp", CODEBOOK, lambda tensor: tensor.T, "shape"),
    ("fp", CODEBOOK, lambda tensor: tensor.astype(np.int32), "floats"),
    ("fp", "prior.weights", put(-1), "values from -1"),
    ("fp", "prior.weights", put(1 << 30), "sums below 2.31"),
    ("fp", "prior.bias", put(-1), "values from -1"),
    ("fp", "prior.bias", as_floats, "integers"),
    ("fp", "prior.group", put(4), "0 to 3"),
    ("fp", "prior.coefficient_rows", put(1 << 20), "0 to 2827"),
    ("fp", "prior.flag_rows", put(-1), "0 to 2827"),
    ("fp", "prior.shift_rows", put(0), "rows that name -8 to 8"),
    ("fp", "prior.shrink", put(1000), "-64 to 64"),
    ("fp", "prior.tables.minimum", as_floats, "integers"),
    ("fp", "prior.tables.starts", shorter, "one more than there are rows"),
    ("elic", "elic.0.1.first", shorter, "shape"),
    ("elic", "elic.0.1.second", as_floats, "integers"),
    ("elic", "elic.0.1.out.shift", put(-128), "0 to 24"),
    ("elic", "elic.0.1.rate", shorter, "shape"),
    ("elic", "features.eighths", shorter, "shape"),
    ("elic", "offsets", shorter, "shape"),
    ("elic", "offsets", lambda tensor: tensor + np.int32(200), "-128 to 127"),
    ("elic", "features.scales", put(-1), "values from -1"),
    ("elic", "elic.4.2.second", lambda tensor: np.tile(tensor, (5, 5)), "320 inputs"),
    ("flextec", "flex.flags.2.0.first", shorter, "shape"),
    ("flextec", "flex.offsets.zeros", shorter, "shape"),
]


IDS = [f"{i}-{name}" for i, (_, name, *_) in enumerate(CASES)]


@pytest.mark.parametrize(("model", "name", "change", "message"), CASES, ids=IDS)
def test_numbers_that_nobody_froze(model, name, change, message):
    with pytest.raises(WeightsError, match=message) as caught:
        check({**arrays(model), name: change(arrays(model)[name])})
    assert name in str(caught.value)


@pytest.mark.parametrize("model", ["fp", "elic", "tt", "flextec"])
def test_the_bundled_ones_are_sound(model):
    check(arrays(model))


def test_they_are_refused_when_they_are_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(tmp_path))
    changed = {CODEBOOK: put(NAN)(arrays("fp")[CODEBOOK])}
    digest = safetensors_io.save(tmp_path / "w", {**arrays("fp"), **changed})
    (tmp_path / "w").rename(tmp_path / f"{digest}.safetensors")
    codec = TecCodec(lam=20, bands=["B02"], weights={"id": "mini-odd", "sha256": digest})
    with pytest.raises(WeightsError, match="not finite"):
        codec.encode(np.full((1, 1, 16, 16), 1200, np.uint16))

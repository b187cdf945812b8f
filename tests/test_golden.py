"""Chunks that earlier versions wrote decode to the same pixels, by both readers."""

import hashlib
import json
from pathlib import Path

import pytest
import safetensors.numpy

from tec_numcodecs import reference
from tec_numcodecs.chunk import decode
from tec_numcodecs.weights.registry import bundled

GOLDEN = Path(__file__).parent / "golden"
INDEX = json.loads((GOLDEN / "index.json").read_text())


@pytest.mark.parametrize("name", sorted(INDEX))
@pytest.mark.parametrize("native", ["0", "1"])
def test_golden_chunks_decode(name, native, monkeypatch):
    monkeypatch.setenv("TEC_DISABLE_NATIVE", native)
    expected = INDEX[name]
    (found,) = decode([(GOLDEN / f"{name}.tec").read_bytes()])
    assert [list(found.shape), found.dtype.str] == [expected["shape"], expected["dtype"]]
    assert hashlib.sha256(found.tobytes()).hexdigest() == expected["sha256"]


@pytest.mark.parametrize("name", sorted(set(INDEX) - {"empty"}))
def test_the_reference_reader_decodes_them_too(name):
    from tec_numcodecs import weights as home

    (entry,) = (e for e in bundled()["mini"].values() if e["sha256"] == INDEX[name]["weights"])
    tensors = safetensors.numpy.load_file(Path(home.__file__).parent / entry["file"])
    found = reference.decode((GOLDEN / f"{name}.tec").read_bytes(), tensors)
    assert hashlib.sha256(found.tobytes()).hexdigest() == INDEX[name]["sha256"]


def test_every_golden_file_is_in_the_index():
    assert {path.stem for path in GOLDEN.glob("*.tec")} == set(INDEX)

"""FORMAT.md and the Zarr extension's schema say what the code does: vectors, tables, keys."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import tec_numcodecs
from tec_numcodecs import TecSerializer, reference
from tec_numcodecs.chunk import decode
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.weights.local_store import WeightsId, locate

HERE = Path(__file__).parent
TEXT = (HERE.parents[1] / "FORMAT.md").read_text()
EXTENSION = Path(tec_numcodecs.__file__).parent / "zarr_extension"
SCHEMA = json.loads((EXTENSION / "schema.json").read_text())
WEIGHTS = WeightsId(
    "mini-fp-preview1", "6f72dcceacfb00c480b0d642915dd0b9f7d0d07ea2b2a8cd90dd461401878ddf"
)
VECTORS = re.findall(r"```vector\n([0-9a-f\n]+)\n(\(.*?\)) (\S+)\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("vector", VECTORS, ids=[shape for _, shape, _, _ in VECTORS])
def test_vectors_decode_to_what_is_printed(vector):
    digits, shape, dtype, samples = vector
    data = bytes.fromhex(digits.replace("\n", ""))
    values = np.array([float(word) for word in samples.split()]).astype(dtype)
    expected = np.broadcast_to(values.reshape(ast.literal_eval(shape)) if values.size > 1 else
                               values, ast.literal_eval(shape))  # fmt: skip
    tensors = reference.load_weights(locate(WEIGHTS))
    for found in (*decode([data]), reference.decode(data, tensors)):
        assert (found.shape, found.dtype.str) == (expected.shape, dtype)
        np.testing.assert_array_equal(found, expected)


def test_there_are_vectors_of_every_mode_and_section():
    headers = [reference.read_header(bytes.fromhex(v[0].replace("\n", ""))) for v in VECTORS]
    assert {header.mode for header in headers} == {0, 1, 2}
    assert set().union(*(header.sections for header in headers)) == set(range(5))


def test_golden_chunks_are_those_that_are_printed():
    printed = dict(re.findall(r"\| `([\w-]+\.tec)` \| ([0-9a-f]{64}) \|", TEXT))
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (HERE / "golden").glob("*.tec")
    }
    assert printed == there


def test_every_setting_is_in_the_document_and_in_the_schema():
    full = CodecConfig.parse(psnr=45).to_json() | CodecConfig.parse(bpppb=1).to_json()
    section = TEXT[TEXT.index("## 3.") : TEXT.index("### 3.1")]
    rows = {key for row in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
            for key in re.findall(r"`(\w+)`", row)}  # fmt: skip
    assert rows == set(full)
    assert set(SCHEMA["properties"]["configuration"]["properties"]) == set(full)


def errors(codec):
    return list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(codec))


@pytest.mark.parametrize(
    "settings",
    [
        {"lam": 20},
        {"psnr": 45, "bands": ["B04", "B02"]},
        {"bpppb": 0.2, "nodata": None},
        {"max_error": 0},
        {"lam": 1, "model": "flextec", "quality": 3},
        {"max_error": [1, 2], "bands": ["B02", "B03"], "units": "reflectance", "scale": 1e-4},
    ],
)
def test_metadata_fit_the_schema(settings):
    codec = json.loads(json.dumps(TecSerializer(**settings).to_dict()))
    assert errors(codec) == []
    configuration = codec["configuration"]
    for damage in (
        {"lamm": 1},
        {"psnr": 45, "bpppb": 1},
        {"bands": ["red"]},
        {"weights": {"id": "mini", "sha256": "12"}},
        {"quality": 17},
        {"scale": 0},
        {"sensor": "landsat"},
    ):
        assert errors(codec | {"configuration": configuration | damage}), damage
    for key in set(configuration) - {"psnr", "bpppb"}:
        less = {k: v for k, v in configuration.items() if k != key}
        assert errors(codec | {"configuration": less}), key


def test_the_example_of_the_extension():
    readme = (EXTENSION / "README.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", readme, re.DOTALL)
    codec = json.loads(example)
    assert errors(codec) == []
    assert TecSerializer.from_dict(codec).to_dict() == codec

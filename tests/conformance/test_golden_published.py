"""Golden chunks of the published architectures: the weights freeze alike, symbols are the same.

Twice: by the codec, and by a second reader written from annex A of FORMAT.md.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

import annex_a
import golden_published
from tec_numcodecs.chunk import container, decode
from tec_numcodecs.chunk.container import Section
from tec_numcodecs.models import loading
from tec_numcodecs.models.base import Geometry, Rate
from tec_numcodecs.models.terracodec.importing import Imported
from tec_numcodecs.sensors import get_sensor

torch.set_num_threads(1)

INDEX = json.loads(golden_published.INDEX.read_text())


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Imported]:
    directory = tmp_path_factory.mktemp("weights")
    models = {entry["model"] for entry in INDEX.values()}
    return {model: golden_published.imported(model, directory) for model in models}


@pytest.fixture(autouse=True)
def _found(frozen: dict[str, Imported], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(frozen["fp"].path.parent))


@pytest.mark.parametrize("name", INDEX)
def test_weights_freeze_to_the_digest_of_the_chunk(name: str, frozen: dict[str, Imported]) -> None:
    assert frozen[INDEX[name]["model"]].weights.sha256 == INDEX[name]["weights"]


@pytest.mark.parametrize("name", INDEX)
def test_golden_chunks_decode(name: str) -> None:
    """Exactly the symbols (the chunk holds their checksum); pixels as annex A says."""
    entry, (_, _, settings) = INDEX[name], golden_published.cases()[name]
    (found,) = decode([(golden_published.HERE / f"{name}.tec").read_bytes()])
    assert [list(found.shape), found.dtype.str] == [entry["shape"], entry["dtype"]]
    samples = found.ravel()[:: golden_published.SAMPLES].astype(np.float64)
    expected = np.array([np.nan if v is None else v for v in entry["samples"]])
    np.testing.assert_array_equal(np.isnan(samples), np.isnan(expected))
    np.testing.assert_array_equal(samples == 0, expected == 0)
    if "max_error" in settings:
        assert hashlib.sha256(found.tobytes()).hexdigest() == entry["sha256"]
    one = 1.0001e-4 if found.dtype.kind == "f" else 1.0
    # Seeded weights give pixels far beyond what binary32 holds to 1 DN; trained ones do not.
    allowed = one + 1e-4 * np.abs(expected)
    assert np.nanmax(np.abs(samples - expected) - allowed) <= 0


@pytest.mark.parametrize("name", INDEX)
def test_the_second_reader_reads_the_same_symbols(name: str, frozen: dict[str, Imported]) -> None:
    chunk = container.read((golden_published.HERE / f"{name}.tec").read_bytes())
    header = chunk.header
    assert header.model is not None
    assert header.model.exact == ("max_error" in golden_published.cases()[name][2])
    model, payload = INDEX[name]["model"], chunk.sections[Section.LATENTS]
    tensors = safetensors.numpy.load_file(frozen[model].path)
    found = annex_a.read(model, tensors, payload, header.shape, header.model.quality)
    assert annex_a.crc32c(found.symbols) == header.model.symbols_crc
    assert len(np.unique(found.symbols)) > 3, "degenerate weights prove nothing"
    geometry = Geometry(header.shape, get_sensor(header.sensor), tuple(sorted(header.bands)))
    network = loading.load(model, frozen[model].weights)
    (item,) = network.entropy_decode([payload], [geometry], [Rate(0, header.model.quality)])
    np.testing.assert_array_equal(item.symbols, found.symbols)
    ours = item.state["y_hat"] if model == "elic" else None
    if model in ("tt", "flextec"):
        ours = item.state["pass"].latents
    if ours is not None:
        np.testing.assert_array_equal(ours.numpy(), found.latents)


def test_every_golden_file_is_in_the_index() -> None:
    assert {Path(p).stem for p in golden_published.HERE.glob("*.tec")} == set(INDEX)

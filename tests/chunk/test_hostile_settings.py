"""What a process sets for its own calculations changes no byte and no pixel of ours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import terracodec_seeds as seeds
from cubes import scene
from tec_numcodecs import TecCodec, reference
from tec_numcodecs.chunk import decode, encode
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models import loading
from tec_numcodecs.weights.local_store import locate

MODELS = ("fp", "elic", "tt", "flextec")
BANDS = ["B02", "B08"]
CALLS: list[dict[str, Any]] = [{"max_error": 0.001}, {"max_error": 0}, {"lam": 50, "nodata": -1}]
ODD_CALLS: list[dict[str, Any]] = [
    {"psnr": 40}, {"bpppb": 1}, {"lam": 50, "max_error": [0.01, 0.002]},
    {"lam": 20, "scale": 1e-30},
    {"lam": 20, "scale": 5e-324}, {"lam": 20, "offset": -0.1}, {"lam": 20, "nodata": 3e38},
]  # fmt: skip


@pytest.fixture
def hostile() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        yield


def reflectance() -> dict[str, Any]:
    plain = (scene((1, 2, 16, 16)) * np.float32(1e-4)).astype(np.float32)
    found = {"plain": plain}
    for name, bits in (("signaling", 0x7F800001), ("quiet", 0x7FC00000), ("negative", 0xFFC00001)):
        found[f"{name} NaN"] = plain.copy()
        found[f"{name} NaN"].view(np.uint32)[0, 0, 3:7, 3] = bits
    found["denormals"] = plain.copy()
    found["denormals"][0, 0, 2] = 1e-42
    found["all missing"] = np.full_like(plain, np.nan)
    found["zeros"] = np.zeros_like(plain)
    found["infinite"] = plain.copy()
    found["infinite"][0, 1, 4, 4] = np.inf
    found["huge"] = plain.copy()
    found["huge"][0, 1, 4, 4] = 3e38
    found["big-endian"] = plain.astype(">f4")
    return found


@pytest.mark.parametrize("name", reflectance())
def test_floats_come_back_as_without_hostile_settings(name: str) -> None:
    array = reflectance()[name]
    for call in CALLS + (ODD_CALLS if name in ("signaling NaN", "huge") else []):
        config = CodecConfig.parse("fp", bands=BANDS, units="reflectance", **call)
        ends = []
        for state in ("warn", "raise"):
            with warnings.catch_warnings(), np.errstate(all=state):  # type: ignore[call-overload]
                warnings.simplefilter("error" if state == "raise" else "ignore")
                ends.append(end_of(array, config))
        assert ends[0] == ends[1], call


def end_of(array: Any, config: CodecConfig) -> Any:
    """Return what was stored and what came back, or the refusal."""
    try:
        (data,) = encode([array], config)
    except InvalidInput as error:
        return str(error)
    (pixels,) = decode([data], config, array.shape)
    weights = reference.load_weights(locate(config.weights))
    assert pixels.tobytes() == reference.decode(data, weights).tobytes()
    return data, pixels.tobytes()


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("model", MODELS)
def test_every_model_and_both_readers(model: str) -> None:
    cube = scene((2, 2, 24, 24)).astype(np.uint16)
    cube[0, :, 2:9, 2:9] = 0
    for call in ({"lam": 50}, {"max_error": 5}, {"psnr": 40}):
        config = CodecConfig.parse(model, bands=BANDS, **call)
        data, pixels = end_of(cube, config)
        codec = TecCodec(model=model, bands=BANDS, **call)
        assert codec.encode(cube) == data, "the codec's thread gives the same"
        assert codec.decode(data).tobytes() == pixels


@pytest.fixture
def hostile_torch() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(3)
    torch.set_anomaly_enabled(True)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.set_num_threads(threads)
        torch.set_anomaly_enabled(False)


@pytest.mark.parametrize("model", ["fp", "tt"])
def test_what_torch_is_set_to(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    state = {"fp": seeds.fp_state, "tt": seeds.tt_state}[model]()
    torch.save(state, tmp_path / "mine.pt")
    cube = scene((2, 12, 24, 24)).astype(np.uint16)
    found = []
    for place in ("plain", "hostile"):
        monkeypatch.setenv("TEC_WEIGHTS_DIR", str(tmp_path / place))
        monkeypatch.setattr(loading, "_loaded", {})
        if place == "hostile":
            request.getfixturevalue("hostile_torch")
            request.getfixturevalue("hostile")
        codec = TecCodec(model=model, weights=str(tmp_path / "mine.pt"))
        data = codec.encode(cube)
        found.append((codec.config.weights.sha256, data, codec.decode(data).tobytes()))
    assert found[0] == found[1]

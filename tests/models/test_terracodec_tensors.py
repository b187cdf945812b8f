"""TerraCodec's own interface: builders, standardized tensors, payloads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import published
import terracodec_seeds as seeds
from tec_numcodecs import TecCodec
from tec_numcodecs.errors import CorruptChunk, InvalidInput, WeightsError
from tec_numcodecs.models import terracodec
from tec_numcodecs.models.terracodec.tensors import ImageCodec, SequenceCodec
from tec_numcodecs.sensors import get_sensor

torch.set_num_threads(1)

L2A = get_sensor("sentinel-2-l2a")
IMAGES = {"fp": terracodec.terracodec_v1_fp_s2l2a, "elic": terracodec.terracodec_v1_elic_s2l2a}
SEQUENCES = {"tt": terracodec.terracodec_v1_tt_s2l2a, "flextec": terracodec.flextec_v1_s2l2a}
BUILDERS: dict[str, Any] = {**IMAGES, **SEQUENCES}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.fill_l1c(published.fill(tmp_path_factory.mktemp("weights")))


@pytest.fixture(autouse=True)
def _found(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(directory))


def build(name: str, **more: Any) -> Any:
    return BUILDERS[name](pretrained=True, compression=published.LAMS[name], **more)


def standardized(cube: np.ndarray[Any, Any], sensor: Any = L2A) -> torch.Tensor:
    mean, std = (np.asarray(v)[:, None, None] for v in (sensor.mean, sensor.std))
    return torch.from_numpy(((cube - mean) / std).astype(np.float32))


def tensor(name: str, items: int = 2, size: int = 64) -> torch.Tensor:
    if name in IMAGES:
        return standardized(seeds.scene((items, 12, size, size))[0])
    cubes = [seeds.scene((3, 12, size, size), seed=i)[0] for i in range(items)]
    return torch.stack([standardized(cube) for cube in cubes])


@pytest.mark.parametrize("name", BUILDERS)
def test_forward_is_what_a_decoder_gives(name: str) -> None:
    model, x = build(name), tensor(name)
    assert isinstance(model, ImageCodec if name in IMAGES else SequenceCodec)
    payload = model.compress(x)
    decoded = model.decompress(payload)
    assert decoded.shape == x.shape
    assert decoded.dtype == torch.float32
    assert torch.equal(model.decompress(**payload), decoded)
    forward = model(x)
    if name in IMAGES:
        assert torch.equal(forward, decoded)
    else:
        assert torch.equal(forward[0], decoded)
        assert forward[1] == payload["frame_bits"]
        assert len(forward[1]) == 3
    assert payload["bits"] == 8 * sum(len(s) for s in payload["strings"])
    # The coder's overhead is a few bytes an item.
    assert 0 < payload["bits"] - sum(payload["frame_bits"]) < 2 * 8 * 24


@pytest.mark.parametrize("name", BUILDERS)
def test_streams_are_those_of_an_archive(name: str) -> None:
    """Standardizing outside or inside gives the same latents, but for float32 rounding at edges."""
    cube, _ = seeds.scene((1 if name in IMAGES else 3, 12, 64, 64))
    x = standardized(cube)
    payload = build(name).compress(x if name in IMAGES else x[None])
    codec = TecCodec(model=name, weights="terracodec-1.0", lam=published.LAMS[name], nodata=None)
    data = codec.encode(cube.astype(np.uint16))
    assert payload["strings"][0] in data
    decoded = build(name).decompress(payload).reshape(cube.shape)
    mean, std = (np.asarray(v)[:, None, None] for v in (L2A.mean, L2A.std))
    pixels = np.clip(decoded.numpy().astype(np.float64) * std + mean, 0, 65535)
    assert np.abs(codec.decode(data) - pixels).max() <= 0.51


def test_sizes_need_no_multiple() -> None:
    for name in BUILDERS:
        x = tensor(name, items=1, size=50)[..., :37]
        model = build(name)
        assert model.decompress(model.compress(x)).shape == x.shape


def test_quality() -> None:
    model, x = build("flextec"), tensor("flextec", items=1)
    sizes = [model.compress(x, quality=k)["bits"] for k in (1, 4, 16)]
    assert sizes == sorted(sizes)
    assert model.compress(x)["bits"] == sizes[-1]
    payload = model.compress(x, quality=4)
    assert torch.equal(model.decompress(payload), model(x, quality=4)[0])
    for bad in (0, 17, [4, 4, 4], True, 2.5):
        with pytest.raises(InvalidInput, match="1 to 16"):
            model.compress(x, quality=bad)
    with pytest.raises(InvalidInput, match="flextec_v1_s2l2a"):
        build("tt").compress(tensor("tt"), quality=4)


def test_thirteen_bands() -> None:
    model = terracodec.terracodec_v1_tt_s2l1c(pretrained=True)
    l1c = get_sensor("sentinel-2-l1c")
    cube, _ = seeds.scene((2, 13, 32, 32), sensor="sentinel-2-l1c")
    x = standardized(cube, l1c)[None]
    assert model.decompress(model.compress(x)).shape == x.shape
    assert model.bands == l1c.bands
    with pytest.raises(InvalidInput, match=r"\[B, T, 13, H, W\]"):
        model.compress(x[:, :, :12])


def test_compression_is_a_number_or_a_key() -> None:
    assert build("tt").lam == 5.0
    assert terracodec.terracodec_v1_tt_s2l2a("lambda-5", pretrained=True).lam == 5.0
    with pytest.warns(UserWarning, match="nearest, 5"):
        assert terracodec.terracodec_v1_tt_s2l2a(6, pretrained=True).lam == 5.0
    for bad in ("5", "lambda", "lambda-5-lronly", "lambda-x"):
        with pytest.raises(InvalidInput, match=r"'lambda-0\.4'"):
            terracodec.terracodec_v1_tt_s2l2a(bad, pretrained=True)
    with pytest.raises(InvalidInput, match=r"0\.4, 1, 5, 20"):
        terracodec.terracodec_v1_tt_s2l2a("lambda-6", pretrained=True)
    for low in ({"compression": "lambda-800-lronly"}, {"lr_only": True}):
        with pytest.raises(WeightsError, match=r"FlexTEC_LRonly_v1_S2L2A_lambda-800\.pt"):
            terracodec.flextec_v1_s2l2a(pretrained=True, **low)


def test_a_checkpoint_of_one_s_own(tmp_path: Path) -> None:
    torch.save(seeds.fp_state(seed=5), tmp_path / "own.pt")
    model = terracodec.terracodec_v1_fp_s2l2a(ckpt_path=tmp_path / "own.pt")
    assert model.lam is None
    assert "local-own" in repr(model.eval())
    x = tensor("fp")
    payload = model.compress(x)
    with pytest.raises(CorruptChunk, match="weights"):
        build("fp").decompress(payload)
    with pytest.raises(WeightsError, match="checkpoint of 'fp'"):
        terracodec.terracodec_v1_tt_s2l2a(ckpt_path=tmp_path / "own.pt")
    with pytest.raises(InvalidInput, match="is there"):
        terracodec.terracodec_v1_tt_s2l2a(ckpt_path=tmp_path / "none.pt")


@pytest.mark.parametrize("name", ["fp", "tt"])
def test_bad_tensors_and_payloads(name: str) -> None:
    model, x = build(name), tensor(name)
    for bad in (x[0], x[..., :0], x[..., :5, :, :]):
        with pytest.raises(InvalidInput, match="12, H, W"):
            model.compress(bad)
    holes = x.clone()
    holes[..., 3, 4] = float("nan")
    for bad in (holes, x * float("inf")):
        with pytest.raises(InvalidInput, match="finite"):
            model(bad)
    payload = model.compress(x)
    with pytest.raises(InvalidInput, match="without checks"):
        model.decompress({k: v for k, v in payload.items() if k != "checks"})
    for change in (
        {"strings": payload["strings"][:1]},
        {"strings": [payload["strings"][0][:-3], payload["strings"][1]]},
        {"strings": payload["strings"][::-1]},
        {"checks": [0, 0]},
    ):
        with pytest.raises(CorruptChunk):
            model.decompress({**payload, **change})


def test_the_cached_model_of_the_archive_is_not_touched() -> None:
    """The tensor codec borrows its networks and brings its own standardizer."""
    build("fp").compress(tensor("fp"))
    cube = seeds.scene((1, 12, 32, 32))[0].astype(np.uint16)
    codec = TecCodec(model="fp", weights="terracodec-1.0", lam=40)
    assert np.abs(codec.decode(codec.encode(cube)).astype(int)).max() > 100


def test_names_cost_nothing_until_they_are_used() -> None:
    code = (
        "import sys, json; from tec_numcodecs.models import terracodec; "
        "print(json.dumps(['torch' in sys.modules, sorted(terracodec.__all__)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, names = json.loads(done.stdout)
    assert not heavy
    assert set(names) == {b.__name__ for b in BUILDERS.values()} | {"terracodec_v1_tt_s2l1c"}

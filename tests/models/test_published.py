"""The published architectures as a storage format: creation, both Zarr formats, archives, damage.

Weights are small and seeded, in a directory that serves as TEC_WEIGHTS_DIR; names, geometry and
code are those of the published ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

import published
import tec_xarray
import terracodec_seeds as seeds
from tec_numcodecs import TecCodec, TecSerializer, chunk, inspect, set_options
from tec_numcodecs.chunk import container
from tec_numcodecs.chunk.container import Mode, Section
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import CorruptChunk, InvalidInput, TecError, WeightsError
from tec_numcodecs.models import loading as models
from tec_numcodecs.models import weights_lookup
from tec_numcodecs.models.terracodec import elic, temporal
from tec_numcodecs.models.terracodec.importing import import_checkpoint
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.weights import local_store
from tec_numcodecs.weights import published as hub

torch.set_num_threads(1)

BANDS = get_sensor("sentinel-2-l2a").bands
NAMES = tuple(published.LAMS)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a checkpoint of each model; frozen files join them as they are needed."""
    directory = published.fill(tmp_path_factory.mktemp("weights"))
    return published.fill_l1c(directory)


@pytest.fixture(autouse=True)
def _found(weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(weights))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def settings(model: str, **more: Any) -> dict[str, Any]:
    rate = {"quality": 5} if model == "flextec" else {"lam": published.LAMS[model]}
    return {"model": model, "weights": "terracodec-1.0", **rate, **more}


def scene(shape: tuple[int, int, int, int] = (2, 12, 64, 64), seed: int = 0) -> Any:
    cube, _ = seeds.scene(shape, seed=seed)
    return np.maximum(cube, 1).astype(np.uint16)


def dataset(T: int = 2, size: int = 96) -> xr.Dataset:
    cube = scene((T, 12, size, size))
    times = np.array("2024-03-01", "datetime64[ns]") + np.arange(T) * np.timedelta64(5, "D")
    variables = {b: (("time", "y", "x"), cube[:, i]) for i, b in enumerate(BANDS)}
    return xr.Dataset(variables, {"time": times}, {"sensor": "sentinel-2-l2a"})


# --- chunks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", NAMES)
def test_a_chunk_comes_back(model: str) -> None:
    cube = scene((2, 12, 70, 50))
    cube[:, :, 40:, :9] = 0
    codec = TecCodec(**settings(model))
    data = codec.encode(cube)
    found = codec.decode(data)
    assert (found.shape, found.dtype) == (cube.shape, cube.dtype)
    np.testing.assert_array_equal(found == 0, cube == 0)
    header = inspect(data).header
    assert header.mode == Mode.MODEL
    assert header.model is not None
    assert not header.model.exact
    assert header.model.rate_index == 0
    assert header.model.quality == (5 if model == "flextec" else 0)
    assert header.model.weights == codec.config.weights.prefix
    # What the model itself says to these pixels, by the same network called directly.
    network = models.load(model, codec.config.weights)
    geometry = codec.config.geometry((2, 12, 70, 50))
    latents = network.entropy_decode(
        [container.read(data).sections[Section.LATENTS]], [geometry], [codec.config.rate()]
    )
    direct = np.rint(network.synthesis(latents)[0])
    valid = cube > 0
    assert np.abs(found.astype(int) - np.clip(direct, 1, 65535))[valid].max() <= 1


@pytest.mark.parametrize("model", NAMES)
def test_no_pixel_is_off_by_more_than_the_bound(model: str) -> None:
    """The residual lies on top of exact pixels, and the header says so."""
    config = CodecConfig.parse(**settings(model, max_error=500))
    cube = scene((1, 12, 64, 64))
    (data,) = chunk.encode([cube], config)
    info = inspect(data)
    assert info.header.mode == Mode.MODEL
    assert info.header.model is not None
    assert info.header.model.exact
    assert "residual" in info.sections
    (found,) = chunk.decode([data], CodecConfig.from_json(config.to_json()))
    error = np.abs(found.astype(int) - cube)
    assert 300 < error.max() <= 500


@pytest.mark.parametrize("model", NAMES)
def test_configuration_is_complete_json(model: str) -> None:
    codec = TecCodec(**settings(model))
    text = json.dumps(codec.get_config())
    assert TecCodec.from_config(json.loads(text)) == codec
    config = json.loads(text)
    assert config["weights"]["id"] == hub.published(model, published.LAMS[model]).id
    assert len(config["weights"]["sha256"]) == 64
    assert config["lam"] == published.LAMS[model]
    assert TecSerializer.from_dict(TecSerializer(**settings(model)).to_dict()).config.to_json() == {
        key: value for key, value in config.items() if key != "id"
    }


def test_bands_in_any_order_and_subset() -> None:
    cube = scene((1, 12, 64, 64))[:, [7, 1, 3]]
    names = ["B08", "B02", "B04"]
    codec = TecCodec(**settings("tt", bands=names))
    found = codec.decode(codec.encode(cube))
    straight = TecCodec(**settings("tt", bands=sorted(names)))
    order = [1, 2, 0]
    expected = straight.decode(straight.encode(np.ascontiguousarray(cube[:, order])))
    np.testing.assert_array_equal(found[:, order], expected)


def test_thirteen_bands() -> None:
    cube, _ = seeds.scene((2, 13, 32, 32), sensor="sentinel-2-l1c")
    codec = TecCodec(**settings("tt", lam=20, sensor="sentinel-2-l1c"))
    assert codec.config.weights.id == "terracodec-1.0-tt-s2l1c-lambda-20"
    cube = np.maximum(cube, 1).astype(np.uint16)
    assert codec.decode(codec.encode(cube)).shape == cube.shape


def test_quality_costs_and_buys() -> None:
    cube = scene((1, 12, 64, 64))
    sizes = []
    for quality in (1, 8, 16):
        codec = TecCodec(**settings("flextec", quality=quality))
        data = codec.encode(cube)
        sizes.append(len(data))
        assert codec.decode(data).shape == cube.shape
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 4
    assert TecCodec(model="flextec", weights="terracodec-1.0").config.quality == 16


# --- Zarr --------------------------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("model", NAMES)
def test_arrays_come_back_in_both_formats(tmp_path: Path, model: str, zarr_format: int) -> None:
    cube = scene((3, 12, 70, 50))
    codec: dict[str, Any] = (
        {"serializer": TecSerializer(**settings(model)), "compressors": None}
        if zarr_format == 3
        else {"compressors": TecCodec(**settings(model)), "filters": None}
    )
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=cube.shape, dtype=cube.dtype, chunks=(2, 12, 64, 64),
        fill_value=0, zarr_format=zarr_format, **codec,
    )  # fmt: skip
    array[:] = cube
    found = zarr.open_array(tmp_path / "a.zarr", mode="r")[:]
    assert found.shape == cube.shape
    assert not (found == 0).any()


_READER = """
    import hashlib, sys, warnings
    import xarray
    found = xarray.open_zarr(sys.argv[1])["reflectance"].values
    assert "tec_xarray" not in sys.modules
    print(found.shape, found.dtype, hashlib.sha256(found.tobytes()).hexdigest())
"""


def read_elsewhere(store: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(_READER), str(store)],
        capture_output=True, text=True, check=False, env=env, cwd=store.parent,
    )  # fmt: skip


def test_a_reader_imports_nothing_and_needs_the_weights(tmp_path: Path, weights: Path) -> None:
    store = tmp_path / "a.zarr"
    dataset().tec.compress(store=store, **settings("fp"))
    # Only the published file, as somebody without our cache would have it: what metadata say opens
    # no file by a name, unless the reader says that it may.
    place = hub.published("fp", 40.0)
    (tmp_path / "bare").mkdir()
    shutil.copy(weights / place.file, tmp_path / "bare")
    bare = {"TEC_WEIGHTS_DIR": str(tmp_path / "bare")}
    read = read_elsewhere(store, **bare)
    assert "WeightsError" in read.stderr
    assert len(list((tmp_path / "bare").iterdir())) == 1
    read = read_elsewhere(store, **bare, TEC_FETCH_WEIGHTS="1")
    assert read.returncode == 0, read.stderr
    assert read.stdout.startswith("(2, 12, 96, 96) uint16")
    expected = hashlib.sha256(xr.open_zarr(store)["reflectance"].values.tobytes()).hexdigest()
    assert read.stdout.split()[-1] == expected

    # Nothing: which file, from where, to where.
    (tmp_path / "empty").mkdir()
    lost = read_elsewhere(store, TEC_WEIGHTS_DIR=str(tmp_path / "empty"))
    assert lost.returncode != 0
    message = lost.stderr.strip().splitlines()[-1]
    assert "WeightsError" in message
    assert f"https://huggingface.co/{place.repository}/resolve/main/{place.file}" in message
    assert TecCodec(**settings("fp")).config.weights.sha256 in message
    assert "TEC_WEIGHTS_DIR" in message
    assert "tec weights fetch fp --lam 40 --sensor sentinel-2-l2a" in message
    assert f"tec weights import {place.file}" in message


def test_only_the_frozen_file(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = TecCodec(**settings("tt"))
    (tmp_path / "frozen").mkdir()
    shutil.copy(weights / f"{codec.config.weights.sha256}.safetensors", tmp_path / "frozen")
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(tmp_path / "frozen"))
    assert weights_lookup.ensure_local(codec.config.weights).parent == tmp_path / "frozen"
    # Without an array's metadata, by the eight bytes that a chunk carries.
    assert local_store.by_prefix(codec.config.weights.prefix).sha256 == codec.config.weights.sha256
    with pytest.raises(WeightsError, match="begins with"):
        local_store.by_prefix(b"12345678")


def test_frozen_weights_need_neither_source_nor_network(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = TecCodec(**settings("fp")).config
    bare = tmp_path / "frozen"
    bare.mkdir()
    for path in weights.iterdir():
        if path.suffix != ".pt":
            shutil.copy(path, bare)
    (bare / ("0" * 64 + ".freezer-1.json")).write_text("{}")
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(bare))
    assert TecCodec(**settings("fp")).config == wanted
    # Two that claim the same name: the source decides, and there is none.
    torch.save(seeds.fp_state(seed=8), tmp_path / hub.published("fp", 40.0).file)
    import_checkpoint(tmp_path / hub.published("fp", 40.0).file)
    with pytest.raises(WeightsError, match="could not fetch"):
        TecCodec(**settings("fp"))


def test_another_file_under_the_published_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = TecCodec(**settings("fp")).config.weights
    monkeypatch.setenv("TEC_WEIGHTS_DIR", str(tmp_path))
    torch.save(seeds.fp_state(seed=9), tmp_path / hub.published("fp", 40.0).file)
    with (
        set_options(fetch_weights=True),
        pytest.raises(WeightsError, match="which wrote the archive"),
    ):
        weights_lookup.ensure_local(wanted)


# --- the accessor ------------------------------------------------------------------------------


def test_archives_grow_and_resume(tmp_path: Path) -> None:
    """The waiting tail of an archive is lossless, whatever the model."""
    store = tmp_path / "a.zarr"
    whole = dataset(T=6, size=32)
    old, new = whole.isel(time=slice(0, 5)), whole.isel(time=slice(5, 6))
    small = old.tec.compress(store=store, appendable=True, **settings("fp"))
    tail = small["reflectance"].isel(time=4).values
    np.testing.assert_array_equal(tail, old.tec.to_cube()["reflectance"].isel(time=4).values)
    tec_xarray.append(new, store)
    assert tec_xarray.verify(store, whole).ok
    found = tec_xarray.resume(whole, store, lam=40, weights="terracodec-1.0")
    assert found.sizes["time"] == 6
    with pytest.raises(InvalidInput, match="40"):
        tec_xarray.resume(whole, store, lam=10)


def test_the_rate_defaults_to_the_checkpoint_s_own(weights: Path, tmp_path: Path) -> None:
    marked = dataset().tec.compress(model="tt", weights="terracodec-1.0")
    config = marked["reflectance"].encoding["serializer"].to_dict()["configuration"]
    assert config["lam"] == 5.0
    nearest = dataset().tec.compress(model="tt", weights="terracodec-1.0", lam=7, nearest=True)
    assert nearest["reflectance"].encoding["serializer"].to_dict()["configuration"] == config
    # A directory, and a file in it, are other ways to say the same.
    for place in (weights, str(weights), weights / hub.published("tt", 5.0).file):
        by_path = dataset().tec.compress(model="tt", weights=place)
        assert by_path["reflectance"].encoding["serializer"].to_dict()["configuration"] == config


def test_a_file_of_somebody_s_own(tmp_path: Path, weights: Path) -> None:
    torch.save(seeds.fp_state(seed=3), tmp_path / "my alps.pt")
    codec = TecCodec(model="fp", weights=str(tmp_path / "my alps.pt"))
    assert codec.config.weights.id == "terracodec-local-my-alps"
    assert codec.config.lam is None
    cube = scene((1, 12, 32, 32))
    assert codec.decode(codec.encode(cube)).shape == cube.shape
    assert "local-my-alps" in repr(codec)
    frozen = weights / f"{codec.config.weights.sha256}.safetensors"
    (tmp_path / "sent").mkdir()
    sent = Path(shutil.copy(frozen, tmp_path / "sent" / "theirs.safetensors"))
    theirs = TecCodec(model="fp", weights=str(sent))
    assert theirs.config.weights.sha256 == codec.config.weights.sha256
    assert theirs.encode(cube) == codec.encode(cube)
    with pytest.raises(InvalidInput, match=r"lam=3.*one rate"):
        TecCodec(model="fp", lam=3, weights=str(sent))
    with pytest.raises(InvalidInput, match=r"model='tt'.*'fp'"):
        TecCodec(model="tt", weights=str(sent))


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "more", "kind", "message"),
    [
        ("tt", {"lam": 12}, InvalidInput, r"0\.4, 1, 5, 20, 100, 200, 700.*nearest=True"),
        ("elic", {"lam": -1}, InvalidInput, "number > 0"),
        ("elic", {"lam": "much"}, InvalidInput, "finite number"),
        ("flextec", {"lam": 20}, InvalidInput, "800"),
        ("flextec", {"quality": 0}, InvalidInput, "1 to 16"),
        ("flextec", {"quality": 17}, InvalidInput, "1 to 16"),
        ("flextec", {"quality": True}, InvalidInput, "1 to 16"),
        ("tt", {"quality": 4}, InvalidInput, "flextec"),
        ("tt", {"max_error": 0}, InvalidInput, "above 0, or the bundled weights"),
        ("fp", {"sensor": "sentinel-2-l1c"}, InvalidInput, "model='tt' for sentinel-2-l1c"),
        ("fp", {"weights": "terracodec-2.0"}, InvalidInput, "'terracodec-1.0'"),
        ("tt", {"weights": "terracodec-1.0-lronly"}, InvalidInput, "flextec"),
        ("tt", {"lam": 700}, WeightsError, "resolve/main/TerraCodec_v1_TT_S2L2A_lambda-700.pt"),
    ],
)
def test_refusals(
    model: str, more: dict[str, Any], kind: type[TecError], message: str, tmp_path: Path
) -> None:
    store = tmp_path / "a.zarr"
    with pytest.raises(kind, match=message):
        dataset().tec.compress(store=store, **settings(model, **more))
    assert not store.exists()


def test_bands_of_another_sensor(tmp_path: Path) -> None:
    """A 13-band checkpoint for 12-band data, and the reverse, by whichever way it comes."""
    thirteen = published.fill_l1c(tmp_path / "l1c") / "TerraCodec_v1_TT_S2L1C_lambda-20.pt"
    with pytest.raises(InvalidInput, match=r"sentinel-2-l2a \(12 bands\).*13 bands"):
        TecCodec(model="tt", weights=str(thirteen))
    wrong = tmp_path / "wrong" / hub.published("tt", 5.0).file
    wrong.parent.mkdir()
    shutil.copy(thirteen, wrong)
    with pytest.raises(InvalidInput, match=r"sentinel-2-l2a \(12 bands\).*13 bands"):
        TecCodec(model="tt", weights=str(wrong.parent))
    twelve = settings("tt", weights=CodecConfig.parse(**settings("tt")).weights, lam=None)
    with pytest.raises(InvalidInput, match="sentinel-2-l1c"):
        TecCodec(**twelve, sensor="sentinel-2-l1c")


def test_metadata_that_contradict_themselves() -> None:
    config = CodecConfig.parse(**settings("tt")).to_json()
    for change in ({"model": "fp"}, {"lam": 20.0}, {"sensor": "sentinel-2-l1c"}):
        with pytest.raises(InvalidInput, match="damaged, or written by hand"):
            CodecConfig.parse(**{**config, **change})
    # An id of our own family with the digest of another model is found when it is loaded.
    other = CodecConfig.parse(**settings("fp")).weights
    swapped = CodecConfig.parse(**{
        **config, "weights": {"id": "terracodec-local-x", "sha256": other.sha256}
    })  # fmt: skip
    with pytest.raises(WeightsError, match="those of 'tt'"):
        chunk.encode([scene()], swapped)


def test_missing_checkpoint_in_a_directory(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "notes.pt").touch()
    with pytest.raises(WeightsError, match=r"TerraCodec_v1_TT_S2L2A_lambda-5\.pt.*notes\.pt"):
        TecCodec(model="tt", weights=str(tmp_path / "few"))


# --- damage ------------------------------------------------------------------------------------

_written: dict[str, tuple[CodecConfig, bytes, Any]] = {}


def written(model: str) -> tuple[CodecConfig, bytes, Any]:
    """Return a small chunk of a model, and its pixels."""
    if model not in _written:
        config = CodecConfig.parse(**settings(model))
        (data,) = chunk.encode([scene((1, 12, 32, 32))], config)
        (pixels,) = chunk.decode([data], config)
        _written[model] = config, data, pixels
    return _written[model]


def decoded(data: bytes, config: CodecConfig) -> Any:
    return chunk.decode([data], config, (1, 12, 32, 32))[0]


@pytest.mark.parametrize("model", NAMES)
def test_every_truncation_is_found(model: str) -> None:
    config, data, _ = written(model)
    for length in range(len(data)):
        with pytest.raises(CorruptChunk):
            decoded(data[:length], config)


@pytest.mark.parametrize("model", NAMES)
def test_every_changed_byte_is_found(model: str) -> None:
    config, data, _ = written(model)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        with pytest.raises(TecError):
            decoded(bytes(damaged), config)


@pytest.mark.parametrize("model", NAMES)
@given(data=st.data())
def test_damage_under_a_good_checksum(model: str, data: st.DataObject) -> None:
    """What a CRC cannot find: a typed error, or pixels of the right shape. Never anything else."""
    config, good, pixels = written(model)
    body = bytearray(good[:-4])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(5, len(body) - 1))
        body[place] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        del body[data.draw(st.integers(40, len(body) - 1)) :]
    forged = bytes(body) + container.crc32c(bytes(body)).to_bytes(4, "little")
    try:
        found = decoded(forged, config)
    except TecError:
        return
    assert found.shape == pixels.shape


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("payload", [b"", b"\0", b"\xff" * 8, bytes(range(256)) * 3])
def test_forged_latents(model: str, payload: bytes) -> None:
    config, good, _ = written(model)
    whole = container.read(good)
    sections = dict(whole.sections) | {Section.LATENTS: payload}
    with pytest.raises(CorruptChunk):
        decoded(container.write(container.Chunk(whole.header, sections)), config)


def test_a_quality_that_the_stream_does_not_have() -> None:
    for model, quality in (("flextec", 0), ("flextec", 17), ("tt", 3)):
        config, good, _ = written(model)
        whole = container.read(good)
        assert whole.header.model is not None
        header = replace(whole.header, model=replace(whole.header.model, quality=quality))
        with pytest.raises(CorruptChunk, match="quality"):
            decoded(container.write(container.Chunk(header, whole.sections)), config)


@pytest.mark.parametrize("model", NAMES)
def test_a_small_chunk_that_claims_to_be_huge(model: str) -> None:
    """Refused for its size, before any model runs."""
    config, good, _ = written(model)
    whole = container.read(good)
    header = replace(whole.header, shape=(64, 12, 1 << 14, 1 << 14))
    bomb = container.write(container.Chunk(header, whole.sections))
    with pytest.raises(CorruptChunk, match="max_chunk_bytes"):
        chunk.decode([bomb], config)
    with pytest.raises(CorruptChunk, match="another array"):
        decoded(bomb, config)


@pytest.mark.parametrize("model", NAMES)
def test_a_small_chunk_that_claims_to_be_large_costs_little(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the limit, a stream must last for what it claims: the networks stop where it ends."""
    config, good, _ = written(model)
    whole = container.read(good)
    header = replace(whole.header, shape=(8, 12, 1024, 2048))
    bomb = container.write(container.Chunk(header, whole.sections))
    calls = []
    for kind, method in ((temporal.TemporalContext, "walk"), (elic.Group, "parameters")):
        original = getattr(kind, method)
        monkeypatch.setattr(
            kind, method, lambda *a, _f=original, **k: (calls.append(1), _f(*a, **k))[1]
        )
    with pytest.raises(CorruptChunk):
        chunk.decode([bomb], config)
    assert len(calls) <= 1, "of 4,096 groups of windows, or ten passes over 8,192 positions"

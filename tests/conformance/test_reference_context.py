"""The reader written from FORMAT.md alone judges mini elic, tt and flextec: the same pixels."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from safetensors.numpy import save

import tec_numcodecs
from cubes import scene
from tec_numcodecs import chunk, reference
from tec_numcodecs.chunk import decoding
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import CorruptChunk, InvalidInput, TecError, WeightsError
from tec_numcodecs.reference import context, decoder
from tec_numcodecs.sensors import get_sensor

MODELS = ("elic", "tt", "flextec")
L1C = get_sensor("sentinel-2-l1c").bands
SHUFFLED = ("B08", "B02", "B12", "B04", "B03")
RGB = ("B04", "B03", "B02")


def _load():
    folder = Path(tec_numcodecs.__file__).parent / "weights"
    bundled = json.loads((folder / "bundled.json").read_text())
    files = {bundled["mini"][model]["file"] for model in MODELS}
    found = [reference.load_weights(folder / name) for name in sorted(files)]
    return {weights.sha256[:8]: weights for weights in found}


FILES = _load()
#: All tensors of all files.
EVERY = {name: values for weights in FILES.values() for name, values in weights.items()}


def weights_of(data):
    """The file that a chunk names, or another, which a reader then refuses."""
    return FILES.get(reference.read_header(data).weights_digest, next(iter(FILES.values())))


@pytest.fixture(scope="module", autouse=True)
def _always_mode_1():
    """Chunks as the model has them, where plain samples would be smaller, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_smallest", lambda coded, *_: coded)
        yield


def encode(array, **keywords):
    config = CodecConfig.parse(**keywords)
    (data,) = chunk.encode([array], config)
    assert reference.read_header(data).mode == decoder.MODEL
    return data


def judge(array, **keywords):
    """Encode, decode with both readers, compare every bit; return the chunk."""
    data = encode(array, **keywords)
    (expected,) = chunk.decode([data])
    found = reference.decode(data, weights_of(data), max_samples=array.size)
    assert found.dtype == expected.dtype == array.dtype
    np.testing.assert_array_equal(found, expected)
    assert found.tobytes() == expected.tobytes()
    return data


def signed(data):
    """Bytes whose last four are a checksum, with the right one."""
    return data[:-4] + struct.pack("<I", google_crc32c.value(bytes(data[:-4])))


def series(shape, dtype=np.uint16):
    """Dates that resemble each other, as a reference of mini tt needs it."""
    first = scene((1, *shape[1:]), dtype=dtype)
    dates = [
        first * (1 + date / 50) + scene(first.shape, 7, dtype) / 40 for date in range(shape[0])
    ]
    return np.concatenate(dates).astype(dtype)


# -- the same pixels --------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("lam", [0.5, 200, 1e5])
def test_every_rate(model, lam):
    judge(series((2, 3, 17, 21)), model=model, lam=lam, bands=RGB)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [(1, 1), (10, 30), (1, 17), (18, 1), (2, 3)])
def test_every_size(model, size):
    judge(series((3, 2, *size)), model=model, lam=200, bands=("B04", "B8A"))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("sensor", "bands"),
    [
        ("sentinel-2-l2a", ("B11",)),
        ("sentinel-2-l2a", SHUFFLED),
        ("sentinel-2-l1c", L1C),
    ],
)
def test_every_choice_of_bands(model, sensor, bands):
    judge(series((1, len(bands), 10, 30)), model=model, lam=200, sensor=sensor, bands=bands)


@pytest.mark.parametrize("model", MODELS)
def test_every_dtype_and_gaps(model):
    array = series((2, 3, 11, 14))
    array[0, :, 2:9, 4:11] = 0
    array[-1, 0, -4:] = 0
    for dtype in (">u2", "<i2"):
        judge(array.astype(dtype), model=model, lam=200, bands=RGB)
    reflectance = (array / 10_000).astype("<f4")
    reflectance[reflectance == 0] = np.nan
    judge(reflectance, model=model, lam=200, bands=RGB, units="reflectance", nodata=0.1)


@pytest.mark.parametrize("model", MODELS)
def test_noise_spikes_and_stripes(model):
    """Escapes, raw bits and clipping."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 65536, (2, 3, 18, 23)).astype(np.uint16)
    ground = series(noise.shape)
    spikes = np.where(random.random(noise.shape) < 0.02, noise, ground)
    stripes = np.where(np.arange(23) % 2, np.uint16(65535), ground)
    for array, lam in ((spikes, 1000), (stripes, 1), (noise, 3e4)):
        judge(array, model=model, lam=lam, bands=RGB, nodata=None)


@pytest.mark.parametrize("model", MODELS)
def test_residuals(model):
    data = judge(series((2, 3, 17, 21)), model=model, lam=20, bands=RGB, max_error=20)
    assert decoder.RESIDUAL in reference.read_header(data).sections


@pytest.fixture(scope="module")
def other_networks(tmp_path_factory):
    """Weights whose networks use every input and output, and with which references pay.

    Those in the package could leave a part of sections 11 and 12 without effect: networks may have
    learned that an input means nothing, and an encoder may never choose a reference.
    """
    random = np.random.default_rng(0)
    other = dict(EVERY)
    for name, found in EVERY.items():
        values = None
        network = re.fullmatch(r"(elic|tt|flex\.\d|flex\.flags)\.\d\.\d\.(.+)", name)
        family, part = network.groups() if network else ("", "")
        if name.startswith("flex.offsets"):
            values = random.integers(-60, 61, found.shape)
        elif family == "elic" and part == "out.bias":
            values = found + np.array([0, 9000, 0])  # dear: scales that are far too large
        elif family and family != "elic":
            outputs = found.shape[-1]
            values = {
                "first.shift": 8,
                "second.shift": 8,
                "out.shift": [8, 9, 9, 8][:outputs],
                "out.bias": [0, -400, 150, 20][:outputs],
                "out": random.integers(-60, 61, found.shape),
            }.get(part, random.integers(-100, 101, found.shape))
        if values is not None:
            other[name] = np.broadcast_to(values, found.shape).astype(found.dtype)
    folder = tmp_path_factory.mktemp("weights")
    data = save(other)
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{digest}.safetensors"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEC_WEIGHTS_DIR", str(folder))
        yield {"id": "mini-context-other", "sha256": digest}, reference.load_weights(path)


def judge_others(array, other_networks, **keywords):
    name, weights = other_networks
    config = CodecConfig.parse(weights=name, **keywords)
    (data,) = chunk.encode([array], config)
    (expected,) = chunk.decode([data], config)
    np.testing.assert_array_equal(reference.decode(data, weights), expected)


def test_references(other_networks, monkeypatch):
    """Ten dates; the last ones have references that are made from eight of those before."""
    made = []
    reference_of = context._reference
    monkeypatch.setattr(
        context,
        "_reference",
        lambda past, P: made.append(len(past)) or reference_of(past, P),
    )
    array = series((10, 2, 9, 11))
    judge_others(array, other_networks, model="tt", lam=500, bands=("B04", "B08"))
    assert {1, 8} <= set(made) <= set(range(1, 9))


def test_references_of_passes(other_networks):
    judge_others(series((2, 3, 19, 27)), other_networks, model="flextec", lam=700, bands=RGB)


@pytest.mark.parametrize(
    ("stored", "rate_index", "lam"), [(1, 129, 200), (6, 148, 40), (16, 128, 220), (16, 167, 8)]
)
def test_every_number_of_tokens(stored, rate_index, lam):
    array = series((2, 2, 17, 18))
    data = judge(array, model="flextec", lam=lam, bands=("B04", "B08"), quality=stored)
    assert reference.read_header(data).rate_index == rate_index
    for quality in range(1, stored + 1, 2):
        with tec_numcodecs.set_options(quality=quality):
            (expected,) = chunk.decode([data])
        found = reference.decode(data, weights_of(data), quality=quality)
        np.testing.assert_array_equal(found, expected)


def test_which_way_ties_are_rounded():
    """At rate index 42 many values of mini flextec lie between two DN, of either sign."""
    date = series((1, 2, 33, 24))
    array = np.concatenate([date, 12000 - date])
    data = judge(array, model="flextec", lam=3.8e5, bands=("B04", "B08"), nodata=None)
    assert reference.read_header(data).rate_index == 42


# -- hostile input ----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=MODELS)
def small_chunk(request):
    array = series((2, 1, 6, 7))
    data = encode(array, model=request.param, lam=5, bands=("B03",))
    assert reference.read_header(data).sections.keys() == {decoder.LATENTS}
    return data


def is_refused(data):
    """Whether a chunk is refused; any exception but ours fails the test."""
    try:
        found = reference.decode(data, weights_of(data), max_samples=1000)
    except TecError:
        return True
    assert found.ndim == 4
    return False


def test_damage_under_a_right_checksum_never_escapes(small_chunk):
    """Who signs a damaged chunk gets pixels or a typed error, never another exception."""
    found = []
    for at in range(4, len(small_chunk) - 4):
        byte = small_chunk[at] ^ (0xFF if at % 3 == 0 else 1 << at % 8)
        rest = small_chunk[at + 1 :]
        damaged = small_chunk[:at] + (bytes([byte]) + rest if at % 4 else rest)
        found.append(is_refused(signed(damaged)))
    assert 0.7 * len(found) < sum(found) < len(found)


def test_random_latents(small_chunk):
    """Noise in place of the stream, which then goes on for as long as it likes."""
    size = len(reference.read_header(small_chunk).sections[decoder.LATENTS])
    at = len(small_chunk) - 4 - size
    random = np.random.default_rng(0)
    for _ in range(10):
        noise = random.bytes(size)
        if reference.read_header(small_chunk).model == decoder.FLEXTEC:  # keep the sizes
            noise = small_chunk[at : at + 17] + noise[17:]
        assert is_refused(signed(small_chunk[:at] + noise + small_chunk[-4:]))


def test_tokens_and_quality_that_do_not_fit():
    array = series((1, 3, 9, 10))
    data = encode(array, model="flextec", lam=200, bands=RGB, quality=3)
    header = reference.read_header(data)
    at_quality = data.index(header.weights_digest) + 10
    assert data[at_quality] == 3
    at_tokens = len(data) - 4 - len(header.sections[decoder.LATENTS])
    assert data[at_tokens] == 3
    for at in (at_quality, at_tokens):
        for number in (0, 2, 4, 17, 255):
            damaged = signed(data[:at] + bytes([number]) + data[at + 1 :])
            with pytest.raises(CorruptChunk, match="tokens"):
                reference.decode(damaged, weights_of(data))
    for quality in (0, 17, -1):
        with pytest.raises(InvalidInput, match="1 to 16"):
            reference.decode(data, weights_of(data), quality=quality)
    other = encode(array, model="elic", lam=20, bands=RGB)
    with pytest.raises(InvalidInput, match="model 2"):
        reference.decode(other, weights_of(other), quality=4)
    bounded = encode(array, model="flextec", lam=20, bands=RGB, max_error=20)
    with pytest.raises(InvalidInput, match="residual"):
        reference.decode(bounded, weights_of(bounded), quality=15)
    reference.decode(bounded, weights_of(bounded), quality=16)


def test_weights_that_do_not_fit():
    data = encode(series((1, 3, 9, 10)), model="elic", lam=200, bands=RGB)
    some = {name: EVERY[name] for name in EVERY if not name.startswith("features")}
    with pytest.raises(WeightsError, match=r"no tensor features\.integers"):
        reference.decode(data, some)
    large = dict(EVERY)
    for level in range(5):
        name = f"elic.{level}.0.first.shift"
        large[name] = np.full_like(EVERY[name], 20)
    with pytest.raises(WeightsError, match="large sums"):
        reference.decode(data, large)

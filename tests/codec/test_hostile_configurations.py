"""Configurations from metadata that anybody can write: typed errors, no files, no connections."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
import zarr
import zarr.storage
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tec_numcodecs import TecCodec, TecSerializer
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.errors import InvalidInput, TecError, UnsupportedFormat

GOOD = CodecConfig.parse(lam=20, bands=["B02", "B03"]).to_json()
DIGEST = GOOD["weights"]["sha256"]
NESTED: Any = 0
for _ in range(60):
    NESTED = [NESTED, {"id": NESTED}] if len(str(NESTED)) < 10_000 else [NESTED]

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**70), 10**400, 0.5, -0.0, 1e308, 5e-324, 1e-400,
    "", "mini", "fp", "terracodec-1.0", "terracodec-1.0-lronly", "/etc/passwd", "../../secret.pt",
    "~/.ssh/id_rsa", "file:///etc/passwd", "https://ann:pw@example.com/w.pt?sig=1", "s3://b/w.pt",
    "hf://embed2scale/x", "\\\\server\\share", "a\0b", "\x1b[31m", "\ud800", "\uff46\uff50",
    "Ñ" * 50, "NaN", "nan",
    "Infinity", "-inf", "x" * 1_000_000, "20", "B02", "red", "b2", "S2L2A", "DN",
    [], {}, [None], [[]], ["B02", "B02"], ["B02", "red"], ["B02"] * 100_000, [0] * 100_000,
    ["B02", 3], ["B02", "B03", "B04"], [1.0, 2.0], [1.0, -1.0], [True, False], {"a": 1}, NESTED,
    {"id": "mini-fp-preview1"}, {"sha256": DIGEST}, {"id": "mini-fp", "sha256": DIGEST[:-1]},
    {"id": "mini-fp", "sha256": DIGEST + "0"}, {"id": "mini-fp", "sha256": DIGEST.upper()},
    {"id": "mini-fp", "sha256": DIGEST + "\n"}, {"id": "mini-fp", "sha256": "/" * 64},
    {"id": "/etc/passwd", "sha256": DIGEST}, {"id": "mini", "sha256": DIGEST},
    {"id": "other-fp", "sha256": DIGEST}, {"id": 3, "sha256": 4}, {"id": None, "sha256": None},
    {"id": "mini-fp", "sha256": DIGEST, "path": "/etc/passwd"}, {"id": "-", "sha256": DIGEST},
    {"id": "terracodec-1.0-fp-s2l2a-lambda-10", "sha256": "0" * 64}, {"id": "", "sha256": ""},
    {"id": "mini-" + "x" * 1_000_000, "sha256": "0" * 64},
    {"id": "terracodec-../../../x", "sha256": "f" * 64},
]  # fmt: skip
UNKNOWN = (
    "nearest", "self", "cls", "given", "weights_dir", "path", "url", "id", "name", "__class__",
    "LAM", "lam ", "", "x" * 1_000_000, "l\u0430m", "\0", "configuration", "fetch", "token",
)  # fmt: skip


def configurations(count: int) -> list[Any]:
    """Return valid configurations, changed in one to four places."""
    chance = random.Random(11)
    found: list[Any] = []
    for _ in range(count):
        config: dict[str, Any] = dict(GOOD)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            kind = chance.randrange(10)
            if kind == 0:
                config.pop(chance.choice(list(config) or [""]), None)
            elif kind == 1:
                config[chance.choice(UNKNOWN)] = chance.choice(VALUES)
            else:
                config[chance.choice((*GOOD, "psnr", "bpppb"))] = chance.choice(VALUES)
        found.append(config if chance.random() > 0.02 else chance.choice(VALUES))
    return found


def outcome(read: Any) -> str:
    """Read, and say how it ended; what is no error of ours is a failure of the test."""
    message = ""
    try:
        read()
    except TecError as error:
        message = str(error)
    assert not message or 20 < len(message) < 3200
    assert message.isprintable()
    return "refused" if message else "read"


def test_a_thousand_configurations_through_both_codecs() -> None:
    ends = []
    for config in configurations(1000):
        # numcodecs passes what lies beside the id, which is a mapping at least.
        settings = config if isinstance(config, dict) else {"weights": config}
        ends.append(outcome(lambda s=settings: TecCodec.from_config({**s, "id": "tec_xarray"})))
        named = {"name": "tec_xarray", "configuration": config}
        ends.append(outcome(lambda n=named: TecSerializer.from_dict(n)))
    assert ends.count("refused") > 1500
    assert ends.count("read") > 50, "some changes are allowed, or the test tests nothing"


def document(zarr_format: int, config: Any) -> tuple[str, bytes]:
    if zarr_format == 2:
        settings = config if isinstance(config, dict) else {"weights": config}
        codec = {**settings, "id": "tec_xarray"}
        meta = {
            "zarr_format": 2, "shape": [1, 2, 8, 8], "chunks": [1, 2, 8, 8], "dtype": "<u2",
            "compressor": codec, "filters": None, "fill_value": 0, "order": "C",
        }  # fmt: skip
        return ".zarray", json.dumps(meta).encode()
    meta = {
        "zarr_format": 3, "node_type": "array", "shape": [1, 2, 8, 8], "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 2, 8, 8]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0, "attributes": {},
        "codecs": [{"name": "tec_xarray", "configuration": config}],
    }  # fmt: skip
    return "zarr.json", json.dumps(meta).encode()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_thousand_configurations_in_a_store(zarr_format: int) -> None:
    ends = []
    for config in configurations(1000):
        if not isinstance(config, dict):  # Zarr's own error: no configuration at all
            continue
        key, data = document(zarr_format, config)
        store = zarr.storage.MemoryStore()
        sync(store.set(key, default_buffer_prototype().buffer.from_bytes(data)))
        ends.append(outcome(lambda s=store: zarr.open_array(s, mode="r")))
    assert ends.count("refused") > 750
    assert ends.count("read") > 25


@pytest.mark.parametrize("key", ["nearest", "self", "cls", "weights_dir"])
def test_arguments_of_users_are_no_keys_of_metadata(key: str) -> None:
    with pytest.raises(UnsupportedFormat, match=key):
        TecCodec.from_config({**GOOD, key: True})
    with pytest.raises(UnsupportedFormat, match=key):
        TecSerializer.from_dict({"name": "tec_xarray", "configuration": {**GOOD, key: True}})


@pytest.mark.parametrize("weights", ["mini", "terracodec-1.0", "/etc/passwd", None, 3, ["mini"]])
def test_metadata_name_weights_by_digest_alone(weights: object) -> None:
    with pytest.raises(InvalidInput, match="64 hexadecimal digits"):
        CodecConfig.from_json({**GOOD, "weights": weights})


@pytest.mark.parametrize(
    "change",
    [
        {"bands": ["red", "green"]}, {"bands": ["b02", "B03"]}, {"bands": None}, {"bands": "B02"},
        {"sensor": "S2L2A"}, {"sensor": 1}, {"nodata": "nan"}, {"nodata": "default"},
        {"nodata": float("nan")}, {"weights": {**GOOD["weights"], "path": "x"}},
        {"psnr": 40, "lam": 20}, {"psnr": 40, "bpppb": 1, "lam": None}, {"quality": 3},
    ],
)  # fmt: skip
def test_what_users_may_type_but_metadata_may_not_hold(change: dict[str, Any]) -> None:
    with pytest.raises(TecError):
        CodecConfig.from_json({**GOOD, **change})


def test_missing_keys_are_null_and_scaling_is_that_of_dn() -> None:
    """FORMAT.md, section 3."""
    few = {key: GOOD[key] for key in ("model", "lam", "weights", "sensor", "bands")}
    found = CodecConfig.from_json({**few, "units": "reflectance"})
    assert (found.scale, found.offset, found.nodata, found.max_error) == (1, 0, None, None)
    for key in ("model", "weights", "sensor", "bands"):
        with pytest.raises(InvalidInput):
            CodecConfig.from_json({k: v for k, v in few.items() if k != key})


def test_a_user_s_dict_of_settings_is_told_what_to_call() -> None:
    with pytest.raises(InvalidInput, match=r"call TecCodec or TecSerializer"):
        zarr.create_array(
            zarr.storage.MemoryStore(), shape=(1, 1, 8, 8), dtype=np.uint16, compressors=None,
            serializer={"name": "tec_xarray", "configuration": {"lam": 20, "model": "fp",
                        "sensor": "sentinel-2-l2a", "bands": ["B02"]}},
        )  # fmt: skip

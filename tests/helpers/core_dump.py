"""Writes models, coders and sections to a file for the programs in tests/native (core_load.h)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import google_crc32c
import numpy as np

from oracle_writer import random_section
from tec_numcodecs.reference2.coder import Weights
from tec_numcodecs.sensors import SENSORS
from tec_numcodecs.weights import local_store, safetensors_io

KINDS = {"fp": 1, "elic": 2, "tt": 3, "flextec": 4}
TYPES = {"int8": 0, "int16": 1, "uint16": 2, "int32": 3, "int64": 4, "float32": 5}


def numbers(*values):
    return struct.pack(f"<{len(values)}I", *(value & 0xFFFFFFFF for value in values))


def named(text):
    return numbers(len(text) + 1) + text.encode() + b"\0"


def model(kind, arrays):
    found = {key: value for key, value in arrays.items() if value.dtype.name in TYPES}
    parts = [numbers(KINDS[kind], len(found))]
    for key, value in found.items():
        data = np.ascontiguousarray(value).tobytes()
        last = value.shape[-1] if value.ndim else 1
        parts += [named(key), numbers(TYPES[value.dtype.name], last, value.size, len(data)), data]
    return b"".join(parts)


def coder(place, sensor, bands):
    parts = [numbers(place, len(sensor.bands), len(bands))]
    parts += [numbers(b, round(sensor.mean[b]), round(sensor.wavelengths[b])) for b in bands]
    return b"".join(parts) + named(f"codebook.{sensor.name}")


def dump(path: Path, models: Iterable[str], each: int, most: int = 40) -> None:
    """Write `each` random sections for each model, sides at most `most`."""
    models = list(models)
    heads, coders, sections = [], {}, []
    for place, name in enumerate(models):
        found = local_store.resolve("mini", name)
        arrays = safetensors_io.load(local_store.locate(found), found.sha256)
        heads.append(model(name, arrays))
        for written in _drawn(name, Weights(arrays), each, most):
            setting = written.setting
            (sensor,) = (sensor for sensor in SENSORS if sensor.name == setting.sensor)
            data = coder(place, sensor, setting.bands)
            number = coders.setdefault(data, len(coders))
            T, _, H, W = setting.shape
            symbols = google_crc32c.value(np.array(written.checksums, "<u4").tobytes())
            decoded = google_crc32c.value(np.ascontiguousarray(written.dn, "<i4").tobytes())
            tokens = setting.quality or 16
            sections.append(
                numbers(number, T, H, W, setting.r, tokens, symbols, decoded, len(written.section))
                + written.section
            )
    parts = (heads, list(coders), sections)
    path.write_bytes(b"".join(numbers(len(part)) + b"".join(part) for part in parts))


def _drawn(name, weights, each, most):
    seed = 0
    for _ in range(each):
        while True:
            seed += 1
            try:
                yield random_section(np.random.default_rng(seed), name, weights, most)
            except AssertionError:  # the writer drew what decoders must refuse
                continue
            break

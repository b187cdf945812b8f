"""The C core against the reference reader, on random sections of version 2, whole and damaged.

Damaged sections get the checksums that the reference finds in them, where it can read them: so
both readers come as far as they can, and must agree about every pixel and every refusal.

    python tests/fuzz/differential.py MODEL SECONDS [FIRST_SEED [LONGEST_SIDE]]
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import google_crc32c
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from oracle_writer import Written, random_section, varint
from tec_numcodecs.errors import CorruptChunk
from tec_numcodecs.models.mini.core import Core
from tec_numcodecs.reference2.coder import Reader, Weights
from tec_numcodecs.reference2.flextec import read_tokens
from tec_numcodecs.reference2.layout import Setting
from tec_numcodecs.reference2.section import Walker, read_section, split
from tec_numcodecs.sensors import SENSORS
from tec_numcodecs.weights import local_store, safetensors_io

DAMAGED = 4  # sections for each whole one


class Readers:
    """Both readers of one model."""

    def __init__(self, model: str) -> None:
        found = local_store.resolve("mini", model)
        arrays = safetensors_io.load(local_store.locate(found), found.sha256)
        self.weights, self.core = Weights(arrays), Core(model, arrays)

    def fast(self, data: bytes, setting: Setting, checksum: int, **keywords):
        (sensor,) = (sensor for sensor in SENSORS if sensor.name == setting.sensor)
        if setting.model == "flextec":
            keywords["tokens"] = setting.quality or 16
        T, _, H, W = setting.shape
        coder = self.core.coder(sensor, setting.bands)
        return coder.decode(data, (T, H, W), setting.r, checksum, **keywords)[0]

    def repaired(self, data: bytes, setting: Setting) -> bytes:
        """The section with the checksums that its dates have."""
        with np.errstate(all="ignore"):
            section = split(data, setting)
            walker, table = Walker(self.weights, setting, section.lists), b""
            for layout, stream in zip(section.layouts, section.streams, strict=True):
                flex = setting.model == "flextec"
                coders = [Reader(x) for x in (read_tokens(stream, setting) if flex else [stream])]
                checksum = walker.date(coders, layout).checksum
                for coder in coders:
                    coder.finish()
                table += varint(len(stream)) + checksum.to_bytes(4, "little")
        streams = b"".join(section.streams)
        return data[: len(data) - len(streams) - len(table)] + table + streams

    def agree_on_damage(self, data: bytes, setting: Setting) -> str:
        """What both readers make of it; "differ" if not the same."""
        checksum, expected, found = 0, None, None
        with suppress(CorruptChunk):
            data = self.repaired(data, setting)
            expected = read_section(data, setting, self.weights)
        with suppress(CorruptChunk):
            checksum = split(data, setting).checksum
        with suppress(CorruptChunk):
            found = self.fast(data, setting, checksum)
        if expected is None or found is None:
            return "both refuse" if expected is found else "differ"
        return "both read" if (expected == found).all() else "differ"

    def agree(self, written: Written, rng: np.random.Generator) -> str:
        """Whether both read a whole section, and one date of it at one level, alike."""
        setting = written.setting
        checksum = google_crc32c.value(np.array(written.checksums, "<u4").tobytes())
        level, t = int(rng.integers(6)), int(rng.integers(setting.shape[0]))
        wanted = [i == t for i in range(setting.shape[0])]
        try:
            whole = self.fast(written.section, setting, checksum)
            part = self.fast(written.section, setting, checksum, level=level, wanted=wanted)[t]
        except CorruptChunk:
            return "differ"
        (expected,) = read_section(written.section, setting, self.weights, dates=[t], level=level)
        same = (whole == written.dn).all() and (part == expected).all()
        return "whole" if same else "differ"


def damaged(data: bytes, rng: np.random.Generator, streams: int) -> bytes:
    """Change a few bits or bytes, mostly of the streams, which are the last bytes."""
    first = len(data) - streams if streams and rng.random() < 0.8 else 0
    at, length = int(rng.integers(first, len(data))), int(rng.choice([1, 1, 4]))
    changed = bytearray(data)
    if rng.random() < 0.4:
        changed[at] ^= 1 << int(rng.integers(8))
    else:
        changed[at : at + length] = rng.bytes(len(changed[at : at + length]))
    return bytes(changed)


def outcomes(model: str, first: int, longest: int) -> Iterator[tuple[int, str, Setting]]:
    """Seed, outcome and header of one section after another."""
    readers, seed = Readers(model), first
    while True:
        rng = np.random.default_rng(seed)
        written = random_section(rng, model, readers.weights, longest)
        yield seed, readers.agree(written, rng), written.setting
        streams = sum(map(len, split(written.section, written.setting).streams))
        for _ in range(DAMAGED):
            data = damaged(written.section, rng, streams)
            yield seed, readers.agree_on_damage(data, written.setting), written.setting
        seed += 1


def main(model: str, seconds: str, first: str = "0", longest: str = "14") -> int:
    """Run for some seconds; 1 if the readers differ anywhere."""
    end, counts = time.monotonic() + float(seconds), Counter[str]()
    for seed, outcome, setting in outcomes(model, int(first), int(longest)):
        counts[outcome] += 1
        if outcome == "differ":
            sys.stdout.write(f"seed {seed}: {setting}\n")
        if time.monotonic() > end:
            break
    sys.stdout.write(f"{model}: {dict(counts)}\n")
    return int(counts["differ"] > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

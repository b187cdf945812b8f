"""Speed of the C core alone on real scenes, beside other codecs, on one core.

    python -m benchmarks.core_speed --data DIR [--scenes terracodec_0173706,stolar_PL_699]

MB/s of uint16 pixels (10^6 bytes), of the thread's processor time: the best of several turns in
which all run one after another, so that a busy machine slows all alike. HTJ2K and JPEG 2000 take
one quantizer step for all bands, as the core does, so bits are not equal: PSNR (peak 10,000) and
bits per sample stand beside. Memory is what one call of the core adds to the resident set at most,
in chunks of uint16.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numcodecs
import numpy as np
from numpy.typing import NDArray

from tec_numcodecs.models.mini.core import Coder, Core, replication_of
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.weights import local_store, safetensors_io

Cube = NDArray[np.uint16]
SIDE, DATES, MIDDLE = 256, 4, 32768
#: Rate indices, by what users say.
RATES = {"lam 20": 156, "lam 200": 129, "lossless": 0}
#: OpenJPH's quantizer step is a fraction of 2^16.
STEP = 2.0**-7


class Contestant(NamedTuple):
    """A codec at one setting."""

    name: str
    encode: Callable[[Cube], Any]
    decode: Callable[[Any], NDArray[Any]]
    size: Callable[[Any], int]


def ours(model: str, coder: Coder, setting: str) -> Contestant:
    """Set the core up; pixels are made int32 outside of what is measured, as in `chunk`."""
    rate = RATES[setting]

    def encode(cube: Cube) -> Any:
        samples = cube.astype(np.int32)
        return cube.shape, coder.encode(samples, rate, replication=replication_of(samples))

    def decode(found: Any) -> NDArray[Any]:
        (t, _, h, w), data = found
        return coder.decode(data.data, (t, h, w), rate, data.symbols)[0]

    return Contestant(f"{model} {setting}", encode, decode, lambda found: len(found[1].data))


def _planes(
    encode: Callable[[Any], bytes], decode: Callable[[bytes], Any], name: str
) -> Contestant:
    """Code every band of every date on its own."""

    def all_planes(cube: Cube) -> Any:
        flat = cube.reshape(-1, *cube.shape[2:])
        return cube.shape, [encode(plane) for plane in flat]

    def back(found: Any) -> NDArray[Any]:
        shape, streams = found
        return np.stack([decode(data) for data in streams]).reshape(shape)

    return Contestant(name, all_planes, back, lambda found: sum(map(len, found[1])))


def klt_htj2k(step: float) -> Contestant:
    """A KLT of all bands of a date, fitted to it, and HTJ2K of each component."""

    def encode(cube: Cube) -> Any:
        found = []
        for image in cube.reshape(*cube.shape[:2], -1).astype(np.float32):
            mean = image.mean(1, keepdims=True)
            _, basis = np.linalg.eigh(np.cov(image[:, ::8]))
            turn = np.ascontiguousarray(basis[:, ::-1].T, np.float32)
            planes = np.clip(np.rint(turn @ (image - mean)) + MIDDLE, 0, 65535).astype(np.uint16)
            streams = [
                bytes(imagecodecs.htj2k_encode(p, level=step, reversible=False))
                for p in planes.reshape(cube.shape[1:])
            ]
            found.append((mean, turn, streams))
        return cube.shape, found

    def decode(found: Any) -> NDArray[Any]:
        shape, dates = found
        out = np.empty(shape, np.uint16)
        for t, (mean, turn, streams) in enumerate(dates):
            planes = np.stack([imagecodecs.htj2k_decode(data) for data in streams])
            image = turn.T @ (planes.reshape(shape[1], -1).astype(np.float32) - MIDDLE) + mean
            out[t] = np.clip(np.rint(image), 0, 65535).reshape(shape[1:])
        return out

    return Contestant(
        "KLT + HTJ2K", encode, decode, lambda f: sum(len(s) for d in f[1] for s in d[2])
    )


def rivals() -> Iterator[Contestant]:
    """Yield other codecs."""
    yield klt_htj2k(STEP)
    yield _planes(
        lambda p: bytes(imagecodecs.htj2k_encode(p, level=STEP, reversible=False)),
        imagecodecs.htj2k_decode,
        "HTJ2K per band",
    )
    yield _planes(
        lambda p: bytes(imagecodecs.jpeg2k_encode(p, level=56, reversible=False, numthreads=1)),
        lambda data: imagecodecs.jpeg2k_decode(data, numthreads=1),
        "OpenJPEG per band, 40 dB",
    )
    yield _planes(
        lambda p: bytes(imagecodecs.htj2k_encode(p, reversible=True)),
        imagecodecs.htj2k_decode,
        "HTJ2K lossless",
    )
    blosc: Any = importlib.import_module("numcodecs.blosc")
    blosc.use_threads = False
    zstd: Any = numcodecs.get_codec({"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 2})  # type: ignore[no-untyped-call]
    yield Contestant(
        "blosc-zstd-5",
        lambda cube: (cube.shape, zstd.encode(cube)),
        lambda found: np.frombuffer(zstd.decode(found[1]), np.uint16).reshape(found[0]),
        lambda found: len(found[1]),
    )


def _timed(work: Callable[[Any], Any], argument: Any) -> tuple[float, Any]:
    before = time.thread_time()
    found = work(argument)
    return time.thread_time() - before, found


def compare(cube: Cube, contestants: list[Contestant], turns: int) -> Iterator[str]:
    """Yield a row of a table for each."""
    best = {c.name: [np.inf, np.inf] for c in contestants}
    bits, psnr = {}, {}
    for _ in range(turns):
        for c in contestants:
            encoding, data = _timed(c.encode, cube)
            decoding, decoded = _timed(c.decode, data)
            own = best[c.name]
            own[0], own[1] = min(own[0], encoding), min(own[1], decoding)
            bits[c.name] = 8 * c.size(data) / cube.size
            error = np.square(decoded.astype(np.float64) - cube).mean()
            psnr[c.name] = 10 * np.log10(1e8 / error) if error else np.inf
    for name, (encoding, decoding) in best.items():
        speeds = " | ".join(f"{cube.nbytes / 1e6 / s:.0f}" for s in (encoding, decoding))
        yield f"| {name} | {speeds} | {bits[name]:.3f} | {psnr[name]:.1f} |"


def _resident(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def memory(cube: Cube, contestant: Contestant) -> str:
    """Say what encoding and decoding add to the resident set, in chunks (Linux)."""
    growth = []
    data = None
    for work in (contestant.encode, contestant.decode):
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls left is not this one's
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
        found = work(cube if data is None else data)
        growth.append((_resident("VmHWM") - before) / cube.nbytes)
        data = found if data is None else data
    return f"| {contestant.name} | {growth[0]:.1f} | {growth[1]:.1f} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scenes", default="terracodec_0173706,stolar_PL_699")
    parser.add_argument("--models", default="fp,elic,tt,flextec")
    parser.add_argument("--settings", default="lam 20,lam 200")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    sensor = get_sensor("sentinel-2-l2a")
    coders = {}
    for model in options.models.split(","):
        found = local_store.resolve("mini", model)
        core = Core(model, safetensors_io.load(local_store.locate(found), found.sha256))
        coders[model] = core.coder(sensor, range(12))
    own = [ours(m, c, s) for s in options.settings.split(",") for m, c in coders.items()]
    for name in options.scenes.split(","):
        with np.load(options.data / f"{name}.npz", allow_pickle=False) as archive:
            cube = np.ascontiguousarray(archive["data"][:DATES, :12, :SIDE, :SIDE])
        print(f"\n{name}, {cube.shape}\n\n| codec | encode, MB/s | decode, MB/s | bits | dB |")
        print("| --- |" + " ---: |" * 4)
        rows = compare(cube, [*rivals(), *own], options.turns)
        print("\n".join(rows))
        print("\n| memory, in chunks | encode | decode |\n| --- | ---: | ---: |")
        print("\n".join(memory(cube, contestant) for contestant in own))


if __name__ == "__main__":
    main()

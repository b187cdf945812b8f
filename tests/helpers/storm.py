"""Chunks that no model was made for, with what is promised about them.

Used by test_storm.py; by hand, with a figure of how many:

    python tests/helpers/storm.py 11000
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cubes import scene
from tec_numcodecs import set_options
from tec_numcodecs.chunk import decode, encode
from tec_numcodecs.config import CodecConfig
from tec_numcodecs.sensors import get_sensor

BOUNDS = (0, 1, 5, 50, 500)  # DN
LARGEST = (4, 12, 64, 64)
ADVERSARIAL = (
    "noise", "saturated", "pixel", "checkerboard", "all but one", "dark", "stripes", "steps",
    "extremes", "nan by band", "nan but one", "subnormal", "next to nodata",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A chunk, its settings, and the largest error that is allowed, in its own units."""

    name: str
    array: NDArray[Any]
    config: CodecConfig
    bound: float


def cases(count: int, largest: tuple[int, ...] = LARGEST, seed: int = 0) -> Iterator[Case]:
    """Ten random ones for each adversarial one, sizes even on a logarithmic scale."""
    for number in range(count):
        random = np.random.default_rng((seed, number))
        hostile = number % 11 == 10
        kind = ADVERSARIAL[number // 11 % len(ADVERSARIAL)] if hostile else "random"
        shape = tuple(round(n ** random.random()) for n in largest)
        yield _case(random, kind, (shape[0], shape[1], shape[2], shape[3]), number)


def _case(
    random: np.random.Generator, kind: str, shape: tuple[int, int, int, int], number: int
) -> Case:
    bands = tuple(random.permutation(get_sensor("sentinel-2-l2a").bands)[: shape[1]])
    dn = _pixels(random, kind, shape)
    bound = BOUNDS[number % len(BOUNDS)]
    dtype = ("<u2", ">u2", "<i2", ">i2", "<f4", ">f4")[int(random.integers(6))]
    if kind in ("nan by band", "nan but one", "subnormal"):
        dtype = "<f4"
    settings: dict[str, Any] = {"bands": bands}
    if dtype[1:] == "f4":
        array = (dn / 10_000).astype(dtype)
        _holes(random, kind, array)
        settings |= {"units": "reflectance", "nodata": random.choice([None, 0.0, -9999.0])}
        promise = bound * 1e-4
    else:
        array = (dn - 32768 if dtype[1:] == "i2" else dn).astype(dtype)
        nodata = random.choice([None, 0, int(array.flat[0])])
        if kind == "next to nodata":
            nodata = int(array.flat[0])
            array[...] = nodata + random.integers(0, 3, shape)
        settings["nodata"] = nodata
        promise = float(bound)
    return Case(
        f"{number} {kind} {shape} {dtype} {bound}",
        array,
        CodecConfig.parse(max_error=promise, **settings),
        promise,
    )


def _pixels(random: np.random.Generator, kind: str, shape: tuple[int, int, int, int]) -> Any:
    """Digital numbers from 0 to 65535."""
    flat = np.full(shape, int(random.integers(1, 12_000)))
    y, x = np.indices(shape)[2:]
    if kind == "random":
        found = scene(shape, int(random.integers(1 << 30))).astype(int)
        found = found + np.rint(random.normal(0, 3 ** random.uniform(0, 7), shape)).astype(int)
        spikes = random.random(shape) < random.choice([0, 0, 0.001, 0.05])
        found = np.where(spikes, random.integers(0, 65536, shape), found)
        holes = random.random(shape) < random.choice([0, 0, 0.1, 0.9])
        return np.where(holes, 0, found.clip(1, 65535))
    if kind in ("noise", "extremes"):
        noise = random.integers(0, 65536, shape)
        return noise if kind == "noise" else np.where(noise < 32768, 0, 65535)
    if kind == "pixel":
        flat[tuple(int(random.integers(n)) for n in shape)] = 65535
    elif kind == "all but one":
        flat[...] = 0
        flat[tuple(int(random.integers(n)) for n in shape)] = int(random.integers(1, 65536))
    return {
        "saturated": np.where(random.random(shape) < 0.3, 65535, flat),
        "checkerboard": (x + y) % 2 * 60_000 + 2,
        "dark": random.integers(0, 4, shape),
        "stripes": np.where(x % 2, 65535, flat),
        "steps": (x // 8 + y // 8) % 2 * int(random.integers(1, 60_000)) + 1,
    }.get(kind, flat)


def _holes(random: np.random.Generator, kind: str, array: NDArray[Any]) -> None:
    """Missing and odd values of floats."""
    if kind == "nan by band":
        array[random.random(array.shape[:2]) < 0.5] = np.nan
    elif kind == "nan but one":
        kept = array.flat[0]
        array[...] = np.nan
        array.flat[0] = kept
    elif kind == "subnormal":
        array[random.random(array.shape) < 0.5] = np.float32(1e-40)
    elif random.random() < 0.5:
        array[random.random(array.shape) < 0.2] = np.nan


def check(case: Case) -> bytes:
    """Encode and decode; raise if a promise is broken. Returns the chunk."""
    (data,) = encode([case.array], case.config)
    (found,) = decode([data], case.config, case.array.shape)
    array, nodata = case.array, case.config.nodata
    assert found.dtype == array.dtype, case.name
    missing = np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)
    assert (missing == np.isnan(found)).all() if array.dtype.kind == "f" else True, case.name
    if nodata is not None:
        marked = array == array.dtype.type(nodata)
        assert (marked == (found == array.dtype.type(nodata))).all(), case.name
        missing |= marked
    with np.errstate(invalid="ignore"):
        error = np.abs(found.astype(np.float64) - array.astype(np.float64))
    worst = float(np.where(missing, 0, error).max())
    assert worst <= case.bound, f"{case.name}: off by {worst}"
    assert len(data) <= 1.02 * array.nbytes + 200, f"{case.name}: {len(data)} of {array.nbytes}"
    with set_options(threads=2):
        (again,) = decode([data], case.config, array.shape)
    assert again.tobytes() == found.tobytes(), f"{case.name}: threads"
    return data


def digests(chunks: list[bytes]) -> list[str]:
    """SHA-256 of the pixels of each chunk."""
    return [hashlib.sha256(item.tobytes()).hexdigest() for c in chunks for item in decode([c])]


def elsewhere(chunks: list[bytes], folder: Path) -> list[str]:
    """The same by a process that has neither our C nor NumPy's vector instructions."""
    path = folder / "chunks.npz"
    np.savez(path, *(np.frombuffer(chunk, np.uint8) for chunk in chunks))
    features = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX2 FMA3 F16C AVX"
    from numpy._core._multiarray_umath import __cpu_dispatch__ as dispatched

    known = " ".join(name for name in features.split() if name in dispatched)
    environment = os.environ | {"TEC_DISABLE_NATIVE": "1", "NPY_DISABLE_CPU_FEATURES": known}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--digests", str(path)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout.split()


def main() -> None:
    """Run a storm, or (for `elsewhere`) print digests."""
    if sys.argv[1] == "--digests":
        with np.load(sys.argv[2]) as archive:
            chunks = [archive[name].tobytes() for name in archive.files]
        sys.stdout.write("\n".join(digests(chunks)))
        return
    count, done, modes = int(sys.argv[1]), 0, 0
    for case in cases(count):
        data = check(case)
        done, modes = done + 1, modes + (data[5] == 1)
        if done % 500 == 0 or done == count:
            sys.stdout.write(f"{done} chunks, {modes} by the model, no violation\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

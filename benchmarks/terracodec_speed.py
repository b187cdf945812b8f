"""Speed and memory of the published architectures against the published package, interleaved.

    python -m benchmarks.terracodec_speed fp elic tt --runs 5 --threads 2
    python -m benchmarks.terracodec_speed tt --growth 2 4 8

Needs compressai and terracodec. Both sides get the same seeded weights and the same pixels, and
take turns; each figure is the median of CPU seconds (wall seconds in brackets), so that a busy
machine does less harm. Beside it stands the time that the network's multiplications take at the
float64 and the float32 GEMM rate, measured in between, and the peak memory of a process that
encodes and decodes with our side alone. Frame 0 of tt needs no past: its figures are those of all
later frames, the time of T frames less that of one.

With --growth our side alone codes series of several lengths, each in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tec_numcodecs.models.base import Geometry, Model, Rate
from tec_numcodecs.models.terracodec import importing
from tec_numcodecs.sensors import get_sensor

SIZE = 256
BANDS = 12
# GFLOP a frame of 256 x 256, encoding and decoding alike: convolutions counted from the layers'
# shapes by `_convolution_flops`, TT's transformer as its 470 with cached keys and values.
TT_TRANSFORMER = 470e9


@dataclass
class Times:
    """CPU and wall seconds of repeated runs."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def run(self, work: Callable[[], Any]) -> Any:
        """Run once and note how long it took."""
        cpu, wall = time.process_time(), time.perf_counter()
        result = work()
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)
        return result

    def __str__(self) -> str:
        return f"{statistics.median(self.cpu):.2f} ({statistics.median(self.wall):.2f})"


def upstream(name: str) -> torch.nn.Module:
    """Return a seeded upstream model whose latents are not all zero."""
    # Here, so that a process for our side alone does without it.
    from terracodec.imagecodecs import ELIC, FactorizedPrior
    from terracodec.temporaltransformer import TemporalTransformer

    torch.manual_seed(0)
    if name == "fp":
        model = FactorizedPrior(BANDS, 128, 192, SIZE)
        _scale(model.g_a[6], 74.1)
    elif name == "elic":
        model = ELIC(BANDS, 192, 320, SIZE)
        _scale(model.g_a[13], 30.3)
    else:
        model = TemporalTransformer(flextec=False, image_size=SIZE, in_channels=BANDS)
        _scale(model.model.transform.analysis_transform.transforms[13], 28.1)
        model.model.entropy_model.scale_head[4].bias.data += 2
    return model.eval()


def _scale(layer: torch.nn.Module, factor: float) -> None:
    for value in layer.parameters():
        value.data.mul_(factor)


def prepared(name: str, model: Any) -> None:
    """Build upstream's tables."""
    if name == "tt":
        model.setup_model_for_compression()
    else:
        model.update(force=True)


def imported(model: torch.nn.Module, directory: Path) -> tuple[Path, Model]:
    """Freeze a model's state dict, as a user would a published file; load it."""
    path = directory / "weights.pt"
    torch.save(model.state_dict(), path)
    found = importing.import_checkpoint(path, directory=directory)
    path.unlink()
    return found.path, importing.load(found.path, found.weights.sha256)


def gemm_rate(dtype: torch.dtype) -> float:
    """Return FLOP a CPU second, at the transformer's own size, best of five."""
    left = torch.randn((1024, 768), dtype=dtype)
    right = torch.randn((768, 768), dtype=dtype)
    times = Times()
    for _ in range(5):
        times.run(lambda: left @ right)
    return 2 * 1024 * 768 * 768 / min(times.cpu)


def convolution_flops(network: torch.nn.Module, x: torch.Tensor) -> float:
    """Count the multiplications and additions of all convolutions in one pass."""
    total = 0.0

    def count(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        # A transposed convolution spreads every input, an ordinary one gathers every output.
        transposed = isinstance(layer, torch.nn.ConvTranspose2d)
        positions = (inputs[0] if transposed else output)[0, 0].numel()
        total += 2.0 * layer.weight.numel() * positions * x.shape[0]

    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, kinds)]
    with torch.inference_mode():
        network(x)
    for hook in hooks:
        hook.remove()
    return total


def scene(frames: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """A textured cube with Sentinel-2's brightness, int32 [T, C, H, W]."""
    sensor = get_sensor("sentinel-2-l2a")
    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((frames, BANDS, SIZE // 16, SIZE // 16))
    fine = np.kron(coarse, np.ones((16, 16))) + 0.2 * rng.standard_normal(
        (frames, BANDS, SIZE, SIZE)
    )
    mean = np.asarray(sensor.mean)[:, None, None]
    std = np.asarray(sensor.std)[:, None, None]
    return np.maximum(mean + 0.5 * std * fine, 0).astype(np.int32)


@dataclass
class Sides:
    """Both sides with the same weights, and how long they took."""

    theirs: Any
    ours: Any
    times: dict[str, Times] = field(default_factory=dict)

    def take_turns(self, frames: int) -> None:
        """Encode and decode a series with both."""
        cube, geometry = series(frames)
        x = self.ours.standardizer.forward(cube, geometry)
        temporal = self.ours.name == "tt"
        with torch.inference_mode():
            batch = x[None] if temporal else x
            payload = self._run("their encoding", frames, lambda: self.theirs.compress(batch))
            parts = (payload,) if temporal else (payload["strings"], payload["shape"])
            self._run("their decoding", frames, lambda: self.theirs.decompress(*parts))
        streams = self._run("encoding", frames, lambda: encode(self.ours, cube, geometry))
        decoded = self._run(
            "entropy decoding", frames,
            lambda: self.ours.entropy_decode(streams, [geometry], [Rate(0)]),
        )  # fmt: skip
        self._run("synthesis", frames, lambda: self.ours.synthesis(decoded))
        self._run("exact synthesis", frames, lambda: self.ours.exact().synthesis(decoded))

    def _run(self, what: str, frames: int, work: Callable[[], Any]) -> Any:
        return self.times.setdefault(f"{what} {frames}", Times()).run(work)

    def seconds(self, what: str, frames: int) -> float:
        """Return CPU seconds a frame, for tt without the first frame."""
        total = statistics.median(self.times[f"{what} {frames}"].cpu)
        if self.ours.name != "tt" or frames == 1:
            return total / frames
        return (total - statistics.median(self.times[f"{what} 1"].cpu)) / (frames - 1)


def series(frames: int) -> tuple[np.ndarray[Any, np.dtype[np.int32]], Geometry]:
    """Return a cube and its geometry."""
    cube = scene(frames)
    bands = tuple(range(BANDS))
    return cube, Geometry(cube.shape, get_sensor("sentinel-2-l2a"), bands)  # type: ignore[arg-type]


def encode(model: Model, cube: Any, geometry: Geometry) -> list[bytes]:
    """Encode one cube."""
    return model.entropy_encode(model.analysis([cube], [geometry], [Rate(0)]))


def flops_of(name: str, sides: Sides) -> float:
    """Count what one frame takes, encoding or decoding."""
    cube, geometry = series(1)
    flops = convolution_flops(sides.ours.g_a, sides.ours.standardizer.forward(cube, geometry))
    if name == "tt":
        flops += TT_TRANSFORMER
    if name == "elic":
        hyper = sides.theirs.latent_codec.hyper.h_s
        flops += convolution_flops(hyper, torch.zeros(1, 192, 4, 4))
    return flops


def compare(name: str, frames: int, runs: int, directory: Path, threads: int) -> None:
    """Time one architecture both ways and print what came out."""
    theirs: Any = upstream(name)
    path, ours_loaded = imported(theirs, directory)
    sides = Sides(theirs, ours_loaded)
    prepared(name, theirs)
    lengths = (1, frames) if name == "tt" and frames > 1 else (frames,)
    rates: dict[torch.dtype, list[float]] = {torch.float64: [], torch.float32: []}
    for _ in range(runs):
        for length in lengths:
            sides.take_turns(length)
        for dtype, found in rates.items():
            found.append(gemm_rate(dtype))
    flops = flops_of(name, sides)
    bounds = {dtype: flops / max(found) for dtype, found in rates.items()}
    ours = {
        "encode": sides.seconds("encoding", frames),
        "decode": sides.seconds("entropy decoding", frames) + sides.seconds("synthesis", frames),
    }
    later = " after the first" if len(lengths) > 1 else ""
    print(f"{name}: CPU seconds a frame{later}, {frames} frames, {runs} runs, {threads} threads")
    for way, seconds in ours.items():
        theirs_took = sides.seconds(f"their {way[:2]}coding", frames)
        double, single = (seconds / bounds[dtype] for dtype in (torch.float64, torch.float32))
        print(
            f"  {way}: theirs {theirs_took:.3f}  ours {seconds:.3f}  {theirs_took / seconds:.1f}x "
            f"as fast;  {double:.2f} x its {flops / 1e9:.0f} GFLOP in float64 "
            f"({max(rates[torch.float64]) / 1e9:.0f} GFLOP/s), {single:.2f} x in float32 "
            f"({max(rates[torch.float32]) / 1e9:.0f} GFLOP/s)"
        )
    plain, exact = (sides.seconds(what, frames) for what in ("synthesis", "exact synthesis"))
    print(f"  synthesis: {plain:.3f} in floating point, {exact:.3f} exact")
    for what, times in sides.times.items():
        print(f"    {what}: {times}")
    print(f"  peak memory, our side alone: {alone(path, frames, threads)['peak']:.0f} MB")


def alone(path: Path, frames: int, threads: int) -> dict[str, float]:
    """Code a series in a process of its own; return CPU seconds and peak memory in MB."""
    command = [sys.executable, "-m", "benchmarks.terracodec_speed", "--alone", str(path)]
    command += ["--frames", str(frames), "--threads", str(threads)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(zip(("encode", "decode", "peak"), map(float, run.stdout.split()), strict=True))


def measure_alone(path: Path, frames: int) -> None:
    """Do what `alone` asks for and print it."""
    model = importing.load(path, path.stem)
    cube, geometry = series(frames)
    encoding, decoding = Times(), Times()
    streams = encoding.run(lambda: encode(model, cube, geometry))
    decoding.run(lambda: model.synthesis(model.entropy_decode(streams, [geometry], [Rate(0)])))
    print(encoding.cpu[0], decoding.cpu[0], peak_memory())


def peak_memory() -> float:
    """Return this process's peak in MB: on Linux of its own pages, not of its parent's."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return float(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def growth(name: str, lengths: list[int], directory: Path, threads: int) -> None:
    """Print time and memory of our side over the length of a series."""
    path, _ = imported(upstream(name), directory)
    for frames in lengths:
        found = alone(path, frames, threads)
        print(
            f"{name} T={frames}: {found['encode']:.2f} s to encode, {found['decode']:.2f} s to "
            f"decode (CPU), peak {found['peak']:.0f} MB",
            flush=True,
        )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["fp", "elic", "tt"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--frames", type=int, default=0, help="default 4, and 2 for tt")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--growth", type=int, nargs="+", help="lengths of series")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.alone:
        measure_alone(options.alone, options.frames)
        return
    for name in options.models:
        frames = options.frames or (2 if name == "tt" else 4)
        with tempfile.TemporaryDirectory() as directory:
            if options.growth:
                growth(name, options.growth, Path(directory), options.threads)
            else:
                compare(name, frames, options.runs, Path(directory), options.threads)


if __name__ == "__main__":
    main()

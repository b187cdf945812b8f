"""Speed and memory of the published architectures against the published package, interleaved.

    python benchmarks/terracodec_speed.py fp elic tt --runs 5 --threads 2

Needs compressai and terracodec. Both sides get the same seeded weights and the same pixels, and
take turns; each figure is the median of CPU seconds (wall seconds in brackets), so that a busy
machine does less harm. The last column compares with the time that the network's multiplications
take at the float64 GEMM rate, measured in between.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from terracodec.imagecodecs import ELIC, FactorizedPrior
from terracodec.temporaltransformer import TemporalTransformer

from tec_numcodecs.models.base import Geometry, Model, Rate
from tec_numcodecs.sensors import get_sensor
from tec_numcodecs.weights import terracodec

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


def imported(model: torch.nn.Module, directory: Path) -> Model:
    """Freeze a model's state dict, as a user would a published file."""
    path = directory / "weights.pt"
    torch.save(model.state_dict(), path)
    found = terracodec.import_checkpoint(path, directory=directory)
    path.unlink()
    return terracodec.load(found.path, found.weights.sha256)


def gemm_rate() -> float:
    """Return float64 FLOP a CPU second, at the transformer's own size, best of five."""
    left = torch.randn((1024, 768), dtype=torch.float64)
    right = torch.randn((768, 768), dtype=torch.float64)
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


def compare(name: str, frames: int, runs: int, directory: Path) -> None:
    """Time one architecture both ways and print a row."""
    theirs: Any = upstream(name)
    ours: Any = imported(theirs, directory)
    prepared(name, theirs)
    cube, rate = scene(frames), Rate(0)
    geometry = Geometry(cube.shape, get_sensor("sentinel-2-l2a"), tuple(range(BANDS)))
    x = ours.standardiser.forward(cube, geometry)
    batch = x[None] if name == "tt" else x
    flops = convolution_flops(ours.g_a, x)
    flops += TT_TRANSFORMER * frames if name == "tt" else 0.0
    if name == "elic":
        flops += convolution_flops(theirs.latent_codec.hyper.h_s, torch.zeros(frames, 192, 4, 4))
    columns = [Times() for _ in range(4)]
    rates = []
    for _ in range(runs):
        with torch.inference_mode():
            payload = columns[0].run(lambda: theirs.compress(batch))
            decode = (
                (lambda p=payload: theirs.decompress(p)) if name == "tt"
                else (lambda p=payload: theirs.decompress(p["strings"], p["shape"]))
            )  # fmt: skip
            columns[1].run(decode)
        rates.append(gemm_rate())

        def encode() -> list[bytes]:
            streams: list[bytes] = ours.entropy_encode(ours.analysis([cube], [geometry], [rate]))
            return streams

        streams = columns[2].run(encode)
        columns[3].run(lambda s=streams: ours.synthesis(ours.entropy_decode(s, [geometry], [rate])))
        rates.append(gemm_rate())
    seconds = [statistics.median(c.cpu) for c in columns]
    bound = flops / max(rates)
    print(
        f"{name:5} {frames} frames  theirs {columns[0]} / {columns[1]}  ours {columns[2]} / "
        f"{columns[3]}  faster {seconds[0] / seconds[2]:.1f}x / {seconds[1] / seconds[3]:.1f}x  "
        f"float64 bound {bound:.2f}: {seconds[2] / bound:.2f}x / {seconds[3] / bound:.2f}x"
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["fp", "elic", "tt"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--frames", type=int, default=0, help="default 4, and 1 for tt")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, median CPU s (wall s), encode / decode, {SIZE}^2 x {BANDS}")
    for name in options.models:
        frames = options.frames or (1 if name == "tt" else 4)
        with tempfile.TemporaryDirectory() as directory:
            compare(name, frames, options.runs, Path(directory))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process, both sides together: {peak:.0f} MB")


if __name__ == "__main__":
    main()

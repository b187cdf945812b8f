"""Published architectures on a GPU: exactness against the processor first, then speed and memory.

    python -m benchmarks.gpu                             # what `make test-gpu` runs, five minutes
    python -m benchmarks.gpu --device cpu-torch --small  # its code where there is no GPU

Weights are seeded and of the published sizes, symbols are drawn: what is compared and timed does
not depend on what they say. For each architecture, streams written by the processor (one thread
and all) and by the GPU (one chunk and eight together) must be the same bytes, and each side must
read what the other wrote. Times are of the exact entropy models alone and of everything, beside the
time that their products take at the GPU's own rates for float64, float32 and bytes.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.base import Geometry, Latents, Rate
from tec_numcodecs.models.terracodec import devices, initial
from tec_numcodecs.models.terracodec.exact import backends, integer_gemm, layers
from tec_numcodecs.models.terracodec.exact_synthesis import Published
from tec_numcodecs.options import set_options
from tec_numcodecs.sensors import get_sensor

SENSOR = get_sensor("sentinel-2-l2a")
RATES = {"fp": Rate(0), "elic": Rate(0), "tt": Rate(0), "flextec": Rate(0, 4)}
SMALL: dict[str, dict[str, int]] = {
    "fp": {"n": 8, "m": 12},
    "elic": {"n": 8, "m": 136},
    "tt": {"n": 8, "m": 16, "width": 64},
    "flextec": {"n": 8, "m": 64, "width": 64},
}
BATCHES = (1, 8)
RESULTS = Path(__file__).parent / "results" / "gpu.md"


@dataclass
class Report:
    """Lines for people, and whether anything differed."""

    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def say(self, line: str = "") -> None:
        """Print a line and keep it."""
        print(line, flush=True)
        self.lines.append(line)

    def check(self, what: str, same: bool) -> None:
        """Note whether two things are the same."""
        if not same:
            self.wrong.append(what)
        self.say(f"| {what} | {'same' if same else 'DIFFERENT'} |")


@dataclass
class Case:
    """A model, and chunks for it."""

    model: Published
    rate: Rate
    geometry: Geometry

    def latents(self, count: int) -> list[Latents]:
        """Draw symbols: of few values, as those of real images."""
        out = []
        for seed in range(count):
            rng = np.random.default_rng(seed)
            drawn = np.rint(3 * rng.standard_normal(self._symbols)).astype(np.int32)
            out.append(Latents(self.geometry, self.rate, drawn))
        return out

    @property
    def _symbols(self) -> int:
        frames, _, height, width = self.geometry.shape
        latents = self.model.channels * (height // 16) * (width // 16)
        if self.model.name == "elic":
            latents += self.model.hyper_channels * (height // 64) * (width // 64)  # type: ignore[attr-defined]
        if self.model.name == "flextec":
            latents = latents * self.rate.quality // 16
        return frames * latents

    def write(self, items: list[Latents], device: str) -> list[bytes]:
        """Encode on a device."""
        bare = [Latents(item.geometry, item.rate, item.symbols) for item in items]
        with set_options(device=device):
            return self.model.entropy_encode(bare)

    def read(self, streams: list[bytes], device: str) -> list[Latents]:
        """Decode on a device."""
        count = len(streams)
        with set_options(device=device):
            return self.model.entropy_decode(streams, [self.geometry] * count, [self.rate] * count)


def main() -> None:
    """Run everything; exit with an error if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(RATES), metavar="MODEL")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="small networks and images")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    stop = time.monotonic() + 60 * options.minutes
    try:
        device = devices.checked_device(options.device)
    except InvalidInput as error:
        sys.exit(f"nothing was measured: {error}")
    report = Report()
    report.say("# Published architectures on a GPU")
    report.say()
    report.say(f"{_name(device)}; torch {torch.__version__}; {platform.processor() or 'CPU'}, "
               f"{torch.get_num_threads()} threads. `python -m benchmarks.gpu`")  # fmt: skip
    rates = _rates(device, small=options.small)
    said = ", ".join(f"{name} {rate / 1e12:.3g} TFLOP/s" for name, rate in rates.items())
    report.say(f"Matrix products measured: {said}.")
    for name in options.models:
        if time.monotonic() > stop:
            report.say(f"\n{name}: no time left")
            continue
        _model(name, options, device, rates, report, stop)
    report.say()
    report.say("Everything was the same." if not report.wrong else f"WRONG: {report.wrong}")
    if not options.small:
        options.out.write_text("\n".join(report.lines) + "\n", encoding="utf-8")
    sys.exit(bool(report.wrong))


def _model(
    name: str, options: Any, device: torch.device, rates: dict[str, float], report: Report,
    stop: float,
) -> None:  # fmt: skip
    size, frames = (64, 2) if options.small else (256, 2)
    sizes = SMALL[name] if options.small else {}
    model, _ = initial.random_model(name, len(SENSOR.bands), **sizes)
    bands = tuple(range(len(SENSOR.bands)))
    case = Case(model, RATES[name], Geometry((frames, len(bands), size, size), SENSOR, bands))
    report.say(f"\n## {name}\n\n| what | streams or symbols |\n|---|---|")
    _exactness(case, options.device, report)
    report.say()
    report.say("| chunks together | ms a frame, encoding | decoding | peak memory, MB |")
    report.say("|---|---|---|---|")
    for count in BATCHES:
        if time.monotonic() < stop:
            report.say(_timed(case, options.device, device, count))
    flops = _flops(case, options.device) / frames
    limits = ", ".join(f"{1e3 * flops / rate:.2f} ms ({kind})" for kind, rate in rates.items())
    report.say(f"\nExact products: {flops / 1e9:.1f} GFLOP a frame; at those rates {limits}.")
    transform = _transforms(case, options.device)
    report.say(f"Analysis and synthesis: {transform[0]:.1f} and {transform[1]:.1f} ms a frame.")


def _exactness(case: Case, device: str, report: Report) -> None:
    """Compare both sides, both ways."""
    items = case.latents(max(BATCHES))
    threads = torch.get_num_threads()
    first = case.write(items[:1], "cpu")
    torch.set_num_threads(1)
    report.check("CPU, one thread and all", case.write(items[:1], "cpu") == first)
    torch.set_num_threads(threads)
    together = case.write(items, device)
    report.check("GPU, one chunk, and the CPU", case.write(items[:1], device) == first)
    report.check("GPU, eight chunks, and the CPU", together[:1] == first)
    report.check(
        "GPU, eight chunks, and one by one", together[-1:] == case.write(items[-1:], device)
    )
    (there,) = case.read(first, device)
    report.check("GPU reads what the CPU wrote", np.array_equal(there.symbols, items[0].symbols))
    (here,) = case.read(together[-1:], "cpu")
    report.check("CPU reads what the GPU wrote", np.array_equal(here.symbols, items[-1].symbols))
    both = zip(case.read(together, device), items, strict=True)
    same = all(np.array_equal(one.symbols, other.symbols) for one, other in both)
    report.check("GPU reads eight chunks together", same)


def _timed(case: Case, name: str, device: torch.device, count: int) -> str:
    items, frames = case.latents(count), case.geometry.shape[0] * count
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    encoding, streams = _best(lambda: case.write(items, name))
    decoding, _ = _best(lambda: case.read(streams, name))
    memory = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else 0
    both = [f"{1e3 * seconds / frames:.1f}" for seconds in (encoding, decoding)]
    return f"| {count} | {' | '.join(both)} | {memory:.0f} |"


def _transforms(case: Case, name: str) -> tuple[float, float]:
    """Return milliseconds a frame of analysis and synthesis (with the dequantizer of tt)."""
    rng = np.random.default_rng(0)
    cube = rng.integers(0, 4000, case.geometry.shape).astype(np.int32)
    frames = case.geometry.shape[0]
    with set_options(device=name):
        analysis, latents = _best(lambda: case.model.analysis([cube], [case.geometry], [case.rate]))
        case.model.entropy_encode(latents)
        synthesis, _ = _best(lambda: case.model.synthesis(latents))
    return 1e3 * analysis / frames, 1e3 * synthesis / frames


def _flops(case: Case, name: str) -> float:
    """Count the products of the exact networks when one chunk is encoded."""
    with _counting() as total:
        case.write(case.latents(1), name)
    return total[0]


@contextmanager
def _counting() -> Iterator[list[float]]:
    """Count multiplications and additions of integer products."""
    total = [0.0]
    true, batched = integer_gemm._affine_into, layers.batched_product  # noqa: SLF001

    def affine(out: Any, patches: Any, matrix: Any, bias: Any) -> None:
        total[0] += 2.0 * out.shape[0] * matrix.shape[0] * matrix.shape[1]
        true(out, patches, matrix, bias)

    def product(left: Any, right: Any) -> Any:
        found = batched(left, right)
        total[0] += 2.0 * found.numel() * left.shape[-1]
        return found

    integer_gemm._affine_into, layers.batched_product = affine, product  # noqa: SLF001
    try:
        yield total
    finally:
        integer_gemm._affine_into, layers.batched_product = true, batched  # noqa: SLF001


def _best(work: Callable[[], Any], runs: int = 3) -> tuple[float, Any]:
    """Return the shortest of a few times, in seconds, after one to warm up; and the result."""
    result, times = work(), []
    for _ in range(runs):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def _rates(device: torch.device, *, small: bool) -> dict[str, float]:
    """Measure matrix products: operations a second."""
    size = 512 if small else 8192
    rates = {}
    with devices.full_precision(device):
        for kind, dtype in (("float64", torch.float64), ("float32", torch.float32)):
            left = torch.ones(size, size, dtype=dtype, device=device)
            seconds, _ = _best(lambda left=left: (left @ left)[:1, :1].cpu())
            rates[kind] = 2.0 * size**3 / seconds
    backend = backends.through_torch(str(device), device)
    with backends.running(backend):
        x, w = (torch.full((1024, 768), v, dtype=torch.float64, device=device) for v in (9.0, 7.0))
        matrix = integer_gemm.Matrix(w[:768].to(torch.int16), torch.ones_like(w[:768, 0]))
        linear = layers.Linear(matrix, torch.zeros_like(w[:768, 0]))
        seconds, _ = _best(lambda: linear(x).sum().item())
        rates["exact linear layer"] = 2.0 * 1024 * 768 * 768 / seconds
    return rates


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"no GPU ({device})"


if __name__ == "__main__":
    main()

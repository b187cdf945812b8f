"""Speed and memory of encoding and decoding one chunk of 4 x 12 x 256 x 256 pixels.

    python -m benchmarks.speed                    # our models, JPEG 2000, Blosc
    python -m benchmarks.speed --terracodec       # and TerraCodec's FP, where it is installed

All run in one process with one thread, in turns, so that a busy machine slows all of them alike.
The time is that of the processor, children included; the best and the median of the turns, with
the median of the wall clock beside it. Ratios are taken within each turn, to one encoding of
`j2k-band` at about 40 dB; their median is given. MB are 10^6 bytes of the uint16 pixels. Memory is
measured in a process of its own for each: how much its resident set grows, at most, over what it
is when Python, the libraries and the pixels are there. That includes the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import contestants, ours
from benchmarks.cache import RESULTS, shortened
from benchmarks.contestants import UNIT, Contestant

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass
class Times:
    """Seconds of each turn."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def run(self, work: Callable[[Any], Any], argument: Any) -> Any:
        """Run once and note how long it took."""
        wall, cpu = time.perf_counter(), _cpu_seconds()
        result = work(argument)
        self.cpu.append(_cpu_seconds() - cpu)
        self.wall.append(time.perf_counter() - wall)
        return result


def compare(names: list[str], turns: int) -> list[dict[str, Any]]:
    """Run all in turns.

    Parameters
    ----------
    names : list of str
        As :func:`benchmarks.contestants.make` knows them; the unit is among them.
    turns : int
        A first one is added that does not count: it loads weights and fills caches.

    Returns
    -------
    list of dict
        For each: size, seconds, ratios to the unit, MB/s.
    """
    cube = contestants.cube()
    found = {name: contestants.make(name) for name in names}
    times = {name: (Times(), Times()) for name in names}
    sizes: dict[str, int] = {}
    for turn in range(turns + 1):
        for name, contestant in found.items():
            encoding, decoding = times[name] if turn else (Times(), Times())
            data = encoding.run(contestant.encode, cube)
            decoded = decoding.run(contestant.decode, data)
            if decoded.shape != cube.shape or decoded.dtype != cube.dtype:
                raise RuntimeError(f"{name}: decoded {decoded.dtype} {decoded.shape}")
            sizes[name] = contestant.size(data)
    unit = times[UNIT][0].cpu
    return [_row(found[n], sizes[n], cube.nbytes, times[n], unit) for n in names]


def _row(
    contestant: Contestant,
    size: int,
    raw: int,
    times: tuple[Times, Times],
    unit: list[float],
) -> dict[str, Any]:
    row: dict[str, Any] = {"name": contestant.name, "note": contestant.note, "bytes": size}
    for what, measured in zip(("encode", "decode"), times, strict=True):
        median = statistics.median(measured.cpu)
        row[what] = {
            "cpu": median,
            "best": min(measured.cpu),
            "wall": statistics.median(measured.wall),
            "ratio": statistics.median(m / u for m, u in zip(measured.cpu, unit, strict=True)),
            "mb_per_s": raw / median / 1e6,
        }
    return row


def memory(name: str) -> dict[str, float]:
    """Peak growth in MB while encoding and while decoding, in a process of its own (Linux)."""
    command = [sys.executable, "-m", "benchmarks.speed", "--memory-of", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _memory_here(name: str) -> dict[str, float]:
    cube = contestants.cube()
    contestants.import_libraries(name)
    before = _memory_kib("VmRSS")
    contestant = contestants.make(name)
    growth = {}
    _reset_peak()
    data = contestant.encode(cube)
    growth["encode"] = (_memory_kib("VmHWM") - before) * 1024 / 1e6
    del contestant
    fresh = contestants.make(name)
    _reset_peak()
    fresh.decode(data)
    growth["decode"] = (_memory_kib("VmHWM") - before) * 1024 / 1e6
    return growth


def _memory_kib(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {key}")


def _reset_peak() -> None:
    """Make VmHWM start again from the resident set as it is now."""
    Path("/proc/self/clear_refs").write_text("5")


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def markdown(rows: list[dict[str, Any]], turns: int) -> str:
    """Write the table."""
    header = (
        "| codec | setting | kB | encode, ratio | decode, ratio | encode, ms CPU (best; wall) "
        "| decode, ms CPU (best; wall) | encode, MB/s | decode, MB/s | memory, MB |\n"
        "| --- | --- |" + " ---: |" * 8
    )
    lines = []
    for row in rows:
        encode, decode = row["encode"], row["decode"]
        cells = [row["name"], row["note"], f"{row['bytes'] / 1e3:.0f}"]
        cells += [f"{t['ratio']:.2f}" for t in (encode, decode)]
        cells += [
            f"{1e3 * t['cpu']:.0f} ({1e3 * t['best']:.0f}; {1e3 * t['wall']:.0f})"
            for t in (encode, decode)
        ]
        cells += [f"{t['mb_per_s']:.1f}" for t in (encode, decode)]
        cells.append(
            "{encode:.0f} / {decode:.0f}".format(**row["memory"]) if "memory" in row else ""
        )
        lines.append("| " + " | ".join(cells) + " |")
    text = (
        f"One chunk of 4 x 12 x 256 x 256 uint16 pixels, one thread, medians of {turns} turns on "
        f"{_machine()}. Ratios: processor time to that of one encoding by `{UNIT}` in the same "
        "turn; below 1 is faster. Memory: growth of the resident set, encoding / decoding."
    )
    return "# Speed and memory\n\n" + text + "\n\n" + "\n".join([header, *lines]) + "\n"


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} shared cores ({names[0] if names else platform.machine()})"


def _with_one_thread() -> None:
    """Start again with one thread: libraries read this when they are loaded."""
    if any(os.environ.get(name) != value for name, value in _ONE_THREAD.items()):
        environment: Mapping[str, str] = os.environ | _ONE_THREAD
        arguments = [sys.executable, "-m", "benchmarks.speed", *sys.argv[1:]]
        os.execve(sys.executable, arguments, environment)  # noqa: S606 (no shell is meant)


def main() -> None:
    """Measure, write the results, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--models", default="all", help="comma-separated; default: all of ours")
    parser.add_argument("--terracodec", action="store_true", help="add TerraCodec's FP")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    _with_one_thread()
    if options.memory_of:
        print(json.dumps(_memory_here(options.memory_of)))
        return
    models = ours.available() if options.models == "all" else options.models.split(",")
    names = contestants.names(models, terracodec=options.terracodec)
    rows = compare(names, options.turns)
    if not options.no_memory:
        for name, row in zip(names, rows, strict=True):
            row["memory"] = memory(name)
    options.out.mkdir(exist_ok=True)
    stem = "speed_terracodec" if options.terracodec else "speed"
    lines = ",\n".join(json.dumps(shortened(row)) for row in rows)
    (options.out / f"{stem}.json").write_text(f"[\n{lines}\n]\n")
    text = markdown(rows, options.turns)
    (options.out / f"{stem}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

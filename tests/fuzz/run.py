"""Fuzz with atheris, guided by coverage: ``make fuzz``, or by hand

    python tests/fuzz/run.py --seconds 600 container rans

Each target runs in a process of its own, starting from its committed corpus; what it finds new goes
to build/fuzz. A crash is written there and ends the run with its code.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NAMES = ("container", "mask", "residual", "rans", "latents", "tokens")


def fuzz(target: str, arguments: list[str]) -> None:
    """Run one target in this process; does not return."""
    import atheris

    sys.path.insert(0, str(HERE))
    with atheris.instrument_imports(include=["tec_numcodecs"]):
        from harness import TARGETS

    run = TARGETS[target]
    atheris.Setup([sys.argv[0], *arguments], run)
    atheris.Fuzz()


def main() -> int:
    """Run targets one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", default=NAMES, help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=100, help="for all targets together")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if importlib.util.find_spec("atheris") is None:
        sys.stdout.write("atheris is not installed: nothing was fuzzed\n")
        return 0
    if options.inside:
        target, *folders = options.targets
        fuzz(target, [*rest, *folders])
    for target in options.targets:
        found = ROOT / "build" / "fuzz" / target
        found.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, __file__, "--inside", target, str(found), str(HERE / "corpus" / target),
            f"-max_total_time={max(options.seconds // len(options.targets), 1)}",
            "-timeout=60", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1",
            f"-artifact_prefix={found.parent}/{target}-crash-",
        ]  # fmt: skip
        code = subprocess.run(command, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Fill gaps with every engine and every naive row, and measure.

    python -m benchmarks.inpaint [--data DIR] [--every 1] [--out benchmarks/results]

Without ``--data``, the bundled scene under made-up clouds; with it, all that `cases.load` lists.
Writes ``inpaint.json`` (one record a case and row) and ``inpaint.md`` (tables),
``inpaint_summary.md`` (one table).
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from pathlib import Path

from benchmarks.inpaint.cases import load
from benchmarks.inpaint.figures import measure
from benchmarks.inpaint.rows import fills
from benchmarks.inpaint.tables import summary, tables


def main() -> None:
    """Run, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every n-th date")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
    records = []
    for case in load(arguments.data, arguments.every):
        for row, fill in fills(case).items():
            about = {"data": case.data, "case": case.name, "cover": case.cover, "row": row}
            records.append(about | measure(case, fill))
        ours = next(r["psnr"] for r in reversed(records) if r["row"] == "spectral")
        print(f"{case.data}: {case.name}, {case.cover:.0%}: {ours:.2f} dB", flush=True)
    text = tables(records, arguments.every)
    if arguments.data is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        kept = [{k: _short(v) for k, v in record.items()} for record in records]
        (arguments.out / "inpaint.json").write_text(json.dumps(kept, separators=(",", ":")) + "\n")
        (arguments.out / "inpaint.md").write_text(text)
        (arguments.out / "inpaint_summary.md").write_text(summary(records))
    print(text)


def _short(value: object) -> object:
    """Round floats; NaN, which JSON lacks, becomes null."""
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else None


if __name__ == "__main__":
    main()

"""Say whether the C extension is there; pip hides what a build prints."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

NOTICE = """
------------------------------------------------------------------------------------------
  The C extension tec_numcodecs._native was not built, most likely for want of a C compiler.
  Everything works without it and gives the same bytes, but coding is many times slower.
  Install gcc or clang and run `make clean` first to have it.
------------------------------------------------------------------------------------------
"""


def main() -> int:
    """Return 1 only where the extension is required and missing."""
    has_sources = any(Path("tec_numcodecs/_csrc").glob("*.c"))
    if not has_sources or importlib.util.find_spec("tec_numcodecs._native") is not None:
        return 0
    sys.stderr.write(NOTICE)
    return int(os.environ.get("TEC_REQUIRE_NATIVE") == "1")


if __name__ == "__main__":
    sys.exit(main())

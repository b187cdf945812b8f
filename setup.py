"""Build the optional C extension; everything else is in pyproject.toml.

The extension holds the hot loops (entropy coder, transforms, context models). Each has a NumPy
twin that gives the same bytes, so a machine without a compiler still installs and reads everything,
only slower.
``TEC_REQUIRE_NATIVE=1`` makes a failed build an error: releases and CI set it.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import warnings
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NOTICE = (
    "tec-xarray: the C extension tec_numcodecs._native was not built ({error}). "
    "The installation goes on without it. Everything works and gives the same bytes, but coding is "
    "many times slower. Install a C compiler (gcc or clang) and the Python headers, then reinstall."
)


class OptionalBuild(build_ext):
    """Compile if that is possible; say so plainly and go on if it is not."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        # Whatever a tool chain raises (missing compiler, headers, a linker's exit code, no space)
        # means the same here: no extension.
        except Exception as error:
            if not ext.optional:
                raise
            # A warning is what an installer passes on to the person in front of it.
            warnings.warn(NOTICE.format(error=error), stacklevel=2)


def native() -> list[Extension]:
    """Return the extension, or nothing where there is no C source."""
    root = Path(__file__).parent
    csrc = root / "tec_numcodecs" / "_csrc"
    sources = sorted(str(path.relative_to(root)) for path in csrc.rglob("*.c"))
    if not sources:
        return []
    windows = sys.platform == "win32"
    # No -march: a wheel must run on every machine of its platform. No contraction of a*b+c into
    # one rounding: results must not depend on the compiler's mood.
    flags = ["/O2"] if windows else ["-O3", "-std=c11", "-ffp-contract=off", "-fvisibility=hidden"]
    return [
        Extension(
            "tec_numcodecs._native",
            sources=sources,
            depends=sorted(str(path.relative_to(root)) for path in csrc.rglob("*.h")),
            extra_compile_args=flags,
            define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED else [],
            py_limited_api=LIMITED,
            optional=os.environ.get("TEC_REQUIRE_NATIVE") != "1",
        )
    ]


# Free-threaded builds have no limited API yet; there the extension is for one version only.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    ext_modules=native(),
    cmdclass={"build_ext": OptionalBuild},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
)

"""Let a CUDA build of torchvision import beside a CPU build of torch.

On Linux the registry's torchvision wheel links against CUDA libraries that a CPU build of torch
does not bring. Its C++ half then fails to load, which torchvision takes well, except that it still
registers shape functions for two operators that now nobody has declared. This declares them, at
the moment of the first ``import torchvision`` and only if the C++ half does not load. The operators
get no implementation: calling one is still an error, the rest of torchvision is plain Python.

Run as a script it installs itself into the environment of the interpreter that runs it, as a
``.pth`` file's import, so that tests and benchmarks there need to know nothing of it.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from importlib.machinery import PathFinder
from pathlib import Path

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_keep: list[object] = []  # a library's declarations live as long as the object


class TorchvisionOnCpu:
    """An import hook that finds nothing: it acts once, before torchvision is looked for."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Declare the operators when torchvision is about to be imported."""
        del path, target
        if name != "torchvision":
            return
        sys.meta_path[:] = [hook for hook in sys.meta_path if hook is not TorchvisionOnCpu]
        found = PathFinder.find_spec(name)
        if found is None or found.origin is None:
            return
        import torch

        try:
            torch.ops.load_library(Path(found.origin).parent / "_C.so")
        except OSError:
            library = torch.library.Library("torchvision", "DEF")
            for schema in _SCHEMAS:
                library.define(schema)
            _keep.append(library)


def install() -> None:
    """Copy this file into site-packages and have it imported at every start."""
    site = Path(sysconfig.get_path("purelib"))
    shutil.copy(__file__, site / "torchvision_on_cpu.py")
    (site / "torchvision_on_cpu.pth").write_text("import torchvision_on_cpu\n", encoding="utf-8")


if __name__ == "__main__":
    install()
else:
    sys.meta_path.insert(0, TorchvisionOnCpu)

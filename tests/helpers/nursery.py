"""Processes with an environment of their own that do not import torch anew.

One process a session imports what all of them need and starts no thread; each program is a fork of
it. What reads its settings at import (the client of the hub) is not imported there.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import threading
import traceback
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_CAPABILITY_VERSION_3, _CAP_DAC_OVERRIDE = 0x20080522, 1
_LIMIT = 300.0
#: Read their settings when they are imported.
_LATE = ("huggingface_hub", "distributed")


def run(
    command: tuple[str, ...], environment: dict[str, str], *, without_override: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run what would come after ``python``: ``-c code ...`` or ``-m module ...``."""
    if not hasattr(os, "fork"):
        return subprocess.run(
            [sys.executable, *command], env=environment, capture_output=True, text=True,
            check=False, cwd=ROOT, timeout=_LIMIT,
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        job = {"command": command, "env": environment, "folder": folder, "drop": without_override}
        code = _nursery().ask(job)
        out, err = (Path(folder, name).read_text() for name in ("out", "err"))
    return subprocess.CompletedProcess(command, code, out, err)


class _Nursery:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=ROOT,
        )  # fmt: skip
        atexit.register(self._process.kill)

    def ask(self, job: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())


@cache
def _nursery() -> _Nursery:
    return _Nursery()


def _serve() -> None:
    for name in ("tec_numcodecs.models.terracodec.importing", "tec_xarray.cli.commands"):
        importlib.import_module(name)
    if set(_LATE) & set(sys.modules):
        raise RuntimeError("a module that reads its settings at import was imported too early")
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(job)
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


def _run(job: dict[str, Any]) -> None:
    """Become the program; never returns."""
    code = 1
    try:
        for name, number in (("out", 1), ("err", 2)):
            file = os.open(Path(job["folder"], name), os.O_WRONLY | os.O_CREAT)
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(job["env"])
        if job["drop"]:
            _obey_permissions()
        kind, what, *words = job["command"]
        sys.argv = [what if kind == "-m" else "-c", *words]
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001  as an interpreter does
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _obey_permissions() -> None:
    """Make file permissions count for root, too: give up the capability to override them."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
        if libc.capget(header, sets):
            raise OSError(ctypes.get_errno(), "capget")
        for i in range(3):
            sets[i] &= ~(1 << _CAP_DAC_OVERRIDE)
        if libc.capset(header, sets):
            raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    _serve()

"""Where the published networks run, and on how many threads: what `set_options` says.

The transforms in floating point, analysis and synthesis, run on the device that was chosen: their
pixels may differ by 1 DN between machines anyway. The entropy models run there, too, in arithmetic
that is exact everywhere (`exact.backends`).
"""

from __future__ import annotations

import copy
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.options import get_options

_Copies = dict[str, tuple[object, nn.Module]]
_placed: weakref.WeakKeyDictionary[nn.Module, _Copies] = weakref.WeakKeyDictionary()


#: The processor through the code of other devices: for tests, where there is no GPU.
CPU_TORCH = "cpu-torch"

# A device for the calls of one context, instead of that of the options.
_here: ContextVar[str | None] = ContextVar("tec_device", default=None)


def chosen_name() -> str:
    """Return the device of this context, or else that of the options."""
    return _here.get() or get_options().device


def chosen_device() -> torch.device:
    """The device that the options name.

    Raises
    ------
    InvalidInput
        If this machine, or this build of torch, has none of that name.
    """
    return checked_device(chosen_name())


def checked_device(name: str) -> torch.device:
    """Return the device of a name.

    Raises
    ------
    InvalidInput
        If this machine, or this build of torch, has none of that name.
    """
    kind = "cpu" if name == CPU_TORCH else name
    if kind != "cpu":
        try:
            torch.empty(1, device=kind, dtype=torch.float64).cpu()
        except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InvalidInput(
                f"device {name!r}, which torch {torch.__version__} does not reach here: {reason}",
                allowed="'cpu', or what torch sees of this machine",
                fix="set_options(device='cpu'), or install a build of torch for the device",
            ) from error
    return torch.device(kind)


@contextmanager
def running_on(name: str | None) -> Iterator[None]:
    """Run on a device in this context, whatever the options say; None changes nothing."""
    if name is None:
        yield
        return
    token = _here.set(name)
    try:
        yield
    finally:
        _here.reset(token)


def of_tensor(x: torch.Tensor) -> str | None:
    """Name the device of a tensor; None for the CPU, where the options may say another."""
    return None if x.device.type == "cpu" else str(x.device)


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """The network itself if it is there, or its copy on another device, made once."""
    weights = [*network.parameters(), *network.buffers()]
    if all(_same(weight.device, device) for weight in weights):
        return network
    copies = _placed.setdefault(network, {})
    # Training changes weights in place, which their versions tell.
    version = (str(device), *(0 if w.is_inference() else w._version for w in weights))  # noqa: SLF001
    name = str(device)
    if name not in copies or copies[name][0] != version:
        copies[name] = (version, copy.deepcopy(network).to(device))
    return copies[name][1]


def _same(one: torch.device, other: torch.device) -> bool:
    """Whether two devices are one: "cuda" without a number is the current one."""
    return one.type == other.type and _index(one) == _index(other)


def _index(device: torch.device) -> int:
    found: int | None = device.index
    if found is not None:
        return found
    return torch.cuda.current_device() if device.type == "cuda" else 0


#: Settings of torch that let float32 be computed as something shorter, by kind of device.
_SHORTCUTS = {"cuda": ("cuda.matmul", "cudnn.conv"), "cpu": ("mkldnn.matmul", "mkldnn.conv")}


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Whatever the process has set: no autocast, no TF32, no bfloat16 in place of float32.

    Settings belong to the process: what another thread of the caller computes meanwhile is exacter
    and slower, too.
    """
    changed: list[tuple[Any, str]] = []
    for name in _SHORTCUTS.get(device.type, ()):
        backend, _, part = name.partition(".")
        switch: Any = getattr(getattr(torch.backends, backend), part, None)
        found = getattr(switch, "fp32_precision", None)  # torch 2.9 and newer
        if found in ("tf32", "bf16"):
            changed.append((switch, found))
    old = [] if changed or device.type != "cuda" else _allowed_tf32()
    try:
        for switch, _ in changed:
            switch.fp32_precision = "ieee"
        for switch in old:
            switch.allow_tf32 = False
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for switch, found in changed:
            switch.fp32_precision = found
        for switch in old:
            switch.allow_tf32 = True


def _allowed_tf32() -> list[Any]:
    """Return the settings of torch before 2.9 that allow TF32 now."""
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        return []  # the two ways of saying it must not be mixed
    both = (torch.backends.cuda.matmul, torch.backends.cudnn)
    return [switch for switch in both if switch.allow_tf32]


class _Inside:
    """Calls that are under way, of several threads maybe, and torch's setting before the first."""

    lock = threading.Lock()
    calls = 0
    before = 1


def _after_fork() -> None:
    """A child has none of its parent's calls, and must not wait for a lock that one held."""
    _Inside.lock, _Inside.calls = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def limited_threads() -> Iterator[None]:
    """As many threads of torch as the options allow, until the last such block is left."""
    threads = get_options().threads  # may raise: before anything is counted
    with _Inside.lock:
        if not _Inside.calls:
            _Inside.before = torch.get_num_threads()
        _Inside.calls += 1
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        with _Inside.lock:
            _Inside.calls -= 1
            if not _Inside.calls:
                torch.set_num_threads(_Inside.before)

"""Where the published networks run, and on how many threads: what `set_options` says.

The transforms in floating point, analysis and synthesis, run on the device that was chosen: their
pixels may differ by 1 DN between machines anyway. The entropy models and the exact synthesis stay
on the CPU, where their exactness is proved by probes at the start.
"""

from __future__ import annotations

import copy
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.options import get_options

_placed: weakref.WeakKeyDictionary[nn.Module, dict[str, nn.Module]] = weakref.WeakKeyDictionary()


def chosen_device() -> torch.device:
    """The device that the options name.

    Raises
    ------
    InvalidInput
        If this machine, or this build of torch, has none of that name.
    """
    name = get_options().device
    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidInput(
            f"device {name!r}, which torch {torch.__version__} does not reach here: {error}",
            allowed="'cpu', or what torch sees of this machine",
            fix="set_options(device='cpu'), or install a build of torch for the device",
        ) from error
    return torch.device(name)


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """The network itself, or its copy on another device, made once."""
    if device.type == "cpu":
        return network
    copies = _placed.setdefault(network, {})
    name = str(device)
    if name not in copies:
        copies[name] = copy.deepcopy(network).to(device)
    return copies[name]


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

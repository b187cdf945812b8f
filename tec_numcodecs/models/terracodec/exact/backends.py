"""Where exact arithmetic runs: the processor, or a device through torch alone.

The operations of `layers`, `rowwise` and `integer_gemm` are stated once, in torch. On the processor
the C extension and the carriers of `integer_gemm` may do the same faster; a device runs the
statement itself, with products of doubles, or of bytes where a probe has found those exact. Both
give the same bits, so that a stream written on one decodes on the other.

``cpu-torch`` is the processor by way of the devices' code, so that this can be tested anywhere.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from tec_numcodecs.errors import TecError

logger = logging.getLogger(__name__)

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Backend:
    """One of them, and how much goes through it at once: that bounds memory, not results.

    Attributes
    ----------
    name : str
    device : torch.device
    native : bool
        Whether the C extension and the carriers for processors may be used.
    chunks : int
        Chunks that are decoded together.
    windows : int
        Windows that go through a stack of layers together.
    rows : int
        Rows that go through a perceptron together.
    numbers : int
        Numbers of a left operand, or of its products.
    """

    name: str
    device: torch.device
    native: bool
    chunks: int
    windows: int
    rows: int
    numbers: int


CPU = Backend("cpu", torch.device("cpu"), True, chunks=4, windows=8, rows=256, numbers=1 << 21)
_current: ContextVar[Backend] = ContextVar("tec_exact_backend", default=CPU)


def current() -> Backend:
    """Return the backend of this context."""
    return _current.get()


def through_torch(name: str, device: torch.device) -> Backend:
    """Return the backend of a device."""
    if device.type == "cpu":
        return Backend(name, device, False, chunks=16, windows=64, rows=1024, numbers=1 << 22)
    return Backend(name, device, False, chunks=1 << 16, windows=512, rows=1 << 16, numbers=1 << 28)


@contextmanager
def running(backend: Backend) -> Iterator[Backend]:
    """Compute with a backend in this context."""
    token = _current.set(backend)
    try:
        yield backend
    finally:
        _current.reset(token)


# --- what is where -----------------------------------------------------------------------------


class Placeable:
    """An object that has a copy on a device: of its attributes, if it does not say otherwise."""

    def to(self, device: torch.device) -> Self:
        """Return a copy on a device."""
        twin = copy.copy(self)
        vars(twin).update({key: moved(part, device) for key, part in vars(self).items()})
        return twin


_placed: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()


def placed(network: Thing) -> Thing:
    """Return a frozen network where the backend of this context computes, copied there once."""
    device = current().device
    if device.type == "cpu":
        return network
    copies = _placed.setdefault(network, {})
    name = str(device)
    if name not in copies:
        copies[name] = moved(network, device)
    return copies[name]


def moved(thing: Any, device: torch.device) -> Any:
    """Return a copy of tensors, of dataclasses and `Placeable` objects, and of what holds them."""
    if isinstance(thing, Tensor | Placeable):
        return thing.to(device)
    if isinstance(thing, list | tuple):
        return type(thing)(moved(part, device) for part in thing)
    if isinstance(thing, Mapping):
        return {key: moved(part, device) for key, part in thing.items()}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        parts = {f.name: moved(getattr(thing, f.name), device) for f in dataclasses.fields(thing)}
        return dataclasses.replace(thing, **parts)
    return thing


# --- memory ------------------------------------------------------------------------------------


def in_parts(
    count: int, size: int, work: Callable[[int, int], None], what: str, device: str | None = None
) -> None:
    """Call ``work(first, last)`` on parts of `count` things; smaller ones if memory runs out.

    Parameters
    ----------
    count, size : int
        How many things there are, and how many go together at first.
    work : callable
        It may be called again for things with which it has failed.
    what : str
        Their name in messages.
    device : str, optional
        And that of the device, if it is not the backend's.

    Raises
    ------
    TecError
        The device has too little memory for one.
    """
    start = 0
    while start < count:
        stop = min(start + size, count)
        try:
            work(start, stop)
        except torch.cuda.OutOfMemoryError as error:
            _halved(error, stop - start, what, device or current().name)
            size = (stop - start) // 2
            continue
        start = stop


def _halved(error: Exception, together: int, what: str, device: str) -> None:
    """Say that fewer things go together from now on; refuse where it is one already."""
    if isinstance(error, DeviceMemoryError) and together < 2:
        raise error
    if together < 2:
        raise DeviceMemoryError(
            f"{device} has too little memory for one of the {what}: {str(error).splitlines()[0]}",
            fix="set_options(device='cpu'), smaller chunks, or another device",
        ) from error
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    logger.warning(
        "%s has too little memory for %d %s at once; going on with %d",
        device, together, what, together // 2,
    )  # fmt: skip


class DeviceMemoryError(TecError, torch.cuda.OutOfMemoryError):
    """A device has too little memory, even for the smallest part."""

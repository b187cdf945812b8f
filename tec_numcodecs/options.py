"""Run-time settings: where and how fast to compute, never what is stored.

Nothing here may change a byte of a chunk. An option is looked for in three places, the last one
that has it wins: the defaults, the environment (``TEC_DEVICE``, ``TEC_THREADS``,
``TEC_BATCH_SIZE``, ``TEC_PROGRESS``, ``TEC_MAX_CHUNK_BYTES``, ``TEC_QUALITY``,
``TEC_FETCH_WEIGHTS``), and `set_options`.

>>> set_options(threads=1)  # from now on, in this process
set_options(threads=1)
>>> with set_options(batch_size=4):  # only inside the block
...     get_options().batch_size
4
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import threading
import weakref
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import numpy as np

from tec_numcodecs.arguments import shown, whole
from tec_numcodecs.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Options:
    """All settings at one moment.

    Attributes
    ----------
    device : str
        Where published checkpoints run: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ... Default
        ``"cpu"``, because a process that takes a GPU unasked is a bad neighbor. Symbols are the
        same everywhere. The bundled models, which are integers in C, run on the CPU.
        ``"cpu-torch"`` is the CPU by way of the code for devices, for tests.
    threads : int
        CPU threads that one call of a published checkpoint may use; the bundled models use one.
        Default 1: chunks are many and independent, so one worker a core beats many threads on one
        chunk, and oversubscription hurts most.
    batch_size : int
        Most chunks that go through a network in one call. Default 16: a shard of 1024 x 1024 pixels
        has as many chunks of 256 x 256. It bounds memory, too.
    progress : bool
        Whether long operations show a progress bar. Default False.
    max_chunk_bytes : int
        Largest chunk, in bytes of memory, that is decoded on its own word alone: where Zarr says
        how large a chunk is (format 3), that is checked instead. Decoding takes up to 40 times as
        much memory for a moment (`flextec`; 10 times for `fp`), and a band of a date counts for at
        least 4 KiB. Default 256 MiB.
    quality : int
        Tokens of a `flextec` chunk to read, 1 to 16: a coarse look costs less time. Default 0: all
        that are stored. Chunks of other models are always read whole.
    fetch_weights : bool
        Whether published weights that a chunk or an archive names, and that are not on this
        machine, may be fetched from their hub while it is read. Default False: whoever opens an
        archive does not mean to let its metadata open connections. Workers on machines of their
        own may need it (``TEC_FETCH_WEIGHTS=1``), or a ``TEC_WEIGHTS_DIR`` that all can read.
    """

    device: str = "cpu"
    threads: int = 1
    batch_size: int = 16
    progress: bool = False
    max_chunk_bytes: int = 1 << 28
    quality: int = 0
    fetch_weights: bool = False


class _Settings(TypedDict, total=False):
    device: str
    threads: int
    batch_size: int
    progress: bool
    max_chunk_bytes: int
    quality: int
    fetch_weights: bool


class set_options:  # noqa: N801 (reads as a function, as in xarray and flox)
    """Change settings of this process, for good or for the length of a ``with`` block.

    A plain call holds until another one changes the same setting. As a context manager the change
    ends with the block. Settings belong to the process, not to a thread, since Zarr and Dask call
    codecs from threads of their own. Threads may use it at the same time: every block takes back
    its own change only, in whatever order they end, and of several open ones the newest wins.

    Parameters
    ----------
    **settings
        ``device``, ``threads``, ``batch_size``, ``progress``, ``max_chunk_bytes``, ``quality``,
        ``fetch_weights``: see `Options`.

    Raises
    ------
    InvalidInput
        An unknown setting, or a value that it cannot have. Nothing is changed then.
    """

    def __init__(self, **settings: Unpack[_Settings]) -> None:
        self._layer = _Layer({key: _parse(key, value) for key, value in settings.items()}, self)
        _push(self._layer)

    def __enter__(self) -> Self:
        _push(self._layer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _remove(self._layer)

    def __repr__(self) -> str:
        return f"set_options({', '.join(f'{k}={v!r}' for k, v in self._layer.values.items())})"


def get_options() -> Options:
    """Return the settings in force now.

    Raises
    ------
    InvalidInput
        An environment variable holds a value that the setting cannot have.
    """
    found = replace(_DEFAULTS, **settings_given())
    least = _least_limit.get()
    if least is None:
        return found
    return replace(found, quality=0, max_chunk_bytes=max(found.max_chunk_bytes, least))


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings that `set_options` would refuse, and change nothing.

    Raises
    ------
    InvalidInput
        An unknown setting, or a value that it cannot have.
    """
    for key, value in settings.items():
        _parse(key, value)


def settings_given() -> dict[str, Any]:
    """Return the settings that somebody made, here or in the environment; not the defaults.

    Raises
    ------
    InvalidInput
        As of `get_options`.
    """
    values = _from_environment()
    for layer in _layers:  # one read of the name: a writer replaces the tuple, never edits it
        values.update(layer.values)
    return values


@contextlib.contextmanager
def reading_as_stored(chunk_bytes: int = 0) -> Iterator[None]:
    """Read whole what is stored, whatever the options for reading say; in this context only.

    Whoever writes, measures or checks uses this: `quality` and `max_chunk_bytes` are for people who
    look at data. It holds in this thread and in tasks that are started from it, not in others.

    Parameters
    ----------
    chunk_bytes : int
        A chunk of this size is read even where `max_chunk_bytes` is smaller.
    """
    token = _least_limit.set(chunk_bytes)
    try:
        yield
    finally:
        _least_limit.reset(token)


class _Layer:
    """The settings of one `set_options`; compared by identity."""

    __slots__ = ("owner", "values")

    def __init__(self, values: Mapping[str, Any], owner: set_options | None = None) -> None:
        self.values = MappingProxyType(dict(values))
        self.owner = weakref.ref(owner) if owner is not None else None

    def is_permanent(self) -> bool:
        """Whether nobody is left who could take it back: a plain call, its object gone."""
        return self.owner is None or self.owner() is None


_DEFAULTS = Options()
_MOST = (1 << 31) - 1  # what an int of C holds
_MOST_BYTES = (1 << 63) - 1
_KEYS = tuple(field.name for field in fields(Options))
_lock = threading.Lock()
_layers: tuple[_Layer, ...] = ()
# Set while chunks are read as they are stored: the least that `max_chunk_bytes` is then.
_least_limit: ContextVar[int | None] = ContextVar("tec_least_limit", default=None)


def _push(layer: _Layer) -> None:
    """Put a layer on top, once, and merge neighbors that stay for good: calls must not pile up."""
    global _layers
    with _lock:
        if layer in _layers:
            return
        merged: list[_Layer] = []
        for old in _layers:
            if merged and old.is_permanent() and merged[-1].is_permanent():
                merged[-1] = _Layer({**merged[-1].values, **old.values})
            else:
                merged.append(old)
        _layers = (*merged, layer)


def _remove(layer: _Layer) -> None:
    global _layers
    with _lock:
        _layers = tuple(old for old in _layers if old is not layer)


def _renew_lock() -> None:
    """Give a forked child a lock of its own: the parent's may have been held by another thread."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _from_environment() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in _KEYS:
        variable = f"TEC_{key.upper()}"
        text = os.environ.get(variable, "")
        if text:
            values[key] = _parse(key, text, variable)
    return values


def _parse(key: str, value: object, label: str | None = None) -> str | int | bool:
    """Check one setting; `label` is what to call it in an error."""
    if key not in _PARSERS:
        close = difflib.get_close_matches(key[:80], _KEYS, n=1)
        raise InvalidInput(
            f"unknown option {shown(key)}",
            allowed=", ".join(_KEYS),
            fix=f"did you mean {close[0]!r}?" if close else None,
        )
    parser, allowed = _PARSERS[key]
    try:
        return parser(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{label or key} = {shown(value)}",
            allowed=allowed,
            fix=f"the default is {getattr(_DEFAULTS, key)!r}",
        ) from error


def _parse_device(value: object) -> str:
    # Kinds that torch has; "gpu" is none, and would only be found out in the middle of a night.
    kinds = r"(cpu|cuda|mps|xpu|hpu|mtia)(:\d+)?|cpu-torch"
    if not isinstance(value, str) or not re.fullmatch(kinds, value):
        raise ValueError
    return value


def _parse_whole(low: int, high: int) -> Callable[[object], int]:
    """Return a parser of whole numbers, which environment variables hold as text."""

    def parse(value: object) -> int:
        return whole("", int(value) if isinstance(value, str) else value, low, high)

    return parse


def _parse_switch(value: object) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str) and value.lower() in ("1", "true", "0", "false"):
        return value.lower() in ("1", "true")
    raise ValueError


_PARSERS: Mapping[str, tuple[Callable[[object], str | int | bool], str]] = MappingProxyType(
    {
        "device": (_parse_device, "'cpu', 'cuda', 'cuda:0', ..."),
        "threads": (_parse_whole(1, _MOST), f"a whole number >= 1, up to {_MOST}"),
        "batch_size": (_parse_whole(1, _MOST), f"a whole number >= 1, up to {_MOST}"),
        "max_chunk_bytes": (_parse_whole(1, _MOST_BYTES), "a whole number >= 1, below 2^63"),
        "quality": (_parse_whole(0, 16), "0 (all that is stored) or 1 to 16"),
        "progress": (_parse_switch, "True or False (1 or 0 in the environment)"),
        "fetch_weights": (_parse_switch, "True or False (1 or 0 in the environment)"),
    }
)

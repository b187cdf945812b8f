"""Servers on this machine: what a machine uses for the internet must not see requests to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def no_proxy() -> Iterator[None]:
    """Go to this machine without a proxy, for as long as a context lasts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1")
        yield

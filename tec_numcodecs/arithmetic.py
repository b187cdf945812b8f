"""Floating point as IEEE 754 has it, whatever a process has set for its own calculations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np

_P = ParamSpec("_P")
_R = TypeVar("_R")


def ieee754(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorate a function that calculates with masked, infinite or tiny values and means it.

    ``np.seterr(all="raise")``, or warnings as errors, are common in scientific code. Here NaN under
    a mask, overflow to infinity and underflow to zero are results like others: what must not
    happen is checked in its own words.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return call

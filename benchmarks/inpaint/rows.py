"""What is compared: naive fills, and the engines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.inpaint.cases import Case
from tec_xarray.gapfill.series import Series
from tec_xarray.gapfill.spectral import Spectral
from tec_xarray.gapfill.temporal import METHODS, Temporal

Floats = NDArray[np.float32]


class Fill(NamedTuple):
    """Values (C, n) of the hidden pixels, errors or None, and CPU seconds."""

    values: Floats
    error: Floats | None
    seconds: float


def _others(case: Case) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the other dates at hidden pixels: values (T - 1, C, n), clear (T - 1, n)."""
    others = np.delete(np.arange(len(case.days)), case.date)
    values = case.values[others][:, :, case.hidden].astype(np.float32)
    return values, case.clear[others][:, case.hidden]


def least_cloudy(case: Case) -> Floats:
    """Return the date with the fewest clouds, as it is (AllClear's LeastCloudy)."""
    others = np.delete(np.arange(len(case.days)), case.date)
    best = others[case.clear[others].reshape(len(others), -1).mean(axis=1).argmax()]
    return case.values[best][:, case.hidden].astype(np.float32)


def mosaic(case: Case) -> Floats:
    """Return the mean of clear views of the three nearest dates; where none is, 5,000 DN.

    AllClear's Mosaicing, whose 0.5 where there is no clear view is never reached as published.
    """
    others = np.delete(np.arange(len(case.days)), case.date)
    near = others[np.argsort(np.abs(case.days[others] - case.days[case.date]), kind="stable")][:3]
    clear = case.clear[near][:, case.hidden]
    values = case.values[near][:, :, case.hidden].astype(np.float32)
    total = clear.sum(axis=0)
    found = (values * clear[:, None]).sum(axis=0) / np.maximum(total, 1)
    return np.where(total > 0, found, np.float32(5000))


def nearest_date(case: Case) -> Floats:
    """Return the nearest other date as it is, clouds and all."""
    apart = np.abs(case.days - case.days[case.date])
    apart[case.date] = np.inf
    return case.values[apart.argmin()][:, case.hidden].astype(np.float32)


def mean(case: Case) -> Floats:
    """Return the mean of all clear dates."""
    values, clear = _others(case)
    return (values * clear[:, None]).sum(axis=0) / np.maximum(clear.sum(axis=0), 1)


def median(case: Case) -> Floats:
    """Return the median of all clear dates."""
    values, clear = _others(case)
    stack = np.where(clear[:, None], values, np.nan)
    return np.nanmedian(np.where(clear.any(axis=0), stack, 0.0), axis=0)


def color(case: Case) -> Floats:
    """Return the mean color of the clear part of the date."""
    own = case.values[case.date][:, case.clear[case.date]].mean(axis=1, keepdims=True)
    return np.broadcast_to(own, (len(own), int(case.hidden.sum()))).astype(np.float32)


NAIVE: Mapping[str, Callable[[Case], Floats]] = MappingProxyType(
    {
        "least cloudy date": least_cloudy,
        "mosaic of three dates": mosaic,
        "nearest date, clouds and all": nearest_date,
        "mean of clear dates": mean,
        "median of clear dates": median,
        "mean color of the date": color,
    }
)


def fills(case: Case) -> dict[str, Fill]:
    """Fill a case with everything."""
    found = {}
    for name, function in NAIVE.items():
        start = time.process_time()
        values = function(case)
        found[name] = Fill(values, None, time.process_time() - start)
    shown = np.where(case.clear[:, None], case.values, np.uint16(0))  # the truth is out of reach
    series = Series(shown, case.clear, case.days)
    gap = np.flatnonzero(~case.clear[case.date])
    counted = case.hidden.ravel()[gap]
    for name in ("spectral", *METHODS):
        start = time.process_time()
        engine: Any = Spectral(series) if name == "spectral" else Temporal(series, name)
        estimate = engine.estimate(case.date, gap)
        seconds = (time.process_time() - start) * counted.mean()
        found[name] = Fill(estimate.values[:, counted], estimate.error[:, counted], seconds)
    return found

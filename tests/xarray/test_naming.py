"""Whatever a message recommends, the function takes: names of your own in reports and pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import tec_xarray
from archives import series
from tec_numcodecs.errors import InvalidInput

BANDS = ["B02", "B04", "B8A"]
NAMES = {f"s2_{band}": band for band in BANDS}
RED = ("B02", "B04", "B8A")


def own() -> xr.Dataset:
    data = series(2, (20, 24))[BANDS]
    return data.rename({band: name for name, band in NAMES.items()}).assign_attrs(sensor="S2L2A")


@pytest.fixture(scope="module")
def stored() -> tuple[Any, xr.Dataset]:
    store = zarr.storage.MemoryStore()
    return store, own().tec.compress(lam=20, store=store, bands=NAMES)


def calls(stored: xr.Dataset, store: Any) -> dict[str, Callable[..., Any]]:
    one = {"y": 3, "x": 4, "show": ["B04"]}
    return {
        "report": stored.tec.report,
        "compare": lambda data, **k: stored.tec.plot.compare(data, composite=RED, **k),
        "error_maps": stored.tec.plot.error_maps,
        "time_series": lambda data, **k: stored.tec.plot.time_series(data, **one, **k),
        "verify": lambda data, **k: tec_xarray.verify(store, data, **k),
    }


FUNCTIONS = ("report", "compare", "error_maps", "time_series", "verify")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_names_can_be_said(function: str, stored: tuple[Any, xr.Dataset]) -> None:
    found = calls(stored[1], stored[0])[function](own(), bands=NAMES)
    assert found is not None


@pytest.mark.parametrize("function", ["report", "compare", "error_maps", "time_series"])
def test_names_are_remembered(function: str, stored: tuple[Any, xr.Dataset]) -> None:
    calls(stored[1], stored[0])[function](own())


@pytest.mark.parametrize("function", ["report", "compare", "error_maps", "time_series"])
def test_names_of_others_are_asked_for_and_taken(
    function: str, stored: tuple[Any, xr.Dataset]
) -> None:
    data = own().rename({name: name.upper().replace("B", "q") for name in NAMES})
    call = calls(stored[1], stored[0])[function]
    with pytest.raises(InvalidInput, match="bands="):
        call(data)
    call(data, bands={name.upper().replace("B", "q"): band for name, band in NAMES.items()})


def test_a_cube_without_labels_has_the_order_that_was_said() -> None:
    array = own().to_dataarray("band", name="image").transpose("time", "band", "y", "x")
    bare = array.drop_vars("band").assign_attrs(sensor="S2L2A")
    stored = bare.tec.compress(max_error=0, bands=BANDS, store=zarr.storage.MemoryStore())
    assert stored.tec.report(bare).total.max_error == 0
    assert stored.tec.report(bare, bands=BANDS).total.max_error == 0


def test_rgb_takes_names_too() -> None:
    assert own().tec.plot.rgb(RED, bands=NAMES).axes


def test_a_label_axis_of_ones_own() -> None:
    array = own().to_dataarray("band", name="image").transpose("time", "band", "y", "x")
    array = array.assign_attrs(sensor="S2L2A")
    stored = array.tec.compress(max_error=0, bands=NAMES, store=zarr.storage.MemoryStore())
    assert stored.tec.report(array).total.max_error == 0
    assert np.isinf(stored.tec.report(array, bands=NAMES).total.psnr)

"""`benchmarks.inpaint`: its figures where they are known, its tables, and naive rows."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.inpaint.cases import COVERS, Case, load
from benchmarks.inpaint.figures import measure
from benchmarks.inpaint.rows import NAIVE, Fill, fills, mosaic
from benchmarks.inpaint.tables import summary, tables
from cloudy import blobs, seasons

BANDS = ("B02", "B03", "B04", "B08")


def case(size=48, cover=0.2):
    values = seasons(size, BANDS)
    clear = np.ones((4, size, size), bool)
    clear[1] = ~blobs((size, size), cover)
    clear[0, :5] = False
    return Case("one", "scene", values, clear, np.arange(4) * 91.0, 1, ~clear[1], BANDS)


def test_figures_of_the_truth_and_of_an_offset():
    one = case()
    truth = one.values[1][:, one.hidden].astype(np.float32)
    exact = measure(one, Fill(truth, np.zeros_like(truth), 1.0))
    assert exact["psnr"] > 150
    assert exact["ssim"] == pytest.approx(1)
    assert exact["inside"] == 1
    assert exact["angle"] == pytest.approx(0, abs=1e-4)
    off = measure(one, Fill(truth + 100, np.full_like(truth, 99), 1.0))
    assert off["psnr"] == pytest.approx(40, abs=1e-3)
    assert off["mae"] == pytest.approx(100, abs=1e-3)
    assert off["inside"] == 0
    assert off["width"] == 99
    assert off["ssim"] < 1
    assert off["ndvi"] > 0


def test_what_could_not_be_filled_counts():
    one = case()
    nothing = np.full((4, int(one.hidden.sum())), np.nan, np.float32)
    figures = measure(one, Fill(nothing, nothing, 1.0))
    color = NAIVE["mean color of the date"](one)
    assert figures["mae"] == pytest.approx(measure(one, Fill(color, None, 1.0))["mae"], rel=1e-4)


def test_no_row_sees_the_truth():
    one = case()
    dirty = one.values.copy()
    dirty[np.broadcast_to(~one.clear[:, None], dirty.shape)] = 60_000
    other = Case(one.name, one.data, dirty, one.clear, one.days, 1, one.hidden, BANDS)
    theirs = fills(other)
    for name, fill in fills(one).items():
        if name not in ("nearest date, clouds and all", "least cloudy date"):
            np.testing.assert_array_equal(fill.values, theirs[name].values, err_msg=name)


def test_a_mosaic_has_no_black_where_nothing_is_clear():
    one = case()
    one.clear[:, 20:30, 20:30] = False
    hidden = one.hidden.copy()
    hidden[20:30, 20:30] = True
    dark = Case(one.name, one.data, one.values, one.clear, one.days, 1, hidden, BANDS)
    assert (mosaic(dark) > 0).all()
    assert (mosaic(dark) == 5000).any()


def test_tables_say_where_another_row_is_ahead():
    records = []
    for row, psnr in (("linear", 30.0), ("spectral", 35.0)):
        for k, (a, b) in enumerate(COVERS):
            ours = psnr - 10 * (k == 2 and row == "spectral")
            records.append({"data": "d", "case": "c", "cover": (a + b) / 2, "row": row,
                            "psnr": ours, "mae": 1.0, "ssim": 1.0, "angle": 1.0, "ndvi": 0.1,
                            "microseconds": 1.0, "inside": 0.9, "width": 5.0})  # fmt: skip
    text = tables(records)
    assert "* d, 30%-50%: linear is ahead of spectral." in text
    assert text.count("is ahead of spectral") == 1
    records += [record | {"row": "least cloudy date", "psnr": 20.0} for record in records]
    line = summary(records).splitlines()[-1]
    assert "| d | 4 | **32.5 dB, 1 DN** | 30.0 dB, 1 DN (linear) | 20.0 dB" in line


def test_cases_of_the_scene_in_the_package():
    found = list(load(None))
    assert len(found) == 16
    for one, (a, b) in zip(found, COVERS * 4, strict=True):
        assert a - 0.01 <= one.hidden.mean() <= b + 0.01

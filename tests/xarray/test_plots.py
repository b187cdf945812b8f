"""Pictures: what is drawn, against the values; labels, themes and refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
import zarr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import tec_xarray
from tec_numcodecs.errors import InvalidInput
from tec_xarray import plots, to_cube
from tec_xarray.cube.units import DNScaling
from tec_xarray.plots.data import limits_of, plane_of, round_up
from tec_xarray.plots.themes import THEMES
from tec_xarray.store.chunk_sizes import chunk_sizes
from tec_xarray.tutorial import open_dataset


def cube() -> xr.DataArray:
    return to_cube(open_dataset())["reflectance"].isel(y=slice(0, 60), x=slice(0, 60))


@pytest.mark.parametrize("composite", list(plots.COMPOSITES))
def test_side_by_side(composite: str, tmp_path: Path) -> None:
    original = cube()
    wrong = original.copy(deep=True)
    wrong[2, :, 10:20, 10:20] += 300
    figure = plots.side_by_side(
        original, {"same": original, "other": wrong}, date=2, composite=composite, title="title"
    )
    panels = [axes for axes in figure.axes if axes.images]
    titles = [axes.get_title() for axes in panels]
    assert titles[:2] == [f"original, {composite}", "same"]
    errors = [axes.images[0].get_array() for axes in panels if "error" in axes.get_title()]
    assert errors[0].max() == 0
    assert errors[1][10:20, 10:20].min() == 300
    assert errors[1].sum() == 300 * 100
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert sum("DN" in label for label in labels) == 2
    first, second = (axes.images[0].get_array() for axes in panels[:2])
    np.testing.assert_array_equal(first, second)
    assert 0.2 < first.mean() < 0.8
    figure.savefig(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size[0] > 800


def test_missing_pixels_are_gray_and_do_not_stretch() -> None:
    holed = cube().copy(deep=True)
    holed[:, :, :30] = 0
    shown = plots.side_by_side(holed, {"a": holed}).axes[0].images[0].get_array()
    assert np.ptp(shown[:30]) == 0
    assert shown[30:].std() > 0.1


def test_reflectance_is_drawn_in_dn() -> None:
    original = cube().astype("float32") / 1e4
    other = original + 0.01
    figure = plots.side_by_side(original, {"a": other}, scale=1e-4)
    error = next(a for a in figure.axes if "error" in a.get_title()).images[0].get_array()
    np.testing.assert_allclose(error, 100, rtol=1e-3)


def test_plots_refuse() -> None:
    original = cube()
    for data, decoded, settings, message in [
        (original, {}, {}, "at least one"),
        (original.isel(band=[0]), {"a": original.isel(band=[0])}, {}, "red, green, blue"),
        (original, {"a": original}, {"composite": "x-ray"}, "x-ray"),
        (original, {"a": original.isel(x=slice(5))}, {}, "shapes"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            plots.side_by_side(data, decoded, **settings)


@pytest.fixture(scope="module")
def stored() -> tuple[xr.Dataset, xr.Dataset]:
    """Return a stored cube of 2 x 2 chunks with a hole, and the original."""
    original = open_dataset().isel(y=slice(0, 90), x=slice(0, 70))
    for band in original.data_vars:
        original[band][1, :20, :30] = 0
    settings = {"chunks": {"y": 64, "x": 64}, "shards": {"y": 128, "x": 64}}
    return original.tec.compress(store=zarr.storage.MemoryStore(), **settings), original


@pytest.fixture(scope="module")
def measured(stored: tuple[xr.Dataset, xr.Dataset]) -> tuple[tec_xarray.Sweep, tec_xarray.Report]:
    read, original = stored
    sweep = original.tec.sweep(lams=[5, 50], max_errors=[0], ssim=False)
    return sweep, read.tec.report(original, ssim=False)


def all_pictures(
    stored: tuple[xr.Dataset, xr.Dataset],
    measured: tuple[tec_xarray.Sweep, tec_xarray.Report],
    theme: str,
) -> dict[str, Figure]:
    read, original = stored
    sweep, report = measured
    return {
        "rgb": read.tec.plot.rgb(("B12", "nir", "B04"), date=1, theme=theme),
        "compare": read.tec.plot.compare(original, theme=theme, title="title"),
        "error_maps": read.tec.plot.error_maps(original, theme=theme),
        "time_series": read.tec.plot.time_series(original, y=3, x=50, theme=theme),
        "chunk_bytes": read.tec.plot.chunk_bytes(theme=theme),
        "rate_distortion": read.tec.plot.rate_distortion(sweep, theme=theme),
        "histogram": read.tec.plot.histogram(report, theme=theme),
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_picture(
    theme: str,
    stored: tuple[xr.Dataset, xr.Dataset],
    measured: tuple[tec_xarray.Sweep, tec_xarray.Report],
) -> None:
    """Nothing is clipped, nothing has the background's color, no exponents, no global state."""
    before = dict(mpl.rcParams)
    colors = THEMES[theme]
    for name, figure in all_pictures(stored, measured, theme).items():
        figure.draw_without_rendering()
        assert figure.get_facecolor()[:3] == to_rgb(colors.background), name
        used, page = figure.get_tightbbox(), figure.bbox_inches
        assert page.x0 - 0.01 <= used.x0, name
        assert page.y0 - 0.01 <= used.y0, name
        assert used.x1 <= page.x1 + 0.01, name
        assert used.y1 <= page.y1 + 0.01, name
        for text in figure.findobj(Text):
            if text.get_text() and text.get_visible():
                assert to_rgb(text.get_color()) == to_rgb(colors.text), (name, text)
                assert "1e" not in text.get_text(), (name, text)
                assert "times" not in text.get_text(), (name, text)
        with_units = [axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes]
        assert name == "rgb" or any("(" in label or "kB" in label for label in with_units), name
    assert dict(mpl.rcParams) == before


def test_a_notebook_shows_them_without_pyplot(stored: tuple[xr.Dataset, xr.Dataset]) -> None:
    read, original = stored
    pixels, chart = plots.rgb(cube()), read.tec.plot.time_series(original, y=1, x=60)
    assert pixels._repr_jpeg_().startswith(b"\xff\xd8")
    assert chart._repr_png_().startswith(b"\x89PNG")
    assert pixels._repr_png_() is None
    assert chart._repr_jpeg_() is None


def test_the_theme_follows_the_style() -> None:
    with mpl.rc_context({"figure.facecolor": "black"}):
        dark = plots.rgb(cube())
    assert dark.get_facecolor()[:3] == to_rgb(THEMES["dark"].background)
    assert plots.rgb(cube()).get_facecolor()[:3] == (1, 1, 1)


def test_compare_shows_both_composites_and_their_own_errors(
    stored: tuple[xr.Dataset, xr.Dataset],
) -> None:
    read, original = stored
    figure = read.tec.plot.compare(original, date=2)
    panels = [axes for axes in figure.axes if axes.images]
    titles = [axes.get_title() for axes in panels]
    assert titles[0::3] == ["original, true color", "original, false color"]
    a, b = (to_cube(one)["reflectance"] for one in (original, read))
    for i, bands in enumerate([["B04", "B03", "B02"], ["B08", "B04", "B03"]]):
        expected = abs(b.sel(band=bands).astype(float) - a.sel(band=bands))[2]
        shown = panels[3 * i + 2].images[0].get_array()
        np.testing.assert_allclose(shown, expected.mean("band"))
    some = read.tec.plot.compare(original[["B02", "B03", "B04"]].assign_attrs(original.attrs))
    assert len([axes for axes in some.axes if axes.images]) == 3


def test_error_maps(stored: tuple[xr.Dataset, xr.Dataset]) -> None:
    read, original = stored
    figure = read.tec.plot.error_maps(original, bands=["red", "B11"], date=1, limit=250)
    panels = [axes for axes in figure.axes if axes.images]
    again = read.tec.to_bands()
    for axes, band in zip(panels, ("B04", "B11"), strict=True):
        error = (again[band].astype(float) - original[band].astype(float))[1].values
        error[:20, :30] = np.nan
        np.testing.assert_array_equal(axes.images[0].get_array().filled(np.nan), error)
        rmse = math.sqrt(np.nanmean(error**2))
        assert axes.get_title() == f"{band}: RMSE {rmse:,.1f} DN"
        assert axes.images[0].get_clim() == (-250, 250)


def test_time_series(stored: tuple[xr.Dataset, xr.Dataset]) -> None:
    read, original = stored
    above, below = read.tec.plot.time_series(original, y=5, x=6).axes
    for line, data in zip(above.lines, (original, read.tec.to_bands()), strict=True):
        a, b = (data[band][:, 5, 6].astype(float).where(lambda v: v > 0) for band in ("B08", "B04"))
        expected = ((a - b) / (a + b)).values
        assert np.isnan(expected).tolist() == [False, True, False, False]  # in the hole
        np.testing.assert_array_equal(line.get_ydata(), expected)
    difference = np.subtract(*(line.get_ydata() for line in above.lines[::-1]))
    np.testing.assert_array_equal(below.lines[0].get_ydata(), difference)
    dates = np.array(["2021-01-01", "2021-04-01", "2021-07-01", "2021-10-01"], "datetime64[ns]")
    dated = original.assign_coords(time=dates)
    figure = plots.time_series(dated, dated, y=5, x=60, show=["B04", "nir08"])
    assert figure.axes[1].get_xlabel() == "date"
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["B04, original", "B04, decoded", "B8A, original", "B8A, decoded"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), original["B04"][:, 5, 60])


@pytest.mark.parametrize("shards", [False, {"y": 64, "x": 96}])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_bytes_of_chunks(shards: Any, zarr_format: int, tmp_path: Path) -> None:
    """The sum over the chunks, with the shards' indices, is what the files take."""
    if zarr_format == 2 and shards:
        pytest.skip("format 2 has no shards")
    original = open_dataset()[["B02", "B03"]].isel(y=slice(0, 150), x=slice(0, 100))
    for band in original.data_vars:
        original[band][:, :64, :96] = 0  # nothing in the first shard
    path = tmp_path / "a.zarr"
    settings = {"sensor": "S2L2A", "chunks": {"time": 2, "y": 32, "x": 48}, "shards": shards}
    read = original.tec.compress(**settings, store=path, zarr_format=zarr_format)
    array = zarr.open_group(path, mode="r")["reflectance"]
    sizes = chunk_sizes(array)
    assert sizes.shape == (2, 5, 3)
    files = [p for p in (path / "reflectance").rglob("*") if p.is_file() and p.name[0] not in "z."]
    index = 16 * 4 + 4 if shards else 0
    assert sizes.sum() == sum(p.stat().st_size - index for p in files)
    assert (sizes[:, :2, :2] < 100).all()
    assert (sizes[:, 2:, :2] > 100).all()
    shown = read.tec.plot.chunk_bytes(time_chunk=1)
    (mesh,) = shown.axes[0].collections
    np.testing.assert_allclose(np.asarray(mesh.get_array()).ravel(), sizes[1].ravel() / 1e3)
    assert "dates 2 to 3" in shown.axes[0].get_title()


def test_large_images_are_thinned_out() -> None:
    wide = cube().isel(y=slice(0, 2), x=np.arange(2500) % 60).drop_vars("x", errors="ignore")
    assert plane_of(wide, 0, DNScaling()).shape == (12, 1, 834)
    assert "1 pixel in 3" in plots.rgb(wide).axes[0].get_title()


def test_stretches() -> None:
    planes = np.arange(300, dtype=float).reshape(3, 10, 10) * np.array([1, 2, 3])[:, None, None]
    shared, own = (limits_of(planes, how) for how in ("shared", "band"))
    assert np.ptp(shared[1]) == 0
    assert (np.diff(own[1].ravel()) > 0).all()
    low, high = limits_of(planes, (100, 3000))
    assert (low.max(), high.min()) == (100, 3000)
    assert [round_up(v) for v in (0, 0.011, 7, 130, 99.999999)] == [1, 0.015, 8, 150, 100]


def test_more_refusals(
    stored: tuple[xr.Dataset, xr.Dataset],
    measured: tuple[tec_xarray.Sweep, tec_xarray.Report],
) -> None:
    read, original = stored
    plot = read.tec.plot
    sweep, report = measured
    for call, message in [
        (lambda: plot.rgb(("B04", "B03")), "2 bands"),
        (lambda: plot.rgb(("B04", "B03", "B99")), "no B99 for"),
        (lambda: plot.rgb(date=4), "date = 4"),
        (lambda: plot.rgb(theme="pink"), "'pink'"),
        (lambda: plot.rgb(stretch="none"), "stretch = 'none'"),
        (lambda: plot.rgb(stretch=(5, 5)), "black below white"),
        (lambda: plot.time_series(original, y=3, x=99), "x 99"),
        (lambda: plot.time_series(original, y=3, x=9, show="EVI"), "'EVI'"),
        (lambda: plot.time_series(original, y=3, x=9, show=[]), "0 bands"),
        (lambda: plot.time_series(original.isel(x=slice(9)), y=3, x=3), "shapes"),
        (lambda: plot.chunk_bytes(time_chunk=1), "time_chunk = 1"),
        (original.tec.plot.chunk_bytes, "no cube"),
        (original.tec.compress().tec.plot.chunk_bytes, "which store"),
        (lambda: plot.rate_distortion(sweep, metric="beauty"), "'beauty'"),
        (lambda: plot.histogram(report, band="B99"), "'B99'"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            call()

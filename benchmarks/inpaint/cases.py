"""Images whose truth is known, hidden under clouds of other dates.

Every case is one date of a series. Clouds that were really seen, on another date or at another
place, are laid over it, grown as `ds.tec.inpaint` grows them. The clouds of the other dates stay
where they are. Masks are drawn with a fixed seed, one for each stratum of cover.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from tec_xarray import tutorial
from tec_xarray.gapfill.masks import CLOUDS, DILATE, SCL

Mask = NDArray[np.bool_]

#: Strata by the share of the image that is hidden.
COVERS = ((0.02, 0.10), (0.10, 0.30), (0.30, 0.50), (0.50, 0.90))
PLACES = ("0080717", "0121563", "0181476")  # of SSL4EO-S12, beside the one in the package
PAIRS = ("CD39_p100", "CD39_p500", "CO85_llanos", "IT102_p500", "UK102_p926", "TR100_p500")
SHORT = 8  # dates of a short series


@dataclass(frozen=True)
class Case:
    """One date to fill.

    Attributes
    ----------
    name, data : str
        Of the case, and of the data set.
    values : uint16 array, shape (T, C, H, W)
        With the truth; nothing under `clear` is shown to an engine.
    clear : bool array, shape (T, H, W)
        What engines see.
    days : float64 array, shape (T,)
    date : int
    hidden : bool array, shape (H, W)
        Where errors are counted: hidden on purpose, and clear in truth.
    bands : tuple of str
    """

    name: str
    data: str
    values: NDArray[np.uint16]
    clear: Mask
    days: NDArray[np.float64]
    date: int
    hidden: Mask
    bands: tuple[str, ...]

    @property
    def cover(self) -> float:
        """Share of the image that cannot be seen on this date."""
        return float(1 - self.clear[self.date].mean())


def load(data: Path | None, every: int = 1) -> Iterator[Case]:
    """Yield the cases; without a folder of data, those of the scene in the package.

    Parameters
    ----------
    data : Path, optional
        The folder with ``nrt_romania_10m.npz``, ``masks_eolearn_clm.npz``, ``terracodec_*.npz``,
        ``gen_*.npz`` and ``s12cr_*.npz``.
    every : int
        Take the cases of every n-th date only, more or less.
    """
    if data is None:
        yield from _take(_seasons(None), every)
        return
    yield from _take(_nrt(data, 0), every)
    yield from _take(_nrt(data, SHORT), every)
    yield from _take(_seasons(data), every)
    yield from _take(_greenearth(data), every)
    yield from _take(_pairs(data), every)


def _take(cases: Iterator[Case], every: int) -> Iterator[Case]:
    for k, case in enumerate(cases):
        if k // len(COVERS) % every == 0:  # all strata of a date
            yield case


def grown(mask: Mask) -> Mask:
    """Grow masks (..., H, W) by a disc, as `ds.tec.inpaint` does."""
    y, x = np.ogrid[-DILATE : DILATE + 1, -DILATE : DILATE + 1]
    disc = (y * y + x * x <= DILATE * DILATE).reshape((1,) * (mask.ndim - 2) + (7, 7))
    return np.asarray(binary_dilation(mask, disc))


def _donors(masks: Mask) -> list[list[int]]:
    """Return which masks (N, H, W) belong to which stratum."""
    cover = masks.reshape(len(masks), -1).mean(axis=1)
    return [np.flatnonzero((cover >= a) & (cover < b)).tolist() for a, b in COVERS]


def _nrt(data: Path, length: int) -> Iterator[Case]:
    """Yield clear dates of five years of Romanian forest and fields, 100 x 100 pixels."""
    file = np.load(data / "nrt_romania_10m.npz")
    values, days = file["data"], file["days"].astype(np.float64)
    bands = tuple(map(str, file["bands"]))
    cloudy = grown(np.isin(file["scl"], [SCL[name] for name in CLOUDS]))
    sound = ~cloudy & (values > 0).all(axis=1)
    share = sound.reshape(len(days), -1).mean(axis=1)
    donors = _donors(cloudy)
    random = np.random.default_rng(0)
    name = f"nrt, {length} dates" if length else "nrt, 140 dates"
    for date in np.flatnonzero(share > 0.97):
        for stratum in donors:
            clouds = cloudy[random.choice(stratum)]
            clear = sound.copy()
            clear[date] &= ~clouds
            start = max(0, min(date - length // 2, len(days) - length)) if length else 0
            part = slice(start, start + length) if length else slice(None)
            case = Case(f"nrt_{date}", name, values[part], clear[part], days[part],
                        int(date - start), clouds & sound[date], bands)  # fmt: skip
            if case.hidden.sum() >= 100 and case.clear[case.date].sum() >= 300:
                yield case


def _seasons(data: Path | None) -> Iterator[Case]:
    """Yield four seasons of places, 12 bands, 264 x 264 pixels."""
    scene = tutorial.open_dataset(layout="cube")["reflectance"]
    cubes = {"0173706": scene.to_numpy()}
    bands = tuple(map(str, scene["band"].values))
    masks = None
    if data is not None:
        cubes |= {p: np.load(data / f"terracodec_{p}.npz")["data"] for p in PLACES}
        small = np.load(data / "masks_eolearn_clm.npz")["mask"]
        masks = small.repeat(3, axis=1).repeat(3, axis=2)[:, :264, :264]
    for place, values in sorted(cubes.items()):
        random = np.random.default_rng(int(place))
        for date in range(len(values)):
            for stratum in COVERS:
                clear = np.ones((len(values), *values.shape[2:]), np.bool_)
                clear[date] = ~_drawn(masks, stratum, clear.shape[1:], random)
                yield Case(f"{place}_{date}", "SSL4EO, four seasons", values, clear,
                           np.arange(len(values)) * 91.0, date, ~clear[date], bands)  # fmt: skip


def _drawn(
    masks: Mask | None, cover: tuple[float, float], shape: Any, random: np.random.Generator
) -> Mask:
    """Return a mask of a stratum: one that was seen, turned, or blobs where there are none."""
    if masks is None:
        from scipy.ndimage import gaussian_filter

        smooth = gaussian_filter(random.normal(size=shape), 20, mode="wrap")
        return smooth > np.quantile(smooth, 1 - random.uniform(*cover))
    stratum = _donors(masks)[COVERS.index(cover)]
    return np.rot90(masks[random.choice(stratum)], random.integers(4)).copy()


def _greenearth(data: Path) -> Iterator[Case]:
    """Yield dates of two minicubes of 29 dates, whose clouds a rule finds: no mask comes along."""
    masks = np.load(data / "masks_eolearn_clm.npz")["mask"].repeat(2, axis=1).repeat(2, axis=2)
    for path in sorted(data.glob("gen_*.npz")):
        file = np.load(path)
        values, bands = file["data"], tuple(map(str, file["bands"]))
        days = file["times"].astype("M8[D]").astype(np.float64)
        blue = values[:, bands.index("B02")].astype(np.float64)
        usual = np.percentile(blue, 30, axis=0)
        sound = ~grown(np.abs(blue - usual) > 350) & (values > 0).all(axis=1)
        share = sound.reshape(len(days), -1).mean(axis=1)
        random = np.random.default_rng(len(days))
        for date in np.flatnonzero(share > 0.95):
            for stratum in COVERS:
                clouds = _drawn(masks[:, :128, :128], stratum, (128, 128), random)
                clear = sound.copy()
                clear[date] &= ~clouds
                yield Case(f"{path.stem}_{date}", "GreenEarthNet, 29 dates", values, clear, days,
                           int(date), clouds & sound[date], bands)  # fmt: skip


def _pairs(data: Path) -> Iterator[Case]:
    """Yield the clear image of pairs of a clear and a cloudy one, whose clouds a rule finds."""
    masks = np.load(data / "masks_eolearn_clm.npz")["mask"].repeat(4, axis=1).repeat(4, axis=2)
    for name in PAIRS:
        file = np.load(data / f"s12cr_{name}.npz")
        values, bands = file["data"], tuple(map(str, file["bands"]))
        blue = values[:, bands.index("B02")].astype(np.float64)
        sound = np.ones((2, *blue.shape[1:]), np.bool_)
        sound[1] = ~grown(np.abs(blue[1] - blue[0]) > 350)
        if sound[1].mean() < 0.1:
            continue
        random = np.random.default_rng(1)
        for stratum in COVERS:
            clouds = _drawn(masks[:, : blue.shape[1], : blue.shape[2]], stratum, None, random)
            clouds = clouds[: blue.shape[1], : blue.shape[2]]
            if clouds.shape != blue.shape[1:]:
                clouds = np.resize(clouds, blue.shape[1:])
            clear = sound.copy()
            clear[0] = ~clouds
            hidden = clouds & sound[1]  # elsewhere nothing is known of the place
            if hidden.sum() >= 300:
                yield Case(f"s12cr_{name}", "SEN12MS-CR, pairs", values, clear,
                           np.array([0.0, 14.0]), 0, hidden, bands)  # fmt: skip

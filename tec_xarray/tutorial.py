"""Small real scenes that ship with the package, for demos, tests and first steps.

>>> ds = open_dataset("0173706")
>>> ds.B04.dims, ds.B04.dtype
(('time', 'y', 'x'), dtype('uint16'))
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
import pyproj
import xarray as xr

from tec_numcodecs.errors import InvalidInput

LAYOUTS = ("bands", "cube")


@dataclass(frozen=True)
class BundledScene:
    """A bundled scene: its file in ``tec_xarray/data``, and what must be said about it."""

    file: str
    title: str
    attribution: str
    license: str
    source: str
    comment: str
    dates: tuple[str, ...]
    epsg: int
    corner: tuple[float, float]


#: What is said of labels that the source does not give.
MADE_UP = "made up: the source gives no dates and no place"
SIZE = 10.0  # m, of a pixel

SCENES = {
    "0173706": BundledScene(
        file="0173706.npz",
        title="Sentinel-2 L2A, four seasons of one place (SSL4EO-S12 sample 0173706)",
        attribution="Contains modified Copernicus Sentinel data. SSL4EO-S12 v1.1 "
        "(Blumenstiel et al., 2025, arXiv:2503.00168), CC-BY-4.0, as distributed with "
        "TerraCodec (IBM).",
        license="CC-BY-4.0",
        source="github.com/IBM/TerraCodec, commit 4211862720d3, "
        "examples/S2L2A_images/ssl4eos12_val_0173706_[0-3].tif",
        comment="Pixels of 10 m; bands of 20 and 60 m were resampled bilinearly; harmonized (no "
        "offset). The source has no geotransform and no dates: dates, coordinates and CRS are made "
        "up, so that selections by date and place can be tried.",
        dates=(
            "2021-08-15T10:16:01",
            "2022-02-11T10:16:03",
            "2022-05-22T10:15:59",
            "2022-10-19T10:16:02",
        ),
        epsg=32632,
        corner=(699_960.0, 5_300_040.0),  # m; upper left
    )
}


def open_dataset(name: str = "0173706", *, layout: str = "bands") -> xr.Dataset:
    """Open a bundled scene.

    Parameters
    ----------
    name : str
        ``"0173706"``: four acquisitions of 264 x 264 pixels in 12 bands.
    layout : {"bands", "cube"}
        A (time, y, x) variable for each band, as odc-stac loads them, or one (time, band, y, x)
        variable ``reflectance``.

    Returns
    -------
    xarray.Dataset
        uint16 DN (reflectance times 10,000; 0 would be missing, there is none). Source, license
        and attribution are in the attributes. Dates, coordinates and CRS are made up, as the source
        gives none; their attributes say so.

    Raises
    ------
    InvalidInput
        There is no such scene or layout.
    """
    if name not in SCENES:
        raise InvalidInput(f"scene {name!r}", allowed=", ".join(map(repr, SCENES)))
    if layout not in LAYOUTS:
        raise InvalidInput(f"layout = {layout!r}", allowed=", ".join(map(repr, LAYOUTS)))
    scene = SCENES[name]
    with resources.files("tec_xarray").joinpath("data", scene.file).open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        data, bands = archive["data"], [str(band) for band in archive["bands"]]
    array = xr.DataArray(
        data,  # (T, C, H, W)
        dims=("time", "band", "y", "x"),
        coords={**_labels(scene, data.shape), "band": bands},
        name="reflectance",
        attrs={"nodata": 0, "units": "1e-4", "long_name": "surface reflectance times 10,000"},
    )
    if layout == "cube":
        dataset = array.to_dataset()
    else:
        dataset = array.drop_attrs(deep=False).to_dataset(dim="band")
        for band in bands:
            dataset[band].attrs = dict(array.attrs)
    for image in dataset.data_vars.values():
        image.encoding["grid_mapping"] = "spatial_ref"  # as rioxarray and odc-stac have it
    dataset.attrs = {
        "title": scene.title,
        "attribution": scene.attribution,
        "license": scene.license,
        "source": scene.source,
        "comment": scene.comment,
        "sensor": "sentinel-2-l2a",
    }
    return dataset


def _labels(scene: BundledScene, shape: tuple[int, ...]) -> dict[str, xr.Variable]:
    """Return dates, coordinates of the centers of pixels, and the CRS."""
    left, top = scene.corner
    crs = pyproj.CRS.from_epsg(scene.epsg)
    made_up = {"comment": MADE_UP}
    reference = {**crs.to_cf(), "spatial_ref": crs.to_wkt(), **made_up}
    meters = {"units": "m", **made_up}
    return {
        "time": xr.Variable("time", np.array(scene.dates, "datetime64[ns]"), made_up),
        "y": xr.Variable("y", top - SIZE * (np.arange(shape[2]) + 0.5), meters),
        "x": xr.Variable("x", left + SIZE * (np.arange(shape[3]) + 0.5), meters),
        "spatial_ref": xr.Variable((), np.int64(0), reference),
    }

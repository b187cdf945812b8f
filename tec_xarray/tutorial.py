"""Small real scenes that ship with the package, for demos, tests and first steps.

>>> ds = open_dataset("0173706")
>>> ds.B04.dims, ds.B04.dtype
(('time', 'y', 'x'), dtype('uint16'))
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
import xarray as xr

from tec_numcodecs.errors import InvalidInput

LAYOUTS = ("bands", "cube")


@dataclass(frozen=True)
class Scene:
    """A bundled scene: its file in ``tec_xarray/data``, and what must be said about it."""

    file: str
    title: str
    attribution: str
    license: str
    source: str
    comment: str


SCENES = {
    "0173706": Scene(
        file="0173706.npz",
        title="Sentinel-2 L2A, four seasons of one place (SSL4EO-S12 sample 0173706)",
        attribution="Contains modified Copernicus Sentinel data. SSL4EO-S12 v1.1 "
        "(Blumenstiel et al., 2025, arXiv:2503.00168), CC-BY-4.0, as distributed with "
        "TerraCodec (IBM).",
        license="CC-BY-4.0",
        source="github.com/IBM/TerraCodec, commit 4211862720d3, "
        "examples/S2L2A_images/ssl4eos12_val_0173706_[0-3].tif",
        comment="Pixels of 10 m; bands of 20 and 60 m were resampled bilinearly; harmonized (no "
        "offset). The source has no geotransform and no dates: there is no CRS, and time counts "
        "the four seasonal acquisitions in the order of the source.",
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
        and attribution are in the attributes. `time` is the number of the season, 0 ... 3, as the
        source gives no dates.

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
    season = xr.Variable(
        "time",
        np.arange(len(data)),
        {"long_name": "season, in the order of the source (dates are not known)", "units": "1"},
    )
    array = xr.DataArray(
        data,  # (T, C, H, W)
        dims=("time", "band", "y", "x"),
        coords={"time": season, "band": bands},
        name="reflectance",
        attrs={"nodata": 0, "units": "1e-4", "long_name": "surface reflectance times 10,000"},
    )
    if layout == "cube":
        dataset = array.to_dataset()
    else:
        dataset = array.drop_attrs(deep=False).to_dataset(dim="band")
        for band in bands:
            dataset[band].attrs = dict(array.attrs)
    dataset.attrs = {
        "title": scene.title,
        "attribution": scene.attribution,
        "license": scene.license,
        "source": scene.source,
        "comment": scene.comment,
        "sensor": "sentinel-2-l2a",
    }
    return dataset

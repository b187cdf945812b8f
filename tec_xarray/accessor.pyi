from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tec_numcodecs.models.weights_lookup import Weights
from tec_xarray.cube.chunking import Shape
from tec_xarray.cube.layout import Bands
from tec_xarray.plots.accessor import Plots
from tec_xarray.report.rate_sweep import Sweep
from tec_xarray.report.report import Report

class TecAccessor:
    def __init__(self, data: xr.Dataset | xr.DataArray) -> None: ...
    def compress(
        self,
        *,
        model: str = "fp",
        lam: float | None = None,
        quality: int | None = None,
        weights: Weights = "mini",
        nearest: bool = False,
        max_error: float | Sequence[float] | None = None,
        psnr: float | None = None,
        bpppb: float | None = None,
        per: Literal["chunk", "cube"] = "chunk",
        bands: Bands | None = None,
        sensor: str | None = None,
        variable: str | None = None,
        name: str | None = None,
        units: str | None = None,
        scale: float | None = None,
        offset: float | None = None,
        nodata: int | float | str | None = "auto",
        cf: bool = False,
        chunks: Shape | None = None,
        shards: Shape | bool | None = None,
        zarr_format: int = 3,
        store: Any = None,
        group: str | None = None,
        mode: str = "w-",
        region: Mapping[str, slice] | None = None,
        consolidated: bool | None = None,
        storage_options: dict[str, Any] | None = None,
        appendable: bool = False,
        embed_weights: bool = False,
        retries: int = 2,
        resources: Mapping[str, float] | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        progress: bool | None = None,
        wait: float = ...,
        break_lease: bool = False,
    ) -> xr.Dataset: ...
    def reconstruct(
        self,
        *,
        model: str = "fp",
        lam: float | None = None,
        quality: int | None = None,
        weights: Weights = "mini",
        nearest: bool = False,
        max_error: float | Sequence[float] | None = None,
        psnr: float | None = None,
        bpppb: float | None = None,
        bands: Bands | None = None,
        sensor: str | None = None,
        variable: str | None = None,
        name: str | None = None,
        units: str | None = None,
        scale: float | None = None,
        offset: float | None = None,
        nodata: int | float | str | None = "auto",
        cf: bool = False,
        chunks: Shape | None = None,
    ) -> xr.Dataset: ...
    def inpaint(
        self,
        mask: xr.DataArray | NDArray[np.bool_] | str | None = None,
        method: str = "spectral",
        *,
        clouds: xr.DataArray | str | None = None,
        classes: Iterable[str | int] | None = None,
        dilate: int | None = None,
        nodata: int | float | str | None = "auto",
        bands: Bands | None = None,
        variable: str | None = None,
    ) -> xr.Dataset: ...
    def to_cube(
        self,
        *,
        bands: Bands | None = None,
        sensor: str | None = None,
        variable: str | None = None,
        name: str | None = None,
    ) -> xr.Dataset: ...
    def from_cube(
        self,
    ) -> xr.Dataset: ...
    def to_bands(
        self,
    ) -> xr.Dataset: ...
    def drop_codec(
        self,
    ) -> xr.Dataset: ...
    def report(
        self,
        original: xr.Dataset | xr.DataArray,
        *,
        store: Any = None,
        group: str | None = None,
        storage_options: dict[str, Any] | None = None,
        bands: Bands | None = None,
        sensor: str | None = None,
        variable: str | None = None,
        ssim: bool = True,
    ) -> Report: ...
    def sweep(
        self,
        *,
        models: str | Sequence[str] = ("fp",),
        lams: Sequence[float] = (5.0, 20.0, 100.0, 400.0),
        qualities: Sequence[int] | None = None,
        max_errors: Sequence[float] | None = None,
        at: tuple[int, int, int] | None = None,
        bands: Any = None,
        variable: str | None = None,
        ssim: bool = True,
        **settings: Any,
    ) -> Sweep: ...
    @property
    def plot(self) -> Plots: ...
    def _repr_html_(self) -> str: ...

def register() -> None: ...

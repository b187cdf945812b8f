"""Mark a dataset to be stored as learned bitstreams, and store it.

`compress` is everything behind ``ds.tec.compress``. Without a store it only sets encodings, as
xarray has them: values stay what they are, dask stays lazy, and a plain ``to_zarr`` does the rest.
With one it writes, and opens what was written. Whatever can be refused is refused before the first
byte of a store is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import xarray as xr

from tec_numcodecs.arguments import mapping, switch
from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.models.weights_lookup import Weights
from tec_xarray.cube.chunking import Shape
from tec_xarray.cube.layout import Bands
from tec_xarray.encoding.encode_dataset import DEFAULT_LAM, EncodingSettings, encode_dataset
from tec_xarray.encoding.second_loss import drop_codec, is_compressed
from tec_xarray.execution.scheduler import How
from tec_xarray.store.codec_metadata import configuration_in
from tec_xarray.store.lease import WAIT
from tec_xarray.store.location import StoreLocation, WriteTarget, check_group
from tec_xarray.store.reading import open_store

__all__ = ["DEFAULT_LAM", "compress", "drop_codec", "is_compressed"]


def compress(
    data: xr.Dataset | xr.DataArray,
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
    wait: float = WAIT,
    break_lease: bool = False,
) -> xr.Dataset:
    """Compress a dataset of bands, now or when it is written.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        uint16, int16 or float32 in any layout of `tec_xarray.to_cube`; NumPy or dask. It is not
        changed, neither are its attributes and encodings.
    model : str
        ``"fp"``, ``"elic"``, ``"tt"`` or ``"flextec"``.
    lam : float, optional
        The rate: larger is better and bigger. Default: 20, or what `max_error` needs, or the
        default of published `weights`.
    quality : int, optional
        For models that store tokens from coarse to fine, how many (flextec: 1 ... 16).
    weights : str or path
        ``"mini"`` (in the package), ``"terracodec-1.0"`` (published; fetched on first use), or the
        path of a checkpoint. Published ones have one network for each rate: `lam` must be one of
        theirs, and theirs is the default.
    nearest : bool
        Take the published rate nearest to `lam` instead of refusing others.
    max_error : float or sequence of float, optional
        In the units of the data, one for all bands or one for each (as the data have them): a
        promise that no valid sample is off by more. 0 is lossless, and goes without `lam`.
    psnr, bpppb : float, optional
        In the place of `lam`, what the rate is chosen for: at least so many dB (peak 10,000 DN), or
        at most so many bits per valid pixel and band, all overhead included.
    per : {"chunk", "cube"}
        ``"chunk"``: every chunk keeps the target (and comes as near as a rate index allows, about
        0.3 dB or 4 %), searched when it is coded, in three evaluations or fewer on average.
        ``"cube"``, with `store` only: one rate for all, which spends bits best, found on up to 24
        chunks; the cube as a whole comes near the target, as far as the rest is like them.
    bands, sensor, variable, name
        What is what: see `tec_xarray.to_cube`. The sensor is told from attributes or bands where
        these decide, else it must be given. Bands are stored in the order of `bands`, without it in
        the sensor's, whatever order a listing or a file has; a cube of `tec_xarray.to_cube` keeps
        its own.
    units : {"dn", "reflectance"}, optional
        Integers are DN. Floats are judged once, by a sample; what is not plain is an error.
    scale, offset : float, optional
        ``value = DN * scale + offset``. Default: from the attributes ``scale_factor`` and
        ``add_offset``; else 1 and 0 for DN, 1e-4 and 0 for reflectance.
    nodata : number, "NaN", "auto" or None
        The value of missing samples, which comes back exactly. Default: what attributes or
        encodings say, else 0 for integers and NaN for floats.
    cf : bool
        Write ``scale_factor``, ``add_offset`` and ``_FillValue`` as attributes, so that
        ``xr.open_zarr`` gives float reflectance with NaN. Without, it gives the dtype stored.
    chunks, shards : tuple of four or dict, optional
        Along (time, band, y, x). Default: chunks of about (4, all, 256, 256) that follow the cube
        (one chunk where a side is below 384), shards of up to 1024 x 1024 pixels, smaller where
        there would be fewer than 16. ``shards=False`` for none; format 2 has none.
    zarr_format : {3, 2}
    store : path, URL or Zarr store, optional
        Write there, now. `group`, `mode` ("w-": must not exist yet, "w": replace),
        `consolidated` and `storage_options` as in ``to_zarr``.
    region : dict of slice, optional
        Write only this part of an array that exists in `store`, made by `compress` with the same
        settings. It must be made of whole shards (chunks, where there are none).
    appendable : bool
        For archives that grow: chunks have room for four dates, and dates that do not fill theirs
        are kept without loss until `tec_xarray.append` brings more.
    embed_weights : bool
        With `store`, write a copy of the weights beside the cube, once: whoever has the archive can
        read it for good, through `tec_xarray.open_zarr` or after ``tec weights extract``.
    retries, resources, progress
        How to write to `store`: how often to try a block again, what a task needs of a Dask worker
        (``{"GPU": 1}``), and whether to show a bar. The work runs on the current Dask client or
        scheduler. What is interrupted can be finished with `tec_xarray.resume`.
    device, batch_size
        With `store`: where published models code blocks, here or on every worker (``"cuda"``), and
        how many chunks go through a network together. They travel with the work; without them
        what `tec_numcodecs.set_options` says in this process does, or else each worker's
        environment. A device that is not there is an error before the first block.
    wait, break_lease
        An archive has one writer at a time. If there is another one, how many seconds to wait for
        it to finish, before this one is refused; and whether to take its place at once, because it
        is gone for good.

    Returns
    -------
    xarray.Dataset
        Without `store`, the cube with its encoding set and everything beside it. With `store`,
        what was written, opened.

    Raises
    ------
    InvalidInput
        The data or a setting cannot be used. Nothing has been written then.
    WeightsError
        The weights are not to be had.

    Examples
    --------
    >>> import tec_xarray, tec_xarray.tutorial
    >>> scene = tec_xarray.tutorial.open_dataset("0173706")
    >>> small = scene.tec.compress(model="fp", lam=20)
    >>> small.reflectance.encoding["chunks"]
    (4, 12, 256, 256)
    """
    settings = EncodingSettings(
        model=model,
        lam=lam,
        quality=quality,
        weights=weights,
        nearest=nearest,
        max_error=max_error,
        psnr=psnr,
        bpppb=bpppb,
        per=per,
        bands=bands,
        sensor=sensor,
        variable=variable,
        name=name,
        units=units,
        scale=scale,
        offset=offset,
        nodata=nodata,
        cf=cf,
        chunks=chunks,
        shards=shards,
        zarr_format=zarr_format,
        appendable=appendable,
    )
    how = How(retries, resources, progress, wait, break_lease, device, batch_size)
    _check_per(per, store, region)
    if store is None and not (device is None and batch_size is None):
        raise InvalidInput(
            f"device={device!r}, batch_size={batch_size!r} without store=",
            allowed="store=, where they are used at once",
            fix="tec_numcodecs.set_options(device=..., batch_size=...) for whatever writes later",
        )
    _check_embed(embed_weights, store, region)
    format_and_mode = (settings.zarr_format, mode, consolidated)
    target = _target(store, group, storage_options, format_and_mode, region)
    encoded = encode_dataset(data, settings, sample=target is not None)
    if target is None:
        return encoded.dataset
    from tec_xarray.archive import regions, writing

    for variable_there in encoded.dataset.data_vars.values():
        if codec := configuration_in(variable_there.encoding):
            how.check_devices(codec)
    if region is not None:
        regions.write_region(encoded.dataset, target, region, how)
    else:
        writing.write(
            encoded.dataset,
            target,
            appendable=appendable,
            how=how,
            source=encoded.source_chunks,
            embed_weights=embed_weights,
        )
    return open_store(target.location, target.consolidated)


def _target(
    store: Any,
    group: str | None,
    storage_options: dict[str, Any] | None,
    how: tuple[int, str, bool | None],
    region: Mapping[str, slice] | None,
) -> WriteTarget | None:
    """Check where to write; None without a store."""
    if store is None:
        check_group(group, storage_options)
        WriteTarget(StoreLocation({}), *how)  # what is no mode is refused without a store, too
        if region is not None:
            mapping("region", region, "{'time': slice(0, 4)}")
            raise InvalidInput(
                "region without store",
                allowed="region= for an array in a store",
                fix="pass store=, too",
            )
        return None
    target = WriteTarget(StoreLocation.of(store, group, storage_options), *how)
    target.check(region)
    return target


def _check_per(per: str, store: Any, region: Any) -> None:
    if per == "cube" and (store is None or region is not None):
        raise InvalidInput(
            "per = 'cube' without a store" if store is None else "per = 'cube' with region",
            allowed="per='chunk' there: without a store nothing is read, and a region has to be "
            "coded as the rest was",
            fix="pass store=, or leave per out",
        )


def _check_embed(embed_weights: bool, store: Any, region: Any) -> None:
    if switch("embed_weights", embed_weights) and (store is None or region is not None):
        raise InvalidInput(
            "embed_weights without a new store",
            allowed="compress(..., store=..., embed_weights=True)",
            fix="a plain to_zarr writes nothing but the dataset: pass store=",
        )

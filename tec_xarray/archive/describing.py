"""What an archive says about itself, without reading its pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tec_numcodecs.rate_control import psnr
from tec_xarray.archive.adopting import without_journal
from tec_xarray.archive.handle import Archive
from tec_xarray.report.archive_info import ArchiveInfo
from tec_xarray.report.stored_size import bytes_of
from tec_xarray.store.journal import Done, Journal, has_journal
from tec_xarray.store.location import StoreLocation
from tec_xarray.store.objects import block_shape


def info(
    store: Any, *, group: str | None = None, storage_options: dict[str, Any] | None = None
) -> ArchiveInfo:
    """Describe an archive: codec, weights, size, errors, dates, and what is missing.

    Parameters
    ----------
    store, group, storage_options
        As of ``xr.open_zarr``.

    Returns
    -------
    ArchiveInfo
        A dict that terminals and notebooks show as a table. Plain numbers, strings, lists and
        dicts; None for what is not known. Errors are in DN, as the journal has them: measured when
        the blocks were written.

    Raises
    ------
    InvalidInput
        There is no compressed cube.
    """
    place = StoreLocation.of(store, group, storage_options)
    journal = Journal(place) if has_journal(place) else None
    archive = without_journal(place) if journal is None else Archive.open(place)
    array = archive.array
    dataset = archive.dataset()
    cube = dataset[archive.variable]
    time = str(cube.dims[0])
    dates = [str(value)[:19] for value in cube[time].values] if time in cube.coords else []
    grid = [-(-array.shape[i] // block_shape(array)[i]) for i in (0, 2, 3)]
    found: dict[str, Any] = {
        "store": place.label,
        "variable": archive.variable,
        "shape": list(array.shape),
        "dims": [str(dim) for dim in cube.dims],
        "dtype": str(array.dtype),
        "chunks": list(array.chunks),
        "shards": None if array.shards is None else list(array.shards),
        "zarr_format": array.metadata.zarr_format,
        "codec": archive.codec,
        "bands": [str(band) for band in np.atleast_1d(cube[cube.dims[1]].values)],
        "dates": dates,
        "beside": sorted(str(n) for n in dataset.data_vars if n != archive.variable),
        "raw_bytes": math.prod(array.shape) * array.dtype.itemsize,
        "blocks": math.prod(grid),
        "journal": journal is not None,
    }
    figures = _figures(archive, journal, found, math.prod(grid))
    found |= figures
    return ArchiveInfo(found | _beside_the_cube(archive, figures["stored_bytes"]))


def _beside_the_cube(archive: Archive, stored: int) -> dict[str, int | None]:
    """Return the bytes of all else in the group, and of all; None in stores without a listing."""
    try:
        total = sum(bytes_of(archive.place.open(), archive.array))
    except (NotImplementedError, OSError, ValueError):
        return {"other_bytes": None, "total_bytes": None}
    return {"other_bytes": total - stored, "total_bytes": total}


def _figures(
    archive: Archive, journal: Journal | None, found: dict[str, Any], blocks: int
) -> dict[str, Any]:
    if journal is None:
        stored, _ = bytes_of(archive.place.open(), archive.array)
        return {"stored_bytes": stored, "ratio": _ratio(found["raw_bytes"], stored)}
    dates, step = archive.array.shape[0], block_shape(archive.array)[0]
    done = [d for d in journal.all() if d.index[0] * step < dates]
    stored = sum(d.stored_bytes for d in done)
    raw = sum(d.raw_bytes for d in done)
    errors = np.stack([d.errors for d in done]) if done else np.zeros((0, len(found["bands"]), 3))
    samples, square = errors[..., 0].sum(axis=0), errors[..., 1].sum(axis=0)
    peak = errors[..., 2].max(axis=0, initial=0.0)
    pending = archive.pending
    return {
        "stored_bytes": stored,
        "ratio": _ratio(raw, stored),
        "bits_per_sample": _ratio(8 * stored * archive.array.dtype.itemsize, raw),
        "blocks_missing": blocks - len(done),
        "dates_waiting": _waiting(done),
        "interrupted_append": None if pending is None else list(pending["dates"]),
        "appendable": bool(archive.notes["appendable"]),
        "encode_seconds": sum(d.microseconds for d in done) / 1e6,
        "psnr": _psnr(float(square.sum()), float(samples.sum())),
        "errors": {
            band: {
                "samples": None if math.isnan(n) else int(n),
                "rmse": math.sqrt(s / n) if n > 0 else None,
                "psnr": _psnr(float(s), float(n)),
                "max_error": float(p) if n > 0 else None,
            }
            for band, n, s, p in zip(found["bands"], samples, square, peak, strict=True)
        },
    }


def _waiting(done: list[Done]) -> int:
    """Return how many dates are kept without loss until more arrive."""
    return max((d.dates for d in done if d.lossless), default=0)


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _psnr(square: float, samples: float) -> float | None:
    """In dB, with the peak at 10,000 DN; None where nothing differs, or nothing is known."""
    if math.isnan(samples):
        return None
    found = psnr(square, samples)
    return found if math.isfinite(found) else None

"""Reading the files of items: on any worker, again if it fails, and never zeros for an error.

odc-loader reads, resamples and mosaics; its driver interface is where this puts what it lacks.
Each failure names the item. A file whose type is not what was promised is refused instead of being
cast. Offsets are taken off each item's pixels, so that items of different baselines may share a
date. And a read that stalls is given up, which GDAL by itself never does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import rasterio
import rasterio.errors
from numpy.typing import NDArray
from odc.geo.converters import rio_geobox
from odc.geo.geobox import GeoBox
from odc.loader import RasterLoadParams, RasterSource, RioDriver
from rasterio.io import DatasetReader

from tec_numcodecs.errors import InvalidInput
from tec_numcodecs.redaction import redact
from tec_xarray.stac.errors import SourceError
from tec_xarray.stac.links import NAMING_DOMAINS, LinkPolicy
from tec_xarray.stac.windows import Window, read_window

Pixels: TypeAlias = NDArray[np.integer[Any]]
Sign: TypeAlias = Callable[[str], str]

# An offset was surely taken off before if half of the pixels would be this negative after it is
# taken off (again): 200 DN, a reflectance of -0.02.
_MARGIN = 200
_ENOUGH = 4096  # pixels
_DEFAULTS = {"GDAL_DISABLE_READDIR_ON_OPEN", "GDAL_HTTP_MAX_RETRY", "GDAL_HTTP_RETRY_DELAY"}
_KEY = "TEC_OPTIONS"  # ours in the environment that odc-loader hands to workers


_ANY = LinkPolicy(local=True)


@dataclass(frozen=True)
class Origin:
    """What a reader must know about one file.

    Attributes
    ----------
    item, band : str
        Where it belongs, for messages.
    dtype : str
        What it must hold.
    offset : int
        What to add to its DN.
    sure : bool
        Whether to skip the check that the offset is still there.
    policy : LinkPolicy
        What the link may name, after it was signed, too.
    driver : str or None
        The only driver of GDAL that may open it; None for any.
    """

    item: str
    band: str
    dtype: str
    offset: int = 0
    sure: bool = False
    policy: LinkPolicy = _ANY
    driver: str | None = None


class Driver(RioDriver):  # type: ignore[misc, unused-ignore]
    """odc-loader's driver for rasterio, with our reader."""

    def __init__(
        self, sign: Sign | None = None, attempts: int = 5, timeout: float = 30.0, tag: str = ""
    ) -> None:
        super().__init__()
        self.sign, self.attempts, self.timeout, self.tag = sign, attempts, timeout, tag

    def capture_env(self) -> dict[str, Any]:
        """Add time limits; and a tag, as dask names tasks by this and not by what we decided."""
        seconds = str(max(1, round(self.timeout)))
        ours = {
            "GDAL_HTTP_CONNECTTIMEOUT": seconds,
            "GDAL_HTTP_LOW_SPEED_TIME": seconds,
            "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
            "GDAL_HTTP_MAX_RETRY": "0",
        }
        captured = super().capture_env()
        if set(captured) == _DEFAULTS:  # nobody chose them; retries are ours, as GDAL's are few
            captured = {}
        return {**ours, **captured, _KEY: self.tag}

    @contextmanager
    def restore_env(self, env: dict[str, Any], load_state: Any) -> Iterator[Any]:
        """Apply what `capture_env` returned."""
        plain = {key: value for key, value in env.items() if key != _KEY}
        with super().restore_env(plain, load_state) as context:
            yield context

    def open(self, src: RasterSource, ctx: Any) -> Any:  # noqa: ARG002
        """Return a reader; nothing is opened yet."""
        return Reader(src, self)


class Reader:
    """Reads windows of one file."""

    def __init__(self, src: RasterSource, driver: Driver) -> None:
        self._src, self._driver = src, driver

    def read(
        self,
        cfg: RasterLoadParams,
        dst_geobox: Any,
        *,
        dst: Any = None,
        selection: Any = None,  # noqa: ARG002  of odc-loader's interface; files have one band
    ) -> tuple[Window, Pixels]:
        """Read what covers a part of the grid.

        Raises
        ------
        SourceError
            Nothing could be read, however often it was tried.
        InvalidInput
            The file is not what its item promised.
        """
        failures: list[str] = []
        for attempt in range(self._driver.attempts):
            try:
                return self._read_once(cfg, dst_geobox, dst, fresh=attempt > 0)
            except InvalidInput:
                raise
            except (rasterio.errors.RasterioError, OSError, ValueError) as error:
                failures.append(_reason(error))
                if attempt + 1 < self._driver.attempts:
                    time.sleep(min(0.25 * 3**attempt, 8.0))
        origin: Origin = self._src.driver_data
        raise SourceError(
            f"item {origin.item!r}, band {origin.band}: cannot read "
            f"{self._src.uri.partition('?')[0]} "
            f"({len(failures)} attempts; the last: {failures[-1]})",
            allowed="a file that can be read",
            fix="try again later, or leave the item out",
        )

    def _read_once(
        self, cfg: RasterLoadParams, geobox: Any, dst: Any, *, fresh: bool
    ) -> tuple[Window, Pixels]:
        origin: Origin = self._src.driver_data
        sign = self._driver.sign
        # Signatures expire within the hour; an archive takes a night.
        uri = self._src.uri if sign is None else str(sign(self._src.uri))
        try:
            origin.policy.check_address(uri)
        except InvalidInput as error:
            raise self._refusal(error.found, error.allowed or "", error.fix or "") from error
        # GDAL remembers that a file was not there; a second attempt must not ask its memory.
        options = {"CPL_VSIL_CURL_NON_CACHED": f"/vsicurl/{uri}"} if fresh else {}
        if origin.driver is not None:
            # Files beside it are not asked for: they could name others.
            options |= {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
        with rasterio.Env(**options):
            window, pixels = read_window(
                uri, geobox, cfg, dst=dst, driver=origin.driver, check=self._check
            )
        return window, without_offset(pixels, origin)

    def _check(self, file: DatasetReader) -> None:
        """Refuse a file that is not what was promised.

        One of another type would be cast, one with another no-data value be full of valid pixels,
        of one that lies elsewhere only what happens to overlap would be read, and one that names
        other files would have these read.
        """
        origin: Origin = self._src.driver_data
        if origin.driver is not None and any(file.tags(ns=name) for name in NAMING_DOMAINS):
            raise self._refusal("names other files in its metadata", "", "leave the item out")
        dtype, nodata = file.dtypes[self._src.band - 1], file.nodatavals[self._src.band - 1]
        _check_grid(self._src.geobox, rio_geobox(file), origin, uri=self._src.uri)
        if dtype != origin.dtype:
            raise InvalidInput(
                f"item {origin.item!r}, band {origin.band}: {dtype} in {self._src.uri}",
                allowed=origin.dtype,
                fix="leave the item out",
            )
        if nodata not in (None, 0):
            raise InvalidInput(
                f"item {origin.item!r}, band {origin.band}: nodata = {nodata} in {self._src.uri}",
                allowed="0, or none",
                fix="leave the item out",
            )

    def _refusal(self, found: str, allowed: str, fix: str) -> InvalidInput:
        origin: Origin = self._src.driver_data
        return InvalidInput(
            f"item {origin.item!r}, band {origin.band}: {found}",
            allowed=allowed or None,
            fix=fix or None,
        )


def without_offset(pixels: Pixels, origin: Origin) -> Pixels:
    """Add the offset to valid pixels, (H, W) uint16, and keep them valid: at least 1.

    Raises
    ------
    InvalidInput
        The pixels plainly do not have the offset that is to be taken off.
    """
    if origin.offset == 0 or pixels.size == 0:
        return pixels
    valid = pixels != 0
    if not origin.sure:
        _check_offset(pixels[valid], origin)
    shifted = np.maximum(pixels.astype(np.int32) + origin.offset, 1)
    harmonized: Pixels = np.where(valid, shifted, 0).astype(pixels.dtype)
    return harmonized


def _reason(error: BaseException) -> str:
    """Say what happened: GDAL's own words are in the causes. Signatures are not for messages."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(texts) < 4:
        texts.append(re.sub(r"\?[^\s'\"]*", "", redact(str(cause))))
        cause = cause.__cause__ or cause.__context__
    return " < ".join(dict.fromkeys(texts))


def _check_grid(stated: Any, found: Any, origin: Origin, *, uri: str) -> None:
    """Refuse a file whose grid is not the stated one, to a hundredth of a pixel."""
    if not isinstance(stated, GeoBox) or not isinstance(found, GeoBox):
        return
    # CRS without a code have too many spellings to be compared.
    codes = {crs.to_epsg() for crs in (stated.crs, found.crs) if crs is not None} - {None}
    a, b = (np.array(tuple(grid.affine)[:6]) for grid in (stated, found))
    same = bool((np.abs(a - b) <= 0.01 * abs(a[0])).all())
    if stated.shape != found.shape or len(codes) > 1 or not same:
        raise InvalidInput(
            f"item {origin.item!r}, band {origin.band}: {_say(found)} in {uri}",
            allowed=f"{_say(stated)}, as its item says",
            fix="leave the item out, or correct its proj:transform, proj:shape and CRS",
        )


def _say(grid: GeoBox) -> str:
    numbers = ", ".join(f"{value:g}" for value in tuple(grid.affine)[:6])
    return f"{grid.shape[0]} x {grid.shape[1]} pixels, transform ({numbers}), {grid.crs}"


def _check_offset(valid: Pixels, origin: Origin) -> None:
    """Refuse to take off an offset that pixels plainly do not have: half of them would be lost."""
    low = np.count_nonzero(valid < -origin.offset - _MARGIN)
    if valid.size >= _ENOUGH and low > valid.size // 2:
        raise InvalidInput(
            f"item {origin.item!r}, band {origin.band}: {100 * low / valid.size:.0f} % of the "
            f"pixels would have a reflectance below -0.02 with the offset of {origin.offset} DN "
            "that its metadata promise",
            allowed="DN that carry the offset",
            fix="leave the item out, or pass harmonize='never' (keep DN as they are) or 'force' "
            "(believe the processing baseline)",
        )
